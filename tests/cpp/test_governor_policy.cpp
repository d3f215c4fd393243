// The policy as a pure function: modes, choices, confidence, plan; and that a replay decides the same.
#include <map>
#include <random>

#include "governor/replay.h"
#include "journal/event_data.h"
#include "policy_world.h"

using namespace policy_test;

TEST(policy_modes_follow_the_evidence_slowly) {
  World world;
  world.turn(stopped);
  CHECK(world.recorded.empty());
  world.turn(calm, 7);  // not calm for long enough to forget it
  world.turn(stopped);
  CHECK(world.reasons() == Reasons{Reason::POLICY_WORSE});
  world.turn(stopped, 2);
  CHECK(world.state.history.mode == Mode::safe);
  world.turn(stopped, 5);  // no worse mode
  CHECK(world.reasons() == Reasons{Reason::POLICY_WORSE});
  world.turn(calm, 16);
  CHECK(world.state.history.mode == Mode::normal);
  CHECK(world.reasons() == (Reasons{Reason::POLICY_BETTER, Reason::POLICY_BETTER}));
  world.turn(stopped);
  world.turn(calm, 8);  // forgotten
  world.turn(stopped);
  CHECK(world.recorded.empty());
}

TEST(policy_sees_slow_machines_and_little_memory_as_trouble) {
  World slow, full;
  TurnSeen seen = calm;
  slow.turn(calm);
  seen.step_cycles = 1510;
  slow.turn(seen, 2);
  CHECK(slow.state.history.mode == Mode::degraded);
  seen = calm;
  seen.available_mb = 511;
  full.turn(seen, 2);
  CHECK(full.state.history.mode == Mode::degraded);
}

TEST(policy_chooses_by_probability) {
  Consulted seen;
  CHECK(policy::choose(seen).action == Action::stay);  // all alike: nothing changes
  CHECK_EQ(policy::choose(seen).margin_percent, u64(0));
  CHECK_EQ(policy::choose(seen).percent, u64(11));
  seen.scores[u64(Action::reduce_cache)] = -1;
  seen.scores[u64(Action::restart)] = 3;
  const Choice choice = policy::choose(seen);
  CHECK(choice.action == Action::restart);
  CHECK(choice.percent > 70 && choice.percent < 75);
  CHECK(choice.margin_percent > 65 && choice.margin_percent < choice.percent);
}

TEST(policy_applies_a_step_and_verifies_it) {
  World world = aggressive();
  make_degraded(world);
  world.choose(Action::reduce_answer);
  CHECK(world.reasons() == (Reasons{Reason::POLICY_CHOICE, Reason::CONFIDENCE_PASSED, Reason::PLAN_CHECKPOINT,
                                    Reason::PLAN_STEP, Reason::APPLY_VERIFIED}));
  CHECK_EQ(world.state.now.max_tokens, 128u);
  CHECK(world.state.checkpoint == asked);
  CHECK(world.state.trial == Action::reduce_answer);
  world.choose(Action::reduce_cache);  // one change at a time, so that each has its own outcome
  CHECK(world.reasons() == (Reasons{Reason::POLICY_CHOICE, Reason::CONFIDENCE_PASSED, Reason::BLOCK_TRIAL_PENDING}));
  world.choose(Action::stay);
  CHECK(world.reasons() == Reasons{Reason::POLICY_STAY});
}

