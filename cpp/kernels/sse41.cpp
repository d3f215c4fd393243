// SSE4.1 with SSSE3: Atoms and servers before AVX2. The text of the kernels is AVX2's, on pairs of registers. Compiled with
// its own flags; exports sse41_table and nothing else.
#include <smmintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

namespace flyball::kernels {
namespace {
constexpr Matmul* few_bits_matmul = sse41_few_bits_matmul;
}
}  // namespace flyball::kernels

// Each part builds on the ones before.
// clang-format off
#include "kernels/isa.inl"
#include "kernels/sse41_registers.inl"
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

const Table sse41_table = {
    .name = "sse41",
    .features = cpu_sse41,
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
