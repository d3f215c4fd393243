// Matrix products of quantized weights on AVX-512 VNNI. Part of avx512.cpp.
// A tile is two groups of 16 rows by up to six tokens: 12 dot products and 12 totals in registers, and each broadcast
// of activations meets two vectors of weights. Up to four tokens take codes straight from the packed block. More: 256
// values of each row are unpacked once, into panels in L1, and meet up to panel_tokens.

namespace flyball::kernels {
namespace {

// Left alone, the compiler folds a broadcast into each of its uses: as many loads as dot products.
FLYBALL_INLINE __m512i broadcast4(const i8* p) {
  i32 word;
  memcpy(&word, p, 4);
  __m512i x = _mm512_set1_epi32(word);
  __asm__("" : "+v"(x));
  return x;
}

// dot[t][g] += products of `vectors` vectors of a block, from `first` on, with the activations from q[t][at] on.
template <u32 vectors, u32 groups, u32 tokens, class B>
FLYBALL_INLINE void add_dots(const Strided<i8>& q, u64 at, const B& block, u32 first, __m512i (*dot)[groups]) {
  constexpr u32 n = B::together;
  unroll<vectors / n>([&](u32 i) FLYBALL_LAMBDA {
    __m512i w[groups][n];
    each_constant<groups>([&](auto g) FLYBALL_LAMBDA { block.codes(g, first + n * i, w[g]); });
    each_constant<n>([&](auto k) FLYBALL_LAMBDA {
      each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
        const __m512i a = broadcast4(&q.at(t, at + 4 * (n * i + k)));
        each_constant<groups>([&](auto g) FLYBALL_LAMBDA { dot[t][g] = _mm512_dpbusd_epi32(dot[t][g], w[g][k], a); });
      });
    });
  });
}

template <u32 groups, u32 tokens, class Start>
FLYBALL_INLINE void start_dots(__m512i (*dot)[groups], Start start) {
  each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
    const __m512i value = start(t);
    each_constant<groups>([&](auto g) FLYBALL_LAMBDA { dot[t][g] = value; });
  });
}

// Where the dot product of four vectors begins that has a part of a block's scale: bias times the sum of its activations.
template <class W>
FLYBALL_INLINE __m512i part_start(const i8* q) {
  __m512i sum = _mm512_setzero_si512();
  for (u32 i = 0; i < 4; ++i) sum = _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(-W::bias), broadcast4(q + 4 * i));
  return _mm512_sub_epi32(_mm512_setzero_si512(), sum);
}

// Blocks of 32: exact dot products, then one fma each (two with a minimum).
template <class W, u32 groups, u32 tokens, class Scales, class Source>
FLYBALL_INLINE void multiply32(const Strided<i8>& q, const Scales& scales, u32 n_blocks, const Source& source,
                               f32 (*sums)[groups][16]) {
  constexpr u32 chains = sum_chains(tokens * groups);
  __m512 sum[chains][tokens][groups] = {};
  const auto each = [](auto f) FLYBALL_LAMBDA {
    each_constant<tokens>([&](auto t)
                              FLYBALL_LAMBDA { each_constant<groups>([&](auto g) FLYBALL_LAMBDA { f(t, g); }); });
  };
  each([&](u32 t, u32 g) FLYBALL_LAMBDA { sum[0][t][g] = _mm512_load_ps(sums[t][g]); });
  each_in_chains<chains>(0, n_blocks, [&](u64 at, auto chain) FLYBALL_LAMBDA {
    const u32 b = u32(at);
    const auto block = source.at(b);
    constexpr u32 parts = scale_parts(W::type), vectors = 8 / parts;
    each_constant<parts>([&](auto part) FLYBALL_LAMBDA {
      const u64 first = 32 * u64(b) + 4 * vectors * part;
      __m512i dot[tokens][groups];
      start_dots<groups, tokens>(dot, [&](u32 t) FLYBALL_LAMBDA {
        if constexpr (parts > 1) return part_start<W>(&q.at(t, first));
        return W::bias == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(scales.start(t, b));
      });
      add_dots<vectors, groups, tokens>(q, first, block, vectors * part, dot);
      each_constant<groups>([&](auto g) FLYBALL_LAMBDA {
        const __m512 d = block.d(g, part), m = block.m(g);
        each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
          __m512& s = sum[chain.value][t][g];
          const __m512 da = _mm512_set1_ps(scales.d(t, b));
          s = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t][g]), _mm512_mul_ps(d, da), s);
          if constexpr (W::has_min) s = _mm512_fmadd_ps(m, _mm512_set1_ps(scales.minimum(t, b)), s);
        });
      });
    });
  });
  each([&](u32 t, u32 g) FLYBALL_LAMBDA {
    for (u32 c = 1; c < chains; ++c) sum[0][t][g] = _mm512_add_ps(sum[0][t][g], sum[c][t][g]);
    _mm512_store_ps(sums[t][g], sum[0][t][g]);
  });
}

