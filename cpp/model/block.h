// The blocks that layers are made of, a file for each kind: what it loads, and what it computes in a pass.
#pragma once

#include "model/linear.h"
#include "model/loader.h"

namespace flyball::model {

Span<const Sequence> find_sequences(Span<const BatchToken> batch, Span<Sequence> found);
bool mark_adapted(Span<const BatchToken> batch, Scratch& scratch);  // fills scratch.adapters.tokens; false: no adapter

struct Pass;
void join_laurel(const Pass& pass, u32 t);  // adds it to the residual, and halves the variance of the sum

// One call of forward(), shared by the blocks. A block reads the residual and leaves its output in scratch.normed.
struct Pass {
  Pass(const Engine& engine_, const Config& config_, const Weights& weights_, Scratch& scratch_,
       Span<const BatchToken> batch_, StopCheck check)
      : engine(engine_),
        table(*engine_.table),
        config(config_),
        weights(weights_),
        scratch(scratch_),
        batch(batch_),
        n_tokens(u32(batch_.size)),
        adapted(mark_adapted(batch_, scratch_)),
        linear(engine_, config_, scratch_, check, adapted ? scratch_.adapters.tokens : nullptr) {
    if (config.state_floats() != 0) sequences = find_sequences(batch, scratch.recurrence.sequences);
  }

  // The output of the block before is in `normed`. It joins the residual only here, when the next norm reads the row:
  // one pass then adds, norms and quantizes it. A separate addition would cost every layer two more parallel sections.
  void add_residual(u32 t, const f32* post_norm) {
    f32* branch = scratch.normed + u64(t) * config.n_embd;
    if (post_norm) table.rms_norm(branch, post_norm, config.post_norm_eps, config.n_embd, branch);
    if (config.residual_scale != 1) table.scale(branch, config.residual_scale, config.n_embd);
    table.add(scratch.residual + u64(t) * config.n_embd, branch, config.n_embd);
    if (config.parallel) table.add(scratch.residual + u64(t) * config.n_embd, attention_branch(t), config.n_embd);
  }
  // Where attention leaves its output.
  f32* attention_branch(u32 t) const {
    return (config.parallel ? scratch.parallel : scratch.normed) + u64(t) * config.n_embd;
  }

  // What precedes a layer's feed-forward: its attention, or the layer before if it has none.
  void finish_mixer(u32 t, u32 layer) {
    if (config.layers[layer].mixer != Mixer::none)
      add_residual(t, weights.layers[layer].attention_post_norm);
    else if (layer > 0)
      finish_layer(t, layer - 1);
    if (config.laurel_rank != 0) join_laurel(*this, t);
  }

  // The same for the last block of layer `layer`, whose output the next layer reads.
  void finish_layer(u32 t, u32 layer) {
    if (config.streams) return;  // the streams have it
    const Layer& about = weights.layers[layer];
    add_residual(t, config.n_embd_per_layer != 0 ? about.input.post_norm : about.ffn_post_norm);
    if (about.output_scale) table.scale(scratch.residual + u64(t) * config.n_embd, *about.output_scale, config.n_embd);
  }

  // y = activation(gate) * up, over n values.
  void activate(const f32* gate, const f32* up, f32* y, u64 n) const {
    switch (config.activation) {
      case Activation::silu: return table.silu_mul(gate, up, y, n);
      case Activation::gelu: return table.gelu_mul(gate, up, y, n);
      case Activation::swiglu_clamped: return table.swiglu_clamped(gate, up, y, n);
      case Activation::relu_squared: return table.relu_squared(y, n);  // of what is there in place of a gate
    }
  }

