#include "governor/replay.h"

namespace flyball::governor {

void write_opening(JsonWriter& json, const Settings& settings, const Baseline& baseline) {
  write_settings(json.key("governor"), settings);
  write_baseline(json.key("baseline"), baseline);
}

// The answer under way is no longer governed.
Status Replay::read_changed(const Json& data) {
  turn_ = 0;
  Json member;
  FLYBALL_ASSIGN(member, data.member("governor"));
  FLYBALL_ASSIGN(settings_, read_settings(member));
  for (const Change& change : changes_) FLYBALL_TRY(set(&settings_, change.key, change.word));
  return check(settings_);
}

Status Replay::open(const Json& data) {
  FLYBALL_TRY(read_changed(data));
  Json member;
  Baseline baseline;
  FLYBALL_ASSIGN(member, data.member("baseline"));
  FLYBALL_ASSIGN(baseline, read_baseline(member));
  FLYBALL_ASSIGN(member, data.member("decode_threads"));
  u64 decode_threads = 0;
  FLYBALL_ASSIGN(decode_threads, member.as_u64("decode_threads", 0, 1 << 20));
  state_ = begin(settings_, baseline, u32(decode_threads));
  return {};
}

Status Replay::open_policy(const Json& data) {
  FLYBALL_TRY(read_changed(data));
  return policy::read_opening(data, &policy_);
}

template <class Seen>
Status Replay::observe_policy(const Json& data, Record record) {
  Seen seen;
  FLYBALL_TRY(policy::read(data, &seen));
  (void)policy::observe(settings_, policy_, seen, record);
  return {};
}

template <class Seen>
Status Replay::observe_one(const Json& data, Record record) {
  Seen seen;
  FLYBALL_TRY(read(data, &seen));
  (void)governor::observe(settings_, state_, seen, record);
  return {};
}

Status Replay::observe(Reason reason, u64 turn, Str text, Record record) {
  if (is_decision(reason)) return {};
  Json data;
  FLYBALL_ASSIGN(data, Json::parse(text));
  FLYBALL_ASSIGN(data, data.expect("data", JsonType::object));
  switch (reason) {
    case Reason::SESSION_OPENED: return open(data);
    case Reason::SESSION_SETTINGS: return read_changed(data);
    case Reason::SESSION_TURN_BEGUN: {
      TurnBegun seen;
      FLYBALL_TRY(read(data, &seen));
      turn_ = turn;
      (void)begin_turn(settings_, state_, seen, record);
      return {};
    }
    case Reason::SESSION_POLICY_OPENED: return open_policy(data);
    case Reason::SESSION_TURN_SEEN: return observe_policy<policy::TurnSeen>(data, record);
    case Reason::SESSION_CONSULTED: return observe_policy<policy::Consulted>(data, record);
    case Reason::SESSION_APPLIED: return observe_policy<policy::Applied>(data, record);
    case Reason::SESSION_START_SEEN: return observe_policy<policy::StartSeen>(data, record);
    case Reason::SESSION_RESTORED: return observe_policy<policy::Restored>(data, record);
    default: break;
  }
  if (turn != turn_) return {};  // of an earlier answer: it decides nothing any more
  switch (reason) {
    case Reason::SESSION_CALLS: {
      Call calls[max_calls_per_line];
      u64 n = 0;
      FLYBALL_TRY(read(data, calls, &n));
      for (u64 i = 0; i < n; ++i) (void)governor::observe(settings_, state_, calls[i], record);
      return {};
    }
    case Reason::SESSION_CUT_SHORT: return observe_one<CutShort>(data, record);
    case Reason::SESSION_MEMORY_SEEN: return observe_one<MemorySeen>(data, record);
    case Reason::SESSION_LOOP_SEEN: return observe_one<LoopSeen>(data, record);
    case Reason::SESSION_TURN_ENDED: (void)end_turn(settings_, state_, record); return {};
    default: return {};
  }
}

}  // namespace flyball::governor
