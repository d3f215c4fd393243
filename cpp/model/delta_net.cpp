// The gated delta net: a convolution over the last tokens' queries, keys and values, then a matrix for each head that
// maps keys to values and is corrected by each token. Its state does not grow with the sequence.
//
// Every token is a step of its own, in order: how a prompt is divided changes no bit.
#include "base/math.h"
#include "model/block.h"

namespace flyball::model {
namespace {

using kernels::state_columns;

u32 input_kinds(const DeltaNet& weights) {
  return kind_bit(weights.input) | kind_bit(weights.gate) | kind_bit(weights.alpha) |
         (weights.beta.rows != 0 ? kind_bit(weights.beta) : 0);
}

// The last inputs of the convolution before this call's token `end` of the sequence: from the call or from before it.
// `to` may be the state itself.
void keep_inputs(const Recurrence& shape, const f32* state, const f32* inputs, u32 end, f32* to) {
  const u32 n = shape.n_tap - 1;
  for (u32 i = 0; i < n; ++i) {
    const bool before = end + i < n;
    const f32* const from =
        before ? state + u64(end + i) * shape.n_channel : inputs + u64(end + i - n) * shape.input_floats();
    memmove(to + u64(i) * shape.n_channel, from, shape.n_channel * sizeof(f32));
  }
}

// Queries, keys and values of a token: convolved, and the first two of length one, with the scale of scores in queries.
// Then of each head how much of its matrix stays, and how much of the correction is taken.
void prepare(Pass& pass, u32 layer, const Sequence& sequence, u32 t, const f32* inputs) {
  constexpr u32 max_taps = 64;
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const DeltaNet& weights = pass.weights.layers[layer].delta_net;
  const u32 stride = shape.input_floats(), n_head = shape.n_head, at = t - sequence.first;
  const f32* const state = sequence.state->now + about.first_state;
  const f32* rows[max_taps];
  for (u32 tap = 0; tap < shape.n_tap; ++tap) {
    const u32 n = shape.n_tap - 1;
    rows[tap] = at + tap < n ? state + u64(at + tap) * shape.n_channel : inputs + u64(t + tap - n) * stride;
  }
  f32* const convolved = pass.scratch.recurrence.convolved + u64(t) * shape.n_channel;
  pass.table.convolve(rows, weights.convolution, shape.n_tap, shape.n_channel, convolved);
  pass.table.silu(convolved, shape.n_channel);
  for (u32 h = 0; h < 2 * shape.n_key_head; ++h) {
    f32* const head = convolved + u64(h) * shape.key_dim;
    const f32* const scale = h < shape.n_key_head ? weights.query_scale : weights.key_scale;
    pass.table.rms_norm(head, scale, pass.config.norm_eps / f32(shape.key_dim), shape.key_dim, head);
  }
  const f32* const raw = inputs + u64(t) * stride + shape.n_channel;
  f32* const decays = pass.scratch.recurrence.factors + u64(t) * 2 * n_head;
  f32* const betas = decays + n_head;
  const u32 group = n_head / shape.n_key_head;
  for (u32 h = 0; h < n_head; ++h) {
    // In groups, each group's betas come before its alphas.
    const u32 beta = pass.config.keys_in_groups ? h / group * 2 * group + h % group : n_head + h;
    const u32 alpha = pass.config.keys_in_groups ? beta + group : h;
    decays[h] = exp32(weights.rate[h] * softplus32(raw[alpha] + weights.alpha_bias[h]));
    betas[h] = sigmoid32(raw[beta]);
  }
}

// The tokens of one sequence on some columns of one head's matrix.
void step(Pass& pass, u32 layer, const Sequence& sequence, u32 head, u32 first_column, u32 n_columns, f32* out) {
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const RecurrenceScratch& scratch = pass.scratch.recurrence;
  const SequenceState& state = *sequence.state;
  const u32 key_head = pass.config.keys_in_groups ? head / (shape.n_head / shape.n_key_head) : head % shape.n_key_head;
  const u64 offset =
      about.first_state + shape.convolved_floats() + head * shape.matrix_floats() + u64(first_column) * shape.key_dim;
  kernels::DeltaTask task;
  task.state = state.now + offset;
  task.stride = shape.n_channel;
  task.factor_stride = 2 * shape.n_head;
  task.out_stride = shape.values_dim();
  task.key_dim = shape.key_dim;
  task.n_columns = n_columns;
  const auto run = [&](u32 begin, u32 end) {
    const u64 t = sequence.first + begin;
    const f32* const row = scratch.convolved + t * shape.n_channel;
    task.queries = row + u64(key_head) * shape.key_dim;
    task.keys = row + u64(shape.n_key_head + key_head) * shape.key_dim;
    task.values = row + 2 * u64(shape.n_key_head) * shape.key_dim + u64(head) * shape.value_dim + first_column;
    task.decays = scratch.factors + t * task.factor_stride + head;
    task.betas = task.decays + shape.n_head;
    if (out) task.out = out + t * task.out_stride + u64(head) * shape.value_dim + first_column;
    task.n_tokens = end - begin;
    pass.table.delta_rule(task);
  };
  const u32 kept = state.snapshot_after;
  if (state.snapshot) {
    run(0, kept);
    memcpy(state.snapshot + offset, task.state, round_up(n_columns, state_columns) * shape.key_dim * sizeof(f32));
  }
  if (kept != sequence.n_tokens) run(kept, sequence.n_tokens);
}

}  // namespace

Span<const Sequence> find_sequences(Span<const BatchToken> batch, Span<Sequence> found) {
  u32 n = 0;
  for (u32 t = 0; t < batch.size; ++t) {
    if (t == 0 || batch[t].state != batch[t - 1].state) found[n++] = {batch[t].state, t, 0};
    ++found[n - 1].n_tokens;
  }
  return found.subspan(0, n);
}

void load_delta_net(Loader& loader, const Config& config, u32 i, DeltaNet& weights) {
  const Recurrence& shape = config.layers[i].recurrence;
  const u32 n_embd = config.n_embd, n_head = shape.n_head;
  weights.input = loader.matrix(LayerName(i, "attn_qkv.weight"), n_embd, shape.n_channel);
  weights.gate = loader.matrix(LayerName(i, "attn_gate.weight"), n_embd, shape.values_dim());
  if (config.keys_in_groups) {
    loader.skip(LayerName(i, "ssm_in.weight"));  // an older form of the two above
    weights.alpha = loader.matrix(LayerName(i, "ssm_ba.weight"), n_embd, 2 * n_head);
  } else {
    weights.alpha = loader.matrix(LayerName(i, "ssm_alpha.weight"), n_embd, n_head);
    weights.beta = loader.matrix(LayerName(i, "ssm_beta.weight"), n_embd, n_head);
  }
  weights.convolution = loader.transposed(LayerName(i, "ssm_conv1d.weight"), shape.n_tap, shape.n_channel);
  weights.alpha_bias = loader.vector(LayerName(i, "ssm_dt.bias"), n_head, true);
  weights.rate = loader.vector(LayerName(i, "ssm_a"), n_head, true);
  weights.norm = loader.vector(LayerName(i, "ssm_norm.weight"), shape.value_dim, true);
  weights.output = loader.matrix(LayerName(i, "ssm_out.weight"), shape.values_dim(), n_embd);
  // x / sqrt(sum of squares + eps) is an RMS norm of weight 1 / sqrt(n) and eps / n. Scores are divided by sqrt(n), too.
  const f32 length = 1 / sqrt32(f32(shape.key_dim));
  weights.key_scale = loader.constant(length, shape.key_dim);
  weights.query_scale = loader.constant(length * length, shape.key_dim);
}

u32 kinds_of(const DeltaNet& weights) { return input_kinds(weights) | kind_bit(weights.output); }

u64 delta_net_floats(const Recurrence& widest, u64 n) {
  return round_up(n * widest.input_floats(), 16) + round_up(n * widest.n_channel, 16) +
         2 * round_up(n * widest.values_dim(), 16) + round_up(n * widest.n_factor * widest.n_head, 16);
}

void place_delta_net(const Recurrence& widest, u64 n, f32* floats, Scratch& scratch) {
  const auto take = [&](u64 count) {
    f32* const part = floats;
    floats += round_up(count, 16);
    return part;
  };
  RecurrenceScratch& own = scratch.recurrence;
  own.inputs = take(n * widest.input_floats());
  own.convolved = take(n * widest.n_channel);
  own.gate = take(n * widest.values_dim());
  own.out = take(n * widest.values_dim());
  own.factors = take(n * widest.n_factor * widest.n_head);
}

void advance_delta_net(Pass& pass, u32 layer, const f32* inputs, f32* out) {
  constexpr u32 item_columns = 2 * state_columns;
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const Span<const Sequence> sequences = pass.sequences;
  const u32 stride = shape.input_floats();
  pass.linear.each_token(pass.n_tokens, shape.n_channel * (shape.n_tap + 4), [&](u32 t) {
    u32 low = 0;
    for (u32 high = u32(sequences.size); high - low > 1;) {
      const u32 middle = (low + high) / 2;
      (sequences[middle].first <= t ? low : high) = middle;
    }
    const Sequence& sequence = sequences[low];
    prepare(pass, layer, sequence, t, inputs);
    const SequenceState& state = *sequence.state;
    const u32 at = t - sequence.first;
    if (!state.inputs || at < state.snapshot_after) return;
    const u32 n_before = state.snapshot ? 0 : state.n_inputs;
    const u64 row = about.first_input * state.max_inputs + u64(n_before + at - state.snapshot_after) * stride;
    memcpy(state.inputs + row, inputs + u64(t) * stride, stride * sizeof(f32));
  });
  const u32 parts = u32(divide_up(shape.value_dim, item_columns));
  const u32 n_items = u32(sequences.size) * shape.n_head * parts;
  const u64 work = u64(pass.n_tokens) * shape.n_head * shape.matrix_floats() * 4;
  parallel_parts(*pass.engine.platform, threads_for(work, pass.engine.threads), n_items, 1, [&](u32 begin, u32 end) {
    for (u32 item = begin; item < end; ++item) {
      const u32 column = item % parts * item_columns, head = item / parts % shape.n_head;
      step(pass, layer, sequences[item / parts / shape.n_head], head, column,
           min(item_columns, shape.value_dim - column), out);
    }
  });
  for (const Sequence& sequence : sequences) {
    const SequenceState& state = *sequence.state;
    f32* const kept = state.now + about.first_state;
    const f32* const own = inputs + u64(sequence.first) * stride;
    if (state.snapshot) keep_inputs(shape, kept, own, state.snapshot_after, state.snapshot + about.first_state);
    keep_inputs(shape, kept, own, sequence.n_tokens, kept);
  }
}

bool run_delta_net(Pass& pass, u32 layer) {
  const Layer* const layers = pass.weights.layers.data;
  const Recurrence& shape = pass.config.layers[layer].recurrence;
  const DeltaNet& weights = layers[layer].delta_net;
  const Scratch& scratch = pass.scratch;
  const RecurrenceScratch& own = scratch.recurrence;
  const u32 n_embd = pass.config.n_embd, values = shape.values_dim(), stride = shape.input_floats();
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, layers[layer].attention_norm, n_embd,
                                                       pass.n_tokens, input_kinds(weights), [&](u32 t) {
                                                         if (layer > 0) pass.finish_layer(t, layer - 1);
                                                       });
  const Product products[] = {{&weights.input, nullptr, own.inputs, stride},
                              {&weights.gate, nullptr, own.gate, values},
                              {&weights.alpha, nullptr, own.inputs + shape.n_channel, stride},
                              {&weights.beta, nullptr, own.inputs + shape.n_channel + shape.n_head, stride}};
  if (!pass.linear.multiply({products, weights.beta.rows != 0 ? 4u : 3u}, x)) return false;
  const u64 start = cycles(*pass.engine.platform);
  advance_delta_net(pass, layer, own.inputs, own.out);
  pass.attention_cycles += cycles(*pass.engine.platform) - start;

  const Activations& mixed =
      pass.linear.norm_and_quantize(own.out, nullptr, values, pass.n_tokens, kind_bit(weights.output), [&](u32 t) {
        for (u32 h = 0; h < shape.n_head; ++h) {
          const u64 at = u64(t) * values + u64(h) * shape.value_dim;
          f32* const head = own.out + at;
          pass.table.rms_norm(head, weights.norm, pass.config.norm_eps, shape.value_dim, head);
          pass.table.silu_mul(own.gate + at, head, head, shape.value_dim);
        }
      });
  const Product output[] = {{&weights.output, nullptr, scratch.normed, n_embd}};
  return pass.linear.multiply(output, mixed);
}

}  // namespace flyball::model
