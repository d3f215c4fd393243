#include "kernels/grids.h"

namespace flyball::kernels {

namespace {

using gguf::Type;

#include "kernels/grid_points.inc"

template <Type type, u32 values, u32 n>
constexpr GridPoints<n, values> expand(const u16 (&levels)[n]) {
  constexpr u32 bits = values == 8 ? 2 : 3;
  GridPoints<n, values> points = {};
  for (u32 i = 0; i < n; ++i) points.levels[i] = levels[i];
  for (u32 i = 0; i < n * values; ++i) {
    const u32 level = levels[i / values] >> (bits * (i % values)) & ((1u << bits) - 1);
    points.words[i / 4] |= u32(grid_levels(type).values[level]) << (8 * (i % 4));
  }
  return points;
}

u32 u16_at(const u8* p) { return p[0] | u32(p[1]) << 8; }
u32 u32_at(const u8* p) { return u16_at(p) | u16_at(p + 2) << 16; }

// Seven signs; the eighth makes their number even.
u8 even_signs(u32 signs) {
  signs &= 127;
  return u8(signs | u32(__builtin_parity(signs)) << 7);
}

// Of 32 values: four times seven signs, and a scale above them.
void read_signs_and_scale(const u8* p, u32 i, GridBlock* to) {
  const u32 word = u32_at(p);
  for (u32 l = 0; l < 4; ++l) to->signs[4 * i + l] = even_signs(word >> (7 * l));
  to->scales[i / 2] = u8(to->scales[i / 2] | word >> 28 << (4 * (i % 2)));
}

}  // namespace

constexpr GridPoints<256, 8> iq2_xxs_points = expand<Type::iq2_xxs, 8>(iq2_xxs_levels);
constexpr GridPoints<512, 8> iq2_xs_points = expand<Type::iq2_xs, 8>(iq2_xs_levels);
constexpr GridPoints<1024, 8> iq2_s_points = expand<Type::iq2_s, 8>(iq2_s_levels);
constexpr GridPoints<256, 4> iq3_xxs_points = expand<Type::iq3_xxs, 4>(iq3_xxs_levels);
constexpr GridPoints<512, 4> iq3_s_points = expand<Type::iq3_s, 4>(iq3_s_levels);
constexpr GridPoints<2048, 8> iq1_points = expand<Type::iq1_s, 8>(iq1_levels);

GridBlock read_grid_block(Type type, const u8* p) {
  GridBlock block = {};
  block.d = u16(u16_at(p));
  switch (type) {
    case Type::iq2_xxs:
      for (u32 i = 0; i < 8; ++i) {
        for (u32 l = 0; l < 4; ++l) block.point[4 * i + l] = p[2 + 8 * i + l];
        read_signs_and_scale(p + 2 + 8 * i + 4, i, &block);
      }
      break;
    case Type::iq2_xs:
      for (u32 i = 0; i < 32; ++i) {
        const u32 word = u16_at(p + 2 + 2 * i);
        block.point[i] = word & 511;
        block.signs[i] = even_signs(word >> 9);
      }
      memcpy(block.scales, p + 66, 8);
      break;
    case Type::iq2_s:
      for (u32 i = 0; i < 32; ++i) block.point[i] = u16(p[2 + i] | (p[66 + i / 4] >> (2 * (i % 4)) & 3u) << 8);
      memcpy(block.signs, p + 34, 32);
      memcpy(block.scales, p + 74, 8);
      break;
    case Type::iq3_xxs:
      for (u32 i = 0; i < 64; ++i) block.point[i] = p[2 + i];
      for (u32 i = 0; i < 8; ++i) read_signs_and_scale(p + 66 + 4 * i, i, &block);
      break;
    case Type::iq3_s:
      for (u32 i = 0; i < 64; ++i) block.point[i] = u16(p[2 + i] | (p[66 + i / 8] >> (i % 8) & 1u) << 8);
      memcpy(block.signs, p + 74, 32);
      memcpy(block.scales, p + 106, 4);
      break;
    case Type::iq1_s:
      for (u32 i = 0; i < 32; ++i) {
        const u32 high = u16_at(p + 34 + 2 * (i / 4));
        block.point[i] = u16(p[2 + i] | (high >> (3 * (i % 4)) & 7u) << 8);
        block.signs[i] = u8(high >> 15);
        if (i % 4 == 0) block.scales[i / 8] = u8(block.scales[i / 8] | (high >> 12 & 7u) << (i % 8));
      }
      break;
    case Type::iq1_m: {
      u32 d = 0;
      for (u32 i = 0; i < 32; ++i) {
        const u32 high = p[32 + i / 2] >> (4 * (i % 2)) & 15u;
        block.point[i] = u16(p[i] | (high & 7u) << 8);
        block.signs[i] = u8(high >> 3);
      }
      for (u32 i = 0; i < 4; ++i) {
        const u32 word = u16_at(p + 48 + 2 * i);
        d |= word >> 12 << (4 * i);
        block.scales[2 * i] = u8((word & 7u) | (word >> 3 & 7u) << 4);
        block.scales[2 * i + 1] = u8((word >> 6 & 7u) | (word >> 9 & 7u) << 4);
      }
      block.d = u16(d);
      break;
    }
    default: break;
  }
  return block;
}

}  // namespace flyball::kernels
