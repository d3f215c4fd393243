// Keys and values of one sequence, for all layers and heads, in the layout that the attention kernels read.
#pragma once

#include "base/arena.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace flyball::runtime {

struct CachePartSizes {  // bytes of one head's positions, whose number is a multiple of 16
  u64 keys, key_scales, values, value_scales;
  u64 total() const { return keys + key_scales + values + value_scales; }
};
CachePartSizes cache_part_sizes(const kernels::CacheHead& head, u64 positions);

bool holds(kernels::CacheType type, const model::Config& config);  // whether heads of that size can have it

class KvCache {
 public:
  static Result<KvCache> create(Arena& arena, const model::Config& config, kernels::CacheType type, u32 capacity);

  const kernels::CacheHead* heads() const { return heads_.data; }  // as LayerShape::first_head_kv places them
  u64 bytes() const { return bytes_; }

  // The positions [first, end) of every head in a fixed order: layer by layer, head by head, keys, key scales, values,
  // value scales. Both are multiples of 16 (keys are interleaved so) or the end is rounded up to one.
  u64 part_bytes(u32 first, u32 end) const;  // all parts together
  template <class Function>
  void each_part(u32 first, u32 end, Function&& function) const;

 private:
  Span<kernels::CacheHead> heads_;
  u64 bytes_ = 0;
};

template <class Function>
void KvCache::each_part(u32 first, u32 end, Function&& function) const {
  for (const kernels::CacheHead& head : heads_) {
    const CachePartSizes before = cache_part_sizes(head, first);
    const CachePartSizes sizes = cache_part_sizes(head, round_up(end - first, 16));
    function(Span<u8>(static_cast<u8*>(head.keys) + before.keys, sizes.keys));
    function(Span<u8>(reinterpret_cast<u8*>(head.key_scales) + before.key_scales, sizes.key_scales));
    function(Span<u8>(static_cast<u8*>(head.values) + before.values, sizes.values));
    function(Span<u8>(reinterpret_cast<u8*>(head.value_scales) + before.value_scales, sizes.value_scales));
  }
}

}  // namespace flyball::runtime