// What a tile needs of its tokens' sums of sub-blocks: where dot products start, and the sums as pairs of i16.
template <class W, u32 tokens>
struct TileSums {
  alignas(64) i32 starts[tokens][16];
  alignas(32) i32 pairs[tokens][8];
  FLYBALL_INLINE explicit TileSums(const Tile256& x) {
    each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
      const __m512i sums = _mm512_loadu_si512(&x.sum16.at(t));
      const __m256i words = _mm512_cvtepi32_epi16(sums);
      __m256i* pair = reinterpret_cast<__m256i*>(pairs[t]);
      if constexpr (W::sub_values == 16) {
        if constexpr (W::start != 0)
          _mm512_store_si512(starts[t], _mm512_mullo_epi32(sums, _mm512_set1_epi32(W::start)));
        if constexpr (W::has_min) _mm256_store_si256(pair, words);
      } else {
        const __m256i start = _mm256_madd_epi16(words, _mm256_set1_epi16(W::start));
        if constexpr (W::start != 0) _mm256_store_si256(reinterpret_cast<__m256i*>(starts[t]), start);
        const __m256i sums32 = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
        if constexpr (W::has_min) *reinterpret_cast<__m128i*>(pair) = _mm256_cvtepi32_epi16(sums32);
      }
    });
  }
};

// total + dot * scale, exact. A dot product that fits i16 multiplies as the low half of a pair whose high half meets 0.
template <bool narrow>
FLYBALL_INLINE __m512i add_scaled(__m512i total, __m512i dot, __m512i scale) {
  if constexpr (narrow) return _mm512_dpwssd_epi32(total, dot, scale);
  return _mm512_add_epi32(total, _mm512_mullo_epi32(dot, scale));
}

// One block of 256.
template <class W, u32 groups, u32 tokens, class B>
FLYBALL_INLINE void multiply256(const Tile256& x, const B& block, f32 (*sums)[groups][16]) {
  constexpr u32 n_subs = 256 / W::sub_values, vectors = W::sub_values / 4;
  const TileSums<W, tokens> of_tile(x);
  const auto add_pairs = [&](u32 t, u32 g, __m512i total, auto pair) FLYBALL_LAMBDA {
    unroll<n_subs / 2>([&](u32 i) FLYBALL_LAMBDA {
      total = _mm512_dpwssd_epi32(total, pair(g, i), _mm512_set1_epi32(of_tile.pairs[t][i]));
    });
    return total;
  };

  __m512i total[tokens][groups];
  start_dots<groups, tokens>(total, [](u32) FLYBALL_LAMBDA { return _mm512_setzero_si512(); });
  if constexpr (W::centered) {
    each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
      each_constant<groups>([&](auto g) FLYBALL_LAMBDA {
        total[t][g] = add_pairs(t, g, total[t][g], [&](u32 h, u32 i) FLYBALL_LAMBDA { return block.uncenter(h, i); });
      });
    });
  }
  block.each_sub([&](u32 s) FLYBALL_LAMBDA {
    __m512i dot[tokens][groups];
    start_dots<groups, tokens>(dot, [&](u32 t) FLYBALL_LAMBDA {
      return W::start == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(of_tile.starts[t][s]);
    });
    add_dots<vectors, groups, tokens>(x.q, s * W::sub_values, block, s * vectors, dot);
    each_constant<groups>([&](auto g) FLYBALL_LAMBDA {
      const __m512i scale = block.scale(g, s);
      each_constant<tokens>([&](auto t)
                                FLYBALL_LAMBDA { total[t][g] = add_scaled<W::narrow>(total[t][g], dot[t][g], scale); });
    });
  });

  each_constant<groups>([&](auto g) FLYBALL_LAMBDA {
    const __m512 d = block.d(g), m = block.m(g);
    each_constant<tokens>([&](auto t) FLYBALL_LAMBDA {
      const __m512 da = _mm512_set1_ps(x.d.at(t));
      f32* to = sums[t][g];
      __m512 sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[t][g]), _mm512_mul_ps(d, da), _mm512_load_ps(to));
      if constexpr (W::has_min) {
        const __m512i minimum =
            add_pairs(t, g, _mm512_setzero_si512(), [&](u32 h, u32 i) FLYBALL_LAMBDA { return block.pair(h, i); });
        sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minimum), _mm512_mul_ps(m, da), sum);
      }
      _mm512_store_ps(to, sum);
    });
  });
}

