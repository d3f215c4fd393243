// The AMX table: its own code over emulated tiles on every processor with AVX-512, and the real one where there are tiles.
#include <cstddef>
#include <stdexcept>
#include <thread>

#include "amx_emulated.h"
#include "emulated_tiles.h"
#include "kernels/cpu.h"
#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

void tile_fault(const char* what) { throw std::runtime_error(what); }

namespace {

using namespace kernel_test;
using kernels::ActivationKind;
using kernels::Table;

bool usable(const Table& table) { return (table.features & ~kernels::cpu_features()) == 0; }

std::vector<const Table*> tables_with_tiles() {
  std::vector<const Table*> tables;
  for (const Table* table : {&amx_emulated_table, &kernels::amx_table}) {
    if (usable(*table)) tables.push_back(table);
  }
  return tables;
}

struct Case {
  u32 rows, cols, tokens;
  Fill fill;
};

// Rows, in two calls and with rows of y that begin anywhere, against the reference.
void compare(Type type, const Case& c, Random& random) {
  const PackedMatrix w(type, c.rows, c.cols, random_rows(type, c.rows, c.cols, random, c.fill));
  ActivationBuffers x(c.tokens, c.cols);
  for (u64 i = 0; i < x.x.size(); ++i) {
    x.x[i] = random.normal();
    if (c.fill == Fill::extreme) {
      x.x[i] = i / c.cols % 3 == 0 ? 3.0f : i / c.cols % 3 == 1 || random.below(2) ? -3.0f : 3.0f;
    }
  }
  if (c.fill == Fill::odd_halves) {
    for (u32 i = 0; i < c.cols; ++i) x.x[i] = 0;
    if (c.tokens > 1) x.x[c.cols] = random.below(2) ? __builtin_inff() : __builtin_nanf("");
  }
  kernels::scalar_table.quantize(x.a, kinds_for(c.cols), 0, c.tokens);
  const u64 stride = c.rows + random.below(18), shift = random.below(16);
  const u32 groups = w.matrix.groups(), middle = random.below(groups + 1);
  const auto run = [&](const Table& table) {
    std::vector<f32> y(shift + c.tokens * stride, -123.0f);
    table.matmul(w.matrix, x.a, 0, middle, y.data() + shift, stride);
    table.matmul(w.matrix, x.a, middle, groups, y.data() + shift, stride);
    return y;
  };
  const std::vector<f32> expected = run(kernels::scalar_table);
  for (const Table* table : tables_with_tiles()) {
    const std::vector<f32> y = run(*table);
    const u64 at = first_difference(y.data(), expected.data(), y.size());
    CHECK(!emulated_tiles_in_use());
    if (at == y.size()) continue;
    test::failed(__FILE__, __LINE__,
                 std::string(table->name) + " " + type_text(type) + " rows " + std::to_string(c.rows) + " cols " +
                     std::to_string(c.cols) + " tokens " + std::to_string(c.tokens) + ": " + test::show(y[at]) +
                     " is not " + test::show(expected[at]) + " at token " + std::to_string((at - shift) / stride) +
                     " row " + std::to_string((at - shift) % stride));
  }
}

void compare_all(Type type) {
  Random random(u64(type) + 1000);
  const bool small = kernels::activation_kind(type) == ActivationKind::q8_32;
  std::vector<u32> widths = small ? std::vector<u32>{1, 2, 3, 4, 5, 7, 8, 18} : std::vector<u32>{1, 2, 3, 5};
  for (u32& width : widths) width *= gguf::type_info(u32(type))->block_values;
  for (const Fill fill : {Fill::ordinary, Fill::extreme, Fill::odd_halves}) {
    for (const u32 rows : {1u, 15u, 16u, 17u, 50u}) compare(type, {rows, widths[3], 21, fill}, random);
    for (const u32 cols : widths) {
      for (const u32 tokens : {8u, 40u}) compare(type, {20, cols, tokens, fill}, random);
    }
    // Around the table's threshold, one slot, two, a panel of slots, and what is left over.
    for (const u32 tokens : {1u,  2u,  4u,  5u,  7u,  8u,  9u,  11u, 12u, 15u, 16u, 17u,  23u,  24u,
                             25u, 31u, 32u, 33u, 47u, 48u, 49u, 64u, 95u, 96u, 97u, 112u, 113u, 193u}) {
      compare(type, {18, widths[1], tokens, fill}, random);
    }
  }
}

// So wide that the activations are taken in several parts.
void compare_wide(Type type) {
  Random random(u64(type) + 2000);
  compare(type, {17, 16384, 200, Fill::ordinary}, random);
}

std::string fault_of(void (*f)(EmulatedTiles&)) {
  EmulatedTiles tiles;
  try {
    f(tiles);
  } catch (const std::runtime_error& fault) {
    return fault.what();
  }
  return "";
}

struct Config {
  u8 bytes[64] = {1};
  Config& tile(u32 i, u32 rows, u32 row_bytes) {
    bytes[16 + 2 * i] = u8(row_bytes), bytes[48 + i] = u8(rows);
    return *this;
  }
};

}  // namespace

TEST(amx_tables_that_run) {
  std::string names;
  for (const Table* table : tables_with_tiles()) names += std::string(table->name) + " ";
  test::note("tables with tiles: " + (names.empty() ? "none: needs AVX-512" : names));
}

// An operation added to the table must be here as well.
TEST(amx_table_is_complete) {
  for (const Table* table : {&amx_emulated_table, &kernels::amx_table}) {
    u64 words[sizeof(Table) / 8];
    std::memcpy(words, table, sizeof words);
    constexpr u64 may_be_none = offsetof(Table, in_file) / 8;
    for (u64 i = 0; i < sizeof(Table) / 8; ++i) CHECK(words[i] != 0 || i == may_be_none);
  }
}

