// Random inputs for the kernel tests: blocks of every type with chosen kinds of scales, aligned buffers, bit
// comparison.
#pragma once

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "base/math.h"
#include "gguf/types.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"

namespace kernel_test {

using namespace flyball;
using gguf::Type;

struct Random {  // splitmix64
  u64 state;
  explicit Random(u64 seed) : state(seed) {}
  u64 next() {
    u64 z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  u32 below(u32 n) { return u32(next() % n); }
  f32 uniform() { return f32(i64(next() >> 39)) * 0x1p-24f - 1.0f * 0.5f; }  // [-0.5, 0.5)
  f32 normal() {
    f64 sum = 0;
    for (int i = 0; i < 12; ++i) sum += f64(next() >> 11) * 0x1p-53;
    return f32(sum - 6);
  }
};

template <class T>
class Buffer {  // 64-byte aligned, `fill` bytes everywhere
 public:
  explicit Buffer(u64 n, int fill = 0) : size_(n) {
    data_ = static_cast<T*>(std::aligned_alloc(64, round_up(max(n * sizeof(T), u64(64)), 64)));
    std::memset(data_, fill, n * sizeof(T));
  }
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data() { return data_; }
  const T* data() const { return data_; }
  u64 size() const { return size_; }
  T& operator[](u64 i) { return data_[i]; }
  const T& operator[](u64 i) const { return data_[i]; }