// Blocks of neighboring groups as they are packed.
template <class W, u32 groups>
struct PackedBlocks {
  const u8* head;
  const u8* body;
  u64 group_bytes;
  FLYBALL_INLINE PackedBlocks(const Groups& of, u32 first, u32 cols)
      : head(of.data + first * of.distance), body(head + head_plane_bytes(W::type, cols)), group_bytes(of.distance) {}
  FLYBALL_INLINE PackedBlocks at(u32 b) const {
    PackedBlocks block = *this;
    block.head += head_at(W::type, b);
    block.body += u64(b) * packed_shape(W::type).body_bytes;
    for (u32 g = 0; g < groups; ++g) prefetch(block.body_of(g) + prefetch_distance, packed_shape(W::type).body_bytes);
    return block;
  }
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    constexpr u32 half = 128 / W::sub_values;  // code of one half stays in the instruction caches
    for (u32 first = 0; first < 2 * half; first += half) {
      unroll<half>([&](u32 s) FLYBALL_LAMBDA {
        keep_order();
        f(first + s);
      });
    }
  }
  FLYBALL_INLINE const u8* body_of(u32 g) const { return body + g * group_bytes; }
  static constexpr u32 together = kernels::together<W>;
  FLYBALL_INLINE void codes(u32 g, u32 v, __m512i* to) const { codes_of<W>(body_of(g), v, to); }
  FLYBALL_INLINE __m512i scale(u32 g, u32 s) const {
    const __m512i x = W::scale(body_of(g), s);
    return W::narrow ? _mm512_and_si512(x, _mm512_set1_epi32(0xffff)) : x;
  }
  FLYBALL_INLINE __m512i uncenter(u32 g, u32 i) const { return W::uncenter(body_of(g), i); }
  FLYBALL_INLINE __m512i pair(u32 g, u32 i) const { return W::pair(body_of(g), i); }
  FLYBALL_INLINE __m512 d(u32 g, u32 part = 0) const { return load_scales<W::type>(head + g * group_bytes, part); }
  FLYBALL_INLINE __m512 m(u32 g) const {
    return W::has_min ? load_halves(head + g * group_bytes + 32) : _mm512_setzero_ps();
  }
};

// 256 values of one group, unpacked: up to 8 blocks of 32, or one of 256.
template <class W, bool small = is_small<W>>
struct Panel {
  alignas(64) u8 codes[8][8][64];
  alignas(64) f32 d[8][scale_parts(W::type)][16];
  alignas(64) f32 m[8][16];
  FLYBALL_INLINE void unpack(const PackedBlocks<W, 1>& packed, u32 k, u32 n_blocks) {
    for (u32 b = 0; b < n_blocks; ++b) {
      const auto block = packed.at(k / 32 + b);
      each_code<W, 8>(block.body, 0, [&](u32 v, __m512i c) FLYBALL_LAMBDA { _mm512_store_si512(codes[b][v], c); });
      for (u32 part = 0; part < scale_parts(W::type); ++part) _mm512_store_ps(d[b][part], block.d(0, part));
      if constexpr (W::has_min) _mm512_store_ps(m[b], block.m(0));
    }
  }
};

