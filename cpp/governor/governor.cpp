#include "governor/governor.h"

#include "base/types.h"
#include "journal/event_data.h"

namespace flyball::governor {

using journal::EventData;

State begin(const Settings& settings, const Baseline& known, u32 decode_threads) {
  State state;
  state.threads.most = state.threads.now = max(decode_threads, 1u);
  state.baseline = known;
  if (known.rest_cycles != 0) state.n_calibrated = settings.calibration_turns;
  return state;
}

namespace {

bool is_safe(const Settings& settings, const State& state) {
  return settings.guard_mode == Settings::on && state.safe_turns_left != 0;
}

}  // namespace

Knobs effective(const Settings& settings, const State& state, Knobs asked) {
  if (settings.autotune_mode == Settings::on) asked = tightened(settings, asked, state.tightness);
  return is_safe(settings, state) ? safe(settings, asked) : asked;
}

Knobs begin_turn(const Settings& settings, State& state, const TurnBegun& seen, Record record) {
  state.turn = {};
  state.turn.asked = seen.asked;
  state.turn.depth = seen.prompt_tokens;
  if (seen.policy_change.any()) {
    EventData<> data;
    write_members(data.json, seen.policy_change);
    record(Reason::POLICY_IN_FORCE, data.done());
  }
  const Knobs given = effective(settings, state, seen.asked);
  if (given == seen.asked) return given;
  EventData<> data;
  write_knobs(data.json.key("asked"), seen.asked);
  write_knobs(data.json.key("given"), given);
  data.json.field("tightness", state.tightness).field("safe_turns_left", state.safe_turns_left);
  record(is_safe(settings, state) ? Reason::GUARD_SAFE_CAPS : Reason::AUTOTUNE_CAPS, data.done());
  return given;
}

Afterwards end_turn(const Settings& settings, State& state, Record record) {
  Afterwards afterwards;
  record_drafts(state, record);
  if (!settings.any()) return afterwards;
  afterwards.calibrated = calibrate(settings, state, record);
  autotune(settings, state, record);
  const auto turns_left = [&](Reason reason) {
    EventData<> data;
    data.json.field("safe_turns_left", state.safe_turns_left);
    record(reason, data.done());
  };
  if (state.turn.stopped) {
    state.safe_turns_left = settings.safe_turns;
    if (state.safe_turns_left != 0) turns_left(Reason::GUARD_SAFE_ENTERED);
    afterwards.reset_cache = settings.reset_cache != 0;
    if (afterwards.reset_cache) record(Reason::GUARD_CACHE_RESET, "{}");
  } else if (state.safe_turns_left != 0) {
    if (--state.safe_turns_left == 0) turns_left(Reason::GUARD_SAFE_EXITED);
  }
  return afterwards;
}

}  // namespace flyball::governor
