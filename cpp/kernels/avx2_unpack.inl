// How each quantized type's packed block becomes vectors of codes: 32 bytes, 8 rows x 4 values, for VPMADDUBSW.
// Part of avx2.cpp. `half` 0 or 1: rows 0..7 or 8..15. `code(body, v, half)` gives values 4v .. 4v+3 of a block.
// Of blocks of 256, `code(body, n, v, half)` gives values 128n+4v .. 128n+4v+3: n is a loop's counter, and v a constant, so
// that all addresses in a loop are.
// `adds`: how many products of pairs (VPMADDUBSW results) of codes up to `largest` times 127 add up in i16; 0: the
// codes are signed and go through the sign trick, |w| x sign(a, w), whose pairs fit one at a time. A signed weight is
// its unsigned code plus `bias`, which enters the sums through the sums of the activations.

namespace flyball::kernels {
namespace {

FLYBALL_INLINE __m256i load_vector(const u8* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
FLYBALL_INLINE __m256 load_halves(const u8* p, u32 half) { return half8(reinterpret_cast<const u16*>(p) + 8 * half); }
FLYBALL_INLINE __m128i load_bytes(const u8* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); }
FLYBALL_INLINE __m256i low_bits(__m256i x, i32 mask) { return _mm256_and_si256(x, _mm256_set1_epi8(i8(mask))); }
FLYBALL_INLINE __m256i nibbles(const u8* p, bool high) {
  const __m256i x = load_vector(p);
  return low_bits(high ? _mm256_srli_epi16(x, 4) : x, 15);
}
// Bytes of `value` where mask i has a bit, else 0. Each row's four bits are brought to the lowest of its bytes, so that
// the one that counts is 1, 2, 4 or 8: an index of a table. Both halves share the first two instructions.
FLYBALL_INLINE __m256i masked(const u8* masks, u32 i, u32 half, i32 value) {
  i64 mask;
  memcpy(&mask, masks + 8 * i, 8);
  const __m256i shifted = _mm256_srlv_epi64(_mm256_set1_epi64x(mask), _mm256_setr_epi64x(0, 4, 0, 4));
  const __m256i rows = _mm256_setr_epi8(0, 0, 0, 0, 8, 8, 8, 8, 1, 1, 1, 1, 9, 9, 9, 9, 2, 2, 2, 2, 10, 10, 10, 10, 3,
                                        3, 3, 3, 11, 11, 11, 11);
  const __m256i spread = _mm256_add_epi8(rows, _mm256_set1_epi8(i8(4 * half)));
  const __m256i bit = _mm256_and_si256(_mm256_shuffle_epi8(shifted, spread), _mm256_set1_epi32(0x08040201));
  const i8 x = i8(value);
  return _mm256_shuffle_epi8(
      _mm256_setr_epi8(0, x, x, 0, x, 0, 0, 0, x, 0, 0, 0, 0, 0, 0, 0, 0, x, x, 0, x, 0, 0, 0, x, 0, 0, 0, 0, 0, 0, 0),
      bit);
}
// The scales of a block, or of a part of it.
template <Type type>
FLYBALL_INLINE __m256 load_scales(const u8* head, u32 half, u32 part = 0) {
  if constexpr (type == Type::nvfp4) {
    const __m128i bits = _mm_slli_epi16(_mm_cvtepu8_epi16(load_bytes(head + 16 * part + 8 * half)), 7);
    return _mm256_mul_ps(_mm256_cvtph_ps(bits), _mm256_set1_ps(128));
  }
  if constexpr (has_grid(type)) return _mm256_mul_ps(load_halves(head, half), _mm256_set1_ps(grid_of(type).unit));
  if constexpr (type != Type::mxfp4) return load_halves(head, half);
  const __m256i exponents = _mm256_slli_epi32(_mm256_cvtepu8_epi32(load_bytes(head + 8 * half)), 23);
  const __m256 x = _mm256_castsi256_ps(_mm256_max_epi32(exponents, _mm256_set1_epi32(1 << 22)));
  return _mm256_fnmadd_ps(x, _mm256_set1_ps(0.5f), x);
}
// What the codebook of W has for each index, as the codes of W: less its bias.
template <class W>
FLYBALL_INLINE __m256i from_codebook(__m256i index) {
  static constexpr Codebook book = codebook(W::type, -W::bias);
  return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(*reinterpret_cast<const __m128i*>(book.values)), index);
}

struct Q4_0 {
  static constexpr Type type = Type::q4_0;
  static constexpr i32 bias = -8;
  static constexpr u32 adds = 8;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return nibbles(body + 64 * (v % 4) + 32 * half, v >= 4);
  }
};

