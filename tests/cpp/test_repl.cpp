#include <memory>
#include <string>
#include <vector>

#include "fake_platform.h"
#include "small_model.h"

#include "base/json.h"
#include "repl/repl.h"

using namespace flyball;

namespace {

struct Screen {
  test::FakePlatform world;
  repl::Options options;
  std::unique_ptr<repl::Repl> repl;

  explicit Screen(const char* model = "m.gguf", const char* fallback = "") {
    world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
    world.files["raw.gguf"] = test::small_model(test::chat_vocabulary(), "", 3);
    options.model = model;
    options.fallback_model = fallback;
  }

  std::string start() {
    repl = std::make_unique<repl::Repl>(world.platform, options);
    repl->start();
    return world.take();
  }
  std::string say(const std::string& line) {
    CHECK(repl->feed({line.data(), line.size()}));
    return world.take();
  }
};

bool has(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  test::note("not found: " + part + "\n in: " + text);
  return false;
}

}  // namespace

TEST(starts_without_a_model_and_says_why) {
  Screen screen("");
  const std::string greeting = screen.start();
  CHECK(has(greeting, "flyball"));
  CHECK(has(greeting, "cause:    not found"));
  CHECK(has(greeting, "hint:     "));
  CHECK(has(greeting, "fallback: no model"));
  CHECK(has(screen.say("Hello"), "/load FILE"));
  for (const char* command : {"/models", "/cpu", "/sampling", "/temp 1", "/help", "/raw on", "/system x",
                              "/logprobs on", "/speculate off", "/draft"}) {
    CHECK(screen.say(command).find("error") == std::string::npos || std::string(command) == "/models");
  }
  for (const char* command :
       {"/ctx 5", "/cache_type f32", "/metrics", "/reset", "/clear", "/save x", "/restore x", "/verify x", "/tokens x",
        "/format chatml", "/model_info", "/draft m.gguf", "/adapter a.gguf"}) {
    CHECK(has(screen.say(command), "error: not found: model"));
  }
  CHECK(has(screen.say("/receipt x"), "there is no answer yet"));
  CHECK(has(screen.say("/load m.gguf"), "Small: llama, F32"));
  CHECK(has(screen.say("Hello"), "digest"));
}

TEST(every_model_problem_has_cause_hint_and_fallback) {
  for (const char* bad : {"absent.gguf", "empty.gguf", "torn.gguf"}) {
    Screen screen(bad, "raw.gguf");
    screen.world.files["empty.gguf"] = "";
    screen.world.files["torn.gguf"] = screen.world.files["m.gguf"].substr(0, 5000);
    const std::string greeting = screen.start();
    CHECK(has(greeting, std::string("The model ") + bad + " cannot be used."));
    CHECK(has(greeting, "cause:    "));
    CHECK(has(greeting, "fallback: the bundled demonstration model"));
    CHECK(has(greeting, "no chat template"));
    CHECK(has(screen.say("/load m.gguf"), "chat format chatml"));
    CHECK(has(screen.say(std::string("/load ") + bad), "the model that was loaded before stays"));
    CHECK(has(screen.say("Hello"), "digest"));
  }
  Screen none("absent.gguf", "absent too.gguf");
  const std::string greeting = none.start();
  CHECK(has(greeting, "fallback: no model"));
  Screen isa;
  isa.options.isa = "abacus";
  CHECK(has(isa.start(), "abacus"));
}

TEST(the_name_of_before_of_an_instruction_set_is_warned_of) {
  Screen before, now;
  before.options.isa = "word64";
  CHECK(has(before.start(), "warning: isa \"word64\" is now \"swar\""));
  now.options.isa = "swar";
  CHECK(!has(now.start(), "warning"));
}

TEST(help_lists_every_command_in_a_line) {
  Screen screen;
  screen.start();
  const std::string help = screen.say("/help");
  for (const char* name :
       {"help",   "models",    "model_info", "load",    "sampling", "temp",       "top_k",   "top_p",   "min_p",
        "repeat", "no_repeat", "max_tokens", "seed",    "ctx",      "cache_type", "cpu",     "metrics", "reset",
        "clear",  "system",    "raw",        "format",  "tokens",   "logprobs",   "save",    "restore", "receipt",
        "verify", "quit",      "speculate",  "draft",   "autotune", "guard",      "journal", "explain", "tune",
        "policy", "consult",   "outcomes",   "adapter", "good",     "bad",        "correct"}) {
    CHECK(has(help, std::string("  /") + name + " "));
  }
  CHECK(has(screen.say("/help temp"), "/temp [T]"));
  CHECK(has(screen.say("/help /temp"), "/temp [T]"));
  CHECK(has(screen.say("/help tmep"), "did you mean /temp?"));
}

TEST(unknown_commands_suggest_the_nearest) {
  Screen screen;
  screen.start();
  CHECK(has(screen.say("/modls"), "did you mean /models?"));
  CHECK(has(screen.say("/restor x"), "did you mean /restore?"));
  const std::string strange = screen.say("/zzzzzzzzzzzz");
  CHECK(has(strange, "/help lists all"));
  CHECK(strange.find("did you mean") == std::string::npos);
  CHECK_EQ(screen.repl->n_errors(), 3);
}

