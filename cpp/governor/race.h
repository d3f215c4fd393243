// The cheapest of several arms, from few noisy measurements: all take turns, and those that cannot win any more drop
// out. Pure: costs in, the next arm out.
#pragma once

#include "base/types.h"

namespace flyball::governor {

class Race {
 public:
  static constexpr u32 max_arms = 16;
  static constexpr u32 least_rounds = 3;
  static constexpr u32 most_rounds = 9;
  static constexpr u64 unknown = ~u64(0);

  explicit Race(u32 n_arms) : n_arms_(min(max(n_arms, 1u), max_arms)), n_left_(n_arms_) {
    for (u32 arm = 0; arm < n_arms_; ++arm) left_[arm] = true;
  }

  bool decided() const { return n_left_ == 1 || n_rounds_ == most_rounds; }
  u32 next() const { return arm_; }  // to measure now
  void observe(u64 cost);            // of next()
  u64 cost(u32 arm) const;           // median of its measurements; unknown: none

  // The first arm that costs at most `slack_percent` more than the best one: order them by preference.
  u32 choose(u64 slack_percent) const;

 private:
  void end_round();

  u32 n_arms_;
  u32 n_left_;
  u32 arm_ = 0;
  u32 n_rounds_ = 0;
  bool left_[max_arms] = {};
  u32 n_costs_[max_arms] = {};
  u64 costs_[max_arms][most_rounds] = {};  // ascending
};

}  // namespace flyball::governor
