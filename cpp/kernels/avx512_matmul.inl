// Matrix products of quantised weights on AVX-512 VNNI. Part of avx512.cpp.
// One to four tokens: codes go from the packed block straight into the dot products. More: a block of 256 values is
// unpacked once into a panel in L1 and meets up to 32 tokens, eight at a time in registers.

namespace flyball::kernels {
namespace {

FLYBALL_INLINE __m512i broadcast4(const i8* p) {
  i32 word;
  memcpy(&word, p, 4);
  return _mm512_set1_epi32(word);
}

// One block of 32 for `tokens` tokens: exact dot products, then one fma each (two with a minimum).
template <i32 bias, bool has_min, u32 tokens, class Scales, class Code>
FLYBALL_INLINE void multiply32(const Strided<i8>& q, const Scales& scales, u32 b, Code code, __m512 d, __m512 m,
                               __m512* sum) {
  __m512i dot[tokens];
  for (u32 t = 0; t < tokens; ++t) dot[t] = bias == 0 ? _mm512_setzero_si512() : _mm512_set1_epi32(scales.start(t, b));
  unroll<8>([&](auto v) FLYBALL_LAMBDA {
    const __m512i w = code(v.value);
    for (u32 t = 0; t < tokens; ++t) {
      dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast4(&q.at(t, 32 * b + 4 * v.value)));
    }
  });
  for (u32 t = 0; t < tokens; ++t) {
    const f32 da = scales.d(t, b);
    sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[t]), _mm512_mul_ps(d, _mm512_set1_ps(da)), sum[t]);
    if constexpr (has_min) sum[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(scales.minimum(t, b)), sum[t]);
  }
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void direct32(const u8* group, const Activations& x, u32 token, const Output& out) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 32;
  const u8* head = group;
  const u8* body = group + head_plane_bytes(W::type, x.cols);
  const Tile32 tile(x, token, 0);
  const StreamedScales<W::bias> scales = {tile};
  __m512 sum[tokens];
  for (u32 t = 0; t < tokens; ++t) sum[t] = _mm512_setzero_ps();
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    prefetch(body + prefetch_distance, shape.body_bytes);
    const __m512 m = W::has_min ? load_halves(head + 32) : _mm512_setzero_ps();
    const auto code = [&](u32 v) FLYBALL_LAMBDA { return W::code(body, v); };
    multiply32<W::bias, W::has_min, tokens>(tile.q, scales, b, code, load_halves(head), m, sum);
  }
  for (u32 t = 0; t < tokens; ++t) out.put(token + t, sum[t]);
}

struct Panel32 {  // up to 8 blocks, unpacked
  alignas(64) u8 codes[64][64];
  alignas(64) f32 d[8][16];
  alignas(64) f32 m[8][16];
};

struct Panel256 {  // one block, unpacked
  alignas(64) u8 codes[64][64];
  alignas(64) i32 scale[16][16];  // of each sub-block
  alignas(64) i32 pair[8][16];    // for the sums
  alignas(64) f32 d[16];
  alignas(64) f32 m[16];
};

template <class W>
FLYBALL_NOINLINE void unpack32(const u8* head, const u8* body, u32 n_blocks, Panel32* panel) {
  constexpr PackedShape shape = packed_shape(W::type);
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    unroll<8>([&](auto v)
                  FLYBALL_LAMBDA { _mm512_store_si512(panel->codes[8 * b + v.value], W::code(body, v.value)); });
    _mm512_store_ps(panel->d[b], load_halves(head));
    if constexpr (W::has_min) _mm512_store_ps(panel->m[b], load_halves(head + 32));
  }
}

template <i32 bias, bool has_min, u32 tokens>
FLYBALL_NOINLINE void tile32(const Panel32& panel, u32 n_blocks, const Tile32& x, f32 (*sums)[16]) {
  const TileScales<bias, has_min, tokens> scales(x, n_blocks);
  __m512 sum[tokens];
  for (u32 t = 0; t < tokens; ++t) sum[t] = _mm512_load_ps(sums[t]);
  for (u32 b = 0; b < n_blocks; ++b) {
    const __m512 m = has_min ? _mm512_load_ps(panel.m[b]) : _mm512_setzero_ps();
    const auto code = [&](u32 v) FLYBALL_LAMBDA { return _mm512_load_si512(panel.codes[8 * b + v]); };
    multiply32<bias, has_min, tokens>(x.q, scales, b, code, _mm512_load_ps(panel.d[b]), m, sum);
  }
  for (u32 t = 0; t < tokens; ++t) _mm512_store_ps(sums[t], sum[t]);
}

