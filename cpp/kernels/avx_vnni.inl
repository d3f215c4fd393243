// The AVX-VNNI table but for its instruction and its name: matrix products by VPDPBUSD, all else as the avx2 table does it.
// Included after dot4(), the instruction.

// Each part builds on the ones before.
// clang-format off
#include "kernels/avx2_registers.inl"
#include "kernels/avx2_lanes.inl"
#include "kernels/matmul_tiles.inl"
#include "kernels/avx2_unpack.inl"
#include "kernels/avx2_matmul.inl"
#include "kernels/matmul_driver.inl"
#include "kernels/table_over.inl"
// clang-format on

namespace flyball::kernels {
namespace {

// The common types; the others are as fast, or rare.
void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  switch (w.type) {
    case Type::q4_0: return matmul_quantized<Q4_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_1: return matmul_quantized<Q4_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_0: return matmul_quantized<Q5_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_1: return matmul_quantized<Q5_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q8_0: return matmul_quantized<Q8_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_nl: return matmul_quantized<Iq4Nl>(w, x, group_begin, group_end, y, y_stride);
    case Type::mxfp4: return matmul_quantized<Mxfp4>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_k: return matmul_quantized<Q2K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q3_k: return matmul_quantized<Q3K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_k: return matmul_quantized<Q4K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_k: return matmul_quantized<Q5K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q6_k: return matmul_quantized<Q6K>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_xs: return matmul_quantized<Iq4Xs>(w, x, group_begin, group_end, y, y_stride);
    default: return avx2_table.matmul(w, x, group_begin, group_end, y, y_stride);
  }
}

constexpr Table avx_vnni_table_as(const char* name, u64 features) {
  return table_over<avx2_table>(name, cpu_sse41 | cpu_avx2 | cpu_fma | cpu_f16c | cpu_bmi2 | features,
                                type_bit(Type::q8_0), matmul, probe);
}

}  // namespace
}  // namespace flyball::kernels
