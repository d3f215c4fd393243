#include "model/forward.h"

#include "model/attend.h"
#include "model/block.h"

namespace flyball::model {
namespace {

constexpr u64 least_discarded = u64(16) << 20;  // bytes of an embedding from which on its pages are discarded
constexpr u32 embedded_rows = 8;                // rows read between two discards

bool embed(Pass& pass) {
  const u32 n_embd = pass.config.n_embd;
  for (u32 t = 0; t < pass.n_tokens; ++t) {
    look_up(pass, *pass.weights.embedding, t, pass.scratch.residual + u64(t) * n_embd);
  }
  if (!add_embeddings(pass)) return false;
  for (u32 t = 0; t < pass.n_tokens && pass.config.embedding_scale != 1; ++t)
    pass.table.scale(pass.scratch.residual + u64(t) * n_embd, pass.config.embedding_scale, n_embd);
  for (u32 t = 0; t < pass.n_tokens && pass.weights.embedding_norm; ++t) {
    f32* const x = pass.scratch.residual + u64(t) * n_embd;
    pass.table.rms_norm(x, pass.weights.embedding_norm, pass.config.norm_eps, n_embd, x);
  }
  return true;
}

// Cosines and sines of every token's position, for all layers.
void make_rotations(Pass& pass, const Rope& rope) {
  const Scratch& scratch = pass.scratch;
  const u32 n_pairs = pass.config.most_pairs();
  const u64 sliding = u64(scratch.max_tokens) * n_pairs;
  const bool two = rope.frequencies_sliding.data != rope.frequencies.data;
  pass.linear.each_token(pass.n_tokens, 2 * n_pairs, [&](u32 t) {
    const u64 at = u64(t) * n_pairs;
    const u32 position = pass.batch[t].position;
    rope_angles(rope.frequencies, rope.magnitude, position, scratch.cosines + at, scratch.sines + at);
    f32* cosines = scratch.cosines + sliding + at;
    f32* sines = scratch.sines + sliding + at;
    if (two) {
      rope_angles(rope.frequencies_sliding, rope.magnitude_sliding, position, cosines, sines);
    } else {
      memcpy(cosines, scratch.cosines + at, n_pairs * sizeof(f32));
      memcpy(sines, scratch.sines + at, n_pairs * sizeof(f32));
    }
  });
}

// The last norm and, if `logits`, the logits of the wanted tokens: moves their residuals to the front first.
bool output_head(Pass& pass, f32* logits) {
  const Config& config = pass.config;
  const Weights& weights = pass.weights;
  f32* const residual = pass.scratch.residual;
  const u64 n = config.n_embd;
  u32 n_wanted = 0;
  for (u32 t = 0; t < pass.n_tokens; ++t) {
    if (!pass.batch[t].wanted) continue;
    pass.finish_layer(t, config.n_layer() - 1);
    if (n_wanted != t) memcpy(residual + n_wanted * n, residual + t * n, n * sizeof(f32));
    if (pass.adapted) pass.scratch.adapters.tokens[n_wanted] = pass.batch[t].adapter;
    ++n_wanted;
  }
  if (n_wanted == 0) return true;
  const Activations& x = pass.linear.norm_and_quantize(residual, weights.output_norm, config.n_embd, n_wanted,
                                                       logits ? kind_bit(weights.output) : 0);
  if (!logits) return true;
  const Product output[] = {{&weights.output, weights.output_bias, logits, config.n_vocab}};
  if (!pass.linear.multiply(output, x)) return false;
  if (config.logit_scale != 1) {
    pass.linear.each_token(n_wanted, config.n_vocab, [&](u32 t) {
      pass.table.scale(logits + u64(t) * config.n_vocab, config.logit_scale, config.n_vocab);
    });
  }
  if (config.final_softcap > 0) {
    pass.linear.each_token(n_wanted, config.n_vocab, [&](u32 t) {
      pass.table.softcap(logits + u64(t) * config.n_vocab, config.final_softcap, config.n_vocab);
    });
  }
  return true;
}

}  // namespace

// Each row brings the pages around it into memory, in time the whole table, which most models also hold packed: so
// discard them.
void look_up(Pass& pass, const gguf::Tensor& table, u32 t, f32* row) {
  const u64 row_bytes = table.data.size / table.rows();
  const Platform& platform = *pass.engine.platform;
  kernels::dequantize_row(table.type, table.data.data + u64(pass.batch[t].token) * row_bytes, u32(table.cols()), row);
  const bool discards = platform.discard && table.data.size > least_discarded;
  if (++pass.scratch.n_embedded % embedded_rows == 0 && discards) platform.discard(platform.self, table.data);
}

namespace {

bool run_mixer(Pass& pass, u32 layer) {
  switch (pass.config.layers[layer].mixer) {
    case Mixer::none: return true;
    case Mixer::attention: return run_attention(pass, layer);
    case Mixer::latent_attention: return run_latent_attention(pass, layer);
    case Mixer::delta_net:
    case Mixer::mamba2:
    case Mixer::short_convolution: break;
  }
  return run_recurrent(pass, layer);
}

bool run_inner(Pass& pass, u32 layer) {
  const LayerShape& shape = pass.config.layers[layer];
  if (shape.n_expert != 0) return run_experts(pass, layer);
  return shape.dense_ff() == 0 || run_feed_forward(pass, layer);
}

}  // namespace

bool forward(const Engine& engine, const Config& config, const Weights& weights, const Rope& rope, Scratch& scratch,
             Span<const BatchToken> batch, f32* logits, StopCheck check, ForwardCycles* spent) {
  Pass pass(engine, config, weights, scratch, batch, check);
  bool finished = embed(pass);
  make_rotations(pass, rope);
  const bool inputs = config.n_embd_per_layer != 0;
  const bool streams = config.streams, laurel = config.laurel_rank != 0;
  finished = finished && (!inputs || make_layer_inputs(pass)) && (!streams || begin_streams(pass));
  for (u32 layer = 0; layer < config.n_layer() && finished; ++layer) {
    finished = (!streams || predict_streams(pass, layer)) && (!laurel || run_laurel(pass, layer)) &&
               run_mixer(pass, layer) && run_inner(pass, layer) && (!streams || correct_streams(pass, layer)) &&
               (!inputs || run_layer_input(pass, layer));
  }
  finished = finished && (!streams || end_streams(pass)) && output_head(pass, logits);
  *spent = {pass.linear.matrix_cycles(), pass.attention_cycles};
  return finished;
}

void advance_again(const Engine& engine, const Config& config, const Weights& weights, Scratch& scratch,
                   Span<BatchToken> batch, const SequenceState& kept) {
  SequenceState state;
  state.now = kept.now;
  batch = batch.subspan(0, kept.n_inputs);
  for (BatchToken& token : batch) {
    token = {};
    token.state = &state;
  }
  Pass pass(engine, config, weights, scratch, batch, {});
  for (u32 layer = 0; layer < config.n_layer() && !batch.empty(); ++layer) {
    const LayerShape& shape = config.layers[layer];
    const f32* const inputs = kept.inputs + shape.first_input * kept.max_inputs;
    if (is_recurrent(shape.mixer)) advance_recurrent(pass, layer, inputs, nullptr);
  }
}

Result<Scratch> make_scratch(Arena& arena, const Config& config, const Weights& weights, u32 max_tokens) {
  Scratch s;
  s.max_tokens = max_tokens;
  const u64 n = max_tokens;
  bool enough = true;
  const auto floats = [&](u64 count) {
    Span<f32> memory = arena.allocate<f32>(count);
    enough = enough && !memory.empty();
    return memory.data;
  };
  s.residual = floats(n * config.n_embd);
  s.normed = floats(n * config.n_embd);
  if (config.parallel) s.parallel = floats(n * config.n_embd);
  const LayerShape& widest = config.widest;
  const bool latent = config.latent.rank != 0;
  const u64 attention = latent ? latent_attention_floats(config, n) : attention_floats(widest, n);
  const u64 experts = experts_floats(config, n), inputs = layer_input_floats(config, n);
  const u64 recurrence = recurrent_floats(widest.recurrence, n);
  const u64 dense = max(attention, feed_forward_floats(widest, n));
  f32* const shared = floats(max(max(dense, inputs), max(recurrence, experts)));
  if (inputs != 0) s.layer_inputs = floats(inputs);
  s.cosines = floats(2 * n * config.most_pairs());
  s.sines = floats(2 * n * config.most_pairs());
  if (config.streams) enough = enough && allocate_streams(arena, config, n, s.streams);
  if (config.laurel_rank != 0) enough = enough && allocate_laurel(arena, config, n, s.laurel);
  enough = enough && allocate_attention(arena, config, max_tokens, s.attention);

  u32 kinds = kind_bit(weights.output) | kind_bit(weights.inputs.projection) | kinds_of(weights.streams);
  u32 expert_kinds = 0;
  for (u32 i = 0; i < config.n_layer(); ++i) {
    const Layer& layer = weights.layers[i];
    const Mixer mixer = config.layers[i].mixer;
    if (is_recurrent(mixer)) kinds |= kinds_of(layer.recurrent);
    if (mixer == Mixer::attention) kinds |= kinds_of(layer.attention);
    if (mixer == Mixer::latent_attention) kinds |= kinds_of(layer.latent);
    if (config.layers[i].n_expert != 0) kinds |= kinds_of(layer.experts), expert_kinds |= row_kinds_of(layer.experts);
    if (config.layers[i].dense_ff() != 0) kinds |= kinds_of(layer.feed_forward);
    kinds |= kinds_of(layer.input) | kinds_of(layer.streams) | kinds_of(layer.laurel);
  }
  const u32 inner = max(max(widest.n_ff, widest.n_ff_shared), max(widest.n_ff_beside, config.n_embd_per_layer));
  const u32 attended = latent ? latent_attention_cols(config) : widest.attended_dim();
  const u32 beside = max(widest.recurrence.out_dim(), config.laurel_rank);
  const u32 cols = max(max(config.n_embd, attended), max(inner, beside));
  enough = enough && allocate_activations(arena, kinds | expert_kinds, n, cols, s.activations);
  if (enough) latent ? place_latent_attention(config, n, shared, s) : place_attention(widest, n, shared, s);
  if (enough) place_feed_forward(widest, n, shared, s);
  if (enough && recurrence != 0) {
    place_recurrent(widest.recurrence, n, shared, s);
    s.recurrence.sequences = arena.allocate<Sequence>(max_tokens);
    enough = !s.recurrence.sequences.empty();
  }
  if (enough && widest.n_expert != 0) {
    place_experts(config, n, shared, s);
    enough = allocate_experts(arena, config, expert_kinds, n, s.experts);
  }
  if (!enough) return fail(Code::out_of_memory, "scratch") << "no memory for a batch of " << max_tokens << " tokens";
  return s;
}

}  // namespace flyball::model
