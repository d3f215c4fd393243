// The packed layout of weight matrices: one for all tables, made at load time.
//
// Rows are taken in groups of 16 (padded with zero rows). A group is two planes, each aligned and padded to 64 bytes:
//   head plane  [blocks] x head_bytes     f16 d[16], for types with a minimum followed by f16 m[16] (dmin[16]);
//                                         MXFP4: u8 exponents [16]; NVFP4: u8 [2][16], of 16 values each. Q1_0, Q2_0: one
//                                         for four, for two blocks of 32
//   body plane  [blocks] x body_bytes     scales, bit masks, then "vectors"
// A vector is 64 bytes: byte [4 r + j] belongs to row r. That is one AVX-512 register for a dot product of 4 values of
// 16 rows with a broadcast of 4 activations, and one row of an AMX B tile. So the permutation is 4-byte granular. A
// mask is a u64 whose bit [4 r + j] belongs to row r, byte j of a vector.
//
//   Q4_0 Q4_1 IQ4_NL MXFP4
//                      4 vectors c: byte = qs[4c+j], low nibble value 4c+j, high nibble value 16+4c+j
//   NVFP4              4 vectors c: byte = qs[4c+j], low nibble value 16(c/2)+4(c%2)+j, high nibble that plus 8
//   Q1_0               8 masks v: value 4v+j
//   Q2_0               2 vectors c: byte = values 4c+j, 8+4c+j, 16+4c+j, 24+4c+j, two bits each from the lowest
//   Q5_0 Q5_1          8 masks v: fifth bit of value 4v+j; then 4 vectors as Q4_0
//   Q8_0               8 vectors c: q[4c+j], signed
//   Q4_K               3 planes u32[16]: the 12 scale bytes of each row; 32 vectors (p 0..3, c 0..7): qs[32p+4c+j],
//                      low nibble value 4c+j of sub-block 2p, high nibble of sub-block 2p+1
//   Q5_K               as Q4_K with 64 masks (sub-block s 0..7, c 0..7) between: fifth bit of value 4c+j of sub-block s
//   Q6_K               i8 scales [16 sub-blocks][16 rows]; ql 32 vectors (half n, i 0..15): ql[64n+4i+j];
//                      qh 16 vectors (n, i 0..7): qh[32n+4i+j]
//   Q2_K               u8 scales [16][16]; 16 vectors (n, c 0..7): qs[32n+4c+j]
//   Q3_K               i8 scales minus 32 [16][16]; 64 masks (n, shift s 0..3, c): bit 4n+s of hmask[4c+j];
//                      16 vectors as Q2_K
//   TQ2_0              16 vectors as Q2_K
//   TQ1_0              13 vectors c: qs[4c+j], then qh[j]
//   IQ4_XS             i8 scales minus 32 [8][16]; 32 vectors (sub-block b, c 0..3): qs[16b+4c+j], nibbles as Q4_0
//   of a grid          u8 scales [sub-blocks / 2][16], two nibbles; u8 numbers of points [n][16]; their bits from the
//                      eighth on, u16 [high_bits][n], bit r of row r; 64 masks v: the sign of value 4v+j, or (IQ1)
//                      u16 [n]: the shift up (kernels/grids.h)
//   F32 F16 BF16       body only: [column][16 rows]
#pragma once

#include "base/math.h"
#include "kernels/grids.h"