template <class W>
FLYBALL_NOINLINE void panel32(const u8* group, const Activations& x, u32 token, u32 n_tokens, const Output& out) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 32;
  const u8* body = group + head_plane_bytes(W::type, x.cols);
  Sums sums;
  memset(&sums, 0, n_tokens * sizeof sums.sum[0]);
  for (u32 b = 0; b < n_blocks; b += 8) {
    const u32 n = n_blocks - b < 8 ? n_blocks - b : 8;
    Panel32 panel;
    unpack32<W>(group + u64(b) * shape.head_bytes, body + u64(b) * shape.body_bytes, n, &panel);
    each_tile(n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
      tile32<W::bias, W::has_min, count.value>(panel, n, Tile32(x, token + t, b), sums.sum + t);
    });
  }
  for (u32 t = 0; t < n_tokens; ++t) out.put(token + t, _mm512_load_ps(sums.sum[t]));
}

// The sums of the activations' sub-blocks as pairs of i16, ready to be broadcast.
template <u32 sub_values>
FLYBALL_INLINE void pair_sums(const i32* sum16, i32* pairs) {
  const __m256i words = _mm512_cvtepi32_epi16(_mm512_loadu_si512(sum16));
  if constexpr (sub_values == 16) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(pairs), words);
  } else {
    const __m256i sums = _mm256_madd_epi16(words, _mm256_set1_epi16(1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(pairs), _mm256_cvtepi32_epi16(sums));
  }
}

// sum += dot * scale, exact. A dot product that fits i16 multiplies as the low half of a pair whose high half meets
// zero.
template <bool narrow>
FLYBALL_INLINE __m512i add_scaled(__m512i sum, __m512i dot, __m512i scale) {
  if constexpr (narrow) return _mm512_dpwssd_epi32(sum, dot, scale);
  return _mm512_add_epi32(sum, _mm512_mullo_epi32(dot, scale));
}
template <bool narrow>
FLYBALL_INLINE __m512i scale_operand(__m512i scale) {
  return narrow ? _mm512_and_si512(scale, _mm512_set1_epi32(0xffff)) : scale;
}

// One block of 256 for `tokens` tokens. B supplies code(v), scale(s), pair(i), d(), m().
template <class W, u32 tokens, class B>
FLYBALL_INLINE void multiply256(const Tile256& x, const B& block, __m512* sum) {
  constexpr u32 n_subs = 256 / W::sub_values, vectors = W::sub_values / 4;
  __m512i total[tokens], correction[tokens];
  alignas(64) i32 pairs[tokens][8];
  for (u32 t = 0; t < tokens; ++t) {
    total[t] = correction[t] = _mm512_setzero_si512();
    pair_sums<W::sub_values>(&x.sum16.at(t), pairs[t]);
  }
  block.each_sub([&](auto s) FLYBALL_LAMBDA {
    __m512i dot[tokens];
    for (u32 t = 0; t < tokens; ++t) dot[t] = _mm512_setzero_si512();
    unroll<vectors>([&](auto v) FLYBALL_LAMBDA {
      const __m512i w = block.code(s * vectors + v.value);
      for (u32 t = 0; t < tokens; ++t) {
        dot[t] = _mm512_dpbusd_epi32(dot[t], w, broadcast4(&x.q.at(t, (s * vectors + v.value) * 4)));
      }
    });
    const __m512i scale = block.scale(s);
    for (u32 t = 0; t < tokens; ++t) total[t] = add_scaled<W::narrow>(total[t], dot[t], scale);
  });
  unroll<n_subs / 2>([&](auto i) FLYBALL_LAMBDA {
    const __m512i p = block.pair(i.value);
    for (u32 t = 0; t < tokens; ++t)
      correction[t] = _mm512_dpwssd_epi32(correction[t], p, _mm512_set1_epi32(pairs[t][i.value]));
  });
  const __m512 d = block.d(), m = block.m();
  for (u32 t = 0; t < tokens; ++t) {
    const __m512 da = _mm512_set1_ps(x.d.at(t));
    if constexpr (W::has_min) {
      sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[t]), _mm512_mul_ps(d, da), sum[t]);
      sum[t] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(correction[t]), _mm512_mul_ps(m, da), sum[t]);
    } else {
      constexpr u32 shift = W::bias == -4 ? 2 : W::bias == -32 ? 5 : 7;
      static_assert(W::bias == -(1 << shift));
      const __m512i signed_total = _mm512_sub_epi32(total[t], _mm512_slli_epi32(correction[t], shift));
      sum[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(signed_total), _mm512_mul_ps(d, da), sum[t]);
    }
  }
}

