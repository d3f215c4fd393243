#include "base/math.h"
#include "kernels/scalar.h"

namespace flyball::kernels::scalar {

namespace {

constexpr u32 scale_block = 32;  // values that share a scale in a q8_0 cache

struct CacheBlock {
  u16 scale;
  i8 q[scale_block];
};

// d = amax / 127 rounded to f16; q = round_even(x / d) clamped. NaN and infinity: d = NaN, q = 0.
CacheBlock quantize_cache_block(const f32* x) {
  CacheBlock block = {};
  u32 largest = 0;
  for (u32 i = 0; i < scale_block; ++i) largest = max(largest, bit_cast<u32>(x[i]) & 0x7fffffffu);
  if (largest >= 0x7f800000u) {
    block.scale = 0x7e00;
    return block;
  }
  block.scale = f32_to_half(bit_cast<f32>(largest) / 127.0f);
  const f32 d = half_to_f32(block.scale);
  if (d == 0) return block;
  for (u32 i = 0; i < scale_block; ++i) {
    f32 q = x[i] / d;
    q = q > 127.0f ? 127.0f : q;
    q = q < -127.0f ? -127.0f : q;
    block.q[i] = i8(i32(round_even32(q)));
  }
  return block;
}

// Element i of the keys or values; `scale` is that of its block in a q8_0 cache.
template <CacheType type>
f32 cache_value(const void* from, u64 i, u16 scale) {
  if constexpr (type == CacheType::f16) return half_to_f32(static_cast<const u16*>(from)[i]);
  if constexpr (type == CacheType::f32) return static_cast<const f32*>(from)[i];
  return f32(static_cast<const i8*>(from)[i]) * half_to_f32(scale);  // exact: 8 and 11 bits
}

// One chunk: positions [begin, end) of the chunk that starts at `base`.
struct Chunk {
  u32 base;
  u32 begin;
  u32 end;
};

// scores[head][position - base] = q . k, one chain per position, d ascending; for all positions of the groups of 16
// that hold [begin, end).
template <CacheType type>
void dot_keys(const AttentionTask& task, const Chunk& chunk, f32* scores) {
  const CacheHead& cache = *task.cache;
  const u32 dim = cache.head_dim;
  [[maybe_unused]] const u32 n_scales = dim / scale_block;
  for (u32 group = chunk.begin / lanes; group <= (chunk.end - 1) / lanes; ++group) {
    const u32 at = group * lanes - chunk.base;
    for (u32 h = 0; h < task.n_heads; ++h) memset(scores + h * attention_chunk + at, 0, lanes * sizeof(f32));
    for (u32 d = 0; d < dim; ++d) {
      f32 key[lanes];
      for (u32 lane = 0; lane < lanes; ++lane) {
        u16 scale = 0;
        if constexpr (type == CacheType::q8_0) {
          scale = cache.key_scales[(u64(group) * n_scales + d / scale_block) * lanes + lane];
        }
        key[lane] = cache_value<type>(cache.keys, (u64(group) * dim + d) * lanes + lane, scale);
      }
      for (u32 h = 0; h < task.n_heads; ++h) {
        const f32 q = task.queries[h * dim + d];
        f32* score = scores + h * attention_chunk + at;
        for (u32 lane = 0; lane < lanes; ++lane) score[lane] = fma32(q, key[lane], score[lane]);
      }
    }
  }
}

struct ChunkSum {
  f32 largest;
  f32 sum;
};

// Turns one head's dot products into weights e^(score - largest), and sums them in 16 lanes by position.
ChunkSum weigh(const AttentionTask& task, const Chunk& chunk, f32* scores) {
  f32 largest = -__builtin_inff();
  for (u32 p = chunk.begin; p < chunk.end; ++p) {
    f32& score = scores[p - chunk.base];
    score = score * task.scale;
    if (task.softcap > 0) score = task.softcap * tanh32(score / task.softcap);
    largest = score > largest ? score : largest;
  }
  f32 lane[lanes] = {};
  for (u32 p = chunk.begin; p < chunk.end; ++p) {
    f32& weight = scores[p - chunk.base];
    weight = exp32(weight - largest);
    lane[p % lanes] += weight;
  }
  return {largest, reduce_lanes(lane)};
}

// out[head][d] = sum of weight * value over the chunk, one chain, positions ascending.
template <CacheType type>
void sum_values(const AttentionTask& task, const Chunk& chunk, const f32* weights, f32* out) {
  const CacheHead& cache = *task.cache;
  const u32 dim = cache.value_dim;
  memset(out, 0, u64(task.n_heads) * dim * sizeof(f32));
  for (u32 p = chunk.begin; p < chunk.end; ++p) {
    for (u32 first = 0; first < dim; first += scale_block) {
      const u32 n = min(scale_block, dim - first);
      u16 scale = 0;
      if constexpr (type == CacheType::q8_0) scale = cache.value_scales[(u64(p) * dim + first) / scale_block];
      f32 value[scale_block];
      for (u32 i = 0; i < n; ++i) value[i] = cache_value<type>(cache.values, u64(p) * dim + first + i, scale);
      for (u32 h = 0; h < task.n_heads; ++h) {
        const f32 weight = weights[h * attention_chunk + p - chunk.base];
        f32* sum = out + h * dim + first;
        for (u32 i = 0; i < n; ++i) sum[i] = fma32(weight, value[i], sum[i]);
      }
    }
  }
}

// What is known of one head, before and in this chunk.
struct HeadState {
  f32 largest;
  f32 sum;
  ChunkSum chunk;
};

void combine(HeadState& state, bool is_first, const f32* partial, u32 dim, f32* out) {
  if (is_first) {
    state.largest = state.chunk.largest;
    state.sum = state.chunk.sum;
    memcpy(out, partial, dim * sizeof(f32));
    return;
  }
  const f32 largest = state.chunk.largest > state.largest ? state.chunk.largest : state.largest;
  const f32 old_factor = exp32(state.largest - largest);
  const f32 new_factor = exp32(state.chunk.largest - largest);
  state.largest = largest;
  state.sum = fma32(state.chunk.sum, new_factor, state.sum * old_factor);
  for (u32 d = 0; d < dim; ++d) out[d] = fma32(partial[d], new_factor, out[d] * old_factor);
}

// Chunks are summed on their own and then combined, ascending, each time rescaled to the larger maximum.
template <CacheType type>
void attend_typed(const AttentionTask& task) {
  const u32 dim = task.cache->value_dim;
  f32* scores = task.scratch;                                                           // (n_heads, attention_chunk)
  f32* partial = scores + u64(task.n_heads) * attention_chunk;                          // (n_heads, value_dim)
  HeadState* states = reinterpret_cast<HeadState*>(partial + u64(task.n_heads) * dim);  // (n_heads)
  const u32 first_chunk = task.first / attention_chunk;
  for (u32 c = first_chunk; c <= task.position / attention_chunk; ++c) {
    const u32 base = c * attention_chunk;
    const Chunk chunk = {base, max(base, task.first), min(base + attention_chunk, task.position + 1)};
    dot_keys<type>(task, chunk, scores);
    for (u32 h = 0; h < task.n_heads; ++h) states[h].chunk = weigh(task, chunk, scores + h * attention_chunk);
    sum_values<type>(task, chunk, scores, partial);
    for (u32 h = 0; h < task.n_heads; ++h)
      combine(states[h], c == first_chunk, partial + h * dim, dim, task.out + h * dim);
  }
  for (u32 h = 0; h < task.n_heads; ++h) {
    const f32 factor = 1.0f / states[h].sum;
    for (u32 d = 0; d < dim; ++d) task.out[h * dim + d] *= factor;
  }
}

}  // namespace

void store_key(const CacheHead& cache, u32 position, const f32* key) {
  const u32 dim = cache.head_dim, group = position / lanes, lane = position % lanes;
  const u64 at = u64(group) * dim * lanes + lane;
  switch (cache.type) {
    case CacheType::f16:
      for (u32 d = 0; d < dim; ++d) static_cast<u16*>(cache.keys)[at + d * lanes] = f32_to_half(key[d]);
      break;
    case CacheType::f32:
      for (u32 d = 0; d < dim; ++d) static_cast<f32*>(cache.keys)[at + d * lanes] = key[d];
      break;
    case CacheType::q8_0:
      for (u32 b = 0; b < dim / scale_block; ++b) {
        const CacheBlock block = quantize_cache_block(key + b * scale_block);
        cache.key_scales[(u64(group) * (dim / scale_block) + b) * lanes + lane] = block.scale;
        for (u32 i = 0; i < scale_block; ++i) {
          static_cast<i8*>(cache.keys)[at + (b * scale_block + i) * lanes] = block.q[i];
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
      for (u32 d = 0; d < dim; ++d) static_cast<u16*>(cache.values)[at + d] = f32_to_half(value[d]);
      break;
    case CacheType::f32: memcpy(static_cast<f32*>(cache.values) + at, value, dim * sizeof(f32)); break;
    case CacheType::q8_0:
      for (u32 b = 0; b < dim / scale_block; ++b) {
        const CacheBlock block = quantize_cache_block(value + b * scale_block);
        cache.value_scales[u64(position) * (dim / scale_block) + b] = block.scale;
        memcpy(static_cast<i8*>(cache.values) + at + b * scale_block, block.q, scale_block);
      }
      break;
  }
}

void attend(const AttentionTask& task) {
  switch (task.cache->type) {
    case CacheType::f16: return attend_typed<CacheType::f16>(task);
    case CacheType::f32: return attend_typed<CacheType::f32>(task);
    case CacheType::q8_0: return attend_typed<CacheType::q8_0>(task);
  }
}

}  // namespace flyball::kernels::scalar
