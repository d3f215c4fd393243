// Attention over sixteen lanes: the sequences of scalar_attend.cpp. Included by avx512.cpp and avx2.cpp.
//
// Few rows (decode) take keys and values straight from the cache and prefetch what comes after: memory is the limit.
// Many rows (prefill) share keys and values that are converted to f32 once.

namespace flyball::kernels {
namespace {

struct Range {
  u32 begin, end;
};

// One call of attend(): its task, and the parts of its scratch.
struct Tile {
  const AttentionTask& task;
  u32 n_rows;
  u32 value_stride;  // value_dim, rounded up to whole vectors
  f32* queries;      // (head_dim / attention_chunk, n_rows + 16, attention_chunk)
  f32* scores;       // (n_rows + 16, attention_chunk), then weights
  f32* converted;    // keys (groups of 16 positions, head_dim, 16) or values (positions, value_stride)
  bool direct;       // few rows: the cache is read in place
};

AttentionSums sums_at(f32* from, const Tile& tile) {
  f32* const largest = from + u64(tile.n_rows + 8) * tile.value_stride;
  return {from, largest, largest + round_up(tile.n_rows + 16, 16)};
}

// Tokens that see any of the positions.
Range tokens_that_see(const AttentionTask& task, u32 begin, u32 end) {
  const u32 first = begin > task.position ? begin - task.position : 0;
  const u64 last = u64(end) + task.window - 1;  // the last position whose window reaches `end`
  if (task.window == 0 || last >= task.position + task.n_tokens) return {first, task.n_tokens};
  return {first, last > task.position ? u32(last) - task.position : 0};
}

// Rows of a tile are tiles of registers where there are many; few are padded to one.
u32 padded_rows(const Tile& tile, u32 n) {
  if (!tile.direct) return n;
  u32 rows = 1;
  while (rows < n) rows *= 2;
  return rows;
}

template <class P>
void dot_keys(const Tile& tile, const P& keys, Range rows, u32 n_groups, f32* scores) {
  const u32 dim = tile.task.cache->head_dim;
  const u32 end = rows.begin + padded_rows(tile, rows.end - rows.begin);
  for (u32 r = rows.begin, n = 0; r < end; r += n) {
    n = tile_rows<P>(end - r);
    for (u32 i = 0; i < n; ++i) {
      for (u32 g = 0; g < n_groups; ++g) store(scores + (r + i) * attention_chunk + g * n_lanes, zero());
    }
    const f32* queries = tile.queries + r * attention_chunk;
    for (u32 d = 0; d < dim; d += attention_chunk) {
      const u32 steps = min(attention_chunk, dim - d);
      multiply(keys.at(d, 0), {queries, scores + r * attention_chunk, attention_chunk, n_lanes, 0, steps}, n, n_groups);
      queries += (tile.n_rows + 16) * attention_chunk;
    }
  }
}

// The positions of a chunk that one token sees.
Range seen_of(const AttentionTask& task, u32 token, u32 base) {
  return {max(base, task.first_seen(token)), min(base + attention_chunk, task.position + token + 1)};
}

// The lanes of the 16 positions from `at` that are seen.
FLYBALL_INLINE M lanes_in(Range seen, u32 at) {
  const u32 skip = seen.begin > at ? seen.begin - at : 0;
  return and_not(first_n(min(seen.end - at, n_lanes)), first_n(skip));
}

// Turns a row's dot products into weights e^(score - largest), and sums them. An absent position's weight is +0, which
// changes no sum of weights. Memory would rest meanwhile: lines from `ahead` on are fetched.
void weigh(const AttentionTask& task, Range seen, u32 base, f32* scores, f32& largest, f32& weights, const u8* ahead) {
  const u32 first = seen.begin / n_lanes * n_lanes;
  // Vectors of which all lanes are seen need no mask.
  const auto each = [&](auto&& function) FLYBALL_LAMBDA {
    for (u32 at = first; at < seen.end; at += n_lanes) {
      const bool whole = at >= seen.begin && at + n_lanes <= seen.end;
      whole ? function(scores + at - base, [](F x, F) FLYBALL_LAMBDA { return x; })
            : function(scores + at - base,
                       [&](F x, F absent) FLYBALL_LAMBDA { return select(lanes_in(seen, at), x, absent); });
    }
  };
  F largest_lanes = set(-__builtin_inff());
  each([&](f32* p, auto seen_or) FLYBALL_LAMBDA {
    F score = mul(load(p), set(task.scale));
    if (task.softcap > 0) score = softcap_lanes(score, set(task.softcap));
    store(p, score);
    prefetch_line(ahead, 0), ahead += 64;
    largest_lanes = larger(seen_or(score, largest_lanes), largest_lanes);
  });
  largest = reduce_largest(largest_lanes);
  const F top = set(largest);
  F sum = zero();
  each([&](f32* p, auto seen_or) FLYBALL_LAMBDA {
    const F weight = seen_or(exp_lanes(sub(load(p), top)), zero());
    store(p, weight);
    prefetch_line(ahead, 0), ahead += 64;
    sum = add(sum, weight);
  });
  weights = reduce(sum);
}

// Adds weight * value over positions [begin, end) for the rows that see them; a row's own positions, no others: even a
// weight of 0 would change a sum of -0, or bring a NaN. `values` starts at `begin`.
template <class P>
void sum_values(const Tile& tile, const P& values, Range positions, u32 base, f32* sums) {
  const AttentionTask& task = tile.task;
  const u32 n_vectors = tile.value_stride / n_lanes;
  const auto add_rows = [&](u32 r, u32 n, u32 begin, u32 end) {
    if (begin >= end) return;
    // Steps count from the chunk's start, as weights do.
    const f32* weights = tile.scores + r * attention_chunk + positions.begin - base;
    multiply(values,
             {weights, sums + u64(r) * tile.value_stride, tile.value_stride, n_lanes, begin - positions.begin,
              end - positions.begin},
             n, n_vectors);
  };
  const Range tokens = tokens_that_see(task, positions.begin, positions.end);
  const u32 n_heads = task.n_heads, last_row = tokens.end * n_heads - 1;
  const u32 row_end = tokens.begin * n_heads + padded_rows(tile, (tokens.end - tokens.begin) * n_heads);
  for (u32 r = tokens.begin * n_heads, n = 0; r < row_end; r += n) {
    n = tile_rows<P>(row_end - r);
    const u32 first = r / n_heads, last = min(r + n - 1, last_row) / n_heads;
    Range common = {max(positions.begin, task.first_seen(last)), min(positions.end, task.position + first + 1)};
    if (common.begin >= common.end) common = {positions.end, positions.end};
    const auto add_ends = [&](bool before) {
      for (u32 t = first; t <= last; ++t) {
        const u32 begin = max(positions.begin, task.first_seen(t)), end = min(positions.end, task.position + t + 1);
        const u32 row = max(r, t * n_heads), n_own = min(min(r + n, (t + 1) * n_heads), last_row + 1) - row;
        for (u32 i = 0, some = 0; i < n_own; i += some) {
          some = tile_rows<P>(n_own - i);
          if (before) add_rows(row + i, some, begin, min(end, common.begin));
          if (!before) add_rows(row + i, some, max(begin, common.end), end);
        }
      }
    };
    if (first != last) add_ends(true);
    add_rows(r, n, common.begin, common.end);
    if (first != last) add_ends(false);
  }
}

template <CacheType type>
CachePanel<f32> convert_keys(const Tile& tile, u32 position, u32 n_groups) {
  const auto keys = keys_from<type>(*tile.task.cache, position);
  const u32 dim = tile.task.cache->head_dim;
  f32* to = tile.converted;
  for (u32 g = 0; g < n_groups; ++g) {
    for (u32 d = 0; d < dim; ++d, to += n_lanes) store(to, keys.get(d, g, keys.scale(d, g)));
  }
  return {tile.converted, n_lanes, u64(dim) * n_lanes};
}

FLYBALL_INLINE F load_cached_n(const f32* p, u32 n) { return load_n(p, n); }
FLYBALL_INLINE F load_cached_n(const u16* p, u32 n) { return load_half_n(p, n); }

template <CacheType type>
CachePanel<f32> convert_values(const Tile& tile, Range positions) {
  const auto values = values_from<type>(*tile.task.cache, positions.begin);
  const u32 dim = tile.task.cache->value_dim, whole = dim / n_lanes;
  for (u32 p = 0; p < positions.end - positions.begin; ++p) {
    f32* to = tile.converted + u64(p) * tile.value_stride;
    for (u32 v = 0; v < whole; ++v) store(to + v * n_lanes, values.get(p, v, zero()));
    if constexpr (type != CacheType::q8_0) {  // its dims are whole blocks
      if (dim % n_lanes != 0) store(to + whole * n_lanes, load_cached_n(values.address(p, whole), dim % n_lanes));
    }
  }
  return {tile.converted, tile.value_stride, n_lanes};
}

// The sums of chunk `number` for the rows that see any of it. Few rows read keys while the chunk's values are fetched,
// and values while the next chunk's keys are.
template <CacheType type>
void sum_chunk(const Tile& tile, u32 number, const AttentionSums& sums) {
  const AttentionTask& task = tile.task;
  const CacheHead& cache = *task.cache;
  const u32 base = number * attention_chunk, n_heads = task.n_heads;
  const Range tokens = tokens_that_see(task, base, base + attention_chunk);
  const Range seen = {seen_of(task, tokens.begin, base).begin, seen_of(task, tokens.end - 1, base).end};
  const u32 block = tile.direct ? attention_chunk : attention_positions;
  const bool more = seen.end < task.position + task.n_tokens;
  const auto* next_keys = keys_from<type>(cache, base + (more ? attention_chunk : 0)).from;

  for (u32 at = seen.begin / n_lanes * n_lanes; at < seen.end; at += block) {
    const u32 end = min(at + block, seen.end), n_groups = (end - at + n_lanes - 1) / n_lanes;
    const Range some = tokens_that_see(task, at, end);
    const Range rows = {some.begin * n_heads, some.end * n_heads};
    f32* scores = tile.scores + at - base;
    if (tile.direct || type == CacheType::f32) {
      auto keys = keys_from<type>(cache, at);
      if (tile.direct) keys.ahead = distance(cache.keys, cache.values);
      dot_keys(tile, keys, rows, n_groups, scores);
    } else {
      dot_keys(tile, convert_keys<type>(tile, at, n_groups), rows, n_groups, scores);
    }
  }
  const u8* ahead = reinterpret_cast<const u8*>(next_keys);
  constexpr u64 row_ahead = 2 * attention_chunk / n_lanes * 64;
  for (u32 row = tokens.begin * n_heads; row < tokens.end * n_heads; ++row) {
    weigh(task, seen_of(task, row / n_heads, base), base, tile.scores + row * attention_chunk, sums.largest[row],
          sums.weights[row], ahead);
    if (tile.direct) ahead += row_ahead;
  }
  const u64 first = u64(tokens.begin) * n_heads * tile.value_stride;
  memset(sums.values + first, 0, (u64(tokens.end) * n_heads * tile.value_stride - first) * sizeof(f32));
  for (u32 at = seen.begin; at < seen.end; at += block) {
    const Range positions = {at, min(at + block, seen.end)};
    if (tile.direct || (type == CacheType::f32 && cache.value_dim % n_lanes == 0)) {
      auto values = values_from<type>(cache, at);
      if (tile.direct && more) values.ahead = distance(values_from<type>(cache, base).address(0, 0), next_keys);
      sum_values(tile, values, positions, base, sums.values);
    } else {
      sum_values(tile, convert_values<type>(tile, positions), positions, base, sums.values);
    }
  }
}

// Adds a chunk's sums to those before it, each row rescaled to the larger maximum.
void add_chunk(const Tile& tile, u32 number, const AttentionSums& total, const AttentionSums& chunk) {
  const AttentionTask& task = tile.task;
  const u32 base = number * attention_chunk, n_heads = task.n_heads, stride = tile.value_stride;
  const Range tokens = tokens_that_see(task, base, base + attention_chunk);
  for (u32 row = tokens.begin * n_heads, end = tokens.end * n_heads; row < end; row += n_lanes) {
    const F before = load(total.largest + row), now = load(chunk.largest + row);
    const F largest = larger(now, before);
    f32 old_factors[n_lanes], new_factors[n_lanes];
    store(old_factors, exp_lanes(sub(before, largest)));
    store(new_factors, exp_lanes(sub(now, largest)));
    const F weights =
        fma(load(chunk.weights + row), load(new_factors), mul(load(total.weights + row), load(old_factors)));
    store(total.largest + row, largest);
    store(total.weights + row, weights);
    for (u32 i = 0; i < min(n_lanes, end - row); ++i) {
      f32* to = total.values + u64(row + i) * stride;
      const f32* from = chunk.values + u64(row + i) * stride;
      if (number == task.first_seen((row + i) / n_heads) / attention_chunk) {
        total.largest[row + i] = chunk.largest[row + i];
        total.weights[row + i] = chunk.weights[row + i];
        memcpy(to, from, stride * sizeof(f32));
        continue;
      }
      const F old_factor = set(old_factors[i]), new_factor = set(new_factors[i]);
      for (u32 d = 0; d < stride; d += n_lanes) {
        store(to + d, fma(load(from + d), new_factor, mul(load(to + d), old_factor)));
      }
    }
  }
}

void gather_queries(const Tile& tile) {
  const AttentionTask& task = tile.task;
  const u32 dim = task.cache->head_dim;
  const auto row_of = [&](u32 row, u32 d) {
    return tile.queries + (u64(d / attention_chunk) * (tile.n_rows + 16) + row) * attention_chunk;
  };
  for (u32 d = 0; d < dim; d += attention_chunk) {
    const u32 n = min(attention_chunk, dim - d);
    for (u32 row = 0; row < tile.n_rows; ++row) {
      const f32* from = task.queries + row / task.n_heads * task.query_stride + u64(row % task.n_heads) * dim + d;
      f32* to = row_of(row, d);
      each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(to + i, get(from + i)); });
    }
    if (!tile.direct) continue;
    // Rows that only fill a tile of registers need finite values.
    const u32 end = task.n_tokens == 1 ? padded_rows(tile, tile.n_rows) : tile.n_rows + 8;
    for (u32 row = tile.n_rows; row < end; ++row) memset(row_of(row, d), 0, n * sizeof(f32));
  }
}

