// Keys and values of one sequence, for all layers and heads, in the layout that the attention kernels read.
#pragma once

#include "base/arena.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace flyball::runtime {

class KvCache {
 public:
  static Result<KvCache> create(Arena& arena, const model::Config& config, kernels::CacheType type, u32 capacity);

  const kernels::CacheHead* heads() const { return heads_.data; }  // (n_layer, n_head_kv)
  u64 bytes() const { return bytes_; }

  // What a session file holds: the first `n_positions` of every head, 16 positions at a time (keys are interleaved so).
  // `each` gets the parts in a fixed order: layer by layer, head by head, keys, key scales, values, value scales.
  u64 saved_bytes(u32 n_positions) const;
  void each_part(u32 n_positions, void* context, void (*each)(void* context, Span<u8> part)) const;

 private:
  Span<kernels::CacheHead> heads_;
  u64 bytes_ = 0;
};

}  // namespace flyball::runtime
