// Sixteen f32 lanes on AVX-512, for lanes.inl. Part of avx512.cpp.

namespace flyball::kernels {
namespace {

using F = __m512;
using I = __m512i;
using M = __mmask16;

FLYBALL_INLINE F zero() { return _mm512_setzero_ps(); }
FLYBALL_INLINE F set(f32 x) { return _mm512_set1_ps(x); }
FLYBALL_INLINE I set_i(i32 x) { return _mm512_set1_epi32(x); }
FLYBALL_INLINE M first_n(u32 n) { return M((1u << n) - 1u); }  // n <= 16

FLYBALL_INLINE M and_not(M a, M b) { return M(a & ~b); }

FLYBALL_INLINE F load(const f32* p) { return _mm512_loadu_ps(p); }
FLYBALL_INLINE F load_n(const f32* p, u32 n) { return _mm512_maskz_loadu_ps(first_n(n), p); }
FLYBALL_INLINE void store(f32* p, F x) { _mm512_storeu_ps(p, x); }
FLYBALL_INLINE void store_n(f32* p, F x, u32 n) { _mm512_mask_storeu_ps(p, first_n(n), x); }
FLYBALL_INLINE F load_half(const u16* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FLYBALL_INLINE F load_half_n(const u16* p, u32 n) { return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_n(n), p)); }
FLYBALL_INLINE void store_half(u16* p, F x) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
FLYBALL_INLINE F load_bf16(const u16* p) {
  const __m512i x = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(x, 16));
}
FLYBALL_INLINE F load_i8(const i8* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}
FLYBALL_INLINE void store_i8(i8* p, I x) { _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(x)); }

FLYBALL_INLINE F add(F a, F b) { return _mm512_add_ps(a, b); }
FLYBALL_INLINE F sub(F a, F b) { return _mm512_sub_ps(a, b); }
FLYBALL_INLINE F mul(F a, F b) { return _mm512_mul_ps(a, b); }
FLYBALL_INLINE F div(F a, F b) { return _mm512_div_ps(a, b); }
FLYBALL_INLINE F fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
FLYBALL_INLINE F times_power(F x, F n) { return _mm512_scalef_ps(x, n); }  // x * 2^n, one rounding; n whole
FLYBALL_INLINE F larger(F a, F b) { return _mm512_max_ps(a, b); }          // a > b ? a : b
FLYBALL_INLINE M less(F a, F b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
FLYBALL_INLINE F select(M m, F yes, F no) { return _mm512_mask_blend_ps(m, no, yes); }

FLYBALL_INLINE I bits(F x) { return _mm512_castps_si512(x); }
FLYBALL_INLINE F floats(I x) { return _mm512_castsi512_ps(x); }
FLYBALL_INLINE I round_to_int(F x) { return _mm512_cvtps_epi32(x); }  // to nearest even
FLYBALL_INLINE I add_i(I a, I b) { return _mm512_add_epi32(a, b); }
FLYBALL_INLINE I sub_i(I a, I b) { return _mm512_sub_epi32(a, b); }
FLYBALL_INLINE I and_i(I a, I b) { return _mm512_and_si512(a, b); }
FLYBALL_INLINE I or_i(I a, I b) { return _mm512_or_si512(a, b); }
FLYBALL_INLINE I xor_i(I a, I b) { return _mm512_xor_si512(a, b); }
FLYBALL_INLINE I max_i(I a, I b) { return _mm512_max_epi32(a, b); }
FLYBALL_INLINE I halve_i(I a) { return _mm512_srai_epi32(a, 1); }
FLYBALL_INLINE I to_exponent(I a) { return _mm512_slli_epi32(a, 23); }

// The fixed tree: lanes 8 apart, then 4, 2, 1.
FLYBALL_INLINE f32 reduce(F x) {
  const __m256 a = _mm256_add_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
  const __m128 b = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 c = _mm_add_ps(b, _mm_movehl_ps(b, b));
  return _mm_cvtss_f32(_mm_add_ss(c, _mm_movehdup_ps(c)));
}
FLYBALL_INLINE f32 reduce_largest(F x) { return _mm512_reduce_max_ps(x); }
FLYBALL_INLINE i32 reduce_add_i(I x) { return _mm512_reduce_add_epi32(x); }
FLYBALL_INLINE i32 reduce_max_i(I x) { return _mm512_reduce_max_epi32(x); }

// (a0 b0 a1 b1 ...) from a, b and back.
FLYBALL_INLINE void deinterleave(F low, F high, F* a, F* b) {
  const I even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  *a = _mm512_permutex2var_ps(low, even, high);
  *b = _mm512_permutex2var_ps(low, _mm512_add_epi32(even, _mm512_set1_epi32(1)), high);
}
FLYBALL_INLINE void interleave(F a, F b, F* low, F* high) {
  const I order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  *low = _mm512_permutex2var_ps(a, order, b);
  *high = _mm512_permutex2var_ps(a, _mm512_add_epi32(order, _mm512_set1_epi32(8)), b);
}

// Attention's tiles of registers: rows that take the cache as it is, and rows that share what was converted to f32.
constexpr u32 direct_rows = 8, shared_rows = 12;
constexpr u32 row_tile_vectors(u32 rows) { return rows >= 8 ? 2 : 4; }
// Of matrix products: a full tile, and tokens that meet a panel.
constexpr u32 tile_groups = 2, tile_tokens = 6;
constexpr u32 panel_tokens = 48;
constexpr u64 resident_bytes = 1 << 20;  // of activations that stay in L2 while the groups pass by
// With float weights.
constexpr u32 float_tile_tokens = 8;
constexpr u32 float_tile_groups(u32 tokens) { return tokens > 4 ? 2 : 4; }

// Blocks of a recurrence's columns at once: as many sums as hide an addition's latency and find registers.
constexpr bool delta_pairs = true;

}  // namespace
}  // namespace flyball::kernels
