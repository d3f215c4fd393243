// Matrix products of types of at most four bits but the common ones: as much to compile as all others. Included last.

namespace flyball::kernels {
namespace {

void few_bits(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  switch (w.type) {
    case Type::tq1_0: return matmul_quantized<Tq1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::tq2_0: return matmul_quantized<Tq2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q1_0: return matmul_quantized<Q1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_0: return matmul_quantized<Q2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::nvfp4: return matmul_quantized<Nvfp4>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_xxs: return matmul_quantized<Iq3Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_s: return matmul_quantized<Iq3S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xxs: return matmul_quantized<Iq2Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xs: return matmul_quantized<Iq2Xs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_s: return matmul_quantized<Iq2S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_s: return matmul_quantized<Iq1S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_m: return matmul_quantized<Iq1M>(w, x, group_begin, group_end, y, y_stride);
    default: return;
  }
}

}  // namespace
}  // namespace flyball::kernels
