// Blocks of 32: an exact tile product each, then one fma (two with a minimum). Part of amx.inl.

namespace flyball::kernels {
namespace {

// Row t of a matrix that is `stride` elements wide, with addresses that need few registers: for constant t.
template <class T>
struct TokenRows {
  const T* quarter[4];
  u64 stride;
  FLYBALL_INLINE TokenRows(const T* first, u64 n)
      : quarter{first, first + 4 * n, first + 8 * n, first + 12 * n}, stride(n) {}
  FLYBALL_INLINE const T& at(u32 t, u32 i) const { return quarter[t / 4][t % 4 * stride + i]; }
};

// What a slot needs of the activations, at the first block of a panel's weights.
template <u32 tokens>
struct Slot32 {
  const i8* q;
  const f32* d;
  const i32* sum;
  FLYBALL_INLINE Slot32(const Activations& x, u32 token, u32 block) {
    const u64 at = u64(token) * (x.cols / 32) + block;
    q = x.q32 + 32 * at;
    d = x.d32 + at;
    sum = x.sum32 + at;
  }
};

template <u32 i>
FLYBALL_INLINE void multiply32(const i8* q, u64 cols) {  // block i of a panel into sums i % 2
  tile_load<tiles32.activations + i % 2>(q + 32 * i, cols);
  tile_zero<tiles32.sums + i % 2>();
  tile_dot<tiles32.sums + i % 2, tiles32.activations + i % 2, tiles32.weights + i, true>();
}

// The float part of one block for one slot.
template <bool has_min, u32 tokens>
FLYBALL_INLINE void accumulate32(const i32 (*dots)[16], const f32* d_w, const f32* m_w, const TokenRows<f32>& d_a,
                                 const f32 (*minima)[panel_blocks], u32 b, __m512* sum) {
  const __m512 d = _mm512_load_ps(d_w);
  const __m512 m = has_min ? _mm512_load_ps(m_w) : _mm512_setzero_ps();
  unroll<tokens>([&](u32 t) FLYBALL_LAMBDA {
    const __m512 dot = _mm512_cvtepi32_ps(_mm512_load_si512(dots[t]));
    sum[t] = _mm512_fmadd_ps(dot, _mm512_mul_ps(d, _mm512_set1_ps(d_a.at(t, b))), sum[t]);
    if constexpr (has_min) sum[t] = _mm512_fmadd_ps(m, _mm512_set1_ps(minima[t][b]), sum[t]);
  });
}

// `blocks` blocks for all slots of a panel. While the floats of one block are accumulated, the sums of the next one are
// stored and the products after that one run, across the ends of slots.
template <bool has_min, u32 tokens, u32 blocks>
FLYBALL_NOINLINE void slots32(const Weights32& w, const Activations& x, u32 block, const Panel<tokens>& panel) {
  alignas(64) i32 dots[2][tokens][16];
  const u64 cols = x.cols, n_blocks = x.cols / 32;
  each_constant<blocks>([&](auto b) FLYBALL_LAMBDA { tile_load<tiles32.weights + b.value>(w.codes[b.value], 64); });
  Slot32<tokens> slot(x, panel.token(0), block);
  multiply32<0>(slot.q, cols);
  if constexpr (blocks > 1) multiply32<1>(slot.q, cols);
  tile_store<tiles32.sums>(dots[0], 64);
  for (u32 s = 0; s < panel.n; ++s) {
    const Slot32<tokens> next(x, panel.token(s + 1 < panel.n ? s + 1 : s), block);
    const TokenRows<f32> d_a(slot.d, n_blocks);
    alignas(64) f32 minima[tokens][panel_blocks];
    if constexpr (has_min) {
      for (u32 t = 0; t < tokens; ++t) {
        for (u32 b = 0; b < blocks; ++b) minima[t][b] = slot.d[t * n_blocks + b] * f32(slot.sum[t * n_blocks + b]);
      }
    }
    f32* const kept = opaque(panel.sums_of(s));
    __m512 sum[tokens];
    for (u32 t = 0; t < tokens; ++t) sum[t] = _mm512_load_ps(kept + 16 * t);
    each_constant<blocks>([&](auto b) FLYBALL_LAMBDA {
      if constexpr (blocks > 1) {
        constexpr u32 ahead = (b.value + 2) % blocks;
        multiply32<ahead>(b.value + 2 < blocks ? slot.q : next.q, cols);
        tile_store<tiles32.sums + (b.value + 1) % 2>(dots[(b.value + 1) % 2], 64);
      }
      accumulate32<has_min, tokens>(dots[b.value % 2], w.d[b.value], w.m[b.value], d_a, minima, b.value, sum);
    });
    if constexpr (blocks == 1) {
      multiply32<0>(next.q, cols);
      tile_store<tiles32.sums>(dots[0], 64);
    }
    for (u32 t = 0; t < tokens; ++t) _mm512_store_ps(kept + 16 * t, sum[t]);
    slot = next;
  }
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void panel32(const u8* group, const Activations& x, const Panel<tokens>& panel) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u32 n_blocks = x.cols / 32;
  const u8* body = group + head_plane_bytes(W::type, x.cols);
  Weights32 w;
  for (u32 b = 0; b < n_blocks;) {
    const u32 n = n_blocks - b >= panel_blocks ? panel_blocks : 1;
    unpack_weights32<W>(group, b, body + u64(b) * shape.body_bytes, n, &w);
    if (n == panel_blocks)
      slots32<W::has_min, tokens, panel_blocks>(w, x, b, panel);
    else
      slots32<W::has_min, tokens, 1>(w, x, b, panel);
    b += n;
  }
}

}  // namespace
}  // namespace flyball::kernels