struct Q4_1 {
  static constexpr Type type = Type::q4_1;
  static constexpr i32 bias = 0;
  static constexpr u32 adds = 8;
  static constexpr bool has_min = true;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) { return Q4_0::code(body, v, half); }
};

struct Q5_0 {
  static constexpr Type type = Type::q5_0;
  static constexpr i32 bias = -16;
  static constexpr u32 adds = 4;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return _mm256_or_si256(Q4_0::code(body + 64, v, half), masked(body, v, half, 16));
  }
};

struct Q5_1 {
  static constexpr Type type = Type::q5_1;
  static constexpr i32 bias = 0;
  static constexpr u32 adds = 4;
  static constexpr bool has_min = true;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) { return Q5_0::code(body, v, half); }
};

struct Q8_0 {
  static constexpr Type type = Type::q8_0;
  static constexpr i32 bias = 0;
  static constexpr u32 adds = 0;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) { return load_vector(body + 64 * v + 32 * half); }
};

struct Iq4Nl {
  static constexpr Type type = Type::iq4_nl;
  static constexpr i32 bias = 0;
  static constexpr u32 adds = 0;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return from_codebook<Iq4Nl>(Q4_0::code(body, v, half));
  }
};

struct Mxfp4 {
  static constexpr Type type = Type::mxfp4;
  static constexpr i32 bias = -12;
  static constexpr u32 adds = 4;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return from_codebook<Mxfp4>(Q4_0::code(body, v, half));
  }
};

struct Nvfp4 {
  static constexpr Type type = Type::nvfp4;
  static constexpr i32 bias = -12;
  static constexpr u32 adds = 4;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return from_codebook<Nvfp4>(nibbles(body + 64 * (v / 4 * 2 + v % 2) + 32 * half, v / 2 % 2));
  }
};

struct Q1_0 {
  static constexpr Type type = Type::q1_0;
  static constexpr i32 bias = -1;
  static constexpr u32 adds = 8;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) { return masked(body, v, half, 2); }
};

struct Q2_0 {
  static constexpr Type type = Type::q2_0;
  static constexpr i32 bias = -1;
  static constexpr u32 adds = 8;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 v, u32 half) {
    return low_bits(_mm256_srli_epi16(load_vector(body + 64 * (v % 2) + 32 * half), 2 * (v / 2)), 3);
  }
};

// Blocks of 256. `sub_values`: values that share a scale. `Scales`, made of a block's body, has `scale(n, s, half)`: the
// scale of sub-block s of values 128n .. 128n+127 twice as i16 in each i32, for VPMADDWD; and `pair(n, i, half)`: for its
// sub-blocks 2i and 2i+1 two i16 per row that multiply the sums of the activations: the minima where the type has them,
// else the scales (for the bias).

FLYBALL_INLINE __m256i twice(__m128i bytes) {  // i8 [8] to (x, x) i16 in each i32
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(bytes, bytes));
}
FLYBALL_INLINE __m256i pair_bytes(__m128i first, __m128i second) {
  return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(first, second));
}
FLYBALL_INLINE __m256i shuffle_words(__m256i x, i8 b0, i8 b1, i8 b2, i8 b3) {  // the same byte shuffle in every i32
  const __m128i one = _mm_setr_epi8(b0, b1, b2, b3, b0, b1, b2, b3, b0, b1, b2, b3, b0, b1, b2, b3);
  const __m128i base = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  return _mm256_shuffle_epi8(x, _mm256_broadcastsi128_si256(_mm_or_si128(one, base)));  // a negative byte gives zero
}

