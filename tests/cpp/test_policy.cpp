// The policy with a model, files and a journal: what it asks, writes, verifies and restores.
#include "policy/policy.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fake_platform.h"
#include "kernels/kernels.h"
#include "small_model.h"

#include "governor/replay.h"

using namespace flyball;
using namespace flyball::policy;
using namespace flyball::engine;
using journal::Reason;
using Settings = governor::Settings;
using Action = governor::policy::Action;
using Mode = governor::policy::Mode;

namespace {

std::string string(Str text) { return {text.data, text.size}; }

struct World {
  test::FakePlatform fake;
  journal::Journal journal{fake.platform};
  Settings settings;
  Model* model = nullptr;
  Session* session = nullptr;
  Policy* policy = nullptr;

  explicit World(Str isa = "auto", u32 threads = 1) {
    fake.files["m.gguf"] = test::small_model(test::chat_vocabulary(), test::chatml_template, 1, 1024);
    ModelOptions options;
    options.isa = isa;
    options.threads = threads;
    options.events = journal.sink();
    model = Model::load(fake.platform, "m.gguf", options).value();
    session = Session::create(*model, {}).value();
    settings.auto_apply = Settings::everything;
    settings.floor_context = 64;
  }
  ~World() { close(); }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  Status open(Str file = "policy.toml", bool counts_starts = false) {
    Policy::release(policy);
    policy = nullptr;
    PolicyOptions options;
    options.settings = settings;
    options.file = file;
    options.counts_starts = counts_starts;
    const Result<Policy*> opened = Policy::create(*model, options);
    if (!opened.ok()) return opened.error();
    policy = opened.value();
    return {};
  }
  void close() {
    Policy::release(policy);
    Session::release(session);
    Model::release(model);
    policy = nullptr, session = nullptr, model = nullptr;
  }

  std::vector<Token> answer() {
    const Token prompt[] = {72, 105};
    GenerateOptions options;
    options.max_tokens = 20;
    options.ignore_eos = true;
    Generation* generation = Generation::begin(*session, {prompt, 2}, options).value();
    while (generation->stop_reason() == StopReason::none) REQUIRE(generation->step().ok());
    const std::vector<Token> tokens(generation->tokens().begin(), generation->tokens().end());
    if (policy) CHECK(policy->turn_ended(*generation).ok());
    Generation::release(generation);
    return tokens;
  }

  std::vector<journal::Line> lines;
  std::string text;
  std::vector<Reason> decisions() {  // by the policy, since the last time
    CHECK_EQ(journal.take([&](Str taken) {
      text.assign(taken.data, taken.size);
      return true;
    }),
             u64(0));
    std::vector<Reason> reasons;
    lines.clear();
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      const journal::Line line = journal::read_line({text.data() + at, end - at}).value();
      if (governor::is_decision(line.event.reason)) reasons.push_back(line.event.reason);
      lines.push_back(line);
      at = end + 1;
    }
    return reasons;
  }
};

constexpr char reduced[] =
    "# What Flyball's policy has changed (docs/policy.md); without this file it begins anew.\n"
    "context = 512\nmax_tokens = 512\ncache_type = \"f16\"\n";

void make_degraded(World& world) {
  world.settings.headroom_mb = u64(1) << 24;  // more than there is: every answer shows trouble
  world.fake.free_bytes = u64(1) << 30;
}

using Reasons = std::vector<Reason>;

}  // namespace

TEST(a_policy_needs_a_file_to_apply_anything) {
  World world;
  CHECK(!world.open("").ok());
  world.settings.auto_apply = Settings::nothing;
  CHECK(world.open("").ok());
  Settings changed = world.settings;
  changed.auto_apply = Settings::reductions;
  CHECK(!world.policy->govern(changed).ok());
  CHECK(world.open(std::string(700, 'x').c_str()).error().code == Code::invalid_argument);
}

