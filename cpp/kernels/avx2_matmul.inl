// Matrix products of quantized weights on AVX2, and with AVX-VNNI. Part of avx2.cpp and avx_vnni.cpp.
// A tile is a group of 16 rows, as two halves of eight, by up to four tokens: eight sums in registers, and each broadcast
// of activations meets two vectors of weights. A few tokens take codes straight from the packed block. More: up to 256
// values of each row are unpacked once, into a panel in L1, and meet up to panel_tokens.

namespace flyball::kernels {
namespace {

FLYBALL_INLINE __m256i broadcast4(const i8* p) {
  i32 word;
  memcpy(&word, p, 4);
  return broadcast_word(word);
}
FLYBALL_INLINE __m256i load_i(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
FLYBALL_INLINE void store_i(void* p, __m256i x) { _mm256_store_si256(static_cast<__m256i*>(p), x); }

// Signed bytes w as VPMADDUBSW takes them: their sizes, and the activations under their signs.
struct Signed {
  __m256i sizes, a;
};
FLYBALL_INLINE Signed under_signs(__m256i w, __m256i a) { return {_mm256_abs_epi8(w), _mm256_sign_epi8(a, w)}; }

template <class W>
constexpr bool is_signed = W::adds == 0;

// f(t, h) for each token and half of a tile.
template <u32 tokens, class Function>
FLYBALL_INLINE void each_sum(Function f) {
  each_constant<tokens>([&](auto t) FLYBALL_LAMBDA { each_constant<2>([&](auto h) FLYBALL_LAMBDA { f(t, h); }); });
}

// add_products() by dot4(), whose sums of any number of products fit.
template <class W, u32 vectors, u32 tokens, class B>
FLYBALL_INLINE void add_dots(const Strided<i8>& q, u64 at, const B& block, u32 n, u32 first, const __m256i* factor,
                             __m256i (*total)[2]) {
  constexpr u32 together = B::together;
  __m256i codes[2][together];
  __m256i sum[tokens][2];
  each_sum<tokens>([&](u32 t, u32 h)
                       FLYBALL_LAMBDA { sum[t][h] = is_small<W> ? total[t][h] : _mm256_setzero_si256(); });
  unroll<vectors>([&](u32 v) FLYBALL_LAMBDA {
    if (v % together == 0)
      for (u32 h = 0; h < 2; ++h) block.codes(h, n, first + v, codes[h]);
    const __m256i w[2] = {codes[0][v % together], codes[1][v % together]};
    each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
      const __m256i a = broadcast4(&q.at(t, at + 4 * v));
      each_constant<2>([&](auto h) FLYBALL_LAMBDA {
        const Signed x = is_signed<W> ? block.under_signs(h, first + v, w[h], a) : Signed{w[h], a};
        sum[t][h] = pinned(dot4(sum[t][h], x.sizes, x.a));
      });
    });
  });
  each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA {
    const __m256i scale = _mm256_srai_epi32(factor[h], 16);
    total[t][h] = is_small<W> ? sum[t][h] : pinned(_mm256_add_epi32(total[t][h], _mm256_mullo_epi32(sum[t][h], scale)));
  });
}

