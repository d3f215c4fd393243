// How many tokens of prompts join a call that running answers wait for, from measured costs. A free knob: it cannot change
// an answer.
#pragma once

#include "base/types.h"

namespace flyball::governor {

// Cycles of a transformer call, as far as they are known.
struct CallCosts {
  f64 next = 0;       // with the running answers' next tokens alone; 0: not known
  f64 token = 0;      // what a token beside them adds, attention apart; 0: not known
  f64 attention = 0;  // what it adds for each token before it
};

// How many tokens, with so many before them, may join: those that make the call up to twice as long, from `fewest_beside` to
// `most_beside`. Answers then keep half their speed, and prompts get nearly half of the time. One token always joins: deep
// in a prompt it may cost more than a call without it.
constexpr u32 fewest_beside = 1;
constexpr u32 most_beside = 512;
constexpr u32 first_beside = 8;  // where nothing is known of tokens beside
u32 tokens_beside(const CallCosts& costs, u64 position);

// Learns the costs from calls.
class PromptPace {
 public:
  struct Call {
    u32 n_next = 0;     // running answers' next tokens, at least one
    u32 n_beside = 0;   // tokens of prompts, and known ones
    u64 positions = 0;  // of these: the sum of the numbers of tokens before them
    u64 cycles = 0;
    u64 attention_cycles = 0;  // of these
  };
  void observe(const Call& call);

  // Whether a call of so many next tokens should be left alone, to be measured: that takes less time than to guess wrong.
  bool wants_plain(u32 n_next) const;
  CallCosts costs(u32 n_next) const;
  // tokens_beside() of these, but at most twice as many as were measured: a wrong cost is found out before it costs much.
  u32 choose(u32 n_next, u64 position) const;

 private:
  static constexpr u32 n_sizes = 7;
  struct Plain {  // moving averages of calls without tokens beside
    u32 n_seen = 0;
    f64 cycles = 0;
    f64 attention_cycles = 0;
  };
  static u32 size_of(u32 n_next);  // calls of 1, 2 to 3, 4 to 7, ... next tokens

  Plain plain_[n_sizes];
  u32 n_since_plain_ = 0;  // calls with tokens beside
  u32 most_seen_ = 0;      // tokens beside, of a call
  // Of calls with tokens beside: sums in which older calls weigh less.
  f64 tokens_ = 0, token_cycles_ = 0;
  f64 positions_ = 0, attention_cycles_ = 0;
};

}  // namespace flyball::governor