TEST(tiles_of_any_shape_multiply) {
  Random random(5);
  for (u32 round = 0; round < 200; ++round) {
    const u32 m = 1 + random.below(16), n = 1 + random.below(16), k = 1 + random.below(16);
    const bool b_signed = random.below(2);
    u8 a[16][80], b[16][72];
    i32 c[16][20], expected[16][20];
    for (auto& row : a) {
      for (u8& byte : row) byte = u8(random.next());
    }
    for (auto& row : b) {
      for (u8& byte : row) byte = u8(random.next());
    }
    for (u32 i = 0; i < 16; ++i) {
      for (u32 j = 0; j < 20; ++j) expected[i][j] = c[i][j] = i32(random.next());
    }
    for (u32 i = 0; i < m; ++i) {
      for (u32 j = 0; j < n; ++j) {
        i64 sum = c[i][j];
        for (u32 l = 0; l < 4 * k; ++l) {
          const u8 code = b[l / 4][4 * j + l % 4];
          sum += i64(i8(a[i][l])) * (b_signed ? i64(i8(code)) : i64(code));
        }
        expected[i][j] = i32(u32(u64(sum)));
      }
    }
    EmulatedTiles tiles;
    tiles.load_config(Config().tile(0, m, 4 * n).tile(1, m, 4 * k).tile(2, k, 4 * n).bytes);
    CHECK(tiles.configured());
    tiles.load(0, c, sizeof c[0]);
    tiles.load(1, a, sizeof a[0]);
    tiles.load(2, b, sizeof b[0]);
    tiles.dot(0, 1, 2, b_signed);
    tiles.store(0, c, sizeof c[0]);
    CHECK(std::memcmp(c, expected, sizeof c) == 0);
    tiles.zero(0);
    tiles.store(0, expected, sizeof expected[0]);
    for (u32 i = 0; i < 16; ++i) {
      for (u32 j = 0; j < 20; ++j) CHECK_EQ(expected[i][j], i < m && j < n ? 0 : c[i][j]);
    }
    tiles.release();
    CHECK(!tiles.configured());
  }
}

TEST(wrong_tiles_fault) {
  CHECK_EQ(fault_of([](EmulatedTiles& t) { t.zero(0); }), "#UD: tiles are not configured");
  CHECK_EQ(fault_of([](EmulatedTiles& t) { t.load_config(Config().tile(0, 17, 64).bytes); }), "#GP: shape of a tile");
  CHECK_EQ(fault_of([](EmulatedTiles& t) { t.load_config(Config().tile(0, 16, 65).bytes); }), "#GP: shape of a tile");
  CHECK_EQ(fault_of([](EmulatedTiles& t) { t.load_config(Config().tile(0, 16, 0).bytes); }), "#GP: shape of a tile");
  CHECK_EQ(fault_of([](EmulatedTiles& t) { t.load_config(Config().tile(8, 1, 4).bytes); }), "#GP: no such tile");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             Config config;
             config.bytes[0] = 2;
             t.load_config(config.bytes);
           }),
           "#GP: no such palette");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             Config config;
             config.bytes[5] = 1;
             t.load_config(config.bytes);
           }),
           "#GP: reserved bytes of the configuration");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             t.load_config(Config().tile(0, 16, 64).bytes);
             t.zero(1);
           }),
           "#UD: this tile is not configured");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             t.load_config(Config().tile(0, 16, 64).tile(1, 16, 64).bytes);
             t.dot(0, 1, 1, true);
           }),
           "#UD: a tile named twice");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             t.load_config(Config().tile(0, 16, 64).tile(1, 16, 32).tile(2, 16, 64).bytes);
             t.dot(0, 1, 2, true);
           }),
           "#UD: shapes");
  CHECK_EQ(fault_of([](EmulatedTiles& t) {
             t.load_config(Config().tile(0, 16, 64).tile(1, 16, 30).tile(2, 7, 64).bytes);
             t.dot(0, 1, 2, true);
           }),
           "#UD: rows of part of an element");
}

TEST(tiles_belong_to_threads) {
  if (!usable(amx_emulated_table)) return;
  std::vector<std::thread> threads;
  for (u32 i = 0; i < 4; ++i) {
    threads.emplace_back([i] {
      Random random(i);
      compare(i % 2 ? Type::q4_0 : Type::q4_k, {40, 512, 30, Fill::ordinary}, random);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

#define AMX_TEST(type)                                 \
  TEST(amx_matmul_##type) { compare_all(Type::type); } \
  TEST(amx_matmul_##type##_wide) { compare_wide(Type::type); }

AMX_TEST(q4_0)
AMX_TEST(q4_1)
AMX_TEST(q5_0)
AMX_TEST(q5_1)
AMX_TEST(q8_0)
AMX_TEST(q2_k)
AMX_TEST(q3_k)
AMX_TEST(q4_k)
AMX_TEST(q5_k)
AMX_TEST(q6_k)
AMX_TEST(iq4_nl)
AMX_TEST(iq4_xs)
AMX_TEST(mxfp4)
AMX_TEST(iq3_xxs)
AMX_TEST(iq3_s)
AMX_TEST(iq2_xxs)
AMX_TEST(iq2_xs)
AMX_TEST(iq2_s)
AMX_TEST(iq1_s)
AMX_TEST(iq1_m)
AMX_TEST(tq1_0)
AMX_TEST(tq2_0)
AMX_TEST(nvfp4)
AMX_TEST(q1_0)
AMX_TEST(q2_0)

TEST(amx_matmul_of_floats) {
  for (const Type type : {Type::f32, Type::f16, Type::bf16}) {
    Random random{u64(type)};
    compare(type, {33, 130, 19, Fill::ordinary}, random);
  }
}
