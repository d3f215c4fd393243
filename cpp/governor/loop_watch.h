// Whether an answer repeats itself: for each short period, how many of the last tokens equal the one a period before.
#pragma once

#include "governor/observation.h"

namespace flyball::governor {

class LoopWatch {
 public:
  static constexpr u32 max_period = 32;

  // After each token: the longest repetition that ends here, of the shortest period that has it.
  LoopSeen next(Span<const i32> tokens) {
    const u64 last = tokens.size - 1;
    LoopSeen longest;
    for (u32 period = 1; period <= max_period; ++period) {
      u32& run = runs_[period - 1];
      run = last >= period && tokens[last] == tokens[last - period] ? run + 1 : 0;
      if (run > longest.tokens) longest = {period, run};
    }
    return longest;
  }

 private:
  u32 runs_[max_period] = {};
};

}  // namespace flyball::governor
