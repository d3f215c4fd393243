// Elementwise kernels, quantization and reductions: every table against the scalar reference, bit by bit.
#include <algorithm>
#include <cmath>

#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;
using kernels::ActivationKind;
using kernels::Table;

constexpr u32 lengths[] = {1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 64, 100, 257};

// Ordinary values, and all kinds of special ones.
std::vector<f32> values(u64 n, Random& random, bool special) {
  constexpr u32 odd[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x00800000,
                         0x7f7fffff, 0xff7fffff, 0x7f800000, 0xff800000, 0x7fc00000, 0x3f800000,
                         0xbf800000, 0x42b17217, 0xc2cff1b4, 0x3f200000};
  std::vector<f32> v(n);
  for (f32& x : v) {
    x = random.normal() * 3;
    if (special && random.below(4) == 0) x = bit_cast<f32>(odd[random.below(16)]);
    if (special && random.below(4) == 0) x = bit_cast<f32>(u32(random.next()));
  }
  return v;
}

void check_same(const Table& table, const char* what, u64 n, const f32* got, const f32* expected, u64 size) {
  const u64 at = first_difference(got, expected, size);
  if (at == size) return void(CHECK(true));
  test::failed(__FILE__, __LINE__,
               std::string(table.name) + " " + what + " n " + std::to_string(n) + " at " + std::to_string(at) + ": " +
                   test::show(got[at]) + " is not " + test::show(expected[at]));
}

// f(table, buffer) on a copy of `start` for each table; nothing beyond the buffer may be touched.
template <class Function>
void each_table(const char* what, const std::vector<f32>& start, u64 n, Function f) {
  std::vector<f32> expected = start;
  f(kernels::scalar_table, expected.data());
  for (const Table* table : kernels::usable_tables()) {
    std::vector<f32> got = start;
    f(*table, got.data());
    check_same(*table, what, n, got.data(), expected.data(), got.size());
  }
}

}  // namespace

TEST(kernel_elementwise) {
  Random random(5);
  for (const bool special : {false, true}) {
    for (const u32 n : lengths) {
      const std::vector<f32> a = values(n, random, special), b = values(n, random, special);
      std::vector<f32> y(n + 20, 7.0f);
      std::copy(a.begin(), a.end(), y.begin());
      each_table("add", y, n, [&](const Table& t, f32* p) { t.add(p, b.data(), n); });
      each_table("scale", y, n, [&](const Table& t, f32* p) { t.scale(p, 0.37f, n); });
      each_table("softcap", y, n, [&](const Table& t, f32* p) { t.softcap(p, 30.0f, n); });
      each_table("silu_mul", y, n, [&](const Table& t, f32* p) { t.silu_mul(p, b.data(), p, n); });
      each_table("mul", y, n, [&](const Table& t, f32* p) { t.mul(b.data(), p, n); });
      each_table("relu_squared", y, n, [&](const Table& t, f32* p) { t.relu_squared(p, n); });
      each_table("silu", y, n, [&](const Table& t, f32* p) { t.silu(p, n); });
      each_table("sigmoid_mul", y, n, [&](const Table& t, f32* p) { t.sigmoid_mul(b.data(), p, n); });
      each_table("gelu_mul", y, n, [&](const Table& t, f32* p) { t.gelu_mul(p, b.data(), p, n); });
      each_table("swiglu_clamped", y, n, [&](const Table& t, f32* p) { t.swiglu_clamped(p, b.data(), p, n); });
      each_table("rms_norm", y, n, [&](const Table& t, f32* p) { t.rms_norm(p, b.data(), 1e-6f, n, p); });
      each_table("sum_exp", y, n, [&](const Table& t, f32* p) { p[0] = t.sum_exp(a.data(), 2.5f, n); });
    }
  }
}

