#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "recorded.h"

#include "governor/loop_watch.h"
#include "governor/replay.h"
#include "journal/event_data.h"

using namespace flyball;
using namespace flyball::governor;
using test::Recorded;
using test::string;

namespace {

// A governed session whose steps cost what the test says.
struct Governed {
  Settings settings;
  State state;
  std::vector<Recorded> recorded;
  u64 turn = 0;
  std::function<void(Reason, u64, const std::string&)> journal;  // what a session would write

  explicit Governed(Settings s = {}, Baseline known = {}) : settings(s), state(begin(s, known)) {}

  Record record() {
    return {this, [](void* self, Reason reason, Str data) {
              auto& g = *static_cast<Governed*>(self);
              g.recorded.push_back({reason, string(data)});
            }};
  }
  void note(Reason reason, const std::function<void(JsonWriter&)>& write) {
    if (!journal) return;
    std::vector<char> buffer(32768);
    Writer out(buffer.data(), buffer.size());
    JsonWriter json(out);
    write(json);
    journal(reason, turn, string(out.text()));
  }

  Knobs begin_turn(Knobs asked = {128, 40, 0.95f, 0.8f}, u64 prompt = 10) {
    ++turn;
    const TurnBegun seen{asked, prompt, {}};
    note(Reason::SESSION_TURN_BEGUN, [&](JsonWriter& json) { write(json, seen); });
    return governor::begin_turn(settings, state, seen, record());
  }
  Verdict call(const Call& call) {
    note(Reason::SESSION_CALLS, [&](JsonWriter& json) { write(json, Span<const Call>(&call, 1)); });
    return observe(settings, state, call, record());
  }
  Afterwards end_turn() {
    note(Reason::SESSION_TURN_ENDED, [](JsonWriter& json) { json.begin_object().end_object(); });
    return governor::end_turn(settings, state, record());
  }

  // A whole answer of `n` plain steps, each of `cycles`, a millisecond apart. Returns what ended it early, if anything.
  Verdict answer(u64 cycles, u32 n = 20, Knobs* given = nullptr) {
    const Knobs knobs = begin_turn();
    if (given) *given = knobs;
    Verdict verdict = call({Call::prompt, 10, 1, 10 * cycles, 0, 1000});
    for (u32 i = 0; i < n && !verdict.stop; ++i) verdict = call({Call::plain, 1, 1, cycles, 0, 1000 * u64(i + 2)});
    (void)end_turn();
    return verdict;
  }

  u64 count(Reason reason) const {
    u64 n = 0;
    for (const Recorded& t : recorded) n += t.reason == reason;
    return n;
  }
};

Settings with(std::vector<std::pair<const char*, const char*>> words) {
  Settings settings;
  for (const auto& [key, word] : words) REQUIRE(set(&settings, key, word).ok());
  return settings;
}

Settings autotuned() { return with({{"autotune.mode", "on"}, {"autotune.settle_turns", "0"}}); }
Settings guarded() { return with({{"guard.mode", "on"}}); }
constexpr Baseline usual{1000, 0};

}  // namespace

TEST(governor_settings_read_back) {
  const Settings settings = with({{"guard.mode", "simulate"}, {"guard.turn_ms", "1234"}, {"autotune.knobs", "all"}});
  CHECK_EQ(settings.guard_mode, u64(Settings::simulate));
  char buffer[4096];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  write_settings(json, settings);
  REQUIRE(!out.truncated());
  const auto parsed = Json::parse(out.text());
  REQUIRE(parsed.ok());
  const auto read = read_settings(parsed.value());
  REQUIRE(read.ok());
  CHECK(read.value() == settings);
}

TEST(governor_settings_refuse) {
  Settings settings;
  CHECK(!set(&settings, "guard.mode", "maybe").ok());
  CHECK(!set(&settings, "guard.turn_ms", "-1").ok());
  CHECK(!set(&settings, "guard.turn_ms", "86400001").ok());
  CHECK(!set(&settings, "guard.nothing", "1").ok());
  CHECK(settings == Settings());
  settings.low_percent = settings.high_percent;
  CHECK(!check(settings).ok());
  settings = {};
  settings.low_cycles = 5;
  CHECK(!check(settings).ok());
  settings.high_cycles = 6;
  CHECK(check(settings).ok());
}

