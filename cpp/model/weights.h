// The tensors of a model, found by name, shape-checked where they are fetched, and interleaved once for the kernels.
#pragma once

#include "kernels/kernels.h"
#include "model/config.h"

namespace flyball::model {

using kernels::Matrix;

// Null bias, norm or factor pointers mean that the model has none. A Matrix with rows == 0 does not exist.
struct Attention {
  Matrix query, key, value;          // (q_dim, n_embd), (k_dim, n_embd), (v_dim, n_embd)
  const f32* query_bias = nullptr;   // (q_dim)
  const f32* key_bias = nullptr;     // (k_dim)
  const f32* value_bias = nullptr;   // (v_dim)
  const f32* query_norm = nullptr;   // (head_dim)
  const f32* key_norm = nullptr;     // (head_dim)
  Matrix output;                     // (n_embd, attended_dim)
  const f32* output_bias = nullptr;  // (n_embd)
};

struct FeedForward {
  Matrix gate, up;                 // (n_ff, n_embd)
  const f32* gate_bias = nullptr;  // (n_ff)
  const f32* up_bias = nullptr;    // (n_ff)
  Matrix down;                     // (n_embd, n_ff)
  const f32* down_bias = nullptr;  // (n_embd)
};

struct Experts {
  Matrix router;          // (n_expert, n_embd)
  Span<Matrix> gate, up;  // (n_expert) of (n_ff, n_embd)
  Span<Matrix> down;      // (n_expert) of (n_embd, n_ff)
};

struct Layer {
  const f32* attention_norm = nullptr;  // (n_embd)
  Attention attention;
  const f32* attention_post_norm = nullptr;  // (n_embd)
  const f32* ffn_norm = nullptr;             // (n_embd)
  FeedForward feed_forward;                  // or
  Experts experts;
  const f32* ffn_post_norm = nullptr;  // (n_embd)
};

struct Weights {
  const gguf::Tensor* embedding = nullptr;  // (n_vocab, n_embd), in the file's own layout: rows are looked up
  Span<Layer> layers;                       // (n_layer)
  const f32* output_norm = nullptr;         // (n_embd)
  Matrix output;                            // (n_vocab, n_embd)
  const f32* output_bias = nullptr;         // (n_vocab)
  const f32* rope_factors = nullptr;        // (n_rot / 2), llama 3
  const f32* rope_factors_long = nullptr;   // (n_rot / 2), phi3
  const f32* rope_factors_short = nullptr;  // (n_rot / 2)
  u64 packed_bytes = 0;
};

struct LoadProgress {
  void* context = nullptr;
  bool (*report)(void* context, u64 done_bytes, u64 total_bytes) = nullptr;
};

// Whether load_weights() would take this file, and why not: reads the description and the names alone.
Status check_model(const Platform& platform, const gguf::File& file, u32 n_vocab);

// Small tensors go to the arena; `threads` threads pack each matrix into arena memory and give its pages of the
// mapping back, so the peak is one copy of the weights.
Result<Weights> load_weights(Arena& arena, const Platform& platform, const gguf::File& file, const Config& config,
                             u32 threads, LoadProgress progress);

}  // namespace flyball::model
