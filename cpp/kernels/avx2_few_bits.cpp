// AVX2 with FMA and F16C: matrix products of types of few bits. Compiled with its own flags; exports one function.
#include <immintrin.h>

#include "base/math.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

// Each part builds on the ones before.
// clang-format off
#include "kernels/isa.inl"
#include "kernels/avx2_registers.inl"
#include "kernels/avx2_dot4.inl"
#include "kernels/avx2_lanes.inl"
#include "kernels/matmul_tiles.inl"
#include "kernels/avx2_unpack.inl"
#include "kernels/avx2_matmul.inl"
#include "kernels/matmul_driver.inl"
#include "kernels/matmul_few_bits.inl"
// clang-format on

namespace flyball::kernels {

void avx2_few_bits_matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  few_bits(w, x, group_begin, group_end, y, y_stride);
}

}  // namespace flyball::kernels
