// Each packed block of 16 rows is decoded once per call and meets all tokens; an output element's sum lives in y
// meanwhile.
#include "base/math.h"
#include "kernels/pack.h"
#include "kernels/scalar.h"

namespace flyball::kernels::scalar {

namespace {

using gguf::Type;

f32 half_at(const u8* p, u32 i) { return half_to_f32(u16(p[2 * i] | p[2 * i + 1] << 8)); }

// Byte j of row r in vector c.
u8 vector_byte(const u8* vectors, u32 c, u32 r, u32 j) { return vectors[64 * c + 4 * r + j]; }

bool mask_bit(const u8* masks, u32 mask, u32 r, u32 j) { return masks[8 * mask + r / 2] >> (4 * (r % 2) + j) & 1; }

struct Block32 {
  i8 q[group_rows][32];
  f32 d[group_rows];
  f32 m[group_rows];
};

// The weight of row r, value i of a block with its offset, as the integer that enters the dot product.
template <Type type>
i8 weight32(const u8* body, u32 r, u32 i) {
  const u32 j = i % 4;
  if constexpr (type == Type::q8_0) return i8(vector_byte(body, i / 4, r, j));
  constexpr bool five = type == Type::q5_0 || type == Type::q5_1;
  const u32 code = vector_byte(body + (five ? 64 : 0), i / 4 % 4, r, j) >> (i < 16 ? 0 : 4) & 15u;
  if constexpr (type == Type::q4_0) return i8(i32(code) - 8);
  if constexpr (type == Type::q4_1) return i8(code);
  if constexpr (type == Type::iq4_nl) return iq4_codebook[code];
  const u32 wide = code | u32(mask_bit(body, i / 4, r, j)) << 4;
  return type == Type::q5_0 ? i8(i32(wide) - 16) : i8(wide);
}

template <Type type>
void decode32(const u8* head, const u8* body, Block32* block) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  for (u32 r = 0; r < group_rows; ++r) {
    block->d[r] = half_at(head, r);
    if constexpr (has_m) block->m[r] = half_at(head + 32, r);
    for (u32 i = 0; i < 32; ++i) block->q[r][i] = weight32<type>(body, r, i);
  }
}

i32 dot(const i8* w, const i8* a, u32 n) {
  i32 sum = 0;
  for (u32 i = 0; i < n; ++i) sum += i32(w[i]) * i32(a[i]);
  return sum;
}

// What a kernel below needs to find its outputs: y of the group's first row, and how many rows of it exist.
struct Output {
  f32* y;
  u64 stride;
  u32 n_rows;
};

template <Type type>
void matmul32(const u8* group, const Activations& x, const Output& out) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  constexpr PackedShape shape = packed_shape(type);
  const u32 n_blocks = x.cols / 32;
  const u8* bodies = group + head_plane_bytes(type, x.cols);
  for (u32 b = 0; b < n_blocks; ++b) {
    Block32 block;
    decode32<type>(group + u64(b) * shape.head_bytes, bodies + u64(b) * shape.body_bytes, &block);
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      const f32 d = x.d32[at];
      f32* y = out.y + t * out.stride;
      for (u32 r = 0; r < out.n_rows; ++r) {
        f32 sum = b == 0 ? 0.0f : y[r];
        sum = fma32(f32(dot(block.q[r], x.q32 + 32 * at, 32)), block.d[r] * d, sum);
        if constexpr (has_m) sum = fma32(block.m[r], d * f32(x.sum32[at]), sum);
        y[r] = sum;
      }
    }
  }
}

// A block of 256 in 16 sub-blocks of 16; types with sub-blocks of 32 repeat their scales.
struct Block256 {
  i8 q[group_rows][256];
  i8 scale[group_rows][16];
  u8 minimum[group_rows][16];
};

template <Type type>
i8 weight256(const u8* body, u32 r, u32 i) {
  const u32 j = i % 4, half = i / 128, c = i % 32 / 4;
  if constexpr (type == Type::q2_k) {
    return i8(vector_byte(body + 256, 8 * half + c, r, j) >> (2 * (i / 32 % 4)) & 3);
  } else if constexpr (type == Type::q3_k) {
    const u32 low = vector_byte(body + 256 + 512, 8 * half + c, r, j) >> (2 * (i / 32 % 4)) & 3u;
    return i8(i32(low) - (mask_bit(body + 256, i / 32 * 8 + c, r, j) ? 0 : 4));
  } else if constexpr (type == Type::q4_k) {
    return i8(vector_byte(body + 192, i / 64 * 8 + c, r, j) >> (4 * (i / 32 % 2)) & 15);
  } else if constexpr (type == Type::q5_k) {
    const u32 low = vector_byte(body + 192 + 512, i / 64 * 8 + c, r, j) >> (4 * (i / 32 % 2)) & 15u;
    return i8(low | u32(mask_bit(body + 192, i / 32 * 8 + c, r, j)) << 4);
  } else if constexpr (type == Type::q6_k) {
    const u32 quarter = i / 32 % 4;
    const u32 low = vector_byte(body + 256, 16 * half + i % 64 / 4, r, j) >> (4 * (quarter / 2)) & 15u;
    const u32 high = vector_byte(body + 256 + 2048, 8 * half + c, r, j) >> (2 * quarter) & 3u;
    return i8(i32(low | high << 4) - 32);
  } else {
    static_assert(type == Type::iq4_xs);
    return iq4_codebook[vector_byte(body + 128, i / 32 * 4 + i % 16 / 4, r, j) >> (4 * (i / 16 % 2)) & 15];
  }
}

