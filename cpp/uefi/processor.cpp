// What an operating system sets up for its programs: firmware leaves vector registers beyond SSE switched off.
#include <cpuid.h>

#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

u64 read_cr4() {
  u64 value;
  __asm__ volatile("mov %%cr4, %0" : "=r"(value));
  return value;
}
void write_cr4(u64 value) { __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory"); }
void write_xcr0(u64 value) { __asm__ volatile("xsetbv" : : "c"(0), "a"(u32(value)), "d"(u32(value >> 32)) : "memory"); }

constexpr u64 cr4_osxsave = u64(1) << 18;
constexpr u64 x87_and_sse = 3, avx = 4, avx512 = 0xe0;  // opmask and both parts of ZMM

}  // namespace

bool privileged() {
  u16 selector;
  __asm__("mov %%cs, %0" : "=r"(selector));
  return (selector & 3) == 0;
}

void set_up_processor() {
  const u32 standard = 0x1f80;
  __asm__ volatile("ldmxcsr %0" : : "m"(standard) : "memory");
  u32 a = 0, b = 0, c = 0, d = 0;
  constexpr u32 has_xsave = 1 << 26, has_avx = 1 << 28;
  if (!privileged() || !__get_cpuid(1, &a, &b, &c, &d) || (c & has_xsave) == 0) return;
  const bool wide = (c & has_avx) != 0;
  if (!__get_cpuid_count(0xd, 0, &a, &b, &c, &d)) return;
  u64 wanted = x87_and_sse | (wide ? avx : 0);
  if (wide && (a & avx512) == avx512) wanted |= avx512;
  write_cr4(read_cr4() | cr4_osxsave);
  write_xcr0(wanted);
}

}  // namespace flyball::uefi
