// Matrix products by 64-bit loads and multiplications: SIMD within a register (SWAR). For processors that are emulated: a
// vector instruction there costs as much as its lanes one by one, and a load more than a multiplication. Everything else
// is the scalar table's.
#include "base/math.h"
#include "kernels/pack.h"
#include "kernels/scalar.h"

namespace flyball::kernels::swar {

// Zeros, subnormals, infinities and large n are left to fma32.
f32 fma_integer(i32 n, f32 d, f32 c) {
  const u32 d_bits = bit_cast<u32>(d), c_bits = bit_cast<u32>(c);
  const i32 d_exponent = i32(d_bits >> 23 & 255), c_exponent = i32(c_bits >> 23 & 255);
  const u32 size = n < 0 ? 0 - u32(n) : u32(n);
  constexpr u32 exact = 1u << 24;  // integers below are floats
  if (size - 1 >= exact - 1 || u32(d_exponent - 1) >= 253 || u32(c_exponent - 1) >= 253) return fma32(f32(n), d, c);
  constexpr u32 hidden = 1u << 23, fraction = hidden - 1;
  // Both as integers of at most 62 bits times 2^exponent, with a sticky last bit for what was shifted out.
  const auto shifted = [](u64 value, i32 by) {
    if (by >= 63) return u64(value != 0);
    return value >> by | u64((value & ((u64(1) << by) - 1)) != 0);
  };
  u64 product = u64(size) * ((d_bits & fraction) | hidden) << 14;
  u64 addend = (c_bits & fraction) | hidden;
  i32 exponent = d_exponent - 14;
  const i32 up = c_exponent - exponent;
  if (up > 38) {
    product = shifted(product, up - 38);
    addend <<= 38;
    exponent += up - 38;
  } else if (up >= 0) {
    addend <<= up;
  } else {
    addend = shifted(addend, -up);
  }
  const u32 p_sign = (u32(n) ^ d_bits) >> 31, c_sign = c_bits >> 31;
  u32 sign = p_sign;
  u64 sum = product + addend;
  if (p_sign != c_sign) {
    sum = product - addend;
    if (product < addend) sum = 0 - sum, sign = c_sign;
  }
  if (sum == 0) return 0;
  const i32 top = 63 - __builtin_clzll(sum);  // the leading bit
  const i32 drop = top - 23;
  i32 result = exponent + drop;
  u32 mantissa;
  if (drop > 0) {
    const u64 half = u64(1) << (drop - 1), rest = sum & (2 * half - 1);
    mantissa = u32(sum >> drop);
    mantissa += rest > half || (rest == half && (mantissa & 1));
    if (mantissa >> 24) mantissa >>= 1, ++result;
  } else {
    mantissa = u32(sum << -drop);
  }
  if (u32(result - 1) >= 253) return fma32(f32(n), d, c);
  return bit_cast<f32>(sign << 31 | u32(result) << 23 | (mantissa & fraction));
}

namespace {

using gguf::Type;

#include "kernels/words.inl"

constexpr u32 n_pairs = group_rows / 2;  // of rows, whose values share a word

// Codes as unsigned bytes, and the offset of each from its value.
template <Type type>
u64 unsigned_codes(u64 codes) {
  if constexpr (type == Type::q8_0) return codes ^ all_bytes<u64>(128);
  if constexpr (has_codebook(type)) return codebook_values<type>(codes) ^ all_bytes<u64>(128);
  return codes;
}
constexpr i32 unsigned_offset(Type type) {
  return type == Type::q8_0 || has_codebook(type) ? 128 : i32(code_offset(type));
}

// Sums of two rows in the halves of a word: a multiplication by a signed activation serves both. Splitting the word
// returns what the lower half borrowed from the upper.
constexpr u64 low_bytes = 0x000000ff000000ffu;

void add_products(u64 codes, const i64* a, u64* sum) {
  *sum += (codes & low_bytes) * u64(a[0]);
  *sum += (codes >> 8 & low_bytes) * u64(a[1]);
  *sum += (codes >> 16 & low_bytes) * u64(a[2]);
  *sum += (codes >> 24 & low_bytes) * u64(a[3]);
}
i32 lower(u64 sum) { return i32(u32(sum)); }
i32 upper(u64 sum) { return i32(u32((sum - u64(i64(lower(sum)))) >> 32)); }

// Activations of a block as multiplicands.
template <u32 n>
void widen(const i8* q, i64* out) {
  for (u32 i = 0; i < n; ++i) out[i] = q[i];
}

template <Type type>
void matmul32(const u8* group, u64 row_bytes, const Activations& x, const Output& out) {
  constexpr bool has_m = type == Type::q4_1 || type == Type::q5_1;
  const u32 n_blocks = x.cols / 32;
  for (u32 b = 0; b < n_blocks; ++b) {
    const BlockBytes<type> packed(group, row_bytes, x.cols, b);
    const u8* const head = packed.head;
    const u8* const body = packed.body;
    f32 d[group_rows], m[group_rows];
    for (u32 r = 0; r < group_rows; ++r) d[r] = scale_at<type>(head, r), m[r] = has_m ? half_at(head + 32, r) : 0;
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      i64 a[32];
      widen<32>(x.q32 + 32 * at, a);
      const f32 scale = x.d32[at], minimum = scale * f32(x.sum32[at]);
      const i32 excess = unsigned_offset(type) * x.sum32[at];
      f32 sum[group_rows];
      out.load(t, b == 0, sum);
      for (u32 p = 0; p < n_pairs; ++p) {
        u64 dots = 0;
        for (u32 v = 0; v < 8; ++v)
          add_products(unsigned_codes<type>(codes32<type, u64>(body, p, v)), a + 4 * v, &dots);
        const i32 dot[2] = {lower(dots) - excess, upper(dots) - excess};
        for (u32 k = 0; k < 2; ++k) {
          const u32 r = 2 * p + k;
          sum[r] = fma_integer(dot[k], d[r] * scale, sum[r]);
          if constexpr (has_m) sum[r] = fma32(m[r], minimum, sum[r]);
        }
      }
      out.store(t, sum);
    }
  }
}

struct Scales {
  i8 scale[group_rows][16];
  u8 minimum[group_rows][16];
};

template <Type type>
void matmul256(const u8* group, u64, const Activations& x, const Output& out) {
  constexpr bool has_min = type == Type::q2_k || type == Type::q4_k || type == Type::q5_k;
  constexpr PackedShape shape = packed_shape(type);
  const u32 n_blocks = x.cols / 256;
  const u8* bodies = group + head_plane_bytes(type, x.cols);
  for (u32 b = 0; b < n_blocks; ++b) {
    const u8* const head = group + u64(b) * shape.head_bytes;
    const u8* const body = bodies + u64(b) * shape.body_bytes;
    Scales scales;
    f32 d[group_rows], dmin[group_rows];
    for (u32 r = 0; r < group_rows; ++r) {
      d[r] = scale_at<type>(head, r), dmin[r] = has_min ? half_at(head + 32, r) : 0;
      decode_scales<type>(body, r, &scales);
    }
    for (u32 t = 0; t < x.n_tokens; ++t) {
      const u64 at = u64(t) * n_blocks + b;
      const i32* const sums = x.sum16 + 16 * at;
      i64 a[256];
      widen<256>(x.q256 + 256 * at, a);
      f32 sum[group_rows];
      out.load(t, b == 0, sum);
      for (u32 p = 0; p < n_pairs; ++p) {
        i32 dot[2] = {}, least[2] = {};
        for (u32 s = 0; s < 16; ++s) {
          u64 dots = 0;
          for (u32 v = 4 * s; v < 4 * s + 4; ++v)
            add_products(unsigned_codes<type>(codes256<type, u64>(body, p, v)), a + 4 * v, &dots);
          const i32 excess = unsigned_offset(type) * sums[s];
          dot[0] += i32(scales.scale[2 * p][s]) * (lower(dots) - excess);
          dot[1] += i32(scales.scale[2 * p + 1][s]) * (upper(dots) - excess);
          if constexpr (has_min) {
            least[0] += i32(scales.minimum[2 * p][s]) * sums[s];
            least[1] += i32(scales.minimum[2 * p + 1][s]) * sums[s];
          }
        }
        for (u32 k = 0; k < 2; ++k) {
          const u32 r = 2 * p + k;
          sum[r] = fma_integer(dot[k], d[r] * x.d256[at], sum[r]);
          if constexpr (has_min) sum[r] = fma_integer(-least[k], dmin[r] * x.d256[at], sum[r]);
        }
      }
      out.store(t, sum);
    }
  }
}

// `row_bytes`: of a group's rows as the file has them; 0: it is packed.
using GroupFunction = void (*)(const u8* group, u64 row_bytes, const Activations& x, const Output& out);

GroupFunction group_function(Type type) {
  switch (type) {
    case Type::f32:
    case Type::f16:
    case Type::bf16:
    case Type::nvfp4: return nullptr;
    case Type::q4_0: return matmul32<Type::q4_0>;
    case Type::q4_1: return matmul32<Type::q4_1>;
    case Type::q5_0: return matmul32<Type::q5_0>;
    case Type::q5_1: return matmul32<Type::q5_1>;
    case Type::q8_0: return matmul32<Type::q8_0>;
    case Type::iq4_nl: return matmul32<Type::iq4_nl>;
    case Type::mxfp4: return matmul32<Type::mxfp4>;
    case Type::q1_0: return matmul32<Type::q1_0>;
    case Type::q2_0: return matmul32<Type::q2_0>;
    case Type::tq1_0: return matmul256<Type::tq1_0>;
    case Type::tq2_0: return matmul256<Type::tq2_0>;
    case Type::q2_k: return matmul256<Type::q2_k>;
    case Type::q3_k: return matmul256<Type::q3_k>;
    case Type::q4_k: return matmul256<Type::q4_k>;
    case Type::q5_k: return matmul256<Type::q5_k>;
    case Type::q6_k: return matmul256<Type::q6_k>;
    case Type::iq4_xs: return matmul256<Type::iq4_xs>;
    case Type::iq3_xxs: return matmul256<Type::iq3_xxs>;
    case Type::iq3_s: return matmul256<Type::iq3_s>;
    case Type::iq2_xxs: return matmul256<Type::iq2_xxs>;
    case Type::iq2_xs: return matmul256<Type::iq2_xs>;
    case Type::iq2_s: return matmul256<Type::iq2_s>;
    case Type::iq1_s: return matmul256<Type::iq1_s>;
    case Type::iq1_m: return matmul256<Type::iq1_m>;
  }
  return nullptr;
}

}  // namespace

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  const GroupFunction run = group_function(w.type);
  if (run == nullptr) return scalar::matmul(w, x, group_begin, group_end, y, y_stride);
  const u64 row_bytes = w.in_file ? w.group_bytes / group_rows : 0;
  for (u32 g = group_begin; g < group_end; ++g) {
    const u32 first = g * group_rows;
    run(w.data + u64(g) * w.group_bytes, row_bytes, x, {y + first, y_stride, min(group_rows, w.rows - first)});
  }
}

u64 probe(u64 rounds) {
  u64 sums[4] = {}, codes = low_bytes;
  const i64 a[4] = {1, 2, 3, 4};
  for (u64 round = 0; round < rounds; ++round) {
    __asm__("" : "+r"(codes));
    for (u64& sum : sums) add_products(codes, a, &sum);
  }
  for (u64& sum : sums) __asm__ volatile("" ::"r"(sum));
  return rounds * 32;
}

}  // namespace flyball::kernels::swar
