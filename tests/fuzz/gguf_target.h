// What the GGUF fuzz target and the replaying test do with some bytes: open them, and on success touch all that a
// loader would. A broken promise is an exception: the fuzzer reports it as a crash, the replaying test as a failure.
//
// Input: a GGUF file as it is, or a split model as "SPLT", u32 length of the first part, the first part, the second
// part.
#pragma once

#include <cstring>
#include <stdexcept>

#include "../cpp/counting_platform.h"
#include "gguf/file.h"

namespace fuzz {

using namespace flyball;

inline void promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

inline bool inside(Span<const u8> range, Span<const Span<const u8>> parts) {
  for (const auto& part : parts)
    if (range.data >= part.data && range.size <= part.size && u64(range.data - part.data) <= part.size - range.size)
      return true;
  return false;
}

inline u64 touch(Span<const u8> bytes) {
  u64 sum = 0;
  for (u8 byte : bytes) sum += byte;
  return sum;
}

inline void check_error(const Error& error) {
  promise(error.where.size > 0 && error.what.size > 0, "an error without place or text");
  char text[800];
  Writer out(text, sizeof(text));
  error.describe(out);
  promise(utf8_complete_prefix(out.text()) == out.text().size, "an error that ends inside a character");
}

template <class T>
void check_result(const Result<T>& result) {
  if (!result.ok()) check_error(result.error());
}

inline u64 walk_values(const gguf::File& file, Span<const Span<const u8>> parts) {
  u64 sum = 0;
  for (const auto& entry : file.entries()) {
    const gguf::Value& value = entry.value;
    promise(file.find(entry.key) == &value, "a key that is not found");
    promise(value.raw.empty() || inside(value.raw, parts), "a value outside the file");
    sum += touch(value.raw);
    check_result(file.get_u64(entry.key));
    check_result(file.get_f64(entry.key));
    check_result(file.get_bool(entry.key));
    check_result(file.get_str(entry.key));
    for (u32 element = 0; element < 13; ++element) check_result(file.get_array(entry.key, gguf::ValueType(element)));
    gguf::StringArray strings(value);
    Str text;
    u64 n = 0;
    for (; strings.next(&text); ++n) sum += touch({reinterpret_cast<const u8*>(text.data), text.size});
    const bool is_strings = value.type == gguf::ValueType::array && value.element == gguf::ValueType::string;
    promise(n <= value.count && (!is_strings || n == value.count), "strings of an array are missing");
  }
  return sum;
}

inline u64 walk_tensors(const gguf::File& file, Span<const Span<const u8>> parts) {
  u64 sum = 0;
  for (const auto& tensor : file.tensors()) {
    promise(file.tensor(tensor.name) == &tensor, "a tensor that is not found");
    const auto* info = gguf::type_info(u32(tensor.type));
    promise(info && tensor.n_dims >= 1 && tensor.n_dims <= 4 && tensor.cols() % info->block_values == 0,
            "a tensor that contradicts its type");
    promise(tensor.data.size == tensor.rows() * (tensor.cols() / info->block_values * info->block_bytes),
            "a tensor with the wrong size");
    promise(tensor.data.size > 0 && inside(tensor.data, parts), "tensor data outside the file");
    sum += tensor.data[0] + tensor.data[tensor.data.size - 1];
  }
  return sum;
}

// True when the bytes were a valid model.
inline bool check_gguf(const u8* data, u64 size) {
  Span<const u8> parts[2] = {{data, size}, {}};
  u64 n_parts = 1;
  u32 first = 0;
  if (size >= 8 && std::memcmp(data, "SPLT", 4) == 0) {
    std::memcpy(&first, data + 4, 4);
    if (first <= size - 8) {
      parts[0] = {data + 8, first};
      parts[1] = {data + 8 + first, size - 8 - first};
      n_parts = 2;
    }
  }
  test::CountingPlatform memory;
  Arena arena(memory.platform);
  const Span<const Span<const u8>> given(parts, n_parts);
  const auto result = gguf::File::open(arena, given);
  promise(memory.peak <= 16 * size + (u64(1) << 20), "more memory than the file can justify");
  if (!result.ok()) {
    check_error(result.error());
    const bool no_file = result.error().code == Code::invalid_argument;
    promise(no_file || (result.error().offset != Error::no_offset && result.error().offset <= size),
            "a refusal without an offset inside the file");
    return false;
  }
  volatile u64 sum = walk_values(*result.value(), given) + walk_tensors(*result.value(), given);
  (void)sum;
  return true;
}

}  // namespace fuzz