// total[t][h] += (products of `vectors` vectors of half n of a block, from `first` on, with the activations from q[t][at]
// on) times factor[h], twice an i16 in each i32; exact. Blocks of 32 have one half, 0.
template <class W, u32 vectors, u32 tokens, class B>
FLYBALL_INLINE void add_products(const Strided<i8>& q, u64 at, const B& block, u32 n, u32 first, const __m256i* factor,
                                 __m256i (*total)[2]) {
  if constexpr (has_dot4) return add_dots<W, vectors, tokens>(q, at, block, n, first, factor, total);
  constexpr u32 adds = is_signed<W> ? 1 : W::adds < vectors ? W::adds : vectors;
  constexpr u32 together = B::together;
  __m256i codes[2][together];
  unroll<vectors / adds>([&](u32 part) FLYBALL_LAMBDA {
    __m256i sum[tokens][2];
    unroll<adds>([&](u32 i) FLYBALL_LAMBDA {
      const u32 v = part * adds + i;
      if (v % together == 0)
        for (u32 h = 0; h < 2; ++h) block.codes(h, n, first + v, codes[h]);
      const __m256i w[2] = {codes[0][v % together], codes[1][v % together]};
      each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
        const __m256i a = broadcast4(&q.at(t, at + 4 * v));
        each_constant<2>([&](auto h) FLYBALL_LAMBDA {
          __m256i& s = sum[t][h];
          if constexpr (is_signed<W>) {
            const Signed x = block.under_signs(h, first + v, w[h], a);
            s = _mm256_maddubs_epi16(x.sizes, x.a);
            total[t][h] = pinned(_mm256_add_epi32(total[t][h], _mm256_madd_epi16(s, factor[h])));
          } else {
            const __m256i product = _mm256_maddubs_epi16(w[h], a);
            s = pinned(i == 0 ? product : _mm256_add_epi16(s, product));
          }
        });
      });
    });
    if constexpr (!is_signed<W>) {
      each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA {
        const __m256i next = _mm256_add_epi32(total[t][h], _mm256_madd_epi16(sum[t][h], factor[h]));
        total[t][h] = is_small<W> ? next : pinned(next);  // of 256: one of many sums, a chain as well
      });
    }
  });
}

// Where the dot product of four vectors begins that has a part of a block's scale: bias times the sum of its activations.
template <class W>
FLYBALL_INLINE __m256i part_start(const i8* q) {
  __m256i sum = _mm256_setzero_si256();
  for (u32 i = 0; i < 4; ++i)
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(_mm256_set1_epi8(-W::bias), broadcast4(q + 4 * i)));
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(-1));
}

// Blocks of 32: exact dot products, then one fma each (two with a minimum).
template <class W, u32 tokens, class Scales, class Source>
FLYBALL_INLINE void multiply32(const Strided<i8>& q, const Scales& scales, u32 n_blocks, const Source& source,
                               f32 (*sums)[16]) {
  const __m256i ones[2] = {_mm256_set1_epi16(1), _mm256_set1_epi16(1)};
  for (u32 b = 0; b < n_blocks; ++b) {
    const auto block = source.at(b);
    constexpr u32 parts = scale_parts(W::type), vectors = 8 / parts;
    each_constant<parts>([&](auto part) FLYBALL_LAMBDA {
      const u64 at = 32 * u64(b) + 4 * vectors * part;
      __m256i dot[tokens][2];
      each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA {
        if constexpr (parts > 1)
          dot[t][h] = part_start<W>(&q.at(t, at));
        else
          dot[t][h] = W::bias == 0 ? block.start(h) : _mm256_set1_epi32(scales.start(t, b));
      });
      add_products<W, vectors, tokens>(q, at, block, 0, vectors * part, ones, dot);
      each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA {
        f32* to = sums[t] + 8 * h;
        const __m256 scale = _mm256_mul_ps(block.d(h, part), _mm256_set1_ps(scales.d(t, b)));
        __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t][h]), scale, _mm256_load_ps(to));
        if constexpr (W::has_min) sum = _mm256_fmadd_ps(block.m(h), _mm256_set1_ps(scales.minimum(t, b)), sum);
        _mm256_store_ps(to, sum);
      });
    });
  }
}

// The sums of the tokens' sub-blocks as pairs of i16, ready to be broadcast.
template <u32 sub_values, u32 tokens>
struct PairSums {
  alignas(32) i32 of[tokens][8];
  FLYBALL_INLINE explicit PairSums(const Tile256& x) {
    each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
      const __m256i* sums = reinterpret_cast<const __m256i*>(&x.sum16.at(t));
      __m256i pairs = in_order(_mm256_packs_epi32(_mm256_loadu_si256(sums), _mm256_loadu_si256(sums + 1)));
      if constexpr (sub_values == 32) {
        pairs = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
        pairs = in_order(_mm256_packs_epi32(pairs, pairs));
      }
      store_i(of[t], pairs);
    });
  }
  FLYBALL_INLINE static __m256i in_order(__m256i packed) { return _mm256_permute4x64_epi64(packed, 0xd8); }
};

