// The dense feed-forward: down(activation(gate x) * up x).
#include "model/block.h"

namespace flyball::model {
namespace {

u32 input_kinds(const FeedForward& weights) {
  return (weights.gate.rows != 0 ? kind_bit(weights.gate) : 0) | kind_bit(weights.up);
}

// What exceeds the mean by some standard deviations keeps what it has above that, all else is 0.
void keep_largest(f32* x, u32 n, f32 deviations) {
  const f64 mean = sum_in_lanes(n, [=](u32 i) { return f64(x[i]); }) / n;
  const f64 variance = sum_in_lanes(n, [=](u32 i) { return (x[i] - mean) * (x[i] - mean); }) / (n - 1.0);
  const f32 least = f32(mean + deviations * __builtin_sqrt(variance));
  for (u32 i = 0; i < n; ++i) x[i] = x[i] > least ? x[i] - least : 0;
}

}  // namespace

void load_feed_forward(Loader& loader, const Config& config, u32 i, FeedForward& weights) {
  const u32 n_ff = config.layers[i].dense_ff();
  if (config.activation == Activation::relu_squared) {
    weights.up = loader.matrix(LayerName(i, "ffn_up.weight"), config.n_embd, n_ff);
    weights.up_bias = loader.vector(LayerName(i, "ffn_up.bias"), n_ff, false);
  } else if (loader.has(LayerName(i, "ffn_gate.weight"))) {
    weights.gate = loader.matrix(LayerName(i, "ffn_gate.weight"), config.n_embd, n_ff);
    weights.up = loader.matrix(LayerName(i, "ffn_up.weight"), config.n_embd, n_ff);
    weights.gate_bias = loader.vector(LayerName(i, "ffn_gate.bias"), n_ff, false);
    weights.up_bias = loader.vector(LayerName(i, "ffn_up.bias"), n_ff, false);
  } else {  // phi3: rows of the gate, then of up
    const gguf::Tensor* fused = loader.find(LayerName(i, "ffn_up.weight"), config.n_embd, u64(n_ff) * 2, true);
    weights.gate = loader.pack(fused, 0, n_ff);
    weights.up = loader.pack(fused, n_ff, n_ff);
  }
  weights.down = loader.matrix(LayerName(i, "ffn_down.weight"), n_ff, config.n_embd);
  weights.down_bias = loader.vector(LayerName(i, "ffn_down.bias"), config.n_embd, false);
}

u32 kinds_of(const FeedForward& weights) { return input_kinds(weights) | kind_bit(weights.down); }

u64 feed_forward_floats(const LayerShape& widest, u64 n) {
  return 2 * round_up(n * max(widest.n_ff, widest.n_ff_beside), 16);
}

void place_feed_forward(const LayerShape& widest, u64 n, f32* floats, Scratch& scratch) {
  scratch.gate = floats;
  scratch.up = floats + feed_forward_floats(widest, n) / 2;
}

bool run_feed_forward(Pass& pass, u32 layer) {
  const Layer& about = pass.weights.layers[layer];
  const FeedForward& weights = about.feed_forward;
  const Scratch& scratch = pass.scratch;
  const u32 n_ff = pass.config.layers[layer].dense_ff(), n_embd = pass.config.n_embd;
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, about.ffn_norm, n_embd, pass.n_tokens,
                                                       input_kinds(weights), [&](u32 t) {
                                                         if (!pass.config.parallel) pass.finish_mixer(t, layer);
                                                       });
  const bool gated = weights.gate.rows != 0;
  const f32 least = pass.config.layers[layer].least_deviations;
  const Product products[] = {{&weights.up, weights.up_bias, gated ? scratch.up : scratch.gate, n_ff},
                              {&weights.gate, weights.gate_bias, scratch.gate, n_ff}};
  if (!pass.linear.multiply({products, gated ? 2u : 1u}, x)) return false;
  const Activations& hidden =
      pass.linear.norm_and_quantize(scratch.gate, nullptr, n_ff, pass.n_tokens, kind_bit(weights.down), [&](u32 t) {
        f32* gate = scratch.gate + u64(t) * n_ff;
        if (gated && least > -__builtin_inff()) keep_largest(gate, n_ff, least);
        pass.activate(gate, scratch.up + u64(t) * n_ff, gate, n_ff);
      });
  const Product down[] = {{&weights.down, weights.down_bias, scratch.normed, n_embd}};
  return pass.linear.multiply(down, hidden);
}

}  // namespace flyball::model
