// Low-rank adapters (LoRA): what a file adds to the matrices of a model, y = W x + B (s (A x)). docs/adapters.md.
#pragma once

#include "model/weights.h"

namespace flyball::model {

constexpr u32 max_rank = 4096;

struct LowRank {
  Matrix a;       // (rank, cols of W); rows == 0: there is none
  Matrix b;       // (rows of W, rank)
  f32 scale = 1;  // of A x: alpha / rank, or 1 where the file has no alpha
};

struct Adapter {
  Span<LowRank> matrices;  // by Matrix::number
  Span<f32> embedding_a;   // (n_vocab, rank): a token's row stands for A x
  LowRank embedding;       // b alone
  f32 alpha = 0;           // 0: the file has none
  u32 largest_rank = 0;
  u32 n_pairs = 0;  // tensors of the model that it changes
  u64 packed_bytes = 0;

  const LowRank* of(const Matrix& matrix) const {
    const LowRank& pair = matrices[matrix.number];
    return pair.a.rows ? &pair : nullptr;
  }
};

struct AdapterUse {  // of one sequence
  const Adapter* adapter = nullptr;
  f32 scale = 1;
  friend bool operator==(const AdapterUse&, const AdapterUse&) = default;
};

// What an adapter's file says of itself, read and checked without its model.
struct AdapterDescription {
  Str architecture;
  Str name;  // general.name, may be empty
  f32 alpha = 0;
  u32 largest_rank = 0;
  u32 n_pairs = 0;
};
bool is_adapter(const gguf::File& file);
Result<AdapterDescription> describe_adapter(const gguf::File& file);

// Checks `file` against the model whose file and description are given: each pair of tensors has to fit one of the
// model's matrices, and each value has to be finite. The adapter lives in `arena` and borrows nothing.
Result<Adapter> load_adapter(Arena& arena, const Platform& platform, const gguf::File& model_file, const Config& config,
                             const gguf::File& file);

}  // namespace flyball::model
