// Packed blocks as rows of weight tiles: 64 bytes, 16 matrix rows x 4 values. Part of amx.inl, after avx512_unpack.inl.

namespace flyball::kernels {
namespace {

// Four blocks of 32, or one where fewer are left: signed weights, 8 vectors a block.
constexpr u32 panel_blocks = 4;
struct Weights32 {
  alignas(64) u8 codes[panel_blocks][8][64];
  alignas(64) f32 d[panel_blocks][16];
  alignas(64) f32 m[panel_blocks][16];
};

template <class W>
FLYBALL_NOINLINE void unpack_weights32(const u8* heads, u32 first, const u8* body, u32 n_blocks, Weights32* to) {
  constexpr PackedShape shape = packed_shape(W::type);
  for (u32 b = 0; b < n_blocks; ++b, body += shape.body_bytes) {
    const u8* head = heads + head_at(W::type, first + b);
    for (u32 i = 0; i < shape.body_bytes; i += 64) {
      _mm_prefetch(reinterpret_cast<const char*>(body + i + 4096), _MM_HINT_T0);
    }
    each_code<W, 8>(body, 0, [&](u32 v, __m512i code) FLYBALL_LAMBDA {
      _mm512_store_si512(to->codes[b][v], _mm512_add_epi8(code, _mm512_set1_epi8(i8(W::bias))));
    });
    _mm512_store_ps(to->d[b], load_scales<W::type>(head));
    if constexpr (W::has_min) _mm512_store_ps(to->m[b], load_halves(head + 32));
  }
}

// A block of 256, each weight times the integer scale of its sub-block. These products are exact in one or two bytes:
// weight * scale = low + high * 2^shift, so that a block is one chain of tile products for each digit.
struct Digits {
  u8 bytes[64][64];
};
struct Weights256 {
  alignas(64) Digits low;
  alignas(64) i32 minima[8][16];  // pairs of i16: of sub-blocks 2i and 2i + 1
  alignas(64) f32 d[16];
  alignas(64) f32 m[16];
};

FLYBALL_INLINE __m512i both_words(__m512i x) {  // the low half of each i32 in its two halves
  return _mm512_mask_blend_epi16(0xaaaaaaaa, x, _mm512_slli_epi32(x, 16));
}

// The scale in three bits and three: code * 7 fits a byte, so two codes in a word multiply at once.
struct SplitScale {
  static constexpr u32 digits = 2, shift = 3;
  static constexpr bool low_signed = false, high_signed = false, negative = false;
  __m512i low_scale, high_scale;
  FLYBALL_INLINE explicit SplitScale(__m512i scale)
      : low_scale(both_words(_mm512_and_si512(scale, _mm512_set1_epi32(7)))),
        high_scale(both_words(_mm512_srli_epi32(scale, 3))) {}
  FLYBALL_INLINE void put(__m512i code, u8* low, u8* high) const {
    _mm512_store_si512(low, _mm512_mullo_epi16(code, low_scale));
    _mm512_store_si512(high, _mm512_mullo_epi16(code, high_scale));
  }
};

// The whole product in a byte.
struct WholeScale {
  static constexpr u32 digits = 1, shift = 0;
  static constexpr bool low_signed = false, high_signed = false, negative = false;
  __m512i scale;
  FLYBALL_INLINE explicit WholeScale(__m512i s) : scale(both_words(s)) {}
  FLYBALL_INLINE void put(__m512i code, u8* low, u8*) const {
    _mm512_store_si512(low, _mm512_mullo_epi16(code, scale));
  }
};

// (4 - code) * scale is within -128 .. 124, (code - 4) * scale is not: the sums come out negated.
struct NegativeScale {
  static constexpr u32 digits = 1, shift = 0;
  static constexpr bool low_signed = true, high_signed = false, negative = true;
  __m512i scale, offset;
  FLYBALL_INLINE explicit NegativeScale(__m512i s) : scale(both_words(s)) {
    const __m512i byte = _mm512_and_si512(_mm512_slli_epi16(scale, 2), _mm512_set1_epi16(255));
    offset = _mm512_or_si512(byte, _mm512_slli_epi16(byte, 8));
  }
  FLYBALL_INLINE void put(__m512i code, u8* low, u8*) const {
    const __m512i even = _mm512_mullo_epi16(code, scale);  // its upper bytes hold carries
    const __m512i odd = _mm512_mullo_epi16(_mm512_and_si512(code, _mm512_set1_epi16(i16(0xff00))), scale);
    const __m512i product = _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaa, even, odd);
    _mm512_store_si512(low, _mm512_sub_epi8(offset, product));
  }
};

// The product has up to 14 bits: its two bytes.
template <i32 bias>
struct SplitProduct {
  static constexpr u32 digits = 2, shift = 8;
  static constexpr bool low_signed = false, high_signed = true, negative = false;
  __m512i even_scale, odd_scale, offset;
  FLYBALL_INLINE explicit SplitProduct(__m512i s) {
    const __m512i scale = both_words(s);
    even_scale = _mm512_and_si512(scale, _mm512_set1_epi16(255));
    odd_scale = _mm512_slli_epi16(scale, 8);
    offset = _mm512_mullo_epi16(scale, _mm512_set1_epi16(bias));
  }
  FLYBALL_INLINE void put(__m512i code, u8* low, u8* high) const {
    const __m512i even = _mm512_add_epi16(_mm512_maddubs_epi16(code, even_scale), offset);
    const __m512i odd = _mm512_add_epi16(_mm512_maddubs_epi16(code, odd_scale), offset);
    const __mmask64 odd_bytes = 0xaaaaaaaaaaaaaaaa;
    _mm512_store_si512(low, _mm512_mask_blend_epi8(odd_bytes, even, _mm512_slli_epi16(odd, 8)));
    _mm512_store_si512(high, _mm512_mask_blend_epi8(odd_bytes, _mm512_srli_epi16(even, 8), odd));
  }
};

template <class W>
FLYBALL_INLINE auto scale_of(__m512i scale) {
  if constexpr (W::type == Type::q2_k)
    return WholeScale(scale);
  else if constexpr (W::type == Type::q3_k)
    return NegativeScale(scale);
  else if constexpr (W::has_min)
    return SplitScale(scale);
  else
    return SplitProduct<W::bias>(scale);
}
template <class W>
using ScaleOf = decltype(scale_of<W>(__m512i()));

template <class W>
FLYBALL_NOINLINE void unpack_weights256(const u8* head, const u8* body, Weights256* to, Digits* high) {
  constexpr u32 n_subs = 256 / W::sub_values, vectors = W::sub_values / 4;
  for (u32 i = 0; i < packed_shape(W::type).body_bytes; i += 64) {
    _mm_prefetch(reinterpret_cast<const char*>(body + i + 4096), _MM_HINT_T0);
  }
  unroll<n_subs>([&](u32 s) FLYBALL_LAMBDA {
    keep_order();
    const auto scale = scale_of<W>(W::scale(body, s));
    each_code<W, vectors>(body, s * vectors, [&](u32 v, __m512i code) FLYBALL_LAMBDA {
      scale.put(code, to->low.bytes[v], high->bytes[v]);
    });
  });
  if constexpr (W::has_min) {
    unroll<n_subs / 2>([&](u32 i) FLYBALL_LAMBDA { _mm512_store_si512(to->minima[i], W::pair(body, i)); });
    _mm512_store_ps(to->m, load_halves(head + 32));
  }
  _mm512_store_ps(to->d, load_scales<W::type>(head));
}

}  // namespace
}  // namespace flyball::kernels
