// Laurel (Menghani et al. 2024): a branch of low rank beside attention, which reads the same norm.
#include "base/math.h"
#include "model/block.h"

namespace flyball::model {

void load_laurel(Loader& loader, const Config& config, u32 i, Laurel& weights) {
  const u32 n_embd = config.n_embd, rank = config.laurel_rank;
  weights.left = loader.matrix(LayerName(i, "laurel_l.weight"), n_embd, rank);
  weights.right = loader.matrix(LayerName(i, "laurel_r.weight"), rank, n_embd);
  weights.post_norm = loader.vector(LayerName(i, "laurel_post_norm.weight"), n_embd, true);
}

u32 kinds_of(const Laurel& weights) { return kind_bit(weights.left) | kind_bit(weights.right); }

bool allocate_laurel(Arena& arena, const Config& config, u64 n, LaurelScratch& scratch) {
  const Span<f32> hidden = arena.allocate<f32>(n * config.laurel_rank), out = arena.allocate<f32>(n * config.n_embd);
  scratch = {hidden.data, out.data};
  return !hidden.empty() && !out.empty();
}

bool run_laurel(Pass& pass, u32 layer) {
  const Layer& about = pass.weights.layers[layer];
  const Laurel& weights = about.laurel;
  const Scratch& scratch = pass.scratch;
  const u32 n_embd = pass.config.n_embd, rank = pass.config.laurel_rank;
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, about.attention_norm, n_embd, pass.n_tokens,
                                                       kind_bit(weights.left));
  const Product left[] = {{&weights.left, nullptr, scratch.laurel.hidden, rank}};
  if (!pass.linear.multiply(left, x)) return false;
  const Activations& hidden =
      pass.linear.norm_and_quantize(scratch.laurel.hidden, nullptr, rank, pass.n_tokens, kind_bit(weights.right));
  const Product right[] = {{&weights.right, nullptr, scratch.laurel.out, n_embd}};
  if (!pass.linear.multiply(right, hidden)) return false;
  pass.linear.each_token(pass.n_tokens, n_embd, [&](u32 t) {
    f32* const row = scratch.laurel.out + u64(t) * n_embd;
    pass.table.rms_norm(row, weights.post_norm, pass.config.post_norm_eps, n_embd, row);
    pass.table.add(row, scratch.normed + u64(t) * n_embd, n_embd);
  });
  return true;
}

void join_laurel(const Pass& pass, u32 t) {
  const u32 n_embd = pass.config.n_embd;
  f32* const residual = pass.scratch.residual + u64(t) * n_embd;
  pass.table.add(residual, pass.scratch.laurel.out + u64(t) * n_embd, n_embd);
  pass.table.scale(residual, 1 / sqrt32(2), n_embd);
}

}  // namespace flyball::model
