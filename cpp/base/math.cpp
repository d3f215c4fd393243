#include "base/math.h"

namespace flyball {

namespace c = math_constants;

namespace {

f64 power_of_two64(i64 exponent) { return bit_cast<f64>(u64(exponent + 1023) << 52); }  // -1022 <= exponent <= 1023

}  // namespace

f32 exp32(f32 x) {
  const f32 shifted = fma32(x, c::log2_e, c::round_magic);
  const f32 n = shifted - c::round_magic;
  const f32 r = fma32(n, -c::ln2_low, fma32(n, -c::ln2_high, x));
  f32 p = fma32(c::exp_c6, r, c::exp_c5);
  p = fma32(p, r, c::exp_c4);
  p = fma32(p, r, c::exp_c3);
  p = fma32(p, r, c::exp_c2);
  p = fma32(p, r, 1.0f);
  p = fma32(p, r, 1.0f);
  // Two factors, since 2^n itself may be outside the normal range; only the second product can round. Beyond the limits
  // the integers are meaningless (they wrap, defined) and the result is replaced.
  const i32 exponent = i32(bit_cast<u32>(shifted) - bit_cast<u32>(c::round_magic));
  const i32 half = exponent >> 1;
  const u32 first = (u32(half) + 127u) << 23;
  const u32 second = (u32(exponent) - u32(half) + 127u) << 23;
  f32 y = (p * bit_cast<f32>(first)) * bit_cast<f32>(second);
  if (x > c::exp_overflow) y = __builtin_inff();
  if (x < c::exp_underflow) y = 0.0f;
  return y;
}

f32 tanh32(f32 x) {
  const u32 sign = bit_cast<u32>(x) & 0x80000000u;
  const f32 a = abs32(x);
  f32 y;
  if (a < c::tanh_small) {
    const f32 s = a * a;
    f32 p = fma32(c::tanh_c11, s, c::tanh_c9);
    p = fma32(p, s, c::tanh_c7);
    p = fma32(p, s, c::tanh_c5);
    p = fma32(p, s, c::tanh_c3);
    y = fma32(p * s, a, a);
  } else {
    y = 1.0f - 2.0f / (exp32(a + a) + 1.0f);
  }
  return bit_cast<f32>(bit_cast<u32>(y) | sign);
}

f32 silu32(f32 x) { return x / (1.0f + exp32(-x)); }

f32 gelu32(f32 x) {
  const f32 u = x * fma32(x * x, c::gelu_cubic, 1.0f);
  return x / (1.0f + exp32(u * c::gelu_scale));
}

f32 sigmoid32(f32 x) { return 1.0f / (1.0f + exp32(-x)); }

f32 softplus32(f32 x) {
  if (!(x <= 20.0f)) return x;
  const f64 e = exp64(x);
  return f32(e < 0x1p-20 ? e - e * e * 0.5 : log64(1.0 + e));
}

f32 swiglu_clamped32(f32 gate, f32 up) {
  gate = gate > c::swiglu_limit ? c::swiglu_limit : gate;
  up = up > c::swiglu_limit ? c::swiglu_limit : up;
  up = up < -c::swiglu_limit ? -c::swiglu_limit : up;
  return gate / (1.0f + exp32(gate * c::swiglu_scale)) * (up + 1.0f);
}

f64 exp64(f64 x) {
  if (x != x) return x;
  if (x > 709.782712893384) return __builtin_inf();
  if (x < -745.1332191019412) return 0.0;
  const f64 magic = 6755399441055744.0;  // 1.5 * 2^52
  const f64 n = (x * 0x1.71547652b82fep+0 + magic) - magic;
  // ln 2 high has 32 bits, so n * high is exact.
  const f64 r = (x - n * 0x1.62e42feep-1) - n * 0x1.a39ef35793c76p-33;
  // Taylor to r^13 / 13!, |r| <= 0.347: remainder below 5e-18. The leading 1 + r is added last to keep its rounding
  // single.
  f64 p = 1.0 / 6227020800.0;
  p = p * r + 1.0 / 479001600.0;
  p = p * r + 1.0 / 39916800.0;
  p = p * r + 1.0 / 3628800.0;
  p = p * r + 1.0 / 362880.0;
  p = p * r + 1.0 / 40320.0;
  p = p * r + 1.0 / 5040.0;
  p = p * r + 1.0 / 720.0;
  p = p * r + 1.0 / 120.0;
  p = p * r + 1.0 / 24.0;
  p = p * r + 1.0 / 6.0;
  p = p * r + 0.5;
  p = 1.0 + (r + p * (r * r));
  const i64 exponent = i64(n);
  const i64 half = exponent >> 1;
  return (p * power_of_two64(half)) * power_of_two64(exponent - half);
}

f64 log64(f64 x) {
  if (x != x) return x;
  if (x < 0) return __builtin_nan("");
  if (x == 0) return -__builtin_inf();
  if (x > 0x1.fffffffffffffp+1023) return x;
  i64 exponent = 0;
  if (x < 0x1p-1022) {
    x *= 0x1p+54;
    exponent = -54;
  }
  u64 bits = bit_cast<u64>(x);
  exponent += i64(bits >> 52) - 1023;
  f64 m = bit_cast<f64>((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 0x1.6a09e667f3bcdp+0) {  // sqrt 2
    m *= 0.5;
    exponent += 1;
  }
  // log m = 2 atanh(s), s = f / (2 + f): the series in s^2 <= 0.0295, to s^23. Written f - (half f^2 - ...) so that the
  // large term f stays exact.
  const f64 f = m - 1.0;
  const f64 s = f / (2.0 + f);
  const f64 z = s * s;
  f64 p = 2.0 / 23.0;
  p = p * z + 2.0 / 21.0;
  p = p * z + 2.0 / 19.0;
  p = p * z + 2.0 / 17.0;
  p = p * z + 2.0 / 15.0;
  p = p * z + 2.0 / 13.0;
  p = p * z + 2.0 / 11.0;
  p = p * z + 2.0 / 9.0;
  p = p * z + 2.0 / 7.0;
  p = p * z + 2.0 / 5.0;
  p = p * z + 2.0 / 3.0;
  p = p * z;
  const f64 half_square = 0.5 * f * f;
  const f64 n = f64(exponent);
  return n * 0x1.62e42feep-1 - ((half_square - (s * (half_square + p) + n * 0x1.a39ef35793c76p-33)) - f);
}

f64 pow64(f64 base, f64 exponent) { return exp64(exponent * log64(base)); }

namespace {

f64 sine_polynomial(f64 r) {  // |r| <= pi / 4
  const f64 z = r * r;
  f64 p = -1.0 / 1307674368000.0;
  p = p * z + 1.0 / 6227020800.0;
  p = p * z - 1.0 / 39916800.0;
  p = p * z + 1.0 / 362880.0;
  p = p * z - 1.0 / 5040.0;
  p = p * z + 1.0 / 120.0;
  p = p * z - 1.0 / 6.0;
  return r + p * z * r;
}

f64 cosine_polynomial(f64 r) {
  const f64 z = r * r;
  f64 p = 1.0 / 20922789888000.0;
  p = p * z - 1.0 / 87178291200.0;
  p = p * z + 1.0 / 479001600.0;
  p = p * z - 1.0 / 3628800.0;
  p = p * z + 1.0 / 40320.0;
  p = p * z - 1.0 / 720.0;
  p = p * z + 1.0 / 24.0;
  return 1.0 - (0.5 * z - p * z * z);
}

}  // namespace

void sincos64(f64 x, f64* sine, f64* cosine) {
  const f64 magic = 6755399441055744.0;  // 1.5 * 2^52
  const f64 n = (x * 0x1.45f306dc9c883p-1 + magic) - magic;
  // pi / 2 in parts of 22 bits: n has at most 30, so the first products are exact.
  f64 r = x - n * 0x1.921fbp+0;
  r -= n * 0x1.5110bp-22;
  r -= n * 0x1.1846980000000p-44;
  r -= n * 0x1.3198a2e037073p-69;
  const f64 s = sine_polynomial(r);
  const f64 k = cosine_polynomial(r);
  switch (u64(i64(n)) & 3) {
    case 0: *sine = s, *cosine = k; break;
    case 1: *sine = k, *cosine = -s; break;
    case 2: *sine = -s, *cosine = -k; break;
    default: *sine = -k, *cosine = s; break;
  }
}

f32 half_to_f32(u16 half) {
  const u32 sign = u32(half & 0x8000u) << 16;
  const u32 magnitude = half & 0x7fffu;
  u32 bits;
  if (magnitude >= 0x7c00u) {
    bits = 0x7f800000u | (magnitude & 0x3ffu) << 13 | (magnitude > 0x7c00u ? 0x400000u : 0u);
  } else if (magnitude >= 0x400u) {
    bits = (magnitude << 13) + (112u << 23);
  } else {
    // Subnormal: as mantissa bits of 2^-14, minus that power; exact.
    bits = bit_cast<u32>(bit_cast<f32>(0x38800000u | magnitude << 13) - 0x1p-14f);
  }
  return bit_cast<f32>(bits | sign);
}

u16 f32_to_half(f32 value) {
  const u32 bits = bit_cast<u32>(value);
  const u16 sign = u16(bits >> 16 & 0x8000u);
  const u32 magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return u16(sign | 0x7e00u | (magnitude >> 13 & 0x3ffu));
  if (magnitude >= 0x477ff000u) return u16(sign | 0x7c00u);  // from 65520, half way above the largest
  if (magnitude < 0x38800000u) {
    // Below 2^-14: in [0.5, 1) one unit in the last place is 2^-24, the half's subnormal step; the addition rounds.
    return u16(sign | (bit_cast<u32>(bit_cast<f32>(magnitude) + 0.5f) - 0x3f000000u));
  }
  return u16(sign | ((magnitude + 0xfffu + (magnitude >> 13 & 1u) - (112u << 23)) >> 13));
}

}  // namespace flyball
