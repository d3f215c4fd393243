// Every weight type on every table: equal bits to the scalar reference, and the reference against an evaluation in
// double.
#include <algorithm>
#include <cmath>
#include <random>

#include "avx_vnni_emulated.h"
#include "kernels/cpu.h"
#include "kernels/scalar.h"
#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;
using kernels::ActivationKind;
using kernels::Table;

std::vector<f32> run(const Table& table, const kernels::Matrix& w, const kernels::Activations& x, u64 stride) {
  std::vector<f32> y(x.n_tokens * stride, -123.0f);
  // In two calls, so that a range that does not begin at 0 is seen too.
  const u32 groups = w.groups(), middle = groups / 3;
  table.matmul(w, x, 0, middle, y.data(), stride);
  table.matmul(w, x, middle, groups, y.data(), stride);
  return y;
}

// Those that this processor runs, and the AVX-VNNI table with an emulated instruction wherever it can run.
std::vector<const Table*> tables_to_compare() {
  const Span<const Table* const> usable = kernels::usable_tables();
  std::vector<const Table*> tables(usable.begin(), usable.end());
  if ((avx_vnni_emulated_table.features & ~kernels::cpu_features()) == 0) tables.push_back(&avx_vnni_emulated_table);
  return tables;
}

// Everything that the tables must agree on for one shape.
void compare_tables(Type type, u32 rows, u32 cols, u32 tokens, Fill fill, Random& random) {
  const std::vector<u8> bytes = random_rows(type, rows, cols, random, fill);
  const PackedMatrix w(type, rows, cols, bytes);
  ActivationBuffers x(tokens, cols);
  for (u64 i = 0; i < x.x.size(); ++i) {
    x.x[i] = random.normal();
    // All q at their limits: the same sign throughout for two tokens of three, so that sums reach theirs.
    if (fill == Fill::extreme) x.x[i] = i / cols % 3 == 0 ? 3.0f : i / cols % 3 == 1 || random.below(2) ? -3.0f : 3.0f;
  }
  if (fill == Fill::odd_halves && tokens > 1) {
    for (u32 i = 0; i < cols; ++i) x.x[i] = 0;                            // token 0: zeros
    x.x[cols] = random.below(2) ? __builtin_inff() : __builtin_nanf("");  // token 1: not finite
  }
  kernels::scalar_table.quantize(x.a, kinds_for(cols), 0, tokens);
  const u64 stride = rows + 3;
  const std::vector<f32> expected = run(kernels::scalar_table, w.matrix, x.a, stride);
  for (u32 t = 0; t < tokens; ++t) {
    for (u64 i = rows; i < stride; ++i) REQUIRE(expected[t * stride + i] == -123.0f);
  }
  const auto compare = [&](const Table& table, const kernels::Matrix& matrix, const char* from) {
    const std::vector<f32> y = run(table, matrix, x.a, stride);
    for (u32 t = 0; t < tokens; ++t) {
      const u64 at = first_difference(&y[t * stride], &expected[t * stride], matrix.rows);
      const bool kept =
          std::all_of(&y[t * stride] + matrix.rows, &y[t * stride] + stride, [](f32 v) { return v == -123; });
      if (at == matrix.rows && kept) {
        CHECK(true);
        continue;
      }
      test::failed(__FILE__, __LINE__,
                   std::string(table.name) + " " + type_text(type) + from + " rows " + std::to_string(matrix.rows) +
                       " cols " + std::to_string(cols) + " tokens " + std::to_string(tokens) + ": token " +
                       std::to_string(t) + " row " + std::to_string(at) +
                       (kept ? "" : ", or one that is written beyond the last"));
    }
  };
  for (const Table* table : tables_to_compare()) {
    compare(*table, w.matrix, "");
    kernels::Matrix as_in_file = {type, rows / 16 * 16, cols, 16 * bytes.size() / rows, bytes.data()};
    as_in_file.in_file = true;
    if ((table->in_file & kernels::type_bit(type)) != 0 && as_in_file.rows > 0)
      compare(*table, as_in_file, " in its file");
  }
}

