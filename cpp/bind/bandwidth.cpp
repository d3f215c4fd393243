// How fast this machine reads memory: the reference that decode is held against.
#include "base/parallel.h"
#include "bind/bind.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

constexpr u64 task_bytes = u64(1) << 20;

// Eight sums, so that additions wait for memory and not for each other; prefetched as far ahead as the kernels do, or
// decode would seem faster than memory.
u64 sum_of(const u64* from, u64 n) {
  constexpr u64 ahead = 2048 / sizeof(u64);
  u64 sums[8] = {};
  for (u64 i = 0; i + 8 <= n; i += 8) {
    __builtin_prefetch(from + i + ahead);
    for (u64 lane = 0; lane < 8; ++lane) sums[lane] += from[i + lane];
  }
  u64 total = 0;
  for (const u64 sum : sums) total += sum;
  return total;
}

// Bytes per second of the fastest of `repeats` passes over `bytes` of memory by `threads` threads.
double read_bandwidth(u64 bytes, u32 threads, u32 repeats) {
  const Platform& platform = host::host_platform();
  bytes = round_up(max(bytes, task_bytes), task_bytes);
  void* memory = platform.allocate(platform.self, bytes);
  if (!memory) raise("out_of_memory", "bandwidth", "no memory for " + std::to_string(bytes) + " bytes");
  double best = 0;
  {
    const GilReleased unlocked;
    u64* words = static_cast<u64*>(memory);
    const u32 n_tasks = static_cast<u32>(bytes / task_bytes);
    const u64 n_words = task_bytes / sizeof(u64);
    std::vector<u64> sums(n_tasks);
    parallel(platform, threads, n_tasks, [&](u32 task) {
      for (u64 i = 0; i < n_words; ++i) words[task * n_words + i] = i + task;  // real pages, not the one zero page
    });
    for (u32 repeat = 0; repeat < repeats; ++repeat) {
      const u64 start = now_ns(platform);
      parallel(platform, threads, n_tasks, [&](u32 task) { sums[task] += sum_of(words + task * n_words, n_words); });
      const u64 ns = now_ns(platform) - start;
      if (ns > 0) best = std::max(best, static_cast<double>(bytes) * 1e9 / static_cast<double>(ns));
    }
    const volatile u64 kept = sums[0];  // the passes must not be optimised away
    static_cast<void>(kept);
    platform.release(platform.self, memory, bytes);
  }
  return best;
}

// Int8 multiply-adds per second of `threads` threads on registers alone, by the table of that name: the fastest of some
// short runs.
double integer_peak(const std::string& isa, u32 threads) {
  constexpr u64 rounds = 200'000;
  const kernels::Table& table = *unwrap(kernels::select_table(str(isa)));
  const Platform& platform = host::host_platform();
  const GilReleased unlocked;
  double best = 0;
  for (u32 repeat = 0; repeat < 5; ++repeat) {
    std::vector<u64> done(threads);
    const u64 start = now_ns(platform);
    parallel(platform, threads, threads, [&](u32 task) { done[task] = table.probe(rounds); });
    const u64 ns = now_ns(platform) - start;
    u64 total = 0;
    for (const u64 n : done) total += n;
    if (ns > 0) best = std::max(best, static_cast<double>(total) * 1e9 / static_cast<double>(ns));
  }
  return best;
}

}  // namespace

void bind_bandwidth(py::module_& module) {
  using namespace py::literals;
  module.def("read_bandwidth", &read_bandwidth, "bytes"_a, "threads"_a, "repeats"_a);
  module.def("integer_peak", &integer_peak, "isa"_a, "threads"_a);
}

}  // namespace flyball::bind
