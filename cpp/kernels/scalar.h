// The parts of the scalar table, in portable C++: the reference whose loops define every kernel's order of operations.
#pragma once

#include "kernels/kernels.h"

// The swar table's matrix products, faster where vector instructions are emulated.
namespace flyball::kernels::swar {

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride);
u64 probe(u64 rounds);

// The bits of fma32(f32(n), d, c), in integers: emulators compute each operation on floats in a function of their own.
f32 fma_integer(i32 n, f32 d, f32 c);

}  // namespace flyball::kernels::swar

namespace flyball::kernels::scalar {

void quantize(const Activations& a, u32 kinds, u32 token_begin, u32 token_end);
void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride);
u64 probe(u64 rounds);
void store_key(const CacheHead& cache, u32 position, const f32* key);
void store_value(const CacheHead& cache, u32 position, const f32* value);
void attend(const AttentionTask& task);
void convolve(const f32* const* rows, const f32* weights, u32 n_taps, u64 n, f32* y);
void delta_rule(const DeltaTask& task);

constexpr u32 lanes = 16;

// Sum of 16 lanes: the one reduction tree.
static inline f32 reduce_lanes(f32* lane) {
  for (u32 width = 8; width > 0; width /= 2) {
    for (u32 i = 0; i < width; ++i) lane[i] += lane[i + width];
  }
  return lane[0];
}

}  // namespace flyball::kernels::scalar