namespace flyball::kernels {

struct PackedShape {
  u32 block_values;
  u32 head_bytes;
  u32 body_bytes;
  u32 head_blocks = 1;  // that share a head
};

// Static, so that instruction-set files get their own copy.
static constexpr PackedShape packed_shape(gguf::Type type) {
  using gguf::Type;
  switch (type) {
    case Type::f32: return {1, 0, 64};
    case Type::f16:
    case Type::bf16: return {1, 0, 32};
    case Type::q4_0:
    case Type::iq4_nl: return {32, 32, 4 * 64};
    case Type::mxfp4: return {32, 16, 4 * 64};
    case Type::nvfp4: return {32, 32, 4 * 64};
    case Type::q1_0: return {32, 32, 8 * 8, 4};
    case Type::q2_0: return {32, 32, 2 * 64, 2};
    case Type::tq1_0: return {256, 32, 13 * 64};
    case Type::tq2_0: return {256, 32, 16 * 64};
    case Type::q4_1: return {32, 64, 4 * 64};
    case Type::q5_0: return {32, 32, 8 * 8 + 4 * 64};
    case Type::q5_1: return {32, 64, 8 * 8 + 4 * 64};
    case Type::q8_0: return {32, 32, 8 * 64};
    case Type::q2_k: return {256, 64, 16 * 16 + 16 * 64};
    case Type::q3_k: return {256, 32, 16 * 16 + 64 * 8 + 16 * 64};
    case Type::q4_k: return {256, 64, 3 * 64 + 32 * 64};
    case Type::q5_k: return {256, 64, 3 * 64 + 64 * 8 + 32 * 64};
    case Type::q6_k: return {256, 32, 16 * 16 + 32 * 64 + 16 * 64};
    case Type::iq4_xs: return {256, 32, 8 * 16 + 32 * 64};
    case Type::iq3_xxs:
    case Type::iq3_s:
    case Type::iq2_xxs:
    case Type::iq2_xs:
    case Type::iq2_s:
    case Type::iq1_s:
    case Type::iq1_m: return {256, 32, grid_of(type).body_bytes()};
  }
  return {1, 0, 0};
}

static constexpr u64 head_plane_bytes(gguf::Type type, u32 cols) {
  const PackedShape shape = packed_shape(type);
  return (u64(cols) / shape.block_values / shape.head_blocks * shape.head_bytes + 63) / 64 * 64;
}

// Where the head of block b is in the head plane.
static constexpr u64 head_at(gguf::Type type, u32 b) {
  return u64(b / packed_shape(type).head_blocks) * packed_shape(type).head_bytes;
}

static constexpr u64 body_plane_bytes(gguf::Type type, u32 cols) {
  const PackedShape shape = packed_shape(type);
  return (u64(cols) / shape.block_values * shape.body_bytes + 63) / 64 * 64;
}

// How many scales a block of 32 has: the parts of its dot product that are accumulated one by one.
static constexpr u32 scale_parts(gguf::Type type) { return type == gguf::Type::nvfp4 ? 2 : 1; }

// The values of the 4-bit codes of IQ4_NL, IQ4_XS, MXFP4 and NVFP4, each plus `offset`. The last two's are numbers with two bits of
// exponent and one of fraction, doubled.
struct Codebook {
  alignas(16) i8 values[16];
};
static constexpr bool has_codebook(gguf::Type type) {
  using gguf::Type;
  return type == Type::iq4_nl || type == Type::iq4_xs || type == Type::mxfp4 || type == Type::nvfp4;
}
static constexpr Codebook codebook(gguf::Type type, i32 offset = 0) {
  constexpr Codebook iq4 = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};
  constexpr Codebook fp4 = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}};
  const bool floats = type == gguf::Type::mxfp4 || type == gguf::Type::nvfp4;
  Codebook book = floats ? fp4 : iq4;
  for (i8& value : book.values) value = i8(value + offset);
  return book;
}

// Types whose codes are one more than their values: -1, 0, 1 (and 2 of Q2_0; of Q1_0 never 0).
static constexpr bool is_one_more(gguf::Type type) {
  using gguf::Type;
  return type == Type::q1_0 || type == Type::q2_0 || type == Type::tq1_0 || type == Type::tq2_0;
}

// TQ1_0 has five digits in a byte: values 4v .. 4v+3 are in vector ternary_vector(v), the digit after as many as this
// power of three says.
static constexpr u32 ternary_vector(u32 v) { return v < 40 ? v % 8 : v < 60 ? 8 + v % 4 : 12; }
static constexpr u32 ternary_power(u32 v) {
  constexpr u32 powers[5] = {1, 3, 9, 27, 81};
  return powers[v < 40 ? v / 8 : v < 60 ? (v - 40) / 4 : v - 60];
}

// MXFP4's scale for the exponent e: 2^(e - 128), half of the standard's, since its codes are doubled. 255 is NaN. The
// difference is exact: it halves x, and makes NaN of infinity.
static inline f32 exponent_scale(u8 e) {
  const f32 x = bit_cast<f32>(max(u32(e) << 23, 1u << 22));
  return x - 0.5f * x;
}

// NVFP4's scale, half of the standard's as well: four bits of exponent, of bias 7, and three of fraction. Its packed form
// has no sign and no NaN, which the file writes for zero.
static constexpr u8 packed_fraction_scale(u8 s) { return s == 0x7f ? 0 : s & 0x7f; }
static inline f32 fraction_scale(u8 packed) { return half_to_f32(u16(packed << 7)) * 128; }

}  // namespace flyball::kernels
