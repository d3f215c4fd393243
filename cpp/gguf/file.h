// GGUF reader: mapped bytes -> metadata and bounds-checked tensor views. The file is hostile: the reader checks
// everything, so users of a File may trust its spans.
#pragma once

#include "base/arena.h"
#include "gguf/types.h"

namespace flyball::gguf {

enum class ValueType : u32 { u8, i8, u16, i16, u32, i32, f32, boolean, string, array, u64, i64, f64 };

struct Value {
  ValueType type = ValueType::u8;
  ValueType element = ValueType::u8;  // of an array
  u64 count = 0;                      // elements of an array; 1 otherwise
  Span<const u8> raw;  // little-endian scalar bytes; a string's bytes; an array's elements as in the file
  u64 offset = 0;      // in its file, for messages
};

struct Entry {
  Str key;
  Value value;
};

struct Tensor {
  Str name;
  Type type = Type::f32;
  u32 n_dims = 0;
  u64 shape[4] = {1, 1, 1, 1};  // shape[0] is the row length (contiguous), as GGUF orders it
  Span<const u8> data;          // exactly rows * row bytes, inside the mapped file
  u64 alignment = 0;            // of the data in its file: up to the next multiple behind it are only padding bytes
  u64 offset = 0;               // of the data in its file, for messages

  u64 cols() const { return shape[0]; }
  u64 rows() const { return shape[1] * shape[2] * shape[3]; }
};

// Element `i` of an array of numbers or bools, as if it stood alone.
Value element(const Value& array, u64 i);
// The value of a non-negative integer of any width; other types are Code::corrupt with the key's name.
Result<u64> integer(Str key, const Value& value);
Result<bool> flag(Str key, const Value& value);  // a bool, or an integer that is 0 or 1

// Walks an array of strings, which has no random access in the file.
class StringArray {
 public:
  StringArray() = default;
  explicit StringArray(const Value& value) : rest_(value.raw), left_(value.count) {}
  bool next(Str* out);
  u64 left() const { return left_; }

 private:
  Span<const u8> rest_;
  u64 left_ = 0;
};

class File {
 public:
  // `parts` are the mapped bytes of the file, or of the split files in order (checked against
  // split.no/count/tensors.count). Names and tables live in `arena`; strings and tensor data stay in the mapping.
  static Result<File*> open(Arena& arena, Span<const Span<const u8>> parts);

  u32 version() const { return version_; }
  Span<const Entry> entries() const { return entries_; }
  Span<const Tensor> tensors() const { return tensors_; }
  const Value* find(Str key) const;  // also remembers that the key was asked for
  const Tensor* tensor(Str name) const;
  // Whether anybody has asked for this key: what nobody asks for changes nothing, and people may want to know.
  bool was_read(const Entry& entry) const;

  // Typed access. A missing key is Code::not_found with the key's name; another type is Code::corrupt with both types.
  // get_u64 and get_f64 accept every width of integer (non-negative) or float that represents the value.
  Result<u64> get_u64(Str key) const;
  Result<f64> get_f64(Str key) const;
  Result<bool> get_bool(Str key) const;
  Result<Str> get_str(Str key) const;
  Result<Value> get_array(Str key, ValueType element) const;
  // The same with a default where the key is missing (another type is still an error).
  Result<u64> get_u64_or(Str key, u64 missing) const;
  Result<f64> get_f64_or(Str key, f64 missing) const;
  Result<bool> get_bool_or(Str key, bool missing) const;
  Result<Str> get_str_or(Str key, Str missing) const;

 private:
  u32 version_ = 0;
  Span<Entry> entries_;
  Span<u8> entries_read_;  // atomic: a loaded model is shared by threads
  Span<Tensor> tensors_;
  Span<u32> entry_index_;  // open-addressing hash tables over the names
  Span<u32> tensor_index_;
};

// Whether a file says that it is a whole model, whatever its name says: some are only named like a part of one.
bool is_whole(const Platform& platform, Span<const u8> bytes);

}  // namespace flyball::gguf
