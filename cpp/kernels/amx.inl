// The AMX table but for its instructions and its name: matrix products by tiles, all else as the avx512 table does it.
// Included after the tile instructions.

// Each part builds on the ones before.
// clang-format off
#include "kernels/avx512_lanes.inl"
#include "kernels/matmul_tiles.inl"
#include "kernels/avx512_unpack.inl"
#include "kernels/amx_unpack.inl"
#include "kernels/amx_slots.inl"
#include "kernels/amx_matmul32.inl"
#include "kernels/amx_matmul256.inl"
#include "kernels/amx_matmul.inl"
// clang-format on

namespace flyball::kernels {
namespace {

template <auto entry>
struct Avx512;
template <class Result, class... Arguments, Result (*Table::*entry)(Arguments...)>
struct Avx512<entry> {
  static Result call(Arguments... arguments) { return (avx512_table.*entry)(arguments...); }
};

constexpr Table amx_table_as(const char* name, u64 tile_features) {
  return {
      .name = name,
      .features = cpu_avx2 | cpu_fma | cpu_f16c | cpu_bmi2 | cpu_avx512 | cpu_avx512_vnni | tile_features,
      .quantize = Avx512<&Table::quantize>::call,
      .matmul = matmul,
      .rms_norm = Avx512<&Table::rms_norm>::call,
      .add = Avx512<&Table::add>::call,
      .scale = Avx512<&Table::scale>::call,
      .silu_mul = Avx512<&Table::silu_mul>::call,
      .gelu_mul = Avx512<&Table::gelu_mul>::call,
      .swiglu_clamped = Avx512<&Table::swiglu_clamped>::call,
      .softcap = Avx512<&Table::softcap>::call,
      .mul = Avx512<&Table::mul>::call,
      .relu_squared = Avx512<&Table::relu_squared>::call,
      .silu = Avx512<&Table::silu>::call,
      .sigmoid_mul = Avx512<&Table::sigmoid_mul>::call,
      .convolve = Avx512<&Table::convolve>::call,
      .delta_rule = Avx512<&Table::delta_rule>::call,
      .rope = Avx512<&Table::rope>::call,
      .store_key = Avx512<&Table::store_key>::call,
      .store_value = Avx512<&Table::store_value>::call,
      .attend = Avx512<&Table::attend>::call,
      .sum_exp = Avx512<&Table::sum_exp>::call,
      .probe = probe,
  };
}

}  // namespace
}  // namespace flyball::kernels