// Of types without minima: `Own` has bytes(n, s, half), a scale for each of eight rows.
template <class Own>
struct ScalesAlone {
  FLYBALL_INLINE const Own& own() const { return static_cast<const Own&>(*this); }
  FLYBALL_INLINE __m256i scale(u32 n, u32 s, u32 half) const { return twice(own().bytes(n, s, half)); }
  FLYBALL_INLINE __m256i pair(u32 n, u32 i, u32 half) const {
    return pair_bytes(own().bytes(n, 2 * i, half), own().bytes(n, 2 * i + 1, half));
  }
};

// i8 [sub-blocks][16 rows].
template <u32 sub_values>
struct ByteScales : ScalesAlone<ByteScales<sub_values>> {
  static constexpr u32 n_subs = 128 / sub_values;
  const u8* body;
  FLYBALL_INLINE explicit ByteScales(const u8* b) : body(b) {}
  FLYBALL_INLINE __m128i bytes(u32 n, u32 s, u32 half) const {
    return load_bytes(body + 16 * (n_subs * n + s) + 8 * half);
  }
};

// Q2_K: scales and minima are nibbles of these bytes.
struct NibbleScales {
  ByteScales<16> both;
  FLYBALL_INLINE explicit NibbleScales(const u8* b) : both(b) {}
  FLYBALL_INLINE __m128i minima(u32 n, u32 s, u32 half) const {
    return _mm_and_si128(_mm_srli_epi16(both.bytes(n, s, half), 4), _mm_set1_epi8(15));
  }
  FLYBALL_INLINE __m256i scale(u32 n, u32 s, u32 half) const {
    return twice(_mm_and_si128(both.bytes(n, s, half), _mm_set1_epi8(15)));
  }
  FLYBALL_INLINE __m256i pair(u32 n, u32 i, u32 half) const {
    return pair_bytes(minima(n, 2 * i, half), minima(n, 2 * i + 1, half));
  }
};

// Q4_K and Q5_K: numbers of six bits, unpacked once for a block. The bytes of each i32: those of sub-blocks 4n .. 4n+3.
struct SixBitScales {
  alignas(64) u8 scales[2][64];
  alignas(64) u8 minima[2][64];
  FLYBALL_INLINE explicit SixBitScales(const u8* body) {
    unroll<2>([&](u32 h) FLYBALL_LAMBDA {
      const __m256i s = load_vector(body + 32 * h), m = load_vector(body + 64 + 32 * h);
      const __m256i last = load_vector(body + 128 + 32 * h);
      store(scales[0] + 32 * h, low_bits(s, 63));
      store(minima[0] + 32 * h, low_bits(m, 63));
      store(scales[1] + 32 * h, _mm256_or_si256(low_bits(last, 15), low_bits(_mm256_srli_epi32(s, 2), 48)));
      store(minima[1] + 32 * h,
            _mm256_or_si256(low_bits(_mm256_srli_epi32(last, 4), 15), low_bits(_mm256_srli_epi32(m, 2), 48)));
    });
  }
  FLYBALL_INLINE static void store(u8* to, __m256i x) { _mm256_store_si256(reinterpret_cast<__m256i*>(to), x); }
  FLYBALL_INLINE __m256i scale(u32 n, u32 s, u32 half) const {
    return shuffle_words(load_vector(scales[n] + 32 * half), i8(s), -128, i8(s), -128);
  }
  FLYBALL_INLINE __m256i pair(u32 n, u32 i, u32 half) const {
    return shuffle_words(load_vector(minima[n] + 32 * half), i8(2 * i), -128, i8(2 * i + 1), -128);
  }
};

// Blocks without scales of their own.
struct UnitScales {
  FLYBALL_INLINE explicit UnitScales(const u8*) {}
  FLYBALL_INLINE __m256i scale(u32, u32, u32) const { return _mm256_set1_epi16(1); }
  FLYBALL_INLINE __m256i pair(u32, u32, u32) const { return _mm256_set1_epi16(1); }
};

// Codes of two bits, four in a byte: 16 vectors (n, c 0..7) from `p` on.
FLYBALL_INLINE __m256i two_bits(const u8* p, u32 n, u32 v, u32 half) {
  const __m256i x = load_vector(p + 512 * n + 64 * (v % 8) + 32 * half);
  return low_bits(_mm256_srli_epi16(x, i32(2 * (v / 8))), 3);
}

