#include "model/adapter.h"

#include "base/math.h"
#include "model/loader.h"

namespace flyball::model {
namespace {

constexpr Str suffix_a = ".lora_a", suffix_b = ".lora_b";

class Printable {  // text of a file in an error
 public:
  explicit Printable(Str text) : size_(u32(Writer(buffer_, sizeof buffer_).put_printable(text, 40).text().size)) {}
  Str str() const { return {buffer_, size_}; }

 private:
  char buffer_[192];
  u32 size_;
};

// Its end decides what a tensor is; the rest is the name of the model's.
bool split_name(Str name, Str* base, bool* is_b) {
  *is_b = name.ends_with(suffix_b);
  if (!*is_b && !name.ends_with(suffix_a)) return false;
  *base = name.substr(0, name.size - suffix_a.size);
  return !base->empty();
}

Error refuse_name(const gguf::Tensor& tensor) {
  return fail(Code::unsupported, tensor.name, tensor.offset)
         << "is no half of a low-rank pair (*.lora_a, *.lora_b); Flyball's adapters replace no tensor";
}

struct Pair {
  const gguf::Tensor* a = nullptr;
  const gguf::Tensor* b = nullptr;
};

// Of a model's tensor; both null where the adapter does not change it.
Result<Pair> find_pair(const gguf::File& file, Str base) {
  char buffer[128];
  const auto find = [&](Str suffix) {
    Writer name(buffer, sizeof buffer);
    name.put(base).put(suffix);
    return name.truncated() ? nullptr : file.tensor(name.text());
  };
  const Pair pair{find(suffix_a), find(suffix_b)};
  if (!pair.a == !pair.b) return pair;
  const gguf::Tensor& alone = pair.a ? *pair.a : *pair.b;
  return fail(Code::corrupt, alone.name, alone.offset)
         << "has no counterpart " << (pair.a ? suffix_b : suffix_a) << " in the file";
}

Error wrong_shape(const gguf::Tensor& tensor, u64 depth, u64 rows, u64 cols) {
  ErrorBuilder error = fail(Code::invalid_argument, tensor.name, tensor.offset);
  error << "has shape (" << tensor.shape[2] << ", " << tensor.shape[1] << ", " << tensor.shape[0]
        << "); this model's tensor asks for (" << depth << ", " << rows << ", " << cols
        << "): the adapter belongs to another model";
  return error;
}

bool has_shape(const gguf::Tensor& tensor, u64 depth, u64 rows, u64 cols) {
  return tensor.shape[0] == cols && tensor.shape[1] == rows && tensor.shape[2] == depth && tensor.shape[3] == 1;
}

Status check_rank(const gguf::Tensor& tensor, u64 rank) {
  if (rank >= 1 && rank <= max_rank) return {};
  return fail(Code::unsupported, tensor.name, tensor.offset) << "has rank " << rank << ", expected 1 to " << max_rank;
}

// Reads an adapter's pairs as the model's matrices come by.
class PairLoader {
 public:
  PairLoader(Arena& arena, Arena& scratch, const gguf::File& file, Span<u8> used, Adapter& adapter)
      : arena_(arena), scratch_(scratch), file_(file), used_(used), adapter_(adapter) {}

  // The matrix of rows [first, first + rows) of a tensor of the model. Experts are slices of one tensor, and so are the
  // adapters' matrices of them; slices of one matrix share A, and have their rows of B.
  void matrix(const gguf::Tensor& tensor, u32 first, u32 rows, u32 number) {
    if (!so_far_.ok() || tensor.name == embedding_name) return;  // tied outputs stay as they are
    so_far_ = read_matrix(tensor, first, rows, number);
  }

