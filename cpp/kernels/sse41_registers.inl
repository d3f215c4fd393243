// AVX2's registers as pairs of SSE's, and the instructions that AVX2's kernels use, under the names that these have for
// them: their text is SSE4.1's too. The header of AVX2's own names is not included. Fused multiply-adds and halves, for
// which there is no instruction, have the bits of base/math.h. Part of sse41.cpp.

namespace flyball::kernels {
namespace {

struct __m256 {
  __m128 low, high;
};
struct __m256i {
  __m128i low, high;
};
struct __m256d {
  __m128d low, high;
};

// Of a name that both sizes have: the instruction on both halves.
#define FLYBALL_ONE(type, name) \
  FLYBALL_INLINE type _mm256_##name(type a) { return {_mm_##name(a.low), _mm_##name(a.high)}; }
#define FLYBALL_TWO(type, name) \
  FLYBALL_INLINE type _mm256_##name(type a, type b) { return {_mm_##name(a.low, b.low), _mm_##name(a.high, b.high)}; }
#define FLYBALL_SHIFT(name) \
  FLYBALL_INLINE __m256i _mm256_##name(__m256i a, i32 n) { return {_mm_##name(a.low, n), _mm_##name(a.high, n)}; }
#define FLYBALL_CAST(to, name, half) \
  FLYBALL_INLINE to _mm256_##name(auto a) { return {half(a.low), half(a.high)}; }

FLYBALL_ONE(__m256i, abs_epi8)
FLYBALL_TWO(__m256i, add_epi8)
FLYBALL_TWO(__m256i, add_epi16)
FLYBALL_TWO(__m256i, add_epi32)
FLYBALL_TWO(__m256i, sub_epi8)
FLYBALL_TWO(__m256i, sub_epi32)
FLYBALL_TWO(__m256i, cmpeq_epi32)
FLYBALL_TWO(__m256i, cmpgt_epi8)
FLYBALL_TWO(__m256i, cmpgt_epi32)
FLYBALL_TWO(__m256i, madd_epi16)
FLYBALL_TWO(__m256i, maddubs_epi16)
FLYBALL_TWO(__m256i, max_epi32)
FLYBALL_TWO(__m256i, mulhi_epu16)
FLYBALL_TWO(__m256i, mullo_epi16)
FLYBALL_TWO(__m256i, mullo_epi32)
FLYBALL_TWO(__m256i, packs_epi32)
FLYBALL_TWO(__m256i, shuffle_epi8)
FLYBALL_TWO(__m256i, sign_epi8)
FLYBALL_TWO(__m256i, unpackhi_epi32)
FLYBALL_TWO(__m256i, unpackhi_epi64)
FLYBALL_TWO(__m256i, unpacklo_epi32)
FLYBALL_TWO(__m256i, unpacklo_epi64)
FLYBALL_SHIFT(slli_epi16)
FLYBALL_SHIFT(slli_epi32)
FLYBALL_SHIFT(srai_epi32)
FLYBALL_SHIFT(srli_epi16)
FLYBALL_SHIFT(srli_epi32)
FLYBALL_TWO(__m256, add_ps)
FLYBALL_TWO(__m256, sub_ps)
FLYBALL_TWO(__m256, mul_ps)
FLYBALL_TWO(__m256, div_ps)
FLYBALL_TWO(__m256, max_ps)
FLYBALL_TWO(__m256, andnot_ps)
FLYBALL_TWO(__m256, unpacklo_ps)
FLYBALL_TWO(__m256, unpackhi_ps)
FLYBALL_CAST(__m256, castsi256_ps, _mm_castsi128_ps)
FLYBALL_CAST(__m256, castpd_ps, _mm_castpd_ps)
FLYBALL_CAST(__m256i, castps_si256, _mm_castps_si128)
FLYBALL_CAST(__m256d, castps_pd, _mm_castps_pd)
FLYBALL_CAST(__m256, cvtepi32_ps, _mm_cvtepi32_ps)
FLYBALL_CAST(__m256i, cvtps_epi32, _mm_cvtps_epi32)
#undef FLYBALL_ONE
#undef FLYBALL_TWO
#undef FLYBALL_SHIFT
#undef FLYBALL_CAST

FLYBALL_INLINE __m256i _mm256_and_si256(__m256i a, __m256i b) {
  return {_mm_and_si128(a.low, b.low), _mm_and_si128(a.high, b.high)};
}
FLYBALL_INLINE __m256i _mm256_or_si256(__m256i a, __m256i b) {
  return {_mm_or_si128(a.low, b.low), _mm_or_si128(a.high, b.high)};
}
FLYBALL_INLINE __m256i _mm256_xor_si256(__m256i a, __m256i b) {
  return {_mm_xor_si128(a.low, b.low), _mm_xor_si128(a.high, b.high)};
}
FLYBALL_INLINE __m256 _mm256_blendv_ps(__m256 no, __m256 yes, __m256 mask) {
  return {_mm_blendv_ps(no.low, yes.low, mask.low), _mm_blendv_ps(no.high, yes.high, mask.high)};
}
constexpr int _CMP_LT_OQ = 17;  // the one comparison that is used
FLYBALL_INLINE __m256 _mm256_cmp_ps(__m256 a, __m256 b, int) {
  return {_mm_cmplt_ps(a.low, b.low), _mm_cmplt_ps(a.high, b.high)};
}
FLYBALL_INLINE __m256i _mm256_srlv_epi64(__m256i x, __m256i n) {
  const auto half = [](__m128i a, __m128i by) FLYBALL_LAMBDA {
    return _mm_blend_epi16(_mm_srl_epi64(a, by), _mm_srl_epi64(a, _mm_unpackhi_epi64(by, by)), 0xf0);
  };
  return {half(x.low, n.low), half(x.high, n.high)};
}

FLYBALL_INLINE __m256 _mm256_setzero_ps() { return {_mm_setzero_ps(), _mm_setzero_ps()}; }
FLYBALL_INLINE __m256i _mm256_setzero_si256() { return {_mm_setzero_si128(), _mm_setzero_si128()}; }
FLYBALL_INLINE __m256i _mm256_setr_m128i(__m128i low, __m128i high) { return {low, high}; }
FLYBALL_INLINE __m256i _mm256_broadcastsi128_si256(__m128i x) { return {x, x}; }
FLYBALL_INLINE __m256 _mm256_set1_ps(f32 x) { return {_mm_set1_ps(x), _mm_set1_ps(x)}; }
FLYBALL_INLINE __m256i _mm256_set1_epi8(i8 x) { return _mm256_broadcastsi128_si256(_mm_set1_epi8(x)); }
FLYBALL_INLINE __m256i _mm256_set1_epi16(i16 x) { return _mm256_broadcastsi128_si256(_mm_set1_epi16(x)); }
FLYBALL_INLINE __m256i _mm256_set1_epi32(i32 x) { return _mm256_broadcastsi128_si256(_mm_set1_epi32(x)); }
FLYBALL_INLINE __m256i _mm256_set1_epi64x(i64 x) { return _mm256_broadcastsi128_si256(_mm_set1_epi64x(x)); }
FLYBALL_INLINE __m256i _mm256_setr_epi64x(i64 a, i64 b, i64 c, i64 d) {
  return {_mm_set_epi64x(b, a), _mm_set_epi64x(d, c)};
}
FLYBALL_INLINE __m256i _mm256_setr_epi32(i32 a, i32 b, i32 c, i32 d, i32 e, i32 f, i32 g, i32 h) {
  return {_mm_setr_epi32(a, b, c, d), _mm_setr_epi32(e, f, g, h)};
}
template <class... Bytes>
FLYBALL_INLINE __m256i _mm256_setr_epi8(Bytes... x) {
  static_assert(sizeof...(x) == 32);
  alignas(16) const i8 bytes[] = {i8(x)...};
  const __m128i* const p = reinterpret_cast<const __m128i*>(bytes);
  return {_mm_load_si128(p), _mm_load_si128(p + 1)};
}

FLYBALL_INLINE __m256 _mm256_load_ps(const f32* p) { return {_mm_load_ps(p), _mm_load_ps(p + 4)}; }
FLYBALL_INLINE __m256 _mm256_loadu_ps(const f32* p) { return {_mm_loadu_ps(p), _mm_loadu_ps(p + 4)}; }
FLYBALL_INLINE void _mm256_store_ps(f32* p, __m256 x) { _mm_store_ps(p, x.low), _mm_store_ps(p + 4, x.high); }
FLYBALL_INLINE void _mm256_storeu_ps(f32* p, __m256 x) { _mm_storeu_ps(p, x.low), _mm_storeu_ps(p + 4, x.high); }
FLYBALL_INLINE __m256i _mm256_load_si256(const __m256i* p) {
  const __m128i* const halves = reinterpret_cast<const __m128i*>(p);
  return {_mm_load_si128(halves), _mm_load_si128(halves + 1)};
}
FLYBALL_INLINE __m256i _mm256_loadu_si256(const __m256i* p) {
  const __m128i* const halves = reinterpret_cast<const __m128i*>(p);
  return {_mm_loadu_si128(halves), _mm_loadu_si128(halves + 1)};
}
FLYBALL_INLINE void _mm256_store_si256(__m256i* p, __m256i x) {
  __m128i* const halves = reinterpret_cast<__m128i*>(p);
  _mm_store_si128(halves, x.low), _mm_store_si128(halves + 1, x.high);
}
// Memory that is masked out is not touched: it may lie beyond the end of a page.
FLYBALL_INLINE __m256 _mm256_maskload_ps(const f32* p, __m256i mask) {
  alignas(16) i32 lanes[8];
  alignas(16) f32 x[8] = {};
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), mask);
  for (u32 i = 0; i < 8; ++i) {
    if (lanes[i] < 0) x[i] = p[i];
  }
  return _mm256_load_ps(x);
}
FLYBALL_INLINE void _mm256_maskstore_ps(f32* p, __m256i mask, __m256 value) {
  alignas(16) i32 lanes[8];
  alignas(16) f32 x[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), mask);
  _mm256_store_ps(x, value);
  for (u32 i = 0; i < 8; ++i) {
    if (lanes[i] < 0) p[i] = x[i];
  }
}