// One block of 256.
template <class W, u32 tokens, class B>
FLYBALL_INLINE void multiply256(const Tile256& x, const B& block, f32 (*sums)[16]) {
  constexpr u32 n_subs = 256 / W::sub_values, vectors = W::sub_values / 4;
  constexpr bool corrected = W::has_min || W::bias != 0;
  const PairSums<W::sub_values, tokens> pairs(x);
  __m256i total[tokens][2];
  each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA { total[t][h] = _mm256_setzero_si256(); });
  block.each_sub([&](u32 n, u32 s) FLYBALL_LAMBDA {
    const __m256i factor[2] = {block.scale(0, n, s), block.scale(1, n, s)};
    add_products<W, vectors, tokens>(x.q, 128 * n + s * W::sub_values, block, n, s * vectors, factor, total);
  });
  each_sum<tokens>([&](u32 t, u32 h) FLYBALL_LAMBDA {
    __m256i correction = _mm256_setzero_si256();
    if constexpr (corrected) {
      unroll<n_subs / 2>([&](u32 i) FLYBALL_LAMBDA {
        const __m256i pair = _mm256_set1_epi32(pairs.of[t][i]);
        correction =
            _mm256_add_epi32(correction, _mm256_madd_epi16(pair, block.pair(h, i / (n_subs / 4), i % (n_subs / 4))));
      });
    }
    if constexpr (W::bias != 0) {
      constexpr i32 shift = __builtin_ctz(u32(-W::bias));
      static_assert(W::bias == -(1 << shift));
      total[t][h] = _mm256_sub_epi32(total[t][h], _mm256_slli_epi32(correction, shift));
    }
    f32* to = sums[t] + 8 * h;
    const __m256 da = _mm256_set1_ps(x.d.at(t));
    __m256 sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[t][h]), _mm256_mul_ps(block.d(h), da), _mm256_load_ps(to));
    if constexpr (W::has_min)
      sum = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(correction), _mm256_mul_ps(block.m(h), da), sum);
    _mm256_store_ps(to, sum);
  });
}

// A block of 32 as it is packed.
template <class W, bool small = is_small<W>>
struct PackedBlock {
  const u8* head;
  const u8* body;
  FLYBALL_INLINE PackedBlock(const u8* h, const u8* b) : head(h), body(b) {
    prefetch(body + prefetch_distance, packed_shape(W::type).body_bytes);
  }
  static constexpr u32 together = 1;
  FLYBALL_INLINE void codes(u32 h, u32, u32 v, __m256i* to) const { to[0] = W::code(body, v, h); }
  FLYBALL_INLINE __m256i start(u32) const { return _mm256_setzero_si256(); }
  FLYBALL_INLINE Signed under_signs(u32, u32, __m256i w, __m256i a) const { return kernels::under_signs(w, a); }
  FLYBALL_INLINE __m256 d(u32 h, u32 part = 0) const { return load_scales<W::type>(head, h, part); }
  FLYBALL_INLINE __m256 m(u32 h) const { return W::has_min ? load_halves(head + 32, h) : _mm256_setzero_ps(); }
};

// One of 256.
template <class W>
struct PackedBlock<W, false> {
  const u8* head;
  const u8* body;
  typename W::Scales scales;
  FLYBALL_INLINE PackedBlock(const u8* h, const u8* b) : head(h), body(b), scales(b) {}
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    constexpr u32 n_subs = 128 / W::sub_values, part = packed_shape(W::type).body_bytes / (2 * n_subs);
    for (u32 n = 0; n < 2; ++n) {  // code of one half stays in the instruction caches
      unroll<n_subs>([&](u32 s) FLYBALL_LAMBDA {
        keep_order();
        prefetch(body + prefetch_distance + (n_subs * n + s) * part, part);  // some at a time, between other loads
        f(n, s);
      });
    }
  }
  static constexpr u32 together = kernels::together<W>;
  FLYBALL_INLINE void codes(u32 h, u32 n, u32 v, __m256i* to) const { codes_of<W>(body, n, v, h, to); }
  FLYBALL_INLINE Signed under_signs(u32, u32, __m256i w, __m256i a) const { return kernels::under_signs(w, a); }
  FLYBALL_INLINE __m256i scale(u32 h, u32 n, u32 s) const { return scales.scale(n, s, h); }
  FLYBALL_INLINE __m256i pair(u32 h, u32 n, u32 i) const { return scales.pair(n, i, h); }
  FLYBALL_INLINE __m256 d(u32 h) const { return load_scales<W::type>(head, h); }
  FLYBALL_INLINE __m256 m(u32 h) const { return W::has_min ? load_halves(head + 32, h) : _mm256_setzero_ps(); }
};

