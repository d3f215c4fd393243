// Attention: queries, keys and values of every token, their norms and rotations, the cache, and the output's product.
#include "base/math.h"
#include "model/attend.h"
#include "model/block.h"

namespace flyball::model {
namespace {

u32 input_kinds(const Attention& weights) {
  const u32 gate = weights.gate.rows != 0 ? kind_bit(weights.gate) : 0;
  return kind_bit(weights.query) | kind_bit(weights.key) | kind_bit(weights.value) | gate;
}

// Norms and rotations of queries and keys, and the new rows of the cache: for all tokens, before attention. Where no
// matrix makes values, they are the keys as they were before.
void rope_and_store_kv(Pass& pass, u32 layer) {
  const Config& config = pass.config;
  const LayerShape& shape = config.layers[layer];
  const Attention& weights = pass.weights.layers[layer].attention;
  const Scratch& scratch = pass.scratch;
  const kernels::Table& table = pass.table;
  const u32 n_pairs = config.most_pairs(), n_rot = config.rotated(shape);
  const u64 table_offset = shape.sliding ? u64(scratch.max_tokens) * n_pairs : 0;
  pass.linear.each_token(pass.n_tokens, shape.q_dim(), [&](u32 t) {
    const f32* cosines = scratch.cosines + table_offset + u64(t) * n_pairs;
    const f32* sines = scratch.sines + table_offset + u64(t) * n_pairs;
    const auto turn = [&](f32* heads, u32 n_heads, const f32* norm) {
      const u32 n_norms = !norm                ? 0
                          : config.whole_norms ? 1
                                               : n_heads,
                width = n_heads / max(n_norms, 1u) * shape.head_dim;
      const auto normalize = [&] {
        for (u32 i = 0; i < n_norms; ++i)
          table.rms_norm(heads + u64(i) * width, norm, config.norm_eps, width, heads + u64(i) * width);
      };
      if (!config.norms_after_rotation) normalize();
      for (u32 h = 0; h < n_heads && shape.rotates; ++h)
        table.rope(heads + u64(h) * shape.head_dim, cosines, sines, n_rot, config.rope_neox);
      if (config.norms_after_rotation) normalize();
    };
    f32* const queries = scratch.query + u64(t) * shape.q_dim();
    if (config.query_gate) {  // of each head, a query and a gate
      const f32* const gated = scratch.gated + u64(t) * 2 * shape.q_dim();
      for (u32 h = 0; h < shape.n_head; ++h)
        memcpy(queries + h * shape.head_dim, gated + 2 * h * shape.head_dim, shape.head_dim * sizeof(f32));
    }
    const BatchToken& token = pass.batch[t];
    turn(queries, shape.n_head, weights.query_norm);
    const bool grows = config.temperature_scale != 0 && !(config.still_temperature && shape.rotates);
    if (grows) table.scale(queries, query_temperature(config, token.position), shape.q_dim());
    if (shape.shares_kv) return;
    f32* const keys = scratch.key + u64(t) * shape.k_dim();
    f32* const values = scratch.value + u64(t) * shape.v_dim();
    if (weights.value.rows == 0) memcpy(values, keys, shape.v_dim() * sizeof(f32));
    turn(keys, shape.n_head_kv, weights.key_norm);
    for (u32 h = 0; h < shape.n_head_kv; ++h) {
      const kernels::CacheHead& head = token.cache[shape.first_head_kv + h];
      table.store_key(head, token.position, keys + u64(h) * shape.head_dim);
      f32* const value = values + u64(h) * shape.value_dim;
      if (weights.value_norm) table.rms_norm(value, weights.value_norm, config.norm_eps, shape.value_dim, value);
      table.store_value(head, token.position, value);
    }
  });
}

// `n` gates: one for each element of the heads, or one for each head.
void apply_gate(const Pass& pass, u32 n, const f32* gates, const LayerShape& shape, f32* heads) {
  if (pass.config.attention_gate == AttentionGate::sigmoid) return pass.table.sigmoid_mul(gates, heads, n);
  const u32 width = shape.attended_dim() / n;
  for (u32 i = 0; i < n; ++i) pass.table.scale(heads + u64(i) * width, softplus32(gates[i]), width);
}

}  // namespace

void load_attention(Loader& loader, const Config& config, u32 i, Attention& weights) {
  const LayerShape& shape = config.layers[i];
  const u32 q = shape.q_dim() * (config.query_gate ? 2 : 1), k = shape.k_dim(), v = shape.v_dim();
  const bool own_kv = !shape.shares_kv;  // files may have weights that no layer needs
  const bool fused_weights = loader.has(LayerName(i, "attn_qkv.weight"));
  if (fused_weights) {  // one tensor: rows of q, then k, then v
    const gguf::Tensor* fused = loader.find(LayerName(i, "attn_qkv.weight"), config.n_embd, q + k + v, true);
    weights.query = loader.pack(fused, 0, q);
    if (own_kv) weights.key = loader.pack(fused, q, k);
    if (own_kv) weights.value = loader.pack(fused, q + k, v);
  } else {
    weights.query = loader.matrix(LayerName(i, "attn_q.weight"), config.n_embd, q);
    const gguf::Tensor* const key = loader.find(LayerName(i, "attn_k.weight"), config.n_embd, k, own_kv);
    const gguf::Tensor* const value = loader.find(LayerName(i, "attn_v.weight"), config.n_embd, v, !config.raw_values);
    if (own_kv) weights.key = loader.pack(key, 0, k);
    if (own_kv) weights.value = loader.pack(value, 0, v);
  }
  if (fused_weights && loader.has(LayerName(i, "attn_qkv.bias"))) {
    if (const f32* bias = loader.vector(LayerName(i, "attn_qkv.bias"), q + k + v, true)) {
      weights.query_bias = bias, weights.key_bias = bias + q, weights.value_bias = bias + q + k;
    }
  } else {  // of their own, also beside fused weights
    weights.query_bias = loader.vector(LayerName(i, "attn_q.bias"), q, false);
    weights.key_bias = loader.vector(LayerName(i, "attn_k.bias"), k, false);
    weights.value_bias = loader.vector(LayerName(i, "attn_v.bias"), v, false);
  }
  if (config.query_key_norms) {
    const bool required = !config.optional_norms, whole = config.whole_norms;
    weights.query_norm = loader.vector(LayerName(i, "attn_q_norm.weight"), whole ? q : shape.head_dim, required);
    weights.key_norm =
        loader.vector(LayerName(i, "attn_k_norm.weight"), whole ? k : shape.head_dim, required && own_kv);
  }
  if (config.unit_norms && shape.rotates) weights.query_norm = weights.key_norm = loader.constant(1, shape.head_dim);
  if (config.value_norms && own_kv) weights.value_norm = loader.constant(1, shape.value_dim);
  if (config.sinks) weights.sinks = loader.vector(LayerName(i, "attn_sinks.weight"), shape.n_head, true);
  if (config.attention_gate != AttentionGate::none) {
    const LayerName gate(i, "attn_gate.weight");
    const bool by_head = config.attention_gate == AttentionGate::softplus && loader.rows_of(gate) == shape.n_head;
    weights.gate = loader.matrix(gate, config.n_embd, by_head ? shape.n_head : shape.attended_dim());
  }
  weights.output = loader.matrix(LayerName(i, "attn_output.weight"), shape.attended_dim(), config.n_embd);
  weights.output_bias = loader.vector(LayerName(i, "attn_output.bias"), config.n_embd, false);
}

u32 kinds_of(const Attention& weights) { return input_kinds(weights) | kind_bit(weights.output); }

u64 attention_floats(const LayerShape& widest, u64 n) {
  return 3 * round_up(n * widest.q_dim(), 16) + round_up(n * widest.k_dim(), 16) + round_up(n * widest.v_dim(), 16) +
         2 * round_up(n * widest.attended_dim(), 16);
}

void place_attention(const LayerShape& widest, u64 n, f32* floats, Scratch& scratch) {
  const auto take = [&](u64 count) {
    f32* const part = floats;
    floats += round_up(count, 16);
    return part;
  };
  scratch.query = take(n * widest.q_dim());
  scratch.key = take(n * widest.k_dim());
  scratch.value = take(n * widest.v_dim());
  scratch.attended = take(n * widest.attended_dim());
  scratch.gated = take(n * 2 * widest.q_dim());
  scratch.attention_gate = take(n * widest.attended_dim());
}

bool run_attention(Pass& pass, u32 layer) {
  const LayerShape& shape = pass.config.layers[layer];
  const Layer* const layers = pass.weights.layers.data;
  const Attention& weights = layers[layer].attention;
  const Scratch& scratch = pass.scratch;
  const u32 n_embd = pass.config.n_embd;
  const Activations& x = pass.linear.norm_and_quantize(scratch.residual, layers[layer].attention_norm, n_embd,
                                                       pass.n_tokens, input_kinds(weights), [&](u32 t) {
                                                         if (layer > 0) pass.finish_layer(t, layer - 1);
                                                       });
  const bool query_gated = pass.config.query_gate;
  const Product products[] = {
      {&weights.query, weights.query_bias, query_gated ? scratch.gated : scratch.query, weights.query.rows},
      {&weights.key, weights.key_bias, scratch.key, shape.k_dim()},
      {&weights.value, weights.value_bias, scratch.value, shape.v_dim()},
      {&weights.gate, nullptr, scratch.attention_gate, weights.gate.rows}};
  const bool gated = weights.gate.rows != 0;
  if (!pass.linear.multiply({products, shape.shares_kv ? 1u : gated ? 4u : 3u}, x)) return false;
  rope_and_store_kv(pass, layer);
  const u64 start = cycles(*pass.engine.platform);
  attend(pass.engine, pass.config, layer, weights.sinks, pass.batch, pass.scratch);
  pass.attention_cycles += cycles(*pass.engine.platform) - start;

  const u32 attended_dim = shape.attended_dim();
  const Activations& attended = pass.linear.norm_and_quantize(
      scratch.attended, nullptr, attended_dim, pass.n_tokens, kind_bit(weights.output), [&](u32 t) {
        f32* const heads = scratch.attended + u64(t) * attended_dim;
        if (gated)
          apply_gate(pass, weights.gate.rows, scratch.attention_gate + u64(t) * weights.gate.rows, shape, heads);
        const f32* const gates = scratch.gated + u64(t) * 2 * attended_dim + shape.value_dim;
        for (u32 h = 0; query_gated && h < shape.n_head; ++h)
          pass.table.sigmoid_mul(gates + 2 * h * shape.value_dim, heads + h * shape.value_dim, shape.value_dim);
      });
  const Product output[] = {{&weights.output, weights.output_bias, pass.attention_branch(0), n_embd}};
  return pass.linear.multiply(output, attended);
}

}  // namespace flyball::model
