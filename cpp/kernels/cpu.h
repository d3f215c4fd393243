// What processor and operating system allow: CPUID, and XCR0 for the registers that the system saves.
#pragma once

#include "base/types.h"

namespace flyball::kernels {

constexpr u64 cpu_avx2 = 1 << 0;  // with the YMM state enabled
constexpr u64 cpu_fma = 1 << 1;
constexpr u64 cpu_f16c = 1 << 2;
constexpr u64 cpu_bmi2 = 1 << 3;    // BMI1 and BMI2
constexpr u64 cpu_avx512 = 1 << 4;  // F, BW, DQ, VL, with the opmask and ZMM state enabled
constexpr u64 cpu_avx512_vnni = 1 << 5;
constexpr u64 cpu_amx_int8 = 1 << 6;       // AMX-TILE and AMX-INT8, with the tile state enabled and permitted
constexpr u64 cpu_avx_vnni = 1 << 7;       // VPDPBUSD on YMM registers without AVX-512
constexpr u64 cpu_sse41 = 1 << 8;          // SSE4.1 and SSSE3
constexpr u64 cpu_whole_vectors = 1 << 9;  // no table's: 256 bits at once, where the first Zen takes two steps

u64 cpu_features();

// Identifies the processor, for caching measured speeds: brand, family, model, stepping.
constexpr u32 processor_name_bytes = 52;
void processor_name(char (&out)[processor_name_bytes]);

}  // namespace flyball::kernels
