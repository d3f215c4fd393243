#include "model/weights.h"

#include "base/parallel.h"

namespace flyball::model {
namespace {

constexpr u64 piece_bytes = u64(16) << 20;  // of a tensor in the file
constexpr Str embedding_name = "token_embd.weight";

// Fetches by name, checks shape, and packs. Stops at the first error and keeps it.
class Loader {
 public:
  Loader(Arena& arena, const Platform& platform, const gguf::File& file, u32 threads, LoadProgress progress)
      : arena_(arena), platform_(platform), file_(file), threads_(threads), progress_(progress) {
    for (const gguf::Tensor& tensor : file.tensors()) total_bytes_ += tensor.data.size;
  }
  // Fetches and checks alone, and marks in `used` what was fetched, by the tensor's place in the file.
  Loader(Arena& arena, const Platform& platform, const gguf::File& file, Span<u8> used)
      : arena_(arena), platform_(platform), file_(file), threads_(1), used_(used) {}

  bool has(Str name) const { return file_.tensor(name) != nullptr; }
  const gguf::Tensor* find(Str name, u64 cols, u64 rows, bool required) {
    if (!status_.ok()) return nullptr;
    const gguf::Tensor* tensor = file_.tensor(name);
    if (!tensor) {
      if (required) status_ = fail(Code::not_found, name) << "the tensor is missing from the file";
      return nullptr;
    }
    if (tensor->cols() != cols || tensor->rows() != rows) {
      status_ = fail(Code::corrupt, name, tensor->offset)
                << "has shape (" << tensor->rows() << ", " << tensor->cols() << "); the metadata asks for (" << rows
                << ", " << cols << ")";
      return nullptr;
    }
    if (checks_only()) used_[u64(tensor - file_.tensors().data)] = 1;
    return tensor;
  }

  const f32* vector(Str name, u64 n, bool required) {
    const gguf::Tensor* tensor = find(name, n, 1, required);
    if (!tensor || checks_only()) return nullptr;
    Span<f32> values = arena_.allocate<f32>(n);
    if (values.empty()) return out_of_memory<f32>(name, n * sizeof(f32));
    kernels::dequantize_row(tensor->type, tensor->data.data, u32(n), values.data);
    done_with(*tensor, tensor->data);
    return values.data;
  }

  // Rows [first, first + rows) of a tensor whose shape has been checked.
  Matrix pack(const gguf::Tensor* tensor, u32 first, u32 rows) {
    if (!status_.ok() || !tensor || checks_only()) return {};
    Matrix matrix;
    matrix.type = tensor->type;
    matrix.rows = rows;
    matrix.cols = u32(tensor->cols());
    matrix.group_bytes = kernels::packed_group_bytes(tensor->type, matrix.cols);
    const u64 bytes = matrix.group_bytes * matrix.groups();
    u8* to = static_cast<u8*>(arena_.allocate_bytes(bytes));
    if (!to) {
      out_of_memory<u8>(tensor->name, bytes);
      return {};
    }
    matrix.data = to;
    const u64 row_bytes = tensor->data.size / tensor->rows();
    const u8* from = tensor->data.data + first * row_bytes;
    // Gives each piece of the mapping back after packing it: the peak is the packed weights, without a second copy.
    const u64 group_row_bytes = kernels::group_rows * row_bytes;
    const u32 piece = u32(max(piece_bytes / group_row_bytes, u64(1)));
    for (u32 at = 0; at < matrix.groups(); at += piece) {
      const u32 n = min(matrix.groups() - at, piece), n_tasks = min(n, threads_ * 8);
      parallel(platform_, threads_, n_tasks, [&](u32 task) {
        const u32 begin = at + u32(u64(n) * task / n_tasks), end = at + u32(u64(n) * (task + 1) / n_tasks);
        u8* const out = to + begin * matrix.group_bytes;
        if (platform_.prefault) platform_.prefault(platform_.self, out, (end - begin) * matrix.group_bytes);
        kernels::pack_groups(matrix.type, from, rows, matrix.cols, begin, end, out);
      });
      const u64 first_byte = at * group_row_bytes;
      done_with(*tensor, {from + first_byte, min(n * group_row_bytes, rows * row_bytes - first_byte)});
    }
    packed_bytes_ += bytes;
    done_bytes_ += rows * row_bytes;
    if (progress_.report && !progress_.report(progress_.context, done_bytes_, total_bytes_)) {
      status_ = fail(Code::interrupted, "load") << "stopped on request";
    }
    return matrix;
  }

  Matrix matrix(Str name, u64 cols, u32 rows, bool required = true) {
    const gguf::Tensor* tensor = find(name, cols, rows, required);
    return pack(tensor, 0, rows);
  }

