#include "model/gemma4.h"

#include "base/math.h"
#include "model/loader.h"

namespace flyball::model {
namespace {

// Heads of sliding layers have a size of their own; a value, which may be the raw key, has its key's.
void read_heads(Reader& reader, Config& config) {
  LayerShape& widest = config.widest;
  const u32 sliding = reader.optional("attention.key_length_swa", widest.head_dim, 2, 4096);
  const auto demand_same = [&](Str key, u32 values, u32 keys) {
    if (values != keys)
      reader.keep(fail(Code::unsupported, reader.full(key), reader.offset(key))
                  << "is " << values << "; in Gemma 4 a value has the size of its key, " << keys);
  };
  demand_same("attention.value_length", widest.value_dim, widest.head_dim);
  demand_same("attention.value_length_swa", reader.optional("attention.value_length_swa", sliding, 1, 4096), sliding);
  for (LayerShape& layer : config.layers) {
    if (layer.sliding) layer.head_dim = layer.value_dim = sliding;
  }
  config.n_rot_sliding = reader.rotated("rope.dimension_count_swa", sliding);
}

void read_experts(const gguf::File& file, Reader& reader, Config& config) {
  if (reader.optional("expert_count", 0, 0, max_experts) == 0) return;
  for (u32 i = 0; i < config.n_layer() && reader.status().ok(); ++i) {
    LayerShape& layer = config.layers[i];
    if (!file.tensor(LayerName(i, "ffn_gate_inp.weight"))) continue;
    layer.n_expert = reader.required("expert_count", 1, max_experts);
    layer.n_expert_used = reader.of_layer("expert_used_count", missing, 1, layer.n_expert, i, config.n_blocks);
    layer.n_ff_beside = layer.n_ff;
    layer.n_ff = reader.of_layer("expert_feed_forward_length", missing, 1, 1 << 22, i, config.n_blocks);
  }
}

}  // namespace

void share_caches(Reader& reader, Config& config, u32 n) {
  const u32 n_layer = config.n_layer();
  const auto refuse = [&](Str what) {
    reader.keep(fail(Code::corrupt, reader.full(shared_key), reader.offset(shared_key)) << "is " << n << what);
  };
  if (n != 0 && n_layer - n < 2) return refuse(", but two layers must have keys and values of their own");
  for (u32 i = n_layer - n; i < n_layer; ++i) {
    LayerShape& layer = config.layers[i];
    layer.kv_layer = n_layer - n - (layer.sliding ? 2 : 1);
    const LayerShape& source = config.layers[layer.kv_layer];
    if (source.sliding != layer.sliding || source.n_head_kv != layer.n_head_kv)
      return refuse(", but the layers before those are of another kind or have other heads");
    layer.shares_kv = true;
  }
}

void read_gemma4(const gguf::File& file, Reader& reader, Config& config) {
  config.activation = Activation::gelu;
  config.post_norms = true;
  config.value_norms = true;
  config.raw_values = true;
  config.embedding_scale = sqrt32(f32(config.n_embd));
  config.attention_scale = 1;  // the norms of queries and keys have it
  config.final_softcap = f32(reader.real("final_logit_softcapping", 30, 0, 1e6));
  config.n_embd_per_layer = reader.optional("embedding_length_per_layer_input", 0, 0, 1 << 16);
  constexpr Str pattern = "attention.sliding_window_pattern";
  if (!reader.has(pattern))
    reader.keep(fail(Code::not_found, reader.full(pattern)) << "is missing from the file's metadata");
  read_heads(reader, config);
  share_caches(reader, config, reader.optional(shared_key, 0, 0, config.n_layer()));
  read_experts(file, reader, config);
}

}  // namespace flyball::model
