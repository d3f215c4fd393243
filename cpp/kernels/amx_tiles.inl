// The tile instructions that the AMX kernels use. Tests replace this part by an emulation of the same functions.
// Written as assembly: gcc 12's intrinsics neither order tile loads after the stores that fill the memory they read, nor
// declare that LDTILECFG reads all 64 bytes.

namespace flyball::kernels {
namespace {

template <u32 tile>
FLYBALL_INLINE void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(tile));
}

template <u32 tile>
FLYBALL_INLINE void tile_load(const void* from, u64 stride) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(tile) : "memory");
}

template <u32 tile>
FLYBALL_INLINE void tile_store(void* to, u64 stride) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(tile) : "memory");
}

// sum[m][n] += a[m][k] * b[k / 4][4 n + k % 4]: signed a; b signed or not.
template <u32 sum, u32 a, u32 b, bool b_signed>
FLYBALL_INLINE void tile_dot() {
  if constexpr (b_signed)
    __asm__ volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
  else
    __asm__ volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(a), "i"(b));
}

FLYBALL_INLINE void load_tile_config(const TileConfig& config) { __asm__ volatile("ldtilecfg %0" ::"m"(config)); }

// Back to the initial state, which a switch of threads need not save.
FLYBALL_INLINE void release_tiles() { __asm__ volatile("tilerelease"); }

}  // namespace
}  // namespace flyball::kernels
