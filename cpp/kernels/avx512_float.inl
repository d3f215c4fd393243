// Matrix products of F32, F16 and BF16 weights on AVX-512: one chain of fma per output element, k ascending. Several
// groups of 16 rows and several tokens at once hide its latency. Part of avx512.cpp.

namespace flyball::kernels {
namespace {

template <Type type>
FLYBALL_INLINE __m512 load_weights(const u8* p) {
  if constexpr (type == Type::f32) return _mm512_loadu_ps(p);
  if constexpr (type == Type::f16) return load_halves(p);
  return _mm512_castsi512_ps(
      _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))), 16));
}

template <Type type, u32 groups, u32 tokens>
void float_tile(const Matrix& w, const Activations& x, u32 group, u32 token, f32* y, u64 y_stride) {
  constexpr u32 step = packed_shape(type).body_bytes;
  const u8* weights = w.data + group * w.group_bytes;
  const f32* a = x.x + u64(token) * x.cols;
  __m512 sum[groups][tokens];
  for (u32 g = 0; g < groups; ++g) {
    for (u32 t = 0; t < tokens; ++t) sum[g][t] = _mm512_setzero_ps();
  }
  for (u32 k = 0; k < x.cols; ++k, weights += step) {
    __m512 v[groups];
    for (u32 g = 0; g < groups; ++g) {
      if constexpr (tokens < 4) prefetch(weights + g * w.group_bytes + 1024, 64);
      v[g] = load_weights<type>(weights + g * w.group_bytes);
    }
    for (u32 t = 0; t < tokens; ++t) {
      const __m512 value = _mm512_set1_ps(a[u64(t) * x.cols + k]);
      for (u32 g = 0; g < groups; ++g) sum[g][t] = _mm512_fmadd_ps(v[g], value, sum[g][t]);
    }
  }
  for (u32 g = 0; g < groups; ++g) {
    const u32 rows = w.rows - (group + g) * group_rows;
    const Output out = {y + u64(group + g) * group_rows, y_stride, first_n(rows < group_rows ? rows : group_rows)};
    for (u32 t = 0; t < tokens; ++t) out.put(token + t, sum[g][t]);
  }
}

template <Type type, u32 tokens>
void float_groups(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, u32 token, f32* y, u64 y_stride) {
  constexpr u32 wide = tokens >= 8 ? 2 : 4;
  u32 g = group_begin;
  for (; g + wide <= group_end; g += wide) float_tile<type, wide, tokens>(w, x, g, token, y, y_stride);
  for (; g < group_end; ++g) float_tile<type, 1, tokens>(w, x, g, token, y, y_stride);
}

template <Type type>
void matmul_float(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  // A few groups' weights stay in L2 while all tokens pass by.
  constexpr u32 resident_groups = 4;
  for (u32 g = group_begin; g < group_end; g += resident_groups) {
    const u32 end = group_end - g < resident_groups ? group_end : g + resident_groups;
    each_tile(x.n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
      float_groups<type, count.value>(w, x, g, end, t, y, y_stride);
    });
  }
}

}  // namespace
}  // namespace flyball::kernels
