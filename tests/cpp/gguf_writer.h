// Writes small GGUF files for tests and remembers where each field is, so that a test can make exactly one of them lie.
#pragma once

#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "base/types.h"
#include "gguf/types.h"
#include "test.h"

namespace test {

using flyball::u16;
using flyball::u32;
using flyball::u64;
using flyball::u8;

template <class T>
std::string bytes_of(T value) {
  std::string bytes(sizeof(T), '\0');
  std::memcpy(bytes.data(), &value, sizeof(T));
  return bytes;
}

inline std::string gguf_string(const std::string& text) { return bytes_of(u64(text.size())) + text; }

// A finished file. Fields: "version", "n_tensors", "n_kv"; of a key "name"/"type"/"value"/"element"/"count" and of a
// tensor "name"/"n_dims"/"dims"/"type"/"offset"/"data" as "<key or tensor>/<field>".
struct GgufBytes {
  std::string bytes;
  std::map<std::string, u64> fields;

  u64 at(const std::string& field) const {
    const auto found = fields.find(field);
    if (found == fields.end()) failed(__FILE__, __LINE__, "no field " + field);
    return found == fields.end() ? 0 : found->second;
  }
  template <class T>
  GgufBytes with(const std::string& field, T value, u64 skip = 0) const {
    GgufBytes copy = *this;
    std::memcpy(copy.bytes.data() + at(field) + skip, &value, sizeof(T));
    return copy;
  }
};

class GgufWriter {
 public:
  explicit GgufWriter(u32 version = 3, u64 alignment = 32) : version_(version), alignment_(alignment) {
    if (alignment != 32) key("general.alignment", 4, bytes_of(u32(alignment)));
  }

  // `type` and `element` are the format's value type numbers.
  GgufWriter& key(const std::string& name, u32 type, const std::string& value) {
    keys_.push_back({name, type, 0, 0, value});
    return *this;
  }
  GgufWriter& u16_key(const std::string& name, u16 value) { return key(name, 2, bytes_of(value)); }
  GgufWriter& u32_key(const std::string& name, u32 value) { return key(name, 4, bytes_of(value)); }
  GgufWriter& i32_key(const std::string& name, flyball::i32 value) { return key(name, 5, bytes_of(value)); }
  GgufWriter& f32_key(const std::string& name, float value) { return key(name, 6, bytes_of(value)); }
  GgufWriter& bool_key(const std::string& name, u8 value) { return key(name, 7, bytes_of(value)); }
  GgufWriter& string_key(const std::string& name, const std::string& value) { return key(name, 8, gguf_string(value)); }
  GgufWriter& array_key(const std::string& name, u32 element, u64 count, const std::string& values) {
    keys_.push_back({name, 9, element, count, values});
    return *this;
  }
  GgufWriter& strings_key(const std::string& name, const std::vector<std::string>& values) {
    std::string raw;
    for (const auto& value : values) raw += gguf_string(value);
    return array_key(name, 8, values.size(), raw);
  }

  GgufWriter& tensor(const std::string& name, const std::vector<u64>& dims, flyball::gguf::Type type) {
    tensors_.push_back({name, dims, type});
    return *this;
  }

  GgufBytes build() const {
    GgufBytes file;
    std::string& out = file.bytes;
    const auto mark = [&](const std::string& field) { file.fields[field] = out.size(); };
    out = "GGUF";
    mark("version"), out += bytes_of(version_);
    mark("n_tensors"), out += bytes_of(u64(tensors_.size()));
    mark("n_kv"), out += bytes_of(u64(keys_.size()));
    for (const auto& key : keys_) {
      mark(key.name + "/name"), out += gguf_string(key.name);
      mark(key.name + "/type"), out += bytes_of(key.type);
      if (key.type == 9) {
        mark(key.name + "/element"), out += bytes_of(key.element);
        mark(key.name + "/count"), out += bytes_of(key.count);
      }
      mark(key.name + "/value"), out += key.value;
    }
    u64 offset = 0;
    for (const auto& tensor : tensors_) {
      mark(tensor.name + "/name"), out += gguf_string(tensor.name);
      mark(tensor.name + "/n_dims"), out += bytes_of(u32(tensor.dims.size()));
      mark(tensor.name + "/dims");
      for (u64 dim : tensor.dims) out += bytes_of(dim);
      mark(tensor.name + "/type"), out += bytes_of(u32(tensor.type));
      mark(tensor.name + "/offset"), out += bytes_of(offset);
      offset = flyball::round_up(offset + size_of(tensor), alignment_);
    }
    for (const auto& tensor : tensors_) {
      out.resize(flyball::round_up(out.size(), alignment_));
      mark(tensor.name + "/data");
      for (u64 i = 0; i < size_of(tensor); ++i) out += char(i * 7 + 1);
    }
    return file;
  }

 private:
  struct Key {
    std::string name;
    u32 type;
    u32 element;
    u64 count;
    std::string value;
  };
  struct Tensor {
    std::string name;
    std::vector<u64> dims;
    flyball::gguf::Type type;
  };

  static u64 size_of(const Tensor& tensor) {
    const auto* info = flyball::gguf::type_info(u32(tensor.type));
    u64 values = 1;
    for (u64 dim : tensor.dims) values *= dim;
    return values / info->block_values * info->block_bytes;
  }

  u32 version_;
  u64 alignment_;
  std::vector<Key> keys_;
  std::vector<Tensor> tensors_;
};

}  // namespace test