  Status status() const { return status_; }
  bool checks_only() const { return !used_.empty(); }
  u64 packed_bytes() const { return packed_bytes_; }
  void fail_with(const Error& error) {
    if (status_.ok()) status_ = error;
  }

 private:
  // Rows of the embedding are looked up in the file as long as the model lives.
  void done_with(const gguf::Tensor& tensor, Span<const u8> range) {
    if (platform_.discard) platform_.discard(platform_.self, range);
    if (!platform_.forget || tensor.name == embedding_name) return;
    if (range.end() == tensor.data.end()) {
      const u64 end = tensor.offset + tensor.data.size;
      range.size += round_up(end, tensor.alignment) - end;
    }
    platform_.forget(platform_.self, range);
  }

  template <class T>
  T* out_of_memory(Str name, u64 bytes) {
    status_ = fail(Code::out_of_memory, name) << "no memory for " << bytes << " bytes of weights";
    return nullptr;
  }

  Arena& arena_;
  const Platform& platform_;
  const gguf::File& file_;
  u32 threads_;
  LoadProgress progress_;
  Span<u8> used_;
  Status status_;
  u64 done_bytes_ = 0, total_bytes_ = 0, packed_bytes_ = 0;
};

class LayerName {  // "blk.<layer>.<suffix>"
 public:
  LayerName(u32 layer, Str suffix) {
    Writer out(buffer_, sizeof buffer_);
    out.put("blk.").put_u64(layer).put('.').put(suffix);
    size_ = u32(out.text().size);
  }
  operator Str() const { return {buffer_, size_}; }  // NOLINT