template <class W>
struct Panel<W, false> {
  static constexpr u32 n_subs = 256 / W::sub_values;
  alignas(64) u8 codes[64][64];
  alignas(64) i32 scale[n_subs][16];
  alignas(64) i32 pair[n_subs / 2][16];
  alignas(64) i32 uncenter[n_subs / 2][16];
  alignas(64) f32 d[16];
  alignas(64) f32 m[16];
  FLYBALL_INLINE void unpack(const PackedBlocks<W, 1>& packed, u32 k, u32) {
    const auto block = packed.at(k / 256);
    each_code<W, 64>(block.body, 0, [&](u32 v, __m512i code) FLYBALL_LAMBDA {
      if (v % 8 == 0) keep_order();
      _mm512_store_si512(codes[v], code);
    });
    unroll<n_subs>([&](u32 s) FLYBALL_LAMBDA { _mm512_store_si512(scale[s], block.scale(0, s)); });
    unroll<n_subs / 2>([&](u32 i) FLYBALL_LAMBDA {
      if constexpr (W::has_min) _mm512_store_si512(pair[i], block.pair(0, i));
      if constexpr (W::centered) _mm512_store_si512(uncenter[i], block.uncenter(0, i));
    });
    _mm512_store_ps(d, block.d(0));
    if constexpr (W::has_min) _mm512_store_ps(m, block.m(0));
  }
};

template <class W>
struct PanelBlock32 {
  const Panel<W>* const* panels;
  u32 b;
  FLYBALL_INLINE PanelBlock32 at(u32 i) const { return {panels, i}; }
  static constexpr u32 together = 1;
  FLYBALL_INLINE void codes(u32 g, u32 v, __m512i* to) const { to[0] = _mm512_load_si512(panels[g]->codes[b][v]); }
  FLYBALL_INLINE __m512 d(u32 g, u32 part) const { return _mm512_load_ps(panels[g]->d[b][part]); }
  FLYBALL_INLINE __m512 m(u32 g) const { return W::has_min ? _mm512_load_ps(panels[g]->m[b]) : _mm512_setzero_ps(); }
};

template <class W>
struct PanelBlock256 {
  const Panel<W>* const* panels;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    for (u32 s = 0; s < 256 / W::sub_values; ++s) f(s);
  }
  static constexpr u32 together = 1;
  FLYBALL_INLINE void codes(u32 g, u32 v, __m512i* to) const { to[0] = _mm512_load_si512(panels[g]->codes[v]); }
  FLYBALL_INLINE __m512i scale(u32 g, u32 s) const { return _mm512_load_si512(panels[g]->scale[s]); }
  FLYBALL_INLINE __m512i uncenter(u32 g, u32 i) const { return _mm512_load_si512(panels[g]->uncenter[i]); }
  FLYBALL_INLINE __m512i pair(u32 g, u32 i) const { return _mm512_load_si512(panels[g]->pair[i]); }
  FLYBALL_INLINE __m512 d(u32 g) const { return _mm512_load_ps(panels[g]->d); }
  FLYBALL_INLINE __m512 m(u32 g) const { return W::has_min ? _mm512_load_ps(panels[g]->m) : _mm512_setzero_ps(); }
};

// How many tokens at most take codes straight from the packed block.
template <class W>
constexpr u32 direct_tokens = 4;

