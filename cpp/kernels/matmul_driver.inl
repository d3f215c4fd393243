// From a call to the table's kernels: which tokens meet which group. matmul_types.inl and matmul_few_bits.inl have its
// callers.

namespace flyball::kernels {
namespace {

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

}  // namespace
}  // namespace flyball::kernels
