// The choice of how many draft tokens to check, on synthetic costs: it must gain where drafts are right and lose next to
// nothing where they are wrong.
#include "governor/draft_policy.h"

#include <random>

#include "test.h"

using namespace flyball;
using governor::DraftPolicy;

namespace {

// Tokens per cycle relative to plain decoding over `steps` steps, each with drafts at hand. A call with n of them costs
// 1 + slope * n, with noise; each token is right with probability `right` as long as those before it were.
double gain(double right, double slope, double noise, u32 steps) {
  std::mt19937 random(7);
  const auto uniform = [&] { return double(random() >> 8) / double(1 << 24); };
  DraftPolicy policy;
  double cycles = 0, tokens = 0;
  for (u32 step = 0; step < steps; ++step) {
    const u32 drafted = policy.choose(DraftPolicy::max_drafts);
    u32 accepted = 0;
    while (accepted < drafted && uniform() < right) ++accepted;
    const double cost = 1e6 * (1 + slope * drafted) * (1 + noise * (2 * uniform() - 1));
    policy.observe(drafted, accepted, u64(cost));
    cycles += cost;
    tokens += 1 + accepted;
  }
  return tokens / cycles * 1e6;
}

}  // namespace

TEST(right_guesses_pay) {
  CHECK(gain(0.95, 0.1, 0.05, 300) > 2.5);
  CHECK(gain(0.8, 0.1, 0.05, 300) > 1.7);
  CHECK(gain(1.0, 0.3, 0.05, 300) > 2.5);
}

TEST(wrong_guesses_cost_next_to_nothing) {
  for (const double slope : {0.05, 0.3, 1.0}) {
    for (const double right : {0.0, 0.02, 0.1}) CHECK(gain(right, slope, 0.1, 400) > 0.97);
  }
}

TEST(plain_steps_come_first_and_nothing_is_asked_of_nothing) {
  DraftPolicy policy;
  CHECK_EQ(policy.choose(16), 0u);  // nothing has been measured
  policy.observe(0, 0, 1000);
  CHECK_EQ(policy.choose(0), 0u);
  CHECK(policy.choose(16) > 0);
  CHECK(policy.choose(100) <= DraftPolicy::max_drafts);
}

TEST(a_text_that_begins_to_repeat_is_noticed) {
  DraftPolicy policy;
  policy.observe(0, 0, 1000);
  for (u32 step = 0; step < 300; ++step) {
    const u32 drafted = policy.choose(16);
    policy.observe(drafted, 0, 1000 + 100 * drafted);
  }
  u32 steps = 0;
  for (u32 drafted = 0; drafted < 4 && steps < 5000; ++steps) {
    drafted = policy.choose(16);
    policy.observe(drafted, drafted, 1000 + 100 * drafted);
  }
  CHECK(steps < 600);
}
