// What both vector tables' matrix products share: how a tile of tokens is addressed, and how results are stored.
// Included after lanes.inl; matmul_driver.inl comes after the table's own kernels.

namespace flyball::kernels {
namespace {

using gguf::Type;

template <class W>
constexpr bool is_small = packed_shape(W::type).block_values == 32;  // blocks of 32, else of 256

// The activations of a tile of tokens at one block; token t is `stride` further on.
template <class T>
struct Strided {
  const T* first;
  u64 stride;
  FLYBALL_INLINE const T& at(u32 t, u64 i = 0) const { return first[t * stride + i]; }
};

struct Tile32 {
  Strided<i8> q;
  Strided<f32> d;
  Strided<i32> sum;
  FLYBALL_INLINE Tile32(const Activations& x, u32 token, u32 block) {
    const u64 n_blocks = x.cols / 32, at = token * n_blocks + block;
    q = {x.q32 + 32 * at, x.cols};
    d = {x.d32 + at, n_blocks};
    sum = {x.sum32 + at, n_blocks};
  }
};

// The numbers of a token's block of 32 that enter beside its q: where the dot product starts (the weights' bias), the
// scale, and the factor of the weights' minimum. Either computed where they are needed, or for a tile of 8 blocks
// ahead: on the stack they need one address instead of two streams a token, for which there are not enough registers.
template <i32 bias>
struct StreamedScales {
  const Tile32& x;
  FLYBALL_INLINE i32 start(u32 t, u32 b) const { return bias * x.sum.at(t, b); }
  FLYBALL_INLINE f32 d(u32 t, u32 b) const { return x.d.at(t, b); }
  FLYBALL_INLINE f32 minimum(u32 t, u32 b) const { return x.d.at(t, b) * f32(x.sum.at(t, b)); }
};

template <i32 bias, bool has_min, u32 tokens>
struct TileScales {
  alignas(32) i32 starts[tokens][8];
  alignas(32) f32 ds[tokens][8];
  alignas(32) f32 minima[tokens][8];
  FLYBALL_INLINE TileScales(const Tile32& x, u32 n_blocks) {
    for (u32 t = 0; t < tokens; ++t) {
      if (n_blocks == 8)
        fill(x, t, 8);
      else
        fill(x, t, n_blocks);
    }
  }
  FLYBALL_INLINE void fill(const Tile32& x, u32 t, u32 n) {
    for (u32 b = 0; b < n; ++b) {
      const i32 sum = x.sum.at(t, b);
      const f32 d = x.d.at(t, b);
      ds[t][b] = d;
      if constexpr (bias != 0) starts[t][b] = bias * sum;
      if constexpr (has_min) minima[t][b] = d * f32(sum);
    }
  }
  FLYBALL_INLINE i32 start(u32 t, u32 b) const { return starts[t][b]; }
  FLYBALL_INLINE f32 d(u32 t, u32 b) const { return ds[t][b]; }
  FLYBALL_INLINE f32 minimum(u32 t, u32 b) const { return minima[t][b]; }
};

struct Tile256 {
  Strided<i8> q;
  Strided<f32> d;
  Strided<i32> sum16;
  FLYBALL_INLINE Tile256(const Activations& x, u32 token, u32 block) {
    const u64 n_blocks = x.cols / 256, at = token * n_blocks + block;
    q = {x.q256 + 256 * at, x.cols};
    d = {x.d256 + at, n_blocks};
    sum16 = {x.sum16 + 16 * at, 16 * n_blocks};
  }
};

// Into L2: lines on their way to L1 hold its few fill buffers for as long as memory takes.
FLYBALL_INLINE void prefetch(const u8* from, u32 bytes) {
  for (u32 i = 0; i < bytes; i += 64) _mm_prefetch(reinterpret_cast<const char*>(from + i), _MM_HINT_T1);
}
constexpr u32 prefetch_distance = 4096;

// Where results go: y of a group's first row at token 0. The matrix's last group may have fewer than 16 rows.
struct Output {
  f32* y;
  u64 stride;
  u32 rows;  // from this group on
  FLYBALL_INLINE Output(const Matrix& w, u32 group, f32* all_y, u64 y_stride)
      : y(all_y + u64(group) * group_rows), stride(y_stride), rows(w.rows - group * group_rows) {}
  FLYBALL_INLINE void put(u32 token, F x, u32 g = 0) const {
    f32* to = y + token * stride + g * group_rows;
    if (rows >= (g + 1) * group_rows) {
      store(to, x);
    } else {
      store_n(to, x, rows - g * group_rows);
    }
  }
};

// Neighboring groups that a tile takes together. A group without a neighbor stands for both: the distance is 0, and
// what is computed twice is stored once.
struct Groups {
  const u8* data;
  u64 distance;
  u32 n;
  bool in_file;
  Output out;
  FLYBALL_INLINE Groups(const Matrix& w, u32 first, u32 count, f32* y, u64 y_stride)
      : data(w.data + first * w.group_bytes),
        distance(count > 1 ? w.group_bytes : 0),
        n(count),
        in_file(w.in_file),
        out(w, first, y, y_stride) {}
  FLYBALL_INLINE void put(u32 token, u32 g, F x) const {
    if (g < n) out.put(token, x, g);
  }
};

// f(Constant<n>()) for an n of least .. most.
template <u32 least, u32 most, class Function>
FLYBALL_INLINE void with_constant(u32 n, Function f) {
  if constexpr (most > least) {
    if (n < most) return with_constant<least, most - 1>(n, f);
  }
  f(Constant<most>());
}

// Calls f(first, count) for tiles that cover [0, n), of nearly equal size. `count` is a constant from least to most;
// the caller knows that n gives no smaller one.
template <u32 least, u32 most, class Function>
FLYBALL_INLINE void each_tile(u32 n, Function f) {
  u32 t = 0;
  for (u32 left = (n + most - 1) / most; left > 0; --left) {
    const u32 count = (n - t + left - 1) / left;
    with_constant<least, most>(count, [&](auto c) FLYBALL_LAMBDA { f(t, c); });
    t += count;
  }
}

}  // namespace
}  // namespace flyball::kernels
