// The policy: permanent changes between answers. Modes follow evidence, a model chooses one action at a time, a plan
// has few steps and a checkpoint, and each change has an outcome. Like the governor of a session: (settings, state,
// observation) -> (state, what to do, decisions recorded), without clock, file or model.
#pragma once

#include "base/span.h"
#include "governor/governor.h"

namespace flyball::governor::policy {

using governor::TunableLimits;

enum class Mode : u8 { normal, degraded, safe };
Str mode_name(Mode mode);

enum class Metric : u8 {
  none,
  cycles_per_token,
  resident_memory,
  guard_stops,  // answers that the guard ended
  cut_answers,  // answers that ended at max_tokens or a full context
};
Str metric_name(Metric metric);

// ACTION(name, the metric that it should lower, by at least so many percent; 100 for metrics that are yes or no)
#define FLYBALL_POLICY_ACTIONS(ACTION)        \
  ACTION(stay, none, 0)                       \
  ACTION(reduce_context, cycles_per_token, 5) \
  ACTION(increase_context, cut_answers, 100)  \
  ACTION(reduce_answer, guard_stops, 100)     \
  ACTION(increase_answer, cut_answers, 100)   \
  ACTION(reduce_cache, resident_memory, 2)    \
  ACTION(increase_cache, cycles_per_token, 2) \
  ACTION(other_model, none, 0)                \
  ACTION(restart, none, 0)

enum class Action : u8 {
#define FLYBALL_ACTION(name, metric, percent) name,
  FLYBALL_POLICY_ACTIONS(FLYBALL_ACTION)
#undef FLYBALL_ACTION
};
constexpr u32 n_actions = 9;

struct ActionInfo {
  Str name;
  Metric metric;
  u32 percent;
};
Span<const ActionInfo> actions();  // in the order of Action
inline const ActionInfo& info(Action action) { return actions()[u64(action)]; }
Result<Action> parse_action(Str name);
inline bool only_suggested(Action action) { return action == Action::other_model || action == Action::restart; }
inline bool reduces(Action a) {
  return a == Action::reduce_context || a == Action::reduce_answer || a == Action::reduce_cache;
}

// The measurements of an answer.
struct TurnSeen {
  u64 step_cycles = 0;       // of a plain step without attention: the machine's speed; 0: not known
  u64 cycles_per_token = 0;  // of decoding; 0: nothing was decoded
  u64 resident_kb = 0;       // memory of the process, or an estimate
  u64 available_mb = 0;
  u32 depth = 0;             // tokens in the cache at its end
  bool stopped = false;      // by the guard
  bool cut = false;          // by max_tokens or a full context
  bool interrupted = false;  // by the caller: how it would have ended is not known
  friend bool operator==(const TurnSeen&, const TurnSeen&) = default;
};

// A model's scores of the actions, or a mock's.
struct Consulted {
  bool mock = false;
  f32 scores[n_actions] = {};  // log-probabilities, up to a constant
  u64 available_mb = 0;
  u64 cache_mb = 0;  // memory of the session's cache
  u64 depth = 0;     // tokens in it
  Str situation;     // of the prompt, for repeating it; decides nothing here
};

// The configuration's file, read again after a change. Zeros: not readable.
struct Applied {
  TunableLimits found;
  bool same_bytes = false;  // as written, by digest
};

struct Restored {
  bool done = false;
};

// The start of a program whose policy is in a file, and the checkpoint beside that file. Zeros: none.
struct StartSeen {
  TunableLimits checkpoint;
};

void write(JsonWriter& json, const TurnSeen& seen);
void write(JsonWriter& json, const Consulted& seen);
void write(JsonWriter& json, const Applied& seen);
void write(JsonWriter& json, const Restored& seen);
void write(JsonWriter& json, const StartSeen& seen);
Status read(const Json& object, TurnSeen* out);
Status read(const Json& object, Consulted* out);
Status read(const Json& object, Applied* out);
Status read(const Json& object, Restored* out);
Status read(const Json& object, StartSeen* out);

constexpr u32 max_outcome_turns = 16;
constexpr u32 outcome_rules = 2;  // the newest; a journal says which ones decided, and an older one means 1

// What survives the process.
struct History {
  Mode mode = Mode::normal;
  struct Outcomes {
    i64 history = 0;  // decayed: improved +100, regressed -200
    u64 improved = 0;
    u64 regressed = 0;
    u64 inconclusive = 0;
    u64 unchanged = 0;
    friend bool operator==(const Outcomes&, const Outcomes&) = default;
  };
  Outcomes outcomes[n_actions];
  struct Starts {
    u64 n = 0;
    u64 failed = 0;         // starts in a row that crashed before they were stable
    bool running = false;   // no orderly end yet
    bool stable = false;    // enough calm answers since the start, and since the last change
    bool unproven = false;  // no start has been stable since the last change
    friend bool operator==(const Starts&, const Starts&) = default;
  };
  Starts starts;
  friend bool operator==(const History&, const History&) = default;
};
void write(JsonWriter& json, const History& history);
Status read(const Json& object, History* out);

// What to do with the configuration.
struct PlannedChange {
  enum What : u8 { nothing, apply, restore } what = nothing;
  bool checkpoint = false;  // write one first
  TunableLimits limits;
};

// The model's limits.
struct Possible {
  u32 most_context = 0;  // its trained context
  u32 least_cache_bits = 8;
};

struct Answers {
  u32 n = 0;
  TurnSeen seen[max_outcome_turns];
  void add(const TurnSeen& turn, u32 most);  // the newest `most` stay
};

struct State {
  TunableLimits base;  // requested: settings return to it when a cause is gone
  Possible possible;
  TunableLimits now;
  History history;
  u32 outcome_rules = policy::outcome_rules;
  u64 usual_step_cycles = 0;  // the least seen; 0: none yet
  u64 bad = 0;                // answers that showed trouble, since the last change of mode or long calm
  u64 calm = 0;               // answers in a row that showed none
  u64 calm_since = 0;         // calm answers in a row since the start and the last change

