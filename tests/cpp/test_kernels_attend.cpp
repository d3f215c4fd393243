// Attention and the key/value cache: every cache type on every table against the scalar reference bit by bit, and the
// reference against an evaluation in double.
#include <algorithm>
#include <cmath>

#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;
using kernels::AttentionTask;
using kernels::CacheHead;
using kernels::CacheType;
using kernels::Table;

constexpr CacheType cache_types[] = {CacheType::f16, CacheType::f32, CacheType::q8_0};

struct Cache {
  Cache(CacheType type, u32 head_dim, u32 value_dim, u32 capacity, int fill = 0)
      : keys(u64(capacity) * head_dim * 4, fill),
        values(u64(capacity) * value_dim * 4, fill),
        key_scales(u64(capacity) * head_dim / 32 + 1, fill),
        value_scales(u64(capacity) * value_dim / 32 + 1, fill) {
    head = {type, head_dim, value_dim, keys.data(), values.data(), key_scales.data(), value_scales.data()};
  }
  Buffer<u8> keys, values;
  Buffer<u16> key_scales, value_scales;
  CacheHead head;
};

bool same_bytes(const Cache& a, const Cache& b) {
  return std::memcmp(a.keys.data(), b.keys.data(), a.keys.size()) == 0 &&
         std::memcmp(a.values.data(), b.values.data(), a.values.size()) == 0 &&
         std::memcmp(a.key_scales.data(), b.key_scales.data(), a.key_scales.size() * 2) == 0 &&
         std::memcmp(a.value_scales.data(), b.value_scales.data(), a.value_scales.size() * 2) == 0;
}

// The cached number itself, as a double.
f64 cached(const CacheHead& c, bool key, u32 position, u32 d) {
  const u32 dim = key ? c.head_dim : c.value_dim;
  const void* from = key ? c.keys : c.values;
  const u64 at = key ? (u64(position / 16) * dim + d) * 16 + position % 16 : u64(position) * dim + d;
  switch (c.type) {
    case CacheType::f16: return half_to_f32(static_cast<const u16*>(from)[at]);
    case CacheType::f32: return static_cast<const f32*>(from)[at];
    case CacheType::q8_0: {
      const u16 scale = key ? c.key_scales[(u64(position / 16) * (dim / 32) + d / 32) * 16 + position % 16]
                            : c.value_scales[(u64(position) * dim + d) / 32];
      return f64(half_to_f32(scale)) * static_cast<const i8*>(from)[at];
    }
  }
  return 0;
}

struct Setting {
  u32 n_heads, first, position;  // of the last token
  f32 softcap;
  u32 n_tokens = 1;
  u32 n_parts = 1;
  const f32* sinks = nullptr;  // (n_heads)
  bool chunk = false;          // all tokens see from `first` on, else as far back as the last one does
  u32 window() const { return first == 0 || chunk ? 0 : position + 1 - first; }
  u32 n_rows() const { return n_heads * n_tokens; }
};

