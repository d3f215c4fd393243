// Attention over latent vectors (DeepSeek-AI 2024, DeepSeek-V2, section 2.1), absorbed: a token's cache is one vector
// [c | k], of which c stands for all heads' keys and values, and k is a rotated part that they share. A head's query
// enters the space of c by the matrix that would have made its keys, and its result leaves it by that of its values.
#include "model/attend.h"
#include "model/block.h"

namespace flyball::model {
namespace {

u32 input_kinds(const LatentAttention& weights) {
  return kind_bit(weights.query_a.rows != 0 ? weights.query_a : weights.query) | kind_bit(weights.latent);
}

u32 plain_dim(const Config& config) { return config.latent.key_dim - config.n_rot; }  // of a key, what does not rotate

u64 by_head_width(const Config& config) {
  return u64(config.widest.n_head) * max(plain_dim(config), config.latent.rank);
}

// Rows of each head for all tokens, one head after the other: a matrix of its own for each head then takes them whole.
struct ByHead {
  f32* rows;  // (n_head, n_tokens, cols)
  u32 n_tokens, cols;
  f32* row(u32 head, u32 token) const { return rows + (u64(head) * n_tokens + token) * cols; }
};

// y[token] of each head, `y_stride` apart in a token of `stride` floats. No adapter adds to them: one that would is
// refused when it is loaded.
bool multiply_heads(Pass& pass, Span<const Matrix> matrices, const ByHead& x, f32* y, u32 y_stride, u64 stride) {
  constexpr u32 most = 64;
  const u32 n_head = u32(matrices.size);
  const Activations& rows =
      pass.linear.norm_and_quantize(x.rows, nullptr, x.cols, n_head * x.n_tokens, kind_bit(matrices[0]));
  for (u32 first = 0; first < n_head; first += most) {
    const u32 n = min(most, n_head - first);
    Product products[most];
    for (u32 i = 0; i < n; ++i) {
      const u32 head = first + i;
      products[i] = {&matrices[head], nullptr, y + u64(head) * y_stride, stride, head * x.n_tokens, x.n_tokens};
    }
    if (!pass.linear.multiply({products, n}, rows, nullptr)) return false;
  }
  return true;
}

// Norm and rotation of the latent vectors, the cache's new rows, the rotated parts of queries, and the other parts by
// head.
void turn_and_store(Pass& pass, u32 layer, const ByHead& plain) {
  const Config& config = pass.config;
  const LayerShape& shape = config.layers[layer];
  const Latent& latent = config.latent;
  const LatentAttention& weights = pass.weights.layers[layer].latent;
  const Scratch& scratch = pass.scratch;
  const kernels::Table& table = pass.table;
  const u32 n_pairs = config.most_pairs(), n_plain = plain_dim(config);
  pass.linear.each_token(pass.n_tokens, shape.n_head * latent.key_dim, [&](u32 t) {
    const f32* cosines = scratch.cosines + u64(t) * n_pairs;
    const f32* sines = scratch.sines + u64(t) * n_pairs;
    const auto rotate = [&](f32* part) { table.rope(part, cosines, sines, config.n_rot, config.rope_neox); };
    f32* const key = scratch.key + u64(t) * shape.head_dim;
    table.rms_norm(key, weights.latent_norm, config.norm_eps, latent.rank, key);
    rotate(key + latent.rank);
    const BatchToken& token = pass.batch[t];
    const kernels::CacheHead& head = token.cache[shape.first_head_kv];
    table.store_key(head, token.position, key);
    table.store_value(head, token.position, key);  // its first value_dim are c
    for (u32 h = 0; h < shape.n_head; ++h) {
      const f32* const from = scratch.latent.query + (u64(t) * shape.n_head + h) * latent.key_dim;
      f32* const turned = scratch.query + (u64(t) * shape.n_head + h) * shape.head_dim + latent.rank;
      memcpy(plain.row(h, t), from, n_plain * sizeof(f32));
      memcpy(turned, from + n_plain, config.n_rot * sizeof(f32));
      rotate(turned);
    }
  });
}

}  // namespace

void load_latent_attention(Loader& loader, const Config& config, u32 i, LatentAttention& weights) {
  const LayerShape& shape = config.layers[i];
  const Latent& latent = config.latent;
  const u32 n_head = shape.n_head, n_embd = config.n_embd, n_plain = plain_dim(config);
  if (loader.has(LayerName(i, "attn_q_a.weight"))) {
    weights.query_a = loader.matrix(LayerName(i, "attn_q_a.weight"), n_embd, latent.query_rank);
    weights.query_norm = loader.vector(LayerName(i, "attn_q_a_norm.weight"), latent.query_rank, true);
    weights.query = loader.matrix(LayerName(i, "attn_q_b.weight"), latent.query_rank, n_head * latent.key_dim);
  } else {
    weights.query = loader.matrix(LayerName(i, "attn_q.weight"), n_embd, n_head * latent.key_dim);
  }
  weights.latent = loader.matrix(LayerName(i, "attn_kv_a_mqa.weight"), n_embd, shape.head_dim);
  weights.latent_norm = loader.vector(LayerName(i, "attn_kv_a_norm.weight"), latent.rank, true);
  const LayerName unsplit(i, "attn_kv_b.weight");
  if (loader.has(unsplit)) {  // older files: rows of each head's key, then of its value
    const u32 n_rows = n_plain + latent.value_dim;
    const gguf::Tensor* both = loader.find(unsplit, latent.rank, u64(n_head) * n_rows, true);
    weights.key = loader.pack_turned(both, n_head, n_rows, n_plain);
    weights.value = loader.pack_each(both, n_head, n_rows, n_plain, latent.value_dim, false);
  } else {
    const gguf::Tensor* keys = loader.find(LayerName(i, "attn_k_b.weight"), n_plain, latent.rank, true, n_head);
    const gguf::Tensor* values =
        loader.find(LayerName(i, "attn_v_b.weight"), latent.rank, latent.value_dim, true, n_head);
    weights.key = loader.pack_each(keys, n_head, latent.rank, 0, latent.rank, false);
    weights.value = loader.pack_each(values, n_head, latent.value_dim, 0, latent.value_dim, false);
  }
  weights.output = loader.matrix(LayerName(i, "attn_output.weight"), n_head * latent.value_dim, n_embd);
}

u32 kinds_of(const LatentAttention& weights) {
  return input_kinds(weights) | kind_bit(weights.query) | kind_bit(weights.key[0]) | kind_bit(weights.value[0]) |
         kind_bit(weights.output);
}

u64 latent_attention_floats(const Config& config, u64 n) {
  const Latent& latent = config.latent;
  const u64 n_head = config.widest.n_head;
  return attention_floats(config.widest, n) + round_up(n * latent.query_rank, 16) +
         round_up(n * n_head * max(latent.key_dim, latent.value_dim), 16) + round_up(n * by_head_width(config), 16);
}

void place_latent_attention(const Config& config, u64 n, f32* floats, Scratch& scratch) {
  const Latent& latent = config.latent;
  const u64 n_head = config.widest.n_head;
  place_attention(config.widest, n, floats, scratch);
  floats += attention_floats(config.widest, n);
  scratch.latent.reduced = floats;
  scratch.latent.query = floats += round_up(n * latent.query_rank, 16);
  scratch.latent.by_head = floats += round_up(n * n_head * max(latent.key_dim, latent.value_dim), 16);
}

bool run_latent_attention(Pass& pass, u32 layer) {
  const Config& config = pass.config;
  const LayerShape& shape = config.layers[layer];
  const Latent& latent = config.latent;
  const Layer* const layers = pass.weights.layers.data;
  const LatentAttention& weights = layers[layer].latent;
  const Scratch& scratch = pass.scratch;
  Linear& linear = pass.linear;
  const u32 n_tokens = pass.n_tokens, n_head = shape.n_head, n_embd = config.n_embd, n_query = n_head * latent.key_dim;
  const bool reduces = weights.query_a.rows != 0;
  const auto complete = [&](u32 t) {
    if (layer > 0) pass.finish_layer(t, layer - 1);
  };

  const Activations& x = linear.norm_and_quantize(scratch.residual, layers[layer].attention_norm, n_embd, n_tokens,
                                                  input_kinds(weights), complete);
  const Product first[] = {reduces ? Product{&weights.query_a, nullptr, scratch.latent.reduced, latent.query_rank}
                                   : Product{&weights.query, nullptr, scratch.latent.query, n_query},
                           {&weights.latent, nullptr, scratch.key, shape.head_dim}};
  if (!linear.multiply(first, x)) return false;
  if (reduces) {
    const u32 rank = latent.query_rank;
    const Activations& reduced =
        linear.norm_and_quantize(scratch.latent.reduced, nullptr, rank, n_tokens, kind_bit(weights.query), [&](u32 t) {
          f32* const row = scratch.latent.reduced + u64(t) * rank;
          pass.table.rms_norm(row, weights.query_norm, config.norm_eps, rank, row);
        });
    const Product query[] = {{&weights.query, nullptr, scratch.latent.query, n_query}};
    if (!linear.multiply(query, reduced)) return false;
  }

  const ByHead plain = {scratch.latent.by_head, n_tokens, plain_dim(config)};
  turn_and_store(pass, layer, plain);
  if (!multiply_heads(pass, weights.key, plain, scratch.query, shape.head_dim, shape.q_dim())) return false;
  if (config.temperature_scale != 0) {
    linear.each_token(n_tokens, shape.q_dim(), [&](u32 t) {
      const f32 factor = query_temperature(config, pass.batch[t].position);
      pass.table.scale(scratch.query + u64(t) * shape.q_dim(), factor, shape.q_dim());
    });
  }
  const u64 start = cycles(*pass.engine.platform);
  attend(pass.engine, config, layer, nullptr, pass.batch, pass.scratch);
  pass.attention_cycles += cycles(*pass.engine.platform) - start;

  const ByHead attended = {scratch.latent.by_head, n_tokens, latent.rank};
  linear.each_token(n_tokens, shape.attended_dim() / 4, [&](u32 t) {
    for (u32 h = 0; h < n_head; ++h) {
      const f32* const from = scratch.attended + u64(t) * shape.attended_dim() + u64(h) * latent.rank;
      memcpy(attended.row(h, t), from, latent.rank * sizeof(f32));
    }
  });
  const u32 n_out = n_head * latent.value_dim;
  f32* const values = scratch.latent.query;  // which has been used
  if (!multiply_heads(pass, weights.value, attended, values, latent.value_dim, n_out)) return false;
  const Activations& out = linear.norm_and_quantize(values, nullptr, n_out, n_tokens, kind_bit(weights.output));
  const Product output[] = {{&weights.output, nullptr, scratch.normed, n_embd}};
  return linear.multiply(output, out);
}

u32 latent_attention_cols(const Config& config) {
  const Latent& latent = config.latent;
  return max(u32(by_head_width(config)), max(latent.query_rank, config.widest.n_head * latent.value_dim));
}

}  // namespace flyball::model
