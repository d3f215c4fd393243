// One GGUF file, read front to back: header, keys, tensor descriptions, tensor data. Each value is checked at once.
#pragma once

#include "gguf/file.h"

namespace flyball::gguf {

// No real model comes near; they keep item numbers in 32 bits.
constexpr u64 most_keys = u64(1) << 20;
constexpr u64 most_tensors = u64(1) << 20;
constexpr u64 longest_key = 65535;
constexpr u64 longest_tensor_name = 64;
constexpr u64 smallest_alignment = 8;
constexpr u64 largest_alignment = u64(1) << 16;
constexpr u64 default_alignment = 32;

Str value_type_name(ValueType type);

class Part {
 public:
  Part() = default;
  Part(Span<const u8> bytes, u32 number, u32 n_parts) : bytes_(bytes), number_(number), n_parts_(n_parts) {}

  // In this order. The spans are sized by the header's counts; `first` is where this part's tensors begin in `all`.
  Status read_header();
  Status read_keys(Span<Entry> entries, Span<u32> index);
  Status read_tensors(Span<Tensor> all, u64 first, Span<u32> index);
  Status place_tensors(Span<Tensor> tensors, Span<u32> order);

  u32 version() const { return version_; }
  u64 n_keys() const { return n_keys_; }
  u64 n_tensors() const { return n_tensors_; }

  // An error in this part: `where` is the field, with the name it belongs to and, of split files, the part.
  ErrorBuilder error(Code code, u64 offset, Str field, Str name = {}) const;

 private:
  bool take_u32(u32* out);
  bool take_u64(u64* out);
  u64 left() const { return bytes_.size - at_; }

  Status refuse_format();
  Status read_string(Str field, Str name, u64 longest, Str* out);
  Status read_value(Str key, Value* value);
  Status read_array(Str key, Value* value);
  Status read_scalar(Str key, Value* value);
  Status check_bools(Str key, const Value& value);
  Status read_alignment(const Value& value);
  Status read_shape(Tensor* tensor, u32 n_dims);
  Status check_overlaps(Span<Tensor> tensors, Span<u32> order);
  u64 offset_field(const Tensor& tensor) const;
  ErrorBuilder ends(Str field, u64 needed, Str name = {}) const;
  ErrorBuilder crowded(u64 offset, Str field, Str name) const;

  Span<const u8> bytes_;
  u64 at_ = 0;
  u32 number_ = 0;  // from 0
  u32 n_parts_ = 1;
  u32 version_ = 0;
  u64 n_keys_ = 0;
  u64 n_tensors_ = 0;
  u64 alignment_ = default_alignment;
};

}  // namespace flyball::gguf
