// Each packed block of 16 rows is decoded once per call and meets all tokens; an output element's sum lives in y
// meanwhile.
#include "base/math.h"
#include "kernels/pack.h"
#include "kernels/scalar.h"

namespace flyball::kernels::scalar {

namespace {

using gguf::Type;

f32 half_at(const u8* p, u32 i) { return half_to_f32(u16(p[2 * i] | p[2 * i + 1] << 8)); }

// Four values at a time, a byte each: all that the layout keeps together of one row.
constexpr u32 each_byte = 0x01010101;

// The bytes of row r in vector c.
u32 vector_word(const u8* vectors, u32 c, u32 r) {
  u32 word;
  memcpy(&word, vectors + 64 * c + 4 * r, 4);
  return word;
}

// `bits` bits of each byte, from `shift` on.
u32 field(u32 word, u32 shift, u32 bits) { return word >> shift & ((1u << bits) - 1) * each_byte; }

// A mask's four bits of row r, in bit 0 of each byte.
u32 mask_bytes(const u8* masks, u32 mask, u32 r) {
  const u32 bits = masks[8 * mask + r / 2] >> (4 * (r % 2)) & 15u;
  return bits * 0x00204081u & each_byte;
}

// Each byte less n; bytes and n are below 128, so that no borrow crosses.
u32 minus(u32 word, u32 n) { return ((word | 128 * each_byte) - n * each_byte) ^ 128 * each_byte; }

u32 iq4_values(u32 codes) {
  u32 values = 0;
  for (u32 j = 0; j < 4; ++j) values |= u32(u8(iq4_codebook[codes >> (8 * j) & 15u])) << (8 * j);
  return values;
}

struct Block32 {
  i8 q[group_rows][32];
  f32 d[group_rows];
  f32 m[group_rows];
};

// The weights of row r, values 4v .. 4v+3 of a block, with their offset: the integers that enter the dot product.
template <Type type>
u32 weights32(const u8* body, u32 r, u32 v) {
  if constexpr (type == Type::q8_0) return vector_word(body, v, r);
  constexpr bool five = type == Type::q5_0 || type == Type::q5_1;
  const u32 codes = field(vector_word(body + (five ? 64 : 0), v % 4, r), v < 4 ? 0 : 4, 4);
  if constexpr (type == Type::q4_0) return minus(codes, 8);
  if constexpr (type == Type::q4_1) return codes;
  if constexpr (type == Type::iq4_nl) return iq4_values(codes);
  const u32 wide = codes | mask_bytes(body, v, r) << 4;
  return type == Type::q5_0 ? minus(wide, 16) : wide;
}

template <Type type>
void decode32(const u8* head, const u8* body, Block32* block) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  for (u32 r = 0; r < group_rows; ++r) {
    block->d[r] = half_at(head, r);
    if constexpr (has_m) block->m[r] = half_at(head + 32, r);
    for (u32 v = 0; v < 8; ++v) {
      const u32 weights = weights32<type>(body, r, v);
      memcpy(block->q[r] + 4 * v, &weights, 4);
    }
  }
}

i32 dot(const i8* w, const i8* a, u32 n) {
  i32 sum = 0;
  for (u32 i = 0; i < n; ++i) sum += i32(w[i]) * i32(a[i]);
  return sum;
}

// Where a group's results go: y of its first row, and how many rows of it exist. All 16 are computed: a constant count
// becomes vector code.
struct Output {
  f32* y;
  u64 stride;
  u32 n_rows;

  void load(u32 token, bool first, f32* sum) const {
    for (u32 r = 0; r < group_rows; ++r) sum[r] = 0;
    if (!first) memcpy(sum, y + token * stride, n_rows * sizeof(f32));
  }
  void store(u32 token, const f32* sum) const { memcpy(y + token * stride, sum, n_rows * sizeof(f32)); }
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
      const f32 d = x.d32[at], minimum = d * f32(x.sum32[at]);
      i32 idot[group_rows];
      for (u32 r = 0; r < group_rows; ++r) idot[r] = dot(block.q[r], x.q32 + 32 * at, 32);
      f32 sum[group_rows];
      out.load(t, b == 0, sum);
      for (u32 r = 0; r < group_rows; ++r) {
        sum[r] = fma32(f32(idot[r]), block.d[r] * d, sum[r]);
        if constexpr (has_m) sum[r] = fma32(block.m[r], minimum, sum[r]);
      }
      out.store(t, sum);
    }
  }
}

