#include "governor/draft_policy.h"

namespace flyball::governor {
namespace {

constexpr f64 worthwhile = 1.05;    // gain over plain decoding below which drafting is not worth its noise
constexpr f64 assumed_slope = 0.1;  // of a step's cost, for each further token, before the first measurement
constexpr f64 memory = 12;          // draft tokens that the acceptance remembers
constexpr f64 cost_share = 0.25;    // of a new measurement in the average
constexpr f64 outlier = 2;          // an interrupted step counts as at most this many times the average
constexpr u32 trial_drafts = 1;
constexpr u32 first_pause = 4;
constexpr u32 longest_pause = 512;

}  // namespace

f64 DraftPolicy::cost(u32 drafts) const {
  if (cycles_[drafts] > 0) return cycles_[drafts];
  // Along the flattest measured line: an estimate on the low side tries a size that might pay.
  f64 slope = -1;
  for (u32 n = 1; n <= max_drafts; ++n) {
    if (cycles_[n] == 0) continue;
    const f64 measured = max((cycles_[n] - cycles_[0]) / n, 0.0);
    if (slope < 0 || measured < slope) slope = measured;
  }
  return cycles_[0] + (slope < 0 ? assumed_slope * cycles_[0] : slope) * drafts;
}

f64 DraftPolicy::rate(u32 drafts) const {
  f64 expected = 1, all_right = 1;
  for (u32 i = 0; i < drafts; ++i) expected += all_right *= accepted_share_;
  return expected / cost(drafts);
}

u32 DraftPolicy::best(u32 most) const {
  if (most == 0 || cycles_[0] == 0 || cycles_[trial_drafts] == 0) return 0;
  u32 best = 1;
  for (u32 drafts = 2; drafts <= most; ++drafts) {
    if (rate(drafts) > rate(best)) best = drafts;
  }
  return rate(best) > worthwhile * rate(0) ? best : 0;
}

u32 DraftPolicy::choose(u32 most) {
  most = min(most, max_drafts);
  if (most == 0 || cycles_[0] == 0) return 0;
  if (cycles_[trial_drafts] == 0) return trial_drafts;
  if (const u32 drafts = best(most); drafts != 0) {
    pause_ = first_pause;
    return drafts;
  }
  if (++n_refused_ < pause_) return 0;
  n_refused_ = 0;
  pause_ = min(2 * pause_, longest_pause);
  return min(most, trial_drafts);
}

void DraftPolicy::observe(u32 drafted, u32 accepted, u64 cycles) {
  f64& average = cycles_[drafted];
  if (average == 0) {
    average = f64(cycles);
  } else {
    const f64 measured = min(f64(cycles), outlier * average);
    average += cost_share * (measured - average);
  }
  if (drafted > 0 && accepted == drafted) pause_ = max(pause_ / 4, first_pause);
  const u32 looked_at = min(accepted + 1, drafted);  // draft tokens after a rejected one give no evidence
  for (u32 i = 0; i < looked_at; ++i) {
    n_drafts_ = min(n_drafts_ + 1, memory);
    accepted_share_ += ((i < accepted ? 1.0 : 0.0) - accepted_share_) / n_drafts_;
  }
}

}  // namespace flyball::governor