// The blocks of a group.
template <class W>
struct PackedBlocks {
  const u8* head;
  const u8* body;
  FLYBALL_INLINE PackedBlocks(const Groups& of, u32 cols, u32)
      : head(of.data), body(of.data + head_plane_bytes(W::type, cols)) {}
  FLYBALL_INLINE PackedBlock<W> at(u32 b) const {
    return {head + head_at(W::type, b), body + u64(b) * packed_shape(W::type).body_bytes};
  }
};

// Blocks of Q8_0 as the file has them, 16 rows whose blocks of 34 bytes are a scale and 32 codes: transposed each time
// that they are used. With wide matrices that takes less time than memory does to bring them (model/loader.cpp says which).
template <class W>
constexpr bool takes_file = W::type == Type::q8_0;

struct FileBlock {
  static constexpr u32 together = 1;
  __m256i vectors[2][8];
  __m256 scales[2];
  FLYBALL_INLINE void codes(u32 h, u32, u32 v, __m256i* to) const { to[0] = vectors[h][v]; }
  FLYBALL_INLINE __m256i start(u32) const { return _mm256_setzero_si256(); }
  FLYBALL_INLINE Signed under_signs(u32, u32, __m256i w, __m256i a) const { return kernels::under_signs(w, a); }
  FLYBALL_INLINE __m256 d(u32 h, u32 = 0) const { return scales[h]; }
};

struct FileBlocks {
  static constexpr u32 block_bytes = 34;
  const u8* first;
  u64 row_bytes;
  u64 ahead;  // how far on each row is prefetched
  FLYBALL_INLINE FileBlocks(const Groups& of, u32 cols, u32 n_blocks_ahead)
      : first(of.data),
        row_bytes(u64(cols) / 32 * block_bytes),
        ahead(n_blocks_ahead != 0 ? n_blocks_ahead * block_bytes : group_rows * row_bytes) {}
  FLYBALL_INLINE FileBlock at(u32 b) const {
    FileBlock to;
    const u8* const block = first + u64(b) * block_bytes;
    const u8* next = block + ahead + (b % 2) * 8 * row_bytes;  // half of the rows' lines: two blocks are one
    for (u32 i = 0; i < 2; ++i, next += 4 * row_bytes) {
      __asm__("" : "+r"(next));
      for (u32 r = 0; r < 4; ++r) prefetch(next + r * row_bytes, 1);
    }
    const u8* four[4];  // rows 0, 4, 8 and 12: the others are one, two and three rows on, which an address can say
    for (u32 i = 0; i < 4; ++i) {
      four[i] = block + 4 * i * row_bytes;
      __asm__("" : "+r"(four[i]));
    }
    unroll<2>([&](u32 h) FLYBALL_LAMBDA {
      const u8 *const low = four[2 * h], *const high = four[2 * h + 1];
      const auto d = [&](const u8* row) FLYBALL_LAMBDA {
        u16 bits;
        memcpy(&bits, row, 2);
        return i32(bits);
      };
      i32 two_bytes_more;
      memcpy(&two_bytes_more, low, 4);
      __m128i scales = _mm_cvtsi32_si128(two_bytes_more);  // one instruction, as each of the following
      scales = _mm_insert_epi16(scales, d(low + row_bytes), 1);
      scales = _mm_insert_epi16(scales, d(low + 2 * row_bytes), 2);
      scales = _mm_insert_epi16(scales, d(low + 3 * row_bytes), 3);
      scales = _mm_insert_epi16(scales, d(high), 4);
      scales = _mm_insert_epi16(scales, d(high + row_bytes), 5);
      scales = _mm_insert_epi16(scales, d(high + 2 * row_bytes), 6);
      scales = _mm_insert_epi16(scales, d(high + 3 * row_bytes), 7);
      to.scales[h] = _mm256_cvtph_ps(scales);
      for (u32 part = 0; part < 2; ++part) {  // 4 x 4 words of rows r and r + 4, side by side
        __m256i x[4];
        for (u32 r = 0; r < 4; ++r) {
          const u64 at = r * row_bytes + 2 + 16 * part;
          x[r] = two_rows(low + at, high + at);
        }
        const __m256i ab_low = _mm256_unpacklo_epi32(x[0], x[1]), ab_high = _mm256_unpackhi_epi32(x[0], x[1]);
        const __m256i cd_low = _mm256_unpacklo_epi32(x[2], x[3]), cd_high = _mm256_unpackhi_epi32(x[2], x[3]);
        __m256i* const out = to.vectors[h] + 4 * part;
        out[0] = _mm256_unpacklo_epi64(ab_low, cd_low);
        out[1] = _mm256_unpackhi_epi64(ab_low, cd_low);
        out[2] = _mm256_unpacklo_epi64(ab_high, cd_high);
        out[3] = _mm256_unpackhi_epi64(ab_high, cd_high);
      }
    });
    __asm__("" : "+m"(to.vectors), "+m"(to.scales));  // in memory: as registers, there are too many of them
    return to;
  }
  FLYBALL_INLINE static __m256i two_rows(const u8* low, const u8* high) {
    return _mm256_setr_m128i(_mm_loadu_si128(reinterpret_cast<const __m128i*>(low)),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(high)));
  }
};