  // The plan of this session.
  u64 steps = 0;
  bool has_checkpoint = false;
  bool hard_stopped = false;
  Action applying = Action::stay;  // waits for its verification; stay: an undo
  PlannedChange pending;
  TunableLimits checkpoint;

  Answers before;               // the change on trial, or the newest
  Action trial = Action::stay;  // stay: none
  u32 trial_turns = 0;          // answers since, usable or not
  TunableLimits trial_from;
  Answers after;
};

TunableLimits most(const Settings& settings, const State& state);  // how far an increase may go
bool in_range(const Settings& settings, const State& state, const TunableLimits& limits);
State begin(const TunableLimits& base, const Possible& possible, const TunableLimits& now, const History& history);
PlannedChange observe(const Settings& settings, State& state, const TurnSeen& seen, Record record);
PlannedChange observe(const Settings& settings, State& state, const Consulted& seen, Record record);
PlannedChange observe(const Settings& settings, State& state, const Applied& seen, Record record);
PlannedChange observe(const Settings& settings, State& state, const Restored& seen, Record record);
PlannedChange observe(const Settings& settings, State& state, const StartSeen& seen, Record record);

// To and from the members of SESSION_POLICY_OPENED that a replay needs.
void write_opening(JsonWriter& json, const Settings& settings, const State& state);
Status read_opening(const Json& data, State* out);  // but for the settings

// Whether the decision changes something that a user should know.
bool acted(Reason reason);

// Parts of the above.
u64 speed_percent(const State& state, const TurnSeen& seen);  // cycles of its steps, of the least seen; 0: not known
struct Confidence {  // terms of the score, which is their sum between 0 and 100
  i64 base = 50;
  i64 mode = 0;
  i64 memory = 0;
  i64 context = 0;
  i64 margin = 0;
  i64 outcomes = 0;
  u64 score() const;
};
struct Choice {
  Action action = Action::stay;
  u64 percent = 0;         // its probability among the actions
  u64 margin_percent = 0;  // over the second likeliest
};
Choice choose(const Consulted& seen);
Confidence confidence(const Settings& settings, const State& state, const Consulted& seen, const Choice& choice);

struct Comparison {
  u32 pairs = 0;
  u32 better = 0;
  u32 worse = 0;
  u32 could_worsen = 0;  // pairs but for those that were bad before and after
  // unchanged: harm to half of the answers or more would have been seen. inconclusive: it might not.
  enum { inconclusive, improved, regressed, unchanged } verdict = inconclusive;
};
// Answers before and after, paired where the machine was as fast as possible; decided by exact sign tests at 5 %.
Comparison compare(const ActionInfo& action, const Answers& before, const Answers& after, u32 rules = outcome_rules);
void see_untried(const Settings& settings, State& state, const TurnSeen& seen);  // an answer while nothing is on trial
void begin_trial(State& state, Action action, const TunableLimits& from);
// True: the trial has ended, and regressed.
bool continue_trial(const Settings& settings, State& state, const TurnSeen& seen, Record record);

}  // namespace flyball::governor::policy
