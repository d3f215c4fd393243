// An input of its own for each layer and token (Gemma 3n and 4): made of the token's row in a second embedding and of a
// projection of the first, gated by the layer's residual, and added to it, or to the streams that are not computed.
#include "base/math.h"
#include "model/block.h"

namespace flyball::model {

void load_layer_inputs(Loader& loader, const Config& config, LayerInputs& weights) {
  const u32 n_embd = config.n_embd, width = config.n_embd_per_layer, all = width * config.n_layer();
  weights.table = loader.find("per_layer_token_embd.weight", all, config.n_vocab, true);
  weights.projection = loader.matrix("per_layer_model_proj.weight", n_embd, all);
  weights.projection_norm = loader.vector("per_layer_proj_norm.weight", width, true);
}

void load_layer_input(Loader& loader, const Config& config, u32 i, LayerInput& weights) {
  weights.gate = loader.matrix(LayerName(i, "inp_gate.weight"), config.n_embd, config.n_embd_per_layer);
  weights.projection = loader.matrix(LayerName(i, "proj.weight"), config.n_embd_per_layer, config.n_embd);
  weights.post_norm = loader.vector(LayerName(i, "post_norm.weight"), config.n_embd, true);
}

u32 kinds_of(const LayerInput& weights) { return kind_bit(weights.gate) | kind_bit(weights.projection); }

u64 layer_input_floats(const Config& config, u64 n) { return n * config.n_layer() * config.n_embd_per_layer; }

bool make_layer_inputs(Pass& pass) {
  const Scratch& scratch = pass.scratch;
  const LayerInputs& weights = pass.weights.inputs;
  const u32 n_embd = pass.config.n_embd, width = pass.config.n_embd_per_layer, all = width * pass.config.n_layer();
  const Activations& x =
      pass.linear.norm_and_quantize(scratch.residual, nullptr, n_embd, pass.n_tokens, kind_bit(weights.projection));
  const Product projection[] = {{&weights.projection, nullptr, scratch.layer_inputs, all}};
  if (!pass.linear.multiply(projection, x)) return false;
  f32* const rows = scratch.gate;  // no block is running yet
  for (u32 t = 0; t < pass.n_tokens; ++t) look_up(pass, *weights.table, t, rows + u64(t) * all);
  const f32 projected_scale = 1 / sqrt32(f32(n_embd)), row_scale = sqrt32(f32(width)), sum_scale = 1 / sqrt32(2);
  pass.linear.each_token(pass.n_tokens, all, [&](u32 t) {
    f32* const sums = scratch.layer_inputs + u64(t) * all;
    f32* const row = rows + u64(t) * all;
    pass.table.scale(sums, projected_scale, all);
    for (u32 at = 0; at < all; at += width)
      pass.table.rms_norm(sums + at, weights.projection_norm, pass.config.norm_eps, width, sums + at);
    pass.table.scale(row, row_scale, all);
    pass.table.add(sums, row, all);
    pass.table.scale(sums, sum_scale, all);
  });
  return true;
}

bool run_layer_input(Pass& pass, u32 layer) {
  const Layer& about = pass.weights.layers[layer];
  const LayerInput& weights = about.input;
  const Scratch& scratch = pass.scratch;
  const u32 n_embd = pass.config.n_embd, width = pass.config.n_embd_per_layer;
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, nullptr, n_embd, pass.n_tokens,
                                                       kind_bit(weights.gate), [&](u32 t) {
                                                         if (!pass.config.streams)
                                                           pass.add_residual(t, about.ffn_post_norm);
                                                       });
  const Product gate[] = {{&weights.gate, nullptr, scratch.gate, width}};
  if (!pass.linear.multiply(gate, x)) return false;
  const Activations& gated = pass.linear.norm_and_quantize(
      scratch.gate, nullptr, width, pass.n_tokens, kind_bit(weights.projection), [&](u32 t) {
        f32* const row = scratch.gate + u64(t) * width;
        const f32* inputs = scratch.layer_inputs + (u64(t) * pass.config.n_layer() + layer) * width;
        pass.table.gelu_mul(row, inputs, row, width);
      });
  const Product projection[] = {{&weights.projection, nullptr, scratch.normed, n_embd}};
  return pass.linear.multiply(projection, gated);
}

}  // namespace flyball::model
