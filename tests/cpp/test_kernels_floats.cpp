// What some tables compute without an instruction for it: fused multiply-adds, and halves from and to f32. Each through an
// operation that consists of little else.
#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;
using kernels::Table;

// a * b + c by a convolution of two taps: c * 1 + 0, which loses only the sign of a zero, then a * b.
struct Triples {
  std::vector<f32> a, b, c, ones;
  void add(f32 x, f32 y, f32 z) { a.push_back(x), b.push_back(y), c.push_back(z), ones.push_back(1.0f); }
  void check(const Table& table) const {
    const u64 n = a.size();
    const f32* const rows[] = {c.data(), b.data()};
    std::vector<f32> weights = ones, y(n), expected(n);
    weights.insert(weights.end(), a.begin(), a.end());
    table.convolve(rows, weights.data(), 2, n, y.data());
    for (u64 i = 0; i < n; ++i) expected[i] = fma32(a[i], b[i], c[i] + 0.0f);
    const u64 at = first_difference(y.data(), expected.data(), n);
    if (at == n) return void(CHECK(true));
    test::failed(__FILE__, __LINE__,
                 std::string(table.name) + ": " + test::show(a[at]) + " * " + test::show(b[at]) + " + " +
                     test::show(c[at]) + " gives " + test::show(y[at]) + ", not " + test::show(expected[at]));
  }
};

f32 any_float(Random& random) { return bit_cast<f32>(u32(random.next())); }
f32 scaled(f32 x, i32 power) { return f32(__builtin_ldexp(f64(x), power)); }

// Triples whose sums are near what a second rounding would get wrong.
Triples hard_triples(Random& random) {
  Triples t;
  constexpr u32 odd[] = {0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007fffff, 0x807fffff, 0x00800000,
                         0x80800000, 0x00800001, 0x3f800000, 0xbf800000, 0x3f800001, 0x7f7fffff, 0xff7fffff,
                         0x7f800000, 0xff800000, 0x7fc00000, 0x33800000, 0x1f800000, 0x9f800000};
  for (const u32 x : odd) {
    for (const u32 y : odd) {
      for (const u32 z : odd) t.add(bit_cast<f32>(x), bit_cast<f32>(y), bit_cast<f32>(z));
    }
  }
  for (u32 i = 0; i < 200'000; ++i) {
    t.add(any_float(random), any_float(random), any_float(random));
    const f32 x = 1.0f + f32(random.below(1 << 23)) * 0x1p-23f, y = 1.0f + f32(random.below(1 << 23)) * 0x1p-23f;
    const f32 sign = random.below(2) ? 1.0f : -1.0f;
    const i32 power = i32(random.below(200)) - 100;
    // Near each other, and with almost all canceled.
    t.add(x, y, sign * scaled(1.0f + f32(random.below(1 << 23)) * 0x1p-23f, i32(random.below(60)) - 30));
    t.add(x, y, bit_cast<f32>(bit_cast<u32>(-(x * y)) + random.below(5) - 2));
    // A float, half of its last place, and a rest far below the last place of a double.
    const f32 half = scaled(1.0f, power - 24), rest = sign * scaled(x, -30 - i32(random.below(60)));
    t.add(half, 1.0f + 0x1p-23f * f32(random.below(2)), sign * scaled(x, power));
    t.add(half, 1.0f, scaled(x, power));
    t.add(scaled(1.0f + rest, 0), half, scaled(y, power));
    // Products of 48 bits about half way: (2^12 + 1)(2^12 - 1) = 2^24 - 1.
    t.add(scaled(0x1.001p12f, power), scaled(0x1.ffep11f, -60), scaled(sign * y, power - 36));
    t.add(scaled(x, -12 - i32(random.below(8))), scaled(0x1p-12f, power), scaled(sign * y, power));
    // Sums at and below the smallest normal numbers, and beyond the largest.
    t.add(scaled(x, -75 - i32(random.below(20))), scaled(y, -52), sign * bit_cast<f32>(u32(random.below(0x01000000))));
    t.add(scaled(1.0f, -75), scaled(sign, -75), bit_cast<f32>(u32(random.below(0x01000000))));
    t.add(scaled(x, -75), scaled(sign, -76), bit_cast<f32>(0x00800000u + random.below(3) - 1));
    t.add(scaled(1.0f, 100), scaled(x, random.below(8)), sign * 0x1.fffffep127f);
    t.add(scaled(1.0f, 51), scaled(sign, 52), 0x1.fffffep127f);  // half of its last place
    t.add(scaled(0x1.fffffep0f, 51), scaled(sign, 51), 0x1.fffffep127f);
  }
  return t;
}

// A double's half way that the exact sum misses by less than a double sees: what rounding twice gets wrong.
u64 wrong_if_rounded_twice(const Triples& t) {
  u64 n = 0;
  for (u64 i = 0; i < t.a.size(); ++i) {
    const f32 twice = f32(f64(t.a[i]) * t.b[i] + f64(t.c[i]));
    n += !same_float(twice, fma32(t.a[i], t.b[i], t.c[i]));
  }
  return n;
}

}  // namespace

