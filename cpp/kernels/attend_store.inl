// A token's keys and values into the cache, in the layout that attention reads. Included after attend_tiles.inl.

namespace flyball::kernels {
namespace {

struct CacheBlock {
  u16 scale;
  i8 q[scale_block];
};

CacheBlock quantize_cache_block(const f32* x) {
  CacheBlock block = {};
  const F x0 = load(x), x1 = load(x + n_lanes);
  const i32 largest = reduce_max_i(max_i(bits(magnitude(x0)), bits(magnitude(x1))));
  if (largest >= 0x7f800000) {
    block.scale = 0x7e00;
    return block;
  }
  block.scale = _cvtss_sh(__builtin_bit_cast(f32, largest) / 127.0f, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const F d = set_half(block.scale);
  if (_cvtsh_ss(block.scale) == 0) return block;
  for (u32 v = 0; v < 2; ++v) {
    F q = div(v == 0 ? x0 : x1, d);
    q = select(less(set(127.0f), q), set(127.0f), q);
    q = select(less(q, set(-127.0f)), set(-127.0f), q);
    store_i8(block.q + v * n_lanes, round_to_int(q));
  }
  return block;
}

void store_key(const CacheHead& cache, u32 position, const f32* key) {
  const u32 dim = cache.head_dim, group = position / n_lanes, lane = position % n_lanes;
  const u64 at = u64(group) * dim * n_lanes + lane;
  switch (cache.type) {
    case CacheType::f16: {
      u16* to = static_cast<u16*>(cache.keys) + at;
      for (u32 d = 0; d < dim; d += n_lanes) {
        const u32 n = dim - d < n_lanes ? dim - d : n_lanes;
        u16 halves[n_lanes];
        store_half(halves, load_n(key + d, n));
        for (u32 i = 0; i < n; ++i) to[(d + i) * n_lanes] = halves[i];
      }
      break;
    }
    case CacheType::f32:
      for (u32 d = 0; d < dim; ++d) static_cast<f32*>(cache.keys)[at + d * n_lanes] = key[d];
      break;
    case CacheType::q8_0:
      for (u32 b = 0; b < dim / scale_block; ++b) {
        const CacheBlock block = quantize_cache_block(key + b * scale_block);
        cache.key_scales[(u64(group) * (dim / scale_block) + b) * n_lanes + lane] = block.scale;
        for (u32 i = 0; i < scale_block; ++i) {
          static_cast<i8*>(cache.keys)[at + (b * scale_block + i) * n_lanes] = block.q[i];
        }
      }
      break;
  }
}

void store_value(const CacheHead& cache, u32 position, const f32* value) {
  const u32 dim = cache.value_dim;
  const u64 at = u64(position) * dim;
  switch (cache.type) {
    case CacheType::f16:
      for (u32 d = 0; d < dim; d += n_lanes) {
        const u32 n = dim - d < n_lanes ? dim - d : n_lanes;
        u16 halves[n_lanes];
        store_half(halves, load_n(value + d, n));
        memcpy(static_cast<u16*>(cache.values) + at + d, halves, n * sizeof(u16));
      }
      break;
    case CacheType::f32: memcpy(static_cast<f32*>(cache.values) + at, value, dim * sizeof(f32)); break;
    case CacheType::q8_0:
      for (u32 b = 0; b < dim / scale_block; ++b) {
        const CacheBlock block = quantize_cache_block(value + b * scale_block);
        cache.value_scales[(at + b * scale_block) / scale_block] = block.scale;
        memcpy(static_cast<i8*>(cache.values) + at + b * scale_block, block.q, scale_block);
      }
      break;
  }
}

}  // namespace
}  // namespace flyball::kernels
