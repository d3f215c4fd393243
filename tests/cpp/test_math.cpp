// The core's elementary functions against long double, and the software fma against the processor's.
#include "base/math.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;

f32 random_float(Random& random) {  // any bits; often of close exponents, often special
  u32 bits = u32(random.next());
  switch (random.below(4)) {
    case 0: bits = (bits & 0x807fffffu) | (120 + random.below(16)) << 23; break;
    case 1: bits = (bits & 0x80000000u) | (bits & 0x7fffffu) >> random.below(24); break;  // subnormal
    case 2: bits &= 0xffff0000u; break;                                                   // short mantissa: exact ties
    default: break;
  }
  return bit_cast<f32>(bits);
}

// Distance of `y` from `exact` in units of the last place of y's type at `exact`, subnormals included.
f64 ulps32(f32 y, long double exact) {
  if (std::isinf(y) || std::isnan(y)) return 1e9;
  int exponent;
  std::frexp(exact, &exponent);
  return f64(std::fabs(y - exact) / std::ldexp(1.0L, std::max(exponent - 24, -149)));
}

f64 ulps64(f64 y, long double exact) {
  int exponent;
  std::frexp(exact, &exponent);
  return f64(std::fabs(y - exact) / std::ldexp(1.0L, std::max(exponent - 53, -1074)));
}

#if defined(__GNUC__)
__attribute__((target("fma"), noinline)) f32 hardware_fma(f32 a, f32 b, f32 c) { return __builtin_fmaf(a, b, c); }
#endif

template <class Function>
f64 largest_ulps(f32 low, f32 high, u32 n, Function error) {
  Random random(3);
  f64 worst = 0;
  for (u32 i = 0; i < n; ++i) {
    const f32 x = f32(low + (f64(high) - low) * (f64(random.next() >> 11) * 0x1p-53));
    worst = std::max(worst, error(x));
  }
  return worst;
}

}  // namespace

TEST(fma_is_fused) {
  Random random(1);
  const bool hardware = __builtin_cpu_supports("fma");
  u64 differences = 0;
  const u32 n = 3'000'000;
  for (u32 i = 0; i < n; ++i) {
    const f32 a = random_float(random), b = random_float(random);
    f32 c = random_float(random);
    if (i % 4 == 0) c = -(a * b);  // cancellation
    if (i % 4 == 1) c = bit_cast<f32>(bit_cast<u32>(a * b) + random.below(5) - 2u);
    if (i % 16 == 2) c = f32(std::ldexp(f64(a) * b, i32(random.below(60)) - 30));
    const f32 expected = hardware ? hardware_fma(a, b, c) : std::fma(a, b, c);
    differences += !same_float(fma32(a, b, c), expected);
  }
  CHECK_EQ(differences, 0);
  test::note(std::to_string(n) + " triples against " + (hardware ? "the processor" : "the C library"));
  // Ties of the final rounding that only a sticky bit decides, subnormal results, and both zeros.
  CHECK_EQ(fma32(0x1.000002p+0f, 0x1.000002p+0f, -0x1.000004p+0f), 0x1p-46f);
  CHECK_EQ(bit_cast<u32>(fma32(0x1p-75f, 0x1p-75f, 0.0f)), 0u);
  CHECK_EQ(bit_cast<u32>(fma32(0x1.8p-75f, 0x1p-74f, 0x1p-149f)), 2u);  // 1 + 0.75 ulp
  CHECK_EQ(bit_cast<u32>(fma32(-1.0f, 0.0f, -0.0f)), 0x80000000u);
  CHECK_EQ(bit_cast<u32>(fma32(1.0f, 1.0f, -1.0f)), 0u);
  CHECK_EQ(fma32(0x1.fffffep+127f, 2.0f, -0x1.fffffep+127f), 0x1.fffffep+127f);
  CHECK(std::isinf(fma32(0x1.fffffep+127f, 2.0f, 1.0f)));
  CHECK(std::isinf(fma32(1.0f, 1.0f, __builtin_inff())));
  CHECK(std::isnan(fma32(__builtin_inff(), 1.0f, -__builtin_inff())));
  CHECK(std::isnan(fma32(__builtin_inff(), 0.0f, 1.0f)));
}