TEST(bad_values_give_the_range) {
  Screen screen;
  screen.start();
  CHECK(has(screen.say("/temp hot"), "from 0 (greedy) to 100"));
  CHECK(has(screen.say("/temp -1"), "from 0 (greedy) to 100"));
  CHECK(has(screen.say("/temp 1e99"), "from 0 (greedy) to 100"));
  CHECK(has(screen.say("/top_k -1"), "from 0 to 4294967295"));
  CHECK(has(screen.say("/top_p 0"), "above 0 and at most 1"));
  CHECK(has(screen.say("/min_p 2"), "from 0 (off) to 1"));
  CHECK(has(screen.say("/repeat 0"), "from 0.01 to 100"));
  CHECK(has(screen.say("/repeat 1.1 x"), "repeat_window"));
  CHECK(has(screen.say("/no_repeat 65"), "from 0 to 64"));
  CHECK(has(screen.say("/max_tokens 0"), "from 1 to"));
  CHECK(has(screen.say("/seed 18446744073709551616"), "from 0 to 18446744073709551615"));
  CHECK(has(screen.say("/ctx 0"), "from 1 to"));
  CHECK(has(screen.say("/cache_type f8"), "f16, f32 or q8_0"));
  CHECK(has(screen.say("/kv f8"), "warning: /kv is now /cache_type"));
  CHECK(has(screen.say("/raw maybe"), "on or off"));
  CHECK(has(screen.say("/speculate maybe"), "speculate: is 'maybe'; choose auto, off or always"));
  CHECK(has(screen.say("/format vicuna"), "choose one of chatml"));
  const std::string settings = screen.say("/sampling");
  CHECK(has(settings,
            "temp 0.8, top_k 40, top_p 0.95, min_p 0.05, repeat 1 over 64, no_repeat 0, max_tokens 512, seed 0"));
  CHECK(has(screen.say("/repeat 1.1 32"), "repeat 1.1 over 32"));
  CHECK(has(screen.say("/temp"), "temp 0.8"));
}

TEST(the_same_seed_gives_the_same_answer_and_digest) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 12");
  const auto from = [](const std::string& text) {
    return text.substr(0, text.find('[')) + text.substr(text.find("digest"));
  };
  const std::string first = screen.say("Hello");
  CHECK(has(first, " tokens, "));
  screen.say("/clear");
  CHECK_EQ(from(screen.say("Hello")), from(first));
  screen.say("/clear"), screen.say("/seed 7");
  CHECK(from(screen.say("Hello")) != from(first));
  screen.say("/seed 0"), screen.say("/reset");
  CHECK_EQ(from(screen.say("Hello")), from(first));
}

TEST(a_conversation_reuses_its_cache) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 5");
  screen.say("Hello");
  const std::string one = screen.say("/metrics");
  const auto parsed = Json::parse({one.data(), one.size() - 1});
  REQUIRE(parsed.ok());
  Json session, last, prefill;
  CHECK(parsed.value().find("session", &session) && parsed.value().find("last", &last));
  CHECK_EQ(session.member("generations_completed").value().as_u64("n", 0, 9).value(), 1);
  screen.say("More");
  const std::string two = screen.say("/metrics");
  const auto again = Json::parse({two.data(), two.size() - 1});
  REQUIRE(again.ok() && again.value().find("last", &last));
  CHECK(last.member("cached_tokens").value().as_u64("n", 1, 1000).ok());
  CHECK(last.find("prefill", &prefill));
  const u64 computed = prefill.member("tokens").value().as_u64("tokens", 0, 1000).value();
  CHECK_EQ(computed + last.member("cached_tokens").value().as_u64("n", 0, 1000).value(),
           last.member("prompt_tokens").value().as_u64("n", 0, 1000).value());
}

TEST(guesses_change_no_answer_and_are_counted) {
  Screen screen;
  screen.world.files["other.gguf"] = test::small_model(test::bpe_vocabulary());
  screen.options.speculation.lookup = false;
  screen.start();
  screen.say("/raw on"), screen.say("/temp 0"), screen.say("/max_tokens 40");
  const auto digest = [](const std::string& text) { return text.substr(text.find("digest")); };
  const std::string prompt = "abc abc abc abc";
  const std::string plain = screen.say(prompt);
  CHECK(plain.find("guesses right") == std::string::npos);
  CHECK_EQ(screen.say("/speculate"), "speculate off\n");
  CHECK_EQ(screen.say("/speculate always"), "speculate always, draft tokens from prompt lookup\n");
  CHECK_EQ(digest(screen.say(prompt)), digest(plain));
  CHECK_EQ(screen.say("/draft m.gguf"), "speculate always, draft tokens from m.gguf\n");
  for (const char* change : {"/reset", "/ctx 100", "/cache_type f32", "/cache_type f16", "/ctx 128"}) {
    screen.say(change);
    const std::string speculative = screen.say(prompt);
    CHECK(has(speculative, " draft tokens accepted"));
    if (std::string(change) == "/ctx 128") CHECK_EQ(digest(speculative), digest(plain));
  }
  CHECK_EQ(screen.say("/speculate off"), "speculate off, not used: m.gguf\n");
  CHECK(screen.say(prompt).find("guesses right") == std::string::npos);
  CHECK_EQ(screen.say("/speculate auto"), "speculate auto, draft tokens from m.gguf\n");

  // What does not suit is refused or given up, and said.
  CHECK(has(screen.say("/draft other.gguf"), "error: invalid argument: draft: has another vocabulary"));
  CHECK(has(screen.say("/draft absent.gguf"), "error: not found: absent.gguf"));
  CHECK(has(screen.say("/draft"), "draft tokens from m.gguf"));
  const std::string loaded = screen.say("/load other.gguf");
  CHECK(has(loaded, "error: invalid argument: draft"));
  CHECK(has(loaded, "speculate auto, draft tokens from prompt lookup"));
  CHECK(has(screen.say(prompt), "digest"));
  screen.say("/load m.gguf"), screen.say("/draft raw.gguf");
  CHECK_EQ(screen.say("/draft -"), "speculate auto, draft tokens from prompt lookup\n");
  screen.say("/draft raw.gguf");
  screen.repl.reset();
  CHECK_EQ(screen.world.n_bytes, 0);
  CHECK_EQ(screen.world.n_open, 0);
}

