// How many draft tokens to check at once, from measured costs. A free knob: it cannot change an answer.
#pragma once

#include "base/types.h"

namespace flyball::governor {

class DraftPolicy {
 public:
  static constexpr u32 max_drafts = 16;

  // 0 to `most`: 0 where drafts do not pay. Each call counts, as the back-off is a number of calls.
  u32 choose(u32 most);
  u32 best(u32 most = max_drafts) const;  // the same, but for trials where drafts do not pay

  // One decode step took `cycles`, its draft tokens included, and accepted `accepted` of `drafted`.
  void observe(u32 drafted, u32 accepted, u64 cycles);

 private:
  f64 cost(u32 drafts) const;  // cycles of a step; of a size not seen yet an estimate on the low side
  f64 rate(u32 drafts) const;  // expected tokens a cycle

  f64 cycles_[max_drafts + 1] = {};  // moving averages, 0: not seen
  f64 accepted_share_ = 0.5;         // of draft tokens with a verdict, moving average
  f64 n_drafts_ = 2;                 // weight of the above
  u32 pause_ = 4;                    // calls that return 0 before the next trial
  u32 n_refused_ = 0;
};

}  // namespace flyball::governor