// Unpacked blocks of 32. Of signed weights w the sizes |w| and the masks of those below 0, for
//   w * a = |w| * (a ^ mask) + (|w| & mask):  a XOR runs on more ports than VPSIGNB does, and `starts` sums the rest.
template <class W, bool small = is_small<W>>
struct Panel {
  static constexpr u32 n_blocks = is_signed<W> ? 4 : 8, columns = 32 * n_blocks;
  FLYBALL_INLINE static u32 columns_at(u32 k, u32 all) { return all - k < columns ? all - k : columns; }
  alignas(64) u8 codes[n_blocks][8][64];
  alignas(64) u8 masks[is_signed<W> ? n_blocks : 1][8][64];
  alignas(64) i32 starts[n_blocks][16];
  alignas(64) f32 ds[n_blocks][scale_parts(W::type)][16];
  alignas(64) f32 ms[n_blocks][16];
  template <class Source>
  FLYBALL_INLINE void unpack(const Source& source, u32 k, u32 n) {
    for (u32 b = 0; b < n / 32; ++b) {
      const auto block = source.at(k / 32 + b);
      each_constant<2>([&](auto h) FLYBALL_LAMBDA { unpack_half(block, b, h); });
    }
  }
  template <class Block>
  FLYBALL_INLINE void unpack_half(const Block& block, u32 b, u32 h) {
    __m256i start = _mm256_setzero_si256();
    unroll<8>([&](u32 v) FLYBALL_LAMBDA {
      __m256i code;
      block.codes(h, 0, v, &code);
      if constexpr (is_signed<W>) {
        const __m256i mask = _mm256_cmpgt_epi8(_mm256_setzero_si256(), code);
        code = _mm256_abs_epi8(code);
        const __m256i below = _mm256_maddubs_epi16(_mm256_and_si256(code, mask), _mm256_set1_epi8(1));
        start = _mm256_add_epi16(start, below);
        store_i(masks[b][v] + 32 * h, mask);
      }
      store_i(codes[b][v] + 32 * h, code);
    });
    if constexpr (is_signed<W>) store_i(starts[b] + 8 * h, _mm256_madd_epi16(start, _mm256_set1_epi16(1)));
    for (u32 part = 0; part < scale_parts(W::type); ++part) _mm256_store_ps(ds[b][part] + 8 * h, block.d(h, part));
    if constexpr (W::has_min) _mm256_store_ps(ms[b] + 8 * h, block.m(h));
  }
};

