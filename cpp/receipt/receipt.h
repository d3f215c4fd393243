// Receipts: everything needed to repeat an answer on another machine and compare it. The format is docs/receipts.md.
#pragma once

#include "base/json.h"
#include "engine/engine.h"
#include "runtime/digest.h"

namespace flyball::receipt {

using engine::CancelToken;
using engine::Generation;
using engine::Model;
using engine::Progress;

struct Receipt {
  static constexpr u64 newest_version = 3;  // runtime::layout_version() gives the one to write

  // Covered by the digest.
  runtime::DigestInput content;

  // Follows from it; verify compares it too.
  Str text;
  Digest digest;

  // Names the model for users, and further information.
  Str template_time;  // that the prompt's chat template was given, to render it again; empty: none
  Str flyball_version;
  Str model_name;
  u64 model_bytes = 0;
  Str isa;
  u32 threads = 0;
  Str platform;
  Str metrics;  // a JSON object
};

// Of an answer that is done; an error if the model's file was written before its end, or before its fingerprint was known.
// Borrows from the generation, and allocates from `arena`. `progress`: of hashing the model's file.
Result<Receipt> make_receipt(Arena& arena, const Generation& generation, Progress progress = {});
// In two steps: all that only the answer knows, and the model's fingerprint with the digest that covers it.
Result<Receipt> draft_receipt(Arena& arena, const Generation& generation);
void seal(Receipt* receipt, const Digest& fingerprint);
Result<Digest> digest(const Generation& generation);  // the receipt's, without the rest
// Of an answer that this session would give, before it is begun: that of its receipt, unless a governor bounds it.
Digest request_key(const engine::Session& session, Span<const engine::Token> prompt,
                   const engine::GenerateOptions& options, const Digest& fingerprint);

void write_receipt(const Receipt& receipt, Writer& out);
// The same into memory of the right size.
Result<Str> write_receipt(Arena& arena, const Receipt& receipt);
// An answer's, for engine::ModelOptions::receipt.
Result<Str> write_receipt(Arena& arena, const Generation& generation);

// Hostile input: an error names field and byte. The receipt borrows from `text` and `arena`.
Result<Receipt> parse_receipt(Arena& arena, Str text);

enum class Difference : u8 { none, model, settings, logits, tokens, stop, text, digest };
Str difference_name(Difference difference);

struct VerifyReport {
  bool verified = false;
  Difference difference = Difference::none;
  u64 position = 0;    // produced position of the first difference in logits, tokens or stop
  u64 n_compared = 0;  // produced positions whose logits and token were computed again and agreed
  Text<400> message;
};

// Repeats the answer with the recorded settings on this machine, on any instruction set and number of threads, and
// compares model, logits, tokens, text and digest in this order. Where a user or the clock ended the run, it stops at
// the recorded end. An Error means that there is no verdict (out of memory, interrupted), never a mismatch. An answer
// with a logits processor needs the same one: `processor`; without it there is no verdict (Code::unsupported). So does one
// with a constraint, and one with an adapter: `adapters` are those at hand, among which the fingerprint chooses.
Result<VerifyReport> verify_receipt(const Receipt& receipt, Model& model, CancelToken cancel = {},
                                    Progress progress = {}, runtime::LogitsProcessor processor = {},
                                    Span<const engine::AdapterRef> adapters = {}, runtime::Constraint constraint = {});

}  // namespace flyball::receipt
