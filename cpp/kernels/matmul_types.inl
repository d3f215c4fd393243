// The table's matrix products. Types of few bits are compiled apart, beside this file. Included last.

namespace flyball::kernels {
namespace {

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  switch (w.type) {
    case Type::f32: return matmul_float<Type::f32>(w, x, group_begin, group_end, y, y_stride);
    case Type::f16: return matmul_float<Type::f16>(w, x, group_begin, group_end, y, y_stride);
    case Type::bf16: return matmul_float<Type::bf16>(w, x, group_begin, group_end, y, y_stride);
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
    default: return few_bits_matmul(w, x, group_begin, group_end, y, y_stride);
  }
}

}  // namespace
}  // namespace flyball::kernels
