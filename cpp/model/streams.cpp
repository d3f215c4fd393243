// AltUp (Baykal et al. 2023): the residual has several streams, and a layer computes the first alone. Before it all
// streams are predicted from all, after it all are corrected by how far the first one's prediction was off.
#include "base/math.h"
#include "model/block.h"

namespace flyball::model {
namespace {

constexpr f64 least_square = 1e-5;  // on average, of a row that is scaled to another's magnitude

f32* row_of(const Pass& pass, u32 stream, u32 t) {
  return pass.scratch.streams.rows + (u64(stream) * pass.scratch.max_tokens + t) * pass.config.n_embd;
}

f64 sum_of_squares(const f32* x, u32 n) {
  return sum_in_lanes(n, [=](u32 i) { return f64(x[i]) * x[i]; });
}

void scale_like(const Pass& pass, const f32* other, f32* row) {
  const u32 n = pass.config.n_embd;
  const f64 own = max(sum_of_squares(row, n), n * least_square);
  pass.table.scale(row, f32(__builtin_sqrt(sum_of_squares(other, n) / own)), n);
}

// The router's logits of all tokens, from their norms.
template <class Complete>
bool multiply_router(Pass& pass, const Streams& weights, const f32* x, Complete&& complete) {
  const Activations& normed = pass.linear.norm_and_quantize(x, weights.router_norm, pass.config.n_embd, pass.n_tokens,
                                                            kind_bit(weights.router), complete);
  const Product router[] = {{&weights.router, nullptr, pass.scratch.streams.routed, n_streams}};
  return pass.linear.multiply_plain(router, normed);
}

struct Modalities {
  f32 each[n_streams];