FLYBALL_INLINE __m128 _mm256_castps256_ps128(__m256 x) { return x.low; }
FLYBALL_INLINE __m128i _mm256_castsi256_si128(__m256i x) { return x.low; }
FLYBALL_INLINE __m128 _mm256_extractf128_ps(__m256 x, int n) { return n == 0 ? x.low : x.high; }
FLYBALL_INLINE __m128i _mm256_extracti128_si256(__m256i x, int n) { return n == 0 ? x.low : x.high; }
FLYBALL_INLINE __m256i _mm256_cvtepi8_epi16(__m128i x) {
  return {_mm_cvtepi8_epi16(x), _mm_cvtepi8_epi16(_mm_srli_si128(x, 8))};
}
FLYBALL_INLINE __m256i _mm256_cvtepi8_epi32(__m128i x) {
  return {_mm_cvtepi8_epi32(x), _mm_cvtepi8_epi32(_mm_srli_si128(x, 4))};
}
FLYBALL_INLINE __m256i _mm256_cvtepu8_epi32(__m128i x) {
  return {_mm_cvtepu8_epi32(x), _mm_cvtepu8_epi32(_mm_srli_si128(x, 4))};
}
FLYBALL_INLINE __m256i _mm256_cvtepu16_epi32(__m128i x) {
  return {_mm_cvtepu16_epi32(x), _mm_unpackhi_epi16(x, _mm_setzero_si128())};
}