TEST(policy_says_why_it_does_nothing) {
  const auto last = [](World& world, Action action, Consulted seen = World::plenty()) {
    world.recorded.clear();
    world.choose(action, seen);
    CHECK(world.state.now == asked);
    return world.recorded.back().reason;
  };
  World off;
  CHECK(last(off, Action::reduce_answer) == Reason::BLOCK_NO_CAUSE);
  CHECK(last(off, Action::increase_answer) == Reason::BLOCK_AT_LIMIT);
  CHECK(last(off, Action::restart) == Reason::POLICY_SUGGESTED);
  make_degraded(off);
  CHECK(last(off, Action::reduce_answer) == Reason::APPLY_SIMULATED);

  World conservative({{"policy.auto_apply", "conservative"}, {"policy.most_context", "8192"}});
  CHECK(last(conservative, Action::increase_context) == Reason::BLOCK_CONSERVATIVE);
  Consulted full = World::plenty();
  full.available_mb = 600;
  full.cache_mb = 100;  // 500 would be left
  REQUIRE(governor::set(&conservative.settings, "policy.threshold", "61").ok());
  CHECK(last(conservative, Action::increase_context, full) == Reason::CONFIDENCE_TOO_LOW);
  REQUIRE(governor::set(&conservative.settings, "policy.threshold", "50").ok());
  CHECK(last(conservative, Action::increase_context, full) == Reason::BLOCK_MEMORY);
  make_degraded(conservative);
  REQUIRE(governor::set(&conservative.settings, "policy.threshold", "0").ok());
  CHECK(last(conservative, Action::increase_context) == Reason::BLOCK_MODE);
  conservative.state.steps = 2;
  CHECK(last(conservative, Action::reduce_context) == Reason::BLOCK_PLAN_DONE);
  conservative.state.hard_stopped = true;
  CHECK(last(conservative, Action::reduce_context) == Reason::BLOCK_HARD_STOP);
}

TEST(policy_does_not_choose_what_the_model_cannot_have) {
  World world = aggressive();
  make_degraded(world);
  world.state.possible.least_cache_bits = 16;
  world.choose(Action::reduce_cache);
  CHECK(world.recorded.back().reason == Reason::BLOCK_AT_LIMIT);
  world.settings.most_context = 100'000;
  CHECK_EQ(policy::most(world.settings, world.state).context, 32'768u);
}

TEST(policy_gate_tells_only_where_it_is_asked_to) {
  World world({{"policy.auto_apply", "conservative"}, {"policy.threshold", "100"}});
  make_degraded(world);
  world.choose(Action::reduce_answer);
  CHECK(world.reasons() == (Reasons{Reason::POLICY_CHOICE, Reason::CONFIDENCE_TOO_LOW}));
  world.settings.gate = Settings::log_only;
  world.choose(Action::reduce_answer);
  CHECK(world.recorded[1].reason == Reason::CONFIDENCE_LOG_ONLY);
  CHECK_EQ(world.state.now.max_tokens, 128u);
}

TEST(policy_shows_every_term_of_its_confidence) {
  World world = aggressive();
  make_degraded(world);
  world.choose(Action::reduce_answer);
  CHECK_EQ(world.recorded[1].data,
           "{\"action\":\"reduce_answer\",\"score\":80,\"threshold\":60,\"base\":50,\"mode\":10,\"memory\":0,"
           "\"context\":0,\"margin\":20,\"outcomes\":0}");
  Confidence c;
  c.mode = -200;
  CHECK_EQ(c.score(), u64(0));
  c.mode = 200;
  CHECK_EQ(c.score(), u64(100));
}

TEST(policy_does_not_take_indifference_for_a_choice) {
  World world = aggressive();
  make_degraded(world);
  Consulted seen = World::plenty();
  seen.scores[u64(Action::reduce_cache)] = 0.1f;
  seen.scores[u64(Action::reduce_answer)] = 0.2f;
  world.see(Reason::SESSION_CONSULTED, seen);
  CHECK(world.recorded.back().reason == Reason::CONFIDENCE_TOO_LOW);
  CHECK(world.recorded.back().data.find("\"margin\":-19,") != std::string::npos);
  CHECK(world.state.now == asked);
}

TEST(policy_restores_what_cannot_be_verified_and_stops) {
  const auto broken = [](Applied applied) {
    World world = aggressive();
    make_degraded(world);
    world.file = [applied](const PlannedChange&) { return applied; };
    world.choose(Action::reduce_context);
    Reasons reasons = world.reasons();
    reasons.erase(reasons.begin(), reasons.begin() + 4);
    CHECK(reasons == (Reasons{Reason::APPLY_NOT_VERIFIED, Reason::PLAN_HARD_STOP, Reason::PLAN_RESTORED}));
    CHECK(world.state.now == asked);
    CHECK(world.state.trial == Action::stay);
    world.choose(Action::reduce_context);
    CHECK(world.recorded.back().reason == Reason::BLOCK_HARD_STOP);
  };
  broken({});                        // not written
  broken({{2048, 256, 16}, false});  // other bytes
  broken({{2047, 256, 16}, true});   // another value
}

TEST(policy_gives_back_when_the_cause_is_gone) {
  World world = aggressive();
  make_degraded(world);
  world.choose(Action::reduce_answer);
  world.turn(calm, 8);  // judged: as before
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(1));
  CHECK(world.state.history.mode == Mode::normal);
  CHECK_EQ(world.state.now.max_tokens, 128u);
  world.turn(calm, 7);
  CHECK_EQ(world.count(Reason::APPLY_REVERTED), u64(0));
  world.turn(calm);
  CHECK_EQ(world.count(Reason::APPLY_REVERTED), u64(1));
  CHECK(world.state.now == asked);
  world.turn(calm, 100);
  CHECK_EQ(world.count(Reason::APPLY_REVERTED), u64(1));
}

