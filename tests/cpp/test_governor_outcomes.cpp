// The outcomes of a policy's changes: what is evidence, of harm and of its absence, and by which rules.
#include "governor/replay.h"
#include "journal/event_data.h"
#include "policy_world.h"

using namespace policy_test;

// Each way round: answers that were ended before and are not any more, and the other way.
TEST(policy_outcomes_are_judged_and_remembered) {
  World improved = aggressive();
  improved.turn(stopped, 8);
  improved.choose(Action::reduce_answer);
  improved.turn(calm, 8);
  CHECK_EQ(improved.count(Reason::OUTCOME_IMPROVED), u64(1));
  CHECK_EQ(improved.state.history.outcomes[u64(Action::reduce_answer)].history, i64(100));
  const Choice choice{Action::reduce_answer, 90, 80};
  CHECK_EQ(policy::confidence(improved.settings, improved.state, World::plenty(), choice).outcomes, i64(5));

  World regressed = aggressive();
  regressed.turn(calm, 8);
  regressed.state.history.mode = Mode::degraded;
  regressed.choose(Action::reduce_answer);
  regressed.recorded.clear();
  regressed.turn(stopped, 8);
  CHECK_EQ(regressed.count(Reason::OUTCOME_REGRESSED), u64(1));
  CHECK_EQ(regressed.count(Reason::APPLY_UNDONE), u64(1));
  CHECK(regressed.state.now == asked);
  CHECK_EQ(policy::confidence(regressed.settings, regressed.state, World::plenty(), choice).outcomes, i64(-10));
}

// The machine became quiet, and the counter with it: that is not what the action did.
TEST(policy_takes_no_credit_for_a_quieter_machine) {
  World world = aggressive();
  TurnSeen busy = stopped;
  busy.step_cycles = 1800;
  world.turn(busy, 8);
  world.choose(Action::reduce_answer);
  world.turn(calm, 8);
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(1));
  for (const Recorded& t : world.recorded)
    CHECK(t.reason != Reason::OUTCOME_INCONCLUSIVE || t.data.find("\"pairs\":0,") != std::string::npos);
  CHECK_EQ(world.state.history.outcomes[u64(Action::reduce_answer)].history, i64(0));
}

TEST(policy_compares_memory_at_equal_depth) {
  Answers before, after;
  for (u32 i = 0; i < 8; ++i) {
    TurnSeen seen = calm;
    before.add(seen, 8);
    seen.resident_kb -= 2000;
    after.add(seen, 8);
  }
  const ActionInfo& action = policy::info(Action::reduce_cache);
  CHECK(compare(action, before, after).verdict == Comparison::improved);
  CHECK(compare(action, after, before).verdict == Comparison::regressed);
  for (TurnSeen& seen : after.seen) seen.depth = 1000;
  CHECK_EQ(compare(action, before, after).pairs, 0u);
}

TEST(policy_outcomes_need_more_than_chance) {
  const ActionInfo& action = policy::info(Action::reduce_answer);
  const auto verdict = [&](u32 better, u32 worse, u32 same) {
    Answers before, after;
    const auto add = [&](u32 n, bool was, bool is) {
      for (u32 i = 0; i < n; ++i) {
        TurnSeen seen = calm;
        // Pairs are found by speed: each has its own.
        seen.step_cycles = u64(1000) << before.n;
        seen.stopped = was;
        before.add(seen, max_outcome_turns);
        seen.stopped = is;
        after.add(seen, max_outcome_turns);
      }
    };
    add(better, true, false), add(worse, false, true), add(same, true, true);
    const Comparison c = compare(action, before, after);
    CHECK_EQ(c.pairs, better + worse + same);
    CHECK_EQ(c.better, better);
    CHECK_EQ(c.worse, worse);
    return c.verdict;
  };
  CHECK(verdict(4, 0, 4) == Comparison::inconclusive);  // 1 of 16
  CHECK(verdict(5, 0, 3) == Comparison::improved);      // 1 of 32
  CHECK(verdict(7, 1, 0) == Comparison::improved);      // 9 of 256
  CHECK(verdict(6, 1, 0) == Comparison::inconclusive);  // 8 of 128
  CHECK(verdict(0, 6, 0) == Comparison::regressed);
  CHECK(verdict(0, 0, 8) == Comparison::inconclusive);
}