// A block of 256 in 16 sub-blocks of 16; types with sub-blocks of 32 repeat their scales.
struct Block256 {
  i8 q[group_rows][256];
  i8 scale[group_rows][16];
  u8 minimum[group_rows][16];
  f32 d[group_rows];
  f32 dmin[group_rows];
};

template <Type type>
u32 weights256(const u8* body, u32 r, u32 v) {
  const u32 half = v / 32, sub = v / 8, c = v % 8;  // sub-blocks of 32
  if constexpr (type == Type::q2_k) {
    return field(vector_word(body + 256, 8 * half + c, r), 2 * (sub % 4), 2);
  } else if constexpr (type == Type::q3_k) {
    const u32 low = field(vector_word(body + 256 + 512, 8 * half + c, r), 2 * (sub % 4), 2);
    return minus(low | mask_bytes(body + 256, v, r) << 2, 4);
  } else if constexpr (type == Type::q4_k) {
    return field(vector_word(body + 192, sub / 2 * 8 + c, r), 4 * (sub % 2), 4);
  } else if constexpr (type == Type::q5_k) {
    const u32 low = field(vector_word(body + 192 + 512, sub / 2 * 8 + c, r), 4 * (sub % 2), 4);
    return low | mask_bytes(body + 192, v, r) << 4;
  } else if constexpr (type == Type::q6_k) {
    const u32 low = field(vector_word(body + 256, 16 * half + v % 16, r), 4 * (sub % 4 / 2), 4);
    const u32 high = field(vector_word(body + 256 + 2048, 8 * half + c, r), 2 * (sub % 4), 2);
    return minus(low | high << 4, 32);
  } else {
    static_assert(type == Type::iq4_xs);
    return iq4_values(field(vector_word(body + 128, 4 * sub + v % 4, r), 4 * (v / 4 % 2), 4));
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
void decode256(const u8* head, const u8* body, Block256* block) {
  constexpr bool has_min = type == Type::q2_k || type == Type::q4_k || type == Type::q5_k;
  for (u32 r = 0; r < group_rows; ++r) {
    block->d[r] = half_at(head, r);
    if constexpr (has_min) block->dmin[r] = half_at(head + 32, r);
    decode_scales<type>(body, r, block);
    for (u32 v = 0; v < 64; ++v) {
      const u32 weights = weights256<type>(body, r, v);
      memcpy(block->q[r] + 4 * v, &weights, 4);
    }
  }
}

template <Type type>
void matmul256(const u8* group, const Activations& x, const Output& out) {
  constexpr bool has_min = type == Type::q2_k || type == Type::q4_k || type == Type::q5_k;
  constexpr PackedShape shape = packed_shape(type);
  const u32 n_blocks = x.cols / 256;
  const u8* bodies = group + head_plane_bytes(type, x.cols);
  for (u32 b = 0; b < n_blocks; ++b) {
    Block256 block;
    decode256<type>(group + u64(b) * shape.head_bytes, bodies + u64(b) * shape.body_bytes, &block);
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      const i8* a = x.q256 + 256 * at;
      const i32* sums = x.sum16 + 16 * at;
      i32 isum[group_rows] = {}, imin[group_rows] = {};
      for (u32 r = 0; r < group_rows; ++r) {
        for (u32 s = 0; s < 16; ++s) {
          isum[r] += i32(block.scale[r][s]) * dot(block.q[r] + 16 * s, a + 16 * s, 16);
          if constexpr (has_min) imin[r] += i32(block.minimum[r][s]) * sums[s];
        }
      }
      f32 sum[group_rows];
      out.load(t, b == 0, sum);
      for (u32 r = 0; r < group_rows; ++r) {
        sum[r] = fma32(f32(isum[r]), block.d[r] * x.d256[at], sum[r]);
        if constexpr (has_min) sum[r] = fma32(-f32(imin[r]), block.dmin[r] * x.d256[at], sum[r]);
      }
      out.store(t, sum);
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
      f32 sum[group_rows];
      out.load(t, first == 0, sum);
      for (u32 k = 0; k < n; ++k) {
        for (u32 r = 0; r < group_rows; ++r) sum[r] = fma32(w[k * group_rows + r], a[k], sum[r]);
      }
      out.store(t, sum);
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

u64 probe(u64 rounds) {
  constexpr u32 n = 32;
  i32 sum[n] = {}, w = 1, a = 1;
  for (u64 round = 0; round < rounds; ++round) {
    __asm__("" : "+r"(w), "+r"(a));
    for (i32& s : sum) s += w * a;
  }
  for (i32& s : sum) __asm__ volatile("" ::"r"(s));
  return rounds * n;
}

}  // namespace flyball::kernels::scalar