TEST(kernel_rope) {
  Random random(6);
  for (const bool neox : {false, true}) {
    for (const u32 n_rot : {2u, 4u, 6u, 16u, 18u, 32u, 34u, 64u, 80u, 96u, 128u, 256u}) {
      std::vector<f32> cosines(n_rot / 2), sines(n_rot / 2);
      for (u32 i = 0; i < n_rot / 2; ++i) {
        const f64 angle = random.normal() * 10;
        cosines[i] = f32(std::cos(angle)), sines[i] = f32(std::sin(angle));
      }
      const std::vector<f32> start = values(n_rot + 20, random, false);
      each_table("rope", start, n_rot,
                 [&](const Table& t, f32* p) { t.rope(p, cosines.data(), sines.data(), n_rot, neox); });
      std::vector<f32> y = start;
      kernels::scalar_table.rope(y.data(), cosines.data(), sines.data(), n_rot, neox);
      for (u32 i = 0; i < n_rot / 2; ++i) {
        const u32 a = neox ? i : 2 * i, b = neox ? i + n_rot / 2 : 2 * i + 1;
        CHECK(std::fabs(f64(start[a]) * cosines[i] - f64(start[b]) * sines[i] - y[a]) <= 1e-5);
        CHECK(std::fabs(f64(start[a]) * sines[i] + f64(start[b]) * cosines[i] - y[b]) <= 1e-5);
      }
    }
  }
}

// The whole range of exp, and of what is made of it, on a dense sample of all floats.
TEST(kernel_functions_dense) {
  constexpr u32 n = 1 << 14;
  std::vector<f32> x(n), ones(n, 1.0f);
  u64 compared = 0;
  for (u64 bits = 0; bits < (u64(1) << 32); bits += u64(n) * 4099) {
    for (u32 i = 0; i < n; ++i) x[i] = bit_cast<f32>(u32(bits + u64(i) * 4099));
    each_table("silu", x, n, [&](const Table& t, f32* p) { t.silu_mul(p, ones.data(), p, n); });
    each_table("gelu", x, n, [&](const Table& t, f32* p) { t.gelu_mul(p, ones.data(), p, n); });
    each_table("swiglu", x, n, [&](const Table& t, f32* p) { t.swiglu_clamped(p, ones.data(), p, n); });
    each_table("swiglu, up", x, n, [&](const Table& t, f32* p) { t.swiglu_clamped(ones.data(), p, p, n); });
    each_table("tanh", x, n, [&](const Table& t, f32* p) { t.softcap(p, 1.0f, n); });
    each_table("exp", x, n, [&](const Table& t, f32* p) {
      for (u32 i = 0; i + 16 <= n; i += 16)
        p[i] = t.sum_exp(x.data() + i, 0.0f, 1), p[i + 1] = t.sum_exp(x.data() + i, 1.5f, 16);
    });
    compared += n;
  }
  test::note(std::to_string(compared) + " values a function and table");
}

TEST(kernel_rms_norm_value) {
  Random random(8);
  const u32 n = 300;
  const std::vector<f32> x = values(n, random, false), w = values(n, random, false);
  std::vector<f32> y(n);
  kernels::scalar_table.rms_norm(x.data(), w.data(), 1e-5f, n, y.data());
  f64 squares = 0;
  for (const f32 v : x) squares += f64(v) * v;
  for (u32 i = 0; i < n; ++i) {
    const f64 exact = x[i] / std::sqrt(squares / n + 1e-5) * w[i];
    CHECK(std::fabs(y[i] - exact) <= 1e-6 * std::fabs(exact));
  }
}

