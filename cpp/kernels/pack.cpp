// Packing runs once per load over all weights, so it moves 4-byte words (SSE2, the baseline) and never single values.
#include "kernels/pack.h"

#include <emmintrin.h>

#include "kernels/kernels.h"

namespace flyball::kernels {

namespace {

using gguf::Type;

// The same block of 16 rows of a tensor; rows past the end point to a block of zeros.
struct BlockRows {
  const u8* row[group_rows];
};

u32 load_u32(const u8* from) {
  u32 word;
  memcpy(&word, from, 4);
  return word;
}

// `n_vectors` vectors from bytes [offset, offset + 4 n_vectors) of each row's block.
void pack_vectors(const BlockRows& rows, u32 offset, u32 n_vectors, u8* to) {
  u32 v = 0;
  for (; v + 4 <= n_vectors; v += 4) {
    for (u32 r = 0; r < group_rows; r += 4) {  // 4 x 4 words, transposed
      const u32 at = offset + 4 * v;
      const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row[r] + at));
      const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row[r + 1] + at));
      const __m128i c = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row[r + 2] + at));
      const __m128i d = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows.row[r + 3] + at));
      const __m128i ab_low = _mm_unpacklo_epi32(a, b), ab_high = _mm_unpackhi_epi32(a, b);
      const __m128i cd_low = _mm_unpacklo_epi32(c, d), cd_high = _mm_unpackhi_epi32(c, d);
      u8* out = to + 64 * v + 4 * r;
      _mm_store_si128(reinterpret_cast<__m128i*>(out), _mm_unpacklo_epi64(ab_low, cd_low));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 64), _mm_unpackhi_epi64(ab_low, cd_low));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 128), _mm_unpacklo_epi64(ab_high, cd_high));
      _mm_store_si128(reinterpret_cast<__m128i*>(out + 192), _mm_unpackhi_epi64(ab_high, cd_high));
    }
  }
  for (; v < n_vectors; ++v) {
    for (u32 r = 0; r < group_rows; ++r) memcpy(to + 64 * v + 4 * r, rows.row[r] + offset + 4 * v, 4);
  }
}

// f16 [16] from bytes [offset, offset + 2) of each row's block.
void pack_halves(const BlockRows& rows, u32 offset, u8* to) {
  for (u32 r = 0; r < group_rows; ++r) memcpy(to + 2 * r, rows.row[r] + offset, 2);
}

// [n][16] from n single bytes per row.
void pack_bytes(const BlockRows& rows, u32 offset, u32 n, u8* to) {
  for (u32 r = 0; r < group_rows; ++r) {
    for (u32 i = 0; i < n; ++i) to[group_rows * i + r] = rows.row[r][offset + i];
  }
}

// Masks of bits 0..7 of the bytes of one vector; mask of bit b goes to masks[b * stride].
void pack_vector_masks(const u8* vector, u64* masks, u32 stride) {
  __m128i words[4];
  for (u32 i = 0; i < 4; ++i) words[i] = _mm_load_si128(reinterpret_cast<const __m128i*>(vector + 16 * i));
  for (u32 bit = 8; bit-- > 0;) {  // the top bit of each byte is what movemask takes; then move the next one up
    u64 mask = 0;
    for (u32 i = 0; i < 4; ++i) {
      mask |= u64(u32(_mm_movemask_epi8(words[i]))) << (16 * i);
      words[i] = _mm_add_epi8(words[i], words[i]);
    }
    masks[bit * stride] = mask;
  }
}

void pack_bit_masks(const BlockRows& rows, u32 offset, u8* to) {
  u64 masks[8] = {};
  for (u32 r = 0; r < group_rows; ++r) {
    const u32 bits = load_u32(rows.row[r] + offset);
    for (u32 v = 0; v < 8; ++v) masks[v] |= u64(bits >> (4 * v) & 15u) << (4 * r);
  }
  memcpy(to, masks, sizeof masks);
}

void pack_k_scales(const BlockRows& rows, u32 offset, u8* to) {
  for (u32 r = 0; r < group_rows; ++r) {
    for (u32 w = 0; w < 3; ++w) memcpy(to + 64 * w + 4 * r, rows.row[r] + offset + 4 * w, 4);
  }
}

void pack_q3_scales(const BlockRows& rows, u32 offset, u8* to) {
  for (u32 r = 0; r < group_rows; ++r) {
    const u8* s = rows.row[r] + offset;
    for (u32 i = 0; i < 16; ++i) {
      const u32 low = i < 8 ? s[i] & 15u : s[i - 8] >> 4;
      const u32 high = s[8 + i % 4] >> (2 * (i / 4)) & 3u;
      to[group_rows * i + r] = u8(i32(low | high << 4) - 32);
    }
  }
}

void pack_iq4_xs_scales(const BlockRows& rows, u8* to) {
  for (u32 r = 0; r < group_rows; ++r) {
    const u8* block = rows.row[r];
    const u32 high = u32(block[2]) | u32(block[3]) << 8;
    for (u32 i = 0; i < 8; ++i) {
      const u32 scale = (block[4 + i / 2] >> (4 * (i % 2)) & 15u) | (high >> (2 * i) & 3u) << 4;
      to[group_rows * i + r] = u8(i32(scale) - 32);
    }
  }
}

