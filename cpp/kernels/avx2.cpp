// AVX2 with FMA and F16C. Compiled with its own flags; exports avx2_table and nothing else.
#include <immintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

namespace flyball::kernels {
namespace {
constexpr Matmul* few_bits_matmul = avx2_few_bits_matmul;
}
}  // namespace flyball::kernels

// Each part builds on the ones before.
// clang-format off
#include "kernels/isa.inl"
#include "kernels/avx2_registers.inl"
#include "kernels/avx2_dot4.inl"
#include "kernels/avx2_lanes.inl"
#include "kernels/lanes.inl"
#include "kernels/recurrence.inl"
#include "kernels/attend_tiles.inl"
#include "kernels/attend.inl"
#include "kernels/attend_store.inl"
#include "kernels/matmul_tiles.inl"
#include "kernels/avx2_unpack.inl"
#include "kernels/avx2_matmul.inl"
#include "kernels/matmul_float.inl"
#include "kernels/matmul_driver.inl"
#include "kernels/matmul_types.inl"
// clang-format on

namespace flyball::kernels {

const Table avx2_table = {
    .name = "avx2",
    .features = cpu_sse41 | cpu_avx2 | cpu_fma | cpu_f16c | cpu_bmi2,
    .in_file = type_bit(Type::q8_0),
    .quantize = quantize,
    .matmul = matmul,
    .rms_norm = rms_norm,
    .add = add_to,
    .scale = scale_by,
    .silu_mul = silu_mul,
    .gelu_mul = gelu_mul,
    .swiglu_clamped = swiglu_clamped,
    .softcap = softcap,
    .mul = multiply_by,
    .relu_squared = relu_squared,
    .silu = silu,
    .sigmoid_mul = sigmoid_mul,
    .convolve = convolve,
    .delta_rule = delta_rule,
    .rope = rope,
    .store_key = store_key,
    .store_value = store_value,
    .attend = attend,
    .sum_exp = sum_exp,
    .probe = probe,
};

}  // namespace flyball::kernels