template <class W>
struct PackedBlock {
  const u8* head;
  const u8* body;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    unroll<256 / W::sub_values>([&](auto s) FLYBALL_LAMBDA {
      keep_order();
      f(Constant<s.value>());
    });
  }
  FLYBALL_INLINE __m512i code(u32 v) const { return W::code(body, v); }
  FLYBALL_INLINE __m512i scale(u32 s) const { return scale_operand<W::narrow>(W::scale(body, s)); }
  FLYBALL_INLINE __m512i pair(u32 i) const { return W::pair(body, i); }
  FLYBALL_INLINE __m512 d() const { return load_halves(head); }
  FLYBALL_INLINE __m512 m() const { return W::has_min ? load_halves(head + 32) : _mm512_setzero_ps(); }
};

template <class W>
struct PanelBlock {
  const Panel256& panel;
  template <class Function>
  FLYBALL_INLINE void each_sub(Function f) const {
    for (u32 s = 0; s < 256 / W::sub_values; ++s) f(s);
  }
  FLYBALL_INLINE __m512i code(u32 v) const { return _mm512_load_si512(panel.codes[v]); }
  FLYBALL_INLINE __m512i scale(u32 s) const { return _mm512_load_si512(panel.scale[s]); }
  FLYBALL_INLINE __m512i pair(u32 i) const { return _mm512_load_si512(panel.pair[i]); }
  FLYBALL_INLINE __m512 d() const { return _mm512_load_ps(panel.d); }
  FLYBALL_INLINE __m512 m() const { return W::has_min ? _mm512_load_ps(panel.m) : _mm512_setzero_ps(); }
};

template <class W, u32 tokens>
FLYBALL_NOINLINE void direct256(const u8* group, const Activations& x, u32 token, const Output& out) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 256;
  PackedBlock<W> block = {group, group + head_plane_bytes(W::type, x.cols)};
  __m512 sum[tokens];
  for (u32 t = 0; t < tokens; ++t) sum[t] = _mm512_setzero_ps();
  for (u32 b = 0; b < n_blocks; ++b, block.head += shape.head_bytes, block.body += shape.body_bytes) {
    prefetch(block.body + prefetch_distance, shape.body_bytes);
    multiply256<W, tokens>(Tile256(x, token, b), block, sum);
  }
  for (u32 t = 0; t < tokens; ++t) out.put(token + t, sum[t]);
}

template <class W>
FLYBALL_NOINLINE void unpack256(const PackedBlock<W>& block, Panel256* panel) {
  constexpr u32 n_subs = 256 / W::sub_values;
  unroll<64>([&](auto v) FLYBALL_LAMBDA {
    if constexpr (v.value % 8 == 0) keep_order();
    _mm512_store_si512(panel->codes[v.value], block.code(v.value));
  });
  unroll<n_subs>([&](auto s) FLYBALL_LAMBDA { _mm512_store_si512(panel->scale[s.value], block.scale(s.value)); });
  unroll<n_subs / 2>([&](auto i) FLYBALL_LAMBDA { _mm512_store_si512(panel->pair[i.value], block.pair(i.value)); });
  _mm512_store_ps(panel->d, block.d());
  _mm512_store_ps(panel->m, block.m());
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void tile256(const Panel256& panel, const Tile256& x, f32 (*sums)[16]) {
  __m512 sum[tokens];
  for (u32 t = 0; t < tokens; ++t) sum[t] = _mm512_load_ps(sums[t]);
  multiply256<W, tokens>(x, PanelBlock<W>{panel}, sum);
  for (u32 t = 0; t < tokens; ++t) _mm512_store_ps(sums[t], sum[t]);
}

template <class W>
FLYBALL_NOINLINE void panel256(const u8* group, const Activations& x, u32 token, u32 n_tokens, const Output& out) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 256;
  PackedBlock<W> block = {group, group + head_plane_bytes(W::type, x.cols)};
  Sums sums;
  memset(&sums, 0, n_tokens * sizeof sums.sum[0]);
  for (u32 b = 0; b < n_blocks; ++b, block.head += shape.head_bytes, block.body += shape.body_bytes) {
    Panel256 panel;
    unpack256<W>(block, &panel);
    each_tile(n_tokens, [&](u32 t, auto count)
                            FLYBALL_LAMBDA { tile256<W, count.value>(panel, Tile256(x, token + t, b), sums.sum + t); });
  }
  for (u32 t = 0; t < n_tokens; ++t) out.put(token + t, _mm512_load_ps(sums.sum[t]));
}

}  // namespace
}  // namespace flyball::kernels
