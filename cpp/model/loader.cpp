#include "model/loader.h"

#include "base/parallel.h"

namespace flyball::model {
namespace {

constexpr u64 piece_bytes = u64(16) << 20;  // of a tensor in the file
// A model of narrower matrices is packed in no time, and its kernels do not wait for memory: a decode of SmolLM2 135M by
// one thread takes half as long again as the file has them, of the bundled model twice as long, of Llama 3.2 1B the same.
constexpr u32 least_columns_in_file = 2048;

Error no_memory(Str name, u64 bytes) {
  return fail(Code::out_of_memory, name) << "no memory for " << bytes << " bytes of weights";
}

}  // namespace

Loader::Loader(Arena& arena, const Platform& platform, const gguf::File& file, PackedRoom room, u32 threads,
               LoadProgress progress)
    : arena_(arena), platform_(platform), file_(file), room_(room), threads_(threads), progress_(progress) {
  for (const gguf::Tensor& tensor : file.tensors()) total_bytes_ += tensor.data.size;
}

const gguf::Tensor* Loader::find(Str name, u64 cols, u64 rows, bool required, u64 depth) {
  if (!status_.ok()) return nullptr;
  const gguf::Tensor* tensor = file_.tensor(name);
  if (!tensor) {
    if (required) status_ = fail(Code::not_found, name) << "the tensor is missing from the file";
    return nullptr;
  }
  if (tensor->cols() != cols || tensor->rows() != rows * depth || (depth > 1 && tensor->shape[1] != rows)) {
    status_ = fail(Code::corrupt, name, tensor->offset)
              << "has shape (" << tensor->rows() << ", " << tensor->cols() << "); the metadata asks for ("
              << rows * depth << ", " << cols << ")";
    return nullptr;
  }
  if (checks_only()) used_[u64(tensor - file_.tensors().data)] = 1;
  return tensor;
}

void Loader::skip(Str name) {
  const gguf::Tensor* tensor = file_.tensor(name);
  if (tensor && checks_only()) used_[u64(tensor - file_.tensors().data)] = 1;
}

Span<f32> Loader::floats(Str name, u64 n) {
  const Span<f32> values = arena_.allocate<f32>(n);
  if (values.empty()) status_ = no_memory(name, n * sizeof(f32));
  return values;
}

const f32* Loader::vector(Str name, u64 n, bool required, u64 rows) {
  const gguf::Tensor* tensor = find(name, n, rows, required);
  if (!tensor || checks_only()) return nullptr;
  const Span<f32> values = floats(name, n * rows);
  if (values.empty()) return nullptr;
  const u64 row_bytes = tensor->data.size / rows;
  for (u64 row = 0; row < rows; ++row)
    kernels::dequantize_row(tensor->type, tensor->data.data + row * row_bytes, u32(n), values.data + row * n);
  done_with(*tensor, tensor->data);
  return values.data;
}

const f32* Loader::transposed(Str name, u32 cols, u32 rows) {
  const gguf::Tensor* tensor = find(name, cols, rows, true);
  if (!tensor || checks_only()) return nullptr;
  const Span<f32> values = floats(name, u64(rows) * cols), row = floats(name, cols);
  if (values.empty() || row.empty()) return nullptr;
  for (u32 r = 0; r < rows; ++r) {
    kernels::dequantize_row(tensor->type, tensor->data.data + r * (tensor->data.size / rows), cols, row.data);
    for (u32 c = 0; c < cols; ++c) values[u64(c) * rows + r] = row[c];
  }
  done_with(*tensor, tensor->data);
  return values.data;
}

f32* Loader::constant(f32 value, u32 n) {
  if (!status_.ok() || checks_only()) return nullptr;
  const Span<f32> values = floats("constants", n);
  for (f32& x : values) x = value;
  return values.data;
}

// NAME.scale beside NAME.weight. A longer one is not a product's (Gemma 4 scales its router's input by such a name).
f32 Loader::scale_of(const gguf::Tensor& tensor, u32 expert, u32 n_experts) {
  constexpr Str ending = "weight";
  if (tensor.name == embedding_name || !tensor.name.ends_with(ending)) return 1;
  char buffer[160];
  Writer name(buffer, sizeof buffer);
  name.put({tensor.name.data, tensor.name.size - ending.size}).put("scale");
  const gguf::Tensor* scale = file_.tensor(name.text());
  if (!scale || scale->rows() != 1 || (scale->cols() != 1 && scale->cols() != n_experts)) return 1;
  if (checks_only()) used_[u64(scale - file_.tensors().data)] = 1;
  f32 values[max_experts];
  kernels::dequantize_row(scale->type, scale->data.data, u32(scale->cols()), values);
  return values[scale->cols() == 1 ? 0 : expert];
}

u8* Loader::place(Str name, u32 first, u64 bytes) {
  const u64 at = matrix_bytes_;
  matrix_bytes_ += bytes;
  if (checks_only()) {
    order_.update(name);
    order_.update_u64(first);
    order_.update_u64(bytes);
    return nullptr;
  }
  const bool fits = matrix_bytes_ <= room_.bytes.size;
  u8* const to =
      !room_.bytes.empty() ? (fits ? room_.bytes.data + at : nullptr) : static_cast<u8*>(arena_.allocate_bytes(bytes));
  if (!to) status_ = no_memory(name, bytes);
  return to;
}

Matrix Loader::pack(const gguf::Tensor* tensor, u32 first, u32 rows, u32 expert, u32 n_experts, bool adaptable) {
  if (!status_.ok() || !tensor) return {};
  Matrix matrix;
  if (adaptable) matrix.number = n_matrices_++;
  matrix.scale = scale_of(*tensor, expert, n_experts);
  matrix.type = tensor->type;
  matrix.rows = rows;
  matrix.cols = u32(tensor->cols());
  const u64 row_bytes = tensor->data.size / tensor->rows();
  const u8* const from = tensor->data.data + first * row_bytes;
  const u64 group_row_bytes = kernels::group_rows * row_bytes;
  if (room_.bytes.empty() && matrix.cols >= least_columns_in_file && rows % kernels::group_rows == 0 &&
      (room_.in_file & kernels::type_bit(matrix.type)) != 0) {
    in_file_bytes_ += rows * row_bytes;
    if (!checks_only()) {
      matrix.in_file = true;
      matrix.group_bytes = group_row_bytes;
      matrix.data = from;
      matrix_bytes_ += rows * row_bytes;
      report(rows * row_bytes);
      return matrix;
    }
  }
  matrix.group_bytes = kernels::packed_group_bytes(tensor->type, matrix.cols);
  u8* const to = place(tensor->name, first, matrix.group_bytes * matrix.groups());
  if (checks_only()) {
    if (visitor_.visit && adaptable) visitor_.visit(visitor_.context, *tensor, first, rows, matrix.number);
    return {};
  }
  matrix.data = to;
  if (!to || room_.whole) return matrix;
  // Gives each piece of the mapping back after packing it: the peak is the packed weights, without a second copy.
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
  report(rows * row_bytes);
  return matrix;
}

void Loader::report(u64 more_bytes) {
  done_bytes_ += more_bytes;
  if (progress_.report && !progress_.report(progress_.context, done_bytes_, total_bytes_)) {
    status_ = fail(Code::interrupted, "load") << "stopped on request";
  }
}

Span<Matrix> Loader::experts(Str name, u64 cols, u32 n, u32 all_rows, u32 first, u32 rows) {
  return pack_each(find(name, cols, all_rows, true, n), n, all_rows, first, rows, true);
}

Span<Matrix> Loader::pack_each(const gguf::Tensor* tensor, u32 n, u32 all_rows, u32 first, u32 rows, bool adaptable) {
  if (!status_.ok() || !tensor) return {};
  const Span<Matrix> matrices = arena_.allocate<Matrix>(n);
  if (matrices.empty()) status_ = no_memory(tensor->name, n * sizeof(Matrix));
  for (u32 i = 0; i < matrices.size; ++i) matrices[i] = pack(tensor, i * all_rows + first, rows, i, n, adaptable);
  return matrices;
}

Span<Matrix> Loader::pack_turned(const gguf::Tensor* tensor, u32 n, u32 all_rows, u32 rows) {
  if (!status_.ok() || !tensor) return {};
  const u32 cols = u32(tensor->cols());
  const Span<Matrix> matrices = arena_.allocate<Matrix>(n);
  Arena own(platform_);
  const Span<f32> row = own.allocate<f32>(cols), turned = own.allocate<f32>(u64(rows) * cols);
  if (matrices.empty() || row.empty() || turned.empty()) status_ = no_memory(tensor->name, u64(rows) * cols * 4);
  const u64 row_bytes = tensor->data.size / tensor->rows();
  for (u32 i = 0; i < n && status_.ok(); ++i) {
    Matrix& matrix = matrices[i];
    matrix.scale = scale_of(*tensor, i, n);
    matrix.rows = cols, matrix.cols = rows;
    matrix.group_bytes = kernels::packed_group_bytes(gguf::Type::f32, rows);
    u8* const to = place(tensor->name, i * all_rows, matrix.group_bytes * matrix.groups());
    matrix.data = to;
    if (!to || room_.whole) continue;
    for (u32 r = 0; r < rows; ++r) {
      const u8* const from = tensor->data.data + (u64(i) * all_rows + r) * row_bytes;
      kernels::dequantize_row(tensor->type, from, cols, row.data);
      for (u32 c = 0; c < cols; ++c) turned[u64(c) * rows + r] = row[c];
    }
    kernels::pack_groups(gguf::Type::f32, reinterpret_cast<const u8*>(turned.data), cols, rows, 0, matrix.groups(), to);
  }
  return matrices;
}

void Loader::done_with(const gguf::Tensor& tensor, Span<const u8> range) const {
  if (platform_.discard) platform_.discard(platform_.self, range);
  if (!platform_.forget || tensor.name == embedding_name) return;
  if (range.end() == tensor.data.end()) {
    const u64 end = tensor.offset + tensor.data.size;
    range.size += round_up(end, tensor.alignment) - end;
  }
  platform_.forget(platform_.self, range);
}

}  // namespace flyball::model