TEST(a_draft_is_opened_at_the_start) {
  Screen screen;
  screen.options.draft = "raw.gguf";
  CHECK(has(screen.start(), "speculate auto, draft tokens from raw.gguf"));
  screen.options.draft = "absent.gguf";
  const std::string greeting = screen.start();
  CHECK(has(greeting, "chat format chatml"));
  CHECK(has(greeting, "error: not found: absent.gguf"));
  CHECK(has(screen.say("Hello"), "digest"));
}

TEST(shared_prefixes_and_threads_are_shown) {
  Screen screen("raw.gguf");
  screen.options.decode_threads = 3;
  screen.start();
  screen.say("/max_tokens 2");
  const std::string prompt(100, 'x');
  CHECK(screen.say(prompt).find("shared") == std::string::npos);
  screen.say("/reset");
  CHECK(has(screen.say(prompt), ", 64 prompt tokens shared, "));
  CHECK(has(screen.say("/metrics"), "\"capacity_bytes\":67108864}"));
  CHECK(has(screen.say("/cpu"), ", 3 where no prompt is computed"));
  screen.options.prefix_cache_bytes = 0;
  screen.start();
  screen.say("/max_tokens 2"), screen.say(prompt), screen.say("/reset");
  CHECK(screen.say(prompt).find("shared") == std::string::npos);
  CHECK(has(screen.say("/metrics"), "\"prefix_cache\":{\"bytes\":0,\"capacity_bytes\":0}"));
}

TEST(ctrl_c_stops_an_answer_and_leaves_the_session_usable) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 60");
  u32 n_asked = 0;
  screen.world.stop = [&] { return ++n_asked > 40; };
  CHECK(has(screen.say("Hello"), "interrupted"));
  CHECK(has(screen.say("/receipt r.json"), "wrote"));
  screen.world.stop = [] { return false; };
  CHECK(has(screen.say("/verify r.json"), "verified"));
  screen.say("/max_tokens 4");
  CHECK(has(screen.say("Hello again"), "max_tokens"));
}

TEST(continued_lines_and_slashes) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 2");
  screen.say("/raw on");
  CHECK_EQ(std::string(screen.repl->prompt().data), "> ");
  CHECK_EQ(screen.say("first\\"), "");
  CHECK_EQ(std::string(screen.repl->prompt().data), "... ");
  CHECK(screen.say("second").starts_with("first\nsecond"));
  CHECK(screen.say("//not a command").starts_with("/not a command"));
  CHECK_EQ(screen.say("   "), "");
  screen.say("/system You are \\");
  CHECK(has(screen.say("brief."), "brief."));
  CHECK(has(screen.say("/system"), "You are \nbrief."));
  CHECK(has(screen.say("/system -"), "no system text"));
}

TEST(full_context_is_said) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 1000");
  CHECK(has(screen.say("/ctx 24"), "context 24"));
  CHECK(has(screen.say(std::string(200, 'x')), "/clear starts anew"));
  screen.say("/raw on");
  CHECK(has(screen.say("abc"), "/ctx N makes room"));
}

TEST(save_and_restore_continue_the_conversation) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 6");
  screen.say("Hello");
  CHECK(has(screen.say("/save s.session"), "saved"));
  const auto digest = [](const std::string& text) { return text.substr(text.find("digest")); };
  const std::string second = digest(screen.say("And?"));
  screen.say("/clear");
  CHECK(has(screen.say("/restore s.session"), "restored"));
  CHECK_EQ(digest(screen.say("And?")), second);
  CHECK(has(screen.say("/restore absent"), "error: not found"));
  screen.world.files["s.session"][50] ^= 1;
  CHECK(has(screen.say("/restore s.session"), "error: "));
  CHECK(has(screen.say("And?"), "digest"));
}

TEST(feedback_is_a_line_that_is_read_elsewhere) {
  Screen screen;
  screen.start();
  CHECK(has(screen.say("/good"), "there is no answer yet"));
  screen.say("/max_tokens 4");
  screen.say("/system Be \"brief\".");
  screen.say("Hello\t\xff");
  CHECK(has(screen.say("/correct"), "needs what"));
  CHECK(has(screen.say("/correct 1 + 1 = \"2\""), "kept in feedback.jsonl"));
  const std::string first = screen.world.files["feedback.jsonl"];
  CHECK(has(first, "\"source\":\"repl\",\"rating\":\"bad\",\"answer\":\""));
  CHECK(has(first, "\"correction\":\"1 + 1 = \\\"2\\\"\""));
  CHECK(has(first,
            "\"question\":[{\"role\":\"system\",\"content\":\"Be \\\"brief\\\".\"},"
            "{\"role\":\"user\",\"content\":\"Hello\\t\xef\xbf\xbd\"}]}\n"));
  screen.say("And?");
  screen.say("/good clear");
  const std::string second = screen.world.files["feedback.jsonl"].substr(first.size());
  CHECK(has(second, "\"rating\":\"good\"") && has(second, "\"reason\":\"clear\""));
  CHECK(has(second, "{\"role\":\"assistant\",\"content\":") &&
        has(second, "{\"role\":\"user\",\"content\":\"And?\"}]}"));
  screen.say("/save s.session"), screen.say("/restore s.session"), screen.say("More?"), screen.say("/bad");
  const std::string all = screen.world.files["feedback.jsonl"];
  CHECK(!has(all.substr(first.size() + second.size()), "question"));  // its earlier turns are not known
  screen.say("/clear"), screen.say("Anew?"), screen.say("/bad");
  CHECK(has(screen.world.files["feedback.jsonl"].substr(all.size()), "\"content\":\"Anew?\"}]}"));
}

