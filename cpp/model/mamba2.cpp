// Mamba-2 (Dao & Gu 2024): a state space whose matrices decay by one number a head.
#include "base/math.h"
#include "model/recurrence.h"

namespace flyball::model {
namespace {

// One product's rows: gates, the convolution's inputs (values, keys, queries), a step of each head.
void load(Loader& loader, const Config& config, u32 i, Recurrent& weights) {
  const Recurrence& shape = config.layers[i].recurrence;
  const u32 n_embd = config.n_embd, n_head = shape.n_head, values = shape.out_dim();
  const gguf::Tensor* const fused =
      loader.find(LayerName(i, "ssm_in.weight"), n_embd, u64(values) + shape.n_channel + n_head, true);
  weights.gate = loader.pack(fused, 0, values);
  weights.input = loader.pack(fused, values, shape.n_channel);
  weights.alpha = loader.pack(fused, values + shape.n_channel, n_head);
  weights.convolution = loader.transposed(LayerName(i, "ssm_conv1d.weight"), shape.n_tap, shape.n_channel);
  weights.convolution_bias = loader.vector(LayerName(i, "ssm_conv1d.bias"), shape.n_channel, false);
  weights.alpha_bias = loader.vector(LayerName(i, "ssm_dt.bias"), n_head, true);
  weights.rate = loader.transposed(LayerName(i, "ssm_a"), 1, n_head);
  weights.skip = loader.transposed(LayerName(i, "ssm_d"), 1, n_head);
  weights.norm = loader.vector(LayerName(i, "ssm_norm.weight"), values / shape.n_key_head, true, shape.n_key_head);
  weights.output = loader.matrix(LayerName(i, "ssm_out.weight"), values, n_embd);
}

void prepare(Pass& pass, u32 layer, const f32* input, f32* convolved, f32* factors) {
  const Recurrence& shape = pass.config.layers[layer].recurrence;
  const Recurrent& weights = pass.weights.layers[layer].recurrent;
  pass.table.silu(convolved, shape.n_channel);
  for (u32 h = 0; h < shape.n_head; ++h) {
    const f32 step = softplus32(input[shape.n_channel + h] + weights.alpha_bias[h]);
    factors[h] = exp32(step * weights.rate[h]);
    factors[shape.n_head + h] = step;
  }
}

void finish(Pass& pass, u32 layer, u32 t) {
  const Recurrence& shape = pass.config.layers[layer].recurrence;
  const Recurrent& weights = pass.weights.layers[layer].recurrent;
  const RecurrenceScratch& own = pass.scratch.recurrence;
  const u32 values = shape.out_dim(), width = values / shape.n_key_head;
  f32* const out = own.out + u64(t) * values;
  f32* const value = own.convolved + u64(t) * shape.n_channel + shape.first_value;
  for (u32 h = 0; h < shape.n_head; ++h)
    pass.table.scale(value + u64(h) * shape.value_dim, weights.skip[h], shape.value_dim);
  pass.table.add(out, value, values);
  pass.table.silu_mul(own.gate + u64(t) * values, out, out, values);
  for (u32 g = 0; g < shape.n_key_head; ++g)
    pass.table.rms_norm(out + u64(g) * width, weights.norm + u64(g) * width, pass.config.norm_eps, width,
                        out + u64(g) * width);
}

}  // namespace

const RecurrentKind mamba2 = {load, nullptr, prepare, finish};

}  // namespace flyball::model
