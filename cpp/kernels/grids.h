// Weights that are points of a grid: the file has the number of one of several hundred points for each 4 or 8 values,
// and their signs apart (IQ2, IQ3) or a shift of all eight (IQ1). Decoded where they are multiplied: a point's values are
// the bytes of one or two words of a table.
#pragma once

#include "gguf/types.h"

namespace flyball::kernels {

struct Grid {
  u32 n;           // points of a block of 256 values; 0: the type has none
  u32 high_bits;   // of a point's number, beyond eight
  u32 sub_values;  // that share a scale, 2 s + 1 with s of four bits
  i32 offset;      // of a code from its value
  f32 unit;        // of the block's scale
  bool shifted;    // IQ1: a value is 8 g + 1 or 8 g - 1, a word has 8 g + 15, and a block the shifts in place of signs
  constexpr u32 words() const { return 64 / n; }  // of a point

  // Where the parts of a packed body begin, after the nibbles of the scales.
  constexpr u32 numbers() const { return 128 / sub_values * 16; }
  constexpr u32 highs() const { return numbers() + 16 * n; }
  constexpr u32 signs() const { return highs() + 2 * high_bits * n; }
  constexpr u32 body_bytes() const { return signs() + (shifted ? 2 * n : 512); }
};

static constexpr Grid grid_of(gguf::Type type) {
  using gguf::Type;
  switch (type) {
    case Type::iq2_xxs: return {32, 0, 32, 64, 0.125f, false};
    case Type::iq2_xs: return {32, 1, 16, 64, 0.125f, false};
    case Type::iq2_s: return {32, 2, 16, 64, 0.125f, false};
    case Type::iq3_xxs: return {64, 0, 32, 64, 0.25f, false};
    case Type::iq3_s: return {64, 1, 32, 16, 1, false};
    case Type::iq1_s: return {32, 3, 32, 16, 0.125f, true};
    case Type::iq1_m: return {32, 3, 16, 16, 0.125f, true};
    default: return {0, 0, 0, 0, 1, false};
  }
}
static constexpr bool has_grid(gguf::Type type) { return grid_of(type).n != 0; }

// The points of a grid, twice: as the numbers of their values' levels, of two bits (three where a point has four values)
// from the lowest on, and as words of a byte a value. IQ1 has the points of 11 bits for both of its types.
template <u32 n, u32 values>
struct GridPoints {
  static constexpr u32 count = n;
  alignas(64) u16 levels[n];
  u32 words[n * values / 4];
};
extern const GridPoints<256, 8> iq2_xxs_points;
extern const GridPoints<512, 8> iq2_xs_points;
extern const GridPoints<1024, 8> iq2_s_points;
extern const GridPoints<256, 4> iq3_xxs_points;
extern const GridPoints<512, 4> iq3_s_points;
extern const GridPoints<2048, 8> iq1_points;

template <gguf::Type type>
static constexpr const auto& grid_points() {
  using gguf::Type;
  if constexpr (type == Type::iq2_xxs) return iq2_xxs_points;
  if constexpr (type == Type::iq2_xs) return iq2_xs_points;
  if constexpr (type == Type::iq2_s) return iq2_s_points;
  if constexpr (type == Type::iq3_xxs) return iq3_xxs_points;
  if constexpr (type == Type::iq3_s) return iq3_s_points;
  if constexpr (type == Type::iq1_s || type == Type::iq1_m) return iq1_points;
}

struct GridLevels {
  alignas(16) u8 values[16];
};
static constexpr GridLevels grid_levels(gguf::Type type) {
  using gguf::Type;
  if (type == Type::iq3_xxs) return {{4, 12, 20, 28, 36, 44, 52, 62}};
  if (type == Type::iq3_s) return {{1, 3, 5, 7, 9, 11, 13, 15}};
  if (grid_of(type).shifted) return {{7, 15, 23}};
  return {{8, 25, 43}};
}

// What a block in a file's layout says.
struct GridBlock {
  u16 d;          // f16
  u16 point[64];  // numbers
  u8 signs[32];   // bit j of i: value 8 i + j is negative; or bit 0 of i: values 8 i .. 8 i + 7 are shifted down
  u8 scales[8];   // nibbles, the lower first
};
GridBlock read_grid_block(gguf::Type type, const u8* block);

}  // namespace flyball::kernels