template <Type type>
void decode_scales(const u8* body, u32 r, Block256* block) {
  for (u32 s = 0; s < 16; ++s) {
    if constexpr (type == Type::q2_k) {
      block->scale[r][s] = i8(body[16 * s + r] & 15);
      block->minimum[r][s] = body[16 * s + r] >> 4;
    } else if constexpr (type == Type::q3_k || type == Type::q6_k) {
      block->scale[r][s] = i8(body[16 * s + r]);
    } else if constexpr (type == Type::iq4_xs) {
      block->scale[r][s] = i8(body[16 * (s / 2) + r]);
    } else {
      const u8* first = body + 4 * r;  // bytes 0..3; 4..7 and 8..11 are 64 bytes apart
      const u32 k = s / 2;
      if (k < 4) {
        block->scale[r][s] = i8(first[k] & 63);
        block->minimum[r][s] = first[64 + k] & 63;
      } else {
        const u32 last = first[128 + k - 4];
        block->scale[r][s] = i8((last & 15u) | u32(first[k - 4] >> 6) << 4);
        block->minimum[r][s] = u8(last >> 4 | u32(first[64 + k - 4] >> 6) << 4);
      }
    }
  }
}

template <Type type>
void decode256(const u8* body, Block256* block) {
  for (u32 r = 0; r < group_rows; ++r) {
    decode_scales<type>(body, r, block);
    for (u32 i = 0; i < 256; ++i) block->q[r][i] = weight256<type>(body, r, i);
  }
}

template <Type type>
void matmul256(const u8* group, const Activations& x, const Output& out) {
  constexpr bool has_min = type == Type::q2_k || type == Type::q4_k || type == Type::q5_k;
  constexpr PackedShape shape = packed_shape(type);
  const u32 n_blocks = x.cols / 256;
  const u8* bodies = group + head_plane_bytes(type, x.cols);
  for (u32 b = 0; b < n_blocks; ++b) {
    const u8* head = group + u64(b) * shape.head_bytes;
    Block256 block;
    decode256<type>(bodies + u64(b) * shape.body_bytes, &block);
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      const i8* a = x.q256 + 256 * at;
      const i32* sums = x.sum16 + 16 * at;
      f32* y = out.y + t * out.stride;
      for (u32 r = 0; r < out.n_rows; ++r) {
        i32 isum = 0, imin = 0;
        for (u32 s = 0; s < 16; ++s) {
          isum += i32(block.scale[r][s]) * dot(block.q[r] + 16 * s, a + 16 * s, 16);
          if constexpr (has_min) imin += i32(block.minimum[r][s]) * sums[s];
        }
        f32 sum = b == 0 ? 0.0f : y[r];
        sum = fma32(f32(isum), half_at(head, r) * x.d256[at], sum);
        if constexpr (has_min) sum = fma32(-f32(imin), half_at(head + 32, r) * x.d256[at], sum);
        y[r] = sum;
      }
    }
  }
}

template <Type type>
f32 float_weight(const u8* group, u64 i) {
  if constexpr (type == Type::f32) {
    f32 value;
    memcpy(&value, group + 4 * i, 4);
    return value;
  } else {
    const u16 bits = u16(group[2 * i] | group[2 * i + 1] << 8);
    return type == Type::f16 ? half_to_f32(bits) : bf16_to_f32(bits);
  }
}

template <Type type>
void matmul_float(const u8* group, const Activations& x, const Output& out) {
  constexpr u32 tile = 64;  // columns decoded at a time
  f32 w[tile * group_rows];
  for (u32 first = 0; first < x.cols; first += tile) {
    const u32 n = min(tile, x.cols - first);
    for (u32 i = 0; i < n * group_rows; ++i) w[i] = float_weight<type>(group, u64(first) * group_rows + i);
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const f32* a = x.x + u64(t) * x.cols + first;
      f32* y = out.y + t * out.stride;
      f32 sum[group_rows] = {};
      if (first != 0) memcpy(sum, y, out.n_rows * sizeof(f32));
      for (u32 k = 0; k < n; ++k) {
        for (u32 r = 0; r < group_rows; ++r) sum[r] = fma32(w[k * group_rows + r], a[k], sum[r]);
      }
      memcpy(y, sum, out.n_rows * sizeof(f32));
    }
  }
}

using GroupFunction = void (*)(const u8* group, const Activations& x, const Output& out);

GroupFunction group_function(Type type) {
  switch (type) {
    case Type::f32: return matmul_float<Type::f32>;
    case Type::f16: return matmul_float<Type::f16>;
    case Type::bf16: return matmul_float<Type::bf16>;
    case Type::q4_0: return matmul32<Type::q4_0>;
    case Type::q4_1: return matmul32<Type::q4_1>;
    case Type::q5_0: return matmul32<Type::q5_0>;
    case Type::q5_1: return matmul32<Type::q5_1>;
    case Type::q8_0: return matmul32<Type::q8_0>;
    case Type::iq4_nl: return matmul32<Type::iq4_nl>;
    case Type::q2_k: return matmul256<Type::q2_k>;
    case Type::q3_k: return matmul256<Type::q3_k>;
    case Type::q4_k: return matmul256<Type::q4_k>;
    case Type::q5_k: return matmul256<Type::q5_k>;
    case Type::q6_k: return matmul256<Type::q6_k>;
    case Type::iq4_xs: return matmul256<Type::iq4_xs>;
  }
  return nullptr;
}

}  // namespace

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  const GroupFunction run = group_function(w.type);
  for (u32 g = group_begin; g < group_end; ++g) {
    const u32 first = g * group_rows;
    run(w.data + u64(g) * w.group_bytes, x, {y + first, y_stride, min(group_rows, w.rows - first)});
  }
}

}  // namespace flyball::kernels::scalar