TEST(receipts_are_written_and_verified) {
  Screen screen;
  screen.start();
  screen.say("/max_tokens 8");
  screen.say("Hello");
  CHECK(has(screen.say("/receipt r.json"), "wrote"));
  CHECK(has(screen.say("/receipt read-only/r.json"), "error: input/output"));
  CHECK(has(screen.say("/verify r.json"), "verified: the same answer: 8 positions"));
  std::string& receipt = screen.world.files["r.json"];
  receipt.replace(receipt.find("\"seed\":0"), 8, "\"seed\":1");
  CHECK(has(screen.say("/verify r.json"), "error: mismatch"));
  receipt = "nonsense";
  CHECK(has(screen.say("/verify r.json"), "error: corrupt: JSON at byte 0"));
  screen.say("/load raw.gguf");
  CHECK(has(screen.say("/receipt x.json"), "there is no answer yet"));
}

// Without a named model: the folders in their order, names in theirs, and a reason for each file that does not load.
TEST(the_first_model_that_can_be_loaded_is_chosen) {
  const Str folders[] = {"models", "/", "fs1:/models"};
  const auto screen_of = [&](std::initializer_list<std::pair<const char*, const char*>> files) {
    auto screen = std::make_unique<Screen>("");
    screen->options.model_directories = folders;
    screen->options.choose_model = true;
    const std::string good = screen->world.files["m.gguf"];
    for (const auto& [path, what] : files)
      screen->world.files[path] = Str(what) == "good"     ? good
                                  : Str(what) == "broken" ? good.substr(0, good.size() / 2)
                                                          : what;
    return screen;
  };
  auto screen = screen_of({{"models/._b.gguf", "apple"},
                           {"models/a.gguf", "broken"},
                           {"models/a-00001-of-00002.gguf", "broken"},
                           {"models/a-00002-of-00002.gguf", "broken"},
                           {"models/b.GGUF", "good"},
                           {"fs1:/models/0.gguf", "good"}});
  std::string out = screen->start();
  CHECK(has(out, "The model models/a.gguf cannot be used.\ncause:    corrupt"));
  CHECK(has(out, "The model models/a-00001-of-00002.gguf cannot be used."));
  CHECK(has(out, "fallback: the next model that is there\n"));
  CHECK(has(out, "read from models/b.GGUF\n"));
  CHECK(out.find("._b") == std::string::npos && out.find("00002-of") == std::string::npos);
  CHECK_EQ(screen->repl->n_errors(), 0);  // nobody asked for those that do not load
  CHECK(has(screen->say("/models"), "models:\n"));

  screen = screen_of({{"fs1:/models/x.gguf", "good"}, {"models/notes.txt", "no model"}});
  CHECK(has(screen->start(), "read from fs1:/models/x.gguf\n"));
  CHECK(has(screen->say("/models"), "fs1:/models:\nx.gguf"));

  screen = screen_of({{"models/._b.gguf", "apple"}, {"fs1:/models/x.gguf", "no model"}});
  out = screen->start();
  CHECK(has(out, "  models: no *.gguf file, 1 with a hidden name"));
  CHECK(has(out, "  /: no *.gguf file\n"));
  CHECK(has(out, "  fs1:/models: 1 file that cannot be loaded\n"));
  CHECK(has(out, "hint:     copy a model into the first folder"));
  CHECK(has(out, "fallback: no model: commands work"));
  CHECK_EQ(screen->repl->n_errors(), 1);

  // A named one that fails is an error, and not tried again.
  screen = screen_of({{"models/a.gguf", "broken"}, {"models/b.gguf", "good"}});
  screen->options.model = "models/a.gguf";
  out = screen->start();
  CHECK_EQ(out.find("models/a.gguf cannot be used"), out.rfind("models/a.gguf cannot be used"));
  CHECK(has(out, "fallback: the first model that can be loaded\n"));
  CHECK(has(out, "read from models/b.gguf\n"));
  CHECK_EQ(screen->repl->n_errors(), 1);
}

TEST(information_commands) {
  Screen screen;
  screen.start();
  const std::string cpu = screen.say("/cpu");
  CHECK(has(cpu, "scalar"));
  CHECK(has(cpu, "1.000 GHz"));
  const std::string info = screen.say("/model_info");
  CHECK(has(info, "Small"));
  CHECK(has(info, "fingerprint   "));
  CHECK(has(info, "2 of width 32"));
  CHECK(has(screen.say("/model_info raw.gguf"), "Small: llama, "));
  CHECK(has(screen.say("/model_info absent"), "error: not found"));
  CHECK(has(screen.say("/tokens hello <|im_end|>"), "'hello'"));
  screen.world.files["dir/x.gguf"] = screen.world.files["m.gguf"];
  CHECK(has(screen.say("/models dir"), "x.gguf"));
  CHECK(has(screen.say("/models nowhere"), "no *.gguf files"));
  screen.say("/max_tokens 3"), screen.say("/logprobs on");
  const std::string tokens = screen.say("Hello");
  CHECK(has(tokens, "-"));
  CHECK(has(screen.say("/cache_type f32"), "cache type f32"));
  CHECK(has(screen.say("/cache_type"), "cache type f32"));
}

