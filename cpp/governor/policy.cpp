#include "governor/policy.h"

#include "base/math.h"
#include "journal/event_data.h"

namespace flyball::governor::policy {

using journal::EventData;

namespace {

#define FLYBALL_ACTION(name, metric, percent) {#name, Metric::metric, percent},
constexpr ActionInfo infos[] = {FLYBALL_POLICY_ACTIONS(FLYBALL_ACTION)};
#undef FLYBALL_ACTION
static_assert(sizeof infos / sizeof infos[0] == n_actions);

bool low_memory(const Settings& s, u64 available_mb) { return available_mb < s.headroom_mb; }

// The configuration after an action; unchanged where the setting is at its limit.
TunableLimits after(const Settings& s, const State& state, Action action) {
  const TunableLimits limit = most(s, state);
  TunableLimits c = state.now;
  const auto halved = [](u32 now, u64 floor) { return max(now / 2, min(now, u32(floor))); };
  const auto doubled = [](u32 now, u32 most) { return now > most / 2 ? max(now, most) : 2 * now; };
  switch (action) {
    case Action::reduce_context: c.context = halved(c.context, s.floor_context); break;
    case Action::increase_context: c.context = doubled(c.context, limit.context); break;
    case Action::reduce_answer: c.max_tokens = halved(c.max_tokens, s.floor_answer); break;
    case Action::increase_answer: c.max_tokens = doubled(c.max_tokens, limit.max_tokens); break;
    case Action::reduce_cache: c.cache_bits = halved(c.cache_bits, state.possible.least_cache_bits); break;
    case Action::increase_cache: c.cache_bits = doubled(c.cache_bits, limit.cache_bits); break;
    case Action::stay:
    case Action::other_model:
    case Action::restart: break;
  }
  return c;
}

void record_change(Record record, Reason reason, const TunableLimits& from, const TunableLimits& to) {
  EventData<> data;
  write_limits(data.json.key("from"), from);
  write_limits(data.json.key("to"), to);
  record(reason, data.done());
}

// Plans a change. A checkpoint precedes the first of a session.
PlannedChange change(State& state, const TunableLimits& to, Action action, Record record) {
  PlannedChange planned{PlannedChange::apply, !state.has_checkpoint, to};
  if (planned.checkpoint) {
    state.has_checkpoint = true;
    state.checkpoint = state.now;
    EventData<> data;
    write_limits(data.json.key("configuration"), state.checkpoint);
    record(Reason::PLAN_CHECKPOINT, data.done());
  }
  state.applying = action;
  state.history.starts.stable = false;
  state.history.starts.unproven = to != state.base;
  state.calm_since = 0;
  return state.pending = planned;
}

void change_mode(State& state, Mode mode, Reason reason, Record record) {
  EventData<> data;
  data.json.field("from", mode_name(state.history.mode)).field("to", mode_name(mode));
  data.json.field("troubled_turns", state.bad).field("calm_turns", state.calm);
  state.history.mode = mode;
  state.bad = state.calm = 0;
  record(reason, data.done());
}

// Trouble adds up until enough calm answers in a row, so that a mode ends as slowly as it begins. Returns whether the
// answer was calm.
bool judge_mode(const Settings& s, State& state, const TurnSeen& seen, Record record) {
  if (seen.step_cycles != 0 && (state.usual_step_cycles == 0 || seen.step_cycles < state.usual_step_cycles))
    state.usual_step_cycles = seen.step_cycles;
  const bool slow = speed_percent(state, seen) > s.high_percent;
  const bool bad = seen.stopped || slow || low_memory(s, seen.available_mb);
  const Mode mode = state.history.mode;
  if (bad) {
    state.calm = 0;
    if (++state.bad >= s.bad_turns && mode != Mode::safe)
      change_mode(state, Mode(u8(mode) + 1), Reason::POLICY_WORSE, record);
  } else if (++state.calm >= s.calm_turns) {
    state.bad = 0;
    if (mode != Mode::normal) change_mode(state, Mode(u8(mode) - 1), Reason::POLICY_BETTER, record);
  }
  return !bad;
}

// A start is stable after as many calm answers as improve the mode; that proves the changes made before it.
void judge_start(const Settings& s, State& state, bool calm, Record record) {
  History::Starts& starts = state.history.starts;
  state.calm_since = calm ? state.calm_since + 1 : 0;
  if (!starts.running || starts.stable || state.calm_since < s.calm_turns) return;
  starts.stable = true;
  starts.unproven = false;
  starts.failed = 0;
  EventData<> data;
  data.json.field("start", starts.n).field("calm_turns", state.calm_since);
  record(Reason::POLICY_START_STABLE, data.done());
}

// One setting at a time returns to the requested value, after calm in the normal mode.
PlannedChange give_back(const Settings& s, State& state, const TurnSeen& seen, Record record) {
  if (s.auto_apply == Settings::nothing || state.hard_stopped || state.trial != Action::stay) return {};
  if (state.history.mode != Mode::normal || state.calm < s.calm_turns || low_memory(s, seen.available_mb)) return {};
  TunableLimits to = state.now;
  const TunableLimits& base = state.base;
  if (to.max_tokens < base.max_tokens)
    to.max_tokens = base.max_tokens;
  else if (to.cache_bits < base.cache_bits)
    to.cache_bits = base.cache_bits;
  else if (to.context < base.context)
    to.context = base.context;
  else
    return {};
  state.calm = 0;
  record_change(record, Reason::APPLY_REVERTED, state.now, to);
  return change(state, to, Action::stay, record);
}

// The reason that blocks the action, if there is one.
bool blocked(const Settings& s, const State& state, const Consulted& seen, Action action, Reason* why) {
  const auto by = [&](bool holds, Reason reason) {
    if (holds) *why = reason;
    return holds;
  };
  const bool low = low_memory(s, seen.available_mb);
  if (by(state.hard_stopped, Reason::BLOCK_HARD_STOP) || by(state.steps >= s.plan_steps, Reason::BLOCK_PLAN_DONE) ||
      by(state.trial != Action::stay, Reason::BLOCK_TRIAL_PENDING) ||
      by(after(s, state, action) == state.now, Reason::BLOCK_AT_LIMIT))
    return true;
  if (reduces(action))
    return by(state.history.mode == Mode::normal && state.bad == 0 && !low, Reason::BLOCK_NO_CAUSE) ||
           by(s.auto_apply == Settings::nothing, Reason::APPLY_SIMULATED);
  // An increase takes at most as much memory again as the cache has now.
  const bool needs_memory = action != Action::increase_answer;
  return by(state.history.mode != Mode::normal, Reason::BLOCK_MODE) ||
         by(low_memory(s, seen.available_mb - (needs_memory ? min(seen.available_mb, seen.cache_mb) : 0)),
            Reason::BLOCK_MEMORY) ||
         by(s.auto_apply == Settings::reductions, Reason::BLOCK_CONSERVATIVE) ||
         by(s.auto_apply == Settings::nothing, Reason::APPLY_SIMULATED);
}

bool confident(const Settings& s, const State& state, const Consulted& seen, const Choice& choice, Record record) {
  const Confidence c = confidence(s, state, seen, choice);
  EventData<> data;
  data.json.field("action", info(choice.action).name).field("score", c.score()).field("threshold", s.threshold);
  data.json.field("base", c.base).field("mode", c.mode).field("memory", c.memory).field("context", c.context);
  data.json.field("margin", c.margin).field("outcomes", c.outcomes);
  const bool passed = c.score() >= s.threshold, told_only = s.gate == Settings::log_only;
  record(passed      ? Reason::CONFIDENCE_PASSED
         : told_only ? Reason::CONFIDENCE_LOG_ONLY
                     : Reason::CONFIDENCE_TOO_LOW,
         data.done());
  return passed || told_only;
}

}  // namespace

Span<const ActionInfo> actions() { return infos; }

Result<Action> parse_action(Str name) {
  for (u32 i = 0; i < n_actions; ++i) {
    if (infos[i].name == name) return Action(i);
  }
  ErrorBuilder error = fail(Code::invalid_argument, "action");
  error << "is '" << name.substr(0, min<u64>(name.size, 40)) << "', must be one of:";
  for (const ActionInfo& action : infos) error << " " << action.name;
  return error;
}

bool acted(Reason reason) {
  constexpr Str events[] = {"mode", "start", "suggest", "apply", "revert", "restore", "hard_stop", "outcome"};
  for (const Str event : events) {
    if (journal::info(reason).event == event) return true;
  }
  return false;
}

u64 speed_percent(const State& state, const TurnSeen& seen) {
  return 100 * seen.step_cycles / max(state.usual_step_cycles, u64(1));
}

Str mode_name(Mode mode) { return mode == Mode::normal ? "normal" : mode == Mode::degraded ? "degraded" : "safe"; }

u64 Confidence::score() const {
  const i64 sum = base + mode + memory + context + margin + outcomes;
  return u64(min(max(sum, i64(0)), i64(100)));
}

Choice choose(const Consulted& seen) {
  Choice choice;
  u32 best = 0;
  for (u32 i = 1; i < n_actions; ++i) {
    if (seen.scores[i] > seen.scores[best]) best = i;
  }
  f64 sum = 0, next = 0;
  for (u32 i = 0; i < n_actions; ++i) {
    const f64 likelihood = exp64(f64(seen.scores[i]) - f64(seen.scores[best]));
    sum += likelihood;
    if (i != best) next = max(next, likelihood);
  }
  choice.action = Action(best);
  choice.percent = u64(100 / sum);
  choice.margin_percent = u64(100 * (1 - next) / sum);
  return choice;
}

Confidence confidence(const Settings& s, const State& state, const Consulted& seen, const Choice& choice) {
  Confidence c;
  const Mode mode = state.history.mode;
  const Action action = choice.action;
  const bool low = low_memory(s, seen.available_mb);
  // Trouble favors reductions, calm favors increases.
  constexpr i64 for_less[] = {0, 10, 20}, for_more[] = {20, -10, -20};
  c.mode = only_suggested(action) ? 0 : reduces(action) ? for_less[u64(mode)] : for_more[u64(mode)];
  if (action == Action::increase_context || action == Action::increase_cache)
    c.memory = low_memory(s, seen.available_mb - min(seen.available_mb, 2 * seen.cache_mb)) ? -20 : 10;
  else if (action == Action::reduce_context || action == Action::reduce_cache)
    c.memory = low ? 15 : 0;
  // A conversation that fills its context needs more of it, and suffers with less.
  const u64 used_percent = 100 * seen.depth / max(state.now.context, 1u);
  if (action == Action::increase_context) c.context = used_percent >= 75 ? 10 : used_percent < 25 ? -10 : 0;
  if (action == Action::reduce_context) c.context = used_percent >= 50 ? -15 : used_percent < 25 ? 5 : 0;
  // Two equally likely actions are no choice.
  c.margin = min(i64(choice.margin_percent), i64(40)) - 20;
  c.outcomes = state.history.outcomes[u64(action)].history / 20;
  return c;
}

TunableLimits most(const Settings& s, const State& state) {
  TunableLimits c = state.base;
  c.context = max(c.context, min(state.possible.most_context, u32(s.most_context)));
  c.max_tokens = max(c.max_tokens, u32(s.most_answer));
  return c;
}

bool in_range(const Settings& s, const State& state, const TunableLimits& c) {
  const TunableLimits limit = most(s, state);
  const auto within = [](u32 value, u64 floor, u32 base, u32 most) {
    return value >= min(u32(floor), base) && value <= most;
  };
  return within(c.context, s.floor_context, state.base.context, limit.context) &&
         within(c.max_tokens, s.floor_answer, state.base.max_tokens, limit.max_tokens) &&
         within(c.cache_bits, state.possible.least_cache_bits, state.base.cache_bits, limit.cache_bits);
}

State begin(const TunableLimits& base, const Possible& possible, const TunableLimits& now, const History& history) {
  State state;
  state.base = base;
  state.possible = possible;
  state.now = now;
  state.history = history;
  return state;
}

PlannedChange observe(const Settings& settings, State& state, const TurnSeen& seen, Record record) {
  judge_start(settings, state, judge_mode(settings, state, seen, record), record);
  if (state.trial != Action::stay) {
    if (!continue_trial(settings, state, seen, record) || settings.auto_apply == Settings::nothing) return {};
    record_change(record, Reason::APPLY_UNDONE, state.now, state.trial_from);
    return change(state, state.trial_from, Action::stay, record);
  }
  see_untried(settings, state, seen);
  return give_back(settings, state, seen, record);
}

PlannedChange observe(const Settings& settings, State& state, const Consulted& seen, Record record) {
  const Choice choice = choose(seen);
  const auto decide = [&](Reason reason) {
    EventData<> data;
    data.json.field("action", info(choice.action).name).field("percent", choice.percent);
    data.json.field("margin_percent", choice.margin_percent).field("mode", mode_name(state.history.mode));
    record(reason, data.done());
  };
  if (choice.action == Action::stay) return decide(Reason::POLICY_STAY), PlannedChange();
  decide(Reason::POLICY_CHOICE);
  if (!confident(settings, state, seen, choice, record)) return {};
  if (only_suggested(choice.action)) return decide(Reason::POLICY_SUGGESTED), PlannedChange();
  if (Reason why; blocked(settings, state, seen, choice.action, &why)) return decide(why), PlannedChange();
  const TunableLimits to = after(settings, state, choice.action);
  ++state.steps;
  const PlannedChange planned = change(state, to, choice.action, record);
  EventData<> data;
  data.json.field("action", info(choice.action).name).field("step", state.steps).field("of", settings.plan_steps);
  write_limits(data.json.key("from"), state.now);
  write_limits(data.json.key("to"), to);
  record(Reason::PLAN_STEP, data.done());
  return planned;
}

PlannedChange observe(const Settings& settings, State& state, const Applied& seen, Record record) {
  const PlannedChange planned = state.pending;
  if (planned.what != PlannedChange::apply) return {};
  state.pending = {};
  const bool verified = seen.same_bytes && seen.found == planned.limits && in_range(settings, state, seen.found);
  EventData<> data;
  write_limits(data.json.key("wanted"), planned.limits);
  write_limits(data.json.key("found"), seen.found);
  data.json.field("same_bytes", seen.same_bytes);
  record(verified ? Reason::APPLY_VERIFIED : Reason::APPLY_NOT_VERIFIED, data.done());
  if (verified) {
    const TunableLimits from = state.now;
    state.now = planned.limits;
    begin_trial(state, state.applying, from);
    return {};
  }
  state.hard_stopped = true;
  record(Reason::PLAN_HARD_STOP, "{}");
  return state.pending = {PlannedChange::restore, false, state.checkpoint};
}

PlannedChange observe(const Settings&, State& state, const Restored& seen, Record record) {
  if (state.pending.what != PlannedChange::restore) return {};
  state.pending = {};
  state.now = state.checkpoint;
  begin_trial(state, Action::stay, state.now);
  EventData<> data;
  write_limits(data.json.key("configuration"), state.checkpoint);
  record(seen.done ? Reason::PLAN_RESTORED : Reason::PLAN_NOT_RESTORED, data.done());
  return {};
}

// A start after a failed one risks less. An unproven change rolls back to the checkpoint, or, if that is what failed,
// to the requested values.
PlannedChange observe(const Settings& s, State& state, const StartSeen& seen, Record record) {
  History::Starts& starts = state.history.starts;
  const bool failed = starts.running && !starts.stable;
  ++starts.n;
  starts.running = true;
  starts.stable = false;
  if (!failed) return {};
  ++starts.failed;
  EventData<> data;
  data.json.field("start", starts.n).field("failed", starts.failed).field("unproven", starts.unproven);
  record(Reason::POLICY_START_FAILED, data.done());
  if (state.history.mode != Mode::safe)
    change_mode(state, Mode(u8(state.history.mode) + 1), Reason::POLICY_WORSE, record);
  if (!starts.unproven || s.auto_apply == Settings::nothing) return {};
  const bool to_checkpoint = in_range(s, state, seen.checkpoint) && seen.checkpoint != state.now;
  const TunableLimits to = to_checkpoint ? seen.checkpoint : state.base;
  if (to == state.now) return {};
  record_change(record, Reason::PLAN_ROLLED_BACK, state.now, to);
  state.has_checkpoint = false;
  const TunableLimits from = state.now;
  state.now = to;  // becomes the checkpoint
  const PlannedChange planned = change(state, to, Action::stay, record);
  state.now = from;
  return planned;
}

}  // namespace flyball::governor::policy
