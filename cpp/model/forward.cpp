#include "model/forward.h"

#include "base/parallel.h"
#include "model/attention.h"

namespace flyball::model {
namespace {

using kernels::Activations;
using kernels::Table;

// Between two looks at the stop check: half a second of the slowest table at first, then doubled up to tens of
// milliseconds, since every slice ends with threads that wait for each other.
constexpr u64 first_slice_work = u64(1) << 29;  // multiply-adds
constexpr u64 slice_cycles = u64(1) << 26;

constexpr u64 least_given_back = u64(16) << 20;  // bytes of an embedding whose pages are not kept
constexpr u32 embedded_rows = 8;                 // read between two times they are given back

u32 kind_bit(const Matrix& matrix) { return 1u << u32(kernels::activation_kind(matrix.type)); }

// One call of forward(): the borrowed parts and the steps, in the order in which they run.
class Pass {
 public:
  Pass(const Engine& engine, const Config& config, const Weights& weights, Scratch& scratch,
       Span<const BatchToken> batch, StopCheck check, ForwardCycles& cycles)
      : platform_(*engine.platform),
        table_(*engine.table),
        threads_(engine.threads),
        config_(config),
        weights_(weights),
        scratch_(scratch),
        batch_(batch),
        n_tokens_(u32(batch.size)),
        check_(check),
        cycles_(cycles) {}

  // False: stopped.
  [[nodiscard]] bool run(const Rope& rope, f32* logits);

 private:
  struct Product {  // y = matrix * activations + bias
    const Matrix* matrix;
    const f32* bias;
    f32* y;
    u64 stride;
  };

  void embed();
  void rotate_tables(const Rope& rope);
  [[nodiscard]] bool attention(u32 layer);
  [[nodiscard]] bool feed_forward(u32 layer);
  [[nodiscard]] bool finish(f32* logits);

  u64 now() const { return platform_.cycles(platform_.self); }
  bool stopped() const { return check_.stop && check_.stop(check_.context); }

  // Rows of x for what reads them next: `complete(row)` first, then normalised (weight may be null: x is read as it is) and
  // quantised.
  template <class Complete>
  const f32* prepare(const f32* x, const f32* norm, u32 cols, u32 n_rows, u32 kinds, Complete&& complete);
  const f32* prepare(const f32* x, const f32* norm, u32 cols, u32 n_rows, u32 kinds) {
    return prepare(x, norm, cols, n_rows, kinds, [](u32) {});
  }
  [[nodiscard]] bool multiply(Span<const Product> products, const f32* x, u32 n_rows);
  void multiply_groups(Span<const Product> products, const Activations& activations, u32 begin, u32 end);
  void add_branch(u32 t, const f32* post_norm);
  void project_heads(u32 layer);

  // `width`: elements of a token that the function reads, each at the cost of some multiply-adds.
  template <class Function>
  void each_token(u32 n, u32 width, Function&& function) {
    const u64 work = u64(width) * 16;
    const u32 least = u32(divide_up(inline_work / 4, work));
    parallel_parts(platform_, threads_for(n * work, threads_), n, least, [&](u32 begin, u32 end) {
      for (u32 t = begin; t < end; ++t) function(t);
    });
  }

