// A mixture of experts: a router chooses some feed-forwards for each token, and their outputs are added by its weights.
//
// Tokens are gathered by expert, so that a prompt reads each expert once. No bit depends on who else is in the batch:
// an expert computes a token's row as if it were alone, and a token adds its experts in the order of their weights.
#include "base/math.h"
#include "model/block.h"
#include "model/route.h"

namespace flyball::model {
namespace {

// What a token's experts take, its copies; and what it takes itself.
u32 inner_kinds(const Experts& weights) {
  return (weights.gate.empty() ? 0 : kind_bit(weights.gate[0])) | kind_bit(weights.up[0]);
}
u32 input_kinds(const Experts& weights) {
  u32 kinds = inner_kinds(weights) | kind_bit(weights.router);
  if (weights.shared.gate.rows != 0) kinds |= kind_bit(weights.shared.gate);
  if (weights.shared.up.rows != 0) kinds |= kind_bit(weights.shared.up);
  if (weights.shared_gate.rows != 0) kinds |= kind_bit(weights.shared_gate);
  return kinds;
}

// Counts the rows of each expert, and gives each token's places their rows: by expert, then by token.
void order(const u32* chosen, u32 n_places, u32 n_expert, u32* first, u32* row) {
  for (u32 expert = 0; expert <= n_expert; ++expert) first[expert] = 0;
  for (u32 place = 0; place < n_places; ++place) ++first[chosen[place] + 1];
  for (u32 expert = 0; expert < n_expert; ++expert) first[expert + 1] += first[expert];
  for (u32 place = 0; place < n_places; ++place) row[place] = first[chosen[place]]++;
  for (u32 expert = n_expert; expert > 0; --expert) first[expert] = first[expert - 1];
  first[0] = 0;
}

// Row `t` of the router's input as row `row` of the experts': as floats, quantized, or both.
void gather(const Activations& from, u32 t, const ExpertScratch& scratch, u32 row) {
  const u64 cols = from.cols, at = t * cols, in = row * cols;
  const auto copy = [](auto* to, const auto* what, u64 n) { memcpy(to, what, n * sizeof *to); };
  const Activations& to = scratch.inputs;
  if (scratch.gathered) copy(scratch.gathered + in, from.x + at, cols);
  if (to.q32) {
    copy(to.q32 + in, from.q32 + at, cols);
    copy(to.d32 + in / 32, from.d32 + at / 32, cols / 32);
    copy(to.sum32 + in / 32, from.sum32 + at / 32, cols / 32);
  }
  if (to.q256) {
    copy(to.q256 + in, from.q256 + at, cols);
    copy(to.d256 + in / 256, from.d256 + at / 256, cols / 256);
    copy(to.sum16 + in / 16, from.sum16 + at / 16, cols / 16);
  }
}

// The same, multiplied by a weight before it is quantized.
void gather_weighted(const kernels::Table& table, const Activations& from, u32 t, f32 weight, u32 kinds,
                     const ExpertScratch& scratch, u32 row) {
  f32* const to = scratch.gathered + u64(row) * from.cols;
  memcpy(to, from.x + u64(t) * from.cols, from.cols * sizeof(f32));
  table.scale(to, weight, from.cols);
  table.quantize(scratch.inputs, kinds, row, row + 1);
}

struct Target {
  Span<const Matrix> matrices;  // (n_expert)
  const f32* biases;            // (n_expert, stride) or null
  f32* y;                       // (rows, stride)
};

// The rows of every expert that was chosen by its matrices.
bool multiply_by_expert(Linear& linear, const ExpertScratch& scratch, u32 n_expert, Span<const Target> targets,
                        u32 stride, const AdapterUse* const* uses) {
  constexpr u32 most = Linear::most_products;
  Product products[most];
  u32 n = 0;
  for (u32 expert = 0; expert < n_expert; ++expert) {
    const u32 first = scratch.first[expert], n_rows = scratch.first[expert + 1] - first;
    for (const Target& target : targets) {
      if (n_rows == 0) continue;
      const f32* const bias = target.biases ? target.biases + u64(expert) * stride : nullptr;
      products[n++] = {&target.matrices[expert], bias, target.y + u64(first) * stride, stride, first, n_rows};
    }
    if (n + targets.size <= most && expert + 1 < n_expert) continue;
    if (!linear.multiply({products, n}, scratch.inputs, uses)) return false;
    n = 0;
  }
  return true;
}

// Of Gemma 4. Its router reads a norm without weights, divided by sqrt(n_embd) and scaled: as weights of one norm.
void load_norms_beside(Loader& loader, u32 n_embd, u32 i, Experts& weights) {
  const f32* const scale = loader.vector(LayerName(i, "ffn_gate_inp.scale"), n_embd, true);
  f32* const router_norm = loader.constant(1 / sqrt32(f32(n_embd)), n_embd);
  for (u32 k = 0; scale && router_norm && k < n_embd; ++k) router_norm[k] *= scale[k];
  weights.router_norm = router_norm;
  weights.norm = loader.vector(LayerName(i, "pre_ffw_norm_2.weight"), n_embd, true);
  weights.beside_post_norm = loader.vector(LayerName(i, "post_ffw_norm_1.weight"), n_embd, true);
  weights.post_norm = loader.vector(LayerName(i, "post_ffw_norm_2.weight"), n_embd, true);
}

}  // namespace

void load_experts(Loader& loader, const Config& config, u32 i, Experts& weights) {
  const LayerShape& shape = config.layers[i];
  const u32 n = shape.n_expert, n_ff = shape.n_ff, n_embd = config.n_embd;
  const bool gated = config.activation != Activation::relu_squared;
  weights.router = loader.matrix(LayerName(i, "ffn_gate_inp.weight"), n_embd, n);
  if (shape.n_ff_beside != 0) load_norms_beside(loader, n_embd, i, weights);
  if (loader.has(LayerName(i, "ffn_gate_up_exps.weight"))) {  // of each expert, rows of the gate, then of up
    weights.gate = loader.experts(LayerName(i, "ffn_gate_up_exps.weight"), n_embd, n, 2 * n_ff, 0, n_ff);
    weights.up = loader.experts(LayerName(i, "ffn_gate_up_exps.weight"), n_embd, n, 2 * n_ff, n_ff, n_ff);
  } else {
    if (gated) weights.gate = loader.experts(LayerName(i, "ffn_gate_exps.weight"), n_embd, n, n_ff, 0, n_ff);
    weights.up = loader.experts(LayerName(i, "ffn_up_exps.weight"), n_embd, n, n_ff, 0, n_ff);
  }
  weights.down = loader.experts(LayerName(i, "ffn_down_exps.weight"), n_ff, n, n_embd, 0, n_embd);
  weights.choice_bias = loader.vector(LayerName(i, "exp_probs_b.bias"), n, false);
  weights.router_bias = loader.vector(LayerName(i, "ffn_gate_inp.bias"), n, false);
  weights.gate_bias = loader.vector(LayerName(i, "ffn_gate_exps.bias"), n_ff, false, n);
  weights.up_bias = loader.vector(LayerName(i, "ffn_up_exps.bias"), n_ff, false, n);
  weights.down_bias = loader.vector(LayerName(i, "ffn_down_exps.bias"), n_embd, false, n);
  if (shape.n_ff_shared == 0) return;
  if (gated) weights.shared.gate = loader.matrix(LayerName(i, "ffn_gate_shexp.weight"), n_embd, shape.n_ff_shared);
  weights.shared.up = loader.matrix(LayerName(i, "ffn_up_shexp.weight"), n_embd, shape.n_ff_shared);
  weights.shared.down = loader.matrix(LayerName(i, "ffn_down_shexp.weight"), shape.n_ff_shared, n_embd);
  weights.shared_gate = loader.matrix(LayerName(i, "ffn_gate_inp_shexp.weight"), n_embd, 1, config.shared_gate);
}

u32 kinds_of(const Experts& weights) {
  const u32 shared = weights.shared.down.rows != 0 ? kind_bit(weights.shared.down) : 0;
  return input_kinds(weights) | shared;
}

u32 row_kinds_of(const Experts& weights) { return inner_kinds(weights) | kind_bit(weights.down[0]); }

namespace {

// Of gates, the routed experts', the shared one's or those of a feed-forward beside them.
u64 inner_floats(const LayerShape& widest, u64 n) {
  const u32 others = max(widest.n_ff_shared, widest.n_ff_beside);
  return round_up(n * max(u64(widest.n_expert_used) * widest.n_ff, u64(others)), 16);
}

}  // namespace

u64 experts_floats(const Config& config, u64 n) {
  const LayerShape& widest = config.widest;
  const u32 outputs = widest.n_expert_used + (widest.n_ff_shared != 0 ? 1 : 0);
  return 2 * inner_floats(widest, n) + n * outputs * config.n_embd;
}

void place_experts(const Config& config, u64 n, f32* floats, Scratch& scratch) {
  const u64 width = inner_floats(config.widest, n);
  scratch.gate = floats;
  scratch.up = floats + width;
  scratch.experts.outputs = floats + 2 * width;
  scratch.experts.shared = scratch.experts.outputs + n * config.widest.n_expert_used * config.n_embd;
}

bool allocate_experts(Arena& arena, const Config& config, u32 kinds, u64 n, ExpertScratch& scratch) {
  const LayerShape& widest = config.widest;
  const u64 rows = n * widest.n_expert_used;
  const Span<f32> logits = arena.allocate<f32>(n * widest.n_expert), weights = arena.allocate<f32>(rows);
  const Span<u32> chosen = arena.allocate<u32>(rows), row = arena.allocate<u32>(rows);
  const Span<u32> first = arena.allocate<u32>(widest.n_expert + 1);
  scratch.logits = logits.data, scratch.weights = weights.data;
  scratch.chosen = chosen.data, scratch.row = row.data, scratch.first = first.data;
  if (kinds & 1u << u32(kernels::ActivationKind::none) || config.routing.of_inputs) {
    const Span<f32> gathered = arena.allocate<f32>(rows * config.n_embd);
    if (gathered.empty()) return false;
    scratch.gathered = gathered.data;
  }
  if (widest.n_ff_beside != 0) {
    const Span<f32> beside = arena.allocate<f32>(n * config.n_embd);
    if (beside.empty()) return false;
    scratch.beside = beside.data;
  }
  return !logits.empty() && !weights.empty() && !chosen.empty() && !row.empty() && !first.empty() &&
         allocate_activations(arena, kinds, rows, max(config.n_embd, widest.n_ff), scratch.inputs);
}

namespace {

// The expert that every token has. Its outputs and the products of its gate are left in the scratch.
bool run_shared(Pass& pass, const Experts& weights, const Activations& x, u32 n_ff) {
  Scratch& scratch = pass.scratch;
  const bool gated = weights.shared.gate.rows != 0;
  Product inner[3] = {{&weights.shared.up, nullptr, gated ? scratch.up : scratch.gate, n_ff}};
  u32 n = 1;
  if (gated) inner[n++] = {&weights.shared.gate, nullptr, scratch.gate, n_ff};
  if (weights.shared_gate.rows != 0) inner[n++] = {&weights.shared_gate, nullptr, scratch.experts.logits, 1};
  if (!pass.linear.multiply({inner, n}, x)) return false;
  const Activations& hidden = pass.linear.norm_and_quantize(
      scratch.gate, nullptr, n_ff, pass.n_tokens, kind_bit(weights.shared.down), [&](u32 t) {
        f32* const gate = scratch.gate + u64(t) * n_ff;
        pass.activate(gate, scratch.up + u64(t) * n_ff, gate, n_ff);
      });
  const Product outer[] = {{&weights.shared.down, nullptr, scratch.experts.shared, pass.config.n_embd}};
  return pass.linear.multiply(outer, hidden);
}

// The feed-forward beside the experts, whose output is kept, and the router, whose input is not the experts'.
bool run_beside(Pass& pass, u32 layer) {
  const Experts& weights = pass.weights.layers[layer].experts;
  const Scratch& scratch = pass.scratch;
  const u32 n_embd = pass.config.n_embd, n_expert = pass.config.layers[layer].n_expert;
  if (!run_feed_forward(pass, layer)) return false;
  pass.linear.each_token(pass.n_tokens, n_embd, [&](u32 t) {
    const u64 at = u64(t) * n_embd;
    pass.table.rms_norm(scratch.normed + at, weights.beside_post_norm, pass.config.norm_eps, n_embd,
                        scratch.experts.beside + at);
  });
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, weights.router_norm, n_embd, pass.n_tokens,
                                                       kind_bit(weights.router));
  const Product router[] = {{&weights.router, nullptr, scratch.experts.logits, n_expert}};
  return pass.linear.multiply(router, x);
}

}  // namespace