// A few tokens, straight from the packed blocks. One token takes one group at a time: it has no broadcast to share.
template <class W, u32 tokens>
FLYBALL_NOINLINE void multiply_direct(const Groups& of, const Activations& x, u32 token) {
  constexpr u32 groups = tokens == 1 ? 1 : tile_groups;
  for (u32 first = 0; first < of.n; first += groups) {
    const PackedBlocks<W, groups> packed(of, first, x.cols);
    alignas(64) f32 sums[tokens][groups][16] = {};
    if constexpr (is_small<W>) {
      const Tile32 tile(x, token, 0);
      multiply32<W, groups, tokens>(tile.q, StreamedScales<W::bias>{tile}, x.cols / 32, packed, sums);
    } else {
      for (u32 b = 0; b < x.cols / 256; ++b) {
        multiply256<W, groups, tokens>(Tile256(x, token, b), packed.at(b), sums);
      }
    }
    for (u32 t = 0; t < tokens; ++t) {
      for (u32 g = 0; g < groups; ++g) of.put(token + t, first + g, load(sums[t][g]));
    }
  }
}

template <class W>
struct PanelStep {  // 256 columns from k on, or what is left of them
  const Groups& of;
  const Activations& x;
  u32 token, n_tokens, k;
  const Panel<W>* panels[tile_groups];
  f32 (*sums)[tile_groups][16];
  FLYBALL_INLINE u32 n_blocks() const { return x.cols - k < 256 ? (x.cols - k) / 32 : 8; }
};

template <class W, u32 tokens>
FLYBALL_NOINLINE void multiply_tile(const PanelStep<W>& step, u32 t) {
  if constexpr (is_small<W>) {
    const Tile32 tile(step.x, step.token + t, step.k / 32);
    const TileScales<W::bias, W::has_min, tokens> scales(tile, step.n_blocks());
    multiply32<W, tile_groups, tokens>(tile.q, scales, step.n_blocks(), PanelBlock32<W>{step.panels, 0}, step.sums + t);
  } else {
    const Tile256 tile(step.x, step.token + t, step.k / 256);
    multiply256<W, tile_groups, tokens>(tile, PanelBlock256<W>{step.panels}, step.sums + t);
  }
}

// Unpacks group by group, each panel in a stack frame of its own: no frame exceeds 8 KiB.
template <class W, u32 g = 0>
FLYBALL_NOINLINE void multiply_step(PanelStep<W>& step) {
  Panel<W> panel;
  panel.unpack(PackedBlocks<W, 1>(step.of, g, step.x.cols), step.k, step.n_blocks());
  step.panels[g] = &panel;
  if constexpr (g + 1 < tile_groups) {
    multiply_step<W, g + 1>(step);
  } else {
    each_tile<3, tile_tokens>(step.n_tokens,
                              [&](u32 t, auto tokens) FLYBALL_LAMBDA { multiply_tile<W, tokens.value>(step, t); });
  }
}

template <class W>
FLYBALL_NOINLINE void multiply_panels(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  alignas(64) f32 sums[panel_tokens][tile_groups][16];
  memset(sums, 0, n_tokens * sizeof sums[0]);
  PanelStep<W> step = {of, x, token, n_tokens, 0, {}, sums};
  for (; step.k < x.cols; step.k += 256) multiply_step(step);
  for (u32 t = 0; t < n_tokens; ++t) {
    for (u32 g = 0; g < tile_groups; ++g) of.put(token + t, g, load(sums[t][g]));
  }
}

// Twelve independent sums cover the latency of VPDPBUSD on both its ports.
[[maybe_unused]] u64 probe(u64 rounds) {
  constexpr u32 n = 12;
  __m512i sum[n], w = _mm512_set1_epi8(1), a = w;
  __asm__("" : "+v"(w), "+v"(a));
  unroll<n>([&](u32 i) FLYBALL_LAMBDA { sum[i] = _mm512_setzero_si512(); });
  for (u64 round = 0; round < rounds; ++round) {
    unroll<n>([&](u32 i) FLYBALL_LAMBDA { sum[i] = _mm512_dpbusd_epi32(sum[i], w, a); });
  }
  unroll<n>([&](u32 i) FLYBALL_LAMBDA {
    const auto kept = sum[i];
    __asm__ volatile("" ::"v"(kept));
  });
  return rounds * n * 64;
}

}  // namespace
}  // namespace flyball::kernels
