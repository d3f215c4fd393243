// Recurrent layers: a convolution over the last tokens' inputs, then for each head a matrix that maps keys to values and
// that every token changes. Their state does not grow with the sequence.
//
// Every token is a step of its own, in order: how a prompt is divided changes no bit.
#include "model/recurrence.h"

namespace flyball::model {
namespace {

using kernels::state_columns;

constexpr u32 max_taps = 64;

const RecurrentKind& kind_of(Mixer mixer) {
  return mixer == Mixer::delta_net ? delta_net : mixer == Mixer::mamba2 ? mamba2 : short_convolution;
}

u32 input_kinds(const Recurrent& weights) {
  const Matrix* const matrices[] = {&weights.input, &weights.gate, &weights.alpha, &weights.beta};
  u32 kinds = 0;
  for (const Matrix* matrix : matrices) {
    if (matrix->rows != 0) kinds |= kind_bit(*matrix);
  }
  return kinds;
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

const Sequence& sequence_of(Span<const Sequence> sequences, u32 t) {
  u32 low = 0;
  for (u32 high = u32(sequences.size); high - low > 1;) {
    const u32 middle = (low + high) / 2;
    (sequences[middle].first <= t ? low : high) = middle;
  }
  return sequences[low];
}

void convolve(Pass& pass, u32 layer, const Sequence& sequence, u32 t, const f32* inputs, f32* convolved) {
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const Recurrent& weights = pass.weights.layers[layer].recurrent;
  const f32* const state = sequence.state->now + about.first_state;
  const u32 n = shape.n_tap - 1, at = t - sequence.first;
  const f32* rows[max_taps];
  for (u32 tap = 0; tap < shape.n_tap; ++tap)
    rows[tap] =
        at + tap < n ? state + u64(at + tap) * shape.n_channel : inputs + u64(t + tap - n) * shape.input_floats();
  pass.table.convolve(rows, weights.convolution, shape.n_tap, shape.n_channel, convolved);
  if (weights.convolution_bias) pass.table.add(convolved, weights.convolution_bias, shape.n_channel);
}

void keep_for_later(const LayerShape& about, const Sequence& sequence, u32 t, const f32* input) {
  const SequenceState& state = *sequence.state;
  const u32 at = t - sequence.first, stride = about.recurrence.input_floats();
  if (!state.inputs || at < state.snapshot_after) return;
  const u32 n_before = state.snapshot ? 0 : state.n_inputs;
  const u64 row = about.first_input * state.max_inputs + u64(n_before + at - state.snapshot_after) * stride;
  memcpy(state.inputs + row, input, stride * sizeof(f32));
}

// The tokens of one sequence on some columns of one head's matrix.
void step(Pass& pass, u32 layer, const Sequence& sequence, u32 head, u32 first_column, u32 n_columns, f32* out) {
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const RecurrenceScratch& scratch = pass.scratch.recurrence;
  const SequenceState& state = *sequence.state;
  const u32 key_head = shape.grouped ? head / (shape.n_head / shape.n_key_head) : head % shape.n_key_head;
  const u64 offset =
      about.first_state + shape.convolved_floats() + head * shape.matrix_floats() + u64(first_column) * shape.key_dim;
  kernels::DeltaTask task;
  task.state = state.now + offset;
  task.corrects = about.mixer == Mixer::delta_net;
  task.stride = shape.n_channel;
  task.factor_stride = 2 * shape.n_head;
  task.out_stride = shape.out_dim();
  task.key_dim = shape.key_dim;
  task.n_columns = n_columns;
  const auto run = [&](u32 begin, u32 end) {
    const u64 t = sequence.first + begin;
    const f32* const row = scratch.convolved + t * shape.n_channel;
    task.queries = row + shape.first_query + u64(key_head) * shape.key_dim;
    task.keys = row + shape.first_key + u64(key_head) * shape.key_dim;
    task.values = row + shape.first_value + u64(head) * shape.value_dim + first_column;
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

void load_recurrent(Loader& loader, const Config& config, u32 layer, Recurrent& weights) {
  kind_of(config.layers[layer].mixer).load(loader, config, layer, weights);
}

u32 kinds_of(const Recurrent& weights) { return input_kinds(weights) | kind_bit(weights.output); }

u64 recurrent_floats(const Recurrence& widest, u64 n) {
  return round_up(n * widest.input_floats(), 16) + round_up(n * widest.n_channel, 16) +
         2 * round_up(n * widest.out_dim(), 16) + round_up(n * 2 * widest.n_head, 16);
}

void place_recurrent(const Recurrence& widest, u64 n, f32* floats, Scratch& scratch) {
  const auto take = [&](u64 count) {
    f32* const part = floats;
    floats += round_up(count, 16);
    return part;
  };
  RecurrenceScratch& own = scratch.recurrence;
  own.inputs = take(n * widest.input_floats());
  own.convolved = take(n * widest.n_channel);
  own.gate = take(n * widest.out_dim());
  own.out = take(n * widest.out_dim());
  own.factors = take(n * 2 * widest.n_head);
}

void advance_recurrent(Pass& pass, u32 layer, const f32* inputs, f32* out) {
  constexpr u32 item_columns = 2 * state_columns;
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const Span<const Sequence> sequences = pass.sequences;
  const u32 stride = shape.input_floats();
  const auto prepare = kind_of(about.mixer).prepare;
  pass.linear.each_token(pass.n_tokens, shape.n_channel * (shape.n_tap + 4), [&](u32 t) {
    const Sequence& sequence = sequence_of(sequences, t);
    const f32* const input = inputs + u64(t) * stride;
    f32* const convolved = pass.scratch.recurrence.convolved + u64(t) * shape.n_channel;
    convolve(pass, layer, sequence, t, inputs, convolved);
    prepare(pass, layer, input, convolved, pass.scratch.recurrence.factors + u64(t) * 2 * shape.n_head);
    keep_for_later(about, sequence, t, input);
  });
  const u32 parts = u32(divide_up(shape.value_dim, item_columns));
  const u32 n_items = u32(sequences.size) * shape.n_head * parts;
  const u64 work = u64(pass.n_tokens) * shape.n_head * shape.matrix_floats() * 4;
  parallel_parts(*pass.engine.platform, threads_for(work, pass.engine.threads), n_items, 1, [&](u32 begin, u32 end) {
    for (u32 item = begin; item < end; ++item) {
      const u32 column = item % parts * item_columns, head = item / parts % shape.n_head;
      const Sequence& sequence = sequences[item / parts / shape.n_head];
      step(pass, layer, sequence, head, column, min(item_columns, shape.value_dim - column), out);
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

bool run_recurrent(Pass& pass, u32 layer) {
  const Layer* const layers = pass.weights.layers.data;
  const LayerShape& about = pass.config.layers[layer];
  const Recurrence& shape = about.recurrence;
  const RecurrentKind& kind = kind_of(about.mixer);
  const Recurrent& weights = layers[layer].recurrent;
  const Scratch& scratch = pass.scratch;
  const RecurrenceScratch& own = scratch.recurrence;
  const u32 n_embd = pass.config.n_embd, stride = shape.input_floats();
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, layers[layer].attention_norm, n_embd,
                                                       pass.n_tokens, input_kinds(weights), [&](u32 t) {
                                                         if (layer > 0) pass.finish_layer(t, layer - 1);
                                                       });
  Product products[4];
  u32 n_products = 0;
  const auto multiply = [&](const Matrix& matrix, f32* y, u64 y_stride) {
    if (matrix.rows != 0) products[n_products++] = {&matrix, nullptr, y, y_stride};
  };
  const bool steers = shape.n_head != 0;  // else beta's product is the other factor of the convolution's input
  multiply(weights.input, own.inputs, stride);
  multiply(weights.gate, own.gate, shape.out_dim());
  multiply(weights.alpha, own.inputs + shape.n_channel, stride);
  multiply(weights.beta, steers ? own.inputs + shape.n_channel + shape.n_head : own.out,
           steers ? stride : shape.n_channel);
  if (!pass.linear.multiply({products, n_products}, x)) return false;
  const u64 start = cycles(*pass.engine.platform);
  if (kind.begin) pass.linear.each_token(pass.n_tokens, shape.n_channel, [&](u32 t) { kind.begin(pass, layer, t); });
  advance_recurrent(pass, layer, own.inputs, own.out);
  pass.attention_cycles += cycles(*pass.engine.platform) - start;
  const Activations& mixed =
      pass.linear.norm_and_quantize(own.out, nullptr, shape.out_dim(), pass.n_tokens, kind_bit(weights.output),
                                    [&](u32 t) { kind.finish(pass, layer, t); });
  const Product output[] = {{&weights.output, nullptr, scratch.normed, n_embd}};
  return pass.linear.multiply(output, mixed);
}

}  // namespace flyball::model