TEST(a_policy_writes_verifies_and_goes_on) {
  World world;
  REQUIRE(world.open().ok());
  CHECK_EQ(world.policy->context(), 1024u);
  make_degraded(world);
  REQUIRE(world.policy->govern(world.settings).ok());
  (void)world.decisions();
  REQUIRE(world.policy->consult_mock(*world.session, Action::reduce_context).ok());
  CHECK(world.decisions() == (Reasons{Reason::POLICY_CHOICE, Reason::CONFIDENCE_PASSED, Reason::PLAN_CHECKPOINT,
                                      Reason::PLAN_STEP, Reason::APPLY_VERIFIED}));
  CHECK_EQ(world.policy->context(), 512u);
  CHECK_EQ(world.fake.files["policy.toml"], reduced);
  CHECK(world.fake.files["policy.toml.before"].find("context = 1024\n") != std::string::npos);

  REQUIRE(world.open().ok());  // the next program
  CHECK_EQ(world.policy->context(), 512u);
  world.settings.auto_apply = Settings::nothing;
  REQUIRE(world.open().ok());
  CHECK_EQ(world.policy->context(), 1024u);
}

TEST(a_file_that_holds_nothing_valid_gives_way_to_the_checkpoint) {
  for (const char* broken :
       {"", "context = 512\n", "context = 512\nmax_tokens = 128\ncache_type = \"f17\"\n",
        "context = 9999\nmax_tokens = 128\ncache_type = \"f16\"\n", "isa = \"auto\"\n", "\xff\xfe"}) {
    World world;
    world.fake.files["policy.toml"] = broken;
    REQUIRE(world.open().ok());
    CHECK_EQ(world.policy->context(), 1024u);
    world.fake.files["policy.toml.before"] = reduced;
    REQUIRE(world.open().ok());
    CHECK_EQ(world.policy->context(), 512u);
    (void)world.decisions();
    CHECK(string(world.lines.back().event.data).find("\"configuration_from\":\"checkpoint\"") != std::string::npos);
  }
}

TEST(what_cannot_be_written_or_read_again_is_restored) {
  const auto run = [](Reason last, std::function<Status(World&, u64 n, const std::string& path, std::string*)> write) {
    World world;
    REQUIRE(world.open().ok());
    make_degraded(world);
    REQUIRE(world.policy->govern(world.settings).ok());
    (void)world.decisions();
    world.fake.files["policy.toml"] = "as it was";
    u64 n = 0;
    world.fake.writing = [&](const std::string& path, std::string* bytes) { return write(world, ++n, path, bytes); };
    REQUIRE(world.policy->consult_mock(*world.session, Action::reduce_context).ok());
    const Reasons decisions = world.decisions();
    REQUIRE(decisions.size() > 3);
    CHECK(decisions[decisions.size() - 3] == Reason::APPLY_NOT_VERIFIED);
    CHECK(decisions[decisions.size() - 2] == Reason::PLAN_HARD_STOP);
    CHECK(decisions.back() == last);
    CHECK_EQ(world.policy->context(), 1024u);
  };
  run(Reason::PLAN_NOT_RESTORED, [](World&, u64, const std::string&, std::string*) -> Status {
    return fail(Code::io, "policy.toml") << "disk full";
  });
  // The second of three writes is the change itself: it loses its end, or is said to be done and is not.
  run(Reason::PLAN_RESTORED, [](World&, u64 n, const std::string&, std::string* bytes) {
    if (n == 2) bytes->resize(bytes->size() - 3);
    return Status();
  });
  run(Reason::PLAN_RESTORED, [](World& world, u64 n, const std::string& path, std::string* bytes) {
    if (n == 2) *bytes = world.fake.files[path];
    return Status();
  });
}

TEST(history_survives) {
  World world;
  world.settings.bad_turns = 1;
  make_degraded(world);
  REQUIRE(world.open().ok());
  (void)world.answer();
  CHECK(world.policy->state().history.mode == Mode::degraded);
  REQUIRE(world.open().ok());
  CHECK(world.policy->state().history.mode == Mode::degraded);
  world.fake.files["policy.toml.history"] = "{\"mode\":\"safe\"}";
  REQUIRE(world.open().ok());
  CHECK(world.policy->state().history.mode == Mode::normal);
}

