// What Model, Session and Generation hold. Private to engine/.
#pragma once

#include "engine/engine.h"
#include "model/forward.h"
#include "runtime/kv_cache.h"

namespace flyball::engine {

// Objects live in memory from the Platform: this is all that placement new needs without the standard library.
struct InPlace {
  static void* operator new(size_t, void* memory) noexcept { return memory; }
  static void operator delete(void*, void*) noexcept {}
};

template <class State, class... Arguments>
State* create_state(const Platform& platform, Arguments&&... arguments) {
  void* memory = platform.allocate(platform.self, sizeof(State));
  return memory ? new (memory) State(static_cast<Arguments&&>(arguments)...) : nullptr;
}

template <class State>
void destroy_state(const Platform& platform, State* state) {
  state->~State();
  platform.release(platform.self, state, sizeof(State));
}

struct Model::State : InPlace {
  static constexpr u32 max_parts = 256;

  explicit State(const Platform& p) : platform(p), arena(p), weight_arena(p) {}
  ~State();

  Platform platform;
  Arena arena;         // tables, names
  Arena weight_arena;  // packed matrices
  Model handle;
  Span<const u8> parts[max_parts];
  u32 n_parts = 0;
  gguf::File* file = nullptr;
  tokenizer::Tokenizer* tokenizer = nullptr;
  model::Config config;
  model::Weights weights;
  const kernels::Table* table = nullptr;
  u32 threads = 1;
  bool vocab_only = false;
  u32 longest_piece = 0;  // bytes of the longest token's text
  runtime::StartupMetrics startup;
  u32 fingerprint_state = 0;  // 0: not computed, 1: being computed, 2: ready
  Digest fingerprint;
};

struct Session::State : InPlace {
  State(const Platform& p, Model& m) : platform(p), model(m), arena(p) {}

  const Platform& platform;
  Model& model;
  Arena arena;
  Session handle;
  SessionOptions options;
  runtime::KvCache cache;
  model::Rope rope;
  model::Scratch scratch;
  runtime::Sampler sampler;
  Span<model::BatchToken> batch;  // (scratch.max_tokens)
  Span<Token> tokens;             // (context); the first n_tokens are in the cache
  u32 n_tokens = 0;
  Span<f32> logits;  // (n_vocab) of the last token
  runtime::SessionMetrics metrics;
  u64 epoch = 0;  // changes whenever somebody else's work replaces what the cache holds

  enum class Want : u8 { nothing, last, all };
  // Computes `ids` after what the cache holds, in calls of at most `batch_tokens`. logits: one row (last) or all rows.
  // `hidden` gets each call's wanted hidden states, where given. Counts cycles into `phase`.
  struct Hidden {
    void* context = nullptr;
    void (*take)(void* context, const f32* rows, u32 n_rows) = nullptr;
  };
  Status compute(Span<const Token> ids, u32 batch_tokens, Want want, f32* logits, Hidden hidden, Control control,
                 Progress progress, runtime::PhaseMetrics& phase);
  void truncate(u32 n);  // keeps the first n tokens
};

Status check_tokens(Span<const Token> ids, u32 n_vocab, Str what);

}  // namespace flyball::engine
