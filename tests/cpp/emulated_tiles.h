// The tile registers of AMX as plain code: shapes, zeroed remainders and faults as the instructions' manual says them.
// Everything here has internal linkage: it is compiled for more than one instruction set.
#pragma once

#include "base/types.h"

// What the processor would raise, by its name. Does not return.
[[noreturn]] void tile_fault(const char* what);

namespace {

using namespace flyball;

class EmulatedTiles {
 public:
  void load_config(const void* from) {
    u8 bytes[64];
    memcpy(bytes, from, 64);
    if (bytes[0] > 1) tile_fault("#GP: no such palette");
    for (u32 i = 2; i < 16; ++i) {
      if (bytes[i] != 0) tile_fault("#GP: reserved bytes of the configuration");
    }
    for (u32 i = 0; i < 16; ++i) {
      const u32 n_bytes = bytes[16 + 2 * i] | u32(bytes[17 + 2 * i]) << 8, n_rows = bytes[48 + i];
      if (i >= n_tiles && (n_bytes || n_rows)) tile_fault("#GP: no such tile");
      if (n_bytes > 64 || n_rows > 16 || (n_bytes == 0) != (n_rows == 0)) tile_fault("#GP: shape of a tile");
    }
    release();
    configured_ = bytes[0] == 1;
    for (u32 i = 0; configured_ && i < n_tiles; ++i) {
      tiles_[i].row_bytes = bytes[16 + 2 * i];
      tiles_[i].rows = bytes[48 + i];
    }
  }

  void release() {
    configured_ = false;
    memset(tiles_, 0, sizeof tiles_);
  }

  bool configured() const { return configured_; }

  void zero(u32 tile) {
    Tile& t = valid(tile);
    memset(t.data, 0, sizeof t.data);
  }

  void load(u32 tile, const void* from, u64 stride) {
    Tile& t = valid(tile);
    memset(t.data, 0, sizeof t.data);
    for (u32 r = 0; r < t.rows; ++r) memcpy(t.data[r], static_cast<const u8*>(from) + r * stride, t.row_bytes);
  }

  void store(u32 tile, void* to, u64 stride) {
    const Tile& t = valid(tile);
    for (u32 r = 0; r < t.rows; ++r) memcpy(static_cast<u8*>(to) + r * stride, t.data[r], t.row_bytes);
  }

  // TDPBSSD and TDPBSUD.
  void dot(u32 sum, u32 a, u32 b, bool b_signed) {
    Tile& s = valid(sum);
    const Tile& x = valid(a);
    const Tile& y = valid(b);
    if (sum == a || sum == b || a == b) tile_fault("#UD: a tile named twice");
    if (s.row_bytes % 4 || x.row_bytes % 4) tile_fault("#UD: rows of part of an element");
    if (s.rows != x.rows || x.row_bytes / 4 != y.rows || s.row_bytes != y.row_bytes) tile_fault("#UD: shapes");
    for (u32 m = 0; m < s.rows; ++m) {
      i32 row[16];
      memcpy(row, s.data[m], 64);
      for (u32 k = 0; k < y.rows; ++k) {
        for (u32 n = 0; n < s.row_bytes / 4; ++n) {
          for (u32 j = 0; j < 4; ++j) {
            const u8 code = y.data[k][4 * n + j];
            row[n] = i32(u32(row[n]) + u32(i32(i8(x.data[m][4 * k + j])) * (b_signed ? i32(i8(code)) : i32(code))));
          }
        }
      }
      memset(s.data[m], 0, 64);
      memcpy(s.data[m], row, s.row_bytes);
    }
  }

 private:
  static constexpr u32 n_tiles = 8;
  struct Tile {
    u32 rows, row_bytes;
    u8 data[16][64];
  };

  Tile& valid(u32 tile) {
    if (!configured_) tile_fault("#UD: tiles are not configured");
    if (tile >= n_tiles || tiles_[tile].rows == 0) tile_fault("#UD: this tile is not configured");
    return tiles_[tile];
  }

  bool configured_ = false;
  Tile tiles_[n_tiles] = {};
};

}  // namespace