// The four values of two bits in a byte, a byte each.
u32 spread_pairs(u32 byte) { return (byte | byte << 6 | byte << 12 | byte << 18) & 0x03030303u; }

void pack_q2_0(const BlockRows& rows, u8* body) {
  for (u32 r = 0; r < group_rows; ++r) {
    for (u32 c = 0; c < 4; ++c) {  // vectors of two blocks
      const u8* from = rows.row[r] + 2 + 8 * (c / 2) + c % 2;
      u32 word = 0;
      for (u32 k = 0; k < 4; ++k) word |= spread_pairs(from[2 * k]) << (2 * k);
      memcpy(body + 64 * c + 4 * r, &word, 4);
    }
  }
}

void pack_grid(Type type, const BlockRows& rows, u8* head, u8* body) {
  const Grid grid = grid_of(type);
  u64 signs[64] = {};
  u16 bits[4][32 * 2] = {};  // of the numbers from the eighth on, then the shifts
  for (u32 r = 0; r < group_rows; ++r) {
    const GridBlock block = read_grid_block(type, rows.row[r]);
    memcpy(head + 2 * r, &block.d, 2);
    for (u32 i = 0; i < 128 / grid.sub_values; ++i) body[group_rows * i + r] = block.scales[i];
    for (u32 i = 0; i < grid.n; ++i) {
      body[grid.numbers() + group_rows * i + r] = u8(block.point[i]);
      for (u32 b = 0; b < grid.high_bits; ++b) bits[b][i] |= u16((block.point[i] >> (8 + b) & 1u) << r);
      if (grid.shifted) bits[grid.high_bits][i] |= u16((~block.signs[i] & 1u) << r);
    }
    for (u32 v = 0; v < 64; ++v) signs[v] |= u64(block.signs[v / 2] >> (4 * (v % 2)) & 15u) << (4 * r);
  }
  u8* to = body + grid.highs();
  const u32 n_planes = grid.high_bits + grid.shifted;
  for (u32 b = 0; b < n_planes; ++b) memcpy(to + 2 * grid.n * b, bits[b], 2 * grid.n);
  if (!grid.shifted) memcpy(body + grid.signs(), signs, sizeof signs);
}

// One block of 16 rows: its head and its body. Offsets are those of the file's block structs.
void pack_block(Type type, const BlockRows& rows, u8* head, u8* body) {
  switch (type) {
    case Type::q4_0:
    case Type::iq4_nl:
      pack_halves(rows, 0, head);
      pack_vectors(rows, 2, 4, body);
      break;
    case Type::mxfp4:
      pack_bytes(rows, 0, 1, head);
      pack_vectors(rows, 1, 4, body);
      break;
    case Type::nvfp4:
      for (u32 r = 0; r < group_rows; ++r) {
        for (u32 i = 0; i < 4; ++i) head[group_rows * i + r] = packed_fraction_scale(rows.row[r][i]);
      }
      pack_vectors(rows, 4, 8, body);
      break;
    case Type::q1_0:
      pack_halves(rows, 0, head);
      for (u32 b = 0; b < 4; ++b) pack_bit_masks(rows, 2 + 4 * b, body + 64 * b);
      break;
    case Type::q2_0:
      pack_halves(rows, 0, head);
      pack_q2_0(rows, body);
      break;
    case Type::tq1_0:
      pack_halves(rows, 52, head);
      pack_vectors(rows, 0, 13, body);
      break;
    case Type::tq2_0:
      pack_halves(rows, 64, head);
      pack_vectors(rows, 0, 16, body);
      break;
    case Type::q4_1:
      pack_halves(rows, 0, head);
      pack_halves(rows, 2, head + 32);
      pack_vectors(rows, 4, 4, body);
      break;
    case Type::q5_0:
      pack_halves(rows, 0, head);
      pack_bit_masks(rows, 2, body);
      pack_vectors(rows, 6, 4, body + 64);
      break;
    case Type::q5_1:
      pack_halves(rows, 0, head);
      pack_halves(rows, 2, head + 32);
      pack_bit_masks(rows, 4, body);
      pack_vectors(rows, 8, 4, body + 64);
      break;
    case Type::q8_0:
      pack_halves(rows, 0, head);
      pack_vectors(rows, 2, 8, body);
      break;
    case Type::q2_k:
      pack_halves(rows, 80, head);
      pack_halves(rows, 82, head + 32);
      pack_bytes(rows, 0, 16, body);
      pack_vectors(rows, 16, 16, body + 256);
      break;
    case Type::q3_k: {
      pack_halves(rows, 108, head);
      pack_q3_scales(rows, 96, body);
      alignas(64) u8 hmask[8 * 64];
      u64 masks[64];
      pack_vectors(rows, 0, 8, hmask);
      for (u32 c = 0; c < 8; ++c) pack_vector_masks(hmask + 64 * c, masks + c, 8);
      memcpy(body + 256, masks, sizeof masks);
      pack_vectors(rows, 32, 16, body + 256 + 512);
      break;
    }
    case Type::q4_k:
      pack_halves(rows, 0, head);
      pack_halves(rows, 2, head + 32);
      pack_k_scales(rows, 4, body);
      pack_vectors(rows, 16, 32, body + 192);
      break;
    case Type::q5_k: {
      pack_halves(rows, 0, head);
      pack_halves(rows, 2, head + 32);
      pack_k_scales(rows, 4, body);
      alignas(64) u8 high[8 * 64];
      u64 masks[64];
      pack_vectors(rows, 16, 8, high);
      for (u32 c = 0; c < 8; ++c) pack_vector_masks(high + 64 * c, masks + c, 8);
      memcpy(body + 192, masks, sizeof masks);
      pack_vectors(rows, 48, 32, body + 192 + 512);
      break;
    }
    case Type::q6_k:
      pack_halves(rows, 208, head);
      pack_bytes(rows, 192, 16, body);
      pack_vectors(rows, 0, 32, body + 256);
      pack_vectors(rows, 128, 16, body + 256 + 2048);
      break;
    case Type::iq4_xs:
      pack_halves(rows, 0, head);
      pack_iq4_xs_scales(rows, body);
      pack_vectors(rows, 8, 32, body + 128);
      break;
    case Type::iq3_xxs:
    case Type::iq3_s:
    case Type::iq2_xxs:
    case Type::iq2_xs:
    case Type::iq2_s:
    case Type::iq1_s:
    case Type::iq1_m: pack_grid(type, rows, head, body); break;
    case Type::f32:
    case Type::f16:
    case Type::bf16: break;  // not blocks: pack_float_group
  }
}

