#include "governor/observation.h"

#include "journal/fields.h"

namespace flyball::governor {

using journal::most_number;
using journal::most_u32;
using journal::take;

namespace {

constexpr u32 n_call_fields = 8;

}  // namespace

void write_knobs(JsonWriter& json, const Knobs& knobs) {
  json.begin_object().field("max_tokens", knobs.max_tokens).field("top_k", knobs.top_k);
  json.field("top_p", knobs.top_p).field("temperature", knobs.temperature).end_object();
}

void write_baseline(JsonWriter& json, const Baseline& baseline) {
  json.begin_object().field("rest_cycles", baseline.rest_cycles);
  json.field("attention_cycles", baseline.attention_cycles).end_object();
}

Result<Baseline> read_baseline(const Json& object) {
  Baseline baseline;
  FLYBALL_TRY(take(object, "rest_cycles", most_number, &baseline.rest_cycles));
  FLYBALL_TRY(take(object, "attention_cycles", most_number, &baseline.attention_cycles));
  return baseline;
}

void write_limits(JsonWriter& json, const TunableLimits& c) {
  json.begin_object().field("context", c.context).field("max_tokens", c.max_tokens);
  json.field("cache_bits", c.cache_bits).end_object();
}

Status read(const Json& object, TunableLimits* out) {
  FLYBALL_TRY(take(object, "context", most_u32, &out->context));
  FLYBALL_TRY(take(object, "max_tokens", most_u32, &out->max_tokens));
  return take(object, "cache_bits", most_u32, &out->cache_bits);
}

void write_members(JsonWriter& json, const Changed& changed) {
  write_limits(json.key("asked"), changed.asked);
  write_limits(json.key("given"), changed.given);
}

void write(JsonWriter& json, const TurnBegun& seen) {
  json.begin_object().key("asked");
  write_knobs(json, seen.asked);
  json.field("prompt_tokens", seen.prompt_tokens);
  if (seen.policy_change.any()) {
    write_members(json.key("by_policy").begin_object(), seen.policy_change);
    json.end_object();
  }
  json.end_object();
}

Status read(const Json& object, TurnBegun* out) {
  Json asked;
  FLYBALL_ASSIGN(asked, object.member("asked"));
  FLYBALL_TRY(take(asked, "max_tokens", most_u32, &out->asked.max_tokens));
  FLYBALL_TRY(take(asked, "top_k", most_u32, &out->asked.top_k));
  FLYBALL_TRY(take(asked, "top_p", &out->asked.top_p));
  FLYBALL_TRY(take(asked, "temperature", &out->asked.temperature));
  FLYBALL_TRY(take(object, "prompt_tokens", most_u32, &out->prompt_tokens));
  Json policy_change, member;
  if (!object.find("by_policy", &policy_change)) return {};
  FLYBALL_ASSIGN(member, policy_change.member("asked"));
  FLYBALL_TRY(read(member, &out->policy_change.asked));
  FLYBALL_ASSIGN(member, policy_change.member("given"));
  return read(member, &out->policy_change.given);
}

void write(JsonWriter& json, Span<const Call> calls) {
  json.begin_object().key("calls").begin_array();
  for (const Call& c : calls) {
    json.begin_array().value(u32(c.kind)).value(c.rows).value(c.gained);
    json.value(c.cycles).value(c.attention_cycles).value(c.elapsed_us).value(c.threads).value(c.drafts).end_array();
  }
  json.end_array().end_object();
}

Status read(const Json& object, Call (&out)[max_calls_per_line], u64* n) {
  Json calls;
  FLYBALL_ASSIGN(calls, object.member("calls"));
  FLYBALL_ASSIGN(calls, calls.expect("calls", JsonType::array));
  *n = 0;
  for (JsonItems items(calls); items.next();) {
    u64 fields[n_call_fields] = {};
    u32 k = 0;
    for (JsonItems field(items.value()); field.next(); ++k) {
      if (k == n_call_fields) break;
      FLYBALL_ASSIGN(fields[k], field.value().as_u64("calls", 0, k < 3 || k >= 6 ? most_u32 : most_number));
    }
    if (*n == max_calls_per_line || items.value().count() != n_call_fields || fields[0] > Call::shared)
      return fail(Code::corrupt, "calls", items.value().offset())
             << "is not a list of up to " << max_calls_per_line << " calls of " << n_call_fields << " numbers each";
    out[(*n)++] = {Call::Kind(fields[0]), u32(fields[1]), u32(fields[2]), fields[3], fields[4], fields[5],
                   u32(fields[6]),        u32(fields[7])};
  }
  return {};
}

void write(JsonWriter& json, const CutShort& seen) {
  json.begin_object().field("elapsed_us", seen.elapsed_us).end_object();
}
Status read(const Json& object, CutShort* out) { return take(object, "elapsed_us", most_number, &out->elapsed_us); }

void write(JsonWriter& json, const MemorySeen& seen) {
  json.begin_object().field("available_mb", seen.available_mb).end_object();
}
Status read(const Json& object, MemorySeen* out) {
  return take(object, "available_mb", most_number, &out->available_mb);
}

void write(JsonWriter& json, const LoopSeen& seen) {
  json.begin_object().field("period", seen.period).field("tokens", seen.tokens).end_object();
}
Status read(const Json& object, LoopSeen* out) {
  FLYBALL_TRY(take(object, "period", most_u32, &out->period));
  return take(object, "tokens", most_u32, &out->tokens);
}

}  // namespace flyball::governor