  Status embedding(const gguf::Tensor& tensor) {
    FLYBALL_TRY(status());
    Pair pair;
    FLYBALL_ASSIGN(pair, find_pair(file_, tensor.name));
    if (!pair.a) return {};
    const u64 rank = pair.a->shape[0];  // A is looked up by token, so it lies transposed
    FLYBALL_TRY(check_rank(*pair.a, rank));
    if (!has_shape(*pair.a, 1, tensor.shape[1], rank)) return wrong_shape(*pair.a, 1, tensor.shape[1], rank);
    if (!has_shape(*pair.b, 1, tensor.shape[0], rank)) return wrong_shape(*pair.b, 1, tensor.shape[0], rank);
    FLYBALL_TRY(use(pair, u32(rank)));
    adapter_.embedding_a = arena_.allocate<f32>(tensor.shape[1] * rank);
    if (adapter_.embedding_a.empty()) return no_memory(*pair.a);
    const u64 row_bytes = pair.a->data.size / pair.a->rows();
    for (u64 row = 0; row < tensor.shape[1]; ++row) {
      kernels::dequantize_row(pair.a->type, pair.a->data.data + row * row_bytes, u32(rank),
                              adapter_.embedding_a.data + row * rank);
    }
    adapter_.packed_bytes += adapter_.embedding_a.size * sizeof(f32);
    adapter_.embedding.scale = scale(u32(rank));
    return pack(*pair.b, 0, u32(tensor.shape[0]), &adapter_.embedding.b);
  }

  Status make_room(u32 n) {
    adapter_.matrices = arena_.allocate<LowRank>(n);
    if (adapter_.matrices.empty()) return fail(Code::out_of_memory, "adapter") << "no memory for " << n << " pairs";
    for (LowRank& pair : adapter_.matrices) pair = LowRank();
    return {};
  }
  Status status() const { return so_far_; }

 private:
  Status read_matrix(const gguf::Tensor& tensor, u32 first, u32 rows, u32 number) {
    Pair pair;
    FLYBALL_ASSIGN(pair, find_pair(file_, tensor.name));
    if (!pair.a) return {};
    const u64 rank = pair.a->shape[1], depth = tensor.shape[2];
    FLYBALL_TRY(check_rank(*pair.a, rank));
    if (!has_shape(*pair.a, depth, rank, tensor.shape[0])) return wrong_shape(*pair.a, depth, rank, tensor.shape[0]);
    if (!has_shape(*pair.b, depth, tensor.shape[1], rank)) return wrong_shape(*pair.b, depth, tensor.shape[1], rank);
    FLYBALL_TRY(use(pair, u32(rank)));
    LowRank& low = adapter_.matrices[number];
    low.scale = scale(u32(rank));
    const u32 slice = first / u32(tensor.shape[1]);
    FLYBALL_TRY(pack(*pair.a, slice * u32(rank), u32(rank), &low.a));
    return pack(*pair.b, first, rows, &low.b);
  }

  f32 scale(u32 rank) const { return adapter_.alpha == 0 ? 1 : adapter_.alpha / f32(rank); }

  // Counts a pair once, and checks its values.
  Status use(const Pair& pair, u32 rank) {
    const gguf::Tensor* const both[] = {pair.a, pair.b};
    for (const gguf::Tensor* const tensor : both) {
      u8& used = used_[u64(tensor - file_.tensors().data)];
      if (used) return {};  // experts and slices come back to it
      FLYBALL_TRY(check_finite(*tensor));
      used = 1;
    }
    ++adapter_.n_pairs;
    adapter_.largest_rank = max(adapter_.largest_rank, rank);
    return {};
  }

  Status row_room(u64 n) {
    if (n <= row_.size) return {};
    row_ = scratch_.allocate<f32>(n);
    return row_.empty() ? Status(fail(Code::out_of_memory, "adapter") << "no memory for " << n << " values") : Status();
  }