namespace {

void quantize_one(const Table& table, ActivationBuffers& x, u32 kinds) {
  std::memset(x.q32.data(), 0x55, x.q32.size());
  std::memset(x.q256.data(), 0x55, x.q256.size());
  table.quantize(x.a, kinds, 0, x.a.n_tokens);
}

// Block `b` of 32 of a buffer, with chosen contents.
void compare_quantized(const std::vector<f32>& source, u32 tokens, u32 cols) {
  ActivationBuffers expected(tokens, cols);
  std::memcpy(expected.x.data(), source.data(), source.size() * 4);
  quantize_one(kernels::scalar_table, expected, kinds_for(cols));
  for (const Table* table : kernels::usable_tables()) {
    ActivationBuffers got(tokens, cols);
    std::memcpy(got.x.data(), source.data(), source.size() * 4);
    quantize_one(*table, got, kinds_for(cols));
    CHECK(std::memcmp(got.q32.data(), expected.q32.data(), expected.q32.size()) == 0);
    CHECK_EQ(first_difference(got.d32.data(), expected.d32.data(), source.size() / 32), source.size() / 32);
    CHECK(std::memcmp(got.sum32.data(), expected.sum32.data(), source.size() / 32 * 4) == 0);
    if (cols % 256 != 0) continue;
    CHECK(std::memcmp(got.q256.data(), expected.q256.data(), expected.q256.size()) == 0);
    CHECK_EQ(first_difference(got.d256.data(), expected.d256.data(), source.size() / 256), source.size() / 256);
    CHECK(std::memcmp(got.sum16.data(), expected.sum16.data(), source.size() / 16 * 4) == 0);
  }
}

}  // namespace

TEST(kernel_quantize_tables) {
  Random random(9);
  for (const u32 cols : {32u, 96u, 256u, 768u}) {
    for (const bool special : {false, true}) {
      for (u32 repeat = 0; repeat < 20; ++repeat)
        compare_quantized(values(3 * cols, random, special && repeat % 2), 3, cols);
    }
  }
  // Every magnitude, from the smallest subnormal on: one exponent a block.
  for (i32 exponent = -149; exponent <= 127; ++exponent) {
    std::vector<f32> x(256);
    for (f32& v : x) v = f32(std::ldexp(f64(random.uniform() * 2), exponent));
    compare_quantized(x, 1, 256);
  }
}

TEST(kernel_quantize_values) {
  ActivationBuffers x(1, 256);
  const u32 kinds = kinds_for(256);
  for (u32 i = 0; i < 256; ++i) x.x[i] = 0;
  // amax 127 makes the scale 1: halves are ties, and go to even.
  x.x[0] = -127.0f, x.x[1] = 0.5f, x.x[2] = 1.5f, x.x[3] = -2.5f, x.x[4] = 126.5f, x.x[5] = -0.5f;
  quantize_one(kernels::scalar_table, x, kinds);
  const i8 expected[] = {-127, 0, 2, -2, 126, 0};
  for (u32 i = 0; i < 6; ++i) CHECK_EQ(x.q32[i], expected[i]), CHECK_EQ(x.q256[i], expected[i]);
  CHECK_EQ(x.d32[0], 1.0f);
  CHECK_EQ(x.d256[0], 1.0f);
  CHECK_EQ(x.sum32[0], -1);
  CHECK_EQ(x.sum16[0], -1);
  CHECK_EQ(x.d32[1], 0.0f);  // a block of zeros
  x.x[3] = __builtin_nanf("");
  quantize_one(kernels::scalar_table, x, kinds);
  CHECK(std::isnan(x.d32[0]) && std::isnan(x.d256[0]) && x.q32[0] == 0 && x.sum32[0] == 0);
  x.x[3] = -__builtin_inff();
  quantize_one(kernels::scalar_table, x, kinds);
  CHECK(std::isnan(x.d32[0]) && x.d32[1] == 0.0f && x.q256[4] == 0);
  x.x[3] = 0, x.x[0] = 1e-40f, x.x[1] = x.x[2] = x.x[4] = x.x[5] = 0;  // 127 / amax overflows
  quantize_one(kernels::scalar_table, x, kinds);
  CHECK(x.q32[0] == 0 && x.d32[0] == 1e-40f / 127.0f);
}
