// Which layers are recurrent, and the sizes of their states.
#include "model/config_parts.h"

namespace flyball::model {
namespace {

// Of all that are recurrent.
void set_recurrent(LayerShape& layer, Mixer mixer, const Recurrence& recurrence) {
  layer.mixer = mixer;
  layer.recurrence = recurrence;
  layer.n_head = layer.n_head_kv = 0;
}

// Sequences are told apart by their caches, which models of recurrent layers alone would not have.
void demand_attention(Reader& reader, const Config& config, Str key) {
  for (const LayerShape& layer : config.layers) {
    if (layer.mixer == Mixer::attention) return;
  }
  reader.keep(fail(Code::unsupported, reader.full(key), reader.offset(key))
              << "leaves no layer with attention; Flyball runs models that have some");
}

// Heads and groups of the `ssm` keys, their states still without values.
Recurrence read_heads(Reader& reader) {
  Recurrence recurrence;
  recurrence.n_tap = reader.required("ssm.conv_kernel", 2, 64);
  recurrence.key_dim = reader.required("ssm.state_size", 1, 4096);
  recurrence.n_key_head = reader.required("ssm.group_count", 1, max_heads);
  recurrence.n_head = reader.required("ssm.time_step_rank", 1, max_heads);
  if (reader.status().ok() && recurrence.n_head % recurrence.n_key_head != 0)
    reader.keep(fail(Code::corrupt, reader.full("ssm.time_step_rank"), reader.offset("ssm.time_step_rank"))
                << "is " << recurrence.n_head << ", which the " << recurrence.n_key_head << " groups do not divide");
  return recurrence;
}

}  // namespace

void read_delta_net(Reader& reader, Config& config) {
  config.shared_gate = true;
  constexpr Str interval = "full_attention_interval", listed = "attention.recurrent_layers";
  Recurrence recurrence = read_heads(reader);
  if (!reader.status().ok()) return;
  recurrence.value_dim = recurrence.key_dim;
  recurrence.grouped = config.architecture == Architecture::qwen3next;
  recurrence.first_key = recurrence.n_key_head * recurrence.key_dim;
  recurrence.first_value = 2 * recurrence.first_key;
  recurrence.n_channel = recurrence.first_value + recurrence.out_dim();
  recurrence.n_factor = 2;
  reader.demand("ssm.inner_size", recurrence.out_dim(), "heads whose values have another size than their keys");
  const u32 period = reader.optional(interval, 4, 1, max_layers);
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
    if (recurrent) set_recurrent(config.layers[i], Mixer::delta_net, recurrence);
  }
  config.widest.recurrence = recurrence;
  demand_attention(reader, config, interval);
}

void read_mamba2(Reader& reader, Config& config) {
  Recurrence recurrence = read_heads(reader);
  const u32 inner = reader.required("ssm.inner_size", 1, 1 << 22);
  if (!reader.status().ok()) return;
  if (inner % recurrence.n_head != 0)
    return reader.keep(fail(Code::corrupt, reader.full("ssm.inner_size"), reader.offset("ssm.inner_size"))
                       << "is " << inner << ", which the " << recurrence.n_head << " heads do not divide");
  recurrence.value_dim = inner / recurrence.n_head;
  recurrence.grouped = true;
  recurrence.first_key = inner;
  recurrence.first_query = inner + recurrence.n_key_head * recurrence.key_dim;
  recurrence.n_channel = recurrence.first_query + recurrence.n_key_head * recurrence.key_dim;
  recurrence.n_factor = 1;
  for (LayerShape& layer : config.layers) {
    if (config.single_blocks && (layer.n_ff != 0 || layer.n_expert != 0)) {
      layer.mixer = Mixer::none;
      layer.n_head = layer.n_head_kv = 0;
    } else if (layer.n_head_kv == 0) {
      set_recurrent(layer, Mixer::mamba2, recurrence);
    }
  }
  config.widest.recurrence = recurrence;
  demand_attention(reader, config, "attention.head_count_kv");
}

void read_short_convolution(Reader& reader, Config& config) {
  Recurrence recurrence;
  recurrence.n_tap = reader.required("shortconv.l_cache", 2, 64);
  recurrence.n_channel = config.n_embd;
  for (LayerShape& layer : config.layers) {
    if (layer.n_head_kv == 0) set_recurrent(layer, Mixer::short_convolution, recurrence);
  }
  config.widest.recurrence = recurrence;
  demand_attention(reader, config, "attention.head_count_kv");
}

}  // namespace flyball::model
