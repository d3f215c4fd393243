// Replay of a journal: the observations of one session, or of a policy, in, its decisions out.
#pragma once

#include "governor/policy.h"

namespace flyball::governor {

// Decisions of a governor or a policy, as opposed to observations and a reliability run's verdicts.
inline bool is_decision(Reason reason) {
  const Str family = info(reason).family;
  return family != "MODEL" && family != "SESSION" && reason <= Reason::OUTCOME_UNCHANGED;
}

class Replay {
 public:
  struct Change {  // another setting than the session had
    Str key;
    Str word;
  };
  explicit Replay(Span<const Change> changes = {}) : changes_(changes) {}  // outlive the replay

  // The next event of the session; its decisions go to `record`. The journal's own decisions change nothing. Data that
  // no session writes is an error.
  Status observe(Reason reason, u64 turn, Str data, Record record);

  const Settings& settings() const { return settings_; }
  const State& state() const { return state_; }

 private:
  Status open(const Json& data);
  Status open_policy(const Json& data);
  Status read_changed(const Json& data);
  template <class Seen>
  Status observe_one(const Json& data, Record record);
  template <class Seen>
  Status observe_policy(const Json& data, Record record);

  Span<const Change> changes_;
  Settings settings_;
  State state_;
  policy::State policy_;
  u64 turn_ = 0;
};

// Members of SESSION_OPENED that a replay needs.
void write_opening(JsonWriter& json, const Settings& settings, const Baseline& baseline);

}  // namespace flyball::governor
