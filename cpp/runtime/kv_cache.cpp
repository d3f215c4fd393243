#include "runtime/kv_cache.h"

namespace flyball::runtime {
using kernels::CacheHead;
using kernels::CacheType;

CachePartSizes cache_part_sizes(const CacheHead& head, u64 positions) {
  const u64 width = head.type == CacheType::f32 ? 4 : head.type == CacheType::f16 ? 2 : 1;
  const bool scaled = head.type == CacheType::q8_0;
  return {positions * head.head_dim * width, scaled ? positions * (head.head_dim / 32) * 2 : 0,
          positions * head.value_dim * width, scaled ? positions * (head.value_dim / 32) * 2 : 0};
}

bool holds(CacheType type, const model::Config& config) {
  for (const model::LayerShape& layer : config.layers) {
    if (type == CacheType::q8_0 && (layer.head_dim % 32 != 0 || layer.value_dim % 32 != 0)) return false;
  }
  return true;
}

Result<KvCache> KvCache::create(Arena& arena, const model::Config& config, CacheType type, u32 capacity) {
  if (!holds(type, config)) {
    return fail(Code::unsupported, "cache")
           << "q8_0 needs head sizes that are multiples of 32; this model has " << config.widest.head_dim << " and "
           << config.widest.value_dim << ". Use f16";
  }
  KvCache cache;
  cache.heads_ = arena.allocate<CacheHead>(config.n_cache_heads());
  CacheHead* next = cache.heads_.data;
  for (const model::LayerShape& layer : config.layers) {
    if (cache.heads_.empty()) break;
    if (layer.shares_kv) continue;
    for (u32 h = 0; h < layer.n_head_kv; ++h) {
      next->type = type;
      next->head_dim = layer.head_dim;
      next->value_dim = layer.value_dim;
      cache.bytes_ += cache_part_sizes(*next, round_up(capacity, 16)).total() + 4 * 64;  // a shape's bounds: < 2^56
      ++next;
    }
  }
  u8* memory = static_cast<u8*>(arena.allocate_bytes(cache.bytes_));
  if (!memory || cache.heads_.empty()) {
    return fail(Code::out_of_memory, "cache")
           << "no memory for " << cache.bytes_
           << " bytes of keys and values; ask for a smaller context or another cache type";
  }
  for (CacheHead& head : cache.heads_) {
    const CachePartSizes sizes = cache_part_sizes(head, round_up(capacity, 16));
    const auto take = [&](u64 bytes) {
      u8* part = memory;
      memory += round_up(bytes, 64);
      return part;
    };
    head.keys = take(sizes.keys);
    head.values = take(sizes.values);
    head.key_scales = reinterpret_cast<u16*>(take(sizes.key_scales));
    head.value_scales = reinterpret_cast<u16*>(take(sizes.value_scales));
  }
  return cache;
}

u64 KvCache::part_bytes(u32 first, u32 end) const {
  u64 bytes = 0;
  for (const CacheHead& head : heads_) bytes += cache_part_sizes(head, round_up(end - first, 16)).total();
  return bytes;
}

}  // namespace flyball::runtime
