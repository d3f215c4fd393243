#include "governor/race.h"

namespace flyball::governor {

void Race::observe(u64 cost) {
  if (decided()) return;
  u64* const costs = costs_[arm_];
  u32 i = n_costs_[arm_]++;
  for (; i > 0 && costs[i - 1] > cost; --i) costs[i] = costs[i - 1];
  costs[i] = cost;
  do {
    if (++arm_ < n_arms_) continue;
    arm_ = 0;
    end_round();
  } while (!left_[arm_]);
}

u64 Race::cost(u32 arm) const { return n_costs_[arm] ? costs_[arm][n_costs_[arm] / 2] : unknown; }

u32 Race::choose(u64 slack_percent) const {
  u64 best = unknown;
  for (u32 arm = 0; arm < n_arms_; ++arm) best = min(best, cost(arm));
  for (u32 arm = 0; arm < n_arms_; ++arm) {
    if (cost(arm) != unknown && cost(arm) <= best + best * slack_percent / 100) return arm;
  }
  return 0;
}

void Race::end_round() {
  ++n_rounds_;
  u64 best = unknown;
  for (u32 arm = 0; arm < n_arms_; ++arm) {
    if (left_[arm]) best = min(best, cost(arm));
  }
  // One measurement proves nothing. An arm drops out after two rounds at twice the cost; later, when its minimum is
  // above the best arm's median. The best arm stays: its minimum is at most its median.
  if (n_rounds_ == 1) return;
  for (u32 arm = 0; arm < n_arms_; ++arm) {
    if (!left_[arm]) continue;
    const u64 lowest = costs_[arm][0];
    if (n_rounds_ < least_rounds ? lowest / 2 > best : lowest > best) left_[arm] = false, --n_left_;
  }
}

}  // namespace flyball::governor
