// The digest of an answer (contract 1) and the key of its request, byte by byte in docs/receipts.md.
#pragma once

#include "base/hash.h"
#include "runtime/sampler.h"

namespace flyball::runtime {

struct Decided {     // by a governor, and applied to this answer
  u64 position = 0;  // tokens before
  Str reason_id;
  Str data;  // a JSON object; has times, so no digest covers it
};

struct AdapterUsed {
  Str name;  // for people; no digest covers it
  Digest fingerprint;
  f32 scale = 1;
};

struct ConstraintUsed {
  Str kind;  // empty: none
  Str library;
  Str text;
};
Digest hash(const ConstraintUsed& constraint);  // SHA-256: names it in receipts

struct DigestInput {
  Digest fingerprint;
  u32 context = 0;
  Str cache_type;  // "f16"
  Span<const AdapterUsed> adapters;
  u64 sequence = 0;
  SamplerSettings sampler;
  Str processor;  // the name of a LogitsProcessor; empty: none
  ConstraintUsed constraint;
  u32 max_tokens = 0;
  bool ignore_eos = false;
  Span<const Str> stops;
  Span<const Token> stop_tokens;
  Span<const Decided> decisions;
  Span<const Token> prompt;
  Span<const Token> tokens;           // produced
  Span<const Hash128> logits_hashes;  // as many as tokens
  Str stop_reason;
};

// The version of the digest's layout and of the receipt: the first one that has every setting in use, so that an answer
// without newer settings keeps its digest, and a program that does not know them refuses its receipt.
u32 layout_version(const DigestInput& input);

Digest answer_digest(const DigestInput& input);

// The name of what was asked for: of all that the answer follows from, and nothing of the answer.
Digest request_key(const DigestInput& input);

}  // namespace flyball::runtime
