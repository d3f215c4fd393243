// Which layers have a delta net, and its sizes.
#include "model/config_parts.h"

namespace flyball::model {

void read_delta_net(Reader& reader, Config& config) {
  config.shared_gate = true;
  constexpr Str listed = "attention.recurrent_layers";
  Recurrence recurrence;
  recurrence.n_tap = reader.required("ssm.conv_kernel", 2, 64);
  recurrence.key_dim = recurrence.value_dim = reader.required("ssm.state_size", 1, 4096);
  recurrence.n_key_head = reader.required("ssm.group_count", 1, max_heads);
  recurrence.n_head = reader.required("ssm.time_step_rank", 1, max_heads);
  recurrence.grouped = config.architecture == Architecture::qwen3next;
  recurrence.first_key = recurrence.n_key_head * recurrence.key_dim;
  recurrence.first_value = 2 * recurrence.first_key;
  recurrence.n_channel = recurrence.first_value + recurrence.out_dim();
  recurrence.n_factor = 2;
  if (!reader.status().ok()) return;
  reader.demand("ssm.inner_size", recurrence.out_dim(), "heads whose values have another size than their keys");
  if (recurrence.n_head % recurrence.n_key_head != 0)
    reader.keep(fail(Code::corrupt, reader.full("ssm.time_step_rank"), reader.offset("ssm.time_step_rank"))
                << "is " << recurrence.n_head << ", which the " << recurrence.n_key_head << " groups do not divide");
  const u32 period = reader.optional("full_attention_interval", 4, 1, max_layers);
  const gguf::Value* const list = reader.find(listed);
  if (list && list->type == gguf::ValueType::array && list->count < config.n_layer())
    return reader.keep(fail(Code::corrupt, reader.full(listed), list->offset)
                       << "has " << list->count << " entries; the model has " << config.n_layer() << " layers");
  for (u32 i = 0; i < config.n_layer(); ++i) {
    bool recurrent = (i + 1) % period != 0;
    if (list) {
      const bool each = list->type == gguf::ValueType::array;
      const Result<bool> entry = gguf::flag(reader.full(listed), each ? gguf::element(*list, i) : *list);
      if (!entry) return reader.keep(entry.error());
      recurrent = entry.value();
    }
    if (!recurrent) continue;
    LayerShape& layer = config.layers[i];
    layer.mixer = Mixer::delta_net;
    layer.recurrence = config.widest.recurrence = recurrence;
    layer.n_head = layer.n_head_kv = 0;
  }
  for (const LayerShape& layer : config.layers) {
    if (layer.mixer == Mixer::attention) return;
  }
  reader.keep(fail(Code::unsupported, reader.full("full_attention_interval"), reader.offset("full_attention_interval"))
              << "leaves no layer with attention; Flyball runs models that have some");
}

}  // namespace flyball::model
