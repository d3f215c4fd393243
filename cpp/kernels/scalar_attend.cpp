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

// What one token sees of a chunk: positions [begin, end) of the chunk that starts at `base`.
struct Chunk {
  u32 base;
  u32 begin;
  u32 end;
};

// scores[head][position - base] = q . k, one chain per position, d ascending; for all positions of the groups of 16
// that hold [begin, end).
template <CacheType type>
void dot_keys(const AttentionTask& task, const f32* queries, const Chunk& chunk, f32* scores) {
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
        const f32 q = queries[h * dim + d];
        f32* score = scores + h * attention_chunk + at;
        for (u32 lane = 0; lane < lanes; ++lane) score[lane] = fma32(q, key[lane], score[lane]);
      }
    }
  }
}

// Turns one head's dot products into weights e^(score - largest), and sums them in 16 lanes by position.
void weigh(const AttentionTask& task, const Chunk& chunk, f32* scores, f32& largest, f32& weights) {
  largest = -__builtin_inff();
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
  weights = reduce_lanes(lane);
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

AttentionSums sums_at(f32* from, u32 n_rows, u32 dim) {
  return {from, from + u64(n_rows) * dim, from + u64(n_rows) * (dim + 1)};
}

// Adds a chunk's sums of one row to those before it, rescaled to the larger maximum.
void add_chunk(const AttentionSums& total, const AttentionSums& chunk, u32 row, u32 dim, bool is_first) {
  f32* values = total.values + row * dim;
  const f32* added = chunk.values + row * dim;
  if (is_first) {
    total.largest[row] = chunk.largest[row];
    total.weights[row] = chunk.weights[row];
    memcpy(values, added, dim * sizeof(f32));
    return;
  }
  const f32 largest = chunk.largest[row] > total.largest[row] ? chunk.largest[row] : total.largest[row];
  const f32 old_factor = exp32(total.largest[row] - largest);
  const f32 new_factor = exp32(chunk.largest[row] - largest);
  total.largest[row] = largest;
  total.weights[row] = fma32(chunk.weights[row], new_factor, total.weights[row] * old_factor);
  for (u32 d = 0; d < dim; ++d) values[d] = fma32(added[d], new_factor, values[d] * old_factor);
}

bool sees(const AttentionTask& task, u32 token, u32 chunk) {
  return chunk >= task.first_seen(token) / attention_chunk && chunk <= (task.position + token) / attention_chunk;
}

template <CacheType type>
void sum_chunk(const AttentionTask& task, u32 number, f32* scores, const AttentionSums& sums) {
  const u32 base = number * attention_chunk;
  for (u32 t = 0; t < task.n_tokens; ++t) {
    if (!sees(task, t, number)) continue;
    const Chunk chunk = {base, max(base, task.first_seen(t)), min(base + attention_chunk, task.position + t + 1)};
    const u32 row = t * task.n_heads;
    dot_keys<type>(task, task.queries + t * task.query_stride, chunk, scores);
    for (u32 h = 0; h < task.n_heads; ++h) {
      weigh(task, chunk, scores + h * attention_chunk, sums.largest[row + h], sums.weights[row + h]);
    }
    sum_values<type>(task, chunk, scores, sums.values + u64(row) * task.cache->value_dim);
  }
}

void add_chunks(const AttentionTask& task, u32 number, const AttentionSums& total, const AttentionSums& chunk) {
  for (u32 t = 0; t < task.n_tokens; ++t) {
    if (!sees(task, t, number)) continue;
    const bool is_first = number == task.first_seen(t) / attention_chunk;
    for (u32 h = 0; h < task.n_heads; ++h) {
      add_chunk(total, chunk, t * task.n_heads + h, task.cache->value_dim, is_first);
    }
  }
}

// Chunks are summed on their own and then added up, ascending.
template <CacheType type>
void attend_typed(const AttentionTask& task) {
  const u32 dim = task.cache->value_dim, n_rows = task.n_tokens * task.n_heads;
  const u64 sums_floats = attention_sums_floats(n_rows, dim);
  f32* scores = task.scratch;  // (n_heads, attention_chunk)
  f32* sums = scores + u64(task.n_heads) * attention_chunk;
  const AttentionSums own = sums_at(sums, n_rows, dim), total = sums_at(sums + sums_floats, n_rows, dim);
  const auto stored = [&](u32 number) {
    return sums_at(task.split->sums + (number - task.first_chunk()) * sums_floats, n_rows, dim);
  };
  for (u32 number = task.part_begin(task.part); number < task.part_begin(task.part + 1); ++number) {
    sum_chunk<type>(task, number, scores, task.split ? stored(number) : own);
    if (!task.split) add_chunks(task, number, total, own);
  }
  if (task.split) {
    if (__atomic_sub_fetch(&task.split->n_left, 1, __ATOMIC_ACQ_REL) != 0) return;
    for (u32 number = task.first_chunk(); number < task.chunk_end(); ++number) {
      add_chunks(task, number, total, stored(number));
    }
  }
  for (u32 row = 0; row < n_rows; ++row) {
    const u32 head = row % task.n_heads;
    f32* out = task.out + row / task.n_heads * task.out_stride + head * dim;
    const f32 factor = result_factor(total.largest[row], total.weights[row], task.sinks ? task.sinks + head : nullptr);
    for (u32 d = 0; d < dim; ++d) out[d] = total.values[u64(row) * dim + d] * factor;
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

namespace flyball::kernels {

f32 result_factor(f32 largest, f32 weights, const f32* sink) {
  if (sink == nullptr) return 1.0f / weights;
  const f32 new_largest = *sink > largest ? *sink : largest;
  const f32 factor = exp32(largest - new_largest);
  return factor / fma32(weights, factor, exp32(*sink - new_largest));
}

}  // namespace flyball::kernels
