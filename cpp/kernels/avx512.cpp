// AVX-512 with VNNI. Compiled with its own flags; exports avx512_table and nothing else.
#include <immintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

#include "kernels/isa.inl"
#include "kernels/avx512_lanes.inl"
#include "kernels/lanes.inl"
#include "kernels/attend.inl"
#include "kernels/avx512_unpack.inl"
#include "kernels/avx512_matmul.inl"
#include "kernels/avx512_float.inl"

namespace flyball::kernels {
namespace {

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  switch (w.type) {
    case Type::f32: return matmul_float<Type::f32>(w, x, group_begin, group_end, y, y_stride);
    case Type::f16: return matmul_float<Type::f16>(w, x, group_begin, group_end, y, y_stride);
    case Type::bf16: return matmul_float<Type::bf16>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_0: return matmul_quantised<Q4_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_1: return matmul_quantised<Q4_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_0: return matmul_quantised<Q5_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_1: return matmul_quantised<Q5_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q8_0: return matmul_quantised<Q8_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_nl: return matmul_quantised<Iq4Nl>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_k: return matmul_quantised<Q2K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q3_k: return matmul_quantised<Q3K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_k: return matmul_quantised<Q4K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_k: return matmul_quantised<Q5K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q6_k: return matmul_quantised<Q6K>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_xs: return matmul_quantised<Iq4Xs>(w, x, group_begin, group_end, y, y_stride);
  }
}

}  // namespace

const Table avx512_table = {
    .name = "avx512",
    .features = cpu_avx2 | cpu_fma | cpu_f16c | cpu_bmi2 | cpu_avx512 | cpu_avx512_vnni,
    .quantize = quantize,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .add = add_to,
    .scale = scale_by,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .softcap = softcap,
    .rope = rope,
    .store_key = store_key,
    .store_value = store_value,
    .attend = attend,
    .sum_exp = sum_exp,
};

}  // namespace flyball::kernels