TEST(control_bytes_never_reach_the_terminal) {
  Screen screen("raw.gguf");
  screen.start();
  screen.say("/max_tokens 100"), screen.say("/temp 100"), screen.say("/top_k 0"), screen.say("/top_p 1"),
      screen.say("/min_p 0");
  std::string all = screen.say("\x1b[2J red \x07 \x7f");
  all += screen.say("/system \x1b[31m");
  all += screen.say("/\x1b[31m");
  all += screen.say("/tokens \x1b");
  all += screen.say("/load \x1b[31m");
  all += screen.say("/models \x1b[31m");
  for (const char c : all) {
    if (u8(c) < 0x20 && c != '\n' && c != '\t') CHECK_EQ(u32(u8(c)), 0x20u);
  }
}

TEST(quit_ends_and_nothing_is_left) {
  test::FakePlatform* world = nullptr;
  {
    Screen screen;
    world = &screen.world;
    screen.start();
    screen.say("/max_tokens 3"), screen.say("Hello"), screen.say("/load raw.gguf"), screen.say("Hi"),
        screen.say("/reset");
    CHECK(!screen.repl->feed("/quit"));
    screen.repl.reset();
    CHECK_EQ(world->n_bytes, 0);
    CHECK_EQ(world->n_open, 0);
  }
}

TEST(the_governor_shows_trips_bounds_and_its_last_action) {
  Screen screen;
  screen.start();
  CHECK_EQ(screen.say("/guard"), "guard off\n");
  CHECK_EQ(screen.say("/autotune"), "autotune off\n");
  screen.say("/speculate off"), screen.say("/raw on"), screen.say("/max_tokens 200");
  screen.say("/guard budget_cycles 1");
  CHECK(has(screen.say("/guard simulate"),
            "trips: 0\nnot in safe mode, which lasts for 2 answers, with at most "
            "max_tokens 96, top_k 40, top_p 0.88, temp 0.7\n"
            "the next answer gets max_tokens 200, "));
  screen.say("Hello");
  CHECK(has(screen.say("/guard"),
            "trips: 0, simulated: 1\nGUARD_STOP_SIMULATED in answer 1: would end the answer, "
            "but the mode is simulate {\"would\":\"GUARD_BUDGET_STOP\","));
  screen.say("/guard on"), screen.say("/clear"), screen.say("Hello");
  const std::string tripped = screen.say("/guard");
  CHECK(has(tripped,
            "trips: 1 (GUARD_BUDGET_STOP 1), simulated: 1\n"
            "GUARD_BUDGET_STOP in answer 2: too many steps of an answer exceeded their budget of cycles "
            "{\"at_token\":"));
  CHECK(has(tripped, "safe mode for 2 more answers, with at most max_tokens 96, "));
  CHECK(has(tripped, "the next answer gets max_tokens 96, "));
  CHECK(has(tripped, "; requested: max_tokens 200, "));
  const std::string metrics = screen.say("/metrics");
  CHECK(has(metrics, "\"guard_trips\":1,\"guard_trips_simulated\":1,\"governor_decisions\":{"));
  CHECK(has(metrics, "\"GUARD_BUDGET_STOP\":1,\"GUARD_STOP_SIMULATED\":1,\"GUARD_SAFE_ENTERED\":1"));
  // What happened is still told when the guard is off, and gone with the session.
  CHECK(has(screen.say("/guard off"), "guard off\ntrips: 1 (GUARD_BUDGET_STOP 1)"));
  screen.say("/reset");
  CHECK(has(screen.say("/metrics"), "\"guard_trips\":0,"));
  CHECK_EQ(screen.say("/guard"), "guard off\n");
}

TEST(autotune_shows_its_steps_and_what_an_answer_gets) {
  Screen screen;
  screen.start();
  screen.say("/speculate off"), screen.say("/raw on"), screen.say("/max_tokens 90");
  screen.say("/autotune high_cycles 2"), screen.say("/autotune min_tokens 1");
  CHECK(has(screen.say("/autotune on"), "a step takes 16 off max_tokens, down to 64\n"));
  CHECK(has(screen.say("/autotune"),
            "answers are bounded by 0 steps; tightened 0, relaxed 0 times\nlast action: none\n"
            "the next answer gets max_tokens 90, "));
  CHECK(has(screen.say("/autotune"), ", as requested\n"));
  screen.say("Hello");
  const std::string tight = screen.say("/autotune");
  CHECK(has(tight,
            "answers are bounded by 1 step; tightened 1, relaxed 0 times\n"
            "last action: AUTOTUNE_TIGHTEN after answer 1: an answer cost more than the high mark: later answers "
            "get one step less {\"measured\":"));
  CHECK(has(tight, "the next answer gets max_tokens 74, "));
  CHECK(has(screen.say("/autotune knobs all"),
            "; 8 off top_k, down to 24; 0.02 off top_p, down to 0.80; 0.04 off temp, "
            "down to 0.55\n"));
  CHECK(has(screen.say("/metrics"), "\"AUTOTUNE_TIGHTEN\":1"));
}

