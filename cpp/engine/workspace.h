// What a transformer call borrows from its model: scratch, a sampler's scratch, rows of logits. The sessions of a model
// share a few, so a session costs only its cache. Private to engine/.
#pragma once

#include "base/lock.h"
#include "base/object.h"
#include "model/forward.h"
#include "runtime/sampler.h"

namespace flyball::engine {

constexpr u32 max_batch = 512;     // tokens of one transformer call
constexpr u32 max_step_rows = 64;  // rows of logits of one call

struct Workspace : InPlace {
  explicit Workspace(const Platform& platform) : arena(platform), logits_arena(platform) {}

  Status make(const model::Config& config, const model::Weights& weights, u32 max_tokens);
  Status need_rows(u32 n_rows, u32 n_vocab);  // of logits
  Status need_adapters(const model::Config& config) {
    return scratch.adapters.hidden ? Status() : model::make_adapter_scratch(arena, config, scratch);
  }

  Arena arena;
  model::Scratch scratch;
  runtime::Sampler sampler;
  Span<model::BatchToken> batch;  // (scratch.max_tokens)
  Arena logits_arena;
  Span<f32> logits;  // (rows, n_vocab)
  Workspace* next = nullptr;
};

// The idle workspaces of a model; thread-safe.
class Workspaces {
 public:
  explicit Workspaces(const Platform& platform) : platform_(platform) {}
  ~Workspaces();
  Workspaces(const Workspaces&) = delete;
  Workspaces& operator=(const Workspaces&) = delete;

  Result<Workspace*> borrow(const model::Config& config, const model::Weights& weights, u32 n_tokens);
  void give_back(Workspace* workspace);
  SpinLock& lock() { return lock_; }

 private:
  Workspace* take_idle(u32 n_tokens);
  void destroy(Workspace* workspace);

  const Platform& platform_;
  SpinLock lock_;
  Workspace* idle_ = nullptr;
  u32 n_idle_ = 0;
};

// A workspace for the time of one call.
class WorkspaceLease {
 public:
  explicit WorkspaceLease(Workspaces& from) : from_(from) {}
  ~WorkspaceLease() {
    if (workspace_) from_.give_back(workspace_);
  }
  WorkspaceLease(const WorkspaceLease&) = delete;
  WorkspaceLease& operator=(const WorkspaceLease&) = delete;

  Status take(const model::Config& config, const model::Weights& weights, u32 n_tokens) {
    FLYBALL_ASSIGN(workspace_, from_.borrow(config, weights, n_tokens));
    return {};
  }
  Workspace* operator->() const { return workspace_; }
  Workspace& operator*() const { return *workspace_; }

 private:
  Workspaces& from_;
  Workspace* workspace_ = nullptr;
};

}  // namespace flyball::engine
