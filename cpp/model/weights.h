// The tensors of a model, found by name, shape-checked where they are fetched, and interleaved once for the kernels.
#pragma once

#include "base/hash.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace flyball::model {

struct Matrix : kernels::Matrix {
  u32 number = 0;  // among the model's, in the order in which they are loaded: adapters name them by it
};

// Null bias, norm or factor pointers mean that the model has none. A Matrix with rows == 0 does not exist.
struct Attention {
  Matrix query, key, value;          // (q_dim, or twice that with gates; n_embd), (k_dim, n_embd), (v_dim, n_embd)
  const f32* query_bias = nullptr;   // (q_dim)
  const f32* key_bias = nullptr;     // (k_dim)
  const f32* value_bias = nullptr;   // (v_dim)
  const f32* query_norm = nullptr;   // (head_dim), or (q_dim) if it is of all heads
  const f32* key_norm = nullptr;     // (head_dim), or (k_dim)
  const f32* value_norm = nullptr;   // (head_dim)
  const f32* sinks = nullptr;        // (n_head)
  Matrix gate;                       // (attended_dim, n_embd)
  Matrix output;                     // (n_embd, attended_dim)
  const f32* output_bias = nullptr;  // (n_embd)
};

struct LatentAttention {
  Matrix query_a;                    // (query_rank, n_embd), if queries are made in two steps
  const f32* query_norm = nullptr;   // (query_rank)
  Matrix query;                      // (n_head * key_dim, query_rank or n_embd)
  Matrix latent;                     // (rank + n_rot, n_embd)
  const f32* latent_norm = nullptr;  // (rank)
  Span<Matrix> key;                  // (n_head) of (rank, key_dim - n_rot): to a query's part in the latent space
  Span<Matrix> value;                // (n_head) of (value_dim, rank)
  Matrix output;                     // (n_embd, n_head * value_dim)
};

struct FeedForward {
  Matrix gate, up;                 // (n_ff, n_embd)
  const f32* gate_bias = nullptr;  // (n_ff)
  const f32* up_bias = nullptr;    // (n_ff)
  Matrix down;                     // (n_embd, n_ff)
  const f32* down_bias = nullptr;  // (n_embd)
};

// Of a recurrent layer. The kinds have some of these; their sizes are Recurrence's.
struct Recurrent {
  Matrix input;                           // (n_channel, n_embd), what is convolved
  Matrix gate;                            // (out_dim, n_embd)
  Matrix alpha, beta;                     // (n_head, n_embd), or alpha has both; short_convolution.cpp has another beta
  const f32* convolution = nullptr;       // (n_tap, n_channel)
  const f32* convolution_bias = nullptr;  // (n_channel)
  const f32* alpha_bias = nullptr;        // (n_head)
  const f32* rate = nullptr;              // (n_head) negative
  const f32* skip = nullptr;              // (n_head)
  const f32* query_scale = nullptr;       // (key_dim) of one value: see delta_net.cpp
  const f32* key_scale = nullptr;         // the same
  const f32* norm = nullptr;              // (value_dim), or (out_dim)
  Matrix output;                          // (n_embd, out_dim)
};

struct Experts {
  Matrix router;                     // (n_expert, n_embd)
  const f32* router_bias = nullptr;  // (n_expert)
  const f32* choice_bias = nullptr;  // (n_expert)
  Span<Matrix> gate, up;             // (n_expert) of (n_ff, n_embd)
  const f32* gate_bias = nullptr;    // (n_expert, n_ff)
  const f32* up_bias = nullptr;      // (n_expert, n_ff)
  Span<Matrix> down;                 // (n_expert) of (n_embd, n_ff)
  const f32* down_bias = nullptr;    // (n_expert, n_embd)
  FeedForward shared;                // that every token has, of width n_ff_shared
  Matrix shared_gate;  // (1, n_embd): the sigmoid of its product scales the shared one's output; may not exist
  // Gemma 4 has a dense feed-forward beside them: both outputs have norms, and the router one of its own for its input.
  const f32* router_norm = nullptr;       // (n_embd)
  const f32* norm = nullptr;              // (n_embd)
  const f32* beside_post_norm = nullptr;  // (n_embd)
  const f32* post_norm = nullptr;         // (n_embd)
};

struct Norm {
  Norm(const f32* weight_ = nullptr, const f32* bias_ = nullptr) : weight(weight_), bias(bias_) {}  // NOLINT
  const f32* weight;                                                                                // (n_embd)
  const f32* bias;                                                                                  // (n_embd)
};