TEST(kernel_fused_multiply_adds_round_once) {
  Random random(31);
  Triples t = hard_triples(random);
  // c odd or even, half of its last place, and a bit that a double of the sum has no place for.
  for (u32 i = 0; i < 20'000; ++i) {
    const i32 power = i32(random.below(120)) - 60;
    const f32 c = scaled(1.0f + f32(random.below(1 << 23)) * 0x1p-23f, power) * (random.below(2) ? 1.0f : -1.0f);
    const f32 a = 1.0f + 0x1p-23f * f32(1 + random.below(3)), b = 1.0f - 0x1p-24f * f32(1 + random.below(7));
    // a * b = 1 + k 2^-24 - m 2^-47: at half a last place of c, its end is 2^-71 of c.
    t.add(scaled(a, power - 12), scaled(b, -12), c);
    t.add(scaled(1.0f + 0x1p-12f * f32(random.below(2)), power - 12), scaled(1.0f - 0x1p-12f, -12), c);
    t.add(scaled(1.0f + 0x1p-23f, power - 12), scaled(1.0f - 0x1p-23f, -12), c);
    // The same about the places of subnormal numbers.
    const f32 tiny = bit_cast<f32>(u32(random.below(0x00800000))) * (random.below(2) ? 1.0f : -1.0f);
    t.add(scaled(1.0f + 0x1p-23f, -75), scaled(1.0f - 0x1p-23f, -75), tiny);
    t.add(scaled(1.0f + 0x1p-20f, -75), scaled(1.0f, -75), tiny);
  }
  const u64 wrong = wrong_if_rounded_twice(t);
  CHECK(wrong > 10'000);
  test::note(std::to_string(t.a.size()) + " triples, of which " + std::to_string(wrong) + " see a second rounding");
  for (const Table* table : kernels::usable_tables()) t.check(*table);
}

TEST(kernel_all_halves_become_floats) {
  constexpr u32 n = 0x10000;
  std::vector<u8> bytes(n * 2);
  for (u32 half = 0; half < n; ++half) bytes[2 * half] = u8(half), bytes[2 * half + 1] = u8(half >> 8);
  const PackedMatrix w(Type::f16, n, 1, bytes);
  ActivationBuffers x(1, 1);
  x.x[0] = 1;
  std::vector<f32> expected(n);
  for (u32 half = 0; half < n; ++half) expected[half] = half_to_f32(u16(half)) + 0.0f;
  for (const Table* table : kernels::usable_tables()) {
    std::vector<f32> y(n);
    table->matmul(w.matrix, x.a, 0, w.matrix.groups(), y.data(), n);
    CHECK_EQ(first_difference(y.data(), expected.data(), n), u64(n));
  }
}

TEST(kernel_floats_become_halves) {
  Random random(32);
  constexpr u32 n = 1 << 16;
  std::vector<f32> values(n);
  for (u32 i = 0; i < n; ++i) {
    values[i] = any_float(random);
    // At, below and above what lies half way between two halves.
    const f32 half = half_to_f32(u16(random.below(0x7bff))), next = half_to_f32(u16(random.below(0x7bff)));
    if (i % 4 == 1) values[i] = half;
    if (i % 4 == 2) values[i] = bit_cast<f32>(bit_cast<u32>((half + next) / 2) + random.below(3) - 1);
    if (i % 4 == 3) {
      const u16 low = u16(random.below(0x7bff));
      const f32 tie = (half_to_f32(low) + half_to_f32(u16(low + 1))) / 2;
      values[i] = bit_cast<f32>((bit_cast<u32>(tie) + random.below(3) - 1) | u32(random.below(2)) << 31);
    }
  }
  for (const Table* table : kernels::usable_tables()) {
    std::vector<u16> halves(n);
    kernels::CacheHead cache;
    cache.value_dim = n;
    cache.values = halves.data();
    table->store_value(cache, 0, values.data());
    u64 wrong = 0;
    for (u32 i = 0; i < n; ++i) {
      const u16 expected = f32_to_half(values[i]);
      wrong += values[i] == values[i] ? halves[i] != expected : (halves[i] & 0x7fff) <= 0x7c00;
    }
    CHECK_EQ(wrong, u64(0));
  }
}

TEST(kernel_tables_by_processor) {
  using namespace kernels;
  const auto best = [](u64 features) { return Str(tables_for(features)[0]->name); };
  CHECK_EQ(best(0), Str("swar"));
  CHECK_EQ(best(cpu_sse41), Str("sse41"));
  CHECK_EQ(best(cpu_sse41 | cpu_f16c), Str("sse41"));            // Ivy Bridge
  CHECK_EQ(best(cpu_sse41 | cpu_f16c | cpu_fma), Str("sse41"));  // Piledriver
  CHECK_EQ(best(avx2_table.features), Str("avx2"));
  CHECK_EQ(best(avx_vnni_table.features), Str("avx_vnni"));
  CHECK_EQ(best(avx512_table.features), Str("avx512"));
  CHECK_EQ(best(avx512_table.features | cpu_avx_vnni), Str("avx512"));
  CHECK_EQ(best(amx_table.features), Str("amx"));
  for (const u64 features : {u64(0), cpu_sse41, avx2_table.features}) {
    const auto tables = tables_for(features);
    CHECK_EQ(tables[tables.size - 1], &scalar_table);
    for (const Table* table : tables) CHECK_EQ(table->features & ~features, u64(0));
  }
}