// Tokens and heads stand apart by more than their own size, as they do in a batch.
std::vector<f32> attend(const Table& table, const Cache& cache, const std::vector<f32>& queries, const Setting& s) {
  const u32 dim = cache.head.head_dim, value_dim = cache.head.value_dim, gap = 16;
  const u64 query_stride = s.n_heads * dim + gap, out_stride = s.n_heads * value_dim + gap;
  std::vector<f32> spread(s.n_tokens * query_stride, __builtin_nanf("")), out(s.n_tokens * out_stride, -5.0f);
  for (u32 t = 0; t < s.n_tokens; ++t) {
    std::copy_n(queries.begin() + t * s.n_heads * dim, s.n_heads * dim, spread.begin() + t * query_stride);
  }
  AttentionTask task;
  task.cache = &cache.head;
  task.queries = spread.data(), task.out = out.data();
  task.query_stride = query_stride, task.out_stride = out_stride;
  task.n_tokens = s.n_tokens, task.n_heads = s.n_heads;
  task.position = s.position + 1 - s.n_tokens, task.window = s.window();
  task.least = s.chunk ? s.first : 0;
  task.scale = 1.0f / std::sqrt(f32(dim)), task.softcap = s.softcap, task.sinks = s.sinks;
  const u64 n_chunks = task.chunk_end() - task.first_chunk();
  Buffer<f32> sums(n_chunks * kernels::attention_sums_floats(s.n_rows(), value_dim), 0xff);
  kernels::AttentionSplit split = {sums.data(), s.n_parts};
  if (s.n_parts > 1) task.split = &split, task.n_parts = s.n_parts;
  for (u32 part = s.n_parts; part-- > 0;) {                                                    // in any order
    Buffer<f32> scratch(kernels::attention_scratch_floats(s.n_rows(), dim, value_dim), 0xff);  // NaN
    task.part = part, task.scratch = scratch.data();
    table.attend(task);
  }
  std::vector<f32> packed(u64(s.n_rows()) * value_dim);
  for (u32 t = 0; t < s.n_tokens; ++t) {
    CHECK(std::all_of(&out[(t + 1) * out_stride - gap], &out[t * out_stride] + out_stride,
                      [](f32 x) { return x == -5.0f; }));
    std::copy_n(out.begin() + t * out_stride, s.n_heads * value_dim, packed.begin() + t * s.n_heads * value_dim);
  }
  return packed;
}

// The same rows, each token on its own and whole: what a tile or a division must not change.
std::vector<f32> attend_one_by_one(const Cache& cache, const std::vector<f32>& queries, const Setting& s) {
  const u32 floats = s.n_heads * cache.head.head_dim;
  std::vector<f32> all;
  for (u32 t = 0; t < s.n_tokens; ++t) {
    Setting one = s;
    one.n_tokens = one.n_parts = 1;
    one.position = s.position + 1 - s.n_tokens + t;
    if (!s.chunk) one.first = s.window() != 0 && one.position >= s.window() ? one.position + 1 - s.window() : 0;
    const std::vector<f32> own(queries.begin() + t * floats, queries.begin() + (t + 1) * floats);
    const std::vector<f32> out = attend(kernels::scalar_table, cache, own, one);
    all.insert(all.end(), out.begin(), out.end());
  }
  return all;
}

f64 largest_error(const Cache& cache, const std::vector<f32>& queries, const Setting& s, const std::vector<f32>& out) {
  const CacheHead& c = cache.head;
  const f64 scale = 1.0f / std::sqrt(f32(c.head_dim));
  f64 worst = 0;
  for (u32 h = 0; h < s.n_heads; ++h) {
    std::vector<f64> weights;
    f64 top = -1e300, sum = 0;
    for (u32 p = s.first; p <= s.position; ++p) {
      f64 dot = 0;
      for (u32 d = 0; d < c.head_dim; ++d) dot += f64(queries[h * c.head_dim + d]) * cached(c, true, p, d);
      dot *= scale;
      if (s.softcap > 0) dot = s.softcap * std::tanh(dot / s.softcap);
      weights.push_back(dot);
      top = std::max(top, dot);
    }
    if (s.sinks) top = std::max(top, f64(s.sinks[h])), sum = std::exp(s.sinks[h] - top);
    for (f64& w : weights) sum += w = std::exp(w - top);
    for (u32 d = 0; d < c.value_dim; ++d) {
      f64 exact = 0;
      for (u32 p = s.first; p <= s.position; ++p) exact += weights[p - s.first] / sum * cached(c, false, p, d);
      worst = std::max(worst, std::fabs(exact - out[h * c.value_dim + d]));
    }
  }
  return worst;
}

void fill(Cache& cache, u32 n, Random& random, const Table& table) {
  std::vector<f32> key(cache.head.head_dim), value(cache.head.value_dim);
  for (u32 p = 0; p < n; ++p) {
    for (f32& x : key) x = random.normal();
    for (f32& x : value) x = random.normal();
    table.store_key(cache.head, p, key.data());
    table.store_value(cache.head, p, value.data());
  }
}

std::string describe(const Table& table, const Cache& c, const Setting& s) {
  return std::string(table.name) + " cache " + std::to_string(int(c.head.type)) + " dims " +
         std::to_string(c.head.head_dim) + "/" + std::to_string(c.head.value_dim) + " heads " +
         std::to_string(s.n_heads) + " tokens " + std::to_string(s.n_tokens) + " parts " + std::to_string(s.n_parts) +
         " positions " + std::to_string(s.first) + ".." + std::to_string(s.position) + " softcap " +
         test::show(s.softcap);
}