TEST(a_governed_session_says_what_it_decided) {
  Screen screen;
  screen.options.journal = "j.jsonl";
  screen.start();
  CHECK(has(screen.say("/guard"), "guard off"));
  CHECK(has(screen.say("/guard perhaps"), "error"));
  CHECK(has(screen.say("/guard nothing 1"), "error"));
  CHECK(has(screen.say("/autotune on"), "the usual cost is not known yet: 0 of 3 answers"));
  CHECK(has(screen.say("/guard on"), "guard on"));
  CHECK(has(screen.say("/guard turn_ms 90000"), "whole answer 90000 ms"));
  screen.say("/guard budget_cycles 1");
  screen.say("/speculate off");
  screen.say("/raw on");
  const std::string answer = screen.say("Hello");
  CHECK(has(answer, "budget_guard"));
  CHECK(has(answer, "governor: GUARD_BUDGET_STOP, GUARD_SAFE_ENTERED; /explain tells why"));
  CHECK(has(screen.say("/guard"), "safe mode for 2 more answers"));
  const std::string why = screen.say("/explain");
  CHECK(has(why, "GUARD_BUDGET_STOP"));
  CHECK(has(why, "\"overruns\":6,\"budget_cycles\":1"));
  CHECK(has(screen.say("/journal 2"), "[guard] safe_mode reason_id=GUARD_SAFE_ENTERED seq="));
  CHECK(has(screen.say("/journal x"), "error"));
}

TEST(a_policy_changes_the_session_and_keeps_the_conversation) {
  Screen screen;
  screen.options.policy_file = "policy.toml";
  screen.start();
  CHECK(has(screen.say("/policy"), "policy applies: off; asks the model: off; confidence of 60 needed: enforced"));
  CHECK(has(screen.say("/policy aggressive"), "policy applies: aggressive"));
  CHECK(has(screen.say("/policy sometimes"), "error"));
  screen.say("/policy floor_answer 10");
  screen.say("/policy headroom_mb 16777216");  // more than there is
  CHECK(has(screen.say("/consult mock increase_everything"), "must be one of: stay reduce_context"));
  CHECK(has(screen.say("/consult perhaps"), "takes nothing, or: mock ACTION"));
  screen.say("/max_tokens 20");
  screen.say("Hello");
  const std::string consulted = screen.say("/consult mock reduce_answer");
  for (const char* reason :
       {"SESSION_CONSULTED", "POLICY_CHOICE", "CONFIDENCE_PASSED", "PLAN_CHECKPOINT", "PLAN_STEP", "APPLY_VERIFIED"})
    CHECK(has(consulted, reason));
  CHECK(has(screen.say("/policy"), "plan: 1 of 2 steps; reduce_answer is judged: 0 of 8 answers"));
  CHECK(has(screen.say("/policy"), "max_tokens 10 (requested: 20)"));
  CHECK(has(screen.say("/consult mock reduce_context"), "BLOCK_TRIAL_PENDING"));
  CHECK(has(screen.say("/outcomes"),
            "reduce_cache      0         0          0          0             0        resident_memory"));
  CHECK(has(screen.say("Hello again"), "[10 tokens"));
  CHECK(has(screen.world.files["policy.toml"], "max_tokens = 10\n"));
  screen.say("/max_tokens 20");  // an explicit request wins
  CHECK(has(screen.world.files["policy.toml"], "max_tokens = 20\n"));
  CHECK(has(screen.say("/journal 2"), "[session] policy_open reason_id=SESSION_POLICY_OPENED"));
}

TEST(a_context_that_must_wait_is_told_once) {
  Screen screen;
  screen.options.policy_file = "policy.toml";
  screen.start();
  screen.say("/policy aggressive");
  screen.say("/policy floor_context 16");
  screen.say("/policy headroom_mb 16777216");
  screen.say("/max_tokens 40");
  screen.say("A text.");
  CHECK(has(screen.say("/consult mock reduce_context"), "applies from the next conversation"));
  screen.say("/max_tokens 3");
  const std::string next = screen.say("b");
  CHECK(has(next, "[3 tokens"));
  CHECK(!has(next, "applies from the next conversation"));
}

// A power cut leaves the files as they are while the program runs.
TEST(a_policy_counts_starts_and_rolls_back) {
  Screen screen;
  screen.options.policy_file = "policy.toml";
  screen.options.governor.auto_apply = governor::Settings::everything;
  screen.options.governor.headroom_mb = u64(1) << 24;
  screen.options.governor.floor_context = 64;
  screen.start();
  screen.say("/max_tokens 64");
  screen.say("Hello");
  screen.say("/consult mock reduce_context");
  CHECK(has(screen.say("/policy"), "start 1, not yet known to be stable; no start has proven the last change"));
  const auto cut = screen.world.files;
  screen.repl.reset();
  screen.world.files = cut;
  CHECK(has(screen.start(), "policy: POLICY_START_FAILED, POLICY_WORSE, PLAN_ROLLED_BACK"));
  CHECK(has(screen.say("/policy"), "starts that failed in a row: 1"));
  screen.repl.reset();
  CHECK(screen.start().find("policy:") == std::string::npos);  // the one before ended in order
}

