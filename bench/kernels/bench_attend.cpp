// Attention on one thread, in its own processor time, heads of 64 in groups of 4 as in a 1B Llama: prefill of 512 tokens
// in GFLOPS, counted without what a causal tile computes in vain, beside the peak of chained multiply-adds; decode at
// 4,096 positions in GB/s of keys and values that stream from memory, beside a plain read's; all in one run.
// bench_attend [table]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "kernels/kernels.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

using namespace flyball;
using kernels::CacheHead;
using kernels::CacheType;
using kernels::Table;

namespace {

constexpr u32 head_dim = 64, n_positions = 4096;
constexpr u64 pool_bytes = u64(640) << 20;  // beyond the last-level cache

f64 now() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return f64(t.tv_sec) + f64(t.tv_nsec) * 1e-9;
}

// The fastest of several runs: other load on the machine only ever adds time.
template <class Function>
f64 best_seconds(u32 repeats, Function f) {
  f64 best = 1e9;
  for (u32 i = 0; i < repeats; ++i) {
    const f64 begin = now();
    f();
    best = std::min(best, now() - begin);
  }
  return best;
}

template <class T>
T* aligned(u64 n) {
  return static_cast<T*>(std::aligned_alloc(64, round_up(n * sizeof(T), 64)));
}

[[gnu::target("avx512f")]] f32 chains_512(u64 n) {
  __m512 sum[16];
  for (__m512& s : sum) s = _mm512_set1_ps(1e-3f);
  for (u64 i = 0; i < n; ++i) {
    for (__m512& s : sum) s = _mm512_fmadd_ps(s, s, s);
  }
  f32 total = 0;
  for (const __m512& s : sum) total += _mm512_reduce_add_ps(s);
  return total;
}

[[gnu::target("avx2,fma")]] f32 chains_256(u64 n) {
  __m256 sum[12];
  for (__m256& s : sum) s = _mm256_set1_ps(1e-3f);
  for (u64 i = 0; i < n; ++i) {
    for (__m256& s : sum) s = _mm256_fmadd_ps(s, s, s);
  }
  f32 total = 0;
  for (const __m256& s : sum) total += s[0];
  return total;
}

volatile f32 sink;

f64 peak_gflops(const std::string& table) {
  constexpr u64 n = 4'000'000;
  if (table == "scalar") return 0;
  const bool wide = table != "avx2";
  const f64 seconds = best_seconds(5, [&] { sink = wide ? chains_512(n) : chains_256(n); });
  return f64(n) * (wide ? 16 * 16 : 12 * 8) * 2 / seconds / 1e9;
}

f64 read_bandwidth(const u8* pool) {
  u64 sum = 0;
  const f64 seconds = best_seconds(5, [&] {
    const u64* p = reinterpret_cast<const u64*>(pool);
    u64 a = 0, b = 0, c = 0, d = 0;
    for (u64 i = 0; i < pool_bytes / 8; i += 8)
      a += p[i] + p[i + 4], b += p[i + 1] + p[i + 5], c += p[i + 2] + p[i + 6], d += p[i + 3] + p[i + 7];
    sum += a + b + c + d;
  });
  volatile u64 kept = sum;
  (void)kept;
  return f64(pool_bytes) / seconds / 1e9;
}

struct Cache {
  std::vector<CacheHead> heads;
  u64 head_bytes;

  Cache(CacheType type, u8* pool) {
    const u64 n = u64(n_positions) * head_dim;
    const u64 part = n * (type == CacheType::f32 ? 4 : type == CacheType::f16 ? 2 : 1);
    const u64 scales = type == CacheType::q8_0 ? n / 32 * 2 : 0;
    head_bytes = 2 * (part + scales);
    for (u8* at = pool; at + head_bytes <= pool + pool_bytes; at += head_bytes) {
      heads.push_back({type, head_dim, head_dim, at, at + part, reinterpret_cast<u16*>(at + 2 * part),
                       reinterpret_cast<u16*>(at + 2 * part + scales)});
    }
    const Table& table = *kernels::usable_tables()[0];
    f32 row[head_dim];
    for (u32 p = 0; p < n_positions; ++p) {
      for (u32 d = 0; d < head_dim; ++d) row[d] = std::sin(f32(p * 7 + d * 3));
      table.store_key(heads[0], p, row);
      table.store_value(heads[0], p, row);
    }
    for (u64 i = 1; i < heads.size(); ++i) std::memcpy(pool + i * head_bytes, pool, head_bytes);
  }
};

void run(const Table& table, const Cache& cache, const char* name, u32 n_heads, f32* queries, f32* out, f32* scratch) {
  const bool slow = std::string(table.name) == "scalar";
  const u32 n_prompt = slow ? 64 : 512, tile = std::max(1u, 64 / n_heads);
  kernels::AttentionTask task;
  task.queries = queries, task.out = out, task.scratch = scratch;
  task.query_stride = task.out_stride = 2048;
  task.n_heads = n_heads;
  task.scale = 0.125f;
  const f64 prefill = best_seconds(slow ? 1 : 20, [&] {
    task.cache = &cache.heads[0];
    for (u32 t = 0; t < n_prompt; t += tile) {
      task.position = t;
      task.n_tokens = std::min(tile, n_prompt - t);
      table.attend(task);
    }
  });
  task.n_tokens = 1;
  const auto decode = [&](u32 context, u64 n) {
    task.position = context - 1;
    return best_seconds(slow ? 1 : 5, [&] {
      for (u64 i = 0; i < n; ++i) {
        task.cache = &cache.heads[i];
        table.attend(task);
      }
    });
  };
  const u64 n = slow ? 1 : cache.heads.size();
  const f64 stream = f64(n * cache.head_bytes) / decode(n_positions, n) / 1e9;
  const f64 near = f64(cache.head_bytes) / (n_positions / 128) / decode(128, 1) / 1e9;
  const f64 flops = 4.0 * head_dim * n_heads * n_prompt * (n_prompt + 1) / 2;
  std::printf(
      "%-7s %-5s %u heads   prefill %7.1f GFLOPS (%2.0f %% of peak)   decode %6.2f GB/s from memory, %6.2f near\n",
      table.name, name, n_heads, flops / prefill / 1e9, 100 * flops / prefill / 1e9 / peak_gflops(table.name), stream,
      near);
  std::fflush(stdout);
}

}  // namespace

int main(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  u8* pool = aligned<u8>(pool_bytes);
  std::memset(pool, 1, pool_bytes);
  f32* queries = aligned<f32>(512 * 2048);
  f32* out = aligned<f32>(512 * 2048);
  f32* scratch = aligned<f32>(kernels::attention_scratch_floats(64, head_dim, head_dim));
  for (u32 i = 0; i < 512 * 2048; ++i) queries[i] = std::cos(f32(i));
  std::printf("plain read: %.2f GB/s\n", read_bandwidth(pool));
  const char* const names[] = {"f16", "f32", "q8_0"};
  for (const CacheType type : {CacheType::f16, CacheType::f32, CacheType::q8_0}) {
    const Cache cache(type, pool);
    for (const Table* table : kernels::usable_tables()) {
      if (!filter.empty() && filter != table->name) continue;
      for (const u32 n_heads : {1u, 3u, 4u, 8u}) run(*table, cache, names[u32(type)], n_heads, queries, out, scratch);
    }
  }
  std::printf("plain read again: %.2f GB/s\n", read_bandwidth(pool));
}
