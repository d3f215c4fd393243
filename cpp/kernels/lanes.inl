// The elementwise kernels, lane by lane the sequences of base/math.cpp and scalar.cpp. Written once over sixteen lanes;
// avx512.cpp and avx2.cpp include it after their definitions of F, I and M.

namespace flyball::kernels {
namespace {

namespace c = math_constants;
constexpr u32 n_lanes = 16;

FLYBALL_INLINE F negate(F x) { return floats(xor_i(bits(x), set_i(i32(0x80000000u)))); }
FLYBALL_INLINE F magnitude(F x) { return floats(and_i(bits(x), set_i(0x7fffffff))); }

FLYBALL_INLINE F exp_lanes(F x) {
  const F shifted = fma(x, set(c::log2_e), set(c::round_magic));
  const F n = sub(shifted, set(c::round_magic));
  const F r = fma(n, set(-c::ln2_low), fma(n, set(-c::ln2_high), x));
  F p = fma(set(c::exp_c6), r, set(c::exp_c5));
  p = fma(p, r, set(c::exp_c4));
  p = fma(p, r, set(c::exp_c3));
  p = fma(p, r, set(c::exp_c2));
  p = fma(p, r, set(1.0f));
  p = fma(p, r, set(1.0f));
  const M underflow = less(x, set(c::exp_underflow));
  // Results far below the smallest number would each cost a trap into microcode.
  F y = times_power(p, select(underflow, zero(), n));
  y = select(less(set(c::exp_overflow), x), set(__builtin_inff()), y);
  return select(underflow, zero(), y);
}

FLYBALL_INLINE F tanh_lanes(F x) {
  const I sign = and_i(bits(x), set_i(i32(0x80000000u)));
  const F a = magnitude(x);
  const F s = mul(a, a);
  F p = fma(set(c::tanh_c11), s, set(c::tanh_c9));
  p = fma(p, s, set(c::tanh_c7));
  p = fma(p, s, set(c::tanh_c5));
  p = fma(p, s, set(c::tanh_c3));
  const F small = fma(mul(p, s), a, a);
  const F large = sub(set(1.0f), div(set(2.0f), add(exp_lanes(add(a, a)), set(1.0f))));
  return floats(or_i(bits(select(less(a, set(c::tanh_small)), small, large)), sign));
}

FLYBALL_INLINE F silu_lanes(F x) { return div(x, add(set(1.0f), exp_lanes(negate(x)))); }

FLYBALL_INLINE F gelu_lanes(F x) {
  const F u = mul(x, fma(mul(x, x), set(c::gelu_cubic), set(1.0f)));
  return div(x, add(set(1.0f), exp_lanes(mul(u, set(c::gelu_scale)))));
}

FLYBALL_INLINE F swiglu_clamped_lanes(F gate, F up) {
  const F limit = set(c::swiglu_limit), least = set(-c::swiglu_limit);
  gate = select(less(limit, gate), limit, gate);
  up = select(less(limit, up), limit, up);
  up = select(less(up, least), least, up);
  const F e = exp_lanes(mul(gate, set(c::swiglu_scale)));
  return mul(div(gate, add(set(1.0f), e)), add(up, set(1.0f)));
}

FLYBALL_INLINE F softcap_lanes(F x, F cap) { return mul(cap, tanh_lanes(div(x, cap))); }

// y[i] = f(loads of lane i) for n values; `f` takes the index and a count of at most 16 lanes.
template <class Function>
FLYBALL_INLINE void each_lane(u64 n, Function f) {
  u64 i = 0;
  for (; i + n_lanes <= n; i += n_lanes)
    f(i, [](const f32* p) FLYBALL_LAMBDA { return load(p); }, [](f32* p, F x) FLYBALL_LAMBDA { store(p, x); });
  if (i < n) {
    const u32 rest = u32(n - i);
    f(
        i, [rest](const f32* p) FLYBALL_LAMBDA { return load_n(p, rest); },
        [rest](f32* p, F x) FLYBALL_LAMBDA { store_n(p, x, rest); });
  }
}

void rms_norm(const f32* x, const f32* weight, f32 eps, u32 n, f32* y) {
  F squares = zero();
  each_lane(n, [&](u64 i, auto get, auto) FLYBALL_LAMBDA {
    const F v = get(x + i);
    squares = fma(v, v, squares);  // absent lanes add +0 to a sum that is never -0
  });
  const F factor = set(1.0f / sqrt32(reduce(squares) / f32(n) + eps));
  each_lane(
      n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, mul(mul(get(x + i), factor), get(weight + i))); });
}

void add_to(f32* y, const f32* x, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, add(get(y + i), get(x + i))); });
}

void scale_by(f32* y, f32 factor, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, mul(get(y + i), set(factor))); });
}

void silu_mul(const f32* gate, const f32* up, f32* y, u64 n) {
  each_lane(n,
            [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, mul(silu_lanes(get(gate + i)), get(up + i))); });
}

