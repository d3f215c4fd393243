#include "model/gemma3n.h"

#include "base/math.h"
#include "model/config_parts.h"
#include "model/gemma4.h"

namespace flyball::model {
namespace {

// Gates of the first layers keep about 5 % of their values, unless the file has a number for each layer, where negative
// infinity stands for all.
void read_sparsity(const gguf::File& file, Reader& reader, Config& config) {
  constexpr Str key = "activation_sparsity_scale";
  constexpr u32 n_sparse = 10;
  constexpr f32 deviations = 1.6448533535003662f, most = 10;
  if (!reader.has(key)) {
    for (u32 i = 0; i < min(n_sparse, config.n_layer()); ++i) config.layers[i].least_deviations = deviations;
    return;
  }
  const Result<gguf::Value> array = file.get_array(reader.full(key), gguf::ValueType::f32);
  if (!array) return reader.keep(array.error());
  if (array.value().count < config.n_layer())
    return reader.keep(fail(Code::corrupt, reader.full(key), reader.offset(key))
                       << "has " << array.value().count << " entries; the model has " << config.n_layer() << " layers");
  for (u32 i = 0; i < config.n_layer(); ++i) {
    f32& least = config.layers[i].least_deviations;
    memcpy(&least, array.value().raw.data + u64(i) * sizeof least, sizeof least);
    if (!(least <= most && (least >= -most || least == -__builtin_inff())))
      reader.keep(fail(Code::corrupt, reader.full(key), reader.offset(key))
                  << "has " << f64(least) << " for layer " << i << ", expected at most " << f64(most)
                  << ", and at least its negative or negative infinity");
  }
}

}  // namespace

void read_gemma3n(const gguf::File& file, Reader& reader, Config& config) {
  constexpr u32 n_own_caches = 20;  // layers; no key is honored that says it otherwise
  config.activation = Activation::gelu;
  config.post_norms = true;
  config.value_norms = true;
  config.embedding_scale = sqrt32(f32(config.n_embd));
  config.attention_scale = 1;  // the norms of queries and keys have it
  config.final_softcap = f32(reader.real("final_logit_softcapping", 30, 0, 1e6));
  config.n_embd_per_layer = reader.optional("embedding_length_per_layer_input", 256, 1, 1 << 16);
  config.streams = true;
  config.laurel_rank = 64;
  reader.demand("altup.num_inputs", n_streams, "AltUp with another number of streams");
  reader.demand("altup.active_idx", 0, "AltUp with another active stream");
  read_sliding(reader, config, reader.required("attention.sliding_window", 1, u64(1) << 31), 5);
  const u32 n_shared = max(config.n_layer(), n_own_caches) - n_own_caches;
  reader.demand(shared_key, n_shared, "Gemma 3n with another number of layers that share a cache");
  share_caches(reader, config, n_shared);
  read_sparsity(file, reader, config);
}

}  // namespace flyball::model
