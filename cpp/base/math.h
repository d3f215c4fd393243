// The core's own elementary functions: the same sequence of IEEE operations on every target, so the same bits.
// Vector kernels repeat exactly these sequences lane by lane (kernels/ tests compare all lanes' bits).
// Build rule: -ffp-contract=off everywhere; a fused multiply-add is always written as fma32().
#pragma once

#include "base/types.h"

namespace flyball {

// The helpers below are `static`: instruction-set files include this header, and a shared inline function that was
// compiled there with wider instructions could replace the portable copy at link time.

// Holds the processor's default floating-point mode (round to nearest, subnormals kept, no traps) for a scope. Libraries
// that were built for speed switch subnormals off for the whole process, which would change our bits.
class FloatMode {
 public:
  FloatMode() {
    __asm__ volatile("stmxcsr %0" : "=m"(saved_) : : "memory");
    const u32 standard = 0x1f80;
    __asm__ volatile("ldmxcsr %0" : : "m"(standard) : "memory");
  }
  ~FloatMode() { __asm__ volatile("ldmxcsr %0" : : "m"(saved_) : "memory"); }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  u32 saved_;
};

// Fused multiply-add without FMA hardware: the product of two floats is exact in double; the sum is rounded to odd by
// its error term (Boldo & Melquiond 2008), so the final rounding to float is the only one. Works for subnormal results,
// infinities.
static inline f32 fma32(f32 a, f32 b, f32 c) {
  const f64 product = f64(a) * f64(b);
  const f64 addend = c;
  const f64 sum = product + addend;
  const f64 back = sum - product;
  const f64 error = (product - (sum - back)) + (addend - back);
  // Branch-free, so that a loop over lanes becomes vector code on SSE2 too. An infinite or NaN sum has a NaN error,
  // which compares unequal to both.
  const u64 bits = __builtin_bit_cast(u64, sum);
  const u64 inexact = ((error > 0) | (error < 0)) ? ~u64(0) : u64(0);
  // Towards the error: away from zero when the error has the sum's sign, towards zero otherwise; only from an even sum.
  const u64 opposite = u64(0) - ((__builtin_bit_cast(u64, error) ^ bits) >> 63);
  const u64 even = (bits & 1) - 1;
  return f32(__builtin_bit_cast(f64, bits + ((opposite | 1) & inexact & even)));
}

static inline f32 sqrt32(f32 x) { return __builtin_sqrtf(x); }  // one correctly rounded instruction (-fno-math-errno)
static inline f32 abs32(f32 x) { return __builtin_bit_cast(f32, __builtin_bit_cast(u32, x) & 0x7fffffffu); }

// Round to nearest even for |x| < 2^22, by the magic constant: what cvtps2dq does under the default rounding mode.
static inline f32 round_even32(f32 x) {
  const f32 magic = 12582912.0f;  // 1.5 * 2^23
  return (x + magic) - magic;
}

// Constants of exp32, tanh32 and gelu32, shared with their vector twins. Minimax fits: relative error below 5e-9 each.
namespace math_constants {
constexpr f32 round_magic = 12582912.0f;  // 1.5 * 2^23
constexpr f32 log2_e = 0x1.715476p+0f;
constexpr f32 ln2_high = 0x1.62e4p-1f;  // 15 bits
constexpr f32 ln2_low = 0x1.7f7d1cp-20f;
constexpr f32 exp_c2 = 0x1.fffffcp-2f, exp_c3 = 0x1.555492p-3f, exp_c4 = 0x1.5558f2p-5f, exp_c5 = 0x1.1239e2p-7f,
              exp_c6 = 0x1.6a2436p-10f;
constexpr f32 exp_overflow = 0x1.62e42ep+6f;  // the largest x whose e^x is finite
constexpr f32 exp_underflow = -87.25f;        // below it 0, so that no result is subnormal: those cost a microcode trap
constexpr f32 tanh_small = 0.625f;            // below it the odd polynomial, above it 1 - 2 / (e^2x + 1)
constexpr f32 tanh_c3 = -0x1.555532p-2f, tanh_c5 = 0x1.110726p-3f, tanh_c7 = -0x1.b83c5ap-5f, tanh_c9 = 0x1.52269ap-6f,
              tanh_c11 = -0x1.75e1cap-8f;
constexpr f32 gelu_scale = -0x1.988454p+0f;  // -2 sqrt(2 / pi)
constexpr f32 gelu_cubic = 0.044715f;
constexpr f32 swiglu_scale = -1.702f, swiglu_limit = 7.0f;
}  // namespace math_constants

// e^x for f32. Cody-Waite reduction by ln 2 in two parts, polynomial of degree 6, scaling by two exact powers of two.
// NaN gives NaN; x > 88.72 gives +inf; x < -87.25 gives 0. Error below 1 ulp (tests/cpp/test_math measures it).
f32 exp32(f32 x);
f32 tanh32(f32 x);      // odd; NaN gives NaN
f32 silu32(f32 x);      // x / (1 + e^-x)
f32 gelu32(f32 x);      // gemma's tanh form, 0.5 x (1 + tanh u), computed as x / (1 + e^-2u): no cancellation for x < 0
f32 sigmoid32(f32 x);   // 1 / (1 + e^-x)
f32 softplus32(f32 x);  // log(1 + e^x) by double precision; x itself above 20
f32 swiglu_clamped32(f32 gate, f32 up);  // gpt-oss: g / (1 + e^-1.702g) (u + 1), g at most 7 and u within -7 and 7

// Double precision, for tables made once (rotary embedding) and for sampling.
f64 exp64(f64 x);
f64 log64(f64 x);
f64 pow64(f64 base, f64 exponent);             // base > 0
void sincos64(f64 x, f64* sine, f64* cosine);  // |x| < 2^30; error below 1e-15 absolute

// IEEE half and bfloat16. To half: round to nearest even, overflow to infinity, NaN stays quiet NaN (what vcvtps2ph
// does).
f32 half_to_f32(u16 half);
u16 f32_to_half(f32 value);
static inline f32 bf16_to_f32(u16 value) { return __builtin_bit_cast(f32, u32(value) << 16); }

}  // namespace flyball
