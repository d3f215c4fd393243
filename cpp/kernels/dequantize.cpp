// Blocks in the file's own layout to f32, for embedding rows. Every product below is exact in f32 up to the last
// operation, so each value is the exact weight rounded once.
#include "base/math.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

namespace flyball::kernels {

namespace {

using gguf::Type;

f32 half_at(const u8* p) { return half_to_f32(u16(p[0] | p[1] << 8)); }

void dequantize_q4_0(const u8* p, f32* out) {
  const f32 d = half_at(p);
  for (u32 i = 0; i < 16; ++i) {
    out[i] = f32(i32(p[2 + i] & 15) - 8) * d;
    out[16 + i] = f32(i32(p[2 + i] >> 4) - 8) * d;
  }
}

void dequantize_q4_1(const u8* p, f32* out) {
  const f32 d = half_at(p), m = half_at(p + 2);
  for (u32 i = 0; i < 16; ++i) {
    out[i] = f32(p[4 + i] & 15) * d + m;
    out[16 + i] = f32(p[4 + i] >> 4) * d + m;
  }
}

u32 fifth_bits(const u8* p) { return p[0] | p[1] << 8 | p[2] << 16 | u32(p[3]) << 24; }

void dequantize_q5_0(const u8* p, f32* out) {
  const f32 d = half_at(p);
  const u32 high = fifth_bits(p + 2);
  for (u32 i = 0; i < 16; ++i) {
    out[i] = f32(i32((p[6 + i] & 15u) | (high >> i & 1u) << 4) - 16) * d;
    out[16 + i] = f32(i32((p[6 + i] >> 4) | (high >> (16 + i) & 1u) << 4) - 16) * d;
  }
}

void dequantize_q5_1(const u8* p, f32* out) {
  const f32 d = half_at(p), m = half_at(p + 2);
  const u32 high = fifth_bits(p + 4);
  for (u32 i = 0; i < 16; ++i) {
    out[i] = f32((p[8 + i] & 15u) | (high >> i & 1u) << 4) * d + m;
    out[16 + i] = f32((p[8 + i] >> 4) | (high >> (16 + i) & 1u) << 4) * d + m;
  }
}

void dequantize_q8_0(const u8* p, f32* out) {
  const f32 d = half_at(p);
  for (u32 i = 0; i < 32; ++i) out[i] = f32(i8(p[2 + i])) * d;
}

// 32 nibbles of a codebook.
template <Type type>
void dequantize_codes(const u8* p, f32 d, f32* out) {
  static constexpr Codebook book = codebook(type);
  for (u32 i = 0; i < 16; ++i) {
    out[i] = f32(book.values[p[i] & 15]) * d;
    out[16 + i] = f32(book.values[p[i] >> 4]) * d;
  }
}

void dequantize_iq4_nl(const u8* p, f32* out) { dequantize_codes<Type::iq4_nl>(p + 2, half_at(p), out); }
void dequantize_mxfp4(const u8* p, f32* out) { dequantize_codes<Type::mxfp4>(p + 1, exponent_scale(p[0]), out); }

void dequantize_q2_k(const u8* p, f32* out) {
  const f32 d = half_at(p + 80), m = half_at(p + 82);
  for (u32 i = 0; i < 256; ++i) {
    const u32 scale = p[i / 16];
    const u32 q = p[16 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3u;
    out[i] = d * f32(scale & 15u) * f32(q) - m * f32(scale >> 4);
  }
}

void dequantize_q3_k(const u8* p, f32* out) {
  const f32 d = half_at(p + 108);
  const u8* s = p + 96;
  for (u32 i = 0; i < 256; ++i) {
    const u32 sub = i / 16;
    const u32 low = sub < 8 ? s[sub] & 15u : s[sub - 8] >> 4;
    const u32 high = s[8 + sub % 4] >> (2 * (sub / 4)) & 3u;
    const i32 q =
        i32(p[32 + 32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3u) - (p[i % 32] >> (i / 32) & 1u ? 0 : 4);
    out[i] = d * f32(i32(low | high << 4) - 32) * f32(q);
  }
}

struct ScaleMin {
  u32 scale;
  u32 minimum;
};

ScaleMin k_scale(const u8* s, u32 sub) {
  if (sub < 4) return {s[sub] & 63u, s[sub + 4] & 63u};
  return {(s[sub + 4] & 15u) | u32(s[sub - 4] >> 6) << 4, u32(s[sub + 4] >> 4) | u32(s[sub] >> 6) << 4};
}

void dequantize_q4_k(const u8* p, f32* out) {
  const f32 d = half_at(p), m = half_at(p + 2);
  for (u32 sub = 0; sub < 8; ++sub) {
    const ScaleMin s = k_scale(p + 4, sub);
    for (u32 i = 0; i < 32; ++i) {
      const u32 q = p[16 + 32 * (sub / 2) + i] >> (4 * (sub % 2)) & 15u;
      out[32 * sub + i] = d * f32(s.scale) * f32(q) - m * f32(s.minimum);
    }
  }
}

void dequantize_q5_k(const u8* p, f32* out) {
  const f32 d = half_at(p), m = half_at(p + 2);
  for (u32 sub = 0; sub < 8; ++sub) {
    const ScaleMin s = k_scale(p + 4, sub);
    for (u32 i = 0; i < 32; ++i) {
      const u32 q = (p[48 + 32 * (sub / 2) + i] >> (4 * (sub % 2)) & 15u) | (p[16 + i] >> sub & 1u) << 4;
      out[32 * sub + i] = d * f32(s.scale) * f32(q) - m * f32(s.minimum);
    }
  }
}

void dequantize_q6_k(const u8* p, f32* out) {
  const f32 d = half_at(p + 208);
  for (u32 i = 0; i < 256; ++i) {
    const u32 half = i / 128, quarter = i / 32 % 4;
    const u32 low = p[64 * half + i % 64] >> (4 * (quarter / 2)) & 15u;
    const u32 high = p[128 + 32 * half + i % 32] >> (2 * quarter) & 3u;
    out[i] = d * f32(i8(p[192 + i / 16])) * f32(i32(low | high << 4) - 32);
  }
}

void dequantize_iq4_xs(const u8* p, f32* out) {
  const f32 d = half_at(p);
  const u32 high = p[2] | u32(p[3]) << 8;
  for (u32 sub = 0; sub < 8; ++sub) {
    const u32 scale = (p[4 + sub / 2] >> (4 * (sub % 2)) & 15u) | (high >> (2 * sub) & 3u) << 4;
    dequantize_codes<Type::iq4_xs>(p + 8 + 16 * sub, d * f32(i32(scale) - 32), out + 32 * sub);
  }
}

void dequantize_nvfp4(const u8* p, f32* out) {
  static constexpr Codebook book = codebook(Type::nvfp4);
  for (u32 i = 0; i < 64; ++i) {
    const u32 sub = i / 16, byte = p[4 + 8 * sub + i % 8];
    out[i] = f32(book.values[i % 16 < 8 ? byte & 15 : byte >> 4]) * fraction_scale(packed_fraction_scale(p[sub]));
  }
}

void dequantize_q1_0(const u8* p, f32* out) {
  for (u32 i = 0; i < 128; ++i) out[i] = f32(i32(p[2 + i / 8] >> (i % 8) & 1) * 2 - 1) * half_at(p);
}

void dequantize_q2_0(const u8* p, f32* out) {
  for (u32 i = 0; i < 64; ++i) out[i] = f32(i32(p[2 + i / 4] >> (2 * (i % 4)) & 3) - 1) * half_at(p);
}

void dequantize_tq1_0(const u8* p, f32* out) {
  for (u32 i = 0; i < 256; ++i) {
    const u32 v = i / 4, rest = p[4 * ternary_vector(v) + i % 4] * ternary_power(v) & 255;
    out[i] = f32(i32(rest * 3 >> 8) - 1) * half_at(p + 52);
  }
}

void dequantize_tq2_0(const u8* p, f32* out) {
  for (u32 i = 0; i < 256; ++i)
    out[i] = f32(i32(p[32 * (i / 128) + i % 32] >> (2 * (i / 32 % 4)) & 3) - 1) * half_at(p + 64);
}

template <Type type>
void dequantize_grid(const u8* p, f32* out) {
  constexpr Grid grid = grid_of(type);
  const GridBlock block = read_grid_block(type, p);
  const f32 d = half_to_f32(block.d) * grid.unit;
  for (u32 i = 0; i < 256; ++i) {
    const u32 sub = i / grid.sub_values, v = i / 4;
    const u32 scale = 2 * (block.scales[sub / 2] >> (4 * (sub % 2)) & 15u) + 1;
    const u32 word = grid_points<type>().words[grid.words() * block.point[v / grid.words()] + v % grid.words()];
    const i32 byte = i32(word >> (8 * (i % 4)) & 255u);
    const u32 signs = block.signs[i / 8];
    const i32 value = grid.shifted ? byte - 16 + (signs & 1 ? 0 : 2) : signs >> (i % 8) & 1 ? -byte : byte;
    out[i] = d * f32(scale) * f32(value);
  }
}

void dequantize_iq3_xxs(const u8* p, f32* out) { dequantize_grid<Type::iq3_xxs>(p, out); }
void dequantize_iq3_s(const u8* p, f32* out) { dequantize_grid<Type::iq3_s>(p, out); }
void dequantize_iq2_xxs(const u8* p, f32* out) { dequantize_grid<Type::iq2_xxs>(p, out); }
void dequantize_iq2_xs(const u8* p, f32* out) { dequantize_grid<Type::iq2_xs>(p, out); }
void dequantize_iq2_s(const u8* p, f32* out) { dequantize_grid<Type::iq2_s>(p, out); }
void dequantize_iq1_s(const u8* p, f32* out) { dequantize_grid<Type::iq1_s>(p, out); }
void dequantize_iq1_m(const u8* p, f32* out) { dequantize_grid<Type::iq1_m>(p, out); }

void dequantize_f32(const u8* p, f32* out) { memcpy(out, p, 4); }
void dequantize_f16(const u8* p, f32* out) { *out = half_at(p); }
void dequantize_bf16(const u8* p, f32* out) { *out = bf16_to_f32(u16(p[0] | p[1] << 8)); }

void dequantize_block(Type type, const u8* block, f32* out) {
  switch (type) {
#define FLYBALL_TYPE(id, ...) \
  case Type::id: return dequantize_##id(block, out);
    FLYBALL_TYPES(FLYBALL_TYPE)
#undef FLYBALL_TYPE
  }
}

}  // namespace

void dequantize_row(Type type, const u8* row, u32 cols, f32* out) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  for (u32 first = 0; first < cols; first += info.block_values, row += info.block_bytes) {
    dequantize_block(type, row, out + first);
  }
}

}  // namespace flyball::kernels
