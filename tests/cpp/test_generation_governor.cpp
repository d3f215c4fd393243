// The governor in the engine, on a machine whose speed is the test's own: the whole arc in one journal, and the same
// decisions from it again.
#include "governor/replay.h"
#include "receipt/receipt.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "fake_platform.h"
#include "small_model.h"

using namespace flyball;
using namespace flyball::receipt;
using namespace flyball::engine;
using governor::Settings;
using journal::Reason;

namespace {

constexpr u64 quiet = 1000, busy = 1800, stalled = 9000;

struct World {
  test::FakePlatform fake;
  journal::Journal journal{fake.platform};
  Model* model = nullptr;
  Session* session = nullptr;

  explicit World(const Settings& settings, bool journaled = true) {
    fake.files["m.gguf"] = test::small_model(test::chat_vocabulary(), test::chatml_template, 1, 512);
    ModelOptions options;
    if (journaled) options.events = journal.sink();
    model = Model::load(fake.platform, "m.gguf", options).value();
    SessionOptions wanted;
    wanted.governor = settings;
    session = Session::create(*model, wanted).value();
  }
  ~World() { close(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  void close() {
    Session::release(session);
    if (model) Model::release(model);
    session = nullptr, model = nullptr;
  }

  struct Answer {
    std::vector<Token> tokens;
    StopReason stop = StopReason::none;
    u64 ns = 0;
    std::vector<Reason> decided;
    bool verified = false;
  };
  Answer ask(u64 tick, bool verify = false, u32 max_tokens = 100) {
    fake.tick = tick;
    const u64 begin = fake.ticks;
    const Token prompt[] = {72, 105};
    GenerateOptions options;
    options.max_tokens = max_tokens;
    options.ignore_eos = true;
    options.speculation.lookup = false;
    Generation* generation = Generation::begin(*session, {prompt, 2}, options).value();
    while (generation->stop_reason() == StopReason::none) REQUIRE(generation->step().ok());
    Answer answer;
    answer.ns = fake.ticks - begin;
    answer.tokens.assign(generation->tokens().begin(), generation->tokens().end());
    answer.stop = generation->stop_reason();
    for (const Decision& decision : generation->decisions()) answer.decided.push_back(decision.reason);
    if (verify) {
      Arena arena(fake.platform);
      const Receipt made = make_receipt(arena, *generation).value();
      const Str text = write_receipt(arena, made).value();
      const Receipt read = parse_receipt(arena, text).value();
      CHECK_EQ(read.content.decisions.size, made.content.decisions.size);
      answer.verified = verify_receipt(read, *model).value().verified;
    }
    Generation::release(generation);
    return answer;
  }

  std::vector<std::string> lines() {
    std::string text;
    const u64 lost = journal.take([&](Str taken) {
      text.assign(taken.data, taken.size);
      return true;
    });
    CHECK_EQ(lost, u64(0));
    std::vector<std::string> lines;
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      lines.push_back(text.substr(at, end - at));
      at = end + 1;
    }
    return lines;
  }
};

struct Decided {
  Reason reason;
  std::string data;
  friend bool operator==(const Decided&, const Decided&) = default;
};

struct Replayed {
  std::vector<Decided> recorded, decided;
  std::vector<std::string> broken;
};

Replayed replay(const std::vector<std::string>& lines) {
  Replayed found;
  journal::ChainCheck chain;
  std::map<u64, governor::Replay> sessions;
  for (const std::string& text : lines) {
    journal::Line line;
    if (!chain.next({text.data(), text.size()}, &line).ok()) found.broken.push_back(text);
    const journal::Event& event = line.event;
    const std::string data(event.data.data, event.data.size);
    if (event.session == 0) continue;
    if (governor::is_decision(event.reason)) {
      found.recorded.push_back({event.reason, data});
      continue;
    }
    const governor::Record record{&found, [](void* to, Reason reason, Str what) {
                                    static_cast<Replayed*>(to)->decided.push_back({reason, {what.data, what.size}});
                                  }};
    REQUIRE(sessions[event.session].observe(event.reason, event.turn, event.data, record).ok());
  }
  return found;
}

Settings governed() {
  Settings settings;
  settings.autotune_mode = settings.guard_mode = Settings::on;
  settings.settle_turns = 1;
  return settings;
}

// The same machine for all sessions: quiet, slower, stalled, and quiet again.
const std::vector<u64> arc = {quiet, quiet, quiet, quiet, busy,  busy,  busy,  stalled,
                              quiet, quiet, quiet, quiet, quiet, quiet, quiet, quiet};

}  // namespace

TEST(a_slow_down_shows_the_whole_arc_in_one_journal) {
  World world(governed());
  std::vector<World::Answer> answers;
  for (const u64 tick : arc) answers.push_back(world.ask(tick, true));
  world.close();

  std::vector<Reason> reasons;
  for (const World::Answer& answer : answers) {
    reasons.insert(reasons.end(), answer.decided.begin(), answer.decided.end());
    CHECK(answer.verified);
  }
  const std::vector<Reason> expected = {
      Reason::AUTOTUNE_CALIBRATED,                              // after the third
      Reason::AUTOTUNE_TIGHTEN,                                 // busy
      Reason::AUTOTUNE_CAPS,       Reason::AUTOTUNE_TIGHTEN,    //
      Reason::AUTOTUNE_CAPS,       Reason::GUARD_BUDGET_STOP,   // stalled
      Reason::AUTOTUNE_TOO_SHORT,  Reason::GUARD_SAFE_ENTERED,  //
      Reason::GUARD_SAFE_CAPS,     Reason::AUTOTUNE_SAFE_MODE,  // quiet again
      Reason::GUARD_SAFE_CAPS,     Reason::AUTOTUNE_SAFE_MODE,  //
      Reason::GUARD_SAFE_EXITED,                                //
      Reason::AUTOTUNE_CAPS,       Reason::AUTOTUNE_RELAX,      //
      Reason::AUTOTUNE_CAPS,       Reason::AUTOTUNE_RELAX,      //
  };
  std::set<Reason> seen(reasons.begin(), reasons.end());
  for (const Reason reason : expected) CHECK(seen.count(reason) == 1);
  CHECK(reasons.front() == Reason::AUTOTUNE_CALIBRATED);
  CHECK(answers[7].stop == StopReason::budget_guard);
  CHECK_EQ(answers.back().tokens.size(), size_t(100));  // without any bound
  CHECK(answers.back().decided.empty());
  // Less of an answer is a beginning of the whole one, but where safe mode bounds the sampler, too.
  for (const World::Answer& answer : answers) {
    const bool whole_sampler = std::count(answer.decided.begin(), answer.decided.end(), Reason::GUARD_SAFE_CAPS) == 0;
    if (whole_sampler) CHECK(std::equal(answer.tokens.begin(), answer.tokens.end(), answers[0].tokens.begin()));
  }

  const Replayed again = replay(world.lines());
  CHECK(again.broken.empty());
  CHECK(again.recorded.size() >= reasons.size());
  CHECK(again.decided == again.recorded);
}

TEST(without_a_governor_the_same_machine_overshoots) {
  World governed_world(governed()), plain(Settings{});
  u64 budget = 0, over_governed = 0, over_plain = 0;
  for (const u64 tick : arc) {
    const World::Answer bounded = governed_world.ask(tick), whole = plain.ask(tick);
    if (budget == 0) budget = 2 * whole.ns;
    over_governed += bounded.ns > budget;
    over_plain += whole.ns > budget;
    CHECK_EQ(whole.tokens.size(), size_t(100));
    CHECK(whole.decided.empty());
  }
  CHECK_EQ(over_governed, u64(0));
  CHECK_EQ(over_plain, u64(1));
  plain.close();
  CHECK(replay(plain.lines()).recorded.empty());
}

TEST(a_journal_without_a_reader_costs_no_answer) {
  Settings settings = governed();
  settings.hard_stop_overruns = 1'000'000;
  World journaled(settings), unjournaled(settings, false);
  for (const u64 tick : arc) CHECK(journaled.ask(tick).tokens == unjournaled.ask(tick).tokens);
}

// 300 calls: more than one line of the journal holds.
TEST(long_answers_are_told_in_several_lines) {
  World world(governed());
  (void)world.ask(quiet, false, 300);
  world.close();
  u64 n_calls = 0, n_lines = 0;
  for (const std::string& line : world.lines()) {
    const journal::Line read = journal::read_line({line.data(), line.size()}).value();
    if (read.event.reason != Reason::SESSION_CALLS) continue;
    governor::Call calls[governor::max_calls_per_line];
    u64 n = 0;
    REQUIRE(governor::read(Json::parse(read.event.data).value(), calls, &n).ok());
    n_calls += n, ++n_lines;
  }
  CHECK_EQ(n_calls, u64(300));
  CHECK_EQ(n_lines, u64(2));
}
