#include "engine/generation_governor.h"

#include "engine/events.h"
#include "journal/event_data.h"

namespace flyball::engine {

using governor::Settings;
using journal::Reason;

namespace {

StopReason stop_reason_of(Reason reason) {
  switch (reason) {
    case Reason::GUARD_BUDGET_STOP: return StopReason::budget_guard;
    case Reason::GUARD_LOOP_STOP: return StopReason::loop_guard;
    case Reason::GUARD_MEMORY_STOP: return StopReason::memory_guard;
    default: return StopReason::deadline;
  }
}

}  // namespace

bool GenerationGovernor::current() const { return generation_->session.governed_turn == generation_->turn; }
governor::State& GenerationGovernor::state() { return generation_->session.governor; }
const Settings& GenerationGovernor::settings() const { return generation_->session.options.governor; }

bool GenerationGovernor::watched() const {
  return settings().any() || generation_->session.model.state().events.record;
}

governor::Record GenerationGovernor::record() {
  return {this,
          [](void* self, Reason reason, Str data) { static_cast<GenerationGovernor*>(self)->decided(reason, data); }};
}

// A decision: the journal gets the observations that it follows from first.
void GenerationGovernor::decided(Reason reason, Str data) {
  flush_calls();
  Session::State& session = generation_->session;
  record_event(session, generation_->turn, reason, data);
  const journal::ReasonInfo& about = journal::info(reason);
  if (about.family == "SPECULATION") return;
  Decision decision;
  decision.position = generation_->n_tokens;
  decision.reason = reason;
  decision.data.assign(data.size <= sizeof decision.data.data ? data : Str("{}"));
  session.metrics.governor.add(reason);
  if (about.family == "GUARD" && about.event == "stop") session.last_guard_stop = {generation_->turn, decision};
  if (about.family == "AUTOTUNE" && about.event != "baseline" && about.event != "caps")
    session.last_autotune = {generation_->turn, decision};
  if (n_decisions_ != max_decisions) decisions_[n_decisions_++] = decision;
}

template <class Seen>
void GenerationGovernor::observe(Reason reason, const Seen& seen) {
  flush_calls();
  record_event(generation_->session, generation_->turn, reason, seen);
  obey(governor::observe(settings(), state(), seen, record()));
}

void GenerationGovernor::obey(const governor::Verdict& verdict) {
  if (verdict.stop && stop_ == StopReason::none) stop_ = stop_reason_of(verdict.reason);
}

Status GenerationGovernor::begin(Generation::State& generation, Arena& arena) {
  generation_ = &generation;
  Session::State& session = generation.session;
  const Platform& platform = session.platform;
  start_ns_ = now_ns(platform);
  session.governed_turn = generation.turn;
  if (!watched() && !generation.options.policy_change.any()) return {};
  if (session.model.state().events.record) {
    calls_ = arena.allocate<governor::Call>(governor::max_calls_per_line);
    if (calls_.empty()) return fail(Code::out_of_memory, "generation") << "no memory for the journal";
  }
  GenerateOptions& options = generation.options;
  runtime::SamplerSettings& sampler = options.sampler;
  const governor::TurnBegun seen{{options.max_tokens, sampler.top_k, sampler.top_p, sampler.temperature},
                                 generation.n_prompt,
                                 options.policy_change};
  record_event(session, generation.turn, Reason::SESSION_TURN_BEGUN, seen);
  const governor::Knobs given = governor::begin_turn(settings(), state(), seen, record());
  options.max_tokens = given.max_tokens;
  sampler.top_k = given.top_k;
  sampler.top_p = given.top_p;
  sampler.temperature = given.temperature;
  look_at_memory();
  return {};
}

void GenerationGovernor::look_at_memory() {
  const Platform& platform = generation_->session.platform;
  if (settings().guard_mode == Settings::off || settings().memory_floor_mb == 0 || !platform.available_memory) return;
  observe(Reason::SESSION_MEMORY_SEEN, governor::MemorySeen{platform.available_memory(platform.self) >> 20});
}

u32 GenerationGovernor::draft_count(u32 most) const {
  return current() ? governor::draft_count(generation_->session.governor, most) : 0;
}

void GenerationGovernor::called(governor::Call call) {
  if (!current()) return;
  if (!watched()) return governor::observe_drafts(state(), call);
  call.elapsed_us = elapsed_us();
  if (!calls_.empty()) {
    if (n_waiting_ == calls_.size) flush_calls();
    calls_[n_waiting_++] = call;
  }
  obey(governor::observe(settings(), state(), call, record()));
  if (++n_calls_ % calls_between_memory == 0) look_at_memory();
}

void GenerationGovernor::showed(Span<const Token> tokens) {
  const u64 limit = settings().loop_tokens;
  if (settings().guard_mode == Settings::off || limit == 0 || !current()) return;
  const governor::LoopSeen loop = loops_.next(tokens);
  if (loop.tokens < limit || loop_seen_) return;
  loop_seen_ = true;
  observe(Reason::SESSION_LOOP_SEEN, loop);
}

void GenerationGovernor::cut_short() {
  if (!watched() || !current()) return;
  observe(Reason::SESSION_CUT_SHORT, governor::CutShort{elapsed_us()});
}

void GenerationGovernor::end() {
  Session::State& session = generation_->session;
  flush_calls();
  if (session.model.state().receipt) record_receipt();
  record_turn(*generation_);
  if (!current()) return;
  const governor::Afterwards afterwards = governor::end_turn(settings(), state(), record());
  if (afterwards.calibrated) session.model.state().known_cost.keep(session.options, state().baseline);
  if (!afterwards.reset_cache) return;
  session.truncate(0);
  ++session.metrics.cache_resets;
}

// In parts that fit into lines: a quote takes two bytes there, a control byte does not occur.
void GenerationGovernor::record_receipt() {
  constexpr u64 most_bytes = 16'000;
  const Session::State& session = generation_->session;
  Arena arena(session.platform);
  const Result<Str> written = session.model.state().receipt(arena, generation_->handle);
  if (!written.ok()) return;  // no memory for it; the caller can still ask for the answer's receipt
  Str text = written.value();
  if (text.ends_with("\n")) text.size -= 1;
  for (u64 part = 0; !text.empty(); ++part) {
    const u64 n = utf8_complete_prefix(text.substr(0, min(text.size, most_bytes)));
    journal::EventData<2 * most_bytes + 256> data;
    data.json.field("part", part).field("last", n == text.size).field("text", text.substr(0, n));
    record_event(session, generation_->turn, Reason::SESSION_RECEIPT, data.done());
    text = text.from(n);
  }
}

u64 GenerationGovernor::elapsed_us() const {
  const Platform& platform = generation_->session.platform;
  return (now_ns(platform) - start_ns_) / 1000;
}

u64 GenerationGovernor::deadline_ns() const {
  constexpr u64 ms = 1'000'000;
  u64 deadline = generation_->options.deadline_ns;
  const Settings& s = settings();
  if (s.guard_mode != Settings::on || !current()) return deadline;
  if (s.turn_ms != 0) deadline = earlier(deadline, start_ns_ + s.turn_ms * ms);
  const governor::State::Turn& turn = generation_->session.governor.turn;
  if (turn.gained == 0) {
    if (s.first_token_ms != 0) deadline = earlier(deadline, start_ns_ + s.first_token_ms * ms);
  } else if (s.token_ms != 0) {
    deadline = earlier(deadline, start_ns_ + turn.last_token_us * 1000 + s.token_ms * ms);
  }
  return deadline;
}

void GenerationGovernor::flush_calls() {
  if (n_waiting_ == 0) return;
  const u64 n = n_waiting_;
  n_waiting_ = 0;
  record_event(generation_->session, generation_->turn, Reason::SESSION_CALLS,
               Span<const governor::Call>(calls_.data, n));
}

}  // namespace flyball::engine