// A program that starts, and how the one before it ended.
TEST(policy_risks_less_after_failed_starts) {
  World world;
  const auto start = [&] { world.see(Reason::SESSION_START_SEEN, StartSeen{}); };
  const History::Starts& starts = world.state.history.starts;
  start();
  CHECK_EQ(starts.n, u64(1));
  CHECK(starts.running && !starts.stable);
  start();  // the first did not end in order
  CHECK(world.reasons() == (Reasons{Reason::POLICY_START_FAILED, Reason::POLICY_WORSE}));
  start();
  CHECK(world.state.history.mode == Mode::safe);
  start();
  CHECK_EQ(starts.failed, u64(3));
  world.recorded.clear();
  world.turn(calm, 7);
  world.turn(stopped);
  world.turn(calm, 7);
  CHECK_EQ(world.count(Reason::POLICY_START_STABLE), u64(0));
  world.turn(calm);
  CHECK_EQ(world.count(Reason::POLICY_START_STABLE), u64(1));
  CHECK_EQ(starts.failed, u64(0));
  world.turn(calm, 8);
  CHECK(world.state.history.mode == Mode::normal);
  world.recorded.clear();
  start();  // power cut of a machine that was stable
  CHECK(world.recorded.empty());
  world.state.history.starts.running = false;  // in order
  start();
  CHECK(world.recorded.empty());
  CHECK_EQ(starts.n, u64(6));
}

TEST(policy_rolls_back_what_no_start_has_proven) {
  const TunableLimits changed{4096, 128, 16}, before{4096, 64, 16}, out_of_range{1, 1, 1};
  const auto failed_start = [&](const TunableLimits& now, const TunableLimits& checkpoint, bool unproven = true) {
    World world;
    world.settings.auto_apply = Settings::reductions;
    world.state.now = now;
    world.state.history.starts = {5, 0, true, false, unproven};
    world.recorded.clear();
    PlannedChange written;
    world.file = [&](const PlannedChange& planned) { return written = planned, Applied{planned.limits, true}; };
    world.see(Reason::SESSION_START_SEEN, StartSeen{checkpoint});
    CHECK_EQ(world.count(Reason::POLICY_START_FAILED), u64(1));
    CHECK_EQ(world.count(Reason::PLAN_ROLLED_BACK), u64(written.what == PlannedChange::apply));
    if (written.what == PlannedChange::apply) {
      CHECK(written.checkpoint && world.state.checkpoint == written.limits);
      CHECK(world.state.now == written.limits);
      CHECK_EQ(world.state.history.starts.unproven, world.state.now != asked);
    }
    return world.state.now;
  };
  CHECK(failed_start(changed, before) == before);
  CHECK(failed_start(before, before) == asked);  // the checkpoint is what failed
  CHECK(failed_start(changed, out_of_range) == asked);
  CHECK(failed_start(changed, {}) == asked);
  CHECK(failed_start(changed, before, false) == changed);
  CHECK(failed_start(asked, asked) == asked);

  World world = aggressive();
  world.see(Reason::SESSION_START_SEEN, StartSeen{});
  make_degraded(world);
  world.turn(calm, 7);
  world.turn(stopped);
  world.choose(Action::reduce_answer);
  CHECK(world.state.history.starts.unproven);
  world.turn(calm, 8);
  CHECK(world.state.history.starts.stable && !world.state.history.starts.unproven);
}