  const Platform& platform_;
  const Table& table_;
  u32 threads_;
  const Config& config_;
  const Weights& weights_;
  Scratch& scratch_;
  Span<const BatchToken> batch_;
  u32 n_tokens_;
  StopCheck check_;
  ForwardCycles& cycles_;
  u64 slice_work_ = first_slice_work;
};

bool Pass::run(const Rope& rope, f32* logits) {
  embed();
  rotate_tables(rope);
  for (u32 layer = 0; layer < config_.n_layer; ++layer) {
    if (!attention(layer) || !feed_forward(layer)) return false;
  }
  return finish(logits);
}

// Each row that is read brings the pages around it into memory, in time the whole table, which most models hold in packed
// form as well: so they are given back.
void Pass::embed() {
  const gguf::Tensor& tensor = *weights_.embedding;
  const u64 row_bytes = tensor.data.size / tensor.rows();
  const bool gives_back = platform_.forget && tensor.data.size > least_given_back;
  for (u32 t = 0; t < n_tokens_; ++t) {
    f32* x = scratch_.residual + u64(t) * config_.n_embd;
    kernels::dequantize_row(tensor.type, tensor.data.data + u64(batch_[t].token) * row_bytes, config_.n_embd, x);
    if (config_.embedding_scale != 1) table_.scale(x, config_.embedding_scale, config_.n_embd);
    if (++scratch_.n_embedded % embedded_rows == 0 && gives_back) platform_.forget(platform_.self, tensor.data);
  }
}

void Pass::rotate_tables(const Rope& rope) {
  const u64 sliding = u64(scratch_.max_tokens) * rope.n_pairs;
  const bool two = rope.frequencies_sliding.data != rope.frequencies.data;
  each_token(n_tokens_, config_.n_rot, [&](u32 t) {
    const u64 at = u64(t) * rope.n_pairs;
    const u32 position = batch_[t].position;
    rope_angles(rope.frequencies, rope.magnitude, position, scratch_.cosines + at, scratch_.sines + at);
    f32* cosines = scratch_.cosines + sliding + at;
    f32* sines = scratch_.sines + sliding + at;
    if (two) {
      rope_angles(rope.frequencies_sliding, rope.magnitude, position, cosines, sines);
    } else {
      memcpy(cosines, scratch_.cosines + at, rope.n_pairs * sizeof(f32));
      memcpy(sines, scratch_.sines + at, rope.n_pairs * sizeof(f32));
    }
  });
}

template <class Complete>
const f32* Pass::prepare(const f32* x, const f32* norm, u32 cols, u32 n_rows, u32 kinds, Complete&& complete) {
  Activations& activations = scratch_.activations;
  activations.n_tokens = n_rows;
  activations.cols = cols;
  activations.x = norm ? scratch_.normed : x;
  each_token(n_rows, cols, [&](u32 t) {
    complete(t);
    if (norm) table_.rms_norm(x + u64(t) * cols, norm, config_.norm_eps, cols, scratch_.normed + u64(t) * cols);
    table_.quantize(activations, kinds, t, t + 1);
  });
  return activations.x;
}

// All products of one input share parallel sections: rows are divided, so no sum is ever split.
bool Pass::multiply(Span<const Product> products, const f32* x, u32 n_rows) {
  Activations activations = scratch_.activations;
  activations.x = x;
  activations.n_tokens = n_rows;
  u32 n_groups = 0;
  for (const Product& product : products) n_groups += product.matrix->groups();
  const u64 group_work = u64(kernels::group_rows) * products[0].matrix->cols * n_rows;
  for (u32 begin = 0, end; begin < n_groups; begin = end) {
    if (stopped()) return false;
    const u64 n = min(max(slice_work_ / group_work, u64(1)), u64(n_groups - begin));
    end = begin + u32(n);
    const u64 start = now();
    multiply_groups(products, activations, begin, end);
    const u64 elapsed = now() - start;
    cycles_.matrices += elapsed;
    if (elapsed < slice_cycles && n * group_work > slice_work_ / 2) slice_work_ *= 2;
  }
  return true;
}

// Groups are counted through all products.
void Pass::multiply_groups(Span<const Product> products, const Activations& activations, u32 begin, u32 end) {
  const u64 work = u64(end - begin) * kernels::group_rows * products[0].matrix->cols * activations.n_tokens;
  const u32 n_pairs = divide_up(end - begin, 2);  // kernels take two groups at a time
  parallel_parts(platform_, threads_for(work, threads_), n_pairs, 1, [&](u32 first_pair, u32 end_pair) {
    const u32 task_begin = begin + 2 * first_pair, task_end = min(begin + 2 * end_pair, end);
    u32 first = 0;  // group at which this product starts
    for (const Product& product : products) {
      const Matrix& matrix = *product.matrix;
      const u32 from = max(task_begin, first), to = min(task_end, first + matrix.groups());
      if (from < to) {
        table_.matmul(matrix, activations, from - first, to - first, product.y, product.stride);
        if (product.bias) {
          const u32 row = (from - first) * kernels::group_rows;
          const u32 n = min(matrix.rows, (to - first) * kernels::group_rows) - row;
          for (u32 t = 0; t < activations.n_tokens; ++t)
            table_.add(product.y + t * product.stride + row, product.bias + row, n);
        }
      }
      first += matrix.groups();
    }
  });
}

// What the last product left in `normed` joins the residual when that is read again.
void Pass::add_branch(u32 t, const f32* post_norm) {
  const u32 n = config_.n_embd;
  f32* branch = scratch_.normed + u64(t) * n;
  if (post_norm) table_.rms_norm(branch, post_norm, config_.norm_eps, n, branch);
  table_.add(scratch_.residual + u64(t) * n, branch, n);
}

// Norms and rotations of queries and keys, and the new rows of the cache: before anybody attends, for all tokens.
void Pass::project_heads(u32 layer) {
  const Layer& weights = weights_.layers[layer];
  const u32 n_pairs = config_.n_rot / 2;
  const u64 table_offset = config_.is_sliding(layer) ? u64(scratch_.max_tokens) * n_pairs : 0;
  each_token(n_tokens_, config_.q_dim(), [&](u32 t) {
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
  const f32* x =
      prepare(scratch_.residual, weights.attention_norm, n, n_tokens_, scratch_.kinds[layer].qkv, [&](u32 t) {
        if (layer > 0) add_branch(t, weights_.layers[layer - 1].ffn_post_norm);
      });
  const Product qkv[] = {{&weights.query, weights.query_bias, scratch_.query, config_.q_dim()},
                         {&weights.key, weights.key_bias, scratch_.key, config_.k_dim()},
                         {&weights.value, weights.value_bias, scratch_.value, config_.v_dim()}};
  if (!multiply(qkv, x, n_tokens_)) return false;
  project_heads(layer);
  const u64 start = now();
  attend({&platform_, &table_, threads_}, config_, layer, batch_, scratch_);
  cycles_.attention += now() - start;

  const u32 out_dim = config_.n_head * config_.value_dim;
  x = prepare(scratch_.attended, nullptr, out_dim, n_tokens_, scratch_.kinds[layer].output);
  const Product output[] = {{&weights.output, weights.output_bias, scratch_.normed, n}};
  return multiply(output, x, n_tokens_);
}

bool Pass::feed_forward(u32 layer) {
  const Layer& weights = weights_.layers[layer];
  const u32 n_ff = config_.n_ff;
  const f32* x = prepare(scratch_.residual, weights.ffn_norm, config_.n_embd, n_tokens_, scratch_.kinds[layer].ffn,
                         [&](u32 t) { add_branch(t, weights.attention_post_norm); });
  const Product products[] = {{&weights.gate, weights.gate_bias, scratch_.gate, n_ff},
                              {&weights.up, weights.up_bias, scratch_.up, n_ff}};
  if (!multiply(products, x, n_tokens_)) return false;
  x = prepare(scratch_.gate, nullptr, n_ff, n_tokens_, scratch_.kinds[layer].down, [&](u32 t) {
    f32* gate = scratch_.gate + u64(t) * n_ff;
    const auto activate = config_.activation == Activation::silu ? table_.silu_mul : table_.gelu_mul;
    activate(gate, scratch_.up + u64(t) * n_ff, gate, n_ff);
  });
  const Product down[] = {{&weights.down, weights.down_bias, scratch_.normed, config_.n_embd}};
  return multiply(down, x, n_tokens_);
}

// The last norm and, where asked for, the logits of the wanted tokens: their residuals are moved to the front first.
bool Pass::finish(f32* logits) {
  const u32 n = config_.n_embd;
  u32 n_wanted = 0;
  for (u32 t = 0; t < n_tokens_; ++t) {
    if (!batch_[t].wanted) continue;
    add_branch(t, weights_.layers[config_.n_layer - 1].ffn_post_norm);
    if (n_wanted != t) memcpy(scratch_.residual + u64(n_wanted) * n, scratch_.residual + u64(t) * n, n * sizeof(f32));
    ++n_wanted;
  }
  if (n_wanted == 0) return true;
  const f32* x = prepare(scratch_.residual, weights_.output_norm, n, n_wanted, logits ? scratch_.kinds[0].logits : 0);
  if (!logits) return true;
  const Product output[] = {{&weights_.output, weights_.output_bias, logits, config_.n_vocab}};
  if (!multiply(output, x, n_wanted)) return false;
  if (config_.final_softcap > 0) {
    each_token(n_wanted, config_.n_vocab, [&](u32 t) {
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
  const auto quantised = [&](u32 block, u32 sum_block, i8** q, f32** d, i32** sums) {
    *d = floats(n * widest / block);
    const Span<i8> codes = arena.allocate<i8>(n * widest);
    const Span<i32> sum = arena.allocate<i32>(n * widest / sum_block);
    enough = enough && !codes.empty() && !sum.empty();
    *q = codes.data, *sums = sum.data;
  };
  Activations& a = s.activations;
  if (used & 1u << u32(kernels::ActivationKind::q8_32)) quantised(32, 32, &a.q32, &a.d32, &a.sum32);
  if (used & 1u << u32(kernels::ActivationKind::q8_256)) quantised(256, 16, &a.q256, &a.d256, &a.sum16);
  if (!enough) return no_memory();
  return s;
}

bool forward(const Engine& engine, const Config& config, const Weights& weights, const Rope& rope, Scratch& scratch,
             Span<const BatchToken> batch, f32* logits, StopCheck check, ForwardCycles* cycles) {
  return Pass(engine, config, weights, scratch, batch, check, *cycles).run(rope, logits);
}

}  // namespace flyball::model