// Orders that are constants of an instruction: those that the kernels use.
template <int order>
FLYBALL_INLINE __m256 shuffled(__m256 a, __m256 b) {
  return {_mm_shuffle_ps(a.low, b.low, order), _mm_shuffle_ps(a.high, b.high, order)};
}
template <int order>
FLYBALL_INLINE __m256i middle_swapped(__m256i x) {
  static_assert(order == 0xd8);
  return {_mm_unpacklo_epi64(x.low, x.high), _mm_unpackhi_epi64(x.low, x.high)};
}
template <int order>
FLYBALL_INLINE __m256d middle_swapped(__m256d x) {
  static_assert(order == 0xd8);
  return {_mm_unpacklo_pd(x.low, x.high), _mm_unpackhi_pd(x.low, x.high)};
}
template <int order>
FLYBALL_INLINE __m256 halves_of(__m256 a, __m256 b) {
  static_assert(order == 0x20 || order == 0x31);
  if constexpr (order == 0x20) return {a.low, b.low};
  return {a.high, b.high};
}
#define _mm256_shuffle_ps(a, b, order) shuffled<order>(a, b)
#define _mm256_permute4x64_epi64(x, order) middle_swapped<order>(x)
#define _mm256_permute4x64_pd(x, order) middle_swapped<order>(x)
#define _mm256_permute2f128_ps(a, b, order) halves_of<order>(a, b)

