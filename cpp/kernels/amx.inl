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
#include "kernels/table_over.inl"
// clang-format on

namespace flyball::kernels {
namespace {

constexpr Table amx_table_as(const char* name, u64 tile_features) {
  constexpr u64 below = cpu_sse41 | cpu_avx2 | cpu_fma | cpu_f16c | cpu_bmi2 | cpu_avx512 | cpu_avx512_vnni;
  return table_over<avx512_table>(name, below | tile_features, 0, matmul, probe);
}

}  // namespace
}  // namespace flyball::kernels
