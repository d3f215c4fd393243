// How each quantized type's packed block becomes vectors of unsigned codes: 64 bytes, 16 rows x 4 values, for VPDPBUSD.
// Part of avx512.cpp. `code(body, v)` gives values 4v .. 4v+3 of a block; v is a constant after unrolling.
// A signed weight is its code plus `bias`, which enters the sums through the sums of the activations.

namespace flyball::kernels {
namespace {

FLYBALL_INLINE __m512i load_vector(const u8* p) { return _mm512_loadu_si512(p); }
FLYBALL_INLINE __m512 load_halves(const u8* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
FLYBALL_INLINE __m128i load_bytes(const u8* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); }
FLYBALL_INLINE __mmask64 load_mask(const u8* masks, u32 i) {
  u64 bits;
  memcpy(&bits, masks + 8 * i, 8);
  return _cvtu64_mask64(bits);
}
FLYBALL_INLINE __m512i low_bits(__m512i x, i32 mask) { return _mm512_and_si512(x, _mm512_set1_epi8(i8(mask))); }
FLYBALL_INLINE __m512i nibbles(const u8* p, bool high) {
  const __m512i x = load_vector(p);
  return low_bits(high ? _mm512_srli_epi16(x, 4) : x, 15);
}
// The scales of a block, or of a part of it.
template <Type type>
FLYBALL_INLINE __m512 load_scales(const u8* head, u32 part = 0) {
  if constexpr (type == Type::nvfp4) {
    const __m256i bits = _mm256_slli_epi16(_mm256_cvtepu8_epi16(load_bytes(head + 16 * part)), 7);
    return _mm512_mul_ps(_mm512_cvtph_ps(bits), _mm512_set1_ps(128));
  }
  if constexpr (has_grid(type)) return _mm512_mul_ps(load_halves(head), _mm512_set1_ps(grid_of(type).unit));
  if constexpr (type != Type::mxfp4) return load_halves(head);
  const __m512i exponents = _mm512_slli_epi32(_mm512_cvtepu8_epi32(load_bytes(head)), 23);
  const __m512 x = _mm512_castsi512_ps(_mm512_max_epi32(exponents, _mm512_set1_epi32(1 << 22)));
  return _mm512_fnmadd_ps(x, _mm512_set1_ps(0.5f), x);
}
// What the codebook of W has for each index, as the codes of W: less its bias.
template <class W>
FLYBALL_INLINE __m512i from_codebook(__m512i index) {
  static constexpr Codebook book = codebook(W::type, -W::bias);
  return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(*reinterpret_cast<const __m128i*>(book.values)), index);
}

struct Q4_0 {
  static constexpr Type type = Type::q4_0;
  static constexpr i32 bias = -8;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return nibbles(body + 64 * (v % 4), v >= 4); }
};

struct Q4_1 {
  static constexpr Type type = Type::q4_1;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = true;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return Q4_0::code(body, v); }
};

struct Q5_0 {
  static constexpr Type type = Type::q5_0;
  static constexpr i32 bias = -16;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i low = Q4_0::code(body + 64, v);
    return _mm512_mask_add_epi8(low, load_mask(body, v), low, _mm512_set1_epi8(16));
  }
};

struct Q5_1 {
  static constexpr Type type = Type::q5_1;
  static constexpr i32 bias = 0;
  static constexpr bool has_min = true;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return Q5_0::code(body, v); }
};

struct Q8_0 {
  static constexpr Type type = Type::q8_0;
  static constexpr i32 bias = -128;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    return _mm512_xor_si512(load_vector(body + 64 * v), _mm512_set1_epi8(-128));
  }
};

struct Iq4Nl {
  static constexpr Type type = Type::iq4_nl;
  static constexpr i32 bias = -128;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return from_codebook<Iq4Nl>(Q4_0::code(body, v)); }
};

struct Mxfp4 {
  static constexpr Type type = Type::mxfp4;
  static constexpr i32 bias = -12;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return from_codebook<Mxfp4>(Q4_0::code(body, v)); }
};

struct Nvfp4 {
  static constexpr Type type = Type::nvfp4;
  static constexpr i32 bias = -12;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    return from_codebook<Nvfp4>(nibbles(body + 64 * (v / 4 * 2 + v % 2), v / 2 % 2));
  }
};

struct Q1_0 {
  static constexpr Type type = Type::q1_0;
  static constexpr i32 bias = -1;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) { return _mm512_maskz_set1_epi8(load_mask(body, v), 2); }
};

struct Q2_0 {
  static constexpr Type type = Type::q2_0;
  static constexpr i32 bias = -1;
  static constexpr bool has_min = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    return low_bits(_mm512_srli_epi16(load_vector(body + 64 * (v % 2)), 2 * (v / 2)), 3);
  }
};

