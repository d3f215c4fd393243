// The outcome of a change: compares pairs of answers before and after it; without enough pairs there is no verdict.
#include "governor/policy.h"
#include "journal/event_data.h"

namespace flyball::governor::policy {

using journal::EventData;

namespace {

constexpr u64 same_speed_percent = 10;
constexpr u32 much_percent = 33;  // less; or half as much again: harm, whatever the action's metric
constexpr u32 longest_trial = 4;  // times outcome_turns; then too few answers could be compared
constexpr i64 most_history = 400;

u64 value(Metric metric, const TurnSeen& seen) {
  switch (metric) {
    case Metric::none: break;
    case Metric::cycles_per_token: return seen.cycles_per_token;
    case Metric::resident_memory: return seen.resident_kb;
    case Metric::guard_stops: return seen.stopped;
    case Metric::cut_answers: return seen.cut;
  }
  return 0;
}

u64 distance(u64 a, u64 b) { return a > b ? a - b : b - a; }

bool same_speed(const TurnSeen& a, const TurnSeen& b) {
  return 100 * distance(a.step_cycles, b.step_cycles) <= same_speed_percent * min(a.step_cycles, b.step_cycles);
}

bool similar_depth(const TurnSeen& a, const TurnSeen& b) {
  return 4 * distance(a.depth, b.depth) <= max(max(a.depth, b.depth), 64u);
}

// By the guard, or by a limit before it said anything. Its speed and memory may be unknown; that it ended is known.
bool ended_early(const TurnSeen& seen) { return seen.stopped || (seen.cut && seen.cycles_per_token == 0); }

// Whether the answer shows anything about the metric.
bool shows(Metric metric, const TurnSeen& seen) {
  if (seen.interrupted) return false;
  if (ended_early(seen)) return true;
  if (seen.cycles_per_token == 0) return false;
  if (metric == Metric::cycles_per_token) return seen.step_cycles != 0;
  return metric != Metric::resident_memory || seen.resident_kb != 0;
}

bool lower(u64 value, u64 than, u32 percent) { return than != 0 && 100 * value <= than * (100 - percent); }

enum class Difference : u8 {
  unknown,  // not comparable
  none,
  both_bad,  // neither is good: the later one could not be worse
  better,
  perhaps_better,  // or the machine was quicker, or it is not what the action is for
  worse,
};

Difference by_value(const ActionInfo& action, const TurnSeen& was, const TurnSeen& is) {
  const u64 before = value(action.metric, was), after = value(action.metric, is);
  if (lower(after, before, action.percent)) return Difference::better;
  return lower(before, after, action.percent) ? Difference::worse : Difference::none;
}

// Rules 1, of version 0.1 and its journals: equal speed of the machine for every metric.
Difference difference_at_equal_speed(const ActionInfo& action, const TurnSeen& was, const TurnSeen& is) {
  if (!same_speed(was, is) || (action.metric == Metric::resident_memory && !similar_depth(was, is)))
    return Difference::unknown;
  return by_value(action, was, is);
}

// Rules 2. An answer that ended early outweighs the metric, whatever that is, unless a slower machine may be why; so do
// tokens that cost much more. Only cycles depend on the machine's speed otherwise, which other programs change; memory
// grows with the text, and so do cycles.
Difference difference(const ActionInfo& action, const TurnSeen& was, const TurnSeen& is) {
  if (!shows(action.metric, was) || !shows(action.metric, is)) return Difference::unknown;
  const bool known = was.step_cycles != 0 && is.step_cycles != 0, fair = !known || same_speed(was, is);
  if (ended_early(was) && ended_early(is)) return Difference::both_bad;
  if (ended_early(is)) return fair || is.step_cycles < was.step_cycles ? Difference::worse : Difference::unknown;
  if (ended_early(was)) {
    if (!known) return Difference::perhaps_better;
    return fair || was.step_cycles < is.step_cycles ? Difference::better : Difference::unknown;
  }
  if (known && fair && similar_depth(was, is) && action.metric != Metric::cycles_per_token) {
    if (lower(was.cycles_per_token, is.cycles_per_token, much_percent)) return Difference::worse;
    if (lower(is.cycles_per_token, was.cycles_per_token, much_percent)) return Difference::perhaps_better;
  }
  switch (action.metric) {
    case Metric::none: return Difference::unknown;
    case Metric::guard_stops: return Difference::none;
    case Metric::cut_answers: return was.cut && is.cut ? Difference::both_bad : by_value(action, was, is);
    case Metric::cycles_per_token: return fair ? by_value(action, was, is) : Difference::unknown;
    case Metric::resident_memory: return similar_depth(was, is) ? by_value(action, was, is) : Difference::unknown;
  }
  return Difference::unknown;
}

// Whether heads of n fair coins are at least k less often than once in twenty times.
bool beyond_chance(u32 k, u32 n) {
  u64 ways = 1, tail = 0;  // of exactly i of n
  for (u32 i = 0; i <= n; ++i) {
    if (i >= k) tail += ways;
    ways = ways * (n - i) / (i + 1);
  }
  return 20 * tail <= u64(1) << n;
}

}  // namespace

Str metric_name(Metric metric) {
  switch (metric) {
    case Metric::none: return "none";
    case Metric::cycles_per_token: return "cycles_per_token";
    case Metric::resident_memory: return "resident_memory";
    case Metric::guard_stops: return "guard_stops";
    case Metric::cut_answers: return "cut_answers";
  }
  return "unknown";
}

void Answers::add(const TurnSeen& turn, u32 most) {
  if (n >= most) {
    for (u32 i = 1; i < n; ++i) seen[i - 1] = seen[i];
    n = most - 1;
  }
  seen[n++] = turn;
}

Comparison compare(const ActionInfo& action, const Answers& before, const Answers& after, u32 rules) {
  Comparison c;
  const auto differ = rules == 1 ? difference_at_equal_speed : difference;
  const bool by_depth = rules != 1 && action.metric == Metric::resident_memory;
  const auto apart = [&](const TurnSeen& a, const TurnSeen& b) {
    return by_depth ? distance(a.depth, b.depth) : distance(a.step_cycles, b.step_cycles);
  };
  u32 perhaps_better = 0, both_bad = 0;
  bool used[max_outcome_turns] = {};
  for (u32 i = 0; i < after.n; ++i) {
    const TurnSeen& now = after.seen[i];
    u32 nearest = before.n;
    for (u32 j = 0; j < before.n; ++j) {
      if (used[j] || differ(action, before.seen[j], now) == Difference::unknown) continue;
      if (nearest == before.n || apart(before.seen[j], now) < apart(before.seen[nearest], now)) nearest = j;
    }
    if (nearest == before.n) continue;
    used[nearest] = true;
    const Difference found = differ(action, before.seen[nearest], now);
    ++c.pairs;
    c.better += found == Difference::better;
    c.worse += found == Difference::worse;
    perhaps_better += found == Difference::perhaps_better;
    both_bad += found == Difference::both_bad;
  }
  c.could_worsen = c.pairs - both_bad;
  if (beyond_chance(c.better, c.better + c.worse))
    c.verdict = Comparison::improved;
  else if (beyond_chance(c.worse, c.better + c.worse + perhaps_better))
    c.verdict = Comparison::regressed;
  else if (rules != 1 && beyond_chance(c.could_worsen - c.worse, c.could_worsen))
    c.verdict = Comparison::unchanged;
  return c;
}

void see_untried(const Settings& settings, State& state, const TurnSeen& seen) {
  if (state.outcome_rules == 1 ? seen.step_cycles != 0 : shows(Metric::none, seen))
    state.before.add(seen, u32(settings.outcome_turns));
}

void begin_trial(State& state, Action action, const TunableLimits& from) {
  state.after = {};
  state.trial_turns = 0;
  state.trial_from = from;
  state.trial = info(action).metric == Metric::none ? Action::stay : action;
  if (state.trial == Action::stay) state.before = {};
}

bool continue_trial(const Settings& settings, State& state, const TurnSeen& seen, Record record) {
  ++state.trial_turns;
  const u32 window = u32(settings.outcome_turns);
  if (state.outcome_rules == 1 ? seen.step_cycles != 0 : shows(info(state.trial).metric, seen))
    state.after.add(seen, window);
  if (state.after.n < window && state.trial_turns < longest_trial * window) return false;

  const ActionInfo& action = info(state.trial);
  const Comparison c = compare(action, state.before, state.after, state.outcome_rules);
  History::Outcomes& outcomes = state.history.outcomes[u64(state.trial)];
  for (History::Outcomes& each : state.history.outcomes) each.history = each.history * 7 / 8;
  const bool regressed = c.verdict == Comparison::regressed, improved = c.verdict == Comparison::improved;
  const bool unchanged = c.verdict == Comparison::unchanged;
  outcomes.history = min(max(outcomes.history + (improved ? 100 : regressed ? -200 : 0), -most_history), most_history);
  ++(improved    ? outcomes.improved
     : regressed ? outcomes.regressed
     : unchanged ? outcomes.unchanged
                 : outcomes.inconclusive);
  EventData<> data;
  data.json.field("action", action.name).field("metric", metric_name(action.metric));
  data.json.field("expected_percent", action.percent).field("pairs", c.pairs).field("better", c.better);
  data.json.field("worse", c.worse).field("history", outcomes.history);
  if (state.outcome_rules != 1) data.json.field("could_worsen", c.could_worsen);
  record(improved    ? Reason::OUTCOME_IMPROVED
         : regressed ? Reason::OUTCOME_REGRESSED
         : unchanged ? Reason::OUTCOME_UNCHANGED
                     : Reason::OUTCOME_INCONCLUSIVE,
         data.done());
  state.trial = Action::stay;
  state.before = state.after;  // answers under the current configuration
  return regressed;
}

}  // namespace flyball::governor::policy