  Modalities(const Pass& pass, u32 t) {
    const f32 scale = 1 / f32(pass.config.n_embd);
    const f32* const routed = pass.scratch.streams.routed + u64(t) * n_streams;
    for (u32 i = 0; i < n_streams; ++i) each[i] = tanh32(routed[i] * scale);
  }
  f32 times(const f32* coefficients) const {
    f32 sum = 0;
    for (u32 i = 0; i < n_streams; ++i) sum = fma32(coefficients[i], each[i], sum);
    return sum;
  }
};

void predict(Pass& pass, const Streams& weights, u32 t) {
  const Modalities modalities(pass, t);
  f32 mix[n_streams][n_streams];  // of each stream, how much of each joins it
  f32* rows[n_streams];
  for (u32 to = 0; to < n_streams; ++to) {
    rows[to] = row_of(pass, to, t);
    for (u32 from = 0; from < n_streams; ++from)
      mix[to][from] = modalities.times(weights.prediction + (to * n_streams + from) * n_streams);
  }
  for (u32 i = 0; i < pass.config.n_embd; ++i) {
    f32 x[n_streams];
    for (u32 stream = 0; stream < n_streams; ++stream) x[stream] = rows[stream][i];
    for (u32 to = 0; to < n_streams; ++to) {
      f32 sum = mix[to][0] * x[0];
      for (u32 from = 1; from < n_streams; ++from) sum = sum + mix[to][from] * x[from];
      rows[to][i] = x[to] + sum;
    }
  }
}

void correct(Pass& pass, const Streams& weights, u32 t, const f32* computed) {
  const Modalities modalities(pass, t);
  f32 factors[n_streams];
  f32* rows[n_streams];
  for (u32 stream = 0; stream < n_streams; ++stream) {
    rows[stream] = row_of(pass, stream, t);
    factors[stream] = 1 + modalities.times(weights.correction + stream * n_streams);
  }
  for (u32 i = 0; i < pass.config.n_embd; ++i) {
    const f32 innovation = computed[i] - rows[0][i];
    for (u32 stream = 0; stream < n_streams; ++stream) rows[stream][i] = rows[stream][i] + innovation * factors[stream];
  }
}

// What the layer's own input has made of the first stream is in `normed` and joins the others.
void finish_streams(Pass& pass, u32 t, u32 layer) {
  const u32 n_embd = pass.config.n_embd;
  f32* const branch = pass.scratch.normed + u64(t) * n_embd;
  const f32* const norm = pass.weights.layers[layer].input.post_norm;
  pass.table.rms_norm(branch, norm, pass.config.post_norm_eps, n_embd, branch);
  for (u32 stream = 1; stream < n_streams; ++stream) pass.table.add(row_of(pass, stream, t), branch, n_embd);
}

}  // namespace

void load_all_streams(Loader& loader, const Config& config, AllStreams& weights) {
  const u32 n = n_streams - 1, n_embd = config.n_embd;
  weights.begin =
      loader.pack_each(loader.find("altup_proj.weight", n_embd, n_embd, true, n), n, n_embd, 0, n_embd, false);
  weights.end =
      loader.pack_each(loader.find("altup_unembd_proj.weight", n_embd, n_embd, true, n), n, n_embd, 0, n_embd, false);
}

void load_streams(Loader& loader, const Config& config, u32 i, Streams& weights) {
  const u32 n = n_streams, n_embd = config.n_embd;
  weights.router_norm = loader.vector(LayerName(i, "altup_router_norm.weight"), n_embd, true);
  weights.router = loader.pack(loader.find(LayerName(i, "altup_router.weight"), n_embd, n, true), 0, n, 0, 1, false);
  weights.prediction = loader.vector(LayerName(i, "altup_predict_coef.weight"), n, true, u64(n) * n);
  weights.correction = loader.vector(LayerName(i, "altup_correct_coef.weight"), n, true, n);
  weights.scale = loader.vector(LayerName(i, "altup_correct_scale.weight"), n_embd, true);
}

u32 kinds_of(const Streams& weights) { return kind_bit(weights.router); }
u32 kinds_of(const AllStreams& weights) {
  u32 kinds = 0;
  for (const Matrix& matrix : weights.begin) kinds |= kind_bit(matrix);
  for (const Matrix& matrix : weights.end) kinds |= kind_bit(matrix);
  return kinds;
}

bool allocate_streams(Arena& arena, const Config& config, u64 n, StreamScratch& scratch) {
  const Span<f32> rows = arena.allocate<f32>(n_streams * n * config.n_embd);
  const Span<f32> routed = arena.allocate<f32>(n * n_streams);
  scratch = {rows.data, routed.data};
  return !rows.empty() && !routed.empty();
}

// The others begin as projections of the first, of its magnitude.
bool begin_streams(Pass& pass) {
  const f32* const residual = pass.scratch.residual;
  const Span<const Matrix> matrices = pass.weights.streams.begin;
  const u32 n_embd = pass.config.n_embd;
  const Activations& x =
      pass.linear.norm_and_quantize(residual, nullptr, n_embd, pass.n_tokens, kinds_of(pass.weights.streams));
  Product products[n_streams - 1];
  for (u32 i = 0; i + 1 < n_streams; ++i) products[i] = {&matrices[i], nullptr, row_of(pass, i + 1, 0), n_embd};
  if (!pass.linear.multiply_plain(products, x)) return false;
  pass.linear.each_token(pass.n_tokens, n_streams * n_embd, [&](u32 t) {
    const f32* const first = residual + u64(t) * n_embd;
    memcpy(row_of(pass, 0, t), first, n_embd * sizeof(f32));
    for (u32 stream = 1; stream < n_streams; ++stream) scale_like(pass, first, row_of(pass, stream, t));
  });
  return true;
}

// The first prediction becomes the residual of the layer.
bool predict_streams(Pass& pass, u32 layer) {
  const Streams& weights = pass.weights.layers[layer].streams;
  const u32 n_embd = pass.config.n_embd;
  const bool routed = multiply_router(pass, weights, row_of(pass, 0, 0), [&](u32 t) {
    if (layer > 0) finish_streams(pass, t, layer - 1);
  });
  if (!routed) return false;
  pass.linear.each_token(pass.n_tokens, n_streams * n_embd, [&](u32 t) {
    predict(pass, weights, t);
    memcpy(pass.scratch.residual + u64(t) * n_embd, row_of(pass, 0, t), n_embd * sizeof(f32));
  });
  return true;
}

// The first stream, scaled, becomes the residual that gates the layer's own input.
bool correct_streams(Pass& pass, u32 layer) {
  const Layer& about = pass.weights.layers[layer];
  const u32 n_embd = pass.config.n_embd;
  f32* const residual = pass.scratch.residual;
  if (!multiply_router(pass, about.streams, residual, [&](u32 t) { pass.add_residual(t, about.ffn_post_norm); }))
    return false;
  pass.linear.each_token(pass.n_tokens, n_streams * n_embd, [&](u32 t) {
    f32* const row = residual + u64(t) * n_embd;
    correct(pass, about.streams, t, row);
    memcpy(row, row_of(pass, 0, t), n_embd * sizeof(f32));
    pass.table.mul(about.streams.scale, row, n_embd);
  });
  return true;
}

// The mean of the first stream and of projections of the others, of its magnitude.
bool end_streams(Pass& pass) {
  const u32 n_embd = pass.config.n_embd, n_layer = pass.config.n_layer();
  const u32 kinds = kinds_of(pass.weights.streams);
  f32* const residual = pass.scratch.residual;
  pass.linear.each_token(pass.n_tokens, n_streams * n_embd, [&](u32 t) {
    finish_streams(pass, t, n_layer - 1);
    memcpy(residual + u64(t) * n_embd, row_of(pass, 0, t), n_embd * sizeof(f32));
  });
  for (u32 stream = 1; stream < n_streams; ++stream) {
    const Activations& x =
        pass.linear.norm_and_quantize(row_of(pass, stream, 0), nullptr, n_embd, pass.n_tokens, kinds);
    const Product product[] = {{&pass.weights.streams.end[stream - 1], nullptr, pass.scratch.normed, n_embd}};
    if (!pass.linear.multiply_plain(product, x)) return false;
    pass.linear.each_token(pass.n_tokens, n_embd, [&](u32 t) {
      f32* const row = pass.scratch.normed + u64(t) * n_embd;
      scale_like(pass, row_of(pass, 0, t), row);
      pass.table.add(residual + u64(t) * n_embd, row, n_embd);
    });
  }
  pass.linear.each_token(pass.n_tokens, n_embd,
                         [&](u32 t) { pass.table.scale(residual + u64(t) * n_embd, 1 / f32(n_streams), n_embd); });
  return true;
}

}  // namespace flyball::model
