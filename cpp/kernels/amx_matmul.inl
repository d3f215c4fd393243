// From a call to tiles: which tokens meet which group. Part of amx.inl.

namespace flyball::kernels {
namespace {

// A panel of slots for one group, in several functions: no stack frame holds all sums and both digits of the weights.
template <class W, u32 tokens>
FLYBALL_NOINLINE void multiply_panel(const u8* group, const Activations& x, Panel<tokens> panel, Digits* high,
                                     const Groups& out) {
  SlotSums<tokens> sums;
  memset(&sums, 0, sizeof sums);
  panel.sums[1] = &sums;
  if constexpr (packed_shape(W::type).block_values == 32)
    panel32<W>(group, x, panel);
  else
    panel256<W>(group, x, panel, high);
  for (u32 s = 0; s < panel.n; ++s) {
    for (u32 t = 0; t < tokens; ++t) out.put(panel.token(s) + t, 0, _mm512_load_ps(panel.sums_of(s) + 16 * t));
  }
}

template <class W, u32 tokens>
FLYBALL_NOINLINE void begin_panel(const u8* group, const Activations& x, Panel<tokens> panel, Digits* high,
                                  const Groups& out) {
  SlotSums<tokens> sums;
  memset(&sums, 0, sizeof sums);
  panel.sums[0] = &sums;
  multiply_panel<W>(group, x, panel, high, out);
}

// Activations that stay in L2, beside the weights that stream through it, while the groups pass by.
constexpr u64 activation_bytes = 3 << 19;

template <class W, u32 tokens>
FLYBALL_NOINLINE void matmul_tiles(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y,
                                   u64 y_stride) {
  constexpr bool small = packed_shape(W::type).block_values == 32;
  alignas(64) Digits high;
  load_tile_config(small ? config32<tokens> : config256<tokens>);
  const u32 n_slots = (x.n_tokens + tokens - 1) / tokens;
  const u64 panels = activation_bytes / (u64(x.cols) * panel_slots * tokens);
  const u32 resident = panel_slots * (panels < 1 ? 1 : panels > n_slots ? n_slots : u32(panels));
  for (u32 begin = 0; begin < n_slots; begin += resident) {
    const u32 end = n_slots - begin < resident ? n_slots : begin + resident;
    for (u32 g = group_begin; g < group_end; ++g) {
      const Groups out(w, g, 1, y, y_stride);
      for (u32 s = begin; s < end; s += panel_slots) {
        const Panel<tokens> panel = {x.n_tokens, s, end - s < panel_slots ? end - s : panel_slots, {}};
        begin_panel<W>(w.data + g * w.group_bytes, x, panel, &high, out);
      }
    }
  }
  release_tiles();
}

template <class W>
void matmul_type(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  if (x.n_tokens >= 16)
    matmul_tiles<W, 16>(w, x, group_begin, group_end, y, y_stride);
  else
    matmul_tiles<W, 8>(w, x, group_begin, group_end, y, y_stride);
}

// With fewer tokens a tile is mostly empty.
constexpr u32 fewest_tokens = 8;

void matmul(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride) {
  if (x.n_tokens < fewest_tokens) return avx512_table.matmul(w, x, group_begin, group_end, y, y_stride);
  switch (w.type) {
    case Type::q4_0: return matmul_type<Q4_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_1: return matmul_type<Q4_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_0: return matmul_type<Q5_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_1: return matmul_type<Q5_1>(w, x, group_begin, group_end, y, y_stride);
    case Type::q8_0: return matmul_type<Q8_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_nl: return matmul_type<Iq4Nl>(w, x, group_begin, group_end, y, y_stride);
    case Type::mxfp4: return matmul_type<Mxfp4>(w, x, group_begin, group_end, y, y_stride);
    case Type::tq1_0: return matmul_type<Tq1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::tq2_0: return matmul_type<Tq2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q1_0: return matmul_type<Q1_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_0: return matmul_type<Q2_0>(w, x, group_begin, group_end, y, y_stride);
    case Type::q2_k: return matmul_type<Q2K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q3_k: return matmul_type<Q3K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q4_k: return matmul_type<Q4K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q5_k: return matmul_type<Q5K>(w, x, group_begin, group_end, y, y_stride);
    case Type::q6_k: return matmul_type<Q6K>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq4_xs: return matmul_type<Iq4Xs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_xxs: return matmul_type<Iq3Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq3_s: return matmul_type<Iq3S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xxs: return matmul_type<Iq2Xxs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_xs: return matmul_type<Iq2Xs>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq2_s: return matmul_type<Iq2S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_s: return matmul_type<Iq1S>(w, x, group_begin, group_end, y, y_stride);
    case Type::iq1_m: return matmul_type<Iq1M>(w, x, group_begin, group_end, y, y_stride);
    case Type::f32:
    case Type::f16:
    case Type::bf16:
    case Type::nvfp4: return avx512_table.matmul(w, x, group_begin, group_end, y, y_stride);
  }
}

// Four chains over all sums, activations and weights that the registers hold.
u64 probe(u64 rounds) {
  load_tile_config(config256<16>);
  each_constant<8>([](auto tile) FLYBALL_LAMBDA { tile_zero<tile.value>(); });
  for (u64 round = 0; round < rounds; ++round) {
    tile_dot<0, 4, 6, true>();
    tile_dot<1, 5, 6, true>();
    tile_dot<2, 4, 7, true>();
    tile_dot<3, 5, 7, true>();
  }
  release_tiles();
  return rounds * 4 * 16 * 16 * 64;
}

}  // namespace
}  // namespace flyball::kernels