TEST(a_log_that_cannot_be_written_goes_elsewhere) {
  static std::string elsewhere;
  elsewhere.clear();
  Screen screen;
  screen.options.log = "read-only/log.txt";
  screen.options.instead_of_log = [](Str lines) { elsewhere.append(lines.data, lines.size); };
  screen.start();
  CHECK(has(screen.say("/max_tokens 3"), "is read-only"));
  CHECK(has(screen.say("Hello"), "digest"));  // shown once
  CHECK(has(elsewhere, "reason_id=MODEL_LOADED"));
  CHECK(has(elsewhere, "reason_id=SESSION_TURN_ENDED"));
  CHECK_EQ(screen.repl->n_errors(), u64(1));
}

// On a volume that fills up the log may meet the end first: that of the journal is not to be silent.
TEST(each_of_journal_and_log_that_cannot_be_written_is_told_once) {
  Screen screen;
  screen.options.journal = "journal.jsonl";
  screen.options.log = "log.txt";
  std::string full;
  screen.world.appending = [&](const std::string& path) -> Status {
    if (full.find(path) == std::string::npos) return {};
    return fail(Code::io, Str(path.data(), path.size())) << "is full";
  };
  screen.start();
  full = "log.txt";
  CHECK(has(screen.say("/max_tokens 3") + screen.say("Hello"), "log.txt: is full"));
  full = "log.txt journal.jsonl";
  const std::string both = screen.say("/clear") + screen.say("Hello");
  CHECK(has(both, "journal.jsonl: is full"));
  CHECK(!has(both, "log.txt"));
  CHECK(!has(screen.say("/clear") + screen.say("Hello"), "is full"));
}

TEST(metrics_are_left_at_the_end) {
  Screen screen;
  screen.options.metrics = "metrics.json";
  screen.start();
  screen.repl.reset();
  CHECK(has(screen.world.files["metrics.json"], "\"prefix_cache\""));
}

TEST(a_policy_that_cannot_be_costs_no_model) {
  Screen screen;
  screen.options.governor.auto_apply = governor::Settings::everything;
  const std::string greeting = screen.start();
  CHECK(has(greeting, "policy.auto_apply: needs a file"));
  CHECK(greeting.find("cannot be used") == std::string::npos);
  CHECK(has(screen.say("Hello"), "digest"));
  CHECK(has(screen.say("/policy off"), "policy applies: off"));
  Screen quiet;
  quiet.start();
  CHECK(has(quiet.say("/policy aggressive"), "needs a file"));
  CHECK(has(quiet.say("/policy"), "policy applies: off"));
}

// A conversation that is too long for less context goes on in what it has.
TEST(less_context_waits_for_the_next_conversation) {
  Screen screen;
  screen.options.policy_file = "policy.toml";
  screen.options.governor.auto_apply = governor::Settings::everything;
  screen.options.governor.floor_context = 64;
  screen.options.governor.headroom_mb = u64(1) << 24;
  screen.start();
  screen.say("/max_tokens 60");
  screen.say("Hello there, and more of it");
  CHECK(has(screen.say("/consult mock reduce_context"), "a context of 64 tokens applies from the next conversation"));
  CHECK(has(screen.say("/ctx"), "context 128,"));
  screen.say("/clear");
  CHECK(has(screen.say("/ctx"), "context 64,"));
}

TEST(the_model_is_asked_when_a_session_ends) {
  Screen screen;
  screen.options.governor.consult = governor::Settings::at_end;
  screen.options.journal = "j.jsonl";
  screen.options.context = 1024;
  screen.world.files["m.gguf"] = test::small_model(test::chat_vocabulary(), test::chatml_template, 1, 1024);
  screen.start();
  screen.say("/max_tokens 3");
  screen.say("Hello");
  CHECK(screen.world.files["j.jsonl"].find("SESSION_CONSULTED") == std::string::npos);
  CHECK(has(screen.say("/reset"), "a new session"));
  CHECK(has(screen.world.files["j.jsonl"], "SESSION_CONSULTED"));
}

TEST(the_journal_goes_on_where_it_was) {
  Screen screen;
  screen.options.journal = "j.jsonl";
  const auto n_lines = [&] {
    journal::ChainCheck chain{journal::Head{}};
    u64 n = 0;
    const std::string& text = screen.world.files["j.jsonl"];
    for (size_t at = 0; at < text.size(); ++n) {
      const size_t end = text.find('\n', at);
      journal::Line line;
      CHECK(chain.next({text.data() + at, end - at}, &line).ok());
      at = end + 1;
    }
    return n;
  };
  screen.start();
  screen.say("Hello");
  screen.repl.reset();
  const u64 first = n_lines();
  CHECK(first > 5);
  const std::string first_head = screen.world.files["j.jsonl.head"];
  screen.start();
  screen.say("Hello");
  screen.repl.reset();
  CHECK_EQ(n_lines(), 2 * first);

  // As a crash leaves it: the last line is cut off, and named; the head is an older one.
  screen.world.files["j.jsonl.head"] = first_head;
  std::string& file = screen.world.files["j.jsonl"];
  file.resize(file.size() - 9);
  CHECK(has(screen.start(), " bytes behind its last whole line, now in FILE.torn"));
  screen.say("Hello");
  screen.repl.reset();
  CHECK_EQ(n_lines(), 3 * first - 1);

  file += std::string("\0\7{\"v\":1,\n of a file before\n\n", 29);  // a power cut may leave what was there before
  CHECK(has(screen.start(), "29 bytes behind its last whole line"));
  screen.repl.reset();
  CHECK_EQ(screen.world.files["j.jsonl.torn"].size(), size_t(29));
  CHECK(n_lines() > 3 * first - 1);

  file[300] ^= 1;
  const std::string changed = file, head = screen.world.files["j.jsonl.head"];
  CHECK(has(screen.start(),
            "warning: j.jsonl: cannot go on, j.jsonl:1: was changed: its hash is another; it was set aside "
            "as j.jsonl.broken-1, and a new one begins"));
  screen.say("Hello");
  CHECK_EQ(screen.repl->n_errors(), u64(0));
  screen.repl.reset();
  CHECK(screen.world.files["j.jsonl.broken-1"] == changed);
  CHECK(screen.world.files["j.jsonl.broken-1.head"] == head);
  CHECK_EQ(n_lines(), first + 1);
  CHECK(
      has(screen.world.files["j.jsonl"].substr(0, 400),
          "\"reason_id\":\"JOURNAL_SET_ASIDE\",\"data\":{\"files\":[\"j.jsonl.broken-1\",\"j.jsonl.broken-1.head\"],"));
}

