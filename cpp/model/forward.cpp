#include "model/forward.h"

#include "model/attention.h"
#include "model/linear.h"

namespace flyball::model {
namespace {

constexpr u64 least_discarded = u64(16) << 20;  // bytes of an embedding from which on its pages are discarded
constexpr u32 embedded_rows = 8;                // rows read between two discards

// One call of forward(): the borrowed parts and the steps, in the order in which they run.
class Pass {
 public:
  Pass(const Engine& engine, const Config& config, const Weights& weights, Scratch& scratch,
       Span<const BatchToken> batch, StopCheck check)
      : engine_(engine),
        table_(*engine.table),
        linear_(engine, config.norm_eps, scratch, check),
        config_(config),
        weights_(weights),
        scratch_(scratch),
        batch_(batch),
        n_tokens_(u32(batch.size)) {}

  // False: stopped.
  [[nodiscard]] bool run(const Rope& rope, f32* logits);
  ForwardCycles spent() const { return {linear_.matrix_cycles(), attention_cycles_}; }

 private:
  void embed();
  void rotate_tables(const Rope& rope);
  [[nodiscard]] bool attention(u32 layer);
  void rope_and_store_kv(u32 layer);
  [[nodiscard]] bool feed_forward(u32 layer);
  [[nodiscard]] bool output_head(f32* logits);
  void add_residual(u32 t, const f32* post_norm);

