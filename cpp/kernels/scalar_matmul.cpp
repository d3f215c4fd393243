// Each packed block of 16 rows is decoded once per call and meets all tokens; an output element's sum lives in y
// meanwhile.
#include "base/math.h"
#include "kernels/pack.h"
#include "kernels/scalar.h"

namespace flyball::kernels::scalar {

namespace {

using gguf::Type;

#include "kernels/words.inl"

// Each byte less n; bytes and n are below 128, so that no borrow crosses.
u32 minus(u32 word, u32 n) { return ((word | all_bytes<u32>(128)) - all_bytes<u32>(n)) ^ all_bytes<u32>(128); }

// The integers that enter the dot product.
template <Type type>
u32 values_of(u32 codes) {
  if constexpr (has_codebook(type)) return codebook_values<type>(codes);
  return code_offset(type) ? minus(codes, code_offset(type)) : codes;
}

struct Block32 {
  i8 q[group_rows][32];
  f32 d[2][group_rows];
  f32 m[group_rows];
};

template <Type type>
void decode32(const u8* head, const u8* body, Block32* block) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  for (u32 r = 0; r < group_rows; ++r) {
    for (u32 part = 0; part < scale_parts(type); ++part) block->d[part][r] = scale_at<type>(head, r, part);
    if constexpr (has_m) block->m[r] = half_at(head + 32, r);
    for (u32 v = 0; v < 8; ++v) {
      const u32 weights = values_of<type>(codes32<type, u32>(body, r, v));
      memcpy(block->q[r] + 4 * v, &weights, 4);
    }
  }
}

i32 dot(const i8* w, const i8* a, u32 n) {
  i32 sum = 0;
  for (u32 i = 0; i < n; ++i) sum += i32(w[i]) * i32(a[i]);
  return sum;
}

template <Type type>
void matmul32(const u8* group, u64 row_bytes, const Activations& x, const Output& out) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  const u32 n_blocks = x.cols / 32;
  for (u32 b = 0; b < n_blocks; ++b) {
    const BlockBytes<type> packed(group, row_bytes, x.cols, b);
    Block32 block;
    decode32<type>(packed.head, packed.body, &block);
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      const f32 d = x.d32[at], minimum = d * f32(x.sum32[at]);
      f32 sum[group_rows];
      out.load(t, b == 0, sum);
      constexpr u32 parts = scale_parts(type), n = 32 / parts;
      for (u32 part = 0; part < parts; ++part) {
        i32 idot[group_rows];
        for (u32 r = 0; r < group_rows; ++r) idot[r] = dot(block.q[r] + n * part, x.q32 + 32 * at + n * part, n);
        for (u32 r = 0; r < group_rows; ++r) sum[r] = fma32(f32(idot[r]), block.d[part][r] * d, sum[r]);
      }
      for (u32 r = 0; r < group_rows; ++r) {
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
void decode256(const u8* head, const u8* body, Block256* block) {
  constexpr bool has_min = type == Type::q2_k || type == Type::q4_k || type == Type::q5_k;
  for (u32 r = 0; r < group_rows; ++r) {
    block->d[r] = scale_at<type>(head, r);
    if constexpr (has_min) block->dmin[r] = half_at(head + 32, r);
    decode_scales<type>(body, r, block);
    for (u32 v = 0; v < 64; ++v) {
      const u32 weights = values_of<type>(codes256<type, u32>(body, r, v));
      memcpy(block->q[r] + 4 * v, &weights, 4);
    }
  }
}

template <Type type>
void matmul256(const u8* group, u64, const Activations& x, const Output& out) {
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
void matmul_float(const u8* group, u64, const Activations& x, const Output& out) {
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

// `row_bytes`: of a group's rows as the file has them; 0: it is packed.
using GroupFunction = void (*)(const u8* group, u64 row_bytes, const Activations& x, const Output& out);

template <Type type>
constexpr GroupFunction function_of() {
  constexpr u32 block_values = packed_shape(type).block_values;
  if constexpr (block_values == 32) return matmul32<type>;
  if constexpr (block_values == 256) return matmul256<type>;
  if constexpr (block_values == 1) return matmul_float<type>;
}

GroupFunction group_function(Type type) {
  switch (type) {
#define FLYBALL_TYPE(id, ...) \
  case Type::id: return function_of<Type::id>();
    FLYBALL_TYPES(FLYBALL_TYPE)
#undef FLYBALL_TYPE
  }
  return nullptr;
}

}  // namespace

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  const GroupFunction run = group_function(w.type);
  const u64 row_bytes = w.in_file ? w.group_bytes / group_rows : 0;
  for (u32 g = group_begin; g < group_end; ++g) {
    const u32 first = g * group_rows;
    run(w.data + u64(g) * w.group_bytes, row_bytes, x, {y + first, y_stride, min(group_rows, w.rows - first)});
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