template <class W>
struct PanelBlock32 {
  const Panel<W>& panel;
  u32 b;
  FLYBALL_INLINE PanelBlock32 at(u32 i) const { return {panel, i}; }
  static constexpr u32 together = 1;
  FLYBALL_INLINE void codes(u32 h, u32, u32 v, __m256i* to) const { to[0] = load_i(panel.codes[b][v] + 32 * h); }
  FLYBALL_INLINE __m256i start(u32 h) const {
    return is_signed<W> ? load_i(panel.starts[b] + 8 * h) : _mm256_setzero_si256();
  }
  FLYBALL_INLINE Signed under_signs(u32 h, u32 v, __m256i sizes, __m256i a) const {
    return {sizes, _mm256_xor_si256(a, load_i(panel.masks[b][v] + 32 * h))};
  }
  FLYBALL_INLINE __m256 d(u32 h, u32 part) const { return _mm256_load_ps(panel.ds[b][part] + 8 * h); }
  FLYBALL_INLINE __m256 m(u32 h) const { return _mm256_load_ps(panel.ms[b] + 8 * h); }
};

// One block of 256, unpacked.
template <class W>
struct Panel<W, false> {
  static constexpr u32 columns = 256, n_subs = 256 / W::sub_values;
  FLYBALL_INLINE static u32 columns_at(u32, u32) { return columns; }
  alignas(64) u8 codes[64][64];
  alignas(64) i32 scales[n_subs][16];
  alignas(64) i32 pairs[n_subs / 2][16];
  alignas(64) f32 ds[16];
  alignas(64) f32 ms[16];
  FLYBALL_INLINE void unpack(const PackedBlocks<W>& packed, u32 k, u32) {
    const auto block = packed.at(k / 256);
    prefetch(block.body + prefetch_distance, packed_shape(W::type).body_bytes);
    for (u32 h = 0; h < 2; ++h) {
      for (u32 n = 0; n < 2; ++n) {
        constexpr u32 together = PackedBlock<W>::together;
        unroll<32 / together>([&](u32 i) FLYBALL_LAMBDA {
          if (together * i % 8 == 0) keep_order();
          __m256i some[together];
          block.codes(h, n, together * i, some);
          for (u32 j = 0; j < together; ++j) store_i(codes[32 * n + together * i + j] + 32 * h, some[j]);
        });
        unroll<n_subs / 2>([&](u32 s)
                               FLYBALL_LAMBDA { store_i(scales[n_subs / 2 * n + s] + 8 * h, block.scale(h, n, s)); });
        unroll<n_subs / 4>([&](u32 i)
                               FLYBALL_LAMBDA { store_i(pairs[n_subs / 4 * n + i] + 8 * h, block.pair(h, n, i)); });
      }
      _mm256_store_ps(ds + 8 * h, block.d(h));
      if constexpr (W::has_min) _mm256_store_ps(ms + 8 * h, block.m(h));
    }
  }
};

template <class W>
struct PanelBlock256 {
  static constexpr u32 n_subs = 128 / W::sub_values;
  const Panel<W>& panel;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    for (u32 n = 0; n < 2; ++n) {
      for (u32 s = 0; s < n_subs; ++s) f(n, s);
    }
  }
  static constexpr u32 together = 1;
  FLYBALL_INLINE void codes(u32 h, u32 n, u32 v, __m256i* to) const {
    to[0] = load_i(panel.codes[32 * n + v] + 32 * h);
  }
  FLYBALL_INLINE Signed under_signs(u32, u32, __m256i w, __m256i a) const { return kernels::under_signs(w, a); }
  FLYBALL_INLINE __m256i scale(u32 h, u32 n, u32 s) const { return load_i(panel.scales[n_subs * n + s] + 8 * h); }
  FLYBALL_INLINE __m256i pair(u32 h, u32 n, u32 i) const { return load_i(panel.pairs[n_subs / 2 * n + i] + 8 * h); }
  FLYBALL_INLINE __m256 d(u32 h) const { return _mm256_load_ps(panel.ds + 8 * h); }
  FLYBALL_INLINE __m256 m(u32 h) const { return _mm256_load_ps(panel.ms + 8 * h); }
};

// How many tokens at most take codes straight from the packed block. Of types that take long to unpack, so many are as
// fast from a panel.
template <class W>
constexpr u32 direct_tokens =
    few_tokens - (W::type == Type::q3_k || W::type == Type::q5_k || W::type == Type::q6_k ? 1 : 0);

