#include "model/config_parts.h"

#include "base/math.h"

namespace flyball::model {

f32 read_scale(Reader& reader, Str key) {
  const f64 scale = reader.real(key, 0, 0, 1e6);
  return scale == 0 ? 1 : f32(scale);
}

void read_routing(Reader& reader, Config& config, Gating otherwise) {
  const u32 gating = reader.optional("expert_gating_func", 0, 0, 4);  // 0: not set
  config.routing.gating = gating == 0 ? otherwise : Gating(gating);
  config.routing.normalized = reader.boolean("expert_weights_norm", false);
  config.routing.scale = read_scale(reader, "expert_weights_scale");
}

void read_groups(Reader& reader, Config& config) {
  const u32 n_expert = config.widest.n_expert;
  Routing& routing = config.routing;
  routing.n_group = max(reader.optional("expert_group_count", 1, 0, max_expert_groups), 1u);
  if (routing.n_group == 1) return;
  routing.n_group_used = reader.required("expert_group_used_count", 1, routing.n_group);
  const u32 size = n_expert / routing.n_group;
  if (size < 2 || n_expert % routing.n_group != 0)
    reader.keep(fail(Code::corrupt, reader.full("expert_group_count"), reader.offset("expert_group_count"))
                << "is " << routing.n_group << ", which does not divide the " << n_expert
                << " experts into groups of two or more");
  if (u64(routing.n_group_used) * size < config.widest.n_expert_used)
    reader.keep(fail(Code::corrupt, reader.full("expert_group_used_count"), reader.offset("expert_group_used_count"))
                << "is " << routing.n_group_used << "; those groups have fewer experts than the "
                << config.widest.n_expert_used << " that a token takes");
}

// A period P: the last layer of P sees all, 0: none does. Or an entry for each layer, a bool or 0 and 1.
void read_sliding(Reader& reader, Config& config, u32 window, u32 period) {
  constexpr Str key = "attention.sliding_window_pattern";
  config.sliding_window = window;
  if (window == 0) return;
  const gguf::Value* pattern = reader.find(key);
  const bool per_layer = pattern && pattern->type == gguf::ValueType::array;
  if (!per_layer) period = reader.optional(key, period, 0, max_layers);
  if (per_layer && pattern->count < config.n_layer()) {
    return reader.keep(fail(Code::corrupt, reader.full(key), pattern->offset)
                       << "has " << pattern->count << " entries; the model has " << config.n_layer() << " layers");
  }
  for (u32 layer = 0; layer < config.n_layer(); ++layer) {
    bool sliding = period == 0 || layer % period < period - 1;
    if (per_layer) {
      const Result<bool> entry = gguf::flag(reader.full(key), gguf::element(*pattern, layer));
      if (!entry) return reader.keep(entry.error());
      sliding = entry.value();
    }
    config.layers[layer].sliding = sliding;
  }
}

}  // namespace flyball::model