std::vector<u32> widths(Type type) {
  switch (kernels::activation_kind(type)) {
    case ActivationKind::none: return {1, 7, 63, 64, 65, 130, 256};
    case ActivationKind::q8_32: break;
    case ActivationKind::q8_256: return {256, 512, 768, 1280};
  }
  std::vector<u32> blocks = {1, 2, 3, 7, 8, 9, 17};
  for (u32& n : blocks) n *= gguf::type_info(u32(type))->block_values;
  return blocks;
}

void compare_all(Type type) {
  Random random(u64(type) + 1);
  for (const Fill fill : {Fill::ordinary, Fill::extreme, Fill::odd_halves}) {
    for (const u32 rows : {1u, 15u, 16u, 17u, 33u, 100u}) compare_tables(type, rows, widths(type)[3], 3, fill, random);
    for (const u32 cols : widths(type)) compare_tables(type, 33, cols, 5, fill, random);
    for (const u32 tokens : {1u, 2u, 3u, 4u, 5u, 6u, 7u, 8u, 9u, 12u, 16u, 17u, 33u, 70u}) {
      compare_tables(type, 50, widths(type)[2], tokens, fill, random);
    }
  }
  // More than a panel meets, and a few, or one, of the next.
  for (const u32 tokens : {193u, 199u}) compare_tables(type, 17, widths(type)[0], tokens, Fill::ordinary, random);
}

// |y - exact| <= bound, where the bound follows from one rounding of at most half an ulp per operation of the chain.
void check_against_double(Type type) {
  Random random(u64(type) + 77);
  const ActivationKind kind = kernels::activation_kind(type);
  const u32 rows = 21, tokens = 3, cols = kind == ActivationKind::none ? 321 : 512;
  const std::vector<u8> bytes = random_rows(type, rows, cols, random, Fill::ordinary);
  const PackedMatrix w(type, rows, cols, bytes);
  ActivationBuffers x(tokens, cols);
  for (u64 i = 0; i < x.x.size(); ++i) x.x[i] = random.normal();
  kernels::scalar_table.quantize(x.a, kinds_for(cols), 0, tokens);
  const std::vector<f32> y = run(kernels::scalar_table, w.matrix, x.a, rows);
  const u64 row_bytes = bytes.size() / rows;
  std::vector<f32> weights(cols);
  f64 worst = 0;
  for (u32 r = 0; r < rows; ++r) {
    kernels::dequantize_row(type, bytes.data() + r * row_bytes, cols, weights.data());
    for (u32 t = 0; t < tokens; ++t) {
      f64 exact = 0, magnitude = 0;
      for (u32 k = 0; k < cols; ++k) {
        const u64 at = u64(t) * cols + k;
        f64 a = x.x[at];
        if (kind == ActivationKind::q8_32) a = f64(x.q32[at]) * x.d32[at / 32];
        if (kind == ActivationKind::q8_256) a = f64(x.q256[at]) * x.d256[at / 256];
        exact += f64(weights[k]) * a;
        magnitude += std::fabs(f64(weights[k]) * a);
      }
      // Roundings: the weight (dequantize_row), the scale product, int to float, and one per step of the chain. Minimum
      // and scale terms may each exceed their difference, at most by the ratio 32 for these random blocks.
      const u32 steps = (kind == ActivationKind::none ? cols : cols / 32 * 2) + 4;
      const f64 bound = magnitude * 32 * steps * 0x1p-24;
      const f64 error = std::fabs(exact - y[t * rows + r]);
      worst = std::max(worst, magnitude > 0 ? error / magnitude : 0);
      CHECK(error <= bound);
    }
  }
  test::note(type_text(type) + ": largest error " + test::show(worst) + " of the sum of magnitudes");
}

}  // namespace

TEST(kernel_tables_that_run) {
  std::string names;
  for (const Table* table : kernels::usable_tables()) names += std::string(table->name) + " ";
  test::note("tables: " + names + "of " + std::to_string(kernels::all_tables().size));
  const auto usable = kernels::usable_tables();
  CHECK_EQ(usable[usable.size - 1], &kernels::scalar_table);
  const auto all = kernels::all_tables();
  for (u64 i = 0; i + 1 < all.size; ++i) {
    const u64 needed = all[i + 1]->features & ~kernels::cpu_avx_vnni;  // without it, the list is another one
    CHECK_EQ(all[i]->features & needed, needed);
  }
  for (const Table* table : usable) CHECK_EQ(kernels::select_table(table->name).value(), table);
  CHECK_EQ(kernels::select_table("auto").value(), usable[0]);
  CHECK_EQ(kernels::select_table("").value(), usable[0]);
  CHECK_EQ(Str(kernels::select_table("word64").value()->name), Str("swar"));  // its name before
  CHECK(kernels::select_table("mmx").error().code == Code::invalid_argument);
}

