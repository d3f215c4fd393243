// The governor's observations. Each is an event of the journal too, and reads back unchanged.
#pragma once

#include "base/json.h"
#include "journal/reasons.h"

namespace flyball::governor {

using journal::Reason;

// The settings of an answer that a bound changes: they change the answer itself.
struct Knobs {
  u32 max_tokens = 0;
  u32 top_k = 0;  // 0: all
  f32 top_p = 1;
  f32 temperature = 0;  // 0: greedy
  friend bool operator==(const Knobs&, const Knobs&) = default;
};
void write_knobs(JsonWriter& json, const Knobs& knobs);

// What a token costs on this machine: attention apart, which grows with the tokens in the cache.
struct Baseline {
  u64 rest_cycles = 0;       // of one plain decode step; 0: not known yet
  u64 attention_cycles = 0;  // of one plain decode step, for every 1,024 tokens in the cache
  u64 at(u64 depth) const { return rest_cycles + attention_cycles * depth / 1024; }
  friend bool operator==(const Baseline&, const Baseline&) = default;
};
void write_baseline(JsonWriter& json, const Baseline& baseline);
Result<Baseline> read_baseline(const Json& object);

// The settings that a policy may change permanently.
struct TunableLimits {
  u32 context = 0;     // tokens
  u32 max_tokens = 0;  // of an answer
  u32 cache_bits = 0;  // of a cached key or value: 8 (q8_0), 16 (f16), 32 (f32)
  friend bool operator==(const TunableLimits&, const TunableLimits&) = default;
};
Str cache_type_name(u32 bits);  // "q8_0", "f16", "f32"; "none" where no file was valid
Status read_cache_type(const Json& object, Str name, u32* bits);
void write_limits(JsonWriter& json, const TunableLimits& limits);
Status read(const Json& object, TunableLimits* out);

// The requested limits and what the policy made of them. Equal: no change.
struct Changed {
  TunableLimits asked, given;
  bool any() const { return asked != given; }
};
void write_members(JsonWriter& json, const Changed& changed);  // of an object that is begun

struct TurnBegun {
  Knobs asked;
  u64 prompt_tokens = 0;
  Changed policy_change;
};

// One transformer call of an answer.
struct Call {
  enum Kind : u8 {
    prompt,       // computed prompt tokens
    plain,        // one token of this sequence alone: the baseline measures these
    speculative,  // one token and its draft tokens
    shared,       // with other sequences, or with a receipt's tokens
  };
  Kind kind = plain;
  u32 rows = 0;              // computed tokens of this sequence
  u32 gained = 0;            // new tokens of the answer
  u64 cycles = 0;            // this sequence's share
  u64 attention_cycles = 0;  // of these
  u64 elapsed_us = 0;        // since the request
  u32 threads = 1;           // available to it
  u32 drafts = 0;            // draft tokens available to it
  friend bool operator==(const Call&, const Call&) = default;
};
constexpr u64 max_calls_per_line = 256;

struct CutShort {  // a deadline ended a call before it was complete
  u64 elapsed_us = 0;
};

struct MemorySeen {
  u64 available_mb = 0;
};

struct LoopSeen {  // the last `tokens` repeat with this period
  u32 period = 0;
  u32 tokens = 0;
};

// To and from the data of their events. An object with other members, or numbers out of range, is an error.
void write(JsonWriter& json, const TurnBegun& seen);
void write(JsonWriter& json, Span<const Call> calls);
void write(JsonWriter& json, const CutShort& seen);
void write(JsonWriter& json, const MemorySeen& seen);
void write(JsonWriter& json, const LoopSeen& seen);
Status read(const Json& object, TurnBegun* out);
Status read(const Json& object, Call (&out)[max_calls_per_line], u64* n);
Status read(const Json& object, CutShort* out);
Status read(const Json& object, MemorySeen* out);
Status read(const Json& object, LoopSeen* out);

}  // namespace flyball::governor