f64 compare(const Cache& cache, const Setting& s, Random& random, bool evaluate) {
  std::vector<f32> queries(u64(s.n_rows()) * cache.head.head_dim);
  for (f32& q : queries) q = random.normal() * 2;
  const std::vector<f32> expected = attend_one_by_one(cache, queries, s);
  for (const Table* table : kernels::usable_tables()) {
    const std::vector<f32> out = attend(*table, cache, queries, s);
    const u64 at = first_difference(out.data(), expected.data(), out.size());
    if (at == out.size())
      CHECK(true);
    else
      test::failed(__FILE__, __LINE__, describe(*table, cache, s) + ": at " + std::to_string(at));
  }
  if (!evaluate) return 0;
  const f64 error = largest_error(cache, queries, s, expected);
  // Scores of up to about 10 carry a few roundings each; weights amplify them by that much.
  if (error < 2e-5)
    CHECK(true);
  else
    test::failed(__FILE__, __LINE__, describe(kernels::scalar_table, cache, s) + ": error " + test::show(error));
  return error;
}

}  // namespace

TEST(attend_positions) {
  Random random(1);
  f64 worst = 0;
  for (const CacheType type : cache_types) {
    Cache cache(type, 64, 64, 800);
    fill(cache, 800, random, kernels::scalar_table);
    for (const u32 position :
         {0u, 1u, 14u, 15u, 16u, 17u, 31u, 100u, 255u, 256u, 257u, 271u, 272u, 511u, 512u, 513u, 770u}) {
      worst = std::max(worst, compare(cache, {3, 0, position, 0}, random, true));
      worst = std::max(worst, compare(cache, {2, position / 2, position, 0}, random, true));  // a sliding window
      worst = std::max(worst, compare(cache, {4, position, position, 30.0f}, random, true));  // a window of one
      worst = std::max(worst, compare(cache, {1, position > 300 ? 290u : 0u, position, 50.0f}, random, true));
    }
    for (u32 first = 240; first < 275; ++first) compare(cache, {1, first, 600, 0}, random, false);
  }
  test::note("largest error against double " + test::show(worst));
}

TEST(attend_shapes) {
  Random random(2);
  for (const CacheType type : cache_types) {
    for (const u32 dim : {8u, 24u, 32u, 64u, 80u, 96u, 128u, 256u}) {
      if (type == CacheType::q8_0 && dim % 32 != 0) continue;
      Cache cache(type, dim, dim, 320);
      fill(cache, 310, random, kernels::scalar_table);
      for (u32 n_heads = 1; n_heads <= 9; ++n_heads)
        compare(cache, {n_heads, 0, 309, n_heads % 2 ? 0.0f : 20.0f}, random, n_heads == 2);
    }
    Cache unequal(type, 192, 128, 64);
    fill(unequal, 64, random, kernels::scalar_table);
    for (const u32 position : {0u, 33u, 63u}) compare(unequal, {2, 0, position, 0}, random, true);
  }
}

// Tokens that share keys and values, chunks divided among tasks: the bits of each token alone.
TEST(attend_tiles) {
  Random random(7);
  for (const CacheType type : cache_types) {
    Cache cache(type, 64, 64, 832);
    fill(cache, 832, random, kernels::scalar_table);
    for (const u32 n_heads : {1u, 2u, 3u, 4u, 7u, 8u}) {
      for (const u32 n_tokens : {1u, 2u, 3u, 5u, 16u, 21u, 70u}) {
        if (n_tokens * n_heads > 70) continue;
        for (const u32 position : {n_tokens - 1, 256u + n_tokens / 2, 511u}) {
          if (position + 1 < n_tokens) continue;
          compare(cache, {n_heads, 0, position, 0, n_tokens}, random, false);
        }
        for (const u32 window : {1u, 7u, 100u, 257u}) {  // across the border at 512
          const u32 position = 512 + n_tokens / 2;
          compare(cache, {n_heads, position + 1 - window, position, 30.0f, n_tokens}, random, false);
        }
        compare(cache, {n_heads, 0, 800, 0, n_tokens, 4}, random, false);
        compare(cache, {n_heads, 500, 800, 0, n_tokens, 2}, random, false);
      }
    }
    for (const u32 n_parts : {2u, 3u}) compare(cache, {4, 0, 831, 0, 1, n_parts}, random, false);
  }
}