void store_results(const Tile& tile, const AttentionSums& total) {
  const AttentionTask& task = tile.task;
  const u32 dim = task.cache->value_dim;
  for (u32 row = 0; row < tile.n_rows; ++row) {
    const u32 head = row % task.n_heads;
    f32* out = task.out + row / task.n_heads * task.out_stride + u64(head) * dim;
    const f32* values = total.values + u64(row) * tile.value_stride;
    const f32* sink = task.sinks ? task.sinks + head : nullptr;
    const F factor = set(result_factor(total.largest[row], total.weights[row], sink));
    each_lane(dim, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(out + i, mul(get(values + i), factor)); });
  }
}

template <CacheType type>
void attend_typed(const AttentionTask& task) {
  const u32 n_rows = task.n_tokens * task.n_heads, dim = task.cache->head_dim;
  const u32 value_stride = u32(round_up(task.cache->value_dim, n_lanes));
  f32* queries = task.scratch;
  f32* scores = queries + (n_rows + 16) * round_up(dim, attention_chunk);
  f32* sums = scores + u64(n_rows + 16) * attention_chunk;
  const u64 sums_floats = attention_sums_floats(n_rows, value_stride);
  const Tile tile = {task,
                     n_rows,
                     value_stride,
                     queries,
                     scores,
                     sums + 2 * sums_floats,
                     n_rows <= direct_rows && task.cache->value_dim == value_stride};
  const AttentionSums total = sums_at(sums, tile), own = sums_at(sums + sums_floats, tile);
  const auto stored = [&](u32 number) {
    return sums_at(task.split->sums + (number - task.first_chunk()) * sums_floats, tile);
  };
  gather_queries(tile);
  for (u32 number = task.part_begin(task.part); number < task.part_begin(task.part + 1); ++number) {
    sum_chunk<type>(tile, number, task.split ? stored(number) : own);
    if (!task.split) add_chunk(tile, number, total, own);
  }
  if (task.split) {
    if (__atomic_sub_fetch(&task.split->n_left, 1, __ATOMIC_ACQ_REL) != 0) return;
    for (u32 number = task.first_chunk(); number < task.chunk_end(); ++number) {
      add_chunk(tile, number, total, stored(number));
    }
  }
  store_results(tile, total);
}

void attend(const AttentionTask& task) {
  switch (task.cache->type) {
    case CacheType::f16: return attend_typed<CacheType::f16>(task);
    case CacheType::f32: return attend_typed<CacheType::f32>(task);
    case CacheType::q8_0: return attend_typed<CacheType::q8_0>(task);
  }
}

}  // namespace
}  // namespace flyball::kernels
