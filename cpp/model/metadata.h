// "<architecture>.<key>" of a file, with ranges checked and the first error remembered.
#pragma once

#include "gguf/file.h"

namespace flyball::model {

constexpr u64 missing = ~u64(0);  // as a default: there is none

class Reader {
 public:
  Reader(const gguf::File& file, Str architecture) : file_(file), architecture_(architecture) {}

  u32 required(Str key, u64 low, u64 high) { return bounded(key, file_.get_u64(full(key)), low, high); }
  u32 optional(Str key, u64 otherwise, u64 low, u64 high) {
    return bounded(key, file_.get_u64_or(full(key), otherwise), low, high);
  }
  // A number for all layers, or the entry of `layer` in an array with one for each of `n_blocks`.
  u32 of_layer(Str key, u64 otherwise, u64 low, u64 high, u32 layer, u32 n_blocks);
  u32 rotated(Str key, u32 head_dim);  // dimensions that turn: all unless the file says otherwise
  f64 real(Str key, f64 otherwise, f64 low, f64 high);
  Str text(Str key);
  bool boolean(Str key, bool otherwise);
  // Refuses a value other than the neutral one, which must stand for `what` Flyball does not do. Bools are 0 and 1.
  void demand(Str key, f64 neutral, Str what);

  bool has(Str key) { return find(key) != nullptr; }
  const gguf::Value* find(Str key) { return file_.find(full(key)); }
  u64 offset(Str key) {
    const gguf::Value* value = find(key);
    return value ? value->offset : Error::no_offset;
  }
  // Valid until the next call: error messages copy it.
  Str full(Str key) {
    Writer out(buffer_, sizeof buffer_);
    out.put(architecture_).put('.').put(key);
    return out.text();
  }
  void keep(const Error& error) {
    if (status_.ok()) status_ = error;
  }
  Status status() const { return status_; }

 private:
  u32 bounded(Str key, const Result<u64>& value, u64 low, u64 high);

  const gguf::File& file_;
  Str architecture_;
  char buffer_[128];
  Status status_;
};

}  // namespace flyball::model