TEST(a_journal_that_another_program_changed_is_left_alone) {
  Screen screen;
  screen.options.journal = "j.jsonl";
  screen.start();
  screen.say("/max_tokens 3");
  screen.say("Hello");
  std::string& file = screen.world.files["j.jsonl"];
  file += "theirs\n";
  const std::string theirs = file;
  CHECK(has(screen.say("Hello"), "was changed by another program"));
  CHECK(!has(screen.say("Hello"), "error"));  // said once
  CHECK(file == theirs);
  CHECK(has(screen.say("/journal 3"), "reason_id=SESSION_TURN_ENDED"));  // in memory it goes on
}

TEST(a_script_is_fed_line_by_line) {
  Screen screen;
  screen.world.files["s.txt"] = "/max_tokens 3\nHello\\\nthere\n/nonsense\n/autorun s.txt\n/temp 0";
  screen.start();
  const std::string shown = screen.say("/autorun s.txt");
  CHECK(has(shown, "> /max_tokens 3\n"));
  CHECK(has(shown, "... there\n"));
  CHECK(has(shown, "[3 tokens"));
  CHECK(has(shown, "/nonsense: is no command"));
  CHECK(has(shown, "/autorun: is not for scripts that run already"));
  CHECK(has(shown, "temp 0 (greedy)"));
  CHECK_EQ(screen.repl->n_errors(), u64(2));
  CHECK(has(screen.say("/autorun absent.txt"), "error"));
  CHECK(has(screen.say("/autorun"), "needs the script's file"));
  screen.world.files["end.txt"] = "/quit\n/temp 1\n";
  CHECK(!screen.repl->feed("/autorun end.txt"));
  CHECK(screen.world.take().find("temp 1") == std::string::npos);
  screen.start();
  CHECK(!screen.repl->feed("/autorun s.txt --shutdown"));
  CHECK(has(screen.world.take(), "temp 0 (greedy)"));
}

TEST(a_configuration_of_version_0_1_is_read_with_warnings) {
  test::FakePlatform world;
  world.files["flyball.toml"] = "kv = \"q8_0\"\ntune = \"again\"\n";
  Arena arena(world.platform);
  repl::Options options;
  REQUIRE(repl::read_options(world.platform, arena, "flyball.toml", &options).ok());
  CHECK(options.cache == engine::CacheType::q8_0);
  CHECK(options.tune_refresh);
  const std::string warnings(options.warnings.data, options.warnings.size);
  CHECK(has(warnings, "flyball.toml:1: kv is now cache_type"));
  CHECK(has(warnings, "flyball.toml:2: again is now refresh"));
}

TEST(an_adapter_holds_until_another_or_none) {
  Screen screen;
  screen.world.files["a.gguf"] = test::small_adapter();
  screen.world.files["zero.gguf"] = test::small_adapter(0);
  screen.start();
  screen.say("/raw on");
  screen.say("/max_tokens 8");
  const auto digest = [&] {
    screen.say("/clear");
    const std::string shown = screen.say("Hello");
    return shown.substr(shown.find("digest"));
  };
  screen.say("/ctx 64");
  CHECK_EQ(screen.say("/adapter"), "no adapter\n");
  const std::string plain = digest();
  CHECK(has(screen.say("/adapter a.gguf"), "adapter a.gguf, scale 1.0000: rank 4, 1 matrices, fingerprint "));
  const std::string whole = digest();
  CHECK(whole != plain);
  screen.say("/receipt r.json");
  CHECK(has(screen.say("/verify r.json"), "verified"));
  CHECK(has(screen.say("/adapter a.gguf:0.5"), "scale 0.5000"));
  CHECK(digest() != whole);
  CHECK(has(screen.say("/verify r.json"), "verified"));  // by fingerprint, at the receipt's scale
  screen.say("/ctx 32");
  CHECK(has(screen.say("/adapter"), "scale 0.5000"));  // another session goes on with it
  screen.say("/ctx 64");
  CHECK(has(screen.say("/adapter absent.gguf"), "error: not found: absent.gguf"));
  CHECK(has(screen.say("/adapter m.gguf"), "an adapter is needed here"));
  CHECK(has(screen.say("/adapter zero.gguf"), "changes no logits"));
  CHECK_EQ(screen.say("/adapter -"), "no adapter\n");
  CHECK(has(screen.say("/verify r.json"), "give its file as well"));
  screen.say("/load m.gguf");
  screen.say("/raw on");
  CHECK_EQ(digest(), plain);
  Screen configured;
  configured.world.files["a.gguf"] = test::small_adapter();
  configured.options.adapter = "a.gguf:2";
  CHECK(has(configured.start(), "adapter a.gguf, scale 2.0000"));
}