struct Q2K {
  static constexpr Type type = Type::q2_k;
  static constexpr u32 sub_values = 16, adds = 4;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = true;
  using Scales = NibbleScales;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    return two_bits(body + 256, n, v, half);
  }
};

struct Q3K {
  static constexpr Type type = Type::q3_k;
  static constexpr u32 sub_values = 16, adds = 4;
  static constexpr i32 bias = -4;
  static constexpr bool has_min = false;
  using Scales = ByteScales<16>;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    return _mm256_or_si256(two_bits(body + 768, n, v, half), masked(body + 256 + 256 * n, v, half, 4));
  }
};

struct Q4K {
  static constexpr Type type = Type::q4_k;
  static constexpr u32 sub_values = 32, adds = 8;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = true;
  using Scales = SixBitScales;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    return nibbles(body + 192 + 1024 * n + 64 * (v / 16 * 8 + v % 8) + 32 * half, v / 8 % 2);
  }
};

struct Q5K {
  static constexpr Type type = Type::q5_k;
  static constexpr u32 sub_values = 32, adds = 4;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = true;
  using Scales = SixBitScales;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    return _mm256_or_si256(Q4K::code(body + 512, n, v, half), masked(body + 192 + 256 * n, v, half, 16));
  }
};

struct Q6K {
  static constexpr Type type = Type::q6_k;
  static constexpr u32 sub_values = 16, adds = 2;
  static constexpr i32 bias = -32;
  static constexpr bool has_min = false;
  using Scales = ByteScales<16>;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    const u32 quarter = v / 8;
    const __m256i low = nibbles(body + 256 + 1024 * n + 64 * (v % 16) + 32 * half, quarter >= 2);
    const __m256i x = load_vector(body + 256 + 2048 + 512 * n + 64 * (v % 8) + 32 * half);
    const __m256i high = quarter == 3 ? _mm256_srli_epi16(x, 2) : _mm256_slli_epi16(x, i32(4 - 2 * quarter));
    return _mm256_or_si256(low, low_bits(high, 48));
  }
};

struct Iq4Xs {
  static constexpr Type type = Type::iq4_xs;
  static constexpr u32 sub_values = 32, adds = 0;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = false;
  using Scales = ByteScales<32>;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    return from_codebook<Iq4Xs>(nibbles(body + 128 + 1024 * n + 64 * (v / 8 * 4 + v % 4) + 32 * half, v / 4 % 2));
  }
};

struct Tq2_0 {
  static constexpr Type type = Type::tq2_0;
  static constexpr u32 sub_values = 32, adds = 8;
  static constexpr i32 bias = -1;
  static constexpr bool has_min = false;
  using Scales = UnitScales;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) { return two_bits(body, n, v, half); }
};

struct Tq1_0 {
  static constexpr Type type = Type::tq1_0;
  static constexpr u32 sub_values = 32, adds = 8;
  static constexpr i32 bias = -1;
  static constexpr bool has_min = false;
  // Each byte as the upper half of a word: what the first product leaves there is a fraction, whose next digit the second
  // one moves out.
  FLYBALL_INLINE static __m256i digits(__m256i upper, u32 power) {
    return _mm256_mulhi_epu16(_mm256_mullo_epi16(upper, _mm256_set1_epi16(i16(power))), _mm256_set1_epi16(3));
  }
  using Scales = UnitScales;
  FLYBALL_INLINE static __m256i code(const u8* body, u32 n, u32 v, u32 half) {
    const u32 power = ternary_power(32 * n + v);
    const __m256i x = load_vector(body + 64 * ternary_vector(32 * n + v) + 32 * half);
    const __m256i odd = digits(_mm256_and_si256(x, _mm256_set1_epi16(i16(0xff00))), power);
    return _mm256_or_si256(digits(_mm256_slli_epi16(x, 8), power), _mm256_slli_epi16(odd, 8));
  }
};