TEST(policy_increases_to_its_limit_and_no_further) {
  World world({{"policy.auto_apply", "aggressive"},
               {"policy.most_context", "10000"},
               {"policy.plan_steps", "9"},
               {"policy.outcome_turns", "5"}});
  TurnSeen cut = calm;
  cut.cut = true;
  for (const u32 expected : {8192u, 10000u, 10000u}) {
    world.turn(cut, 5);
    Consulted seen = World::plenty();
    seen.depth = 4000;
    world.choose(Action::increase_context, seen);
    CHECK_EQ(world.state.now.context, expected);
    world.turn(calm, 5);
  }
  CHECK_EQ(world.count(Reason::BLOCK_AT_LIMIT), u64(1));
  CHECK_EQ(world.count(Reason::OUTCOME_IMPROVED), u64(2));
}

TEST(policy_data_reads_back) {
  const auto round_trip = [](const auto& seen) {
    char buffer[2048];
    Writer out(buffer, sizeof buffer);
    JsonWriter json(out);
    policy::write(json, seen);
    REQUIRE(!out.truncated());
    auto read_back = seen;
    REQUIRE(policy::read(Json::parse(out.text()).value(), &read_back).ok());
    char again[2048];
    Writer second(again, sizeof again);
    JsonWriter same(second);
    policy::write(same, read_back);
    CHECK_EQ(out.text(), second.text());
  };
  round_trip(stopped);
  TurnSeen interrupted = calm;
  interrupted.interrupted = true;
  round_trip(interrupted);
  Consulted consulted = World::plenty();
  consulted.scores[3] = -1.25f;
  consulted.mock = true;
  round_trip(consulted);
  round_trip(Applied{asked, true});
  round_trip(Restored{true});
  round_trip(StartSeen{asked});
  History history;
  history.mode = Mode::safe;
  history.outcomes[2] = {-200, 1, 2, 3, 4};
  history.starts = {7, 2, true, true, true};
  round_trip(history);

  History out;
  Consulted scores;
  for (const char* bad :
       {"{}", "{\"mode\":\"x\",\"outcomes\":{}}", "{\"mode\":\"safe\",\"outcomes\":[]}",
        "{\"mode\":\"safe\",\"outcomes\":{\"stay\":1}}", "{\"mode\":1,\"outcomes\":{}}",
        "{\"mode\":\"safe\",\"outcomes\":{\"jump\":{}}}", "{\"mode\":\"safe\",\"outcomes\":{},\"starts\":{}}"})
    CHECK(!policy::read(Json::parse(bad).value(), &out).ok());
  CHECK(!policy::read(Json::parse("{\"mock\":false,\"scores\":{}}").value(), &scores).ok());
  for (const char* score : {"\"nan\"", "\"inf\"", "1e7"}) {
    std::string text = "{\"mock\":false,\"scores\":{";
    for (const ActionInfo& action : policy::actions())
      text += "\"" + string(action.name) + "\":" + score + (&action == &policy::info(Action::restart) ? "}" : ",");
    text += ",\"available_mb\":1,\"cache_mb\":1,\"depth\":1}";
    CHECK(!policy::read(Json::parse({text.data(), text.size()}).value(), &scores).ok());
  }
}

TEST(policy_actions_are_found_by_name) {
  for (u32 i = 0; i < n_actions; ++i) CHECK(policy::parse_action(policy::info(Action(i)).name).value() == Action(i));
  CHECK(!policy::parse_action("reduce").ok());
}

