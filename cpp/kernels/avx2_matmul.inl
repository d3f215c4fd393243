// Matrix products of quantised weights on AVX2, eight rows at a time. Part of avx2.cpp.
// One to four tokens: codes go from the packed block straight into the dot products. More: a block of 256 values is
// unpacked once into a panel in L1 and meets up to 32 tokens, four at a time in registers.

namespace flyball::kernels {
namespace {

FLYBALL_INLINE __m256i broadcast4(const i8* p) {
  i32 word;
  memcpy(&word, p, 4);
  return _mm256_set1_epi32(word);
}

// total[t] += sum of w * a * factor over `vectors` vectors from the v-th on; exact. `factor` is twice an i16 in each
// i32.
template <u32 adds, u32 vectors, u32 tokens, class Code>
FLYBALL_INLINE void add_products(const Strided<i8>& q, u64 at, Code code, __m256i factor, __m256i* total) {
  constexpr u32 step = adds == 0 ? 1 : adds < vectors ? adds : vectors;
  unroll<vectors / step>([&](auto part) FLYBALL_LAMBDA {
    __m256i sum[tokens];
    unroll<step>([&](auto i) FLYBALL_LAMBDA {
      constexpr u32 v = part.value * step + i.value;
      const __m256i w = code(v);
      [[maybe_unused]] const __m256i size = _mm256_abs_epi8(w);
      for (u32 t = 0; t < tokens; ++t) {
        const __m256i a = broadcast4(&q.at(t, at + 4 * v));
        __m256i product;
        if constexpr (adds == 0)
          product = _mm256_maddubs_epi16(size, _mm256_sign_epi8(a, w));
        else
          product = _mm256_maddubs_epi16(w, a);
        sum[t] = i.value == 0 ? product : _mm256_add_epi16(sum[t], product);
      }
    });
    for (u32 t = 0; t < tokens; ++t) total[t] = _mm256_add_epi32(total[t], _mm256_madd_epi16(sum[t], factor));
  });
}

// One block of 32 for 8 rows and `tokens` tokens: exact dot products, then one fma each (two with a minimum).
template <u32 adds, i32 bias, bool has_min, u32 tokens, class Scales, class Code>
FLYBALL_INLINE void multiply32(const Strided<i8>& q, const Scales& scales, u32 b, Code code, __m256 d, __m256 m,
                               __m256* sum) {
  __m256i dot[tokens];
  for (u32 t = 0; t < tokens; ++t) dot[t] = bias == 0 ? _mm256_setzero_si256() : _mm256_set1_epi32(scales.start(t, b));
  add_products<adds, 8, tokens>(q, 32 * u64(b), code, _mm256_set1_epi16(1), dot);
  for (u32 t = 0; t < tokens; ++t) {
    const f32 da = scales.d(t, b);
    sum[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[t]), _mm256_mul_ps(d, _mm256_set1_ps(da)), sum[t]);
    if constexpr (has_min) sum[t] = _mm256_fmadd_ps(m, _mm256_set1_ps(scales.minimum(t, b)), sum[t]);
  }
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void direct32(const Groups& of, const Activations& x, u32 token) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 32;
  const u8* head = of.data;
  const u8* body = of.data + head_plane_bytes(W::type, x.cols);
  const Tile32 tile(x, token, 0);
  const StreamedScales<W::bias> scales = {tile};
  __m256 sum[2][tokens];
  for (u32 t = 0; t < tokens; ++t) sum[0][t] = sum[1][t] = _mm256_setzero_ps();
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    prefetch(body + prefetch_distance, shape.body_bytes);
    unroll<2>([&](auto half) FLYBALL_LAMBDA {
      const __m256 m = W::has_min ? load_halves(head + 32, half) : _mm256_setzero_ps();
      const auto code = [&](u32 v) FLYBALL_LAMBDA { return W::code(body, v, half); };
      multiply32<W::adds, W::bias, W::has_min, tokens>(tile.q, scales, b, code, load_halves(head, half), m,
                                                       sum[half.value]);
    });
  }
  for (u32 t = 0; t < tokens; ++t) of.put(token + t, 0, {sum[0][t], sum[1][t]});
}

