// A policy as a pure function, with a file that takes each change.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "recorded.h"

#include "governor/policy.h"

namespace policy_test {

using namespace flyball;
using namespace flyball::governor;
using namespace flyball::governor::policy;
using test::Recorded;
using test::string;

inline constexpr TunableLimits asked{4096, 256, 16};
inline constexpr TurnSeen calm{1000, 1000, 50'000, 8000, 100, false, false};
inline constexpr TurnSeen stopped{1000, 1000, 50'000, 8000, 100, true, false};

// A policy on a file that takes each change, unless the test says otherwise.
struct World {
  Settings settings;
  policy::State state;
  std::vector<Recorded> recorded;
  std::function<Applied(const PlannedChange&)> file = [](const PlannedChange& planned) {
    return Applied{planned.limits, true};
  };
  std::function<void(Reason, const std::string&)> journal;

  explicit World(std::vector<std::pair<const char*, const char*>> words = {}, const History& history = {}) {
    for (const auto& [key, word] : words) REQUIRE(governor::set(&settings, key, word).ok());
    state = policy::begin(asked, {32'768, 8}, asked, history);
  }

  template <class Seen>
  void see(Reason reason, const Seen& seen) {
    if (journal) {
      char buffer[1024];
      Writer out(buffer, sizeof buffer);
      JsonWriter json(out);
      policy::write(json, seen);
      REQUIRE(!out.truncated());
      journal(reason, string(out.text()));
    }
    const Record record{this, [](void* self, Reason why, Str data) {
                          static_cast<World*>(self)->recorded.push_back({why, string(data)});
                        }};
    const PlannedChange planned = policy::observe(settings, state, seen, record);
    if (planned.what == PlannedChange::apply) see(Reason::SESSION_APPLIED, file(planned));
    if (planned.what == PlannedChange::restore) see(Reason::SESSION_RESTORED, Restored{true});
  }
  void turn(const TurnSeen& seen, u32 times = 1) {
    for (u32 i = 0; i < times; ++i) see(Reason::SESSION_TURN_SEEN, seen);
  }
  void choose(Action action, Consulted seen = plenty()) {
    seen.scores[u64(action)] = 10;
    see(Reason::SESSION_CONSULTED, seen);
  }
  static Consulted plenty() {
    Consulted seen;
    seen.available_mb = 8000;
    seen.cache_mb = 100;
    return seen;
  }

  u64 count(Reason reason) const {
    u64 n = 0;
    for (const Recorded& t : recorded) n += t.reason == reason;
    return n;
  }
  std::vector<Reason> reasons() {
    std::vector<Reason> list;
    for (const Recorded& t : recorded) list.push_back(t.reason);
    recorded.clear();
    return list;
  }
};

using Reasons = std::vector<Reason>;

inline World aggressive() { return World({{"policy.auto_apply", "aggressive"}, {"policy.plan_steps", "9"}}); }

inline void make_degraded(World& world) {
  world.turn(stopped, 2);
  REQUIRE(world.state.history.mode == Mode::degraded);
  world.recorded.clear();
}

}  // namespace policy_test
