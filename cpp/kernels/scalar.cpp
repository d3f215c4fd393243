#include "kernels/scalar.h"

#include "base/math.h"
#include "kernels/tables.h"

namespace flyball::kernels {

namespace scalar {

namespace {

struct BlockScale {
  f32 d;
  f32 inverse;
};

// d = amax / 127. The inverse is 0 for a block of zeros, and for one so small that 127 / amax would overflow.
BlockScale block_scale(const f32* x, u32 n) {
  u32 largest = 0;
  for (u32 i = 0; i < n; ++i) largest = max(largest, bit_cast<u32>(x[i]) & 0x7fffffffu);
  if (largest >= 0x7f800000u) return {__builtin_nanf(""), 0};
  const f32 amax = bit_cast<f32>(largest);
  const f32 inverse = 127.0f / amax;
  return {amax / 127.0f, inverse <= 0x1.fffffep+127f ? inverse : 0.0f};
}

template <u32 block>
void quantize_row(const f32* x, u32 cols, i8* q, f32* d) {
  for (u32 first = 0; first < cols; first += block) {
    const BlockScale scale = block_scale(x + first, block);
    d[first / block] = scale.d;
    for (u32 i = first; i < first + block; ++i) {
      q[i] = scale.inverse == 0 ? i8(0) : i8(i32(round_even32(x[i] * scale.inverse)));
    }
  }
}

template <u32 block>
void sum_blocks(const i8* q, u32 cols, i32* sums) {
  for (u32 first = 0; first < cols; first += block) {
    i32 sum = 0;
    for (u32 i = first; i < first + block; ++i) sum += q[i];
    sums[first / block] = sum;
  }
}

}  // namespace

void quantize(const Activations& a, u32 kinds, u32 token_begin, u32 token_end) {
  for (u32 t = token_begin; t < token_end; ++t) {
    const u64 at = u64(t) * a.cols;
    if (kinds & 1u << u32(ActivationKind::q8_32)) {
      quantize_row<32>(a.x + at, a.cols, a.q32 + at, a.d32 + at / 32);
      sum_blocks<32>(a.q32 + at, a.cols, a.sum32 + at / 32);
    }
    if (kinds & 1u << u32(ActivationKind::q8_256)) {
      quantize_row<256>(a.x + at, a.cols, a.q256 + at, a.d256 + at / 256);
      sum_blocks<16>(a.q256 + at, a.cols, a.sum16 + at / 16);
    }
  }
}

namespace {

void rms_norm(const f32* x, const f32* weight, f32 eps, u32 n, f32* y) {
  f32 lane[lanes] = {};
  for (u32 i = 0; i < n; ++i) lane[i % lanes] = fma32(x[i], x[i], lane[i % lanes]);
  const f32 factor = 1.0f / sqrt32(reduce_lanes(lane) / f32(n) + eps);
  for (u32 i = 0; i < n; ++i) y[i] = (x[i] * factor) * weight[i];
}

void add(f32* y, const f32* x, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] += x[i];
}

void scale(f32* y, f32 factor, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] *= factor;
}

void silu_mul(const f32* gate, const f32* up, f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = silu32(gate[i]) * up[i];
}

void gelu_mul(const f32* gate, const f32* up, f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = gelu32(gate[i]) * up[i];
}

void mul(const f32* x, f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] *= x[i];
}

void relu_squared(f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = y[i] > 0 ? y[i] * y[i] : 0;
}

void silu(f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = silu32(y[i]);
}

void swiglu_clamped(const f32* gate, const f32* up, f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = swiglu_clamped32(gate[i], up[i]);
}

void sigmoid_mul(const f32* gate, f32* y, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = y[i] / (1.0f + exp32(-gate[i]));
}

void softcap(f32* y, f32 cap, u64 n) {
  for (u64 i = 0; i < n; ++i) y[i] = cap * tanh32(y[i] / cap);
}

void rope(f32* head, const f32* cosines, const f32* sines, u32 n_rot, bool neox) {
  const u32 half = n_rot / 2;
  for (u32 i = 0; i < half; ++i) {
    f32* a = neox ? head + i : head + 2 * i;
    f32* b = neox ? a + half : a + 1;
    const f32 x = *a, y = *b;
    *a = fma32(x, cosines[i], -(y * sines[i]));
    *b = fma32(x, sines[i], y * cosines[i]);
  }
}

f32 sum_exp(const f32* x, f32 shift, u64 n) {
  f32 lane[lanes] = {};
  for (u64 i = 0; i < n; ++i) lane[i % lanes] += exp32(x[i] - shift);
  return reduce_lanes(lane);
}

}  // namespace

}  // namespace scalar

namespace {

template <class Matmul, class Probe>
constexpr Table portable_table(const char* name, Matmul matmul, Probe probe) {
  return {
      .name = name,
      .features = 0,
      .in_file = type_bit(gguf::Type::q8_0),
      .quantize = scalar::quantize,
      .matmul = matmul,
      .rms_norm = scalar::rms_norm,
      .add = scalar::add,
      .scale = scalar::scale,
      .silu_mul = scalar::silu_mul,
      .gelu_mul = scalar::gelu_mul,
      .swiglu_clamped = scalar::swiglu_clamped,
      .softcap = scalar::softcap,
      .mul = scalar::mul,
      .relu_squared = scalar::relu_squared,
      .silu = scalar::silu,
      .sigmoid_mul = scalar::sigmoid_mul,
      .convolve = scalar::convolve,
      .delta_rule = scalar::delta_rule,
      .rope = scalar::rope,
      .store_key = scalar::store_key,
      .store_value = scalar::store_value,
      .attend = scalar::attend,
      .sum_exp = scalar::sum_exp,
      .probe = probe,
  };
}

}  // namespace

const Table scalar_table = portable_table("scalar", scalar::matmul, scalar::probe);
const Table swar_table = portable_table("swar", swar::matmul, swar::probe);

}  // namespace flyball::kernels