struct Panel32 {  // up to 8 blocks, unpacked
  alignas(64) u8 codes[64][64];
  alignas(64) f32 d[8][16];
  alignas(64) f32 m[8][16];
};

struct Panel256 {  // one block, unpacked
  alignas(64) u8 codes[64][64];
  alignas(64) i32 scale[16][16];  // of each sub-block, twice as i16
  alignas(64) i32 pair[8][16];    // for the sums
  alignas(64) f32 d[16];
  alignas(64) f32 m[16];
};

FLYBALL_INLINE __m256i load_i(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
FLYBALL_INLINE void store_i(void* p, __m256i x) { _mm256_store_si256(static_cast<__m256i*>(p), x); }

template <class W>
FLYBALL_NOINLINE void unpack32(const u8* head, const u8* body, u32 n_blocks, Panel32* panel) {
  constexpr PackedShape shape = packed_shape(W::type);
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    unroll<2>([&](auto half) FLYBALL_LAMBDA {
      unroll<8>([&](auto v)
                    FLYBALL_LAMBDA { store_i(panel->codes[8 * b + v.value] + 32 * half, W::code(body, v, half)); });
      _mm256_store_ps(panel->d[b] + 8 * half, load_halves(head, half));
      if constexpr (W::has_min) _mm256_store_ps(panel->m[b] + 8 * half, load_halves(head + 32, half));
    });
  }
}

template <u32 adds, i32 bias, bool has_min, u32 tokens>
FLYBALL_NOINLINE void tile32(const Panel32& panel, u32 n_blocks, const Tile32& x, f32 (*sums)[16]) {
  const TileScales<bias, has_min, tokens> scales(x, n_blocks);
  for (u32 half = 0; half < 2; ++half) {
    __m256 sum[tokens];
    for (u32 t = 0; t < tokens; ++t) sum[t] = _mm256_load_ps(sums[t] + 8 * half);
    for (u32 b = 0; b < n_blocks; ++b) {
      const __m256 m = has_min ? _mm256_load_ps(panel.m[b] + 8 * half) : _mm256_setzero_ps();
      const auto code = [&](u32 v) FLYBALL_LAMBDA { return load_i(panel.codes[8 * b + v] + 32 * half); };
      multiply32<adds, bias, has_min, tokens>(x.q, scales, b, code, _mm256_load_ps(panel.d[b] + 8 * half), m, sum);
    }
    for (u32 t = 0; t < tokens; ++t) _mm256_store_ps(sums[t] + 8 * half, sum[t]);
  }
}

template <class W>
FLYBALL_NOINLINE void panel32(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 32;
  const u8* body = of.data + head_plane_bytes(W::type, x.cols);
  alignas(64) f32 sums[panel_tokens][16];
  memset(sums, 0, n_tokens * sizeof sums[0]);
  for (u32 b = 0; b < n_blocks; b += 8) {
    const u32 n = n_blocks - b < 8 ? n_blocks - b : 8;
    Panel32 panel;
    unpack32<W>(of.data + u64(b) * shape.head_bytes, body + u64(b) * shape.body_bytes, n, &panel);
    each_tile<1, tile_tokens>(n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
      tile32<W::adds, W::bias, W::has_min, count.value>(panel, n, Tile32(x, token + t, b), sums + t);
    });
  }
  for (u32 t = 0; t < n_tokens; ++t) of.put(token + t, 0, load(sums[t]));
}

// The sums of the activations' sub-blocks as pairs of i16, ready to be broadcast.
template <u32 sub_values>
FLYBALL_INLINE void pair_sums(const i32* sum16, i32* pairs) {
  for (u32 i = 0; i < 128 / sub_values; ++i) {
    u32 first = u32(sum16[2 * i]), second = u32(sum16[2 * i + 1]);
    if constexpr (sub_values == 32) {
      first = u32(sum16[4 * i]) + u32(sum16[4 * i + 1]);
      second = u32(sum16[4 * i + 2]) + u32(sum16[4 * i + 3]);
    }
    pairs[i] = i32((first & 0xffffu) | second << 16);
  }
}

template <u32 sub_values, u32 tokens>
struct PairSums {
  i32 of[tokens][8];
  FLYBALL_INLINE explicit PairSums(const Tile256& x) {
    for (u32 t = 0; t < tokens; ++t) pair_sums<sub_values>(&x.sum16.at(t), of[t]);
  }
};

