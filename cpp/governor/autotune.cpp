// The cost of a token. While it is high, autotune bounds the settings of later answers step by step, and relaxes the
// bounds when the cause is gone.
#include "base/types.h"
#include "governor/governor.h"
#include "journal/event_data.h"

namespace flyball::governor {

using journal::EventData;

namespace {

// A bound that falls by a step, but not below the floor; a smaller requested value stays.
template <class T>
T lowered(T asked, T step, T floor, u64 tightness) {
  const T reach = asked > floor ? asked - floor : T(0);
  const f64 fall = f64(step) * f64(tightness);
  return fall < f64(reach) ? T(asked - T(fall)) : T(asked - reach);
}

f32 hundredths(u64 percent) { return f32(f64(percent) / 100); }

struct Judgment {
  enum { none, too_short, low, between, high } verdict = none;
  u64 measured = 0;
  u64 mark = 0;  // the one passed
  Str unit;
};

Judgment judge(const Settings& s, const State& state) {
  const State::Turn& turn = state.turn;
  Judgment j;
  u64 low = s.low_percent, high = s.high_percent;
  if (s.high_cycles != 0) {
    j.unit = "cycles_per_token";
    if (turn.decode_tokens < s.min_tokens) return j.verdict = Judgment::too_short, j;
    j.measured = turn.decode_cycles / turn.decode_tokens;
    low = s.low_cycles, high = s.high_cycles;
  } else {
    j.unit = "percent";
    if (!calibrated(s, state)) return j;
    if (turn.plain_calls < s.min_tokens) return j.verdict = Judgment::too_short, j;
    const u64 expected =
        turn.plain_calls * state.baseline.rest_cycles + state.baseline.attention_cycles * turn.plain_depth / 1024;
    j.measured = 100 * turn.plain_cycles / max(expected, u64(1));
  }
  j.verdict = j.measured > high ? Judgment::high : j.measured < low ? Judgment::low : Judgment::between;
  j.mark = j.verdict == Judgment::high ? high : low;
  return j;
}

}  // namespace

Knobs tightened(const Settings& s, Knobs k, u64 tightness) {
  k.max_tokens = lowered(k.max_tokens, u32(s.step_max_tokens), u32(s.floor_max_tokens), tightness);
  if (s.autotune_knobs == 0) return k;
  if (k.top_k != 0) k.top_k = lowered(k.top_k, u32(s.step_top_k), u32(s.floor_top_k), tightness);
  k.top_p = lowered(k.top_p, hundredths(s.step_top_p_percent), hundredths(s.floor_top_p_percent), tightness);
  k.temperature = lowered(k.temperature, hundredths(s.step_temperature_percent),
                          hundredths(s.floor_temperature_percent), tightness);
  return k;
}

bool calibrated(const Settings& settings, const State& state) {
  return state.n_calibrated >= settings.calibration_turns;
}

bool calibrate(const Settings& settings, State& state, Record record) {
  const State::Turn& turn = state.turn;
  if (turn.plain_calls < settings.min_tokens) return false;
  Baseline seen;
  seen.rest_cycles = (turn.plain_cycles - min(turn.plain_cycles, turn.plain_attention_cycles)) / turn.plain_calls;
  seen.attention_cycles = turn.plain_depth ? turn.plain_attention_cycles * 1024 / turn.plain_depth : 0;
  // A quiet machine shows what a token costs; a busy one only that it can cost more.
  Baseline& known = state.baseline;
  const bool was_calibrated = calibrated(settings, state);
  const u64 most = was_calibrated ? 97 : 100;  // percent: noise does not change a calibrated cost
  const bool first = state.n_calibrated == 0;
  const bool lower = first || 100 * seen.rest_cycles < most * known.rest_cycles ||
                     100 * seen.attention_cycles < most * known.attention_cycles;
  if (lower) {
    known.rest_cycles = first ? seen.rest_cycles : min(known.rest_cycles, seen.rest_cycles);
    known.attention_cycles = first ? seen.attention_cycles : min(known.attention_cycles, seen.attention_cycles);
  }
  if (!was_calibrated) ++state.n_calibrated;
  if (!calibrated(settings, state) || (was_calibrated && !lower)) return false;
  EventData<> data;
  write_baseline(data.json.key("baseline"), known);
  data.json.field("answers", state.n_calibrated);
  record(was_calibrated ? Reason::AUTOTUNE_BASELINE_LOWERED : Reason::AUTOTUNE_CALIBRATED, data.done());
  return true;
}

void autotune(const Settings& settings, State& state, Record record) {
  if (settings.autotune_mode == Settings::off) return;
  ++state.since_change;
  const Judgment j = judge(settings, state);
  const u64 before = state.tightness;
  const auto decide = [&](Reason reason) {
    EventData<> data;
    data.json.field("measured", j.measured).field("mark", j.mark).field("unit", j.unit);
    data.json.field("tightness", before).field("becomes", state.tightness);
    record(reason, data.done());
  };
  if (j.verdict == Judgment::too_short && before != 0) return decide(Reason::AUTOTUNE_TOO_SHORT);
  const bool tighten = j.verdict == Judgment::high;
  if (!tighten && (j.verdict != Judgment::low || before == 0)) return;
  if (tighten && tightened(settings, state.turn.asked, before + 1) == tightened(settings, state.turn.asked, before))
    return decide(Reason::AUTOTUNE_AT_FLOOR);
  if (!tighten && state.safe_turns_left != 0) return decide(Reason::AUTOTUNE_SAFE_MODE);
  if (tighten != state.tightened && state.since_change <= settings.settle_turns)
    return decide(Reason::AUTOTUNE_COOLDOWN);
  state.tightness = tighten ? before + 1 : before - 1;
  state.tightened = tighten;
  state.since_change = 0;
  const bool simulated = settings.autotune_mode == Settings::simulate;
  if (tighten)
    decide(simulated ? Reason::AUTOTUNE_TIGHTEN_SIMULATED : Reason::AUTOTUNE_TIGHTEN);
  else
    decide(simulated ? Reason::AUTOTUNE_RELAX_SIMULATED : Reason::AUTOTUNE_RELAX);
}

}  // namespace flyball::governor
