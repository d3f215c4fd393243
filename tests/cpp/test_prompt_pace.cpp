// Prompts beside running answers: what may join a call, on costs that are made up.
#include "governor/prompt_pace.h"

#include <algorithm>
#include <random>
#include <vector>

#include "test.h"

using namespace flyball;
using namespace flyball::governor;

namespace {

// A machine: what a call costs.
struct Machine {
  f64 next = 1e7, token = 5e5, attention = 100;  // attention: for each token before one
  f64 noise = 0;
  std::mt19937 random{1};

  PromptPace::Call call(u32 n_next, u32 n_beside, u64 position) {
    PromptPace::Call call{n_next, n_beside, n_beside * position, 0, 0};
    const f64 factor = 1 + noise * (f64(random() % 1000) / 1000 - 0.5);
    call.attention_cycles = u64(factor * (1e5 + attention * f64(call.positions)));
    call.cycles = u64(factor * (next + token * n_beside + attention * f64(call.positions)));
    return call;
  }
};

// Computes a prompt beside `n_next` answers; the calls' lengths against one without the prompt, and how many there were.
struct Run {
  std::vector<f64> lengths;
  u32 n_plain = 0;
  f64 cycles = 0;
};
Run compute(PromptPace& pace, Machine& machine, u32 n_next, u64 begin, u64 end) {
  Run run;
  for (u64 position = begin; position < end && run.lengths.size() < 100000;) {
    const bool plain = pace.wants_plain(n_next);
    const u32 n = plain ? 0 : std::min<u32>(pace.choose(n_next, position), u32(end - position));
    const PromptPace::Call call = machine.call(n_next, n, position);
    pace.observe(call);
    run.n_plain += plain;
    run.lengths.push_back(f64(call.cycles) / machine.next);
    run.cycles += f64(call.cycles);
    position += n;
  }
  return run;
}
f64 longest(const Run& run) { return *std::max_element(run.lengths.begin(), run.lengths.end()); }
f64 median(std::vector<f64> values) {
  std::nth_element(values.begin(), values.begin() + i64(values.size() / 2), values.end());
  return values[values.size() / 2];
}

}  // namespace

TEST(tokens_beside_fit_into_the_room) {
  CHECK_EQ(tokens_beside({}, 0), first_beside);
  CHECK_EQ(tokens_beside({1000, 0, 0}, 5), first_beside);
  CHECK_EQ(tokens_beside({0, 10, 0}, 5), first_beside);
  CHECK_EQ(tokens_beside({1000, 75, 0}, 1 << 20), 11);
  CHECK_EQ(tokens_beside({1000, 75, 0.075}, 0), 11);
  CHECK_EQ(tokens_beside({1000, 75, 0.075}, 1000), 5);
  CHECK_EQ(tokens_beside({1000, 75, 0.425}, 1000), 2);
  CHECK_EQ(tokens_beside({1000, 75, 0.426}, 1000), 1);
  CHECK_EQ(tokens_beside({1000, 75, 0.075}, 1 << 30), fewest_beside);
  CHECK_EQ(tokens_beside({1000, 0.001, 0}, 0), most_beside);
  CHECK_EQ(tokens_beside({1e300, 1e-300, 0}, 0), most_beside);
  u32 before = most_beside;
  for (u64 position = 0; position < 100000; position += 100) {
    const u32 n = tokens_beside({1e7, 5e5, 100}, position);
    CHECK(n >= fewest_beside);
    CHECK(n <= before);
    before = n;
  }
}

TEST(a_long_prompt_stalls_nobody) {
  for (const f64 attention : {0.0, 20.0, 200.0}) {
    for (const u32 n_next : {1u, 4u, 64u}) {
      PromptPace pace;
      Machine machine;
      machine.attention = attention;
      const Run run = compute(pace, machine, n_next, 0, 16384);
      CHECK(longest(run) < 2.001);
      CHECK(median(run.lengths) > 1.5);  // and it has its share
      CHECK(run.n_plain * 15 < run.lengths.size());
      // Its time against that of the prompt alone.
      const f64 alone = 16384 * (machine.token + machine.attention * 8192);
      CHECK(run.cycles < 3 * alone);
    }
  }
}

TEST(one_token_that_costs_more_than_a_call_joins_all_the_same) {
  PromptPace pace;
  Machine machine;
  machine.attention = 1e4;
  const Run run = compute(pace, machine, 4, 10000, 10100);
  CHECK(run.lengths.size() < 130);
}

TEST(costs_are_learned_through_noise) {
  PromptPace pace;
  Machine machine;
  machine.noise = 0.3;
  const Run run = compute(pace, machine, 4, 0, 16384);
  CHECK(median(run.lengths) < 2.05);
  CHECK(median(run.lengths) > 1.5);
  PromptPace::Call interrupted = machine.call(4, 0, 0);
  interrupted.cycles *= 100;  // in a call without prompts: half a second of another process
  pace.observe(interrupted);
  CHECK(longest(compute(pace, machine, 4, 0, 4096)) < 3);
}

TEST(a_call_of_another_size_is_measured_first) {
  PromptPace pace;
  CHECK(pace.wants_plain(1));
  Machine machine;
  pace.observe(machine.call(1, 0, 0));
  CHECK(!pace.wants_plain(1));
  CHECK(pace.wants_plain(2));
  pace.observe(machine.call(3, 0, 0));
  CHECK(!pace.wants_plain(2));
  CHECK(pace.wants_plain(64));
  CHECK(pace.wants_plain(1000));
  pace.observe(machine.call(100, 0, 0));
  CHECK(!pace.wants_plain(64));
  for (u32 i = 0; i < 16; ++i) {
    CHECK(!pace.wants_plain(1));
    pace.observe(machine.call(1, 8, 100));
  }
  CHECK(pace.wants_plain(1));
}

TEST(a_clock_that_stands_still_stops_no_prompt) {
  PromptPace pace;
  u64 position = 0;
  for (u32 i = 0; i < 100; ++i) {
    const u32 n = pace.wants_plain(4) ? 0 : pace.choose(4, position);
    pace.observe({4, n, n * position, 0, 0});
    position += n;
  }
  CHECK(position > 500);
}
