// The gated delta net (Yang et al. 2024): each token takes back what its key gives, and puts its value there.
#include "base/math.h"
#include "model/recurrence.h"

namespace flyball::model {
namespace {

void load(Loader& loader, const Config& config, u32 i, Recurrent& weights) {
  const Recurrence& shape = config.layers[i].recurrence;
  const u32 n_embd = config.n_embd, n_head = shape.n_head;
  if (loader.has(LayerName(i, "ssm_in.weight")) && !loader.has(LayerName(i, "attn_qkv.weight")))
    loader.fail_with(fail(Code::unsupported, LayerName(i, "ssm_in.weight"))
                     << "is an older form of attn_qkv and attn_gate; convert the model again");
  weights.input = loader.matrix(LayerName(i, "attn_qkv.weight"), n_embd, shape.n_channel);
  weights.gate = loader.matrix(LayerName(i, "attn_gate.weight"), n_embd, shape.out_dim());
  if (shape.grouped) {
    loader.skip(LayerName(i, "ssm_in.weight"));  // an older form of the two above
    loader.skip(LayerName(i, "ssm_in.scale"));
    weights.alpha = loader.matrix(LayerName(i, "ssm_ba.weight"), n_embd, 2 * n_head);
  } else {
    weights.alpha = loader.matrix(LayerName(i, "ssm_alpha.weight"), n_embd, n_head);
    weights.beta = loader.matrix(LayerName(i, "ssm_beta.weight"), n_embd, n_head);
  }
  weights.convolution = loader.transposed(LayerName(i, "ssm_conv1d.weight"), shape.n_tap, shape.n_channel);
  weights.alpha_bias = loader.vector(LayerName(i, "ssm_dt.bias"), n_head, true);
  weights.rate = loader.vector(LayerName(i, "ssm_a"), n_head, true);
  weights.norm = loader.vector(LayerName(i, "ssm_norm.weight"), shape.value_dim, true);
  weights.output = loader.matrix(LayerName(i, "ssm_out.weight"), shape.out_dim(), n_embd);
  // x / sqrt(sum of squares + eps) is an RMS norm of weight 1 / sqrt(n) and eps / n. Scores are divided by sqrt(n), too.
  const f32 length = 1 / sqrt32(f32(shape.key_dim));
  weights.key_scale = loader.constant(length, shape.key_dim);
  weights.query_scale = loader.constant(length * length, shape.key_dim);
}

void prepare(Pass& pass, u32 layer, const f32* input, f32* convolved, f32* factors) {
  const Recurrence& shape = pass.config.layers[layer].recurrence;
  const Recurrent& weights = pass.weights.layers[layer].recurrent;
  pass.table.silu(convolved, shape.n_channel);
  for (u32 h = 0; h < 2 * shape.n_key_head; ++h) {  // queries, then keys
    f32* const head = convolved + u64(h) * shape.key_dim;
    const f32* const scale = h < shape.n_key_head ? weights.query_scale : weights.key_scale;
    pass.table.rms_norm(head, scale, pass.config.norm_eps / f32(shape.key_dim), shape.key_dim, head);
  }
  const f32* const raw = input + shape.n_channel;
  const u32 group = shape.n_head / shape.n_key_head;
  for (u32 h = 0; h < shape.n_head; ++h) {
    // In groups, each group's betas come before its alphas.
    const u32 beta = shape.grouped ? h / group * 2 * group + h % group : shape.n_head + h;
    const u32 alpha = shape.grouped ? beta + group : h;
    factors[h] = exp32(weights.rate[h] * softplus32(raw[alpha] + weights.alpha_bias[h]));
    factors[shape.n_head + h] = sigmoid32(raw[beta]);
  }
}

void finish(Pass& pass, u32 layer, u32 t) {
  const Recurrence& shape = pass.config.layers[layer].recurrence;
  const RecurrenceScratch& own = pass.scratch.recurrence;
  for (u32 h = 0; h < shape.n_head; ++h) {
    const u64 at = u64(t) * shape.out_dim() + u64(h) * shape.value_dim;
    f32* const head = own.out + at;
    pass.table.rms_norm(head, pass.weights.layers[layer].recurrent.norm, pass.config.norm_eps, shape.value_dim, head);
    pass.table.silu_mul(own.gate + at, head, head, shape.value_dim);
  }
}

}  // namespace

const RecurrentKind delta_net = {load, nullptr, prepare, finish};

}  // namespace flyball::model
