#include <cpuid.h>
#include <time.h>
#include <x86intrin.h>

#include <algorithm>
#include <atomic>

#include "host/parts.h"

namespace flyball::host {
namespace {

u64 clock_ns(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000u + static_cast<u64>(t.tv_nsec);
}

struct Instant {
  u64 cycles;
  u64 ns;
};

// Counter and clock at the same moment: the shortest of several tries, so that a deschedule between the two readings
// does not count. RAW, because NTP slews the other clocks.
Instant read_both() {
  Instant best{};
  u64 best_width = ~u64(0);
  for (int i = 0; i < 8; ++i) {
    const u64 before = __rdtsc();
    const u64 ns = clock_ns(CLOCK_MONOTONIC_RAW);
    const u64 width = __rdtsc() - before;
    if (width < best_width) best_width = width, best = {before + width / 2, ns};
  }
  return best;
}

u64 frequency(const Instant& a, const Instant& b) {
  return static_cast<u64>(static_cast<f64>(b.cycles - a.cycles) * 1e9 / static_cast<f64>(b.ns - a.ns) + 0.5);
}

constexpr u64 window_ns = 5'000'000;
constexpr int n_windows = 3;

Instant started;
std::atomic<u64> calibrated = 0;

u64 measure() {
  Instant begin = read_both();
  if (begin.ns - started.ns >= n_windows * window_ns) return frequency(started, begin);
  u64 measured[n_windows];
  for (u64& result : measured) {
    const timespec window{0, window_ns};
    nanosleep(&window, nullptr);
    const Instant end = read_both();
    result = frequency(begin, end);
    begin = end;
  }
  std::sort(measured, measured + n_windows);
  return measured[n_windows / 2];
}

// Leaf 0x15: crystal clock times a ratio, exact where the processor fills in all three numbers; else 0.
u64 frequency_from_cpuid() {
  unsigned denominator = 0, numerator = 0, crystal_hz = 0, unused = 0;
  if (!__get_cpuid(0x15, &denominator, &numerator, &crystal_hz, &unused)) return 0;
  if (denominator == 0 || numerator == 0 || crystal_hz == 0) return 0;
  return static_cast<u64>(crystal_hz) * numerator / denominator;
}

// CPUID's figure where the measurement confirms it: hypervisors that scale the counter still show the physical
// processor's leaf. Leaf 0x16 is rounded, so it has no use here.
u64 confirmed(u64 measured) {
  const u64 exact = frequency_from_cpuid();
  const u64 difference = exact > measured ? exact - measured : measured - exact;
  return difference < measured / 2000 ? exact : measured;
}

}  // namespace

u64 cycles(void*) { return __rdtsc(); }

u64 now_ns(void*) { return clock_ns(CLOCK_MONOTONIC); }
u64 wall_ns(void*) { return clock_ns(CLOCK_REALTIME); }

void start_calibration() { started = read_both(); }

// Reports need it, usually long after the start: the time since then is one long, exact window. Else the median of
// three short ones.
u64 cycles_per_second(void*) {
  u64 known = calibrated.load();
  if (known == 0 && calibrated.compare_exchange_strong(known, confirmed(measure()))) known = calibrated.load();
  return known;
}

}  // namespace flyball::host
