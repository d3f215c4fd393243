// Draft tokens, which the model checks in one call. A wrong draft only costs time: each token of the answer comes from
// the model's own logits (docs/speculation.md). Private to engine/.
#pragma once

#include "base/arena.h"
#include "engine/engine.h"

namespace flyball::engine {

// What followed the last three tokens where they occurred before: text that repeats itself, quotes its prompt or fills a
// form.
class PromptLookup {
 public:
  Status make_room(Arena& arena, u32 capacity);  // of tokens; without it there are no drafts

  // Writes what may follow `history`, whose first tokens are those of the call before; returns how many tokens.
  u32 propose(Span<const Token> history, Span<Token> drafts);

 private:
  static constexpr u32 gram = 3;
  static u32 hash(const Token* tokens);

  Span<u32> latest_;   // by hash: where the token after the latest such three is
  u32 n_seen_ = gram;  // tokens whose predecessors are in the table
};

// A smaller model's likeliest continuation. Its session follows `history` and computes what it does not have yet. No
// drafts where that fails or does not fit: drafting is never worth an error.
u32 draft_by_model(Session::State& draft, Span<const Token> history, Span<Token> drafts, const CancelToken& cancel);

}  // namespace flyball::engine
