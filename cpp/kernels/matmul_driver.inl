// From a call to the table's kernels: which tokens meet which group. Included last by the instruction-set files.

namespace flyball::kernels {
namespace {

// Tokens whose activations stay in L2 while the groups pass by.
constexpr u64 resident_bytes = 1 << 20;

template <class W>
void matmul_quantized(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  const u64 fitting = resident_bytes / x.cols / panel_tokens * panel_tokens;
  const u32 resident = fitting < panel_tokens ? panel_tokens : fitting > x.n_tokens ? x.n_tokens : u32(fitting);
  for (u32 begin = 0; begin < x.n_tokens; begin += resident) {
    const u32 end = x.n_tokens - begin < resident ? x.n_tokens : begin + resident;
    for (u32 g = group_begin; g < group_end; g += tile_groups) {
      const Groups of(w, g, group_end - g < tile_groups ? group_end - g : tile_groups, y, y_stride);
      for (u32 t = begin; t < end; t += panel_tokens) {
        const u32 n = end - t < panel_tokens ? end - t : panel_tokens;
        if (n > direct_tokens<W>) {
          multiply_panels<W>(of, x, t, n);
        } else {
          with_constant<1, direct_tokens<W>>(
              n, [&](auto tokens) FLYBALL_LAMBDA { multiply_direct<W, tokens.value>(of, x, t); });
        }
      }
    }
  }
}

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
    case Type::tq1_0: return matmul_quantized<Tq1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::tq2_0: return matmul_quantized<Tq2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q1_0: return matmul_quantized<Q1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_0: return matmul_quantized<Q2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::nvfp4: return matmul_quantized<Nvfp4>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_k: return matmul_quantized<Q2K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q3_k: return matmul_quantized<Q3K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_k: return matmul_quantized<Q4K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_k: return matmul_quantized<Q5K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q6_k: return matmul_quantized<Q6K>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_xs: return matmul_quantized<Iq4Xs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_xxs: return matmul_quantized<Iq3Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_s: return matmul_quantized<Iq3S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xxs: return matmul_quantized<Iq2Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xs: return matmul_quantized<Iq2Xs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_s: return matmul_quantized<Iq2S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_s: return matmul_quantized<Iq1S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_m: return matmul_quantized<Iq1M>(w, x, group_begin, group_end, y, y_stride);
  }
}

}  // namespace
}  // namespace flyball::kernels
