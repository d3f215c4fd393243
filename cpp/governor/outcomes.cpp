// The outcome of a change: compares pairs of answers before and after it; without enough pairs there is no verdict.
#include "governor/policy.h"
#include "journal/event_data.h"

namespace flyball::governor::policy {

using journal::EventData;

namespace {

constexpr u64 same_speed_percent = 10;
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

// Compares only answers at equal speed of the machine, which other programs change. Memory grows with the text.
bool comparable(Metric metric, const TurnSeen& a, const TurnSeen& b) {
  if (100 * distance(a.step_cycles, b.step_cycles) > same_speed_percent * min(a.step_cycles, b.step_cycles))
    return false;
  return metric != Metric::resident_memory || 4 * distance(a.depth, b.depth) <= max(max(a.depth, b.depth), 64u);
}

bool lower(u64 value, u64 than, u32 percent) { return than != 0 && 100 * value <= than * (100 - percent); }

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

Comparison compare(const ActionInfo& action, const Answers& before, const Answers& after) {
  Comparison c;
  bool used[max_outcome_turns] = {};
  for (u32 i = 0; i < after.n; ++i) {
    const TurnSeen& now = after.seen[i];
    u32 nearest = before.n;
    for (u32 j = 0; j < before.n; ++j) {
      if (used[j] || !comparable(action.metric, now, before.seen[j])) continue;
      if (nearest == before.n || distance(before.seen[j].step_cycles, now.step_cycles) <
                                     distance(before.seen[nearest].step_cycles, now.step_cycles))
        nearest = j;
    }
    if (nearest == before.n) continue;
    used[nearest] = true;
    ++c.pairs;
    const u64 was = value(action.metric, before.seen[nearest]), is = value(action.metric, now);
    c.better += lower(is, was, action.percent);
    c.worse += lower(was, is, action.percent);
  }
  const u32 n = c.better + c.worse;
  if (beyond_chance(c.better, n)) c.verdict = Comparison::improved;
  if (beyond_chance(c.worse, n)) c.verdict = Comparison::regressed;
  return c;
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
  if (seen.step_cycles != 0) state.after.add(seen, window);
  if (state.after.n < window && state.trial_turns < longest_trial * window) return false;

  const ActionInfo& action = info(state.trial);
  const Comparison c = compare(action, state.before, state.after);
  History::Outcomes& outcomes = state.history.outcomes[u64(state.trial)];
  for (History::Outcomes& each : state.history.outcomes) each.history = each.history * 7 / 8;
  const bool regressed = c.verdict == Comparison::regressed, improved = c.verdict == Comparison::improved;
  outcomes.history = min(max(outcomes.history + (improved ? 100 : regressed ? -200 : 0), -most_history), most_history);
  ++(improved ? outcomes.improved : regressed ? outcomes.regressed : outcomes.inconclusive);
  EventData<> data;
  data.json.field("action", action.name).field("metric", metric_name(action.metric));
  data.json.field("expected_percent", action.percent).field("pairs", c.pairs).field("better", c.better);
  data.json.field("worse", c.worse).field("history", outcomes.history);
  record(improved    ? Reason::OUTCOME_IMPROVED
         : regressed ? Reason::OUTCOME_REGRESSED
                     : Reason::OUTCOME_INCONCLUSIVE,
         data.done());
  state.trial = Action::stay;
  state.before = state.after;  // answers under the current configuration
  return regressed;
}

}  // namespace flyball::governor::policy