 private:
  T* data_;
  u64 size_;
};

enum class Fill {
  ordinary,   // random codes, scales around 1e-2
  extreme,    // all codes 0x00, 0xff or 0x80, largest scales
  odd_halves  // scales that are zero, subnormal, the largest half, infinite, NaN
};

inline u16 random_half(Random& random, Fill fill) {
  if (fill == Fill::ordinary) return f32_to_half(random.uniform() * 0.04f);
  if (fill == Fill::extreme) return f32_to_half(random.below(2) ? 1.0f : -2.0f);
  constexpr u16 odd[] = {0x0000, 0x8000, 0x0001, 0x83ff, 0x7bff, 0xfbff, 0x7c00, 0xfc00, 0x7e00, 0x3c00, 0x0400};
  return odd[random.below(sizeof odd / sizeof odd[0])];
}

// An exponent of MXFP4: 0 and 1 give subnormal scales, 255 NaN.
inline u8 random_exponent(Random& random, Fill fill) {
  if (fill == Fill::ordinary) return u8(112 + random.below(16));
  if (fill == Fill::extreme) return 127;
  constexpr u8 odd[] = {0, 1, 2, 64, 128, 253, 254, 255};
  return odd[random.below(sizeof odd)];
}

// Byte offsets of the f16 numbers in a block.
inline std::vector<u32> half_offsets(Type type) {
  switch (type) {
    case Type::q4_1:
    case Type::q5_1:
    case Type::q4_k:
    case Type::q5_k: return {0, 2};
    case Type::q2_k: return {80, 82};
    case Type::q3_k: return {108};
    case Type::q6_k: return {208};
    case Type::tq1_0: return {52};
    case Type::tq2_0: return {64};
    case Type::mxfp4:
    case Type::nvfp4:
    case Type::iq1_m: return {};
    default: return {0};
  }
}

inline std::vector<u8> random_rows(Type type, u32 rows, u32 cols, Random& random, Fill fill) {
  const gguf::TypeInfo& info = *gguf::type_info(u32(type));
  std::vector<u8> bytes(u64(rows) * cols / info.block_values * info.block_bytes);
  for (u64 at = 0; at < bytes.size(); at += info.block_bytes) {
    u8* block = bytes.data() + at;
    if (type == Type::f32) {
      const f32 value = fill == Fill::odd_halves && random.below(8) == 0
                            ? half_to_f32(random_half(random, fill)) * 0x1p-126f
                            : random.normal();
      std::memcpy(block, &value, 4);
      continue;
    }
    if (type == Type::f16 || type == Type::bf16) {
      u16 value = type == Type::f16 ? f32_to_half(random.normal()) : u16(bit_cast<u32>(random.normal()) >> 16);
      if (fill == Fill::odd_halves && random.below(16) == 0) value = random_half(random, fill);
      std::memcpy(block, &value, 2);
      continue;
    }
    constexpr u8 extremes[] = {0x00, 0xff, 0x80, 0x7f, 0x88, 0xf0};
    const u8 constant = extremes[random.below(6)];
    for (u32 i = 0; i < info.block_bytes; ++i) block[i] = fill == Fill::extreme ? constant : u8(random.next());
    if (type == Type::mxfp4) block[0] = random_exponent(random, fill);
    if (type == Type::iq1_m) {  // in the upper nibbles of four words
      const u16 half = random_half(random, fill);
      for (u32 i = 0; i < 4; ++i) block[49 + 2 * i] = u8((block[49 + 2 * i] & 15) | (half >> (4 * i) & 15) << 4);
    }
    for (const u32 offset : half_offsets(type)) {
      const u16 half = random_half(random, fill);
      std::memcpy(block + offset, &half, 2);
    }
  }
  return bytes;
}

struct PackedMatrix {
  PackedMatrix(Type type, u32 rows, u32 cols, const std::vector<u8>& bytes)
      : groups((rows + 15) / 16), data(groups * kernels::packed_group_bytes(type, cols), 0xa5) {
    kernels::pack_groups(type, bytes.data(), rows, cols, 0, u32(groups), data.data());
    matrix = {type, rows, cols, kernels::packed_group_bytes(type, cols), data.data()};
  }
  u64 groups;
  Buffer<u8> data;
  kernels::Matrix matrix;
};

struct ActivationBuffers {
  ActivationBuffers(u32 n_tokens, u32 cols)
      : x(u64(n_tokens) * cols),
        q32(x.size()),
        q256(x.size()),
        d32(x.size() / 32 + 1),
        d256(x.size() / 256 + 1),
        sum32(x.size() / 32 + 1),
        sum16(x.size() / 16 + 1) {
    a.n_tokens = n_tokens;
    a.cols = cols;
    a.x = x.data();
    a.q32 = q32.data(), a.d32 = d32.data(), a.sum32 = sum32.data();
    a.q256 = q256.data(), a.d256 = d256.data(), a.sum16 = sum16.data();
  }
  Buffer<f32> x;
  Buffer<i8> q32, q256;
  Buffer<f32> d32, d256;
  Buffer<i32> sum32, sum16;
  kernels::Activations a;
};

// Which ActivationKinds a width allows.
inline u32 kinds_for(u32 cols) {
  u32 kinds = 0;
  if (cols % 32 == 0) kinds |= 1u << u32(kernels::ActivationKind::q8_32);
  if (cols % 256 == 0) kinds |= 1u << u32(kernels::ActivationKind::q8_256);
  return kinds;
}

// Equal bits, where any NaN equals any other.
inline bool same_float(f32 a, f32 b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return bit_cast<u32>(a) == bit_cast<u32>(b);
}

inline u64 first_difference(const f32* a, const f32* b, u64 n) {
  for (u64 i = 0; i < n; ++i) {
    if (!same_float(a[i], b[i])) return i;
  }
  return n;
}

constexpr Type all_types[] = {Type::f32,     Type::f16,    Type::bf16,   Type::q4_0,  Type::q4_1,    Type::q5_0,
                              Type::q5_1,    Type::q8_0,   Type::q2_k,   Type::q3_k,  Type::q4_k,    Type::q5_k,
                              Type::q6_k,    Type::iq4_nl, Type::iq4_xs, Type::mxfp4, Type::iq3_xxs, Type::iq3_s,
                              Type::iq2_xxs, Type::iq2_xs, Type::iq2_s,  Type::iq1_s, Type::iq1_m,   Type::tq1_0,
                              Type::tq2_0,   Type::nvfp4,  Type::q1_0,   Type::q2_0};

inline std::string type_text(Type type) {
  const Str name = gguf::type_name(u32(type));
  return std::string(name.data, name.size);
}

}  // namespace kernel_test
