// Fetches the tensors of a model by name, checks their shapes, and packs matrices for the kernels. For the blocks'
// load functions.
#pragma once

#include "model/weights.h"

namespace flyball::model {

constexpr Str embedding_name = "token_embd.weight";

// Stops at the first error and keeps it: later calls do nothing, so that load functions need not look in between.
class Loader {
 public:
  Loader(Arena& arena, const Platform& platform, const gguf::File& file, PackedRoom room, u32 threads,
         LoadProgress progress);
  // Fetches and checks alone, and marks in `used` what was fetched, by the tensor's place in the file.
  Loader(Arena& arena, const Platform& platform, const gguf::File& file, Span<u8> used, MatrixVisitor visitor,
         u64 in_file)
      : arena_(arena),
        platform_(platform),
        file_(file),
        room_{{}, false, in_file},
        threads_(1),
        used_(used),
        visitor_(visitor) {}

  bool has(Str name) const { return file_.tensor(name) != nullptr; }
  const gguf::Tensor* find(Str name, u64 cols, u64 rows, bool required, u64 depth = 1);
  u64 rows_of(Str name) const {  // 0: there is no such tensor
    const gguf::Tensor* const tensor = file_.tensor(name);
    return tensor ? tensor->rows() : 0;
  }
  void skip(Str name);                                              // a tensor that changes nothing, if the file has it
  const f32* vector(Str name, u64 n, bool required, u64 rows = 1);  // (rows, n)
  const f32* transposed(Str name, u32 cols, u32 rows);              // (cols, rows) of a tensor (rows, cols)
  f32* constant(f32 value, u32 n);                                  // n times the value
  // Rows [first, first + rows) of a tensor whose shape has been checked, with the scale that the file has beside it:
  // one for the tensor, or number `expert` of one for each of `n_experts`. `adaptable`: adapters may add to its products.
  Matrix pack(const gguf::Tensor* tensor, u32 first, u32 rows, u32 expert = 0, u32 n_experts = 1,
              bool adaptable = true);
  Matrix matrix(Str name, u64 cols, u32 rows, bool required = true) {
    const gguf::Tensor* tensor = find(name, cols, rows, required);
    return pack(tensor, 0, rows);
  }

  // One of each matrix of a tensor (n, rows, cols), from its row `first` on: `rows` of `all_rows`.
  Span<Matrix> experts(Str name, u64 cols, u32 n, u32 all_rows, u32 first, u32 rows);

  // The same of a tensor (n * all_rows, cols) whose shape has been checked.
  Span<Matrix> pack_each(const gguf::Tensor* tensor, u32 n, u32 all_rows, u32 first, u32 rows, bool adaptable);
  // The first `rows` of each, turned: (n) of (cols, rows). As floats, since blocks of weights lie along the columns.
  Span<Matrix> pack_turned(const gguf::Tensor* tensor, u32 n, u32 all_rows, u32 rows);

  Status status() const { return status_; }
  bool checks_only() const { return !used_.empty(); }
  u64 matrix_bytes() const { return matrix_bytes_; }
  u64 in_file_bytes() const { return in_file_bytes_; }
  Digest packed_order() { return order_.finish(); }
  void fail_with(const Error& error) {
    if (status_.ok()) status_ = error;
  }

 private:
  Span<f32> floats(Str name, u64 n);
  u8* place(Str name, u32 first, u64 bytes);  // of a packed matrix that begins with a row; null: no memory
  void report(u64 more_bytes);
  f32 scale_of(const gguf::Tensor& tensor, u32 expert, u32 n_experts);
  // Rows of the embedding are looked up in the file as long as the model lives.
  void done_with(const gguf::Tensor& tensor, Span<const u8> range) const;

  Arena& arena_;
  const Platform& platform_;
  const gguf::File& file_;
  PackedRoom room_;
  u32 threads_;
  LoadProgress progress_;
  Span<u8> used_;
  MatrixVisitor visitor_;
  u32 n_matrices_ = 0;
  Status status_;
  u64 done_bytes_ = 0, total_bytes_ = 0, matrix_bytes_ = 0, in_file_bytes_ = 0;
  Sha256 order_;  // of what was checked
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

}  // namespace flyball::model
