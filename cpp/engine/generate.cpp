// The main path: begin (prefill), then step after step (decode -> choose -> stop?). Read begin() and step() first, then
// round.cpp.
#include "base/math.h"
#include "engine/round.h"

namespace flyball::engine {

namespace {

// Prompt tokens computed beside other sequences' next tokens, which wait for them.
constexpr u32 prompt_tokens_beside = 128;

Error used_by_others() {
  return fail(Code::invalid_argument, "session")
         << "was used by other work while this generation was running; finish one before the next";
}

}  // namespace

Result<Generation*> Generation::prepare(Session& session, Span<const Token> prompt, const GenerateOptions& options) {
  Session::State& s = session.state();
  FLYBALL_TRY(check_generate(s, prompt, options));
  State* state = create_object<State>(s.platform, s, options);
  if (!state) return fail(Code::out_of_memory, "generation") << "no memory for a generation";
  state->turn = ++s.metrics.generations_started;
  state->n_prompt = u32(prompt.size);
  Status status = state->governed.begin(*state, state->arena);
  if (status.ok()) status = state->make_room(prompt);
  if (!status.ok()) {
    release(&state->handle);
    return status.error();
  }
  state->reuse_prefix(prompt);
  return &state->handle;
}

Result<Generation*> Generation::begin(Session& session, Span<const Token> prompt, const GenerateOptions& options,
                                      Control control, Progress progress) {
  const FloatMode standard;
  Generation* generation = nullptr;
  FLYBALL_ASSIGN(generation, prepare(session, prompt, options));
  State& g = *generation->state_;
  const u64 total = prompt.size - g.session.n_tokens;
  Status status;
  while (status.ok() && !g.has_ready() && !g.ended_by_guard()) {
    status = g.compute(options.batch, control);
    const u64 done = total - (g.n_prompt - g.session.n_tokens);
    if (status.ok() && progress.report && !progress.report(progress.context, "prefill", done, total))
      status = interrupted_error(g.session.platform, {}, done, total);
  }
  if (!status.ok()) status = g.stop_early(status.error());
  if (!status.ok()) {
    release(generation);
    return status.error();
  }
  return generation;
}

Result<Step> Generation::step(Control control) {
  const FloatMode standard;
  State& g = *state_;
  if (g.stop_reason != StopReason::none) return g.finished();
  if (g.epoch != g.session.epoch) return used_by_others();
  while (!g.has_ready()) {
    if (g.ended_by_guard()) return g.finished();
    const Status status = g.compute(g.options.batch, control);
    if (!status.ok()) {
      FLYBALL_TRY(g.stop_early(status.error()));
      return g.finished();
    }
  }
  return g.show();
}

void Generation::step_many(Span<Generation* const> generations, Span<Stepped> out, Control control) {
  const FloatMode standard;
  const Platform& platform = generations[0]->state_->session.platform;
  const u64 now = platform.now_ns(platform.self);
  Control earliest = control;
  u32 n_active = 0;
  for (u64 i = 0; i < generations.size; ++i) {
    State& g = *generations[i]->state_;
    out[i] = {};
    if (g.stop_reason != StopReason::none) continue;
    if (g.epoch != g.session.epoch || &g.session.model != &generations[0]->state_->session.model) {
      out[i].status = used_by_others();
      continue;
    }
    if (!g.has_ready() && g.ended_by_guard()) continue;
    const u64 deadline = g.governed.deadline_ns();
    if (deadline != 0 && now >= deadline) {
      out[i].status = g.stop_early(interrupted_error(platform, {nullptr, nullptr, deadline}, 0, 1));
      continue;
    }
    earliest.deadline_ns = earlier(earliest.deadline_ns, deadline);
    ++n_active;
  }

  const auto waits = [&](u64 i, bool in_prompt) {
    const State& g = *generations[i]->state_;
    return out[i].status.ok() && g.stop_reason == StopReason::none && !g.has_ready() && g.in_prompt() == in_prompt;
  };
  for (bool prompts = true;; prompts = false) {
    Round round(generations[0]->state_->session.model, earliest);
    const auto add = [&](u64 i, u32 most) {
      return round.add(*generations[i]->state_, most, n_active == 1, &out[i].status);
    };
    for (u64 i = 0; i < generations.size; ++i) {
      if (waits(i, false)) add(i, 1);
    }
    u32 budget = round.empty() ? max_batch : prompt_tokens_beside;
    for (u64 i = 0; prompts && i < generations.size; ++i) {
      if (waits(i, true)) budget -= add(i, min(budget, generations[i]->state_->options.batch));
    }
    if (round.empty()) break;
    const Status status = round.run();
    if (status.ok()) {
      for (Generation* generation : generations) {
        State& g = *generation->state_;
        if (g.stop_reason == StopReason::none && !g.has_ready()) (void)g.ended_by_guard();
      }
      continue;
    }
    // A deadline ends those that it belongs to; the others go on with the next step. All else concerns all.
    const u64 later = platform.now_ns(platform.self);
    const bool by_clock = status.error().code == Code::interrupted && status.error().where.str() == "deadline";
    for (u64 i = 0; i < generations.size; ++i) {
      if (!waits(i, false) && !waits(i, true)) continue;
      State& g = *generations[i]->state_;
      const u64 deadline = earlier(control.deadline_ns, g.governed.deadline_ns());
      if (!by_clock || (deadline != 0 && later >= deadline)) out[i].status = g.stop_early(status.error());
    }
    break;
  }

  for (u64 i = 0; i < generations.size; ++i) {
    State& g = *generations[i]->state_;
    if (!out[i].status.ok()) continue;
    if (g.stop_reason != StopReason::none)
      out[i].step = g.finished();
    else if (g.has_ready())
      out[i].step = g.show();
  }
}

void Generation::interrupt() {
  if (state_->stop_reason != StopReason::none) return;
  state_->stop_reason = StopReason::interrupted;
  state_->complete();
}

void Generation::release(Generation* generation) {
  if (generation) destroy_object(generation->state_->session.platform, generation->state_);
}

Span<const Token> Generation::prompt() const { return {state_->history.data, state_->n_prompt}; }
Span<const Token> Generation::tokens() const { return {state_->tokens.data, state_->n_tokens}; }
Span<const f32> Generation::logprobs() const { return {state_->logprobs.data, state_->n_tokens}; }
Span<const Hash128> Generation::logits_hashes() const { return {state_->hashes.data, state_->n_tokens}; }
StopReason Generation::stop_reason() const { return state_->stop_reason; }
const runtime::GenerationMetrics& Generation::metrics() const { return state_->metrics; }
const GenerateOptions& Generation::options() const { return state_->options; }
Span<const Decision> Generation::decisions() const { return state_->governed.decisions(); }
Session& Generation::session() const { return state_->session.handle; }

Str stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::none: return "none";
    case StopReason::eos: return "eos";
    case StopReason::max_tokens: return "max_tokens";
    case StopReason::stop_string: return "stop_string";
    case StopReason::context_full: return "context_full";
    case StopReason::interrupted: return "interrupted";
    case StopReason::deadline: return "deadline";
    case StopReason::budget_guard: return "budget_guard";
    case StopReason::loop_guard: return "loop_guard";
    case StopReason::memory_guard: return "memory_guard";
  }
  return "unknown";
}

}  // namespace flyball::engine