// Points of a grid. Their scales are nibbles n for 2 n + 1.
template <Type t>
struct OfGrid {
  static constexpr Type type = t;
  static constexpr Grid grid = grid_of(t);
  static constexpr u32 words = grid.words();
  static constexpr u32 sub_values = grid.sub_values, adds = grid.offset == 64 ? 1 : 4;
  static constexpr i32 bias = -grid.offset;
  static constexpr bool has_min = false;
  // All bits of each row's word where its bit is set in a plane of those from the eighth on.
  FLYBALL_INLINE static __m256i plane(const u8* body, u32 i, u32 half) {
    const __m256i bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(body[grid.highs() + 2 * i + half]), bit), bit);
  }
  FLYBALL_INLINE static void codes(const u8* body, u32 n, u32 first, u32 half, __m256i* to) {
    const u32 v = 32 * n + first, i = v / words;
    __m256i number = _mm256_cvtepu8_epi32(load_bytes(body + grid.numbers() + 16 * i + 8 * half));
    for (u32 b = 0; b < grid.high_bits; ++b) {
      const __m256i bits = plane(body, b * grid.n + i, half);
      number = _mm256_or_si256(number, _mm256_and_si256(bits, _mm256_set1_epi32(i32(256u << b))));
    }
    const u32* const table = grid_points<t>().words;
    if constexpr (words == 1) {
      to[0] = complete(body, v, half, gather(table, number));
    } else {  // both words of each point at once: a gather's time is in the number of its loads
      const __m256d low = gather_pairs(table, _mm256_castsi256_si128(number));
      const __m256d high = gather_pairs(table, _mm256_extracti128_si256(number, 1));
      to[0] = complete(body, v, half, every_other<0x88>(low, high));
      to[1] = complete(body, v + 1, half, every_other<0xdd>(low, high));
    }
  }
  template <int which>
  FLYBALL_INLINE static __m256i every_other(__m256d low, __m256d high) {
    const __m256 words_of = _mm256_shuffle_ps(_mm256_castpd_ps(low), _mm256_castpd_ps(high), which);
    return _mm256_permute4x64_epi64(_mm256_castps_si256(words_of), 0xd8);
  }
  // The codes of vector v, from its words of the table.
  FLYBALL_INLINE static __m256i complete(const u8* body, u32 v, u32 half, __m256i sizes) {
    if constexpr (grid.shifted)
      return _mm256_add_epi8(sizes, low_bits(plane(body, grid.high_bits * grid.n + v / words, half), 2));
    // The offset plus or minus the size: below zero its complement and one.
    const __m256i below = masked(body + grid.signs(), v, half, grid.offset - 1);
    return _mm256_add_epi8(_mm256_xor_si256(sizes, below), _mm256_sub_epi8(_mm256_set1_epi8(grid.offset), below));
  }
  struct Scales : ScalesAlone<Scales> {
    static constexpr u32 n_subs = 128 / sub_values;
    const u8* body;
    FLYBALL_INLINE explicit Scales(const u8* b) : body(b) {}
    FLYBALL_INLINE __m128i bytes(u32 n, u32 s, u32 half) const {
      const __m128i x = load_bytes(body + 16 * ((n_subs * n + s) / 2) + 8 * half);
      const __m128i nibble = _mm_and_si128(s % 2 ? _mm_srli_epi16(x, 4) : x, _mm_set1_epi8(15));
      return _mm_add_epi8(_mm_add_epi8(nibble, nibble), _mm_set1_epi8(1));
    }
  };
};

using Iq3Xxs = OfGrid<Type::iq3_xxs>;
using Iq3S = OfGrid<Type::iq3_s>;
using Iq2Xxs = OfGrid<Type::iq2_xxs>;
using Iq2Xs = OfGrid<Type::iq2_xs>;
using Iq2S = OfGrid<Type::iq2_s>;
using Iq1S = OfGrid<Type::iq1_s>;
using Iq1M = OfGrid<Type::iq1_m>;

// How many vectors of codes a type gives together, and those from v on.
template <class W>
constexpr u32 together = 1;
template <Type t>
constexpr u32 together<OfGrid<t>> = OfGrid<t>::words;
template <class W>
FLYBALL_INLINE void codes_of(const u8* body, u32 n, u32 v, u32 half, __m256i* to) {
  if constexpr (has_grid(W::type))
    W::codes(body, n, v, half, to);
  else if constexpr (is_small<W>)
    to[0] = W::code(body, v, half);
  else
    to[0] = W::code(body, n, v, half);
}

}  // namespace
}  // namespace flyball::kernels
