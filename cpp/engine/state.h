// What Model, Session and Generation hold. For engine/ and the rows above it, not for programs.
#pragma once

#include "base/object.h"
#include "engine/draft.h"
#include "engine/engine.h"
#include "engine/workspace.h"
#include "governor/prompt_pace.h"
#include "runtime/prefix_cache.h"

namespace flyball::engine {

// The measured cost of a token, for sessions that compute in the same way.
class KnownCost {
 public:
  void keep(const SessionOptions& options, const governor::Baseline& baseline) {
    const Locked locked(lock_);
    how_ = {options.cache, options.threads, options.decode_threads};
    baseline_ = baseline;
  }
  governor::Baseline of(const SessionOptions& options) {
    const Locked locked(lock_);
    return how_ == How{options.cache, options.threads, options.decode_threads} ? baseline_ : governor::Baseline();
  }
  SpinLock& lock() { return lock_; }

 private:
  struct How {
    CacheType cache = CacheType::f16;
    u32 threads = 0;
    u32 decode_threads = 0;
    friend bool operator==(const How&, const How&) = default;
  };
  SpinLock lock_;
  How how_;
  governor::Baseline baseline_;
};

// How prompts and known tokens share calls with running answers.
struct Turns {
  SpinLock lock;
  governor::PromptPace pace;
  u64 n_granted = 0;  // turns so far
};

struct Model::State : InPlace {
  static constexpr u32 max_parts = 256;

  State(const Platform& p, const ModelOptions& options)
      : platform(p),
        arena(p),
        weight_arena(p),
        packed(platform, options.packed, options.fingerprint_cache),
        workspaces(platform),
        prefixes(platform, options.prefix_cache_bytes),
        events(options.events),
        receipt(options.receipt),
        fingerprint_cache(arena.copy(options.fingerprint_cache)),
        fingerprint_cache_least(options.fingerprint_cache_least) {}
  ~State();

  struct Locks {
    SpinLock* list[4];
    SpinLock* const* begin() const { return list; }
    SpinLock* const* end() const { return list + 4; }
  };
  Locks locks() {
    return {{&known_cost.lock(), &workspaces.lock(), &prefixes.lock(), &turns.lock}};
  }  // none is taken inside another

  Platform platform;
  Arena arena;         // tables, names
  Arena weight_arena;  // packed matrices
  Model handle;
  Str path;  // of the first part
  Span<const u8> parts[max_parts];
  FileInfo loaded[max_parts];  // what the files were then
  u32 n_parts = 0;
  PackedCopy packed;
  gguf::File* file = nullptr;
  tokenizer::Tokenizer* tokenizer = nullptr;
  model::Config config;
  model::Weights weights;
  const kernels::Table* table = nullptr;
  u32 threads = 1;
  u32 decode_threads = 1;
  bool vocab_only = false;
  Workspaces workspaces;
  runtime::PrefixCache prefixes;
  journal::EventSink events;
  Result<Str> (*receipt)(Arena& arena, const Generation& generation);
  KnownCost known_cost;
  Turns turns;
  u32 longest_piece = 0;  // bytes of the longest token's text
  runtime::StartupMetrics startup;
  Str fingerprint_cache;
  u64 fingerprint_cache_least;
  u64 loaded_at_ns = 0;       // since 1970; 0: the platform has no calendar
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
  runtime::RecurrentState recurrent;  // always as of n_tokens, between calls
  model::Rope rope;
  u64 number = 0;  // in the journal; 0: no journal
  GovernorState governor;
  u64 governed_turn = 0;  // its current answer
  LastDecision last_guard_stop, last_autotune;
  AdapterSetting adapter;  // under which the cached tokens were computed
  model::AdapterUse use;   // the same, for forward()
  u64 prefix_kind = 0;     // sessions with the same may share keys and values
  // Under which the cached tokens were computed or copied. A session's own tokens (of a file that it restored) have none
  // until an answer goes on from them.
  Text<max_prefix_root_bytes> prefix_root;
  bool has_root = false;
  Span<Token> tokens;  // (context); the first n_tokens are in the cache
  u32 n_tokens = 0;
  Span<f32> logits;  // (n_vocab), of a session that drafts
  runtime::SessionMetrics metrics;
  u64 epoch = 0;  // changes whenever other work replaces what the cache holds

  // Computes `ids` after what the cache holds, in calls of at most `batch_tokens`; counts into metrics.prefill. `logits`
  // gets every row, or only the last one's; `rows` the workspace of each call, where given: its hidden states and, if
  // `rows` wants them, its logits.
  enum class Want : u8 { last, all };
  struct Rows {
    void* context = nullptr;
    Status (*take)(void* context, Workspace& workspace, u32 n_rows) = nullptr;
    bool logits = false;
  };
  Status compute(Span<const Token> ids, u32 batch_tokens, Want want, f32* logits, Rows rows, CancelToken cancel,
                 Progress progress);
  model::Engine engine(u32 n_threads) const { return {&platform, &model.table(), n_threads}; }
  // Both keep the first n tokens; none, where recurrent layers cannot go back to them. The second ends other work.
  void go_back(u32 n);
  void truncate(u32 n);
  void remember(u32 n);  // shares the first n tokens' keys and values, and the snapshot, with other sessions
  void compute_with(const AdapterSetting& setting);  // from now on; forgets the cache if that is another one
  void share_under(Str root);                        // from now on; forgets the cache of another root
  const model::AdapterUse* adapter_use() const { return use.adapter ? &use : nullptr; }
};

// The error of a stopped call; its place, "deadline" or "stop", gives the StopReason.
Error interrupted_error(const Platform& platform, const CancelToken& cancel, u64 done, u64 total);

// Both reasons to stop as forward()'s one check.
class CancelCheck {
 public:
  CancelCheck(const Platform& platform, const CancelToken& cancel) : platform_(platform), cancel_(cancel) {}
  bool late() const { return cancel_.deadline_ns != 0 && now_ns(platform_) >= cancel_.deadline_ns; }
  model::StopCheck check() const {
    model::StopCheck check;
    check.context = const_cast<CancelCheck*>(this);
    check.stop = [](void* context) { return static_cast<const CancelCheck*>(context)->answer(); };
    return check;
  }

 private:
  bool answer() const { return late() || (cancel_.stop && cancel_.stop(cancel_.context)); }

  const Platform& platform_;
  const CancelToken& cancel_;
};

Status check_tokens(Span<const Token> ids, u32 n_vocab, Str what);
Status check_finite(Span<const f32> logits, u64 position);

}  // namespace flyball::engine