// A fused multiply-add in double precision, where the product of two floats is exact: the sum is rounded there and again
// to f32. That is one rounding too many only where the first one ends half way between two floats, or below the smallest
// normal one, whose neighbors are closer than the test for it knows.
struct Fused {
  __m128d low, high;  // the sums
  FLYBALL_INLINE Fused(__m128 a, __m128 b, __m128 c)
      : low(_mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), _mm_cvtps_pd(c))),
        high(_mm_add_pd(_mm_mul_pd(upper(a), upper(b)), upper(c))) {}
  FLYBALL_INLINE static __m128d upper(__m128 x) { return _mm_cvtps_pd(_mm_movehl_ps(x, x)); }
  FLYBALL_INLINE __m128 rounded() const { return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high)); }
  FLYBALL_INLINE static __m128i even_words(__m128d a, __m128d b) {
    return _mm_castps_si128(_mm_shuffle_ps(_mm_castpd_ps(a), _mm_castpd_ps(b), 0x88));
  }
  FLYBALL_INLINE __m128i doubtful() const {
    const __m128i rest = _mm_and_si128(even_words(low, high), _mm_set1_epi32(0x1fffffff));
    const __m128i size = _mm_and_si128(_mm_castps_si128(rounded()), _mm_set1_epi32(0x7fffffff));
    return _mm_or_si128(_mm_cmpeq_epi32(rest, _mm_set1_epi32(0x10000000)),
                        _mm_cmpgt_epi32(_mm_set1_epi32(0x00800001), size));
  }
  FLYBALL_INLINE __m128i is_zero() const {  // then it is exact
    return even_words(_mm_cmpeq_pd(low, _mm_setzero_pd()), _mm_cmpeq_pd(high, _mm_setzero_pd()));
  }
};
FLYBALL_NOINLINE __m256 fused_one_by_one(const __m256& a, const __m256& b, const __m256& c) {
  f32 x[8], y[8], sum[8];
  _mm256_storeu_ps(x, a), _mm256_storeu_ps(y, b), _mm256_storeu_ps(sum, c);
  for (u32 i = 0; i < 8; ++i) sum[i] = fma32(x[i], y[i], sum[i]);
  return _mm256_loadu_ps(sum);
}
FLYBALL_INLINE bool any(__m128i mask) { return _mm_movemask_epi8(mask) != 0; }
FLYBALL_INLINE __m256 _mm256_fmadd_ps(__m256 a, __m256 b, __m256 c) {
  const Fused low(a.low, b.low, c.low), high(a.high, b.high, c.high);
  const __m128i first = low.doubtful(), second = high.doubtful();
  if (__builtin_expect(any(_mm_or_si128(first, second)), 0)) {
    if (any(_mm_or_si128(_mm_andnot_si128(low.is_zero(), first), _mm_andnot_si128(high.is_zero(), second))))
      return fused_one_by_one(a, b, c);
  }
  return {low.rounded(), high.rounded()};
}
FLYBALL_INLINE __m256 _mm256_fnmadd_ps(__m256 a, __m256 b, __m256 c) {
  const __m128 sign = _mm_set1_ps(-0.0f);
  return _mm256_fmadd_ps({_mm_xor_ps(a.low, sign), _mm_xor_ps(a.high, sign)}, b, c);
}

