#include "governor/observation.h"

#include "journal/fields.h"

namespace flyball::governor {

using journal::most_number;
using journal::most_u32;
using journal::take;

namespace {

constexpr Str call_columns[] = {"kind",       "rows",    "gained", "cycles", "attention_cycles",
                                "elapsed_us", "threads", "drafts"};
constexpr u32 n_call_columns = sizeof call_columns / sizeof call_columns[0];
constexpr Str call_kinds[] = {"prompt", "plain", "speculative", "shared"};  // in the order of Call::Kind

struct CacheBits {
  Str name;
  u32 bits;
};
constexpr CacheBits cache_types[] = {{"none", 0}, {"q8_0", 8}, {"f16", 16}, {"f32", 32}};  // none: no valid file

// The text of a string without escapes.
Result<Str> word_of(const Json& value, Str name) {
  Json text;
  FLYBALL_ASSIGN(text, value.expect(name, JsonType::string));
  return text.raw().substr(1, text.raw().size - 2);
}

Status check_columns(const Json& columns) {
  u32 k = 0;
  for (JsonItems items(columns); items.next(); ++k) {
    Str name;
    FLYBALL_ASSIGN(name, word_of(items.value(), "columns"));
    if (k == n_call_columns || name != call_columns[k]) break;
  }
  if (k == n_call_columns && columns.count() == n_call_columns) return {};
  return fail(Code::corrupt, "columns", columns.offset()) << "are not the columns of calls";
}

Status read_call(const Json& row, Call* out) {
  u64 numbers[n_call_columns] = {};
  u32 k = 0;
  for (JsonItems field(row); field.next() && k < n_call_columns; ++k) {
    if (k > 0) {
      FLYBALL_ASSIGN(numbers[k], field.value().as_u64("rows", 0, k < 3 || k >= 6 ? most_u32 : most_number));
      continue;
    }
    Str kind;
    FLYBALL_ASSIGN(kind, word_of(field.value(), "rows"));
    while (numbers[0] <= Call::shared && call_kinds[numbers[0]] != kind) ++numbers[0];
  }
  if (row.count() != n_call_columns || numbers[0] > Call::shared)
    return fail(Code::corrupt, "rows", row.offset()) << "has a row that is not a call";
  *out = {Call::Kind(numbers[0]), u32(numbers[1]), u32(numbers[2]), numbers[3], numbers[4], numbers[5],
          u32(numbers[6]),        u32(numbers[7])};
  return {};
}

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

Str cache_type_name(u32 bits) {
  for (const CacheBits& type : cache_types) {
    if (type.bits == bits) return type.name;
  }
  return "";
}

Status read_cache_type(const Json& object, Str name, u32* bits) {
  Json value;
  Str word;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(word, word_of(value, name));
  for (const CacheBits& type : cache_types) {
    if (type.name != word) continue;
    *bits = type.bits;
    return {};
  }
  return fail(Code::corrupt, name, value.offset()) << "must be a cache type: f16, f32 or q8_0";
}

void write_limits(JsonWriter& json, const TunableLimits& c) {
  json.begin_object().field("context", c.context).field("max_tokens", c.max_tokens);
  json.field("cache_type", cache_type_name(c.cache_bits)).end_object();
}

Status read(const Json& object, TunableLimits* out) {
  FLYBALL_TRY(take(object, "context", most_u32, &out->context));
  FLYBALL_TRY(take(object, "max_tokens", most_u32, &out->max_tokens));
  return read_cache_type(object, "cache_type", &out->cache_bits);
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
    write_members(json.key("policy_change").begin_object(), seen.policy_change);
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
  if (!object.find("policy_change", &policy_change)) return {};
  FLYBALL_ASSIGN(member, policy_change.member("asked"));
  FLYBALL_TRY(read(member, &out->policy_change.asked));
  FLYBALL_ASSIGN(member, policy_change.member("given"));
  return read(member, &out->policy_change.given);
}

void write(JsonWriter& json, Span<const Call> calls) {
  json.begin_object().key("columns").begin_array();
  for (const Str& column : call_columns) json.value(column);
  json.end_array().key("rows").begin_array();
  for (const Call& c : calls) {
    json.begin_array().value(call_kinds[c.kind]).value(c.rows).value(c.gained);
    json.value(c.cycles).value(c.attention_cycles).value(c.elapsed_us).value(c.threads).value(c.drafts).end_array();
  }
  json.end_array().end_object();
}

Status read(const Json& object, Call (&out)[max_calls_per_line], u64* n) {
  Json columns, rows;
  FLYBALL_ASSIGN(columns, object.member("columns"));
  FLYBALL_ASSIGN(columns, columns.expect("columns", JsonType::array));
  FLYBALL_TRY(check_columns(columns));
  FLYBALL_ASSIGN(rows, object.member("rows"));
  FLYBALL_ASSIGN(rows, rows.expect("rows", JsonType::array));
  *n = 0;
  for (JsonItems items(rows); items.next();) {
    if (*n == max_calls_per_line)
      return fail(Code::corrupt, "rows", rows.offset()) << "must be at most " << max_calls_per_line;
    FLYBALL_TRY(read_call(items.value(), &out[(*n)++]));
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
