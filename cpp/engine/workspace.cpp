#include "engine/workspace.h"

namespace flyball::engine {
namespace {

constexpr u32 step_tokens = 64;  // a decode step of some sequences: a sixteenth of a prompt's scratch
constexpr u32 max_idle = 2;      // one of each size; more would only hold memory

}  // namespace

Status Workspace::make(const model::Config& config, const model::Weights& weights, u32 max_tokens) {
  FLYBALL_ASSIGN(scratch, model::make_scratch(arena, config, weights, max_tokens));
  FLYBALL_ASSIGN(sampler, runtime::Sampler::create(arena, config.n_vocab));
  batch = arena.allocate<model::BatchToken>(max_tokens);
  if (batch.empty()) return fail(Code::out_of_memory, "scratch") << "no memory for " << max_tokens << " tokens";
  return {};
}

Status Workspace::need_rows(u32 n_rows, u32 n_vocab) {
  const u64 n = u64(n_rows) * n_vocab;
  if (n <= logits.size) return {};
  logits_arena.clear();
  logits = logits_arena.allocate<f32>(n);
  if (logits.empty()) return fail(Code::out_of_memory, "logits") << "no memory for " << n_rows << " rows";
  return {};
}

Workspaces::~Workspaces() {
  while (idle_) {
    Workspace* next = idle_->next;
    destroy(idle_);
    idle_ = next;
  }
}

void Workspaces::destroy(Workspace* workspace) {
  workspace->~Workspace();
  platform_.release(platform_.self, workspace, sizeof(Workspace));
}

// The smallest that is large enough.
Workspace* Workspaces::take_idle(u32 n_tokens) {
  const Locked locked(lock_);
  Workspace** best = nullptr;
  for (Workspace** at = &idle_; *at; at = &(*at)->next) {
    const u32 size = (*at)->scratch.max_tokens;
    if (size >= n_tokens && (!best || size < (*best)->scratch.max_tokens)) best = at;
  }
  if (!best) return nullptr;
  Workspace* const taken = *best;
  *best = taken->next;
  --n_idle_;
  return taken;
}

Result<Workspace*> Workspaces::borrow(const model::Config& config, const model::Weights& weights, u32 n_tokens) {
  if (Workspace* idle = take_idle(n_tokens)) return idle;
  void* const memory = platform_.allocate(platform_.self, sizeof(Workspace));
  if (!memory) return fail(Code::out_of_memory, "scratch") << "no memory";
  Workspace* const workspace = new (memory) Workspace(platform_);
  const Status made = workspace->make(config, weights, n_tokens <= step_tokens ? step_tokens : max_batch);
  if (!made.ok()) {
    destroy(workspace);
    return made.error();
  }
  return workspace;
}

void Workspaces::give_back(Workspace* workspace) {
  {
    const Locked locked(lock_);
    if (n_idle_ < max_idle) {
      workspace->next = idle_;
      idle_ = workspace;
      ++n_idle_;
      return;
    }
  }
  destroy(workspace);
}

}  // namespace flyball::engine
