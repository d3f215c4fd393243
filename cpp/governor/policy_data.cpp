// To and from the data of events: the policy's observations and state.
#include "base/math.h"
#include "governor/policy.h"
#include "journal/fields.h"

namespace flyball::governor::policy {

using journal::most_number;
using journal::most_u32;
using journal::take;

namespace {

constexpr i64 most_history = i64(1) << 40;
constexpr f32 most_score = 1e6f;

Status read_outcomes(const Json& object, History::Outcomes (&out)[n_actions]) {
  u64 n_known = 0;
  for (u32 i = 0; i < n_actions; ++i) {
    Json item, history;
    if (!object.find(info(Action(i)).name, &item)) continue;
    ++n_known;
    FLYBALL_ASSIGN(history, item.member("history"));
    FLYBALL_ASSIGN(out[i].history, history.as_i64("history", -most_history, most_history));
    // Version 0.1 wrote the second names into the policy's file.
    FLYBALL_TRY(take(item, item.find("improved", &history) ? "improved" : "helped", most_number, &out[i].improved));
    FLYBALL_TRY(take(item, item.find("regressed", &history) ? "regressed" : "harmed", most_number, &out[i].regressed));
    FLYBALL_TRY(take(item, item.find("inconclusive", &history) ? "inconclusive" : "undecided", most_number,
                     &out[i].inconclusive));
    if (item.find("unchanged", &history)) FLYBALL_TRY(take(item, "unchanged", most_number, &out[i].unchanged));
  }
  if (object.count() == n_known) return {};
  return fail(Code::corrupt, "outcomes", object.offset()) << "has an unknown action";
}

Status read_member(const Json& object, Str name, TunableLimits* out) {
  Json member;
  FLYBALL_ASSIGN(member, object.member(name));
  return read(member, out);
}

}  // namespace

void write(JsonWriter& json, const TurnSeen& seen) {
  json.begin_object().field("step_cycles", seen.step_cycles).field("cycles_per_token", seen.cycles_per_token);
  json.field("resident_kb", seen.resident_kb).field("available_mb", seen.available_mb).field("depth", seen.depth);
  json.field("stopped", seen.stopped).field("cut", seen.cut);
  if (seen.interrupted) json.field("interrupted", true);
  json.end_object();
}

Status read(const Json& object, TurnSeen* out) {
  FLYBALL_TRY(take(object, "step_cycles", most_number, &out->step_cycles));
  FLYBALL_TRY(take(object, "cycles_per_token", most_number, &out->cycles_per_token));
  FLYBALL_TRY(take(object, "resident_kb", most_number, &out->resident_kb));
  FLYBALL_TRY(take(object, "available_mb", most_number, &out->available_mb));
  FLYBALL_TRY(take(object, "depth", most_u32, &out->depth));
  FLYBALL_TRY(take(object, "stopped", &out->stopped));
  FLYBALL_TRY(take(object, "cut", &out->cut));
  Json member;
  return object.find("interrupted", &member) ? take(object, "interrupted", &out->interrupted) : Status();
}

void write(JsonWriter& json, const Consulted& seen) {
  json.begin_object().field("mock", seen.mock).key("scores").begin_object();
  for (u32 i = 0; i < n_actions; ++i) json.field(info(Action(i)).name, seen.scores[i]);
  json.end_object().field("available_mb", seen.available_mb).field("cache_mb", seen.cache_mb);
  json.field("depth", seen.depth);
  if (!seen.situation.empty()) json.field("situation", seen.situation);
  json.end_object();
}

Status read(const Json& object, Consulted* out) {
  FLYBALL_TRY(take(object, "mock", &out->mock));
  Json scores;
  FLYBALL_ASSIGN(scores, object.member("scores"));
  for (u32 i = 0; i < n_actions; ++i) {
    FLYBALL_TRY(take(scores, info(Action(i)).name, &out->scores[i]));
    if (!(abs32(out->scores[i]) <= most_score))
      return fail(Code::corrupt, "scores", scores.offset()) << "must be numbers from -1e6 to 1e6";
  }
  FLYBALL_TRY(take(object, "available_mb", most_number, &out->available_mb));
  FLYBALL_TRY(take(object, "cache_mb", most_number, &out->cache_mb));
  return take(object, "depth", most_number, &out->depth);
}

void write(JsonWriter& json, const Applied& seen) {
  json.begin_object().key("found");
  write_limits(json, seen.found);
  json.field("same_bytes", seen.same_bytes).end_object();
}

Status read(const Json& object, Applied* out) {
  FLYBALL_TRY(read_member(object, "found", &out->found));
  return take(object, "same_bytes", &out->same_bytes);
}

void write(JsonWriter& json, const Restored& seen) { json.begin_object().field("done", seen.done).end_object(); }
Status read(const Json& object, Restored* out) { return take(object, "done", &out->done); }

void write(JsonWriter& json, const StartSeen& seen) {
  json.begin_object();
  write_limits(json.key("checkpoint"), seen.checkpoint);
  json.end_object();
}
Status read(const Json& object, StartSeen* out) { return read_member(object, "checkpoint", &out->checkpoint); }

void write(JsonWriter& json, const History& history) {
  json.begin_object().field("mode", mode_name(history.mode)).key("outcomes").begin_object();
  for (u32 i = 0; i < n_actions; ++i) {
    const History::Outcomes& o = history.outcomes[i];
    if (o == History::Outcomes()) continue;
    json.key(info(Action(i)).name).begin_object().field("history", o.history).field("improved", o.improved);
    json.field("regressed", o.regressed).field("inconclusive", o.inconclusive);
    json.field("unchanged", o.unchanged).end_object();
  }
  const History::Starts& starts = history.starts;
  json.end_object().key("starts").begin_object().field("n", starts.n).field("failed", starts.failed);
  json.field("running", starts.running).field("stable", starts.stable).field("unproven", starts.unproven);
  json.end_object().end_object();
}

Status read(const Json& object, History* out) {
  Json member;
  FLYBALL_ASSIGN(member, object.member("mode"));
  FLYBALL_ASSIGN(member, member.expect("mode", JsonType::string));
  const Str quoted = member.raw();  // no mode has escapes
  const Str name = quoted.substr(1, quoted.size - 2);
  u8 mode = 0;
  while (mode <= u8(Mode::safe) && mode_name(Mode(mode)) != name) ++mode;
  if (mode > u8(Mode::safe)) return fail(Code::corrupt, "mode", member.offset()) << "must be normal, degraded or safe";
  out->mode = Mode(mode);
  FLYBALL_ASSIGN(member, object.member("outcomes"));
  FLYBALL_ASSIGN(member, member.expect("outcomes", JsonType::object));
  FLYBALL_TRY(read_outcomes(member, out->outcomes));
  if (!object.find("starts", &member)) return {};  // of an earlier version
  FLYBALL_ASSIGN(member, member.expect("starts", JsonType::object));
  FLYBALL_TRY(take(member, "n", most_number, &out->starts.n));
  FLYBALL_TRY(take(member, "failed", most_number, &out->starts.failed));
  FLYBALL_TRY(take(member, "running", &out->starts.running));
  FLYBALL_TRY(take(member, "stable", &out->starts.stable));
  return take(member, "unproven", &out->starts.unproven);
}

void write_opening(JsonWriter& json, const Settings& settings, const State& state) {
  write_settings(json.key("governor"), settings);
  write_limits(json.key("base"), state.base);
  json.key("possible").begin_object().field("most_context", state.possible.most_context);
  json.field("smallest_cache_type", cache_type_name(state.possible.least_cache_bits)).end_object();
  write_limits(json.key("current"), state.now);
  write(json.key("history"), state.history);
  json.field("outcome_rules", state.outcome_rules);
}

Status read_opening(const Json& data, State* out) {
  TunableLimits base, now;
  Possible possible;
  FLYBALL_TRY(read_member(data, "base", &base));
  FLYBALL_TRY(read_member(data, "current", &now));
  History history;
  Json member;
  FLYBALL_ASSIGN(member, data.member("possible"));
  FLYBALL_TRY(take(member, "most_context", most_u32, &possible.most_context));
  FLYBALL_TRY(read_cache_type(member, "smallest_cache_type", &possible.least_cache_bits));
  FLYBALL_ASSIGN(member, data.member("history"));
  FLYBALL_TRY(read(member, &history));
  u32 rules = 1;
  if (data.find("outcome_rules", &member)) FLYBALL_TRY(take(data, "outcome_rules", outcome_rules, &rules));
  *out = begin(base, possible, now, history);
  out->outcome_rules = rules;
  return {};
}

}  // namespace flyball::governor::policy
