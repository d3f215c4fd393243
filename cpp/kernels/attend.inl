// Attention over sixteen lanes: the sequences of scalar_attend.cpp. Included by avx512.cpp and avx2.cpp after
// lanes.inl. Keys: a lane is a position, and each position's chain over d stays in its lane. Values: a lane is an
// element of the output, and its chain runs over the positions. Loads of keys and values are shared by up to four query
// heads.

namespace flyball::kernels {
namespace {

constexpr u32 scale_block = 32;  // values that share a scale in a q8_0 cache

struct Chunk {  // positions [begin, end) of the chunk that starts at `base`
  u32 base;
  u32 begin;
  u32 end;
};

FLYBALL_INLINE F set_half(u16 x) { return set(_cvtsh_ss(x)); }

template <CacheType type>
FLYBALL_INLINE F load_cached(const void* from, u64 i, F scale) {
  if constexpr (type == CacheType::f16) return load_half(static_cast<const u16*>(from) + i);
  if constexpr (type == CacheType::f32) return load(static_cast<const f32*>(from) + i);
  if constexpr (type == CacheType::q8_0) return mul(load_i8(static_cast<const i8*>(from) + i), scale);
}

template <CacheType type>
FLYBALL_INLINE F load_cached_n(const void* from, u64 i, u32 n) {
  if constexpr (type == CacheType::f32) return load_n(static_cast<const f32*>(from) + i, n);
  return load_half_n(static_cast<const u16*>(from) + i, n);  // a q8_0 cache has whole blocks only
}

// scores[head][position] for `heads` heads and `groups` groups of 16 positions.
template <CacheType type, u32 heads, u32 groups>
void dot_key_tile(const CacheHead& cache, const f32* queries, u32 group, f32* scores) {
  const u32 dim = cache.head_dim;
  F sum[heads][groups];
  for (u32 h = 0; h < heads; ++h) {
    for (u32 g = 0; g < groups; ++g) sum[h][g] = zero();
  }
  const u32 step = type == CacheType::q8_0 ? scale_block : dim;
  for (u32 first = 0; first < dim; first += step) {
    F scale[groups];
    for (u32 g = 0; g < groups; ++g) {
      scale[g] = zero();
      if constexpr (type == CacheType::q8_0) {
        scale[g] = load_half(cache.key_scales + (u64(group + g) * dim + first) / scale_block * n_lanes);
      }
    }
    for (u32 d = first; d < first + step; ++d) {
      F key[groups];
      for (u32 g = 0; g < groups; ++g)
        key[g] = load_cached<type>(cache.keys, (u64(group + g) * dim + d) * n_lanes, scale[g]);
      for (u32 h = 0; h < heads; ++h) {
        const F q = set(queries[h * dim + d]);
        for (u32 g = 0; g < groups; ++g) sum[h][g] = fma(q, key[g], sum[h][g]);
      }
    }
  }
  for (u32 h = 0; h < heads; ++h) {
    for (u32 g = 0; g < groups; ++g) store(scores + h * attention_chunk + g * n_lanes, sum[h][g]);
  }
}

template <CacheType type, u32 heads>
void dot_keys(const CacheHead& cache, const f32* queries, const Chunk& chunk, f32* scores) {
  constexpr u32 tile = key_tile / heads;
  u32 group = chunk.begin / n_lanes;
  const u32 end = (chunk.end - 1) / n_lanes + 1;
  for (; group + tile <= end; group += tile) {
    dot_key_tile<type, heads, tile>(cache, queries, group, scores + group * n_lanes - chunk.base);
  }
  for (; group < end; ++group)
    dot_key_tile<type, heads, 1>(cache, queries, group, scores + group * n_lanes - chunk.base);
}

struct ChunkSum {
  f32 largest;
  f32 sum;
};

// The lanes of the 16 positions from `at` that are in the chunk.
FLYBALL_INLINE M lanes_in(const Chunk& chunk, u32 at) {
  const u32 skip = chunk.begin > at ? chunk.begin - at : 0;
  const u32 n = chunk.end - at < n_lanes ? chunk.end - at : n_lanes;
  return and_not(first_n(n), first_n(skip));
}

ChunkSum weigh(const AttentionTask& task, const Chunk& chunk, f32* scores) {
  const u32 first = chunk.begin / n_lanes * n_lanes;
  F largest_lanes = set(-__builtin_inff());
  for (u32 at = first; at < chunk.end; at += n_lanes) {
    F score = mul(load(scores + at - chunk.base), set(task.scale));
    if (task.softcap > 0) score = softcap_lanes(score, set(task.softcap));
    store(scores + at - chunk.base, score);
    largest_lanes = larger(select(lanes_in(chunk, at), score, largest_lanes), largest_lanes);
  }
  const f32 largest = reduce_largest(largest_lanes);
  F sum = zero();
  for (u32 at = first; at < chunk.end; at += n_lanes) {
    // An absent position's weight is +0, which changes no sum of weights.
    const F weight = select(lanes_in(chunk, at), exp_lanes(sub(load(scores + at - chunk.base), set(largest))), zero());
    store(scores + at - chunk.base, weight);
    sum = add(sum, weight);
  }
  return {largest, reduce(sum)};
}

// out[head][first ...] over `vectors` vectors of 16 elements; `count` < 16 elements where `partial`.
template <CacheType type, u32 heads, u32 vectors, bool partial = false>
void sum_value_tile(const CacheHead& cache, const Chunk& chunk, const f32* weights, u32 first, u32 count, f32* out) {
  const u32 dim = cache.value_dim;
  F sum[heads][vectors];
  for (u32 h = 0; h < heads; ++h) {
    for (u32 v = 0; v < vectors; ++v) sum[h][v] = zero();
  }
  for (u32 p = chunk.begin; p < chunk.end; ++p) {
    const u64 at = u64(p) * dim + first;
    F value[vectors];
    for (u32 v = 0; v < vectors; ++v) {
      F scale = zero();
      if constexpr (type == CacheType::q8_0) scale = set_half(cache.value_scales[(at + v * n_lanes) / scale_block]);
      value[v] = partial ? load_cached_n<type>(cache.values, at, count)
                         : load_cached<type>(cache.values, at + v * n_lanes, scale);
    }
    for (u32 h = 0; h < heads; ++h) {
      const F weight = set(weights[h * attention_chunk + p - chunk.base]);
      for (u32 v = 0; v < vectors; ++v) sum[h][v] = fma(weight, value[v], sum[h][v]);
    }
  }
  for (u32 h = 0; h < heads; ++h) {
    for (u32 v = 0; v < vectors; ++v) {
      f32* to = out + h * dim + first + v * n_lanes;
      partial ? store_n(to, sum[h][v], count) : store(to, sum[h][v]);
    }
  }
}

template <CacheType type, u32 heads>
void sum_values(const CacheHead& cache, const Chunk& chunk, const f32* weights, f32* out) {
  constexpr u32 tile = value_tile / heads < 8 ? value_tile / heads : 8;
  const u32 dim = cache.value_dim;
  u32 first = 0;
  for (; first + tile * n_lanes <= dim; first += tile * n_lanes) {
    sum_value_tile<type, heads, tile>(cache, chunk, weights, first, 0, out);
  }
  for (; first + n_lanes <= dim; first += n_lanes) sum_value_tile<type, heads, 1>(cache, chunk, weights, first, 0, out);
  if (first < dim) sum_value_tile<type, heads, 1, true>(cache, chunk, weights, first, dim - first, out);
}

// What is known of one head, before and in this chunk.
struct HeadState {
  f32 largest;
  f32 sum;
  ChunkSum chunk;
};

FLYBALL_INLINE f32 exp_one(f32 x) {
  f32 lane[n_lanes];
  store(lane, exp_lanes(set(x)));
  return lane[0];
}

void combine(HeadState& state, bool is_first, const f32* partial, u32 dim, f32* out) {
  if (is_first) {
    state.largest = state.chunk.largest;
    state.sum = state.chunk.sum;
    memcpy(out, partial, dim * sizeof(f32));
    return;
  }
  const f32 largest = state.chunk.largest > state.largest ? state.chunk.largest : state.largest;
  const f32 old_factor = exp_one(state.largest - largest);
  const f32 new_factor = exp_one(state.chunk.largest - largest);
  state.largest = largest;
  state.sum = __builtin_fmaf(state.chunk.sum, new_factor, state.sum * old_factor);
  each_lane(dim, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA {
    put(out + i, fma(get(partial + i), set(new_factor), mul(get(out + i), set(old_factor))));
  });
}

// All of one chunk for `heads` heads from `h` on.
template <CacheType type, u32 heads>
void attend_chunk(const AttentionTask& task, const Chunk& chunk, u32 h, f32* scores, f32* partial, HeadState* states) {
  const CacheHead& cache = *task.cache;
  const bool is_first = chunk.base / attention_chunk == task.first / attention_chunk;
  dot_keys<type, heads>(cache, task.queries + u64(h) * cache.head_dim, chunk, scores);
  for (u32 i = 0; i < heads; ++i) states[h + i].chunk = weigh(task, chunk, scores + i * attention_chunk);
  sum_values<type, heads>(cache, chunk, scores, partial);
  for (u32 i = 0; i < heads; ++i) {
    combine(states[h + i], is_first, partial + i * cache.value_dim, cache.value_dim,
            task.out + u64(h + i) * cache.value_dim);
  }
}

template <CacheType type>
void attend_typed(const AttentionTask& task) {
  const u32 dim = task.cache->value_dim, n_heads = task.n_heads;
  f32* scores = task.scratch;                                                      // (n_heads, attention_chunk)
  f32* partial = scores + u64(n_heads) * attention_chunk;                          // (n_heads, value_dim)
  HeadState* states = reinterpret_cast<HeadState*>(partial + u64(n_heads) * dim);  // (n_heads)
  for (u32 number = task.first / attention_chunk; number <= task.position / attention_chunk; ++number) {
    const u32 base = number * attention_chunk;
    const u32 end = task.position + 1 - base < attention_chunk ? task.position + 1 : base + attention_chunk;
    const Chunk chunk = {base, task.first > base ? task.first : base, end};
    u32 h = 0;
    for (; h + 4 <= n_heads; h += 4) attend_chunk<type, 4>(task, chunk, h, scores, partial, states);
    if (h + 2 <= n_heads) attend_chunk<type, 2>(task, chunk, h, scores, partial, states), h += 2;
    if (h < n_heads) attend_chunk<type, 1>(task, chunk, h, scores, partial, states);
  }
  for (u32 h = 0; h < n_heads; ++h) scale_by(task.out + u64(h) * dim, 1.0f / states[h].sum, dim);
}

void attend(const AttentionTask& task) {
  switch (task.cache->type) {
    case CacheType::f16: return attend_typed<CacheType::f16>(task);
    case CacheType::f32: return attend_typed<CacheType::f32>(task);
    case CacheType::q8_0: return attend_typed<CacheType::q8_0>(task);
  }
}

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