// Halves, each in a word of its own, as half_to_f32() has them.
FLYBALL_INLINE __m128 floats_of(__m128i x) {
  const auto where = [](__m128i mask, i32 value) FLYBALL_LAMBDA { return _mm_and_si128(mask, _mm_set1_epi32(value)); };
  const __m128i sign = _mm_slli_epi32(_mm_srli_epi32(x, 15), 31);
  const __m128i size = where(_mm_slli_epi32(x, 13), 0x0fffe000);
  const __m128i subnormal = _mm_cmpgt_epi32(_mm_set1_epi32(0x00800000), size);
  const __m128i infinite = _mm_cmpgt_epi32(size, _mm_set1_epi32(0x0f7fffff));  // or NaN
  __m128i bits = _mm_add_epi32(size, _mm_set1_epi32(112 << 23));
  bits = _mm_add_epi32(bits, _mm_or_si128(where(subnormal, 1 << 23), where(infinite, 112 << 23)));
  const __m128 value = _mm_sub_ps(_mm_castsi128_ps(bits), _mm_castsi128_ps(where(subnormal, 113 << 23)));  // - 2^-14
  return _mm_or_ps(value, _mm_castsi128_ps(sign));
}
FLYBALL_INLINE __m256 _mm256_cvtph_ps(__m128i x) {
  const __m256i words = _mm256_cvtepu16_epi32(x);
  return {floats_of(words.low), floats_of(words.high)};
}
FLYBALL_INLINE f32 _cvtsh_ss(u16 x) { return _mm_cvtss_f32(floats_of(_mm_cvtsi32_si128(x))); }
// Only what goes into a cache is rounded to halves: a few values a token.
FLYBALL_INLINE __m128i _mm256_cvtps_ph(__m256 x, int) {
  f32 values[8];
  alignas(16) u16 halves[8];
  _mm256_storeu_ps(values, x);
  for (u32 i = 0; i < 8; ++i) halves[i] = f32_to_half(values[i]);
  return _mm_load_si128(reinterpret_cast<const __m128i*>(halves));
}
FLYBALL_INLINE u16 _cvtss_sh(f32 x, int) { return f32_to_half(x); }

// Keeps a value in its registers. Left alone, the compiler makes a tree of a chain of integer sums, and spills its leaves.
FLYBALL_INLINE __m256i pinned(__m256i x) {
  __asm__("" : "+x"(x.low), "+x"(x.high));
  return x;
}
FLYBALL_INLINE __m256i broadcast_word(i32 word) {  // in one register
  __m128i x = _mm_set1_epi32(word);
  __asm__("" : "+x"(x));
  return {x, x};
}
// Has a value computed that nothing uses.
FLYBALL_INLINE void keep(__m256i x) { __asm__ volatile("" ::"x"(x.low), "x"(x.high)); }

// Words of a constant table by their numbers.
[[maybe_unused]] FLYBALL_INLINE __m128i gather4(const u32* table, __m128i number) {
  const auto word = [&](i32 i) FLYBALL_LAMBDA { return i32(table[u32(i)]); };
  return _mm_setr_epi32(word(_mm_cvtsi128_si32(number)), word(_mm_extract_epi32(number, 1)),
                        word(_mm_extract_epi32(number, 2)), word(_mm_extract_epi32(number, 3)));
}
[[maybe_unused]] FLYBALL_INLINE __m256i gather(const u32* table, __m256i number) {
  return {gather4(table, number.low), gather4(table, number.high)};
}
[[maybe_unused]] FLYBALL_INLINE __m256d gather_pairs(const u32* table, __m128i number) {
  const auto pair = [&](i32 i) FLYBALL_LAMBDA {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(table + 2 * u64(u32(i))));
  };
  const auto two = [](__m128i a, __m128i b) FLYBALL_LAMBDA { return _mm_castsi128_pd(_mm_unpacklo_epi64(a, b)); };
  return {two(pair(_mm_cvtsi128_si32(number)), pair(_mm_extract_epi32(number, 1))),
          two(pair(_mm_extract_epi32(number, 2)), pair(_mm_extract_epi32(number, 3)))};
}

// Half of what AVX2's sixteen registers hold (avx2_registers.inl says of what).
constexpr u32 direct_rows = 4, shared_rows = 6;
constexpr u32 row_tile_vectors(u32 rows) { return rows >= 2 ? 1 : 2; }
constexpr u32 tile_groups = 1, least_tile_tokens = 1, tile_tokens = 2;
constexpr u32 panel_tokens = 192;
constexpr u64 resident_bytes = 384 << 10;
constexpr u32 few_tokens = 3;
constexpr u32 float_tile_tokens = 4;
constexpr u32 float_tile_groups(u32 tokens) { return tokens <= 2 ? 2 : 1; }
constexpr bool delta_pairs = false;

}  // namespace
}  // namespace flyball::kernels