TEST(governor_off_decides_nothing) {
  Governed g;
  for (u64 cycles : {1000u, 1000u, 1000u, 100'000u, 1000u}) CHECK(!g.answer(cycles).stop);
  CHECK_EQ(g.recorded.size(), u64(0));
}

TEST(governor_learns_what_a_token_costs) {
  Governed g(autotuned());
  g.answer(1500);
  g.answer(1000);
  CHECK(!calibrated(g.settings, g.state));
  g.answer(1200);
  CHECK(calibrated(g.settings, g.state));
  CHECK_EQ(g.state.baseline.rest_cycles, u64(1000));  // the quietest of them
  CHECK_EQ(g.count(Reason::AUTOTUNE_CALIBRATED), u64(1));
  g.answer(990);  // noise
  CHECK_EQ(g.state.baseline.rest_cycles, u64(1000));
  g.answer(900);
  CHECK_EQ(g.state.baseline.rest_cycles, u64(900));
  CHECK_EQ(g.count(Reason::AUTOTUNE_BASELINE_LOWERED), u64(1));
}

// What grows with the cache is no slow-down.
TEST(governor_expects_attention_to_grow) {
  Governed g(autotuned(), {1000, 1024});
  g.begin_turn({}, 4000);
  for (u64 i = 0; i < 20; ++i) g.call({Call::plain, 1, 1, 5000 + i, 4000 + i, 1000 * i});
  (void)g.end_turn();
  CHECK_EQ(g.recorded.size(), u64(0));
}

TEST(governor_tightens_and_relaxes) {
  Governed g(autotuned(), usual);
  Knobs given;
  g.answer(1600);
  CHECK_EQ(g.state.tightness, u64(1));
  g.answer(1600, 20, &given);
  CHECK_EQ(given.max_tokens, 112u);
  CHECK_EQ(given.top_k, 40u);  // sampling is not touched unless asked for
  g.answer(1300, 20, &given);  // between the marks
  CHECK_EQ(g.state.tightness, u64(2));
  g.answer(1000, 20, &given);
  CHECK_EQ(given.max_tokens, 96u);
  g.answer(1000);
  CHECK_EQ(g.state.tightness, u64(0));
  g.answer(1000, 20, &given);  // never beyond the request
  CHECK_EQ(g.state.tightness, u64(0));
  CHECK_EQ(given.max_tokens, 128u);
  CHECK_EQ(g.count(Reason::AUTOTUNE_TIGHTEN), u64(2));
  CHECK_EQ(g.count(Reason::AUTOTUNE_RELAX), u64(2));
  CHECK_EQ(g.count(Reason::AUTOTUNE_CAPS), u64(4));
}

TEST(governor_stops_tightening_at_the_floor) {
  Governed g(autotuned(), usual);
  for (int i = 0; i < 10; ++i) g.answer(5000);
  CHECK_EQ(g.state.tightness, u64(4));  // 128 to 64 in steps of 16
  CHECK_EQ(g.count(Reason::AUTOTUNE_AT_FLOOR), u64(6));
  CHECK_EQ(tightened(g.settings, {128, 0, 1, 0}, 1000).max_tokens, 64u);
}

TEST(governor_loosens_nothing) {
  Settings all = autotuned();
  REQUIRE(set(&all, "autotune.knobs", "all").ok());
  const Knobs small{10, 5, 0.5f, 0};  // all below the floors, and greedy
  CHECK(tightened(all, small, 3) == small);
  CHECK(safe(all, small) == small);
  const Knobs k = tightened(all, {128, 40, 0.95f, 0.8f}, 2);
  CHECK(k == (Knobs{96, 24, 0.95f - f32(f64(f32(0.02f)) * 2), 0.8f - f32(f64(f32(0.04f)) * 2)}));
  CHECK_EQ(tightened(all, {128, 0, 1, 1}, 2).top_k, 0u);  // all candidates: no number to lower
  CHECK_EQ(safe(all, {128, 0, 1, 1}).top_k, 40u);
}

TEST(governor_lets_a_change_settle) {
  Settings settings = autotuned();
  settings.settle_turns = 2;
  Governed g(settings, usual);
  g.answer(5000);
  g.answer(1000);
  g.answer(1000);
  CHECK_EQ(g.state.tightness, u64(1));
  CHECK_EQ(g.count(Reason::AUTOTUNE_COOLDOWN), u64(2));
  g.answer(1000);
  CHECK_EQ(g.state.tightness, u64(0));
  g.answer(5000);  // and the other way round
  CHECK_EQ(g.state.tightness, u64(0));
  CHECK_EQ(g.count(Reason::AUTOTUNE_COOLDOWN), u64(3));
}

TEST(governor_judges_no_short_answer) {
  Governed g(autotuned(), usual);
  g.answer(5000, 3);
  CHECK_EQ(g.recorded.size(), u64(0));
  g.answer(5000);
  g.answer(1000, 3);
  CHECK_EQ(g.count(Reason::AUTOTUNE_TOO_SHORT), u64(1));
  CHECK_EQ(g.state.tightness, u64(1));
}

TEST(governor_takes_absolute_marks) {
  Settings settings = autotuned();
  settings.high_cycles = 2000;
  settings.low_cycles = 1500;
  Governed g(settings);
  g.answer(2001);
  CHECK_EQ(g.count(Reason::AUTOTUNE_TIGHTEN), u64(1));
  g.answer(1499);
  CHECK_EQ(g.count(Reason::AUTOTUNE_RELAX), u64(1));
}

TEST(governor_simulates) {
  Settings settings = with({{"autotune.mode", "simulate"}, {"autotune.settle_turns", "0"}, {"guard.mode", "simulate"}});
  Governed g(settings, usual);
  Knobs given;
  CHECK(!g.answer(9000).stop);
  g.answer(1000, 20, &given);
  CHECK_EQ(given.max_tokens, 128u);
  CHECK_EQ(g.count(Reason::AUTOTUNE_TIGHTEN_SIMULATED), u64(1));
  CHECK_EQ(g.count(Reason::AUTOTUNE_RELAX_SIMULATED), u64(1));
  CHECK_EQ(g.count(Reason::GUARD_STOP_SIMULATED), u64(1));
  CHECK_EQ(g.state.safe_turns_left, u64(0));
}

TEST(guard_ends_an_answer_over_budget) {
  Governed g(guarded(), usual);
  g.begin_turn();
  (void)g.call({Call::prompt, 10, 1, 1'000'000, 0, 1});  // the prompt has no budget
  for (int i = 0; i < 5; ++i) CHECK(!g.call({Call::plain, 1, 1, 3001, 0, 2}).stop);
  CHECK(!g.call({Call::plain, 1, 1, 3000, 0, 2}).stop);
  CHECK(!g.call({Call::shared, 4, 1, 12'000, 0, 2}).stop);  // each row has its budget
  const Verdict verdict = g.call({Call::plain, 1, 1, 3001, 0, 2});
  CHECK(verdict.stop);
  CHECK(verdict.reason == Reason::GUARD_BUDGET_STOP);
  CHECK_EQ(g.recorded.back().data, "{\"at_token\":8,\"overruns\":6,\"budget_cycles\":3000}");
}

TEST(guard_enters_and_leaves_safe_mode) {
  Settings settings = guarded();
  settings.reset_cache = 1;
  Governed g(settings, usual);
  Knobs given;
  CHECK(g.answer(4000).stop);
  CHECK_EQ(g.count(Reason::GUARD_CACHE_RESET), u64(1));
  g.answer(1000, 20, &given);
  CHECK(given == (Knobs{96, 40, 0.88f, 0.7f}));
  g.answer(1000, 20, &given);
  CHECK(given == (Knobs{96, 40, 0.88f, 0.7f}));
  g.answer(1000, 20, &given);
  CHECK(given == (Knobs{128, 40, 0.95f, 0.8f}));
  CHECK_EQ(g.count(Reason::GUARD_SAFE_ENTERED), u64(1));
  CHECK_EQ(g.count(Reason::GUARD_SAFE_EXITED), u64(1));
}

TEST(guard_relaxes_nothing_in_safe_mode) {
  Settings settings = guarded();
  settings.autotune_mode = Settings::on;
  settings.settle_turns = 0;
  Governed g(settings, usual);
  g.answer(4000);  // trips after six steps: too short to be judged
  g.state.tightness = 2;
  g.state.tightened = true;
  g.answer(1000);
  CHECK_EQ(g.count(Reason::AUTOTUNE_SAFE_MODE), u64(1));
  CHECK_EQ(g.state.tightness, u64(2));
}

TEST(guard_looks_at_clocks) {
  const auto stopped_by = [](const char* key, const std::vector<u64>& elapsed_us) {
    Governed g(with({{"guard.mode", "on"}, {key, "100"}}));
    g.begin_turn();
    Verdict verdict;
    for (const u64 us : elapsed_us) verdict = g.call({Call::plain, 1, 1, 1, 0, us});
    return verdict.stop ? verdict.reason : Reason::MODEL_LOADED;
  };
  CHECK(stopped_by("guard.first_token_ms", {100'000}) == Reason::GUARD_FIRST_TOKEN_STOP);
  CHECK(stopped_by("guard.first_token_ms", {99'999, 500'000}) == Reason::MODEL_LOADED);
  CHECK(stopped_by("guard.token_ms", {500'000, 599'999}) == Reason::MODEL_LOADED);
  CHECK(stopped_by("guard.token_ms", {500'000, 600'000}) == Reason::GUARD_TOKEN_STOP);
  CHECK(stopped_by("guard.turn_ms", {50'000, 99'999}) == Reason::MODEL_LOADED);
  CHECK(stopped_by("guard.turn_ms", {50'000, 100'000}) == Reason::GUARD_TURN_STOP);

  Governed g(with({{"guard.mode", "on"}, {"guard.first_token_ms", "100"}}));
  g.begin_turn();
  CHECK(!observe(g.settings, g.state, CutShort{99'999}, g.record()).stop);  // of another clock
  CHECK(observe(g.settings, g.state, CutShort{100'000}, g.record()).reason == Reason::GUARD_FIRST_TOKEN_STOP);
}

TEST(guard_looks_at_memory_and_loops) {
  Governed g(with({{"guard.mode", "on"}, {"guard.memory_floor_mb", "100"}, {"guard.loop_tokens", "10"}}));
  g.begin_turn();
  CHECK(!observe(g.settings, g.state, MemorySeen{100}, g.record()).stop);
  CHECK(observe(g.settings, g.state, MemorySeen{99}, g.record()).reason == Reason::GUARD_MEMORY_STOP);
  g.begin_turn();
  CHECK(!observe(g.settings, g.state, LoopSeen{2, 9}, g.record()).stop);
  CHECK(observe(g.settings, g.state, LoopSeen{2, 10}, g.record()).reason == Reason::GUARD_LOOP_STOP);
}

TEST(loop_watch_finds_the_shortest_period) {
  LoopWatch watch;
  std::vector<i32> tokens;
  LoopSeen seen;
  for (const i32 token : {7, 1, 2, 3, 1, 2, 3, 1, 2}) {
    tokens.push_back(token);
    seen = watch.next({tokens.data(), tokens.size()});
  }
  CHECK_EQ(seen.period, 3u);
  CHECK_EQ(seen.tokens, 5u);
  tokens.push_back(9);
  CHECK_EQ(watch.next({tokens.data(), tokens.size()}).tokens, 0u);
}

TEST(observations_read_back) {
  std::vector<Call> calls;
  std::mt19937_64 random(1);
  for (u64 i = 0; i < max_calls_per_line; ++i)
    calls.push_back({Call::Kind(random() % 4), u32(random()), u32(random()), random() >> 12, random() >> 12,
                     random() >> 12, u32(random()), u32(random())});
  std::vector<char> buffer(32768);
  Writer out(buffer.data(), buffer.size());
  JsonWriter json(out);
  write(json, Span<const Call>(calls.data(), calls.size()));
  REQUIRE(!out.truncated());
  Call read_calls[max_calls_per_line];
  u64 n = 0;
  REQUIRE(read(Json::parse(out.text()).value(), read_calls, &n).ok());
  REQUIRE(n == calls.size());
  for (u64 i = 0; i < n; ++i) CHECK(read_calls[i] == calls[i]);

  for (const char* bad : {"{}", "{\"calls\":1}", "{\"calls\":[[1,2,3,4,5,6,7]]}", "{\"calls\":[[1,2,3,4,5,6,7,8,9]]}",
                          "{\"calls\":[[4,2,3,4,5,6,7,8]]}", "{\"calls\":[[1,-2,3,4,5,6,7,8]]}", "{\"calls\":[1]}"})
    CHECK(!read(Json::parse(bad).value(), read_calls, &n).ok());
}

TEST(a_replay_refuses_what_no_session_writes) {
  Replay replay;
  for (const auto& [reason, data] : std::vector<std::pair<Reason, const char*>>{
           {Reason::SESSION_OPENED, "{}"},
           {Reason::SESSION_OPENED, "[]"},
           {Reason::SESSION_OPENED, "{\"governor\":{\"guard.mode\":\"x\"},\"baseline\":{}}"},
           {Reason::SESSION_OPENED, "{\"governor\":{},\"baseline\":{\"rest_cycles\":-1,\"attention_cycles\":0}}"},
           {Reason::SESSION_TURN_BEGUN, "{\"asked\":{}}"},
           {Reason::SESSION_TURN_BEGUN, "{\"asked\":{\"max_tokens\":1e9}}"},
       })
    CHECK(!replay.observe(reason, 1, data, {}).ok());
}

// Whatever is observed: bounds hold, nothing oscillates faster than is stated, and a replay of what a session writes
// decides the same.
TEST(governor_holds_its_bounds_on_random_sequences) {
  std::mt19937_64 random(2026);
  const auto below = [&](u64 n) { return random() % n; };
  u64 n_decisions = 0;
  for (int sequence = 0; sequence < 100'000; ++sequence) {
    Settings settings;
    settings.autotune_mode = below(3);
    settings.guard_mode = below(3);
    settings.autotune_knobs = below(2);
    settings.settle_turns = below(4);
    settings.calibration_turns = 1 + below(3);
    settings.min_tokens = 1 + below(4);
    settings.hard_stop_overruns = 1 + below(4);
    settings.safe_turns = below(4);
    settings.reset_cache = below(2);
    settings.threads = below(2);
    if (below(2)) settings.turn_ms = 1 + below(50);
    if (below(2)) settings.token_ms = 1 + below(20);
    if (below(4) == 0) settings.high_cycles = 1500, settings.low_cycles = 1200;
    const bool replayed = sequence % 50 == 0;  // takes a thousand times as long as deciding

    Governed g(settings);
    g.state = begin(settings, {}, 2);
    Replay replay;
    std::vector<Recorded> decided;
    if (replayed) {
      journal::EventData<> opening;
      write_opening(opening.json, settings, {});
      opening.json.field("decode_threads", 2u);
      REQUIRE(replay.observe(Reason::SESSION_OPENED, 0, opening.done(), {}).ok());
      g.journal = [&](Reason reason, u64 turn, const std::string& data) {
        const Record record{&decided, [](void* list, Reason why, Str what) {
                              static_cast<std::vector<Recorded>*>(list)->push_back({why, string(what)});
                            }};
        REQUIRE(replay.observe(reason, turn, {data.data(), data.size()}, record).ok());
      };
    }
    u64 last_change = 0, tightness = 0, safe_left = 0;
    bool rose = false;
    const u64 n_turns = 1 + below(12);
    for (u64 turn = 1; turn <= n_turns; ++turn) {
      const Knobs asked{u32(1 + below(300)), u32(below(100)), f32(below(1000) + 1) / 1000, f32(below(2000)) / 1000};
      const Knobs given = g.begin_turn(asked, below(100));
      CHECK(given.max_tokens >= 1 && given.max_tokens <= asked.max_tokens);
      CHECK(given.top_p > 0 && given.top_p <= asked.top_p);
      CHECK(given.temperature >= 0 && given.temperature <= asked.temperature);
      CHECK(asked.top_k == 0 || (given.top_k >= 1 && given.top_k <= asked.top_k));
      if (settings.autotune_mode != Settings::on && safe_left == 0) CHECK(given == asked);
      bool stopped = false;
      u64 us = 0;
      for (u64 i = below(12); i > 0 && !stopped; --i) {
        us += below(10'000);
        const u64 cycles = below(8) == 0 ? below(1'000'000) : 500 + below(2000);
        const Call call{Call::Kind(below(4)), u32(1 + below(4)), u32(below(4)), cycles, below(cycles + 1), us, 1,
                        u32(below(3))};
        stopped = g.call(call).stop;
        if (settings.guard_mode != Settings::on) CHECK(!stopped);
      }
      const Afterwards afterwards = g.end_turn();
      CHECK(!afterwards.reset_cache || (stopped && settings.reset_cache));
      CHECK(g.state.safe_turns_left <= settings.safe_turns);
      CHECK_EQ(g.state.safe_turns_left, stopped ? settings.safe_turns : safe_left - min(safe_left, u64(1)));
      safe_left = g.state.safe_turns_left;
      if (g.state.tightness != tightness) {
        const bool rises = g.state.tightness > tightness;
        CHECK(g.state.tightness == (rises ? tightness + 1 : tightness - 1));
        if (last_change != 0 && rises != rose) CHECK(turn - last_change > settings.settle_turns);
        rose = rises, last_change = turn, tightness = g.state.tightness;
      }
    }
    n_decisions += g.recorded.size();
    test::check_log_and_journal(g.recorded, {"[autotune]", "[guard]", "[speculation]"});
    if (replayed) CHECK(decided == g.recorded);
  }
  CHECK(n_decisions > 100'000);
}

namespace {

// Steps of a session with two threads on a machine where a step costs what `cost(threads)` says.
struct Decoding {
  Governed g;
  u64 n_steps = 0, cycles = 0, n_trial = 0;
  explicit Decoding(const Settings& settings, Baseline known = usual) : g(settings, known) {
    g.state = begin(settings, known, 2);
    g.begin_turn();
  }
  template <class Cost>
  void run(u32 n, Cost&& cost) {
    for (u32 i = 0; i < n; ++i, ++n_steps) {
      const u32 threads = decode_threads(g.state);
      n_trial += g.state.threads.trial != 0;
      cycles += cost(threads);
      (void)g.call({Call::plain, 1, 1, cost(threads), 0, 1000 * (n_steps + 1), threads});
    }
  }
};

}  // namespace

TEST(threads_follow_the_machine_and_come_back) {
  const Settings settings = with({{"autotune.threads", "on"}});
  const auto quiet = [](u32 threads) { return threads == 2 ? u64(1000) : u64(1600); };
  const auto busy = [](u32 threads) { return threads == 2 ? u64(2500) : u64(1650); };
  Decoding d(settings);
  d.run(2000, quiet);
  CHECK_EQ(d.n_trial, u64(0));  // nothing is tried where nothing is wrong
  d.run(100, busy);
  CHECK_EQ(decode_threads(d.g.state), 1u);
  const u64 before = d.n_trial;
  d.run(4000, busy);
  CHECK_EQ(d.g.count(Reason::AUTOTUNE_THREADS), u64(1));
  CHECK(d.n_trial - before <= 8 * 9);  // seldomer and seldomer
  d.run(1200, quiet);
  CHECK_EQ(decode_threads(d.g.state), 2u);
  CHECK_EQ(d.g.count(Reason::AUTOTUNE_THREADS), u64(2));
}

TEST(threads_stay_where_a_trial_is_in_vain) {
  const auto slow = [](u32 threads) { return threads == 2 ? u64(2000) : u64(3300); };
  Decoding d(with({{"autotune.threads", "on"}}));
  d.run(10'000, slow);
  CHECK_EQ(d.g.count(Reason::AUTOTUNE_THREADS), u64(0));
  CHECK(d.cycles < 10'000 * 2000 * 102 / 100);  // trials cost less than 2 %
  Decoding off(Settings{});
  off.run(1000, slow);
  CHECK_EQ(off.n_trial, u64(0));
}

// Drafts are tried, kept while they pay, and recorded once an answer at most.
TEST(guesses_are_told_when_they_begin_and_cease_to_pay) {
  Governed g;
  const auto answer = [&](u32 right, u64 cost_percent) {
    g.begin_turn();
    for (int i = 0; i < 60; ++i) {
      const u32 n = draft_count(g.state, 4);
      const Call::Kind kind = n ? Call::speculative : Call::plain;
      (void)g.call({kind, 1 + n, 1 + min(n, right), 1000 + 10 * cost_percent * n, 0, 1000, 1, 4});
    }
    (void)g.end_turn();
  };
  answer(0, 50);
  CHECK(g.recorded.empty());
  answer(4, 10);
  answer(4, 10);
  REQUIRE(g.recorded.size() == 1);
  CHECK(g.recorded[0].reason == Reason::SPECULATION_PAYS);
  CHECK_EQ(draft_count(g.state, 4), 4u);
  CHECK_EQ(draft_count(g.state, 2), 2u);
  CHECK_EQ(draft_count(g.state, 0), 0u);
  answer(0, 50);
  CHECK_EQ(g.count(Reason::SPECULATION_PAUSED), u64(1));
  CHECK_EQ(g.recorded.size(), size_t(2));
}

TEST(a_call_that_no_session_makes_teaches_nothing) {
  Governed g;
  g.begin_turn();
  for (const u32 rows : {0u, 18u, ~0u}) (void)g.call({Call::speculative, rows, ~0u, 1, 0, 1, 1, ~0u});
  (void)g.end_turn();
  CHECK(g.recorded.empty());
}
