// The main path: begin (prefill), then step after step (decode -> sample -> stop?). Read begin() and step() first.
#include "base/math.h"
#include "engine/generation_state.h"

namespace flyball::engine {

Result<Generation*> Generation::begin(Session& session, Span<const Token> prompt, const GenerateOptions& options,
                                      Control control, Progress progress) {
  const FloatMode standard;
  Session::State& s = session.state();
  FLYBALL_TRY(check_generate(s, prompt, options));
  State* state = create_state<State>(s.platform, s, options);
  if (!state) return fail(Code::out_of_memory, "generation") << "no memory for a generation";
  const Status room = state->make_room(prompt);
  if (!room.ok()) {
    release(&state->handle);
    return room.error();
  }

  // Tokens that the cache already holds are not computed again; the last one always is, for its logits.
  const u32 cached = min(common_prefix(session.tokens(), prompt), u32(prompt.size) - 1);
  s.truncate(cached);
  state->epoch = s.epoch;
  state->metrics.prompt_tokens = prompt.size;
  state->metrics.cached_tokens = cached;
  ++s.metrics.generations_started;
  const Span<const Token> rest = prompt.subspan(cached, prompt.size - cached);
  control.deadline_ns = earlier(control.deadline_ns, options.deadline_ns);
  const Status prefilled = s.compute(rest, options.batch, Session::State::Want::last, s.logits.data, {}, control,
                                     progress, state->metrics.prefill);
  s.metrics.prefill.add(state->metrics.prefill);
  if (!prefilled.ok()) {
    const Status stopped = state->stop_early(prefilled.error());
    if (!stopped.ok()) {
      release(&state->handle);
      return stopped.error();
    }
  }
  return &state->handle;
}

Result<Step> Generation::step(Control control) {
  const FloatMode standard;
  State& g = *state_;
  if (g.stop_reason != StopReason::none) return g.finished();
  Session::State& s = g.session;
  if (g.epoch != s.epoch)
    return fail(Code::invalid_argument, "session")
           << "was used by other work while this generation was running; finish one before the next";

  if (g.n_tokens > 0) {  // decode: feed the token before
    control.deadline_ns = earlier(control.deadline_ns, g.options.deadline_ns);
    runtime::PhaseMetrics decode;
    const Status decoded = s.compute({&g.tokens[g.n_tokens - 1], 1}, 1, Session::State::Want::last, s.logits.data, {},
                                     control, {}, decode);
    g.metrics.decode.add(decode);
    s.metrics.decode.add(decode);
    if (!decoded.ok()) {
      FLYBALL_TRY(g.stop_early(decoded.error()));
      return g.finished();
    }
  }
  FLYBALL_TRY(g.check_finite());
  const runtime::Sample sample = g.sample();
  g.record(sample);
  g.decide_stop(sample.token);
  if (g.stop_reason != StopReason::none) g.complete();
  return g.shown(sample);
}

void Generation::release(Generation* generation) {
  if (generation) destroy_state(generation->state_->session.platform, generation->state_);
}

Span<const Token> Generation::prompt() const { return {state_->history.data, state_->n_prompt}; }
Span<const Token> Generation::tokens() const { return {state_->tokens.data, state_->n_tokens}; }
Span<const f32> Generation::logprobs() const { return {state_->logprobs.data, state_->n_tokens}; }
Span<const Hash128> Generation::logits_hashes() const { return {state_->hashes.data, state_->n_tokens}; }
StopReason Generation::stop_reason() const { return state_->stop_reason; }
const runtime::GenerationMetrics& Generation::metrics() const { return state_->metrics; }
const GenerateOptions& Generation::options() const { return state_->options; }
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
  }
  return "unknown";
}

}  // namespace flyball::engine