TEST(policy_trials_end_where_nothing_can_be_compared) {
  World world = aggressive();
  make_degraded(world);
  world.choose(Action::reduce_context);  // cycles need the machine's speed
  TurnSeen unknown = calm;
  unknown.step_cycles = 0;
  world.turn(unknown, 31);
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(0));
  world.turn(unknown);
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(1));
}

// The worst harm: nothing is decoded, so that neither speed nor cost is known.
TEST(policy_answers_that_end_at_once_are_evidence) {
  const TurnSeen at_once{0, 0, 50'000, 8000, 100, true, false}, full{0, 0, 50'000, 8000, 100, false, true};
  for (const Action action : {Action::reduce_answer, Action::reduce_context, Action::reduce_cache}) {
    for (const TurnSeen& ended : {at_once, full}) {
      World world = aggressive();
      world.turn(calm, 8);
      world.state.history.mode = Mode::degraded;
      world.choose(action);
      world.turn(ended, 7);
      CHECK_EQ(world.count(Reason::OUTCOME_REGRESSED), u64(0));
      world.turn(ended);
      CHECK_EQ(world.count(Reason::OUTCOME_REGRESSED), u64(1));
      CHECK_EQ(world.count(Reason::APPLY_UNDONE), u64(1));
      CHECK(world.state.now == asked);
    }
  }
}

// As many answers as before ended early: that is not what the action did.
TEST(policy_answers_that_ended_early_before_are_no_harm) {
  World world = aggressive();
  const TurnSeen at_once{0, 0, 50'000, 8000, 100, true, false};
  for (u32 i = 0; i < 8; ++i) world.turn(i % 2 ? at_once : calm);
  world.choose(Action::reduce_answer);
  for (u32 i = 0; i < 8; ++i) world.turn(i % 2 ? calm : at_once);
  CHECK_EQ(world.count(Reason::OUTCOME_REGRESSED), u64(0));
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(1));  // only four could have become worse
}

TEST(policy_harm_is_not_blamed_on_a_slower_machine) {
  TurnSeen slow = stopped;
  slow.step_cycles = 1800;
  World world = aggressive();
  world.turn(calm, 8);
  world.state.history.mode = Mode::degraded;
  world.choose(Action::reduce_answer);
  world.turn(slow, 8);
  CHECK_EQ(world.count(Reason::OUTCOME_INCONCLUSIVE), u64(1));
}

