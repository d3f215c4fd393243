// Compiled with AVX-512's flags, so nothing of the standard library may come in.
#include "amx_emulated.h"

#include <immintrin.h>

#include "base/math.h"
#include "emulated_tiles.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

// clang-format off
#include "kernels/isa.inl"
#include "kernels/amx_config.inl"
// clang-format on

namespace flyball::kernels {
namespace {

thread_local EmulatedTiles tiles;

template <u32 tile>
void tile_zero() {
  tiles.zero(tile);
}
template <u32 tile>
void tile_load(const void* from, u64 stride) {
  tiles.load(tile, from, stride);
}
template <u32 tile>
void tile_store(void* to, u64 stride) {
  tiles.store(tile, to, stride);
}
template <u32 sum, u32 a, u32 b, bool b_signed>
void tile_dot() {
  tiles.dot(sum, a, b, b_signed);
}
void load_tile_config(const TileConfig& config) { tiles.load_config(&config); }
void release_tiles() { tiles.release(); }

}  // namespace
}  // namespace flyball::kernels

#include "kernels/amx.inl"

constinit const flyball::kernels::Table amx_emulated_table = flyball::kernels::amx_table_as("amx-emulated", 0);

bool emulated_tiles_in_use() { return flyball::kernels::tiles.configured(); }