// Tokens that see from a common position on, not as far back each.
TEST(attend_from_a_position) {
  Random random(11);
  for (const CacheType type : cache_types) {
    Cache cache(type, 64, 64, 832);
    fill(cache, 832, random, kernels::scalar_table);
    for (const u32 first : {1u, 16u, 255u, 256u, 300u, 512u, 600u}) {
      for (const u32 n_tokens : {1u, 2u, 5u, 21u}) {
        for (const u32 position : {first + n_tokens - 1, first + 40u, 800u}) {
          for (const u32 n_parts : {1u, 2u}) {
            if (n_parts > position / 256 - first / 256 + 1) continue;
            Setting s = {3, first, position, 0, n_tokens, n_parts};
            s.chunk = true;
            compare(cache, s, random, n_tokens == 1);
          }
        }
      }
    }
  }
}

TEST(attend_tile_shapes) {
  Random random(8);
  for (const CacheType type : cache_types) {
    for (const u32 dim : {8u, 24u, 32u, 80u, 96u, 128u, 256u, 320u}) {
      if (type == CacheType::q8_0 && dim % 32 != 0) continue;
      Cache cache(type, dim, dim, 320);
      fill(cache, 310, random, kernels::scalar_table);
      for (const u32 n_tokens : {2u, 5u, 17u})
        compare(cache, {3, 0, 309, 0, n_tokens, 1 + n_tokens % 2}, random, false);
      compare(cache, {2, 301, 309, 20.0f, 9}, random, false);
    }
    Cache unequal(type, 192, 128, 64);
    fill(unequal, 64, random, kernels::scalar_table);
    compare(unequal, {2, 0, 63, 0, 12}, random, false);
  }
}

TEST(attend_sinks) {
  Random random(9);
  const f32 sinks[] = {0, -3.5f, 12.0f, 100.0f, -100.0f, 5.0f, 1e30f, -1e30f};
  for (const CacheType type : cache_types) {
    Cache cache(type, 64, 64, 832);
    fill(cache, 832, random, kernels::scalar_table);
    for (const u32 position : {0u, 17u, 255u, 256u, 800u}) {
      Setting s = {8, 0, position, 0};
      s.sinks = sinks;
      compare(cache, s, random, true);
      s.first = position / 2, s.n_heads = 5;
      compare(cache, s, random, true);
      s.first = 0, s.n_tokens = min(position + 1, 9u), s.n_parts = min(position / 256 + 1, 3u);
      compare(cache, s, random, false);
    }
  }
}

// Positions outside the window may hold anything, NaN too, and contribute nothing.
TEST(attend_ignores_other_positions) {
  Random random(3);
  for (const CacheType type : cache_types) {
    Cache clean(type, 64, 64, 64), dirty(type, 64, 64, 64, 0xff);
    std::vector<f32> key(64), value(64), queries(2 * 64);
    for (u32 p = 5; p <= 40; ++p) {
      for (f32& x : key) x = random.normal();
      for (f32& x : value) x = random.normal();
      for (Cache* cache : {&clean, &dirty}) {
        kernels::scalar_table.store_key(cache->head, p, key.data());
        kernels::scalar_table.store_value(cache->head, p, value.data());
      }
    }
    for (f32& q : queries) q = random.normal();
    const std::vector<f32> expected = attend(kernels::scalar_table, clean, queries, {2, 5, 40, 0});
    for (const Table* table : kernels::usable_tables())
      CHECK(attend(*table, dirty, queries, {2, 5, 40, 0}) == expected);
  }
}

