#include "kernels/cpu.h"

#include "base/platform.h"

namespace flyball::kernels {

namespace {

struct Registers {
  u32 a, b, c, d;
};

Registers cpuid(u32 leaf, u32 subleaf) {
  Registers r;
  __asm__ volatile("cpuid" : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d) : "a"(leaf), "c"(subleaf));
  return r;
}

u64 xcr0() {
  u32 low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return u64(high) << 32 | low;
}

bool bits(u64 value, u64 wanted) { return (value & wanted) == wanted; }
constexpr u64 bit(u32 n) { return u64(1) << n; }

// AMD's families 17h before model 30h, and Hygon's 18h, which are the same design.
bool splits_vectors() {
  const u32 signature = cpuid(1, 0).a, model = (signature >> 12 & 0xf0) | (signature >> 4 & 15);
  const u32 family = (signature >> 8 & 15) + (signature >> 20 & 0xff);
  return (family == 0x17 && model < 0x30) || family == 0x18;
}

}  // namespace

u64 cpu_features() {
  const Registers one = cpuid(1, 0);
  u64 features = 0;
  if (bits(one.c, bit(9) | bit(19))) features |= cpu_sse41;
  // OSXSAVE: without it XGETBV faults, and the system does not save the wide registers.
  if (cpuid(0, 0).a < 7 || !bits(one.c, bit(27) | bit(28))) return features;
  const Registers seven = cpuid(7, 0);
  const u64 state = xcr0();

  if (!splits_vectors()) features |= cpu_whole_vectors;
  if (bits(state, bit(1) | bit(2))) {  // SSE, AVX
    if (bits(seven.b, bit(5))) features |= cpu_avx2;
    if (bits(one.c, bit(12))) features |= cpu_fma;
    if (bits(one.c, bit(29))) features |= cpu_f16c;
    if (bits(seven.b, bit(3) | bit(8))) features |= cpu_bmi2;
    if (seven.a >= 1 && bits(cpuid(7, 1).a, bit(4))) features |= cpu_avx_vnni;
  }
  if (bits(state, bit(1) | bit(2) | bit(5) | bit(6) | bit(7))) {  // and opmask, ZMM 0-15, ZMM 16-31
    if (bits(seven.b, bit(16) | bit(17) | bit(30) | bit(31))) features |= cpu_avx512;
    if (bits(seven.c, bit(11))) features |= cpu_avx512_vnni;
  }
  if (tiles_permitted && bits(state, bit(17) | bit(18))) {  // tile configuration, tile data
    if (bits(seven.d, bit(24) | bit(25))) features |= cpu_amx_int8;
  }
  return features;
}

void processor_name(char (&out)[processor_name_bytes]) {
  constexpr u32 brand = 0x80000000u;
  Registers parts[3] = {};
  if (cpuid(brand, 0).a >= brand + 4) {
    for (u32 i = 0; i < 3; ++i) parts[i] = cpuid(brand + 2 + i, 0);
  }
  const u32 signature = cpuid(1, 0).a;
  memcpy(out, parts, sizeof parts);
  memcpy(out + sizeof parts, &signature, sizeof signature);
}

}  // namespace flyball::kernels