// Blocks of 256. `sub_values`: values that share a scale. `scale(body, s)`: the scale of sub-block s as i32 for 16
// rows. `pair(body, i)`: for sub-blocks 2i and 2i+1 two i16 per row that multiply the sums of the activations: the
// minima where the type has them, else the scales (for the bias). A sub-block's dot product starts at `start` times the
// sum of its activations; `narrow`: it then fits i16. Where the start is not the weights' bias (`centered`),
// `uncenter(body, i)` gives the factors, as pairs, that take it out again.

FLYBALL_INLINE __m512i widen(__m128i x) { return _mm512_cvtepi8_epi32(x); }
FLYBALL_INLINE __m512i pair_bytes(__m128i first, __m128i second) {  // i8 [16] twice to (first, second) i16 in each i32
  const __m256i both = _mm256_set_m128i(_mm_unpackhi_epi8(first, second), _mm_unpacklo_epi8(first, second));
  return _mm512_cvtepi8_epi16(both);
}
FLYBALL_INLINE __m512i shuffle_words(__m512i x, i8 b0, i8 b1, i8 b2, i8 b3) {  // the same byte shuffle in every i32
  const __m128i one = _mm_setr_epi8(b0, b1, b2, b3, b0, b1, b2, b3, b0, b1, b2, b3, b0, b1, b2, b3);
  const __m128i base = _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12);
  return _mm512_shuffle_epi8(x,
                             _mm512_broadcast_i32x4(_mm_or_si128(one, base)));  // a negative byte stays negative: zero
}
FLYBALL_INLINE __m512i byte_to_i32(__m512i x, u32 byte) { return shuffle_words(x, i8(byte), -128, -128, -128); }

FLYBALL_INLINE __m512i byte_pair(__m512i x, u32 pair) {  // bytes 2 pair and 2 pair + 1 of every i32 as two i16
  return shuffle_words(x, i8(2 * pair), -128, i8(2 * pair + 1), -128);
}

struct Q2K {
  static constexpr Type type = Type::q2_k;
  static constexpr u32 sub_values = 16;
  static constexpr i32 bias = 0, start = 0;
  static constexpr bool has_min = true, narrow = true, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i x = load_vector(body + 256 + 64 * (v / 32 * 8 + v % 8));
    return low_bits(_mm512_srli_epi16(x, 2 * (v / 8 % 4)), 3);
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) {
    return widen(_mm_and_si128(load_bytes(body + 16 * s), _mm_set1_epi8(15)));
  }
  FLYBALL_INLINE static __m128i minimum(const u8* body, u32 s) {
    return _mm_and_si128(_mm_srli_epi16(load_bytes(body + 16 * s), 4), _mm_set1_epi8(15));
  }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) {
    return pair_bytes(minimum(body, 2 * i), minimum(body, 2 * i + 1));
  }
};

struct Q3K {
  static constexpr Type type = Type::q3_k;
  static constexpr u32 sub_values = 16;
  static constexpr i32 bias = -4, start = -4;
  static constexpr bool has_min = false, narrow = true, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i x = load_vector(body + 256 + 512 + 64 * (v / 32 * 8 + v % 8));
    const __m512i low = low_bits(_mm512_srli_epi16(x, 2 * (v / 8 % 4)), 3);
    return _mm512_mask_add_epi8(low, load_mask(body + 256, v), low, _mm512_set1_epi8(4));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) { return widen(load_bytes(body + 16 * s)); }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) {
    return pair_bytes(load_bytes(body + 32 * i), load_bytes(body + 32 * i + 16));
  }
};

struct Q4K {
  static constexpr Type type = Type::q4_k;
  static constexpr u32 sub_values = 32;
  static constexpr i32 bias = 0, start = -8;
  static constexpr bool has_min = true, narrow = true, centered = true;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    return nibbles(body + 192 + 64 * (v / 16 * 8 + v % 8), v / 8 % 2);
  }
  // Four 6-bit numbers in the bytes of each i32: scales 0..3 or 4..7, minima likewise.
  FLYBALL_INLINE static __m512i six_bits(const u8* body, bool minima, bool upper) {
    const __m512i own = load_vector(body + 64 * u32(minima));
    if (!upper) return low_bits(own, 63);
    const __m512i last = load_vector(body + 128);
    const __m512i low = low_bits(minima ? _mm512_srli_epi32(last, 4) : last, 15);
    return _mm512_or_si512(low, low_bits(_mm512_srli_epi32(own, 2), 48));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) {
    return byte_to_i32(six_bits(body, false, s >= 4), s % 4);
  }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) { return byte_pair(six_bits(body, true, i >= 2), i % 2); }
  FLYBALL_INLINE static __m512i uncenter(const u8* body, u32 i) {
    return _mm512_slli_epi16(byte_pair(six_bits(body, false, i >= 2), i % 2), 3);
  }
};