  Status check_finite(const gguf::Tensor& tensor) {
    FLYBALL_TRY(row_room(tensor.cols()));
    const u64 row_bytes = tensor.data.size / tensor.rows();
    for (u64 r = 0; r < tensor.rows(); ++r) {
      kernels::dequantize_row(tensor.type, tensor.data.data + r * row_bytes, u32(tensor.cols()), row_.data);
      for (u64 i = 0; i < tensor.cols(); ++i) {
        if ((bit_cast<u32>(row_[i]) & 0x7f800000u) != 0x7f800000u) continue;
        return fail(Code::non_finite, tensor.name, tensor.offset + r * row_bytes)
               << "has NaN or infinity in row " << r << "; the adapter is damaged";
      }
    }
    return {};
  }

  static Error no_memory(const gguf::Tensor& tensor) {
    return fail(Code::out_of_memory, tensor.name) << "no memory for the adapter";
  }

  // Floats stay what they are. Other types become F32, which holds their values: activations then need no other form
  // than the model's own matrices ask for.
  Status pack(const gguf::Tensor& tensor, u32 first, u32 rows, Matrix* out) {
    using gguf::Type;
    const u64 row_bytes = tensor.data.size / tensor.rows();
    const u8* from = tensor.data.data + first * row_bytes;
    const bool is_float = tensor.type == Type::f32 || tensor.type == Type::f16 || tensor.type == Type::bf16;
    out->type = is_float ? tensor.type : Type::f32;
    out->rows = rows;
    out->cols = u32(tensor.cols());
    out->group_bytes = kernels::packed_group_bytes(out->type, out->cols);
    const u64 bytes = out->group_bytes * out->groups();
    u8* const to = static_cast<u8*>(arena_.allocate_bytes(bytes));
    if (!to) return no_memory(tensor);
    out->data = to;
    adapter_.packed_bytes += bytes;
    if (is_float) {
      kernels::pack_groups(out->type, from, rows, out->cols, 0, out->groups(), to);
      return {};
    }
    FLYBALL_TRY(row_room(u64(kernels::group_rows) * out->cols));
    for (u32 group = 0; group < out->groups(); ++group) {
      const u32 begin = group * kernels::group_rows, n = min(rows - begin, kernels::group_rows);
      for (u32 r = 0; r < n; ++r)
        kernels::dequantize_row(tensor.type, from + (begin + r) * row_bytes, out->cols, row_.data + u64(r) * out->cols);
      kernels::pack_groups(Type::f32, reinterpret_cast<const u8*>(row_.data), n, out->cols, 0, 1,
                           to + group * out->group_bytes);
    }
    return {};
  }