// One block of 256 for 8 rows and `tokens` tokens. B supplies code(v), scale(s), pair(i), d(), m() of its half.
template <class W, u32 tokens, class B>
FLYBALL_INLINE void multiply256(const Tile256& x, const PairSums<W::sub_values, tokens>& pairs, const B& block,
                                __m256* sum) {
  constexpr u32 n_subs = 256 / W::sub_values, vectors = W::sub_values / 4;
  __m256i total[tokens];
  for (u32 t = 0; t < tokens; ++t) total[t] = _mm256_setzero_si256();
  block.each_sub([&](auto s) FLYBALL_LAMBDA {
    const auto code = [&](u32 v) FLYBALL_LAMBDA { return block.code(s * vectors + v); };
    add_products<W::adds, vectors, tokens>(x.q, s * W::sub_values, code, block.scale(s), total);
  });
  const __m256 d = block.d();
  constexpr bool corrected = W::has_min || W::bias != 0;
  __m256i correction[tokens];
  if constexpr (corrected) {
    for (u32 t = 0; t < tokens; ++t) correction[t] = _mm256_setzero_si256();
    unroll<n_subs / 2>([&](auto i) FLYBALL_LAMBDA {
      const __m256i p = block.pair(i.value);
      for (u32 t = 0; t < tokens; ++t) {
        correction[t] = _mm256_add_epi32(correction[t], _mm256_madd_epi16(p, _mm256_set1_epi32(pairs.of[t][i.value])));
      }
    });
  }
  for (u32 t = 0; t < tokens; ++t) {
    const __m256 da = _mm256_set1_ps(x.d.at(t));
    if constexpr (!W::has_min && corrected) {
      constexpr i32 shift = W::bias == -4 ? 2 : 5;
      static_assert(W::bias == -(1 << shift));
      total[t] = _mm256_sub_epi32(total[t], _mm256_slli_epi32(correction[t], shift));
    }
    sum[t] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[t]), _mm256_mul_ps(d, da), sum[t]);
    if constexpr (W::has_min) {
      sum[t] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(correction[t]), _mm256_mul_ps(block.m(), da), sum[t]);
    }
  }
}

template <class W>
struct PackedBlock {
  const u8* head;
  const u8* body;
  u32 half;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    unroll<256 / W::sub_values>([&](auto s) FLYBALL_LAMBDA {
      keep_order();
      f(Constant<s.value>());
    });
  }
  FLYBALL_INLINE __m256i code(u32 v) const { return W::code(body, v, half); }
  FLYBALL_INLINE __m256i scale(u32 s) const { return W::scale(body, s, half); }
  FLYBALL_INLINE __m256i pair(u32 i) const { return W::pair(body, i, half); }
  FLYBALL_INLINE __m256 d() const { return load_halves(head, half); }
  FLYBALL_INLINE __m256 m() const { return W::has_min ? load_halves(head + 32, half) : _mm256_setzero_ps(); }
};

template <class W>
struct PanelBlock {
  const Panel256& panel;
  u32 half;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    for (u32 s = 0; s < 256 / W::sub_values; ++s) f(s);
  }
  FLYBALL_INLINE __m256i code(u32 v) const { return load_i(panel.codes[v] + 32 * half); }
  FLYBALL_INLINE __m256i scale(u32 s) const { return load_i(panel.scale[s] + 8 * half); }
  FLYBALL_INLINE __m256i pair(u32 i) const { return load_i(panel.pair[i] + 8 * half); }
  FLYBALL_INLINE __m256 d() const { return _mm256_load_ps(panel.d + 8 * half); }
  FLYBALL_INLINE __m256 m() const { return W::has_min ? _mm256_load_ps(panel.m + 8 * half) : _mm256_setzero_ps(); }
};