struct Q5K {
  static constexpr Type type = Type::q5_k;
  static constexpr u32 sub_values = 32;
  static constexpr i32 bias = 0, start = 0;
  static constexpr bool has_min = true, narrow = false, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i low = nibbles(body + 192 + 512 + 64 * (v / 16 * 8 + v % 8), v / 8 % 2);
    return _mm512_mask_add_epi8(low, load_mask(body + 192, v), low, _mm512_set1_epi8(16));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) { return Q4K::scale(body, s); }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) { return Q4K::pair(body, i); }
};

struct Q6K {
  static constexpr Type type = Type::q6_k;
  static constexpr u32 sub_values = 16;
  static constexpr i32 bias = -32, start = -32;
  static constexpr bool has_min = false, narrow = false, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const u32 half = v / 32, quarter = v / 8 % 4;
    const __m512i low = nibbles(body + 256 + 64 * (16 * half + v % 16), quarter >= 2);
    const __m512i x = load_vector(body + 256 + 2048 + 64 * (8 * half + v % 8));
    const __m512i high = quarter == 3 ? _mm512_srli_epi16(x, 2) : _mm512_slli_epi16(x, 4 - 2 * quarter);
    return _mm512_or_si512(low, low_bits(high, 48));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) { return widen(load_bytes(body + 16 * s)); }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) { return Q3K::pair(body, i); }
};

struct Iq4Xs {
  static constexpr Type type = Type::iq4_xs;
  static constexpr u32 sub_values = 32;
  static constexpr i32 bias = -128, start = -128;
  static constexpr bool has_min = false, narrow = false, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    return from_codebook<Iq4Xs>(nibbles(body + 128 + 64 * (v / 8 * 4 + v % 4), v / 4 % 2));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) { return widen(load_bytes(body + 16 * s)); }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) { return Q3K::pair(body, i); }
};

// Blocks without scales of their own.
struct Tq2_0 {
  static constexpr Type type = Type::tq2_0;
  static constexpr u32 sub_values = 32;
  static constexpr i32 bias = -1, start = -1;
  static constexpr bool has_min = false, narrow = true, centered = false;
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i x = load_vector(body + 64 * (v / 32 * 8 + v % 8));
    return low_bits(_mm512_srli_epi16(x, 2 * (v / 8 % 4)), 3);
  }
  FLYBALL_INLINE static __m512i scale(const u8*, u32) { return _mm512_set1_epi32(1); }
  FLYBALL_INLINE static __m512i pair(const u8*, u32) { return _mm512_set1_epi16(1); }
};

struct Tq1_0 {
  static constexpr Type type = Type::tq1_0;
  static constexpr u32 sub_values = 32;
  static constexpr i32 bias = -1, start = -1;
  static constexpr bool has_min = false, narrow = true, centered = false;
  // Each byte as the upper half of a word: what the first product leaves there is a fraction, whose next digit the second
  // one moves out.
  FLYBALL_INLINE static __m512i digits(__m512i upper, u32 power) {
    return _mm512_mulhi_epu16(_mm512_mullo_epi16(upper, _mm512_set1_epi16(i16(power))), _mm512_set1_epi16(3));
  }
  FLYBALL_INLINE static __m512i code(const u8* body, u32 v) {
    const __m512i x = load_vector(body + 64 * ternary_vector(v));
    const __m512i odd = digits(_mm512_and_si512(x, _mm512_set1_epi16(i16(0xff00))), ternary_power(v));
    return _mm512_or_si512(digits(_mm512_slli_epi16(x, 8), ternary_power(v)), _mm512_slli_epi16(odd, 8));
  }
  FLYBALL_INLINE static __m512i scale(const u8*, u32) { return _mm512_set1_epi32(1); }
  FLYBALL_INLINE static __m512i pair(const u8*, u32) { return _mm512_set1_epi16(1); }
};