 private:
  char buffer_[64];
  u32 size_;
};

void load_attention(Loader& loader, const Config& c, u32 i, Layer& layer) {
  const u32 q = c.q_dim(), k = c.k_dim(), v = c.v_dim();
  const bool fused_weights = loader.has(LayerName(i, "attn_qkv.weight"));
  if (fused_weights) {  // one tensor: rows of q, then k, then v
    const gguf::Tensor* fused = loader.find(LayerName(i, "attn_qkv.weight"), c.n_embd, q + k + v, true);
    layer.query = loader.pack(fused, 0, q);
    layer.key = loader.pack(fused, q, k);
    layer.value = loader.pack(fused, q + k, v);
  } else {
    layer.query = loader.matrix(LayerName(i, "attn_q.weight"), c.n_embd, q);
    layer.key = loader.matrix(LayerName(i, "attn_k.weight"), c.n_embd, k);
    layer.value = loader.matrix(LayerName(i, "attn_v.weight"), c.n_embd, v);
  }
  if (fused_weights && loader.has(LayerName(i, "attn_qkv.bias"))) {
    if (const f32* bias = loader.vector(LayerName(i, "attn_qkv.bias"), q + k + v, true)) {
      layer.query_bias = bias, layer.key_bias = bias + q, layer.value_bias = bias + q + k;
    }
  } else {  // of their own, also beside fused weights
    layer.query_bias = loader.vector(LayerName(i, "attn_q.bias"), q, false);
    layer.key_bias = loader.vector(LayerName(i, "attn_k.bias"), k, false);
    layer.value_bias = loader.vector(LayerName(i, "attn_v.bias"), v, false);
  }
  if (c.query_key_norms) {
    layer.query_norm = loader.vector(LayerName(i, "attn_q_norm.weight"), c.head_dim, true);
    layer.key_norm = loader.vector(LayerName(i, "attn_k_norm.weight"), c.head_dim, true);
  }
  layer.output = loader.matrix(LayerName(i, "attn_output.weight"), c.n_head * c.value_dim, c.n_embd);
  layer.output_bias = loader.vector(LayerName(i, "attn_output.bias"), c.n_embd, false);
}

void load_feed_forward(Loader& loader, const Config& c, u32 i, Layer& layer) {
  if (loader.has(LayerName(i, "ffn_gate.weight"))) {
    layer.gate = loader.matrix(LayerName(i, "ffn_gate.weight"), c.n_embd, c.n_ff);
    layer.up = loader.matrix(LayerName(i, "ffn_up.weight"), c.n_embd, c.n_ff);
    layer.gate_bias = loader.vector(LayerName(i, "ffn_gate.bias"), c.n_ff, false);
    layer.up_bias = loader.vector(LayerName(i, "ffn_up.bias"), c.n_ff, false);
  } else {  // phi3: rows of the gate, then of up
    const gguf::Tensor* fused = loader.find(LayerName(i, "ffn_up.weight"), c.n_embd, u64(c.n_ff) * 2, true);
    layer.gate = loader.pack(fused, 0, c.n_ff);
    layer.up = loader.pack(fused, c.n_ff, c.n_ff);
  }
  layer.down = loader.matrix(LayerName(i, "ffn_down.weight"), c.n_ff, c.n_embd);
  layer.down_bias = loader.vector(LayerName(i, "ffn_down.bias"), c.n_embd, false);
}

void load_rope_factors(Loader& loader, const Config& config, Weights& weights) {
  const u32 pairs = config.n_rot / 2;
  if (config.long_rope || config.architecture == Architecture::phi3) {
    if (loader.has("rope_factors_long.weight") != loader.has("rope_factors_short.weight"))
      loader.fail_with(fail(Code::corrupt, "rope_factors_long.weight") << "long and short factors must come together");
    weights.rope_factors_long = loader.vector("rope_factors_long.weight", pairs, false);
    weights.rope_factors_short = loader.vector("rope_factors_short.weight", pairs, false);
  } else if (config.architecture == Architecture::llama) {
    weights.rope_factors = loader.vector("rope_freqs.weight", pairs, false);
  }
}

Status read_weights(Loader& loader, Arena& arena, const Config& config, Weights* out) {
  Weights& weights = *out;
  weights.layers = arena.allocate<Layer>(config.n_layer);
  if (weights.layers.empty())
    return fail(Code::out_of_memory, "layers") << "no memory for " << config.n_layer << " layers";

  weights.embedding = loader.find(embedding_name, config.n_embd, config.n_vocab, true);
  for (u32 i = 0; i < config.n_layer && loader.status().ok(); ++i) {
    Layer& layer = weights.layers[i] = Layer();
    layer.attention_norm = loader.vector(LayerName(i, "attn_norm.weight"), config.n_embd, true);
    load_attention(loader, config, i, layer);
    layer.ffn_norm = loader.vector(LayerName(i, "ffn_norm.weight"), config.n_embd, true);
    load_feed_forward(loader, config, i, layer);
    if (config.post_norms) {
      layer.attention_post_norm = loader.vector(LayerName(i, "post_attention_norm.weight"), config.n_embd, true);
      layer.ffn_post_norm = loader.vector(LayerName(i, "post_ffw_norm.weight"), config.n_embd, true);
    }
  }
  weights.output_norm = loader.vector("output_norm.weight", config.n_embd, true);
  const bool tied = !loader.has("output.weight") || config.tied_output;
  weights.output = loader.matrix(tied ? embedding_name : Str("output.weight"), config.n_embd, config.n_vocab);
  weights.output_bias = loader.vector("output.bias", config.n_vocab, false);
  load_rope_factors(loader, config, weights);
  return loader.status();
}

// Input scales are for kernels that quantize activations by them; vision parts make embeddings of images.
bool is_ignorable(Str name) {
  return name.ends_with(".input_scale") || name.starts_with("v.") || name.starts_with("mm.");
}

Error refuse_unused(const gguf::Tensor& tensor, const Config& config) {
  ErrorBuilder error = fail(Code::unsupported, tensor.name, tensor.offset);
  for (u32 layer = config.n_layer; layer < max_layers; ++layer) {
    if (!tensor.name.starts_with(LayerName(layer, ""))) continue;
    return error << "belongs to layer " << layer << ", but " << config.architecture_name << ".block_count says "
                 << config.n_layer << " layers";
  }
  return error << "is not a tensor that Flyball's " << config.architecture_name
               << " uses or may ignore, so the model's answers would be other than its author's";
}

// Every tensor is used or may be ignored; one that is neither would have changed the answers.
Status check_weights(const Platform& platform, const gguf::File& file, const Config& config) {
  Arena scratch(platform);
  const Span<const gguf::Tensor> tensors = file.tensors();
  const Span<u8> used = scratch.allocate<u8>(tensors.size + 1);  // never empty
  if (used.empty()) return fail(Code::out_of_memory, "tensors") << "no memory to check " << tensors.size << " tensors";
  Loader loader(scratch, platform, file, used);
  Weights weights;
  FLYBALL_TRY(read_weights(loader, scratch, config, &weights));
  for (u64 i = 0; i < tensors.size; ++i) {
    if (!used[i] && !is_ignorable(tensors[i].name)) return refuse_unused(tensors[i], config);
  }
  return {};
}

}  // namespace

Status check_model(const Platform& platform, const gguf::File& file, u32 n_vocab) {
  Config config;
  FLYBALL_ASSIGN(config, read_config(file, n_vocab));
  return check_weights(platform, file, config);
}

Result<Weights> load_weights(Arena& arena, const Platform& platform, const gguf::File& file, const Config& config,
                             u32 threads, LoadProgress progress) {
  FLYBALL_TRY(check_weights(platform, file, config));
  Loader loader(arena, platform, file, threads, progress);
  Weights weights;
  FLYBALL_TRY(read_weights(loader, arena, config, &weights));
  weights.packed_bytes = loader.packed_bytes();
  return weights;
}

}  // namespace flyball::model