bool run_experts(Pass& pass, u32 layer) {
  const Layer& about = pass.weights.layers[layer];
  const Experts& weights = about.experts;
  const LayerShape& shape = pass.config.layers[layer];
  Scratch& scratch = pass.scratch;
  ExpertScratch& own = scratch.experts;
  Linear& linear = pass.linear;
  const u32 n_ff = shape.n_ff, n_embd = pass.config.n_embd, n_used = shape.n_expert_used, n_tokens = pass.n_tokens;
  const u32 n_rows = n_tokens * n_used;

  const bool beside = shape.n_ff_beside != 0;
  if (beside && !run_beside(pass, layer)) return false;
  const Activations& x = linear.norm_and_quantize(scratch.residual, beside ? weights.norm : about.ffn_norm, n_embd,
                                                  n_tokens, input_kinds(weights), [&](u32 t) {
                                                    if (!beside) pass.finish_mixer(t, layer);
                                                  });
  const Product router[] = {{&weights.router, weights.router_bias, own.logits, shape.n_expert}};
  if (!beside && !linear.multiply(router, x)) return false;
  linear.each_token(n_tokens, shape.n_expert, [&](u32 t) {
    const u64 at = u64(t) * n_used;
    route(pass.table, pass.config.routing, shape, weights.choice_bias, own.logits + u64(t) * shape.n_expert,
          own.chosen + at, own.weights + at);
  });
  order(own.chosen, n_rows, shape.n_expert, own.first, own.row);
  const AdapterUse** const uses = pass.adapted ? scratch.adapters.rows : nullptr;
  for (u32 place = 0; place < n_rows && uses; ++place) uses[own.row[place]] = pass.batch[place / n_used].adapter;
  own.inputs.n_tokens = n_rows;
  own.inputs.cols = n_embd;
  own.inputs.x = own.gathered;
  const bool of_inputs = pass.config.routing.of_inputs;
  linear.each_token(n_rows, of_inputs ? n_embd : n_embd / 16, [&](u32 place) {
    if (!of_inputs) return gather(x, place / n_used, own, own.row[place]);
    gather_weighted(pass.table, x, place / n_used, own.weights[place], inner_kinds(weights), own, own.row[place]);
  });

  const bool gated = !weights.gate.empty();
  const Target inner[] = {{weights.up, weights.up_bias, gated ? scratch.up : scratch.gate},
                          {weights.gate, weights.gate_bias, scratch.gate}};
  if (!multiply_by_expert(linear, own, shape.n_expert, {inner, gated ? 2u : 1u}, n_ff, uses)) return false;
  linear.norm_and_quantize(own.inputs, scratch.gate, nullptr, n_ff, n_rows, kind_bit(weights.down[0]), [&](u32 r) {
    f32* gate = scratch.gate + u64(r) * n_ff;
    pass.activate(gate, scratch.up + u64(r) * n_ff, gate, n_ff);
  });
  const Target outer[] = {{weights.down, weights.down_bias, own.outputs}};
  if (!multiply_by_expert(linear, own, shape.n_expert, outer, n_embd, uses)) return false;
  const bool shared = shape.n_ff_shared != 0;
  if (shared && !run_shared(pass, weights, x, shape.n_ff_shared)) return false;
  linear.each_token(n_tokens, n_used * n_embd / 4, [&](u32 t) {
    f32* const sum = scratch.normed + u64(t) * n_embd;
    for (u32 i = 0; i < n_used; ++i) {
      const u64 place = u64(t) * n_used + i;
      f32* const output = own.outputs + u64(own.row[place]) * n_embd;
      if (!of_inputs) pass.table.scale(output, own.weights[place], n_embd);
      if (i == 0)
        memcpy(sum, output, n_embd * sizeof(f32));
      else
        pass.table.add(sum, output, n_embd);
    }
    if (beside) {
      pass.table.rms_norm(sum, weights.post_norm, pass.config.norm_eps, n_embd, sum);
      pass.table.add(sum, own.beside + u64(t) * n_embd, n_embd);
    }
    if (!shared) return;
    f32* const output = own.shared + u64(t) * n_embd;
    if (weights.shared_gate.rows != 0) pass.table.scale(output, sigmoid32(own.logits[t]), n_embd);
    pass.table.add(sum, output, n_embd);
  });
  return true;
}

}  // namespace flyball::model