// The same scores on every instruction set and number of threads; the person's session is as it was.
TEST(a_consult_is_exact_and_touches_no_session) {
  std::vector<std::string> asked;
  for (const kernels::Table* table : kernels::usable_tables()) {
    for (const u32 threads : {1u, 3u}) {
      World world(table->name, threads), alone(table->name, threads);
      REQUIRE(world.open().ok());
      const std::vector<Token> first = world.answer();
      const std::vector<Token> held(world.session->tokens().begin(), world.session->tokens().end());
      REQUIRE(world.policy->consult(*world.session).ok());
      CHECK(std::equal(held.begin(), held.end(), world.session->tokens().begin(), world.session->tokens().end()));
      CHECK(first == alone.answer());
      CHECK(world.answer() == alone.answer());
      (void)world.decisions();
      u64 n = 0;
      for (const journal::Line& line : world.lines) {
        if (line.event.reason != Reason::SESSION_CONSULTED) continue;
        const std::string data = string(line.event.data);
        asked.push_back(data.substr(0, data.find("\"available_mb\"")));
        ++n;
      }
      CHECK_EQ(n, u64(1));
    }
  }
  for (const std::string& scores : asked) CHECK_EQ(scores, asked[0]);
  CHECK(asked[0].find("\"mock\":false") != std::string::npos);
}

// Without a situation there is nothing that speaks for one action or another; with one there is.
TEST(a_consult_depends_on_the_situation) {
  World world;
  ActionScorer consultant(*world.model);
  f32 none[governor::policy::n_actions], one[governor::policy::n_actions], again[governor::policy::n_actions];
  const u64 n = governor::policy::n_actions;
  REQUIRE(consultant.ask("state: unknown", {}, {none, n}).ok());
  for (const f32 score : none) CHECK_EQ(score, 0.0f);
  REQUIRE(consultant.ask("state: mode=safe memory_mb=12", {}, {one, n}).ok());
  REQUIRE(consultant.ask("state: mode=safe memory_mb=12", {}, {again, n}).ok());
  u64 n_moved = 0;
  for (u64 i = 0; i < n; ++i) n_moved += one[i] != 0, CHECK_EQ(one[i], again[i]);
  CHECK_EQ(n_moved, n);
}

TEST(a_consult_says_what_it_lacks) {
  World world;
  const auto error_with = [&](u32 context, CancelToken cancel) {
    world.fake.files["short.gguf"] = test::small_model(test::chat_vocabulary(), "", 1, context);
    Model* model = Model::load(world.fake.platform, "short.gguf", {}).value();
    f32 scores[governor::policy::n_actions];
    const Status status = ActionScorer(*model).ask("state: mode=safe", cancel, {scores, governor::policy::n_actions});
    Model::release(model);
    return status.ok() ? Code::ok : status.error().code;
  };
  CHECK(error_with(64, {}) == Code::context_full);
  CHECK(error_with(1024, {nullptr, [](void*) { return true; }, 0}) == Code::interrupted);
  CHECK(error_with(1024, {}) == Code::ok);
}

TEST(a_policy_consults_when_it_is_asked_to) {
  const auto consults = [](u64 when, bool end) {
    World world;
    world.settings.consult = when;
    REQUIRE(world.open().ok());
    (void)world.answer();
    (void)world.answer();
    if (end) CHECK(world.policy->session_ended(*world.session).ok());
    (void)world.decisions();
    u64 n = 0;
    for (const journal::Line& line : world.lines) n += line.event.reason == Reason::SESSION_CONSULTED;
    return n;
  };
  CHECK_EQ(consults(Settings::never, true), u64(0));
  CHECK_EQ(consults(Settings::each_turn, true), u64(2));
  CHECK_EQ(consults(Settings::at_end, false), u64(0));
  CHECK_EQ(consults(Settings::at_end, true), u64(1));
}