// A few tokens, straight from the blocks.
template <class W, u32 tokens, class Source>
FLYBALL_NOINLINE void direct_from(const Groups& of, const Activations& x, u32 token) {
  const Source source(of, x.cols, 0);
  alignas(64) f32 sums[tokens][16] = {};
  if constexpr (is_small<W>) {
    const Tile32 tile(x, token, 0);
    multiply32<W, tokens>(tile.q, StreamedScales<W::bias>{tile}, x.cols / 32, source, sums);
  } else {
    for (u32 b = 0; b < x.cols / 256; ++b) multiply256<W, tokens>(Tile256(x, token, b), source.at(b), sums);
  }
  for (u32 t = 0; t < tokens; ++t) of.put(token + t, 0, load(sums[t]));
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void multiply_tile(const Panel<W>& panel, const Activations& x, u32 token, u32 k, f32 (*sums)[16]) {
  if constexpr (is_small<W>) {
    const Tile32 tile(x, token, k / 32);
    const u32 n_blocks = Panel<W>::columns_at(k, x.cols) / 32;
    const TileScales<W::bias, W::has_min, tokens> scales(tile, n_blocks);
    multiply32<W, tokens>(tile.q, scales, n_blocks, PanelBlock32<W>{panel, 0}, sums);
  } else {
    multiply256<W, tokens>(Tile256(x, token, k / 256), PanelBlock256<W>{panel}, sums);
  }
}

// The columns of one panel, from k on, with all tokens: apart from panels_from, whose frame holds the sums.
template <class W, class Source>
FLYBALL_NOINLINE void multiply_panel(const Source& source, const Activations& x, u32 token, u32 n_tokens, u32 k,
                                     f32 (*sums)[16]) {
  Panel<W> panel;
  panel.unpack(source, k, Panel<W>::columns_at(k, x.cols));
  each_tile<least_tile_tokens, tile_tokens>(n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
    multiply_tile<W, count.value>(panel, x, token + t, k, sums + t);
  });
}

template <class W, class Source>
FLYBALL_NOINLINE void panels_from(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  const Source source(of, x.cols, Panel<W>::columns / 32);
  alignas(64) f32 sums[panel_tokens][16];
  memset(sums, 0, n_tokens * sizeof sums[0]);
  for (u32 k = 0; k < x.cols; k += Panel<W>::columns) multiply_panel<W>(source, x, token, n_tokens, k, sums);
  for (u32 t = 0; t < n_tokens; ++t) of.put(token + t, 0, load(sums[t]));
}

template <class W, u32 tokens>
FLYBALL_INLINE void multiply_direct(const Groups& of, const Activations& x, u32 token) {
  if constexpr (takes_file<W>) {
    if (of.in_file) return direct_from<W, tokens, FileBlocks>(of, x, token);
  }
  direct_from<W, tokens, PackedBlocks<W>>(of, x, token);
}
template <class W>
FLYBALL_INLINE void multiply_panels(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  if constexpr (takes_file<W>) {
    if (of.in_file) return panels_from<W, FileBlocks>(of, x, token, n_tokens);
  }
  panels_from<W, PackedBlocks<W>>(of, x, token, n_tokens);
}

// Products of pairs and their sums in i16, as the kernels have them for small codes; or the instruction for both.
[[maybe_unused]] u64 probe(u64 rounds) {
  constexpr u32 n = 8;
  __m256i sum[n], w = _mm256_set1_epi8(1), a = w;
  unroll<n>([&](u32 i) FLYBALL_LAMBDA { sum[i] = _mm256_setzero_si256(); });
  for (u64 round = 0; round < rounds; ++round) {
    unroll<n>([&](u32 i) FLYBALL_LAMBDA {
      w = pinned(w), a = pinned(a);  // else the product is the same every time, and taken once
      sum[i] = has_dot4 ? dot4(sum[i], w, a) : _mm256_add_epi16(sum[i], _mm256_maddubs_epi16(w, a));
    });
  }
  unroll<n>([&](u32 i) FLYBALL_LAMBDA { keep(sum[i]); });
  return rounds * n * 32;
}

}  // namespace
}  // namespace flyball::kernels
