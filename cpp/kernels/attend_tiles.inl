// Products of attention in registers: rows (one token's one head each) times vectors of 16, keys and values as they are
// cached or converted to f32. In q . k a lane is a position and the steps are the elements d; in weight * value a lane is
// an element and the steps are the positions. A sum stays in its lane over all steps. Included before attend.inl.

namespace flyball::kernels {
namespace {

constexpr u32 scale_block = 32;  // values that share a scale in a q8_0 cache

FLYBALL_INLINE F set_half(u16 x) { return set(_cvtsh_ss(x)); }
// Into the second level: a chunk of keys or values and the one after it are more than the first holds.
FLYBALL_INLINE void prefetch_line(const void* p, i64 ahead) {
  _mm_prefetch(static_cast<const char*>(p) + ahead, _MM_HINT_T1);
}
FLYBALL_INLINE F load_cached(const f32* p) { return load(p); }
FLYBALL_INLINE F load_cached(const u16* p) { return load_half(p); }

FLYBALL_INLINE i64 distance(const void* from, const void* to) {
  return static_cast<const u8*>(to) - static_cast<const u8*>(from);
}

// The right side of a product: vector `v` of step `k`. `ahead` is how many bytes further that lies which is read next.
template <class T>
struct CachePanel {
  static constexpr u32 steps_per_scale = 0;
  const T* from;
  u64 step, stride;
  i64 ahead = 0;
  FLYBALL_INLINE const T* address(u64 k, u64 v) const { return from + k * step + v * stride; }
  FLYBALL_INLINE CachePanel at(u64 k, u64 v) const { return {address(k, v), step, stride, ahead}; }
  FLYBALL_INLINE F scale(u64, u64) const { return zero(); }
  FLYBALL_INLINE F get(u64 k, u64 v, F) const { return load_cached(address(k, v)); }
};

template <class P>
constexpr bool is_float = false;
template <>
constexpr bool is_float<CachePanel<f32>> = true;

struct ByteKeys {
  static constexpr u32 steps_per_scale = scale_block;
  const i8* from;
  const u16* scales;
  u64 dim;
  i64 ahead = 0;
  FLYBALL_INLINE const i8* address(u64 k, u64 v) const { return from + (v * dim + k) * n_lanes; }
  FLYBALL_INLINE const u16* scale_at(u64 k, u64 v) const { return scales + (v * dim + k) / scale_block * n_lanes; }
  FLYBALL_INLINE ByteKeys at(u64 k, u64 v) const { return {address(k, v), scale_at(k, v), dim, ahead}; }
  FLYBALL_INLINE F scale(u64 k, u64 v) const { return load_half(scale_at(k, v)); }
  FLYBALL_INLINE F get(u64 k, u64 v, F by) const { return mul(load_i8(address(k, v)), by); }
};

struct ByteValues {
  static constexpr u32 steps_per_scale = 0;
  const i8* from;
  const u16* scales;
  u64 dim;
  u64 first;  // element at which the panel starts
  i64 ahead = 0;
  FLYBALL_INLINE u64 index(u64 k, u64 v) const { return first + k * dim + v * n_lanes; }
  FLYBALL_INLINE const i8* address(u64 k, u64 v) const { return from + index(k, v); }
  FLYBALL_INLINE ByteValues at(u64 k, u64 v) const { return {from, scales, dim, index(k, v), ahead}; }
  FLYBALL_INLINE F scale(u64, u64) const { return zero(); }
  FLYBALL_INLINE F get(u64 k, u64 v, F) const {
    return mul(load_i8(address(k, v)), set_half(scales[index(k, v) / scale_block]));
  }
};

template <CacheType type>
auto keys_from(const CacheHead& cache, u32 position) {  // a multiple of 16
  const u64 dim = cache.head_dim, at = position * dim;
  if constexpr (type == CacheType::f32)
    return CachePanel<f32>{static_cast<const f32*>(cache.keys) + at, n_lanes, dim * n_lanes};
  if constexpr (type == CacheType::f16)
    return CachePanel<u16>{static_cast<const u16*>(cache.keys) + at, n_lanes, dim * n_lanes};
  if constexpr (type == CacheType::q8_0)
    return ByteKeys{static_cast<const i8*>(cache.keys) + at, cache.key_scales + at / scale_block, dim};
}

template <CacheType type>
auto values_from(const CacheHead& cache, u32 position) {
  const u64 dim = cache.value_dim, at = position * dim;
  if constexpr (type == CacheType::f32)
    return CachePanel<f32>{static_cast<const f32*>(cache.values) + at, dim, n_lanes};
  if constexpr (type == CacheType::f16)
    return CachePanel<u16>{static_cast<const u16*>(cache.values) + at, dim, n_lanes};
  if constexpr (type == CacheType::q8_0)
    return ByteValues{static_cast<const i8*>(cache.values), cache.value_scales, dim, at};
}

// The left side of a product and where its sums go.
struct Product {
  const f32* a;  // (rows, attention_chunk): one number a row and step
  f32* c;        // (rows, c_row): added to
  u64 c_row, c_vector;
  u64 begin, end;  // steps
};

template <class P, u32 rows, u32 vectors>
FLYBALL_NOINLINE void multiply_tile(const P& panel, const Product& product) {
  const f32* a = product.a;
  constexpr u32 chains = sum_chains(rows * vectors);
  F sum[chains][rows][vectors];
  for (u32 r = 0; r < rows; ++r) {
    for (u32 v = 0; v < vectors; ++v) {
      sum[0][r][v] = load(product.c + r * product.c_row + v * product.c_vector);
      for (u32 c = 1; c < chains; ++c) sum[c][r][v] = zero();
    }
  }
  for (u64 k = product.begin; k < product.end;) {
    u64 end = product.end;
    F scale[vectors];
    for (u32 v = 0; v < vectors; ++v) scale[v] = panel.scale(k, v);
    if constexpr (P::steps_per_scale != 0) end = k + P::steps_per_scale;
    each_in_chains<chains>(k, end, [&](u64 i, auto chain) FLYBALL_LAMBDA {
      F b[vectors];
      for (u32 v = 0; v < vectors; ++v) {
        b[v] = panel.get(i, v, scale[v]);
        if constexpr (rows <= direct_rows) prefetch_line(panel.address(i, v), panel.ahead);
      }
      for (u32 r = 0; r < rows; ++r) {
        const F x = set(a[r * attention_chunk + i]);
        for (u32 v = 0; v < vectors; ++v) sum[chain.value][r][v] = fma(x, b[v], sum[chain.value][r][v]);
      }
    });
    k = end;
  }
  for (u32 r = 0; r < rows; ++r) {
    for (u32 v = 0; v < vectors; ++v) {
      for (u32 c = 1; c < chains; ++c) sum[0][r][v] = add(sum[0][r][v], sum[c][r][v]);
      store(product.c + r * product.c_row + v * product.c_vector, sum[0][r][v]);
    }
  }
}

template <class P, u32 rows>
void multiply_vectors(const P& panel, const Product& product, u32 n_vectors) {
  constexpr u32 most = row_tile_vectors(rows);
  Product part = product;
  u32 v = 0;
  const auto run = [&](auto tile, u32 vectors) FLYBALL_LAMBDA {
    for (; v + vectors <= n_vectors; v += vectors) {
      part.c = product.c + v * product.c_vector;
      tile(panel.at(0, v), part);
    }
  };
  run(multiply_tile<P, rows, most>, most);
  if constexpr (most > 2) run(multiply_tile<P, rows, 2>, 2);
  if constexpr (most > 1) run(multiply_tile<P, rows, 1>, 1);
}

// The largest tile that fits in so many rows.
template <class P>
u32 tile_rows(u32 n_rows) {
  if (n_rows >= shared_rows && is_float<P>) return shared_rows;
  u32 n = direct_rows;
  while (n > n_rows) n /= 2;
  return n;
}

template <class P>
void multiply(const P& panel, const Product& product, u32 rows, u32 n_vectors) {
  if constexpr (is_float<P>) {
    if (rows == shared_rows) return multiply_vectors<P, shared_rows>(panel, product, n_vectors);
  }
  if constexpr (direct_rows == 8) {
    if (rows == 8) return multiply_vectors<P, 8>(panel, product, n_vectors);
  }
  if (rows == 4) return multiply_vectors<P, 4>(panel, product, n_vectors);
  if (rows == 2) return multiply_vectors<P, 2>(panel, product, n_vectors);
  multiply_vectors<P, 1>(panel, product, n_vectors);
}

}  // namespace
}  // namespace flyball::kernels