TEST(kernel_probe_counts_its_multiply_adds) {
  for (const Table* table : kernels::usable_tables()) {
    const u64 one = table->probe(1);
    CHECK(one > 0);
    CHECK_EQ(table->probe(0), u64(0));
    CHECK_EQ(table->probe(1000), 1000 * one);
  }
}

#define MATMUL_TEST(type)                                 \
  TEST(kernel_matmul_##type) { compare_all(Type::type); } \
  TEST(kernel_matmul_##type##_double) { check_against_double(Type::type); }

MATMUL_TEST(f32)
MATMUL_TEST(f16)
MATMUL_TEST(bf16)
MATMUL_TEST(q4_0)
MATMUL_TEST(q4_1)
MATMUL_TEST(q5_0)
MATMUL_TEST(q5_1)
MATMUL_TEST(q8_0)
MATMUL_TEST(q2_k)
MATMUL_TEST(q3_k)
MATMUL_TEST(q4_k)
MATMUL_TEST(q5_k)
MATMUL_TEST(q6_k)
MATMUL_TEST(iq4_nl)
MATMUL_TEST(iq4_xs)
MATMUL_TEST(mxfp4)
MATMUL_TEST(iq3_xxs)
MATMUL_TEST(iq3_s)
MATMUL_TEST(iq2_xxs)
MATMUL_TEST(iq2_xs)
MATMUL_TEST(iq2_s)
MATMUL_TEST(iq1_s)
MATMUL_TEST(iq1_m)
MATMUL_TEST(tq1_0)
MATMUL_TEST(tq2_0)
MATMUL_TEST(nvfp4)
MATMUL_TEST(q1_0)
MATMUL_TEST(q2_0)

// Exponents near each other and far apart, canceling sums, ties, and all that is left to fma32.
TEST(kernel_fma_integer_has_the_bits_of_fma) {
  std::mt19937_64 random(9);
  u64 n_wrong = 0;
  const auto check = [&](i32 n, f32 d, f32 c) {
    const f32 expected = fma32(f32(n), d, c), got = kernels::swar::fma_integer(n, d, c);
    const bool same = bit_cast<u32>(expected) == bit_cast<u32>(got) || (expected != expected && got != got);
    if (!same && n_wrong++ < 5) CHECK_EQ(got, expected);
  };
  for (u32 i = 0; i < 4'000'000; ++i) {
    const u64 bits = random();
    const i32 n = i32(random() >> 32) >> (random() % 32);
    const f32 d = bit_cast<f32>(u32(bits)), c = bit_cast<f32>(u32(bits >> 32));
    check(n, d, c);
    const f32 near = bit_cast<f32>(0x3f000000u + u32(bits % 0x02000000u));
    check(n, near, f32(i64(random() % 4'000'001) - 2'000'000) / 64);
    check(n, near, -f32(n) * near);                   // all or nearly all cancels
    check(n, 0x1p-20f, f32(random() % 1024) + 0.5f);  // ties
    check(n, bit_cast<f32>(u32(bits % 0x01800000u)), bit_cast<f32>(u32(bits >> 32) % 0x01800000u));  // subnormals
  }
  for (const f32 d : {0.0f, -0.0f, 1.0f, -3.5f, 0x1p-126f, 0x1.fffffep127f, __builtin_inff(), __builtin_nanf("")}) {
    for (const f32 c : {0.0f, -0.0f, 1.0f, -1.0f, 0x1p-149f, 0x1.fffffep127f, -__builtin_inff()}) {
      for (const i32 n : {0, 1, -1, 1 << 24, (1 << 24) - 1, (1 << 24) + 1, i32(0x80000000u)}) check(n, d, c);
    }
  }
  CHECK_EQ(n_wrong, u64(0));
}