// Whatever is seen: the configuration stays in its range, modes change no faster than is stated, a session's plan is
// bounded, and a replay of the journal decides the same.
TEST(policy_holds_its_bounds_on_random_sequences) {
  std::mt19937_64 random(11);
  const auto below = [&](u64 n) { return random() % n; };
  std::map<Reason, u64> seen_reasons;
  for (int sequence = 0; sequence < 100'000; ++sequence) {
    World world;
    Settings& s = world.settings;
    s.auto_apply = below(3), s.gate = below(2), s.threshold = below(101), s.plan_steps = 1 + below(5);
    s.bad_turns = 1 + below(3), s.calm_turns = 1 + below(4), s.outcome_turns = 5 + below(4);
    if (below(2)) s.most_context = 10'000, s.most_answer = 1000;
    std::vector<Recorded> decided;
    Replay replay;
    const bool replayed = sequence % 100 == 0;
    if (replayed) {
      journal::EventData<> opening;
      policy::write_opening(opening.json, s, world.state);
      REQUIRE(replay.observe(Reason::SESSION_POLICY_OPENED, 0, opening.done(), {}).ok());
      world.journal = [&](Reason reason, const std::string& data) {
        const Record record{&decided, [](void* list, Reason why, Str what) {
                              static_cast<std::vector<Recorded>*>(list)->push_back({why, string(what)});
                            }};
        REQUIRE(replay.observe(reason, 0, {data.data(), data.size()}, record).ok());
      };
    }
    world.file = [&](const PlannedChange& planned) {
      return below(30) ? Applied{planned.limits, true} : Applied{{u32(below(9999)), 256, 16}, below(2) == 0};
    };
    u64 turns_in_mode = 0;
    Mode mode = Mode::normal;
    for (u64 i = 10 + below(60); i > 0; --i) {
      if (below(20) == 0) {
        world.see(Reason::SESSION_START_SEEN, StartSeen{{u32(below(4097)), u32(below(257)), 16}});
        if (world.state.history.mode != mode) mode = world.state.history.mode, turns_in_mode = 0;
      } else if (below(3)) {
        world.turn({below(4) ? 950 + below(100) : below(3000), 500 + below(1000), 40'000 + below(9000), below(2000),
                    u32(below(4000)), below(4) == 0, below(4) == 0});
        ++turns_in_mode;
        const Mode now = world.state.history.mode;
        if (now != mode) {
          CHECK(turns_in_mode >= (now > mode ? s.bad_turns : s.calm_turns));
          CHECK(u8(now) + 1 == u8(mode) || u8(mode) + 1 == u8(now));
          mode = now, turns_in_mode = 0;
        }
      } else {
        Consulted seen;
        for (f32& score : seen.scores) score = f32(below(4000)) / 1000;
        seen.available_mb = below(4000), seen.cache_mb = below(1000), seen.depth = below(4096);
        world.see(Reason::SESSION_CONSULTED, seen);
      }
      CHECK(policy::in_range(s, world.state, world.state.now));
      CHECK(world.state.steps <= s.plan_steps);
      CHECK(s.auto_apply != Settings::nothing || world.state.now == asked);
      if (s.auto_apply == Settings::reductions) {
        CHECK(world.state.now.context <= asked.context && world.state.now.max_tokens <= asked.max_tokens);
      }
    }
    for (const Recorded& t : world.recorded) ++seen_reasons[t.reason];
    if (!replayed) continue;
    CHECK(decided == world.recorded);
    test::check_log_and_journal(world.recorded, {"[policy]"});
  }
  // The sequences reach all that the policy can say.
  for (u64 i = u64(Reason::POLICY_WORSE); i <= u64(Reason::OUTCOME_UNCHANGED); ++i) {
    if (Reason(i) == Reason::PLAN_NOT_RESTORED) continue;
    if (seen_reasons[Reason(i)] == 0) test::note("never: " + string(journal::info(Reason(i)).id));
    CHECK(seen_reasons[Reason(i)] > 0);
  }
}
