// The limits of a single answer: steps over budget, clocks, memory, loops. The guard ends an answer that passes one,
// and bounds the next ones for a while.
#include "base/types.h"
#include "governor/governor.h"
#include "journal/event_data.h"

namespace flyball::governor {

using journal::EventData;

namespace {

// The data of a limit's event: the measured value and the limit.
struct Measured {
  Str name;
  u64 seen = 0;
  Str limit_name;
  u64 limit = 0;
};

Verdict trip(const Settings& settings, State& state, Reason reason, const Measured& m, Record record) {
  if (settings.guard_mode == Settings::off || state.turn.stopped) return {};
  const bool simulated = settings.guard_mode == Settings::simulate;
  const u64 bit = u64(1) << (u64(reason) - u64(Reason::GUARD_BUDGET_STOP));
  if (simulated && (state.turn.simulated & bit) != 0) return {};
  EventData<> data;
  if (simulated) data.json.field("would", info(reason).id);
  data.json.field("at_token", state.turn.gained).field(m.name, m.seen).field(m.limit_name, m.limit);
  record(simulated ? Reason::GUARD_STOP_SIMULATED : reason, data.done());
  if (simulated) return state.turn.simulated |= bit, Verdict();
  state.turn.stopped = true;
  return {true, reason};
}

// Which clock has run out, the narrowest first.
Verdict look_at_clocks(const Settings& s, State& state, u64 elapsed_us, bool first_token, Record record) {
  const auto late = [&](u64 since_us, u64 limit_ms, Reason reason) -> Verdict {
    const u64 seen = elapsed_us - min(elapsed_us, since_us);
    if (limit_ms == 0 || seen < 1000 * limit_ms) return {};
    return trip(s, state, reason, {"elapsed_us", seen, "limit_us", 1000 * limit_ms}, record);
  };
  Verdict verdict = first_token ? late(0, s.first_token_ms, Reason::GUARD_FIRST_TOKEN_STOP)
                                : late(state.turn.last_token_us, s.token_ms, Reason::GUARD_TOKEN_STOP);
  if (!verdict.stop) verdict = late(0, s.turn_ms, Reason::GUARD_TURN_STOP);
  return verdict;
}

}  // namespace

Knobs safe(const Settings& s, Knobs k) {
  k.max_tokens = min(k.max_tokens, u32(s.safe_max_tokens));
  k.top_k = k.top_k == 0 ? u32(s.safe_top_k) : min(k.top_k, u32(s.safe_top_k));
  k.top_p = min(k.top_p, f32(f64(s.safe_top_p_percent) / 100));
  k.temperature = min(k.temperature, f32(f64(s.safe_temperature_percent) / 100));
  return k;
}

u64 budget_at(const Settings& settings, const State& state, u64 depth) {
  if (settings.budget_cycles != 0) return settings.budget_cycles;
  return calibrated(settings, state) ? state.baseline.at(depth) * settings.budget_percent / 100 : 0;
}

Verdict observe(const Settings& settings, State& state, const Call& call, Record record) {
  State::Turn& turn = state.turn;
  const bool first_token = turn.gained == 0;
  bool overrun = false;
  u64 budget = 0;
  if (call.kind != Call::prompt) {
    // Draft tokens and other sequences cost time but save more: each computed row has its own budget.
    budget = budget_at(settings, state, turn.depth) * max(call.rows, 1u);
    overrun = budget != 0 && call.cycles > budget;
    turn.decode_tokens += call.gained;
    turn.decode_cycles += call.cycles;
  }
  if (call.kind == Call::plain) {
    ++turn.plain_calls;
    turn.plain_cycles += call.cycles;
    turn.plain_attention_cycles += call.attention_cycles;
    turn.plain_depth += turn.depth;
  }
  turn.overruns += overrun;
  Verdict verdict;
  if (settings.guard_mode != Settings::off) {
    verdict = look_at_clocks(settings, state, call.elapsed_us, first_token, record);
    if (!verdict.stop && overrun && turn.overruns >= settings.hard_stop_overruns)
      verdict = trip(settings, state, Reason::GUARD_BUDGET_STOP, {"overruns", turn.overruns, "budget_cycles", budget},
                     record);
  }
  observe_drafts(state, call);
  if (call.kind == Call::plain) try_threads(settings, state, call, record);
  turn.gained += call.gained;
  turn.depth += call.gained;
  if (call.gained != 0) turn.last_token_us = call.elapsed_us;
  return verdict;
}

Verdict observe(const Settings& settings, State& state, const CutShort& seen, Record record) {
  return look_at_clocks(settings, state, seen.elapsed_us, state.turn.gained == 0, record);
}

Verdict observe(const Settings& settings, State& state, const MemorySeen& seen, Record record) {
  if (seen.available_mb >= settings.memory_floor_mb) return {};
  return trip(settings, state, Reason::GUARD_MEMORY_STOP,
              {"available_mb", seen.available_mb, "floor_mb", settings.memory_floor_mb}, record);
}

Verdict observe(const Settings& settings, State& state, const LoopSeen& seen, Record record) {
  if (settings.loop_tokens == 0 || seen.tokens < settings.loop_tokens) return {};
  return trip(settings, state, Reason::GUARD_LOOP_STOP, {"repeated", seen.tokens, "limit", settings.loop_tokens},
              record);
}

}  // namespace flyball::governor
