// The main path: begin, prefill, then step after step (decode -> choose -> stop?). scheduler.cpp makes the transformer
// calls; generation_state.cpp holds an answer and ends it.
#include "base/math.h"
#include "engine/generation_state.h"

namespace flyball::engine {

Status Generation::check(const Session& session, Span<const Token> prompt, const GenerateOptions& options) {
  return check_generate(session.state(), prompt, options);
}

Result<Generation*> Generation::begin(Session& session, Span<const Token> prompt, const GenerateOptions& options) {
  Session::State& s = session.state();
  FLYBALL_TRY(check_generate(s, prompt, options));
  State* state = create_object<State>(s.platform, s, options);
  if (!state) return fail(Code::out_of_memory, "generation") << "no memory for a generation";
  state->turn = ++s.metrics.generations_started;
  state->n_prompt = u32(prompt.size);
  Status status = state->governor.begin(*state, state->arena);
  if (status.ok()) status = state->make_room(prompt);
  if (!status.ok()) {
    release(&state->handle);
    return status.error();
  }
  state->reuse_prefix(prompt);
  return &state->handle;
}

Status Generation::prefill(CancelToken cancel, Progress progress) {
  const FloatMode standard;
  State& g = *state_;
  FLYBALL_TRY(g.check_session());
  const u64 total = g.n_prompt - g.session.n_tokens;
  Status status;
  while (status.ok() && !g.has_ready() && !g.ended_by_guard()) {
    status = g.compute(g.options.batch, cancel);
    const u64 done = total - (g.n_prompt - g.session.n_tokens);
    if (status.ok() && progress.report && !progress.report(progress.context, "prefill", done, total))
      status = interrupted_error(g.session.platform, {}, done, total);
  }
  if (!status.ok()) return g.stop_early(status.error());
  return g.session.model.check_file(Reliance::reading);
}

Result<Step> Generation::step(CancelToken cancel) {
  const FloatMode standard;
  State& g = *state_;
  if (g.stop_reason != StopReason::none) return g.finished();
  FLYBALL_TRY(g.check_session());
  while (!g.has_ready()) {
    if (g.ended_by_guard()) return g.finished();
    const Status status = g.compute(g.options.batch, cancel);
    if (!status.ok()) {
      FLYBALL_TRY(g.stop_early(status.error()));
      return g.finished();
    }
  }
  Step shown;
  FLYBALL_ASSIGN(shown, g.show());
  FLYBALL_TRY(g.session.model.check_file(Reliance::reading));
  return shown;
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
Span<const runtime::TokenLogprob> Generation::top_logprobs(u64 i) const {
  return state_->top.subspan(i * state_->options.top_logprobs, state_->options.top_logprobs);
}
Span<const Hash128> Generation::logits_hashes() const { return {state_->hashes.data, state_->n_tokens}; }
StopReason Generation::stop_reason() const { return state_->stop_reason; }
const runtime::GenerationMetrics& Generation::metrics() const { return state_->metrics; }
const Status& Generation::file_status() const { return state_->file_status; }
const GenerateOptions& Generation::options() const { return state_->options; }
Span<const Decision> Generation::decisions() const { return state_->governor.decisions(); }
const AdapterSetting& Generation::adapter() const { return state_->adapter; }
Session& Generation::session() const { return state_->session.handle; }

Str stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::none: return "none";
    case StopReason::eos: return "eos";
    case StopReason::max_tokens: return "max_tokens";
    case StopReason::stop_string: return "stop_string";
    case StopReason::stop_token: return "stop_token";
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
