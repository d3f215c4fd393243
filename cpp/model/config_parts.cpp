#include "model/config_parts.h"

#include "base/math.h"

namespace flyball::model {

f32 read_scale(Reader& reader, Str key, bool optional) {
  const f64 scale = reader.real(key, optional ? 0 : -1, 0, 1e6);
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

// The cache has one key/value head for all; its value is the part of its key that does not rotate.
void read_latent(Reader& reader, LayerShape& shape, Latent& latent) {
  latent.rank = reader.required("attention.kv_lora_rank", 1, 2048);
  latent.query_rank = reader.optional("attention.q_lora_rank", 0, 0, 1 << 16);
  latent.key_dim = shape.head_dim, latent.value_dim = shape.value_dim;
  if (reader.has("attention.key_length_mla")) {  // older files have these under the usual names
    latent.key_dim = reader.required("attention.key_length_mla", 2, 4096);
    latent.value_dim = reader.required("attention.value_length_mla", 1, 4096);
  }
  const u32 n_rot = reader.required("rope.dimension_count", 2, 2048);
  if (n_rot >= latent.key_dim)
    reader.keep(fail(Code::corrupt, reader.full("rope.dimension_count"), reader.offset("rope.dimension_count"))
                << "is " << n_rot << "; of a key's " << latent.key_dim << " dimensions some must not rotate");
  if (reader.has("attention.key_length_mla")) {
    constexpr Str cached = "a cache of another width than the latent rank and what rotates";
    reader.demand("attention.key_length", latent.rank + n_rot, cached);
    reader.demand("attention.value_length", latent.rank, cached);
  }
  shape.mixer = Mixer::latent_attention;
  shape.n_head_kv = 1;
  shape.head_dim = latent.rank + n_rot;
  shape.value_dim = latent.rank;
}

// deepseek2: scores grow as YaRN would have the keys and queries grow, which here are not.
void read_latent_scales(Reader& reader, Config& config) {
  f64 magnitude = config.rope_magnitude;
  if (config.rope_scaling == RopeScaling::yarn)
    magnitude *= yarn_magnitude(config.rope_factor, 10 * reader.real("rope.scaling.yarn_log_multiplier", 0, 0, 1e3));
  config.attention_scale = f32(magnitude * magnitude) / sqrt32(f32(config.latent.key_dim));
  config.temperature_scale = reader.real("attention.temperature_scale", 0, 0, 1e3);
  if (config.temperature_scale != 0)
    config.temperature_length = reader.required("attention.temperature_length", 1, u64(1) << 31);
}

// A period P: the last layer of P sees all, 0: none does. Or an entry for each layer, a bool or 0 and 1.
void read_sliding(Reader& reader, Config& config, u32 window, u32 period, bool full_first) {
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
    bool sliding = period == 0 || layer % period != (full_first ? 0 : period - 1);
    if (per_layer) {
      const Result<bool> entry = gguf::flag(reader.full(key), gguf::element(*pattern, layer));
      if (!entry) return reader.keep(entry.error());
      sliding = entry.value();
    }
    config.layers[layer].sliding = sliding;
  }
}

}  // namespace flyball::model
