// Blocks of 256: a chain of tile products for each digit of weight * scale, then one fma (two with a minimum). Part of
// amx.inl.

namespace flyball::kernels {
namespace {

// Of a slot: where the activations of a block are.
struct Slot256 {
  const i8* q;
  const f32* d;
  const i32* sum16;
  Slot256() = default;
  FLYBALL_INLINE Slot256(const Activations& x, u32 token, u32 block) {
    const u64 at = u64(token) * (x.cols / 256) + block;
    q = x.q256 + 256 * at;
    d = x.d256 + at;
    sum16 = x.sum16 + 16 * at;
  }
};

// The sums of a slot's sub-blocks as pairs of i16: a sum of 32 fits as well. Their order is that of VPACKSSDW.
template <u32 tokens, u32 n_pairs>
struct Pairs {
  alignas(64) i32 words[tokens / 4][4 * n_pairs];

  FLYBALL_INLINE void set(const i32* sum16, u64 stride) {
    for (u32 t = 0; t < tokens; t += 4) {
      const auto sums_of = [&](u32 i) FLYBALL_LAMBDA { return _mm512_loadu_si512(sum16 + (t + i) * stride); };
      const __m512i first = _mm512_packs_epi32(sums_of(0), sums_of(1));
      const __m512i second = _mm512_packs_epi32(sums_of(2), sums_of(3));
      if constexpr (n_pairs == 8) {
        _mm512_store_si512(words[t / 4], first);
        _mm512_store_si512(words[t / 4] + 16, second);
      } else {
        const __m512i one = _mm512_set1_epi16(1);
        const __m512i twos = _mm512_packs_epi32(_mm512_madd_epi16(first, one), _mm512_madd_epi16(second, one));
        _mm512_store_si512(words[t / 4], twos);
      }
    }
  }
  FLYBALL_INLINE i32 at(u32 t, u32 i) const {
    if constexpr (n_pairs == 8) return words[t / 4][t % 4 / 2 * 16 + i / 2 * 4 + t % 2 * 2 + i % 2];
    return words[t / 4][i * 4 + t % 4];
  }
};

// The exact sums of a slot: of both digits.
template <u32 tokens>
struct Dots256 {
  alignas(64) i32 digit[2][tokens][16];
};

// The tile that sums a digit of a slot.
constexpr u32 dots_tile(u32 slot, u32 digit) { return tiles256.sums + 2 * slot + digit; }

// f(Constant<slot>, Constant<digit>) for each tile of sums.
template <class W, u32 count, class Function>
FLYBALL_INLINE void each_dots_tile(Function f) {
  each_constant<count>(
      [&](auto s) FLYBALL_LAMBDA { each_constant<ScaleOf<W>::digits>([&](auto i) FLYBALL_LAMBDA { f(s, i); }); });
}

// A quarter of the block, 64 values, for `count` slots: each tile of weights meets all of them.
template <class W, u32 count>
FLYBALL_INLINE void multiply256(const Digits* const (&digits)[2], const Slot256* slots, u64 cols, u32 quarter) {
  using Scale = ScaleOf<W>;
  constexpr u32 w = tiles256.weights, a = tiles256.activations;
  each_constant<Scale::digits>(
      [&](auto i) FLYBALL_LAMBDA { tile_load<w + i.value>(digits[i.value]->bytes[16 * quarter], 64); });
  each_constant<count>([&](auto s) FLYBALL_LAMBDA { tile_load<a + s.value>(slots[s.value].q + 64 * quarter, cols); });
  each_dots_tile<W, count>([&](auto s, auto i) FLYBALL_LAMBDA {
    constexpr bool b_signed = i.value == 0 ? Scale::low_signed : Scale::high_signed;
    tile_dot<dots_tile(s.value, i.value), a + s.value, w + i.value, b_signed>();
  });
}

// What the float part needs of the weights of a block, in registers.
template <class W>
struct Factors256 {
  static constexpr u32 n_pairs = 128 / W::sub_values;
  __m512 d, m;
  __m512i minima[n_pairs];
  FLYBALL_INLINE explicit Factors256(const Weights256& w) : d(_mm512_load_ps(w.d)) {
    if constexpr (W::has_min) {
      m = _mm512_load_ps(w.m);
      unroll<n_pairs>([&](u32 i) FLYBALL_LAMBDA { minima[i] = _mm512_load_si512(w.minima[i]); });
    }
  }
};

// The float part of one block for one token.
template <class W, u32 tokens, class Pairs>
FLYBALL_INLINE void accumulate256(const Factors256<W>& w, const Dots256<tokens>& dots, const Pairs& pairs, f32 d_token,
                                  u32 t, f32* sums) {
  using Scale = ScaleOf<W>;
  __m512i total = _mm512_load_si512(dots.digit[0][t]);
  if constexpr (Scale::digits == 2) {
    total = _mm512_add_epi32(_mm512_slli_epi32(_mm512_load_si512(dots.digit[1][t]), Scale::shift), total);
  }
  const __m512 d_a = _mm512_set1_ps(d_token), d = _mm512_mul_ps(w.d, d_a), dot = _mm512_cvtepi32_ps(total);
  __m512 sum = _mm512_load_ps(sums);
  sum = Scale::negative ? _mm512_fnmadd_ps(dot, d, sum) : _mm512_fmadd_ps(dot, d, sum);
  if constexpr (W::has_min) {
    __m512i minimum = _mm512_setzero_si512();
    unroll<Factors256<W>::n_pairs>([&](u32 i) FLYBALL_LAMBDA {
      minimum = _mm512_dpwssd_epi32(minimum, w.minima[i], _mm512_set1_epi32(pairs.at(t, i)));
    });
    sum = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(minimum), _mm512_mul_ps(w.m, d_a), sum);
  }
  _mm512_store_ps(sums, sum);
}

// One block for slots [begin, end) of a panel, `count` at a time: the floats of some while the products of the next run.
template <class W, u32 tokens, u32 count>
FLYBALL_NOINLINE void slots256(const Weights256& w, const Digits& high, const Activations& x, u32 block,
                               const Panel<tokens>& panel, u32 begin, u32 end) {
  const u64 n_blocks = x.cols / 256;
  const Digits* const digits[2] = {&w.low, &high};
  const Factors256<W> factors(w);
  Dots256<tokens> dots[count];
  Pairs<tokens, Factors256<W>::n_pairs> pairs[count];
  Slot256 next[count];
  const auto begin_slots = [&](u32 first) FLYBALL_LAMBDA {
    for (u32 s = 0; s < count; ++s) next[s] = Slot256(x, panel.token(first + s), block);
    each_dots_tile<W, count>([&](auto s, auto i) FLYBALL_LAMBDA { tile_zero<dots_tile(s.value, i.value)>(); });
  };
  begin_slots(begin);
  for (u32 quarter = 0; quarter < 4; ++quarter) multiply256<W, count>(digits, next, x.cols, quarter);
  for (u32 first = begin; first < end; first += count) {
    each_dots_tile<W, count>([&](auto s, auto i) FLYBALL_LAMBDA {
      tile_store<dots_tile(s.value, i.value)>(dots[s.value].digit[i.value], 64);
    });
    const f32* d[count];
    f32* sums[count];
    for (u32 s = 0; s < count; ++s) {
      d[s] = next[s].d;
      sums[s] = panel.sums_of(first + s);
      if constexpr (W::has_min) pairs[s].set(next[s].sum16, 16 * n_blocks);
    }
    const bool more = first + count < end;
    if (more) begin_slots(first + count);
    for (u32 quarter = 0; quarter < 4; ++quarter) {
      if (more) multiply256<W, count>(digits, next, x.cols, quarter);
      for (u32 s = 0; s < count; ++s) {
        for (u32 i = 0; i < tokens / 4; ++i) {
          const u32 t = quarter * (tokens / 4) + i;
          accumulate256<W>(factors, dots[s], pairs[s], d[s][t * n_blocks], t, sums[s] + 16 * t);
        }
      }
    }
  }
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void panel256(const u8* group, const Activations& x, const Panel<tokens>& panel, Digits* high) {
  constexpr PackedShape shape = packed_shape(W::type);
  const u8* head = group;
  const u8* body = group + head_plane_bytes(W::type, x.cols);
  const u32 n_blocks = x.cols / 256, even = panel.n / 2 * 2;
  Weights256 w;
  for (u32 b = 0; b < n_blocks; ++b, head += shape.head_bytes, body += shape.body_bytes) {
    unpack_weights256<W>(head, body, &w, high);
    if (even > 0) slots256<W, tokens, 2>(w, *high, x, b, panel, 0, even);
    if (even < panel.n) slots256<W, tokens, 1>(w, *high, x, b, panel, even, panel.n);
  }
}

}  // namespace
}  // namespace flyball::kernels
