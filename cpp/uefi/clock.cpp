// Time: the processor's counter, and the firmware's calendar.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

u64 frequency = 0;
u64 started = 0;

// Days since 1970 of a date in the Gregorian calendar: years begin in March, so that leap days come last.
i64 days_of(i64 year, u32 month, u32 day) {
  year -= month <= 2;
  const i64 era = (year >= 0 ? year : year - 399) / 400;
  const u64 of_era = u64(year - era * 400);
  const u64 of_year = (153 * (month + (month > 2 ? -3u : 9u)) + 2) / 5 + day - 1;
  return era * 146097 + i64(of_era * 365 + of_era / 4 - of_era / 100 + of_year) - 719468;
}

}  // namespace

u64 cycles(void*) {
  u32 low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return u64(high) << 32 | low;
}

// A window that was interrupted is too long: the shortest of them counts.
void start_clock() {
  constexpr u64 window_us = 20'000;
  constexpr int n_windows = 4;
  for (int i = 0; i < n_windows; ++i) {
    const u64 begin = cycles(nullptr);
    (void)boot().stall(window_us);
    const u64 per_second = (cycles(nullptr) - begin) * (1'000'000 / window_us);
    if (frequency == 0 || per_second < frequency) frequency = per_second;
  }
  started = cycles(nullptr);
}

u64 cycles_per_second(void*) { return frequency; }

u64 now_ns(void*) {
  const u64 passed = cycles(nullptr) - started;
  return passed / frequency * 1'000'000'000 + passed % frequency * 1'000'000'000 / frequency;
}

u64 ns_of(const efi::Time& t) {
  if (t.year < 1970 || t.month < 1 || t.month > 12) return 0;
  constexpr i16 unknown_zone = 2047;
  const i64 minutes_west = t.time_zone == unknown_zone ? 0 : t.time_zone;
  const i64 minutes = days_of(t.year, t.month, t.day) * 1440 + t.hour * 60 + t.minute + minutes_west;
  return u64(minutes) * 60'000'000'000 + u64(t.second) * 1'000'000'000 + t.nanosecond;
}

u64 wall_ns(void*) {
  efi::Time time{};
  return efi::failed(firmware.system->runtime->get_time(&time, nullptr)) ? 0 : ns_of(time);
}

}  // namespace flyball::uefi