  Arena& arena_;
  Arena& scratch_;
  const gguf::File& file_;
  Span<u8> used_;
  Adapter& adapter_;
  Status so_far_;
  Span<f32> row_;
};

Status refuse_unused(const gguf::File& file, Span<const u8> used, const gguf::File& model_file) {
  for (u64 i = 0; i < file.tensors().size; ++i) {
    if (used[i]) continue;
    const gguf::Tensor& tensor = file.tensors()[i];
    Str base;
    bool is_b;
    if (!split_name(tensor.name, &base, &is_b)) return refuse_name(tensor);
    ErrorBuilder error = fail(Code::invalid_argument, tensor.name, tensor.offset);
    if (model_file.tensor(base)) return error << "changes a tensor that is no matrix of a product";
    return error << "changes a tensor that this model does not have: the adapter belongs to another model";
  }
  return {};
}

}  // namespace

bool is_adapter(const gguf::File& file) {
  const Result<Str> type = file.get_str_or("general.type", "");
  return type.ok() && type.value() == "adapter";
}

Result<AdapterDescription> describe_adapter(const gguf::File& file) {
  AdapterDescription about;
  Str type;
  FLYBALL_ASSIGN(type, file.get_str_or("general.type", "model"));
  if (type != "adapter") {
    const gguf::Value* value = file.find("general.type");
    return fail(Code::invalid_argument, "general.type", value ? value->offset : Error::no_offset)
           << "says that the file is a " << Printable(type).str() << "; an adapter is needed here";
  }
  FLYBALL_ASSIGN(type, file.get_str("adapter.type"));
  if (type != "lora")
    return fail(Code::unsupported, "adapter.type", file.find("adapter.type")->offset)
           << "is '" << Printable(type).str() << "'; supported: lora";
  FLYBALL_ASSIGN(about.architecture, file.get_str("general.architecture"));
  FLYBALL_ASSIGN(about.name, file.get_str_or("general.name", ""));
  f64 alpha = 0;
  FLYBALL_ASSIGN(alpha, file.get_f64_or("adapter.lora.alpha", 0));
  if (!(alpha >= 0 && alpha <= 1e6))
    return fail(Code::corrupt, "adapter.lora.alpha", file.find("adapter.lora.alpha")->offset)
           << "is " << alpha << ", expected 0 to 1e6";
  about.alpha = f32(alpha);
  const gguf::Value* invocation = file.find("adapter.alora.invocation_tokens");
  if (invocation && invocation->count != 0)
    return fail(Code::unsupported, "adapter.alora.invocation_tokens", invocation->offset)
           << "has " << invocation->count
           << " tokens: an activated LoRA, which works from those tokens on; Flyball's adapters work on all tokens";
  constexpr Str told[] = {"adapter.lora.task_name", "adapter.lora.prompt_prefix"};  // for programs that choose adapters
  for (const Str key : told) (void)file.find(key);
  for (const gguf::Entry& entry : file.entries()) {
    if (entry.key.starts_with("adapter.") && !file.was_read(entry))
      return fail(Code::unsupported, entry.key, entry.value.offset) << "is a key that Flyball does not know";
  }
  if (file.tensors().empty()) return fail(Code::corrupt, "tensors") << "the adapter has none: it changes nothing";
  for (const gguf::Tensor& tensor : file.tensors()) {
    Str base;
    bool is_b;
    if (!split_name(tensor.name, &base, &is_b)) return refuse_name(tensor);
    if (const Result<Pair> pair = find_pair(file, base); !pair) return pair.error();
    if (!is_b) continue;
    ++about.n_pairs;
    about.largest_rank = max(about.largest_rank, u32(min(tensor.shape[0], u64(~u32(0)))));
  }
  return about;
}

Result<Adapter> load_adapter(Arena& arena, const Platform& platform, const gguf::File& model_file, const Config& config,
                             const gguf::File& file) {
  AdapterDescription about;
  FLYBALL_ASSIGN(about, describe_adapter(file));
  if (about.architecture != config.architecture_name)
    return fail(Code::invalid_argument, "general.architecture", file.find("general.architecture")->offset)
           << "is '" << Printable(about.architecture).str() << "'; the model's is '" << config.architecture_name
           << "': the adapter belongs to another model";
  u32 n_matrices = 0;
  FLYBALL_TRY(
      visit_matrices(platform, model_file, config,
                     {&n_matrices, [](void* n, const gguf::Tensor&, u32, u32, u32) { ++*static_cast<u32*>(n); }}));
  Arena scratch(platform);
  const Span<u8> used = scratch.allocate<u8>(file.tensors().size);
  if (used.empty()) return fail(Code::out_of_memory, "adapter") << "no memory for its tensors";
  Adapter adapter;
  adapter.alpha = about.alpha;
  PairLoader pairs(arena, scratch, file, used, adapter);
  FLYBALL_TRY(pairs.make_room(n_matrices));
  FLYBALL_TRY(visit_matrices(platform, model_file, config,
                             {&pairs, [](void* context, const gguf::Tensor& tensor, u32 first, u32 rows, u32 number) {
                                static_cast<PairLoader*>(context)->matrix(tensor, first, rows, number);
                              }}));
  FLYBALL_TRY(pairs.embedding(*model_file.tensor(embedding_name)));
  FLYBALL_TRY(refuse_unused(file, used, model_file));
  return adapter;
}

}  // namespace flyball::model
