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
  return type != CacheType::q8_0 || (config.head_dim % 32 == 0 && config.value_dim % 32 == 0);
}

Result<KvCache> KvCache::create(Arena& arena, const model::Config& config, CacheType type, u32 capacity) {
  if (!holds(type, config)) {
    return fail(Code::unsupported, "cache") << "q8_0 needs head sizes that are multiples of 32; this model has "
                                            << config.head_dim << " and " << config.value_dim << ". Use f16";
  }
  KvCache cache;
  const u64 n_heads = u64(config.n_layer) * config.n_head_kv;
  cache.heads_ = arena.allocate<CacheHead>(n_heads);
  CacheHead head;
  head.type = type;
  head.head_dim = config.head_dim;
  head.value_dim = config.value_dim;
  const CachePartSizes sizes = cache_part_sizes(head, round_up(capacity, 16));
  if (!checked_mul(n_heads, sizes.total() + 4 * 64, &cache.bytes_)) cache.bytes_ = ~u64(0);
  u8* memory = static_cast<u8*>(arena.allocate_bytes(cache.bytes_));
  if (!memory || cache.heads_.empty()) {
    return fail(Code::out_of_memory, "cache")
           << "no memory for " << cache.bytes_
           << " bytes of keys and values; ask for a smaller context or another cache type";
  }
  for (CacheHead& to : cache.heads_) {
    const auto take = [&](u64 bytes) {
      u8* part = memory;
      memory += round_up(bytes, 64);
      return part;
    };
    to = head;
    to.keys = take(sizes.keys);
    to.values = take(sizes.values);
    to.key_scales = reinterpret_cast<u16*>(take(sizes.key_scales));
    to.value_scales = reinterpret_cast<u16*>(take(sizes.value_scales));
  }
  return cache;
}

u64 KvCache::part_bytes(u32 first, u32 end) const {
  return cache_part_sizes(heads_[0], round_up(end - first, 16)).total() * heads_.size;
}

}  // namespace flyball::runtime
