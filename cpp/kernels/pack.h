// The packed layout of weight matrices: one for all tables, made at load time.
//
// Rows are taken in groups of 16 (padded with zero rows). A group is two planes, each aligned and padded to 64 bytes:
//   head plane  [blocks] x head_bytes     f16 d[16], for types with a minimum followed by f16 m[16] (dmin[16]);
//                                         MXFP4: u8 exponents [16]
//   body plane  [blocks] x body_bytes     scales, bit masks, then "vectors"
// A vector is 64 bytes: byte [4 r + j] belongs to row r. That is one AVX-512 register for a dot product of 4 values of
// 16 rows with a broadcast of 4 activations, and one row of an AMX B tile. So the permutation is 4-byte granular. A
// mask is a u64 whose bit [4 r + j] belongs to row r, byte j of a vector.
//
//   Q4_0 Q4_1 IQ4_NL MXFP4
//                      4 vectors c: byte = qs[4c+j], low nibble value 4c+j, high nibble value 16+4c+j
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
//   IQ4_XS             i8 scales minus 32 [8][16]; 32 vectors (sub-block b, c 0..3): qs[16b+4c+j], nibbles as Q4_0
//   of a grid          u8 scales [sub-blocks / 2][16], two nibbles; u8 numbers of points [n][16]; their bits from the
//                      eighth on, u16 [high_bits][n], bit r of row r; 64 masks v: the sign of value 4v+j, or (IQ1)
//                      u16 [n]: the shift up (kernels/grids.h)
//   F32 F16 BF16       body only: [column][16 rows]
#pragma once

#include "kernels/grids.h"

namespace flyball::kernels {

struct PackedShape {
  u32 block_values;
  u32 head_bytes;
  u32 body_bytes;
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
  return (u64(cols) / shape.block_values * shape.head_bytes + 63) / 64 * 64;
}

static constexpr u64 body_plane_bytes(gguf::Type type, u32 cols) {
  const PackedShape shape = packed_shape(type);
  return (u64(cols) / shape.block_values * shape.body_bytes + 63) / 64 * 64;
}

// The values of the 4-bit codes of IQ4_NL, IQ4_XS and MXFP4, each plus `offset`. MXFP4's are numbers with two bits of
// exponent and one of fraction, doubled.
struct Codebook {
  alignas(16) i8 values[16];
};
static constexpr bool has_codebook(gguf::Type type) {
  return type == gguf::Type::iq4_nl || type == gguf::Type::iq4_xs || type == gguf::Type::mxfp4;
}
static constexpr Codebook codebook(gguf::Type type, i32 offset = 0) {
  constexpr Codebook iq4 = {{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}};
  constexpr Codebook fp4 = {{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}};
  Codebook book = type == gguf::Type::mxfp4 ? fp4 : iq4;
  for (i8& value : book.values) value = i8(value + offset);
  return book;
}

// MXFP4's scale for the exponent e: 2^(e - 128), half of the standard's, since its codes are doubled. 255 is NaN. The
// difference is exact: it halves x, and makes NaN of infinity.
static inline f32 exponent_scale(u8 e) {
  const f32 x = bit_cast<f32>(max(u32(e) << 23, 1u << 22));
  return x - 0.5f * x;
}

}  // namespace flyball::kernels
