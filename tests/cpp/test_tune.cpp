#include "catalog/tune.h"

#include <random>
#include <string>
#include <vector>

#include "fake_platform.h"
#include "governor/race.h"
#include "small_model.h"

using namespace flyball;
using namespace flyball::catalog;
using namespace flyball::engine;
using governor::Race;

namespace {

struct Raced {
  u32 chosen = 0;
  u32 n_measured = 0;
};

// A race of arms with these true costs; `noise(cost)` is what a measurement gives.
template <class Noise>
Raced race(const std::vector<u64>& costs, u64 slack, Noise&& noise) {
  Race race(u32(costs.size()));
  Raced raced;
  for (; !race.decided(); ++raced.n_measured) {
    REQUIRE(raced.n_measured < Race::max_arms * Race::most_rounds);
    race.observe(noise(costs[race.next()]));
  }
  raced.chosen = race.choose(slack);
  return raced;
}

}  // namespace

TEST(a_race_without_noise_finds_the_best) {
  const auto exact = [](u64 cost) { return cost; };
  CHECK_EQ(race({500, 300, 200, 190, 400}, 0, exact).chosen, 3u);
  CHECK_EQ(race({500, 300, 200, 190, 400}, 10, exact).chosen, 2u);  // nearly as good, and preferred
  CHECK_EQ(race({7}, 0, exact).chosen, 0u);
  CHECK_EQ(race({7}, 0, exact).n_measured, 0u);
  CHECK(race({1000, 100, 1000, 1000}, 0, exact).n_measured < 10u);  // what is twice as slow is measured twice
}

// Measurements of a shared machine: a little noise always, now and then half as long again, seldom ten times.
TEST(a_race_comes_within_five_percent_on_a_noisy_machine) {
  std::mt19937_64 random(7);
  u32 n_bad = 0;
  constexpr u32 n_races = 2000;
  for (u32 i = 0; i < n_races; ++i) {
    std::vector<u64> costs(2 + random() % 14);
    u64 best = ~u64(0);
    for (u64& cost : costs) cost = 1'000'000 + random() % 4'000'000, best = min(best, cost);
    const Raced raced = race(costs, 2, [&](u64 cost) {
      const u64 kind = random() % 100;
      const u64 share = kind == 0 ? 1000 : kind < 10 ? 150 : 100 + random() % 4;
      return cost * share / 100;
    });
    n_bad += 100 * costs[raced.chosen] > 105 * best;
  }
  CHECK(n_bad * 100 <= n_races);  // one in a hundred
  test::note(std::to_string(n_bad) + " of " + std::to_string(n_races) + " more than 5 % off");
}

TEST(a_race_that_is_cut_short_knows_what_it_measured) {
  Race race(3);
  CHECK_EQ(race.choose(0), 0u);
  race.observe(100);
  race.observe(50);
  CHECK_EQ(race.choose(0), 1u);
  CHECK(race.cost(2) == Race::unknown);
}

namespace {

struct World {
  test::FakePlatform fake;
  Model* model = nullptr;
  explicit World(u32 n_processors) {
    fake.platform.n_processors = n_processors;
    fake.files["m.gguf"] = test::small_model(test::chat_vocabulary());
    model = Model::load(fake.platform, "m.gguf", {}).value();
  }
  ~World() { Model::release(model); }
  Tuned tune(Objective objective = Objective::latency, bool again = false) {
    TuneOptions options;
    options.objective = objective;
    options.cache_file = "tuned.txt";
    options.refresh = again;
    return catalog::tune(*model, options).value();
  }
};

}  // namespace

TEST(tuning_is_measured_once_and_remembered) {
  World world(4);
  const Tuned measured = world.tune();
  CHECK(!measured.cached);
  CHECK_EQ(measured.n_candidates, 4u);
  CHECK(measured.n_probes >= 8);
  CHECK_EQ(measured.threads, 1u);  // here all cost the same: the fewest
  CHECK_EQ(world.model->threads(), 1u);
  CHECK(world.tune().cached);
  CHECK(!world.tune(Objective::throughput).cached);
  CHECK(!world.tune(Objective::latency, true).cached);
  CHECK(world.tune().cached);
  u64 n_lines = 0;
  for (const char c : world.fake.files["tuned.txt"]) n_lines += c == '\n';
  CHECK_EQ(n_lines, u64(2));
}

TEST(a_memory_that_makes_no_sense_is_none) {
  World world(4);
  (void)world.tune();
  const std::string good = world.fake.files["tuned.txt"], key = good.substr(0, 64);
  for (const std::string& bad :
       {std::string(), std::string("\n\n\n"), key, key + "\n", key + " 1\n", key + " 0 1\n", key + " 5 1\n",
        key + " 1 -1\n", key + " 1 1 1\n", key + " 18446744073709551616 1\n", std::string(2 << 20, 'x')}) {
    world.fake.files["tuned.txt"] = bad;
    CHECK(!world.tune().cached);
  }
  world.fake.files["tuned.txt"] = "something else\n" + good + "and more";
  CHECK(world.tune().cached);
}

TEST(tuning_ends_when_its_time_is_over) {
  World world(16);
  world.fake.tick = 50'000'000;  // every look at the clock takes as long as a step of a large model
  const Tuned tuned = world.tune();
  CHECK(tuned.spent_ns < 3'000'000'000);
  CHECK(tuned.threads >= 1 && tuned.threads <= 16);
}

TEST(one_processor_has_nothing_to_choose) {
  World world(1);
  const Tuned tuned = world.tune();
  CHECK_EQ(tuned.n_probes, 0u);
  CHECK_EQ(tuned.decode_threads, 1u);
}
