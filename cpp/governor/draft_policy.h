// How many draft tokens to check at once: what has been measured decides. A free knob: the answer is the same whatever
// it is.
#pragma once

#include "base/types.h"

namespace flyball::governor {

class DraftPolicy {
 public:
  static constexpr u32 max_drafts = 16;

  // 0 to `most`: 0 where drafts do not pay. Every question counts: backing off is measured in questions.
  u32 choose(u32 most);
  u32 best(u32 most = max_drafts) const;  // the same, but for trials where drafts do not pay

  // One decode step took `cycles`, its draft tokens included: `accepted` of `drafted` were right.
  void observe(u32 drafted, u32 accepted, u64 cycles);

 private:
  f64 cost(u32 drafts) const;  // cycles of a step; of a size not seen yet an estimate on the low side
  f64 rate(u32 drafts) const;  // expected tokens a cycle

  f64 cycles_[max_drafts + 1] = {};  // moving averages, 0: not seen
  f64 accepted_share_ = 0.5;         // of draft tokens looked at, moving average
  f64 n_drafts_ = 2;                 // weight of the above
  u32 pause_ = 4;                    // questions answered with 0 before the next trial
  u32 n_refused_ = 0;
};

}  // namespace flyball::governor