  const Engine& engine_;
  const kernels::Table& table_;
  Linear linear_;
  const Config& config_;
  const Weights& weights_;
  Scratch& scratch_;
  Span<const BatchToken> batch_;
  u32 n_tokens_;
  u64 attention_cycles_ = 0;
};

bool Pass::run(const Rope& rope, f32* logits) {
  embed();
  rotate_tables(rope);
  for (u32 layer = 0; layer < config_.n_layer; ++layer) {
    if (!attention(layer) || !feed_forward(layer)) return false;
  }
  return output_head(logits);
}

// Each row brings the pages around it into memory, in time the whole table, which most models also hold packed: so
// discard them.
void Pass::embed() {
  const gguf::Tensor& tensor = *weights_.embedding;
  const u64 row_bytes = tensor.data.size / tensor.rows();
  const Platform& platform = *engine_.platform;
  const bool discards = platform.discard && tensor.data.size > least_discarded;
  for (u32 t = 0; t < n_tokens_; ++t) {
    f32* x = scratch_.residual + u64(t) * config_.n_embd;
    kernels::dequantize_row(tensor.type, tensor.data.data + u64(batch_[t].token) * row_bytes, config_.n_embd, x);
    if (config_.embedding_scale != 1) table_.scale(x, config_.embedding_scale, config_.n_embd);
    if (++scratch_.n_embedded % embedded_rows == 0 && discards) platform.discard(platform.self, tensor.data);
  }
}

void Pass::rotate_tables(const Rope& rope) {
  const u64 sliding = u64(scratch_.max_tokens) * rope.n_pairs;
  const bool two = rope.frequencies_sliding.data != rope.frequencies.data;
  linear_.each_token(n_tokens_, config_.n_rot, [&](u32 t) {
    const u64 at = u64(t) * rope.n_pairs;
    const u32 position = batch_[t].position;
    rope_angles(rope.frequencies, rope.magnitude, position, scratch_.cosines + at, scratch_.sines + at);
    f32* cosines = scratch_.cosines + sliding + at;
    f32* sines = scratch_.sines + sliding + at;
    if (two) {
      rope_angles(rope.frequencies_sliding, rope.magnitude_sliding, position, cosines, sines);
    } else {
      memcpy(cosines, scratch_.cosines + at, rope.n_pairs * sizeof(f32));
      memcpy(sines, scratch_.sines + at, rope.n_pairs * sizeof(f32));
    }
  });
}

// The output of attention or feed-forward is in `normed`. It joins the residual only here, when the next norm reads the
// row: one pass then adds, norms and quantizes it. A separate addition would cost every layer two more parallel
// sections.
void Pass::add_residual(u32 t, const f32* post_norm) {
  const u32 n = config_.n_embd;
  f32* branch = scratch_.normed + u64(t) * n;
  if (post_norm) table_.rms_norm(branch, post_norm, config_.norm_eps, n, branch);
  table_.add(scratch_.residual + u64(t) * n, branch, n);
}

// Norms and rotations of queries and keys, and the new rows of the cache: for all tokens, before attention.
void Pass::rope_and_store_kv(u32 layer) {
  const Layer& weights = weights_.layers[layer];
  const u32 n_pairs = config_.n_rot / 2;
  const u64 table_offset = config_.is_sliding(layer) ? u64(scratch_.max_tokens) * n_pairs : 0;
  linear_.each_token(n_tokens_, config_.q_dim(), [&](u32 t) {
    const f32* cosines = scratch_.cosines + table_offset + u64(t) * n_pairs;
    const f32* sines = scratch_.sines + table_offset + u64(t) * n_pairs;
    const auto turn = [&](f32* heads, u32 n_heads, const f32* norm) {
      for (u32 h = 0; h < n_heads; ++h) {
        f32* head = heads + u64(h) * config_.head_dim;
        if (norm) table_.rms_norm(head, norm, config_.norm_eps, config_.head_dim, head);
        table_.rope(head, cosines, sines, config_.n_rot, config_.rope_neox);
      }
    };
    turn(scratch_.query + u64(t) * config_.q_dim(), config_.n_head, weights.query_norm);
    turn(scratch_.key + u64(t) * config_.k_dim(), config_.n_head_kv, weights.key_norm);
    const kernels::CacheHead* cache = batch_[t].cache + u64(layer) * config_.n_head_kv;
    for (u32 h = 0; h < config_.n_head_kv; ++h) {
      table_.store_key(cache[h], batch_[t].position,
                       scratch_.key + u64(t) * config_.k_dim() + u64(h) * config_.head_dim);
      table_.store_value(cache[h], batch_[t].position,
                         scratch_.value + u64(t) * config_.v_dim() + u64(h) * config_.value_dim);
    }
  });
}

bool Pass::attention(u32 layer) {
  const Layer& weights = weights_.layers[layer];
  const u32 n = config_.n_embd;
  const f32* x = linear_.norm_and_quantize(scratch_.residual, weights.attention_norm, n, n_tokens_,
                                           scratch_.kinds[layer].qkv, [&](u32 t) {
                                             if (layer > 0) add_residual(t, weights_.layers[layer - 1].ffn_post_norm);
                                           });
  const Product qkv[] = {{&weights.query, weights.query_bias, scratch_.query, config_.q_dim()},
                         {&weights.key, weights.key_bias, scratch_.key, config_.k_dim()},
                         {&weights.value, weights.value_bias, scratch_.value, config_.v_dim()}};
  if (!linear_.multiply(qkv, x, n_tokens_)) return false;
  rope_and_store_kv(layer);
  const u64 start = cycles(*engine_.platform);
  attend(engine_, config_, layer, batch_, scratch_);
  attention_cycles_ += cycles(*engine_.platform) - start;

  const u32 out_dim = config_.n_head * config_.value_dim;
  x = linear_.norm_and_quantize(scratch_.attended, nullptr, out_dim, n_tokens_, scratch_.kinds[layer].output);
  const Product output[] = {{&weights.output, weights.output_bias, scratch_.normed, n}};
  return linear_.multiply(output, x, n_tokens_);
}

bool Pass::feed_forward(u32 layer) {
  const Layer& weights = weights_.layers[layer];
  const u32 n_ff = config_.n_ff;
  const f32* x = linear_.norm_and_quantize(scratch_.residual, weights.ffn_norm, config_.n_embd, n_tokens_,
                                           scratch_.kinds[layer].ffn,
                                           [&](u32 t) { add_residual(t, weights.attention_post_norm); });
  const Product products[] = {{&weights.gate, weights.gate_bias, scratch_.gate, n_ff},
                              {&weights.up, weights.up_bias, scratch_.up, n_ff}};
  if (!linear_.multiply(products, x, n_tokens_)) return false;
  x = linear_.norm_and_quantize(scratch_.gate, nullptr, n_ff, n_tokens_, scratch_.kinds[layer].down, [&](u32 t) {
    f32* gate = scratch_.gate + u64(t) * n_ff;
    const auto activate = config_.activation == Activation::silu ? table_.silu_mul : table_.gelu_mul;
    activate(gate, scratch_.up + u64(t) * n_ff, gate, n_ff);
  });
  const Product down[] = {{&weights.down, weights.down_bias, scratch_.normed, config_.n_embd}};
  return linear_.multiply(down, x, n_tokens_);
}

// The last norm and, if `logits`, the logits of the wanted tokens: moves their residuals to the front first.
bool Pass::output_head(f32* logits) {
  const u32 n = config_.n_embd;
  u32 n_wanted = 0;
  for (u32 t = 0; t < n_tokens_; ++t) {
    if (!batch_[t].wanted) continue;
    add_residual(t, weights_.layers[config_.n_layer - 1].ffn_post_norm);
    if (n_wanted != t) memcpy(scratch_.residual + u64(n_wanted) * n, scratch_.residual + u64(t) * n, n * sizeof(f32));
    ++n_wanted;
  }
  if (n_wanted == 0) return true;
  const f32* x = linear_.norm_and_quantize(scratch_.residual, weights_.output_norm, n, n_wanted,
                                           logits ? scratch_.kinds[0].logits : 0);
  if (!logits) return true;
  const Product output[] = {{&weights_.output, weights_.output_bias, logits, config_.n_vocab}};
  if (!linear_.multiply(output, x, n_wanted)) return false;
  if (config_.final_softcap > 0) {
    linear_.each_token(n_wanted, config_.n_vocab, [&](u32 t) {
      table_.softcap(logits + u64(t) * config_.n_vocab, config_.final_softcap, config_.n_vocab);
    });
  }
  return true;
}

}  // namespace

Result<Scratch> make_scratch(Arena& arena, const Config& config, const Weights& weights, u32 max_tokens) {
  Scratch s;
  s.max_tokens = max_tokens;
  const u64 n = max_tokens;
  const u32 out_dim = config.n_head * config.value_dim;
  const auto no_memory = [&]() -> Error {
    return fail(Code::out_of_memory, "scratch") << "no memory for a batch of " << max_tokens << " tokens";
  };
  bool enough = true;
  const auto floats = [&](u64 count) {
    Span<f32> memory = arena.allocate<f32>(count);
    enough = enough && !memory.empty();
    return memory.data;
  };
  s.residual = floats(n * config.n_embd);
  s.normed = floats(n * config.n_embd);
  const u64 parts[] = {n * config.q_dim(), n * config.k_dim(), n * config.v_dim(), n * out_dim};
  f32** const attention_parts[] = {&s.query, &s.key, &s.value, &s.attended};
  u64 attention_size = 0;
  for (const u64 part : parts) attention_size += round_up(part, 16);
  const u64 gate_size = round_up(n * config.n_ff, 16);
  f32* const shared = floats(max(attention_size, 2 * gate_size));
  if (!enough) return no_memory();
  s.gate = shared;
  s.up = shared + gate_size;
  f32* at = shared;
  for (u32 i = 0; i < 4; ++i) *attention_parts[i] = at, at += round_up(parts[i], 16);
  s.cosines = floats(2 * n * (config.n_rot / 2));
  s.sines = floats(2 * n * (config.n_rot / 2));
  enough = allocate_attention(arena, config, max_tokens, s.attention) && enough;

  s.kinds = arena.allocate<Scratch::Kinds>(config.n_layer);
  if (s.kinds.empty()) return no_memory();
  u32 used = kind_bit(weights.output);
  s.kinds[0].logits = used;
  for (u32 i = 0; i < config.n_layer; ++i) {
    const Layer& layer = weights.layers[i];
    Scratch::Kinds& kinds = s.kinds[i];
    kinds.qkv = kind_bit(layer.query) | kind_bit(layer.key) | kind_bit(layer.value);
    kinds.output = kind_bit(layer.output);
    kinds.ffn = kind_bit(layer.gate) | kind_bit(layer.up);
    kinds.down = kind_bit(layer.down);
    used |= kinds.qkv | kinds.output | kinds.ffn | kinds.down;
  }

  const u64 widest = round_up(max(max(config.n_embd, out_dim), config.n_ff), 256);
  const auto quantized = [&](u32 block, u32 sum_block, i8** q, f32** d, i32** sums) {
    *d = floats(n * widest / block);
    const Span<i8> codes = arena.allocate<i8>(n * widest);
    const Span<i32> sum = arena.allocate<i32>(n * widest / sum_block);
    enough = enough && !codes.empty() && !sum.empty();
    *q = codes.data, *sums = sum.data;
  };
  kernels::Activations& a = s.activations;
  if (used & 1u << u32(kernels::ActivationKind::q8_32)) quantized(32, 32, &a.q32, &a.d32, &a.sum32);
  if (used & 1u << u32(kernels::ActivationKind::q8_256)) quantized(256, 16, &a.q256, &a.d256, &a.sum16);
  if (!enough) return no_memory();
  return s;
}

bool forward(const Engine& engine, const Config& config, const Weights& weights, const Rope& rope, Scratch& scratch,
             Span<const BatchToken> batch, f32* logits, StopCheck check, ForwardCycles* spent) {
  Pass pass(engine, config, weights, scratch, batch, check);
  const bool finished = pass.run(rope, logits);
  *spent = pass.spent();
  return finished;
}

}  // namespace flyball::model