TEST(attend_large_scores) {
  Random random(4);
  Cache cache(CacheType::f32, 32, 32, 608);
  std::vector<f32> key(32), value(32);
  for (u32 p = 0; p < 600; ++p) {  // scores up to thousands: most weights are exactly 0, subnormal at the edge
    for (f32& x : key) x = random.normal() * (p % 7 == 0 ? 40.0f : 3.0f);
    for (f32& x : value) x = random.normal() * (p % 5 == 0 ? 1e-38f : 1.0f);
    kernels::scalar_table.store_key(cache.head, p, key.data());
    kernels::scalar_table.store_value(cache.head, p, value.data());
  }
  for (u32 i = 0; i < 20; ++i) compare(cache, {3, 0, 599 - i, 0}, random, false);
}

TEST(attend_non_finite) {
  Random random(5);
  for (const f32 bad : {__builtin_nanf(""), __builtin_inff(), -__builtin_inff()}) {
    for (const CacheType type : cache_types) {
      Cache cache(type, 32, 32, 32);
      fill(cache, 32, random, kernels::scalar_table);
      std::vector<f32> key(32, 0.5f), queries(32, 1.0f);
      key[3] = bad;
      kernels::scalar_table.store_key(cache.head, 20, key.data());
      const std::vector<f32> expected = attend(kernels::scalar_table, cache, queries, {1, 0, 31, 0});
      for (const Table* table : kernels::usable_tables()) {
        const std::vector<f32> out = attend(*table, cache, queries, {1, 0, 31, 0});
        CHECK_EQ(first_difference(out.data(), expected.data(), out.size()), out.size());
      }
    }
  }
}

TEST(cache_store) {
  Random random(6);
  for (const CacheType type : cache_types) {
    for (const u32 dim : {32u, 40u, 80u, 96u, 128u}) {
      if (type == CacheType::q8_0 && dim % 32 != 0) continue;
      Cache expected(type, dim, dim, 48);
      std::vector<std::vector<f32>> rows(48, std::vector<f32>(dim));
      for (u32 p = 0; p < 48; ++p) {
        const i32 exponent = p < 40 ? i32(p) * 7 - 149 : 0;  // from all subnormal to overflow
        for (f32& x : rows[p]) x = f32(std::ldexp(f64(random.normal()), exponent));
        if (p == 41) rows[p][3] = __builtin_nanf("");
        if (p == 42) rows[p][3] = -__builtin_inff();
        if (p == 43) std::fill(rows[p].begin(), rows[p].end(), -0.0f);
        if (p == 44) rows[p][5] = 65520.0f;
      }
      const auto store = [&](const Table& table, Cache& cache) {
        for (u32 p = 0; p < 48; ++p)
          table.store_key(cache.head, p, rows[p].data()), table.store_value(cache.head, p, rows[p].data());
      };
      store(kernels::scalar_table, expected);
      for (const Table* table : kernels::usable_tables()) {
        Cache got(type, dim, dim, 48);
        store(*table, got);
        if (type == CacheType::f32 || type == CacheType::q8_0) CHECK(same_bytes(got, expected));
        if (type != CacheType::f16) continue;
        u32 different = 0;  // NaN payloads of halves may differ
        for (u32 p = 0; p < 48; ++p) {
          for (u32 d = 0; d < dim; ++d) {
            different += !same_float(f32(cached(got.head, true, p, d)), f32(cached(expected.head, true, p, d)));
            different += !same_float(f32(cached(got.head, false, p, d)), f32(cached(expected.head, false, p, d)));
          }
        }
        CHECK_EQ(different, 0);
      }
      for (u32 d = 0; d < dim; ++d) {  // the reference itself: a stored number is close to what was stored
        f32 amax = 0;
        for (u32 i = d / 32 * 32; i < min(d / 32 * 32 + 32, dim); ++i) amax = std::max(amax, std::fabs(rows[45][i]));
        const f64 tolerance = type == CacheType::f32   ? 0
                              : type == CacheType::f16 ? std::fabs(rows[45][d]) / 2048
                                                       : amax / 250;
        CHECK(std::fabs(cached(expected.head, true, 45, d) - rows[45][d]) <= tolerance);
        CHECK(std::fabs(cached(expected.head, false, 45, d) - rows[45][d]) <= tolerance);
      }
    }
  }
}