// Bounds of a reliability run: only more careful, whatever is asked for.
TEST(a_policy_is_bounded_by_its_limits) {
  World world;
  world.settings.threshold = 70;
  const auto bounded = [&](const char* limits) {
    world.fake.files["policy.toml.limits"] = limits;
    REQUIRE(world.open().ok());
    CHECK(world.policy->limited());
    return world.policy->settings();
  };
  Settings s = bounded("policy.auto_apply = \"off\"\npolicy.gate = \"enforced\"\npolicy.threshold = 80\n");
  CHECK(s.auto_apply == Settings::nothing && s.gate == Settings::enforced && s.threshold == 80);
  REQUIRE(world.policy->govern(world.settings).ok());
  CHECK(world.policy->settings().auto_apply == Settings::nothing);
  world.settings.auto_apply = Settings::reductions;
  s = bounded("policy.auto_apply = \"aggressive\"\npolicy.threshold = 10\n");
  CHECK(s.auto_apply == Settings::reductions && s.threshold == 70);
  for (const char* bad : {"", "threads = 2\n", "policy.threshold = 1000\n", "{"})
    CHECK(bounded(bad).auto_apply == (*bad ? Settings::nothing : Settings::reductions));
  world.fake.files.erase("policy.toml.limits");
  REQUIRE(world.policy->govern(world.settings).ok());
  CHECK(!world.policy->limited());
}

// Power cuts: the policy is not released, its files stay as they are.
TEST(a_policy_rolls_back_over_starts) {
  World world;
  const auto history_now = [&] { return world.fake.files["policy.toml.history"]; };
  make_degraded(world);
  REQUIRE(world.open("policy.toml", true).ok());
  (void)world.answer();
  REQUIRE(world.policy->consult_mock(*world.session, Action::reduce_context).ok());
  CHECK_EQ(world.policy->context(), 512u);
  (void)world.decisions();
  const auto cut = world.fake.files;
  REQUIRE(world.open("policy.toml", true).ok());
  CHECK(world.decisions().empty());  // that was an end in order
  CHECK_EQ(world.policy->context(), 512u);

  Policy::release(world.policy);
  world.policy = nullptr;
  world.fake.files = cut;
  REQUIRE(world.open("policy.toml", true).ok());
  CHECK(world.decisions() == (Reasons{Reason::POLICY_START_FAILED, Reason::POLICY_WORSE, Reason::PLAN_ROLLED_BACK,
                                      Reason::PLAN_CHECKPOINT, Reason::APPLY_VERIFIED}));
  CHECK_EQ(world.policy->context(), 1024u);
  CHECK_EQ(world.policy->state().history.starts.n, u64(2));
  CHECK(history_now().find("\"running\":true") != std::string::npos);
  Policy::release(world.policy);
  world.policy = nullptr;
  CHECK(history_now().find("\"running\":false") != std::string::npos);
}

// A journal of real answers and changes replays to the same decisions.
TEST(a_policy_is_replayed_from_its_journal) {
  World world;
  world.settings.consult = Settings::each_turn;
  world.settings.gate = Settings::log_only;
  make_degraded(world);
  REQUIRE(world.open().ok());
  for (int i = 0; i < 12; ++i) (void)world.answer();
  REQUIRE(world.policy->consult_mock(*world.session, Action::reduce_answer).ok());
  (void)world.decisions();
  struct Decided {
    std::vector<std::pair<Reason, std::string>> list;
  } decided;
  governor::Replay replay;
  std::vector<std::pair<Reason, std::string>> recorded;
  u64 number = 0;
  for (const journal::Line& line : world.lines) {
    if (line.event.reason == Reason::SESSION_POLICY_OPENED) number = line.event.session;
    if (number == 0 || line.event.session != number) continue;
    if (governor::is_decision(line.event.reason)) recorded.push_back({line.event.reason, string(line.event.data)});
    const governor::Record record{&decided, [](void* to, Reason reason, Str data) {
                                    static_cast<Decided*>(to)->list.push_back({reason, string(data)});
                                  }};
    REQUIRE(replay.observe(line.event.reason, line.event.turn, line.event.data, record).ok());
  }
  CHECK(recorded.size() > 12);
  CHECK(decided.list == recorded);
}