// Points of a grid. Their scales are nibbles n for 2 n + 1.
template <Type t>
struct OfGrid {
  static constexpr Type type = t;
  static constexpr Grid grid = grid_of(t);
  static constexpr u32 words = grid.words();
  static constexpr u32 sub_values = grid.sub_values;
  static constexpr i32 bias = -grid.offset, start = bias;
  static constexpr bool has_min = false, narrow = false, centered = false;
  FLYBALL_INLINE static __mmask16 plane(const u8* body, u32 i) {
    u16 bits;
    memcpy(&bits, body + grid.highs() + 2 * i, 2);
    return _cvtu32_mask16(bits);
  }
  // The entries of a table of n words that the low bits of `at` number: registers of 32 words are looked up two by two.
  template <u32 n>
  FLYBALL_INLINE static __m512i look_up(const u16* table, __m512i at) {
    if constexpr (n == 64) {
      return _mm512_permutex2var_epi16(_mm512_load_si512(table), at, _mm512_load_si512(table + 32));
    } else {
      const __mmask32 upper = _mm512_test_epi16_mask(at, _mm512_set1_epi16(n / 2));
      return _mm512_mask_mov_epi16(look_up<n / 2>(table, at), upper, look_up<n / 2>(table + n / 2, at));
    }
  }
  FLYBALL_INLINE static __m512i either_and(__m512i a, __m512i b, u32 mask) {  // (a | b) & mask
    return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(i32(mask)), 0xa8);
  }
  // Two points of each row together, v and what follows: their levels, from a table that passes through registers or,
  // where it is large, by gathering; then a byte for each.
  FLYBALL_INLINE static void codes(const u8* body, u32 v, __m512i* to) {
    const u32 i = v / words;
    const u8* numbers = body + grid.numbers() + 16 * i;
    __m512i number = _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(numbers)));
    for (u32 b = 0; b < grid.high_bits; ++b) {
      u32 bits;
      memcpy(&bits, body + grid.highs() + 2 * (b * grid.n + i), 4);
      number = _mm512_mask_add_epi16(number, bits, number, _mm512_set1_epi16(i16(256u << b)));
    }
    constexpr u32 n = grid_points<t>().count;
    constexpr bool in_registers = n <= 512;
    const u16* table = grid_points<t>().levels;
    if constexpr (in_registers) number = look_up<n>(table, number);
    __m512i point[2] = {_mm512_cvtepu16_epi32(_mm512_castsi512_si256(number)),
                        _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(number, 1))};
    if constexpr (!in_registers) {  // each with its neighbor, which is cut off; behind the last one are the words
      for (__m512i& p : point) p = _mm512_and_si512(_mm512_i32gather_epi32(p, table, 2), _mm512_set1_epi32(0xffff));
    }
    static constexpr GridLevels levels = grid_levels(t);
    const __m512i sizes = _mm512_broadcast_i32x4(*reinterpret_cast<const __m128i*>(levels.values));
    each_constant<2 * words>([&](auto k) FLYBALL_LAMBDA {
      __m512i x = point[k / words];
      if constexpr (words == 1) {
        x = either_and(x, _mm512_slli_epi32(x, 10), 0x003f003f);
        x = either_and(x, _mm512_slli_epi32(x, 5), 0x07070707);
      } else {
        if constexpr (k % 2 == 1) x = _mm512_srli_epi32(x, 8);
        x = either_and(x, _mm512_slli_epi32(x, 12), 0x000f000f);
        x = either_and(x, _mm512_slli_epi32(x, 6), 0x03030303);
      }
      to[k] = complete(body, v + k, _mm512_shuffle_epi8(sizes, x));
    });
  }
  // The codes of vector v, from its values' sizes.
  FLYBALL_INLINE static __m512i complete(const u8* body, u32 v, __m512i sizes) {
    if constexpr (grid.shifted) {
      const __mmask16 up = plane(body, grid.high_bits * grid.n + v / words);
      return _mm512_mask_add_epi32(sizes, up, sizes, _mm512_set1_epi8(2));
    }
    const __m512i offset = _mm512_set1_epi8(grid.offset);
    return _mm512_mask_sub_epi8(_mm512_add_epi8(offset, sizes), load_mask(body + grid.signs(), v), offset, sizes);
  }
  FLYBALL_INLINE static __m128i scales(const u8* body, u32 s) {
    const __m128i x = load_bytes(body + 16 * (s / 2));
    const __m128i n = _mm_and_si128(s % 2 ? _mm_srli_epi16(x, 4) : x, _mm_set1_epi8(15));
    return _mm_add_epi8(_mm_add_epi8(n, n), _mm_set1_epi8(1));
  }
  FLYBALL_INLINE static __m512i scale(const u8* body, u32 s) { return widen(scales(body, s)); }
  FLYBALL_INLINE static __m512i pair(const u8* body, u32 i) {
    return pair_bytes(scales(body, 2 * i), scales(body, 2 * i + 1));
  }
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
constexpr u32 together<OfGrid<t>> = 2 * OfGrid<t>::words;
template <class W>
FLYBALL_INLINE void codes_of(const u8* body, u32 v, __m512i* to) {
  if constexpr (has_grid(W::type))
    W::codes(body, v, to);
  else
    to[0] = W::code(body, v);
}

// f(v, code) for the vectors [first, first + n).
template <class W, u32 n, class Function>
FLYBALL_INLINE void each_code(const u8* body, u32 first, Function f) {
  unroll<n / together<W>>([&](u32 i) FLYBALL_LAMBDA {
    __m512i codes[together<W>];
    codes_of<W>(body, first + i * together<W>, codes);
    each_constant<together<W>>([&](auto k) FLYBALL_LAMBDA { f(first + i * together<W> + k, codes[k]); });
  });
}

}  // namespace
}  // namespace flyball::kernels
