// Sixteen f32 lanes on AVX2, as two registers, for lanes.inl. Part of avx2.cpp and, with pairs for registers, sse41.cpp.

namespace flyball::kernels {
namespace {

struct F {
  __m256 low, high;
};
struct I {
  __m256i low, high;
};
struct M {
  __m256 low, high;
};

FLYBALL_INLINE F zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
FLYBALL_INLINE F set(f32 x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
FLYBALL_INLINE I set_i(i32 x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
FLYBALL_INLINE M first_n(u32 n) {  // n <= 16
  const __m256i count = _mm256_set1_epi32(i32(n));
  return {_mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))),
          _mm256_castsi256_ps(_mm256_cmpgt_epi32(count, _mm256_setr_epi32(8, 9, 10, 11, 12, 13, 14, 15)))};
}
FLYBALL_INLINE M and_not(M a, M b) { return {_mm256_andnot_ps(b.low, a.low), _mm256_andnot_ps(b.high, a.high)}; }

FLYBALL_INLINE F load(const f32* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
FLYBALL_INLINE F load_n(const f32* p, u32 n) {
  const M m = first_n(n);
  return {_mm256_maskload_ps(p, _mm256_castps_si256(m.low)), _mm256_maskload_ps(p + 8, _mm256_castps_si256(m.high))};
}
FLYBALL_INLINE void store(f32* p, F x) {
  _mm256_storeu_ps(p, x.low);
  _mm256_storeu_ps(p + 8, x.high);
}
FLYBALL_INLINE void store_n(f32* p, F x, u32 n) {
  const M m = first_n(n);
  _mm256_maskstore_ps(p, _mm256_castps_si256(m.low), x.low);
  _mm256_maskstore_ps(p + 8, _mm256_castps_si256(m.high), x.high);
}
FLYBALL_INLINE __m256 half8(const u16* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
FLYBALL_INLINE F load_half(const u16* p) { return {half8(p), half8(p + 8)}; }
FLYBALL_INLINE F load_half_n(const u16* p, u32 n) {
  u16 padded[16] = {};
  memcpy(padded, p, n * sizeof(u16));
  return load_half(padded);
}
FLYBALL_INLINE void store_half(u16* p, F x) {
  constexpr int mode = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(x.low, mode));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(x.high, mode));
}
FLYBALL_INLINE __m256 bf16x8(const u16* p) {
  const __m256i x = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return _mm256_castsi256_ps(_mm256_slli_epi32(x, 16));
}
FLYBALL_INLINE F load_bf16(const u16* p) { return {bf16x8(p), bf16x8(p + 8)}; }
FLYBALL_INLINE F load_i8(const i8* p) {
  const __m128i x = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(x)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(x, 8)))};
}
FLYBALL_INLINE void store_i8(i8* p, I x) {  // values within i8
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.low, x.high), 0xd8);
  const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
}

FLYBALL_INLINE F add(F a, F b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
FLYBALL_INLINE F sub(F a, F b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
FLYBALL_INLINE F mul(F a, F b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
FLYBALL_INLINE F div(F a, F b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
FLYBALL_INLINE F fma(F a, F b, F c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
FLYBALL_INLINE F larger(F a, F b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}  // a > b ? a : b
FLYBALL_INLINE M less(F a, F b) {
  return {_mm256_cmp_ps(a.low, b.low, _CMP_LT_OQ), _mm256_cmp_ps(a.high, b.high, _CMP_LT_OQ)};
}
FLYBALL_INLINE F select(M m, F yes, F no) {
  return {_mm256_blendv_ps(no.low, yes.low, m.low), _mm256_blendv_ps(no.high, yes.high, m.high)};
}

FLYBALL_INLINE I bits(F x) { return {_mm256_castps_si256(x.low), _mm256_castps_si256(x.high)}; }
FLYBALL_INLINE F floats(I x) { return {_mm256_castsi256_ps(x.low), _mm256_castsi256_ps(x.high)}; }
FLYBALL_INLINE I round_to_int(F x) {
  return {_mm256_cvtps_epi32(x.low), _mm256_cvtps_epi32(x.high)};
}  // to nearest even
FLYBALL_INLINE I add_i(I a, I b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
FLYBALL_INLINE I sub_i(I a, I b) { return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)}; }
FLYBALL_INLINE I and_i(I a, I b) { return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)}; }
FLYBALL_INLINE I or_i(I a, I b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
FLYBALL_INLINE I xor_i(I a, I b) { return {_mm256_xor_si256(a.low, b.low), _mm256_xor_si256(a.high, b.high)}; }
FLYBALL_INLINE I max_i(I a, I b) { return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)}; }
FLYBALL_INLINE I halve_i(I a) { return {_mm256_srai_epi32(a.low, 1), _mm256_srai_epi32(a.high, 1)}; }
FLYBALL_INLINE I to_exponent(I a) { return {_mm256_slli_epi32(a.low, 23), _mm256_slli_epi32(a.high, 23)}; }

// x * 2^n for x near 1 and whole n from -150 to 128: in two steps, of which the first is exact.
FLYBALL_INLINE F times_power(F x, F n) {
  const I exponent = round_to_int(n), half = halve_i(exponent);
  const F first = floats(to_exponent(add_i(half, set_i(127))));
  const F second = floats(to_exponent(add_i(sub_i(exponent, half), set_i(127))));
  return mul(mul(x, first), second);
}

// The fixed tree: lanes 8 apart, then 4, 2, 1.
FLYBALL_INLINE f32 reduce(F x) {
  const __m256 a = _mm256_add_ps(x.low, x.high);
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
FLYBALL_INLINE f32 reduce_largest(F x) {
  const __m256 a = _mm256_max_ps(x.low, x.high);
  const __m128 b = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_max_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_max_ss(c, _mm_movehdup_ps(c)));
}
FLYBALL_INLINE i32 reduce_add_i(I x) {
  const __m256i a = _mm256_add_epi32(x.low, x.high);
  const __m128i b = _mm_add_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_add_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}
FLYBALL_INLINE i32 reduce_max_i(I x) {
  const __m256i a = _mm256_max_epi32(x.low, x.high);
  const __m128i b = _mm_max_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
  const __m128i c = _mm_max_epi32(b, _mm_shuffle_epi32(b, 0x4e));
  return _mm_cvtsi128_si32(_mm_max_epi32(c, _mm_shuffle_epi32(c, 0xb1)));
}

// (a0 b0 a1 b1 ...) from a, b and back.
FLYBALL_INLINE __m256 in_order(__m256 x) {  // undoes the crossing of 128-bit halves
  return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(x), 0xd8));
}
FLYBALL_INLINE void deinterleave(F low, F high, F* a, F* b) {
  a->low = in_order(_mm256_shuffle_ps(low.low, low.high, 0x88));
  b->low = in_order(_mm256_shuffle_ps(low.low, low.high, 0xdd));
  a->high = in_order(_mm256_shuffle_ps(high.low, high.high, 0x88));
  b->high = in_order(_mm256_shuffle_ps(high.low, high.high, 0xdd));
}
FLYBALL_INLINE void interleave8(__m256 a, __m256 b, F* out) {
  const __m256 first = _mm256_unpacklo_ps(a, b), second = _mm256_unpackhi_ps(a, b);
  out->low = _mm256_permute2f128_ps(first, second, 0x20);
  out->high = _mm256_permute2f128_ps(first, second, 0x31);
}
FLYBALL_INLINE void interleave(F a, F b, F* low, F* high) {
  interleave8(a.low, b.low, low);
  interleave8(a.high, b.high, high);
}

}  // namespace
}  // namespace flyball::kernels