// Harmless is a verdict of its own: enough answers that could have become worse, and did not.
TEST(policy_finds_no_harm_only_where_it_would_have_shown) {
  const auto reason = [](Action action, const TurnSeen& before, const TurnSeen& after, u32 n = 8) {
    World world = aggressive();
    world.turn(before, n);
    world.state.history.mode = Mode::degraded;
    world.choose(action);
    world.recorded.clear();
    world.turn(after, 32);
    for (const Recorded& t : world.recorded) {
      if (journal::info(t.reason).family == "OUTCOME") return t.reason;
    }
    return Reason::POLICY_STAY;
  };
  CHECK(reason(Action::reduce_answer, calm, calm) == Reason::OUTCOME_UNCHANGED);
  CHECK(reason(Action::reduce_answer, calm, calm, 5) == Reason::OUTCOME_UNCHANGED);  // 1 of 32
  CHECK(reason(Action::reduce_answer, calm, calm, 4) == Reason::OUTCOME_INCONCLUSIVE);
  CHECK(reason(Action::reduce_answer, stopped, stopped) == Reason::OUTCOME_INCONCLUSIVE);
  TurnSeen slow = calm;  // another program came
  slow.step_cycles = slow.cycles_per_token = 1800;
  CHECK(reason(Action::reduce_answer, calm, slow) == Reason::OUTCOME_UNCHANGED);
  CHECK(reason(Action::reduce_cache, calm, slow) == Reason::OUTCOME_UNCHANGED);
  CHECK(reason(Action::reduce_context, calm, slow) == Reason::OUTCOME_INCONCLUSIVE);
  TurnSeen dear = calm;  // at the same speed
  dear.cycles_per_token = 1400;
  CHECK(reason(Action::reduce_cache, calm, dear) == Reason::OUTCOME_UNCHANGED);
  dear.cycles_per_token = 1500;
  CHECK(reason(Action::reduce_cache, calm, dear) == Reason::OUTCOME_REGRESSED);
  CHECK(reason(Action::reduce_answer, calm, dear) == Reason::OUTCOME_REGRESSED);
  CHECK(reason(Action::reduce_answer, dear, calm) == Reason::OUTCOME_UNCHANGED);  // not what it is for
  dear.depth = 1000;
  CHECK(reason(Action::reduce_answer, calm, dear) == Reason::OUTCOME_UNCHANGED);
  TurnSeen unknown = calm;
  unknown.resident_kb = 0;
  CHECK(reason(Action::reduce_cache, calm, unknown) == Reason::OUTCOME_INCONCLUSIVE);
  CHECK(reason(Action::reduce_cache, unknown, calm) == Reason::OUTCOME_INCONCLUSIVE);
  TurnSeen empty = calm;
  empty.cycles_per_token = empty.step_cycles = 0;
  CHECK(reason(Action::reduce_answer, calm, empty) == Reason::OUTCOME_INCONCLUSIVE);
  TurnSeen interrupted = calm;
  interrupted.interrupted = true;
  CHECK(reason(Action::reduce_answer, calm, interrupted) == Reason::OUTCOME_INCONCLUSIVE);
  CHECK(reason(Action::reduce_answer, interrupted, calm) == Reason::OUTCOME_INCONCLUSIVE);
}

// A journal that does not say otherwise was decided by the first rules, and its replay is.
TEST(policy_replays_a_journal_by_the_rules_that_decided_it) {
  const auto outcomes = [](u32 rules) {
    World world = aggressive();
    world.state.outcome_rules = rules;
    journal::EventData<> opening;
    policy::write_opening(opening.json, world.settings, world.state);
    std::string data = string(opening.done());
    const std::string member = ",\"outcome_rules\":" + std::to_string(rules);
    REQUIRE(data.find(member) != std::string::npos);
    if (rules == 1) data.erase(data.find(member), member.size());
    Replay replay;
    REQUIRE(replay.observe(Reason::SESSION_POLICY_OPENED, 0, {data.data(), data.size()}, {}).ok());
    std::vector<Recorded> decided;
    world.journal = [&](Reason reason, const std::string& seen) {
      const Record record{&decided, [](void* list, Reason why, Str what) {
                            static_cast<std::vector<Recorded>*>(list)->push_back({why, string(what)});
                          }};
      REQUIRE(replay.observe(reason, 0, {seen.data(), seen.size()}, record).ok());
    };
    world.turn(calm, 8);
    world.turn(stopped, 2);
    world.choose(Action::reduce_answer);
    world.turn({0, 0, 50'000, 8000, 100, true, false}, 32);
    CHECK(decided == world.recorded);
    return std::vector<u64>{world.count(Reason::OUTCOME_REGRESSED), world.count(Reason::OUTCOME_INCONCLUSIVE)};
  };
  CHECK(outcomes(1) == (std::vector<u64>{0, 1}));
  CHECK(outcomes(2) == (std::vector<u64>{1, 0}));
  policy::State state;
  journal::EventData<> opening;
  state.outcome_rules = 3;
  policy::write_opening(opening.json, {}, state);
  CHECK(!Replay().observe(Reason::SESSION_POLICY_OPENED, 0, opening.done(), {}).ok());
}