template <class T>
void pack_float_group(const u8* rows, u32 n_rows, u32 cols, T* to) {
  memset(to, 0, u64(cols) * group_rows * sizeof(T));
  constexpr u32 tile = 32;  // columns whose packed lines stay in L1 while 16 rows write into them
  for (u32 first = 0; first < cols; first += tile) {
    const u32 last = min(first + tile, cols);
    for (u32 r = 0; r < n_rows; ++r) {
      const u8* row = rows + u64(r) * cols * sizeof(T);
      for (u32 k = first; k < last; ++k) memcpy(to + u64(k) * group_rows + r, row + u64(k) * sizeof(T), sizeof(T));
    }
  }
}

alignas(16) constexpr u8 zero_block[256] = {};

void pack_block_group(Type type, const u8* rows, u32 n_rows, u32 cols, u8* to) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  const PackedShape shape = packed_shape(type);
  const u32 n_blocks = cols / info.block_values, n_packed = info.block_values / shape.block_values;
  const u64 row_bytes = u64(n_blocks) * info.block_bytes;
  const u64 head_bytes = head_plane_bytes(type, cols);
  const u64 used = head_at(type, n_blocks * n_packed);
  u8* body = to + head_bytes;
  memset(to + used, 0, head_bytes - used);
  for (u32 b = 0; b < n_blocks; ++b) {
    BlockRows block;
    for (u32 r = 0; r < group_rows; ++r) {
      block.row[r] = r < n_rows ? rows + r * row_bytes + u64(b) * info.block_bytes : zero_block;
    }
    const u64 first = u64(b) * n_packed;
    pack_block(type, block, to + head_at(type, u32(first)), body + first * shape.body_bytes);
  }
}

}  // namespace

ActivationKind activation_kind(Type type) {
  switch (packed_shape(type).block_values) {
    case 32: return ActivationKind::q8_32;
    case 256: return ActivationKind::q8_256;
    default: return ActivationKind::none;
  }
}

void pack_block(Type type, const u8* first, u64 row_bytes, u8* head, u8* body) {
  BlockRows rows;
  for (u32 r = 0; r < group_rows; ++r) rows.row[r] = first + r * row_bytes;
  pack_block(type, rows, head, body);
}

u64 packed_group_bytes(Type type, u32 cols) { return head_plane_bytes(type, cols) + body_plane_bytes(type, cols); }

void pack_groups(Type type, const u8* rows, u32 n_rows, u32 cols, u32 group_begin, u32 group_end, u8* to) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  const u64 row_bytes = u64(cols) / info.block_values * info.block_bytes;
  const u64 group_bytes = packed_group_bytes(type, cols);
  for (u32 group = group_begin; group < group_end; ++group) {
    const u32 first = group * group_rows;
    const u32 n = n_rows > first ? min(n_rows - first, group_rows) : 0;
    const u8* from = rows + u64(first) * row_bytes;
    u8* out = to + u64(group - group_begin) * group_bytes;
    switch (type) {
      case Type::f32: pack_float_group(from, n, cols, reinterpret_cast<u32*>(out)); break;
      case Type::f16:
      case Type::bf16: {
        const u64 used = u64(cols) * group_rows * 2;
        pack_float_group(from, n, cols, reinterpret_cast<u16*>(out));
        memset(out + used, 0, group_bytes - used);
        break;
      }
      default: pack_block_group(type, from, n, cols, out); break;
    }
  }
}

}  // namespace flyball::kernels
