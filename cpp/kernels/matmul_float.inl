// Matrix products of F32, F16 and BF16 weights: one chain of fma per output element, k ascending. Several groups of 16
// rows and several tokens at once hide its latency. Included after matmul_tiles.inl.

namespace flyball::kernels {
namespace {

template <Type type>
FLYBALL_INLINE F load_weights(const u8* p) {
  if constexpr (type == Type::f32) return load(reinterpret_cast<const f32*>(p));
  if constexpr (type == Type::f16) return load_half(reinterpret_cast<const u16*>(p));
  return load_bf16(reinterpret_cast<const u16*>(p));
}

template <Type type, u32 groups, u32 tokens>
void float_tile(const Matrix& w, const Activations& x, u32 group, u32 token, f32* y, u64 y_stride) {
  constexpr u32 step = packed_shape(type).body_bytes;
  const u8* weights = w.data + group * w.group_bytes;
  const f32* a = x.x + u64(token) * x.cols;
  constexpr u32 chains = sum_chains(groups * tokens);
  F sum[chains][groups][tokens];
  for (u32 c = 0; c < chains; ++c) {
    for (u32 g = 0; g < groups; ++g) {
      for (u32 t = 0; t < tokens; ++t) sum[c][g][t] = zero();
    }
  }
  each_in_chains<chains>(0, x.cols, [&](u64 k, auto chain) FLYBALL_LAMBDA {
    F v[groups];
    for (u32 g = 0; g < groups; ++g) {
      if constexpr (tokens < 4) prefetch(weights + g * w.group_bytes + 1024, 64);
      v[g] = load_weights<type>(weights + g * w.group_bytes);
    }
    for (u32 t = 0; t < tokens; ++t) {
      const F value = set(a[u64(t) * x.cols + k]);
      for (u32 g = 0; g < groups; ++g) sum[chain.value][g][t] = fma(v[g], value, sum[chain.value][g][t]);
    }
    weights += step;
  });
  const Output out(w, group, y, y_stride);
  for (u32 g = 0; g < groups; ++g) {
    for (u32 t = 0; t < tokens; ++t) {
      for (u32 c = 1; c < chains; ++c) sum[0][g][t] = add(sum[0][g][t], sum[c][g][t]);
      out.put(token + t, sum[0][g][t], g);
    }
  }
}

template <Type type, u32 tokens>
void float_groups(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, u32 token, f32* y,
                  u64 y_stride) {
  constexpr u32 wide = float_tile_groups(tokens);
  u32 g = group_begin;
  for (; g + wide <= group_end; g += wide) float_tile<type, wide, tokens>(w, x, g, token, y, y_stride);
  for (; g < group_end; ++g) float_tile<type, 1, tokens>(w, x, g, token, y, y_stride);
}

template <Type type>
void matmul_float(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  // A few groups' weights stay in L2 while all tokens pass by.
  constexpr u32 resident_groups = 4;
  for (u32 g = group_begin; g < group_end; g += resident_groups) {
    const u32 end = group_end - g < resident_groups ? group_end : g + resident_groups;
    each_tile<1, float_tile_tokens>(x.n_tokens, [&](u32 t, auto count) FLYBALL_LAMBDA {
      float_groups<type, count.value>(w, x, g, end, t, y, y_stride);
    });
  }
}

}  // namespace
}  // namespace flyball::kernels