struct LayerInput {
  Matrix gate;                     // (n_embd_per_layer, n_embd)
  Matrix projection;               // (n_embd, n_embd_per_layer)
  const f32* post_norm = nullptr;  // (n_embd)
};

struct Streams {
  const f32* router_norm = nullptr;  // (n_embd)
  Matrix router;                     // (n_streams, n_embd)
  const f32* prediction = nullptr;   // (n_streams, n_streams, n_streams): to each, from each
  const f32* correction = nullptr;   // (n_streams, n_streams)
  const f32* scale = nullptr;        // (n_embd), of what gates the layer's own input
};

struct Laurel {
  Matrix left;                     // (laurel_rank, n_embd)
  Matrix right;                    // (n_embd, laurel_rank)
  const f32* post_norm = nullptr;  // (n_embd)
};

struct Layer {
  Norm attention_norm;
  Attention attention;  // or
  LatentAttention latent;
  Recurrent recurrent;
  const f32* attention_post_norm = nullptr;  // (n_embd)
  Norm ffn_norm;
  FeedForward feed_forward;  // or, or both
  Experts experts;
  const f32* ffn_post_norm = nullptr;  // (n_embd)
  LayerInput input;
  Streams streams;
  Laurel laurel;
  const f32* output_scale = nullptr;  // (1), of the residual
};

struct LayerInputs {                     // of all layers, in the layers' order
  const gguf::Tensor* table = nullptr;   // (n_vocab, n_layer * n_embd_per_layer), in the file's own layout
  Matrix projection;                     // (n_layer * n_embd_per_layer, n_embd)
  const f32* projection_norm = nullptr;  // (n_embd_per_layer)
};

struct AllStreams {         // of all streams but the first
  Span<Matrix> begin, end;  // (n_streams - 1) of (n_embd, n_embd)
};

struct Weights {
  const gguf::Tensor* embedding = nullptr;  // (n_vocab, n_embd), in the file's own layout: rows are looked up
  LayerInputs inputs;
  AllStreams streams;
  const f32* embedding_norm = nullptr;  // (n_embd)
  Span<Layer> layers;                   // (n_layer)
  Norm output_norm;
  Matrix output;                            // (n_vocab, n_embd)
  const f32* output_bias = nullptr;         // (n_vocab)
  const f32* rope_factors = nullptr;        // (n_rot / 2), llama 3; gemma4: of full layers
  const f32* rope_factors_long = nullptr;   // (n_rot / 2), phi3
  const f32* rope_factors_short = nullptr;  // (n_rot / 2)
  u64 matrix_bytes = 0;                     // of all, packed or as the file has them
  u64 in_file_bytes = 0;                    // of those: read from the model's file
};

struct LoadProgress {
  void* context = nullptr;
  bool (*report)(void* context, u64 done_bytes, u64 total_bytes) = nullptr;
};

// Called for each matrix of a model in the order of their numbers: rows [first, first + rows) of a tensor.
struct MatrixVisitor {
  void* context = nullptr;
  void (*visit)(void* context, const gguf::Tensor& tensor, u32 first, u32 rows, u32 number) = nullptr;
};
Status visit_matrices(const Platform& platform, const gguf::File& file, const Config& config, MatrixVisitor visitor);

// Whether load_weights() would take this file, and why not: reads the description and the names alone.
Status check_model(const Platform& platform, const gguf::File& file, u32 n_vocab);

struct Needs {            // in bytes
  u64 weight_bytes = 0;   // packed matrices and vectors, in memory
  u64 packed_bytes = 0;   // the matrices alone, packed
  u64 in_file_bytes = 0;  // of those: that need no packing
  Digest packed_order;    // names the matrices in the order in which they lie there
  u64 token_bytes = 0;    // of weights, read for each token: of a mixture, of the experts that it chooses
};
// `in_file`: as PackedRoom's.
Result<Needs> needs_of(const Platform& platform, const gguf::File& file, const Config& config, u64 in_file = 0);

struct PackedRoom {    // where packed matrices lie, one after another in the order of loading
  Span<u8> bytes;      // Needs::packed_bytes of them; empty: in the arena
  bool whole = false;  // they are there already
  u64 in_file = 0;     // kernels::type_bit()s of those that are not packed where `bytes` is empty
};

// Small tensors go to the arena; `threads` threads pack each matrix into its room and give its pages of the mapping
// back, so the peak is one copy of the weights. Those that the kernels take as the file has them stay there.
Result<Weights> load_weights(Arena& arena, const Platform& platform, const gguf::File& file, const Config& config,
                             PackedRoom room, u32 threads, LoadProgress progress);

}  // namespace flyball::model