template <class W, u32 tokens>
FLYBALL_NOINLINE void direct256(const Groups& of, const Activations& x, u32 token) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 256;
  const u8* head = of.data;
  const u8* body = of.data + head_plane_bytes(W::type, x.cols);
  __m256 sum[2][tokens];
  for (u32 t = 0; t < tokens; ++t) sum[0][t] = sum[1][t] = _mm256_setzero_ps();
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    prefetch(body + prefetch_distance, shape.body_bytes);
    const Tile256 tile(x, token, b);
    const PairSums<W::sub_values, tokens> pairs(tile);
    for (u32 half = 0; half < 2; ++half)
      multiply256<W, tokens>(tile, pairs, PackedBlock<W>{head, body, half}, sum[half]);
  }
  for (u32 t = 0; t < tokens; ++t) of.put(token + t, 0, {sum[0][t], sum[1][t]});
}

template <class W>
FLYBALL_NOINLINE void unpack256(const PackedBlock<W>& block, Panel256* panel) {
  constexpr u32 n_subs = 256 / W::sub_values;
  const u32 half = block.half;
  unroll<64>([&](auto v) FLYBALL_LAMBDA {
    if constexpr (v.value % 8 == 0) keep_order();
    store_i(panel->codes[v.value] + 32 * half, block.code(v.value));
  });
  unroll<n_subs>([&](auto s) FLYBALL_LAMBDA { store_i(panel->scale[s.value] + 8 * half, block.scale(s.value)); });
  unroll<n_subs / 2>([&](auto i) FLYBALL_LAMBDA { store_i(panel->pair[i.value] + 8 * half, block.pair(i.value)); });
  _mm256_store_ps(panel->d + 8 * half, block.d());
  _mm256_store_ps(panel->m + 8 * half, block.m());
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void tile256(const Panel256& panel, const Tile256& x, f32 (*sums)[16]) {
  const PairSums<W::sub_values, tokens> pairs(x);
  for (u32 half = 0; half < 2; ++half) {
    __m256 sum[tokens];
    for (u32 t = 0; t < tokens; ++t) sum[t] = _mm256_load_ps(sums[t] + 8 * half);
    multiply256<W, tokens>(x, pairs, PanelBlock<W>{panel, half}, sum);
    for (u32 t = 0; t < tokens; ++t) _mm256_store_ps(sums[t] + 8 * half, sum[t]);
  }
}

template <class W>
FLYBALL_NOINLINE void panel256(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 256;
  const u8* head = of.data;
  const u8* body = of.data + head_plane_bytes(W::type, x.cols);
  alignas(64) f32 sums[panel_tokens][16];
  memset(sums, 0, n_tokens * sizeof sums[0]);
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    Panel256 panel;
    for (u32 half = 0; half < 2; ++half) unpack256<W>({head, body, half}, &panel);
    each_tile<1, tile_tokens>(n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
      tile256<W, count.value>(panel, Tile256(x, token + t, b), sums + t);
    });
  }
  for (u32 t = 0; t < n_tokens; ++t) of.put(token + t, 0, load(sums[t]));
}

template <class W, u32 tokens>
FLYBALL_INLINE void multiply_direct(const Groups& of, const Activations& x, u32 token) {
  if constexpr (is_small<W>)
    direct32<W, tokens>(of, x, token);
  else
    direct256<W, tokens>(of, x, token);
}

template <class W>
FLYBALL_INLINE void multiply_panels(const Groups& of, const Activations& x, u32 token, u32 n_tokens) {
  if constexpr (is_small<W>)
    panel32<W>(of, x, token, n_tokens);
  else
    panel256<W>(of, x, token, n_tokens);
}

// Products of pairs and their sums in i16, as the kernels have them for small codes.
u64 probe(u64 rounds) {
  constexpr u32 n = 8;
  __m256i sum[n], w = _mm256_set1_epi8(1), a = w;
  unroll<n>([&](auto i) FLYBALL_LAMBDA { sum[i.value] = _mm256_setzero_si256(); });
  for (u64 round = 0; round < rounds; ++round) {
    unroll<n>([&](auto i) FLYBALL_LAMBDA {
      __asm__("" : "+x"(w), "+x"(a));  // else the product is the same every time, and taken once
      sum[i.value] = _mm256_add_epi16(sum[i.value], _mm256_maddubs_epi16(w, a));
    });
  }
  unroll<n>([&](auto i) FLYBALL_LAMBDA {
    const auto kept = sum[i.value];
    __asm__ volatile("" ::"x"(kept));
  });
  return rounds * n * 32;
}

}  // namespace
}  // namespace flyball::kernels
