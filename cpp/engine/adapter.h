// Adapters as the engine has them: loaded for a model, shared by sessions and answers, gone with the last that uses them.
#pragma once

#include "base/hash.h"
#include "base/platform.h"

namespace flyball::model {
struct Adapter;
}

namespace flyball::engine {

class AdapterRef;
class Model;
struct CancelToken;

// A LoRA adapter of one model. Immutable, shared by threads.
class Adapter {
 public:
  // Reads the file, checks it against the model, and computes a few tokens with and without it. No adapter may be left
  // when the model is released.
  static Result<AdapterRef> load(Model& model, Str path, const CancelToken& cancel);

  Model& model() const;
  Str name() const;                   // general.name, else the file's own
  const Digest& fingerprint() const;  // SHA-256 over the SHA-256 of each MiB of the file
  u64 file_bytes() const;
  u64 weight_bytes() const;     // in memory
  f32 alpha() const;            // 0: the file has none
  u32 rank() const;             // the largest
  u32 n_pairs() const;          // tensors of the model that it changes
  bool changes_logits() const;  // whether the probe saw a difference
  const model::Adapter& weights() const;

  struct State;

 private:
  friend class AdapterRef;
  State* state_ = nullptr;
};

// Counts who uses an adapter; the last one frees it.
class AdapterRef {
 public:
  AdapterRef() = default;
  AdapterRef(const AdapterRef& other) : AdapterRef(other.adapter_) {}
  AdapterRef& operator=(const AdapterRef& other);
  ~AdapterRef();

  explicit operator bool() const { return adapter_ != nullptr; }
  const Adapter* operator->() const { return adapter_; }
  const Adapter& operator*() const { return *adapter_; }

 private:
  friend class Adapter;
  explicit AdapterRef(const Adapter* adapter);

  const Adapter* adapter_ = nullptr;
};

// A model setting: which adapter computes, and how strongly.
struct AdapterSetting {
  AdapterRef adapter;  // null: none
  f32 scale = 1;
};
bool operator==(const AdapterSetting& a, const AdapterSetting& b);  // the same files, so the same logits
Status check_adapter(const Model& model, const AdapterSetting& setting);

// SHA-256 over the SHA-256 of each MiB, as a model's.
Digest file_fingerprint(Span<const u8> bytes);

// FILE or FILE:SCALE, as people write it; a scale is what follows the last colon and reads as a number.
struct AdapterArgument {
  Str path;
  f32 scale = 1;
};
AdapterArgument parse_adapter_argument(Str text);

}  // namespace flyball::engine