void gelu_mul(const f32* gate, const f32* up, f32* y, u64 n) {
  each_lane(n,
            [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, mul(gelu_lanes(get(gate + i)), get(up + i))); });
}

void multiply_by(const f32* x, f32* y, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, mul(get(y + i), get(x + i))); });
}

void relu_squared(f32* y, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA {
    const F x = get(y + i);
    put(y + i, select(less(zero(), x), mul(x, x), zero()));
  });
}

void silu(f32* y, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, silu_lanes(get(y + i))); });
}

void swiglu_clamped(const f32* gate, const f32* up, f32* y, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put)
                   FLYBALL_LAMBDA { put(y + i, swiglu_clamped_lanes(get(gate + i), get(up + i))); });
}

void sigmoid_mul(const f32* gate, f32* y, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put)
                   FLYBALL_LAMBDA { put(y + i, div(get(y + i), add(set(1.0f), exp_lanes(negate(get(gate + i)))))); });
}

void softcap(f32* y, f32 cap, u64 n) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA { put(y + i, softcap_lanes(get(y + i), set(cap))); });
}

f32 sum_exp(const f32* x, f32 shift, u64 n) {
  F sum = zero();
  u64 i = 0;
  for (; i + n_lanes <= n; i += n_lanes) sum = add(sum, exp_lanes(sub(load(x + i), set(shift))));
  if (i < n) {
    const u32 rest = u32(n - i);
    sum = select(first_n(rest), add(sum, exp_lanes(sub(load_n(x + i, rest), set(shift)))), sum);
  }
  return reduce(sum);
}

FLYBALL_INLINE void rotate(F* x, F* y, F cosine, F sine) {
  const F a = *x, b = *y;
  *x = fma(a, cosine, negate(mul(b, sine)));
  *y = fma(a, sine, mul(b, cosine));
}

void rope(f32* head, const f32* cosines, const f32* sines, u32 n_rot, bool neox) {
  const u32 half = n_rot / 2;
  u32 i = 0;
  if (neox) {
    each_lane(half, [&](u64 at, auto get, auto put) FLYBALL_LAMBDA {
      F x = get(head + at), y = get(head + half + at);
      rotate(&x, &y, get(cosines + at), get(sines + at));
      put(head + at, x);
      put(head + half + at, y);
    });
    return;
  }
  for (; i < half; i += n_lanes) {
    const u32 n = half - i < n_lanes ? half - i : n_lanes;
    const u32 n_low = 2 * n < n_lanes ? 2 * n : n_lanes;
    f32* pairs = head + 2 * i;
    F x, y, low, high;
    deinterleave(load_n(pairs, n_low), load_n(pairs + n_lanes, 2 * n - n_low), &x, &y);
    rotate(&x, &y, load_n(cosines + i, n), load_n(sines + i, n));
    interleave(x, y, &low, &high);
    store_n(pairs, low, n_low);
    store_n(pairs + n_lanes, high, 2 * n - n_low);
  }
}

// Quantizes one block of `vectors` x 16 values, and gives the sum of the q of each vector of 16.
template <u32 vectors>
FLYBALL_INLINE f32 quantize_block(const f32* x, i8* q, i32* sums) {
  I largest = set_i(0);
  for (u32 v = 0; v < vectors; ++v) largest = max_i(largest, and_i(bits(load(x + v * n_lanes)), set_i(0x7fffffff)));
  const i32 top = reduce_max_i(largest);
  const f32 amax = __builtin_bit_cast(f32, top);
  const f32 inverse = 127.0f / amax;
  const bool finite = top < 0x7f800000;
  if (!finite || !(inverse <= 0x1.fffffep+127f)) {
    memset(q, 0, vectors * n_lanes);
    memset(sums, 0, vectors * sizeof(i32));
    return finite ? amax / 127.0f : __builtin_nanf("");
  }
  for (u32 v = 0; v < vectors; ++v) {
    const I rounded = round_to_int(mul(load(x + v * n_lanes), set(inverse)));
    store_i8(q + v * n_lanes, rounded);
    sums[v] = reduce_add_i(rounded);
  }
  return amax / 127.0f;
}

void quantize(const Activations& a, u32 kinds, u32 token_begin, u32 token_end) {
  for (u32 t = token_begin; t < token_end; ++t) {
    const u64 begin = u64(t) * a.cols, end = begin + a.cols;
    if (kinds & 1u << u32(ActivationKind::q8_32)) {
      for (u64 i = begin; i < end; i += 32) {
        i32 sums[2];
        a.d32[i / 32] = quantize_block<2>(a.x + i, a.q32 + i, sums);
        a.sum32[i / 32] = sums[0] + sums[1];
      }
    }
    if (kinds & 1u << u32(ActivationKind::q8_256)) {
      for (u64 i = begin; i < end; i += 256)
        a.d256[i / 256] = quantize_block<16>(a.x + i, a.q256 + i, a.sum16 + i / 16);
    }
  }
}

}  // namespace
}  // namespace flyball::kernels