  const Engine& engine;
  const kernels::Table& table;
  const Config& config;
  const Weights& weights;
  Scratch& scratch;
  const Span<const BatchToken> batch;
  const u32 n_tokens;
  const bool adapted;  // some token has an adapter
  Linear linear;
  Span<const Sequence> sequences;  // of models with states
  u64 attention_cycles = 0;
};

[[nodiscard]] bool add_embeddings(Pass& pass);  // the adapters' part

// Of each kind: the tensors that it loads; the quantized forms that its inputs need, as (1 << ActivationKind) bits; its
// f32 scratch for `n` tokens; its computation, false if stopped.
void load_attention(Loader& loader, const Config& config, u32 layer, Attention& weights);
u32 kinds_of(const Attention& weights);
u64 attention_floats(const LayerShape& widest, u64 n);
void place_attention(const LayerShape& widest, u64 n, f32* floats, Scratch& scratch);
[[nodiscard]] bool run_attention(Pass& pass, u32 layer);

void load_recurrent(Loader& loader, const Config& config, u32 layer, Recurrent& weights);
u32 kinds_of(const Recurrent& weights);
u64 recurrent_floats(const Recurrence& widest, u64 n);
void place_recurrent(const Recurrence& widest, u64 n, f32* floats, Scratch& scratch);
[[nodiscard]] bool run_recurrent(Pass& pass, u32 layer);
// The part of it that has the state: `inputs` (n_tokens, input_floats()) of the pass's tokens. `out`: (n_tokens,
// out_dim), or null: only the state is wanted.
void advance_recurrent(Pass& pass, u32 layer, const f32* inputs, f32* out);

void load_latent_attention(Loader& loader, const Config& config, u32 layer, LatentAttention& weights);
u32 kinds_of(const LatentAttention& weights);
u32 latent_attention_cols(const Config& config);  // widest rows of its inputs, for a token
u64 latent_attention_floats(const Config& config, u64 n);
void place_latent_attention(const Config& config, u64 n, f32* floats, Scratch& scratch);
[[nodiscard]] bool run_latent_attention(Pass& pass, u32 layer);

void load_feed_forward(Loader& loader, const Config& config, u32 layer, FeedForward& weights);
u32 kinds_of(const FeedForward& weights);
u64 feed_forward_floats(const LayerShape& widest, u64 n);
void place_feed_forward(const LayerShape& widest, u64 n, f32* floats, Scratch& scratch);
[[nodiscard]] bool run_feed_forward(Pass& pass, u32 layer);

void load_experts(Loader& loader, const Config& config, u32 layer, Experts& weights);
u32 kinds_of(const Experts& weights);
u32 row_kinds_of(const Experts& weights);  // of a token's copies, one for each of its experts
u64 experts_floats(const Config& config, u64 n);
void place_experts(const Config& config, u64 n, f32* floats, Scratch& scratch);
bool allocate_experts(Arena& arena, const Config& config, u32 kinds, u64 n, ExpertScratch& scratch);
[[nodiscard]] bool run_experts(Pass& pass, u32 layer);

// Gemma 4's inputs of layers are made once for all of them, from the embedding, and then join one after another.
void load_layer_inputs(Loader& loader, const Config& config, LayerInputs& weights);
void load_layer_input(Loader& loader, const Config& config, u32 layer, LayerInput& weights);
u32 kinds_of(const LayerInput& weights);
u64 layer_input_floats(const Config& config, u64 n);
[[nodiscard]] bool make_layer_inputs(Pass& pass);
[[nodiscard]] bool run_layer_input(Pass& pass, u32 layer);

// Gemma 3n's residual has streams, of which layers compute the first.
void load_all_streams(Loader& loader, const Config& config, AllStreams& weights);
void load_streams(Loader& loader, const Config& config, u32 layer, Streams& weights);
u32 kinds_of(const AllStreams& weights);
u32 kinds_of(const Streams& weights);
bool allocate_streams(Arena& arena, const Config& config, u64 n, StreamScratch& scratch);
[[nodiscard]] bool begin_streams(Pass& pass);
[[nodiscard]] bool predict_streams(Pass& pass, u32 layer);
[[nodiscard]] bool correct_streams(Pass& pass, u32 layer);
[[nodiscard]] bool end_streams(Pass& pass);

void load_laurel(Loader& loader, const Config& config, u32 layer, Laurel& weights);
u32 kinds_of(const Laurel& weights);
bool allocate_laurel(Arena& arena, const Config& config, u64 n, LaurelScratch& scratch);
[[nodiscard]] bool run_laurel(Pass& pass, u32 layer);

// Row `t` of a table in the file's own layout, a row for each token.
void look_up(Pass& pass, const gguf::Tensor& table, u32 t, f32* row);

}  // namespace flyball::model
