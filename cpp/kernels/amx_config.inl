// The shapes of the eight tile registers. Part of amx.inl.

namespace flyball::kernels {
namespace {

struct alignas(64) TileConfig {  // as LDTILECFG reads it
  u8 palette = 1;
  u8 start_row = 0;
  u8 reserved[14] = {};
  u16 row_bytes[16] = {};
  u8 rows[16] = {};
  constexpr void set(u32 tile, u32 n_rows, u32 n_bytes) {
    rows[tile] = u8(n_rows);
    row_bytes[tile] = u16(n_bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

// Sums of `tokens` tokens by 16 rows, activations of `tokens` tokens, weights of 16 rows: the first of each.
struct TileNumbers {
  u32 sums, activations, weights;
};
constexpr TileNumbers tiles32 = {0, 2, 4};   // 2, 2, 4: weights of four blocks stay while the tokens pass by
constexpr TileNumbers tiles256 = {0, 4, 6};  // 4, 2, 2: two digits for two slots of tokens; weights by digit

constexpr TileConfig tile_config(const TileNumbers& tiles, u32 tokens, u32 depth) {
  TileConfig config;
  for (u32 i = 0; i < 8; ++i) {
    if (i < tiles.activations)
      config.set(i, tokens, 64);
    else if (i < tiles.weights)
      config.set(i, tokens, depth);
    else
      config.set(i, depth / 4, 64);
  }
  return config;
}

// In static memory for as long as the program runs.
template <u32 tokens>
constexpr TileConfig config32 = tile_config(tiles32, tokens, 32);
template <u32 tokens>
constexpr TileConfig config256 = tile_config(tiles256, tokens, 64);

}  // namespace
}  // namespace flyball::kernels