TEST(exp_of_f32) {
  const auto error = [](f32 x) { return ulps32(exp32(x), std::exp((long double)x)); };
  const f64 worst = largest_ulps(-87.25f, 88.7f, 1'000'000, error);
  const f64 near_zero = largest_ulps(-0.4f, 0.4f, 300'000, error);
  test::note("largest error " + test::show(worst) + " ulp, near zero " + test::show(near_zero));
  CHECK(worst < 1.0);
  CHECK(near_zero < 1.0);
  CHECK_EQ(exp32(0.0f), 1.0f);
  CHECK_EQ(exp32(-0.0f), 1.0f);
  CHECK(std::isfinite(exp32(math_constants::exp_overflow)));
  CHECK(std::isinf(exp32(std::nextafterf(math_constants::exp_overflow, 100))));
  CHECK(std::isinf(std::exp(std::nextafterf(math_constants::exp_overflow, 100))));
  CHECK(exp32(math_constants::exp_underflow) >= 0x1p-126f);  // the smallest result is a normal number
  CHECK_EQ(exp32(std::nextafterf(math_constants::exp_underflow, -100)), 0.0f);
  CHECK_EQ(exp32(-__builtin_inff()), 0.0f);
  CHECK(std::isinf(exp32(__builtin_inff())));
  CHECK(std::isnan(exp32(__builtin_nanf(""))));
}

TEST(functions_of_exp) {
  const f64 tanh_worst =
      largest_ulps(-10.0f, 10.0f, 500'000, [](f32 x) { return ulps32(tanh32(x), std::tanh((long double)x)); });
  const f64 silu_worst = largest_ulps(-80.0f, 100.0f, 500'000,
                                      [](f32 x) { return ulps32(silu32(x), x / (1 + std::exp(-(long double)x))); });
  // Far below zero the rounding of the exponent's argument is amplified; where |gelu| matters it is a few ulp.
  const auto exact_gelu = [](long double x) {
    const long double u = 0.797884560802865355879892119868763737L * (x + 0.044715L * x * x * x);
    return x / (1 + std::exp(-2 * u));
  };
  const f64 gelu_worst = largest_ulps(-3.0f, 10.0f, 500'000, [&](f32 x) { return ulps32(gelu32(x), exact_gelu(x)); });
  const f64 gelu_absolute =
      largest_ulps(-20.0f, -3.0f, 200'000, [&](f32 x) { return f64(std::fabs(gelu32(x) - exact_gelu(x))); });
  test::note("tanh " + test::show(tanh_worst) + " ulp, silu " + test::show(silu_worst) + ", gelu " +
             test::show(gelu_worst) + " from -3 on, below it an absolute " + test::show(gelu_absolute));
  const auto exact_swiglu = [](long double g, long double u) {
    g = std::min(g, 7.0L), u = std::max(-7.0L, std::min(u, 7.0L));
    return g / (1 + std::exp(-1.702L * g)) * (u + 1);
  };
  const auto swiglu_error = [&](f32 x) { return ulps32(swiglu_clamped32(x, 0.75f), exact_swiglu(x, 0.75L)); };
  const f64 swiglu_worst = largest_ulps(-3.0f, 20.0f, 500'000, swiglu_error);
  const f64 swiglu_absolute = largest_ulps(-50.0f, -3.0f, 200'000, [&](f32 x) {
    return f64(std::fabs(swiglu_clamped32(x, 0.75f) - exact_swiglu(x, 0.75L)));
  });
  test::note("swiglu, clamped: " + test::show(swiglu_worst) + " ulp from -3 on, below it an absolute " +
             test::show(swiglu_absolute));
  CHECK(swiglu_worst < 10.0);
  CHECK(swiglu_absolute < 4e-8);
  for (const f32 up : {-100.0f, -7.0f, -1.0f, 7.0f, 100.0f})
    CHECK(ulps32(swiglu_clamped32(3.0f, up), exact_swiglu(3.0L, up)) < 8.0);
  CHECK(std::isnan(swiglu_clamped32(__builtin_nanf(""), 1.0f)));
  CHECK(std::isnan(swiglu_clamped32(1.0f, __builtin_nanf(""))));
  CHECK(tanh_worst < 2.0);
  CHECK(silu_worst < 3.0);
  CHECK(gelu_worst < 24.0);
  CHECK(gelu_absolute < 2e-8);
  CHECK_EQ(bit_cast<u32>(tanh32(-0.0f)), 0x80000000u);
  CHECK_EQ(tanh32(__builtin_inff()), 1.0f);
  CHECK_EQ(tanh32(-__builtin_inff()), -1.0f);
  CHECK_EQ(tanh32(1e-30f), 1e-30f);
  CHECK(std::isnan(tanh32(__builtin_nanf(""))));
  CHECK_EQ(silu32(0.0f), 0.0f);
  CHECK_EQ(silu32(200.0f), 200.0f);
  CHECK_EQ(gelu32(100.0f), 100.0f);
  CHECK_EQ(gelu32(1e20f), 1e20f);
  CHECK_EQ(gelu32(-1e20f), 0.0f);
}

TEST(functions_of_f64) {
  Random random(4);
  f64 exp_worst = 0, log_worst = 0, log_near_one = 0, pow_worst = 0, sine_worst = 0;
  for (u32 i = 0; i < 300'000; ++i) {
    const f64 unit = f64(random.next() >> 11) * 0x1p-53;
    const f64 x = unit * 1400 - 700;
    exp_worst = std::max(exp_worst, ulps64(exp64(x), std::exp((long double)x)));
    const f64 positive = std::ldexp(1 + unit, i32(random.below(2000)) - 1000);
    log_worst = std::max(log_worst, ulps64(log64(positive), std::log((long double)positive)));
    const f64 close = 1 + (unit - 0.5) * std::ldexp(1.0, -i32(random.below(50)));
    if (close != 1) log_near_one = std::max(log_near_one, ulps64(log64(close), std::log((long double)close)));
    // As rotary embeddings use it: base 10^4 .. 10^7 to an exponent in [-1, 0].
    const f64 base = 1e4 * std::pow(1000.0, unit), exponent = -f64(random.below(256)) / 256;
    const long double exact = std::pow((long double)base, (long double)exponent);
    pow_worst = std::max(pow_worst, f64(std::fabs(pow64(base, exponent) - exact) / exact));
    const f64 angle = (unit - 0.5) * std::ldexp(1.0, i32(random.below(31)));
    f64 s, k;
    sincos64(angle, &s, &k);
    sine_worst = std::max(sine_worst, f64(std::fabs(s - std::sin((long double)angle))));
    sine_worst = std::max(sine_worst, f64(std::fabs(k - std::cos((long double)angle))));
  }
  test::note("exp " + test::show(exp_worst) + " ulp, log " + test::show(log_worst) +
             " ulp (near 1: " + test::show(log_near_one) + "), pow relative " + test::show(pow_worst) +
             ", sin and cos absolute " + test::show(sine_worst));
  CHECK(exp_worst < 1.5);
  CHECK(log_worst < 1.5);
  CHECK(log_near_one < 2.0);
  CHECK(pow_worst < 1e-14);
  CHECK(sine_worst < 1e-15);
  CHECK_EQ(exp64(0), 1.0);
  CHECK(exp64(-746) == 0 && std::isinf(exp64(710)) && std::isnan(exp64(__builtin_nan(""))));
  CHECK(exp64(-745) > 0);
  CHECK_EQ(log64(1), 0.0);
  CHECK(std::isinf(log64(0)) && std::isnan(log64(-1)) && std::isinf(log64(__builtin_inf())));
  CHECK(std::fabs(log64(5e-324) - std::log(5e-324)) < 1e-12);
  f64 s, k;
  sincos64(0, &s, &k);
  CHECK(s == 0 && k == 1);
}

TEST(half_conversion) {
  u32 wrong = 0;
  for (u32 half = 0; half < 0x10000; ++half) {  // every half survives a round trip, and is what its bits say
    const f32 value = half_to_f32(u16(half));
    const u32 exponent = half >> 10 & 31, mantissa = half & 0x3ff;
    if (exponent == 31) {
      wrong += mantissa ? !std::isnan(value) : !std::isinf(value);
      wrong += mantissa ? (f32_to_half(value) & 0x7c00) != 0x7c00 || !(f32_to_half(value) & 0x200)
                        : f32_to_half(value) != half;
      continue;
    }
    const f64 magnitude =
        exponent == 0 ? std::ldexp(f64(mantissa), -24) : std::ldexp(f64(1024 + mantissa), i32(exponent) - 25);
    wrong += f64(value) != (half & 0x8000 ? -magnitude : magnitude) || f32_to_half(value) != half;
    // Between this half and the next: below, at and above the tie.
    if ((half & 0x7fff) == 0x7bff) continue;
    const f32 next = half_to_f32(u16(half + 1)), tie = (value + next) / 2;
    const f32 outwards = half & 0x8000 ? -1e9f : 1e9f;
    wrong += f32_to_half(std::nextafterf(tie, 0)) != half && f32_to_half(std::nextafterf(tie, 0)) != (half & 0x8000);
    wrong += f32_to_half(tie) != (half & 1 ? half + 1 : half);
    wrong += f32_to_half(std::nextafterf(tie, outwards)) != half + 1;
  }
  CHECK_EQ(wrong, 0);
  CHECK_EQ(f32_to_half(65519.996f), 0x7bff);
  CHECK_EQ(f32_to_half(65520.0f), 0x7c00);
  CHECK_EQ(f32_to_half(-1e30f), 0xfc00);
  CHECK_EQ(f32_to_half(1e-30f), 0);
  CHECK_EQ(bf16_to_f32(0x3f80), 1.0f);
}

TEST(float_mode_is_the_default) {
  const u32 flushing = 0x1f80 | 0x8040;  // subnormals to zero, as some libraries set it
  u32 before, after;
  __asm__ volatile("stmxcsr %0" : "=m"(before));
  __asm__ volatile("ldmxcsr %0" : : "m"(flushing));
  volatile f32 tiny = 0x1p-126f;
  volatile f32 flushed = tiny * 0.5f;  // volatile: stays between the changes of mode
  volatile f32 kept;
  {
    const FloatMode mode;
    kept = tiny * 0.5f;
  }
  __asm__ volatile("stmxcsr %0" : "=m"(after));
  __asm__ volatile("ldmxcsr %0" : : "m"(before));
  CHECK_EQ(f32(flushed), 0.0f);
  CHECK_EQ(f32(kept), 0x1p-127f);
  CHECK_EQ(after & 0x8040, 0x8040);
}
