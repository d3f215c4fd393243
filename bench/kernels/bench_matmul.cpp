// Matrix products on one thread, in its own processor time: decode (one token) in GB/s of packed weights that stream
// from memory, calls of a few tokens as a multiple of its time, prefill (512 tokens) in GOPS (2 x multiply-adds),
// packing in GB/s of file bytes. The read bandwidth of a plain loop is measured in the same run.
// bench_matmul [table] [type] [prefill]: the last word leaves out what streams from memory.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/math.h"
#include "host/host.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

using namespace flyball;
using gguf::Type;

namespace {

constexpr u64 pool_bytes = u64(640) << 20;  // beyond the last-level cache
constexpr u32 prefill_tokens = 512;

// The thread's own time: on a busy machine the wall clock would measure other load too.
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

u64 random_state = 1;
u32 random_u32() { return u32((random_state = random_state * 6364136223846793005u + 1442695040888963407u) >> 32); }

std::vector<u8> random_rows(Type type, u32 rows, u32 cols) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  std::vector<u8> bytes(u64(rows) * cols / info.block_values * info.block_bytes);
  if (type == Type::f32) {
    for (u64 i = 0; i < bytes.size(); i += 4) {
      const f32 value = f32(random_u32()) * 0x1p-32f - 0.5f;
      std::memcpy(bytes.data() + i, &value, 4);
    }
    return bytes;
  }
  for (u8& byte : bytes) byte = u8(random_u32() >> 24);
  for (u64 i = 1; i < bytes.size(); i += 2)
    bytes[i] = u8((bytes[i] & 0x83) | 0x24);  // as halves: of modest size, finite
  if (type == Type::mxfp4)
    for (u64 i = 0; i < bytes.size(); i += info.block_bytes) bytes[i] = u8(116 + bytes[i] % 8);
  return bytes;
}

f64 peak_gops(const kernels::Table& table) {
  u64 products = 0;
  const f64 seconds = best_seconds(5, [&] { products = table.probe(1'000'000); });
  return 2.0 * f64(products) / seconds / 1e9;
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
  volatile u64 sink = sum;
  (void)sink;
  return f64(pool_bytes) / seconds / 1e9;
}

struct Bench {
  u32 rows, cols;
  u8* pool;
  f32* y;
  bool prefill_only;
  kernels::Activations x;

  Bench(u32 n_rows, u32 n_cols, u8* memory, bool no_streams)
      : rows(n_rows),
        cols(n_cols),
        pool(memory),
        y(aligned<f32>(u64(prefill_tokens) * n_rows)),
        prefill_only(no_streams) {
    const u64 n = u64(prefill_tokens) * cols;
    f32* values = aligned<f32>(n);
    for (u64 i = 0; i < n; ++i) values[i] = f32(random_u32()) * 0x1p-31f - 1.0f;
    x = {prefill_tokens,
         cols,
         values,
         aligned<i8>(n),
         aligned<f32>(n / 32),
         aligned<i32>(n / 32),
         aligned<i8>(n),
         aligned<f32>(n / 256),
         aligned<i32>(n / 16)};
    kernels::usable_tables()[0]->quantize(x, 6, 0, prefill_tokens);
  }

  // `in_file`: the matrix as the file has it.
  void run(const kernels::Table& table, Type type, const std::vector<u8>& bytes, bool in_file) {
    const u64 group_bytes = in_file ? bytes.size() / rows * 16 : kernels::packed_group_bytes(type, cols);
    const u32 groups = rows / 16;
    const f64 pack = best_seconds(3, [&] {
      if (in_file)
        std::memcpy(pool, bytes.data(), bytes.size());
      else
        kernels::pack_groups(type, bytes.data(), rows, cols, 0, groups, pool);
    });
    const u64 matrix_bytes = groups * group_bytes, copies = pool_bytes / matrix_bytes;
    for (u64 i = 1; i < copies && !prefill_only; ++i) std::memcpy(pool + i * matrix_bytes, pool, matrix_bytes);
    const auto multiply = [&](u64 copy, u32 tokens) {
      kernels::Matrix w = {type, rows, cols, group_bytes, pool + copy * matrix_bytes};
      w.in_file = in_file;
      kernels::Activations some = x;
      some.n_tokens = tokens;
      table.matmul(w, some, 0, groups, y, rows);
    };
    const bool slow = std::string(table.name) == "scalar";
    const Str name = gguf::type_name(u32(type));
    std::printf("%-7s %-7.*s%s %5ux%-5u", table.name, int(name.size), name.data, in_file ? " in file" : "", rows, cols);
    f64 one = 0;
    for (const u32 n : {1u, 2u, 3u, 4u, 5u, 8u}) {
      if (prefill_only) break;
      const u64 used = slow ? std::min(copies, u64(2)) : copies;
      const f64 seconds = best_seconds(slow ? 1 : 3, [&] {
        for (u64 copy = 0; copy < used; ++copy) multiply(copy, n);
      });
      if (n == 1) one = seconds;
      if (n == 1)
        std::printf("  decode %6.2f GB/s ", f64(used * matrix_bytes) / seconds / 1e9);
      else
        std::printf(" %u: x%.2f", n, seconds / one);
    }
    const u32 tokens = slow ? 16 : prefill_tokens;
    const f64 prefill = best_seconds(slow ? 1 : 3, [&] { multiply(0, tokens); });
    std::printf("  prefill %7.1f GOPS  pack %5.2f GB/s\n", 2.0 * rows * cols * tokens / prefill / 1e9,
                f64(bytes.size()) / pack / 1e9);
    std::fflush(stdout);
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::string table_filter = argc > 1 ? argv[1] : "", type_filter = argc > 2 ? argv[2] : "";
  host::host_platform();  // asks the system for what the best table needs
  const bool prefill_only = argc > 3;
  u8* pool = aligned<u8>(pool_bytes + 8192);
  std::memset(pool, 1, prefill_only ? 1 << 26 : pool_bytes);
  if (!prefill_only)
    std::printf("plain read of %llu MB: %.2f GB/s\n", static_cast<unsigned long long>(pool_bytes >> 20),
                read_bandwidth(pool));
  for (const kernels::Table* table : kernels::usable_tables())
    std::printf("%-7s peak of int8 products: %.1f GOPS\n", table->name, peak_gops(*table));
  constexpr u32 shapes[][2] = {{2048, 2048}, {8192, 2048}, {2048, 8192}};
  for (const auto& [rows, cols] : shapes) {
    Bench bench(rows, cols, pool, prefill_only);
    for (const gguf::TypeInfo& info : gguf::supported_types()) {
      const std::string type(info.name.data, info.name.size);
      if (!type_filter.empty() && type != type_filter) continue;
      const std::vector<u8> bytes = random_rows(info.type, rows, cols);
      for (const kernels::Table* table : kernels::usable_tables()) {
        if (!table_filter.empty() && table_filter != table->name) continue;
        bench.run(*table, info.type, bytes, false);
        if ((table->in_file & kernels::type_bit(info.type)) != 0) bench.run(*table, info.type, bytes, true);
      }
    }
  }
  if (!prefill_only) std::printf("plain read again: %.2f GB/s\n", read_bandwidth(pool));
}
