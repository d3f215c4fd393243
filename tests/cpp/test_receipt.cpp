#include <memory>
#include <string>
#include <vector>

#include "fake_platform.h"
#include "small_model.h"

#include "receipt/receipt.h"

using namespace flyball;
using namespace flyball::receipt;
using namespace flyball::engine;

namespace {

Str str(const std::string& text) { return {text.data(), text.size()}; }
std::string string(Str text) { return {text.data, text.size}; }

// A small model, and answers of it as receipts.
struct Engine {
  test::FakePlatform world;
  Model* model = nullptr;

  explicit Engine(unsigned seed = 1) {
    world.files["m.gguf"] = test::small_model(test::chat_vocabulary(), test::chatml_template, seed);
    model = load("auto");
  }
  ~Engine() { Model::release(model); }

  Model* load(const char* isa, u32 threads = 1) {
    ModelOptions options;
    options.isa = isa;
    options.threads = threads;
    const auto loaded = Model::load(world.platform, "m.gguf", options);
    REQUIRE(loaded.ok());
    return loaded.value();
  }

  std::string answer(const GenerateOptions& options, std::vector<Token> prompt = {72, 105},
                     u64 interrupt_after = ~u64(0)) {
    SessionOptions session_options;
    session_options.sequence = 7;
    Session* session = Session::create(*model, session_options).value();
    Generation* generation = Generation::begin(*session, {prompt.data(), prompt.size()}, options).value();
    REQUIRE(generation->prefill().ok());
    CancelToken cancel;
    cancel.stop = [](void*) { return true; };
    for (u64 i = 0; generation->stop_reason() == StopReason::none; ++i) {
      REQUIRE(generation->step(i < interrupt_after ? CancelToken() : cancel).ok());
    }
    Arena arena(world.platform);
    const auto receipt = make_receipt(arena, *generation);
    REQUIRE(receipt.ok());
    const auto text = write_receipt(arena, receipt.value());
    REQUIRE(text.ok());
    const auto alone = digest(*generation);
    CHECK(alone.ok() && alone.value() == receipt.value().digest);
    const std::string out = string(text.value());
    Generation::release(generation);
    Session::release(session);
    return out;
  }

  Result<VerifyReport> verify(const std::string& text, Model* other = nullptr) {
    Arena arena(world.platform);
    const auto receipt = parse_receipt(arena, str(text));
    if (!receipt.ok()) return receipt.error();
    return verify_receipt(receipt.value(), other != nullptr ? *other : *model);
  }

  // What verification says of a receipt: "verified", or the difference and its position, or an error's code.
  std::string verdict(const std::string& text, Model* other = nullptr) {
    const auto report = verify(text, other);
    if (!report.ok()) return string(code_name(report.error().code)) + " " + string(report.error().where.str());
    if (report.value().verified) return "verified";
    return string(difference_name(report.value().difference)) + " " + std::to_string(report.value().position);
  }
};

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

// The i-th element of a JSON array of numbers or strings, replaced.
std::string element_replaced(std::string text, const std::string& array, u32 i, const std::string& to) {
  size_t at = text.find("\"" + array + "\":[");
  REQUIRE(at != std::string::npos);
  at += array.size() + 4;
  for (; i > 0; --i) at = text.find(',', at) + 1;
  const size_t end = text.find_first_of(",]", at);
  return text.replace(at, end - at, to);
}

GenerateOptions options(u32 max_tokens = 12) {
  GenerateOptions out;
  out.max_tokens = max_tokens;
  out.sampler.seed = 5;
  out.ignore_eos = true;
  return out;
}

}  // namespace

TEST(a_receipt_holds_on_every_table_and_number_of_threads) {
  Engine engine;
  const std::string receipt = engine.answer(options());
  CHECK_EQ(engine.verdict(receipt), "verified");
  for (const kernels::Table* table : kernels::usable_tables()) {
    Model* other = engine.load(table->name, 3);
    CHECK_EQ(engine.verdict(receipt, other), "verified");
    Model::release(other);
    test::note(std::string("verified by ") + table->name);
  }
}

TEST(all_settings_survive_the_file) {
  Engine engine;
  GenerateOptions o = options(20);
  o.sampler.temperature = 1.7f, o.sampler.top_k = 0, o.sampler.top_p = 0.99f, o.sampler.min_p = 0.001f;
  o.sampler.repeat_penalty = 1.3f, o.sampler.repeat_window = 9, o.sampler.no_repeat_ngram = 3;
  o.sampler.seed = 0xfedcba9876543210u;
  const runtime::LogitBias bias[] = {{65, 2.25f}, {66, -__builtin_inff()}};
  o.sampler.bias = bias;
  const Str stops[] = {"never \"said\"\n", "\xe2\x82\xac"};
  o.stops = stops;
  const std::string text = engine.answer(o);
  Arena arena(engine.world.platform);
  const auto parsed = parse_receipt(arena, str(text));
  REQUIRE(parsed.ok());
  const runtime::DigestInput& content = parsed.value().content;
  CHECK_EQ(content.sampler.temperature, 1.7f);
  CHECK_EQ(content.sampler.seed, 0xfedcba9876543210u);
  CHECK_EQ(content.sampler.bias.size, 2);
  CHECK_EQ(content.sampler.bias[1].bias, -__builtin_inff());
  CHECK_EQ(content.stops[0], stops[0]);
  CHECK_EQ(content.sequence, 7);
  CHECK(runtime::answer_digest(content) == parsed.value().digest);
  CHECK_EQ(engine.verdict(text), "verified");
}

TEST(newer_settings_survive_the_file) {
  Engine engine;
  GenerateOptions o = options(20);
  CHECK(engine.answer(o).find("{\"schema_version\":1,") == 0);
  const Token stop_tokens[] = {3, 4};
  o.sampler.presence_penalty = 0.5f, o.sampler.frequency_penalty = -0.25f, o.stop_tokens = stop_tokens;
  const std::string text = engine.answer(o);
  CHECK(text.find("{\"schema_version\":2,") == 0);
  Arena arena(engine.world.platform);
  const auto parsed = parse_receipt(arena, str(text));
  REQUIRE(parsed.ok());
  const runtime::DigestInput& content = parsed.value().content;
  CHECK_EQ(content.sampler.presence_penalty, 0.5f);
  CHECK_EQ(content.sampler.frequency_penalty, -0.25f);
  CHECK_EQ(content.stop_tokens.size, 2);
  CHECK_EQ(content.stop_tokens[1], 4);
  CHECK(runtime::answer_digest(content) == parsed.value().digest);
  CHECK_EQ(engine.verdict(text), "verified");
  CHECK(engine.verdict(replaced(text, "\"frequency_penalty\":-0.25", "\"frequency_penalty\":5")) != "verified");
  CHECK_EQ(engine.verdict(replaced(text, "\"presence_penalty\":0.5", "\"presence_penalty\":500")), "settings 0");
  CHECK_EQ(engine.verdict(element_replaced(text, "stop_tokens", 0, "99999")), "settings 0");
  // A function that is not there: no verdict, and never a mismatch.
  CHECK_EQ(engine.verdict(replaced(text, "\"logits_processor\":\"\"", "\"logits_processor\":\"f\"")),
           "unsupported logits_processor");
}

namespace {

// Allows even tokens, and counts what it is asked and told.
struct EvenTokens {
  std::vector<u32> words;
  u64 n_asked = 0, n_told = 0;
  explicit EvenTokens(const Model& model) : words((model.config().n_vocab + 31) / 32, 0x55555555) {}
  runtime::Constraint constraint() {
    runtime::Constraint made;
    made.context = this;
    made.allowed = [](void* self, Span<const Token> answer) -> Result<Span<const u32>> {
      auto& even = *static_cast<EvenTokens*>(self);
      CHECK_EQ(answer.size, even.n_asked++);
      return Span<const u32>(even.words.data(), even.words.size());
    };
    made.chosen = [](void* self, Token token) {
      CHECK_EQ(token % 2, 0);
      ++static_cast<EvenTokens*>(self)->n_told;
    };
    made.kind = "regex", made.library = "library 1", made.text = "\"\n";
    return made;
  }
};

}  // namespace

TEST(a_constraint_is_in_the_receipt_and_is_needed_to_verify) {
  Engine engine;
  GenerateOptions o = options(20);
  o.ignore_eos = false;
  EvenTokens even(*engine.model), again(*engine.model);
  o.constraint = even.constraint();
  const std::string text = engine.answer(o);
  CHECK(text.find("{\"schema_version\":3,") == 0);
  Arena arena(engine.world.platform);
  const auto parsed = parse_receipt(arena, str(text));
  REQUIRE(parsed.ok());
  const runtime::DigestInput& content = parsed.value().content;
  CHECK_EQ(string(content.constraint.kind), "regex");
  CHECK_EQ(string(content.constraint.library), "library 1");
  CHECK_EQ(string(content.constraint.text), "\"\n");
  CHECK(runtime::answer_digest(content) == parsed.value().digest);
  for (const Token token : content.tokens) CHECK_EQ(token % 2, 0);
  CHECK_EQ(even.n_asked, content.tokens.size);
  CHECK_EQ(even.n_told, content.tokens.size - 1);
  CHECK_EQ(engine.verdict(text), "unsupported constraint");
  const auto report = verify_receipt(parsed.value(), *engine.model, {}, {}, {}, {}, again.constraint());
  REQUIRE(report.ok());
  CHECK(report.value().verified);
  CHECK_EQ(again.n_asked, content.tokens.size);
  CHECK(!parse_receipt(arena, str(replaced(text, "library 1", "library 2"))).ok());
  const std::string plain = engine.answer(options());
  const auto none = parse_receipt(arena, str(plain));
  CHECK(!verify_receipt(none.value(), *engine.model, {}, {}, {}, {}, again.constraint()).ok());
}

TEST(a_constraint_and_ignore_eos_exclude_each_other) {
  Engine engine;
  GenerateOptions o = options();
  EvenTokens even(*engine.model);
  o.constraint = even.constraint();
  Session* session = Session::create(*engine.model, {}).value();
  const Token prompt[] = {72, 105};
  CHECK_EQ(string(Generation::check(*session, prompt, o).error().where.str()), "ignore_eos");
  o.ignore_eos = false;
  CHECK(Generation::check(*session, prompt, o).ok());
  Session::release(session);
}

TEST(the_first_difference_is_named) {
  Engine engine;
  const std::string receipt = engine.answer(options());
  CHECK_EQ(engine.verdict(element_replaced(receipt, "tokens", 4, "3")), "tokens 4");
  CHECK_EQ(engine.verdict(element_replaced(receipt, "logits_hashes", 7, "\"" + std::string(32, '0') + "\"")),
           "logits 7");
  CHECK_EQ(engine.verdict(element_replaced(receipt, "prompt_tokens", 1, "3")), "logits 0");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"max_tokens\":12", "\"max_tokens\":13")), "tokens 12");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"max_tokens\":12", "\"max_tokens\":11")), "stop 11");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"reason\":\"max_tokens\"", "\"reason\":\"eos\"")), "stop 12");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"text\":\"", "\"text\":\"x")), "text 12");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"repeat_window\":64", "\"repeat_window\":65")), "digest 0");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"temperature\":0.8", "\"temperature\":-1")), "settings 0");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"cache_type\":\"f16\"", "\"cache_type\":\"f17\"")), "settings 0");
  CHECK_EQ(engine.verdict(element_replaced(receipt, "prompt_tokens", 1, "99999")), "settings 0");
  const auto report = engine.verify(element_replaced(receipt, "tokens", 4, "3"));
  CHECK(string(report.value().message.str()).find("changed after it was written") != std::string::npos);
  CHECK_EQ(report.value().n_compared, 4);
}

TEST(another_model_is_told_first) {
  Engine engine, other(2);
  CHECK_EQ(engine.verdict(other.answer(options())), "model 0");
}

TEST(interrupted_answers_are_repeated_to_their_end) {
  Engine engine;
  const std::string some = engine.answer(options(50), {72, 105}, 5);
  CHECK(some.find("\"reason\":\"interrupted\",\"position\":5") != std::string::npos);
  CHECK_EQ(engine.verdict(some), "verified");
  CHECK_EQ(engine.verdict(element_replaced(some, "tokens", 2, "3")), "tokens 2");
}

TEST(stop_strings_and_end_of_context_are_repeated) {
  Engine engine;
  const std::string plain = engine.answer(options(30));
  Arena arena(engine.world.platform);
  const std::string text = string(parse_receipt(arena, str(plain)).value().text);
  std::string stop;
  for (const char c : text) {
    if (c > ' ' && c < 0x7f) stop = c;  // the last plain character
  }
  REQUIRE(!stop.empty());
  const Str stops[] = {str(stop)};
  GenerateOptions o = options(30);
  o.stops = stops;
  const std::string stopped = engine.answer(o);
  CHECK(stopped.find("\"reason\":\"stop_string\"") != std::string::npos);
  CHECK_EQ(engine.verdict(stopped), "verified");
  const std::string full = engine.answer(options(1000), std::vector<Token>(120, 65));
  CHECK(full.find("\"reason\":\"context_full\"") != std::string::npos);
  CHECK_EQ(engine.verdict(full), "verified");
}

TEST(hostile_receipts_are_refused_with_field_and_byte) {
  Engine engine;
  const std::string receipt = engine.answer(options());
  CHECK_EQ(engine.verdict(""), "corrupt JSON");
  CHECK_EQ(engine.verdict("[]"), "corrupt receipt");
  CHECK_EQ(engine.verdict("{}"), "corrupt schema_version");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"schema_version\":1", "\"schema_version\":4")), "corrupt schema_version");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"schema_version\":1", "\"schema_version\":2")),
           "corrupt presence_penalty");
  GenerateOptions constrained = options();
  constrained.ignore_eos = false;
  EvenTokens even(*engine.model);
  constrained.constraint = even.constraint();
  const std::string third = engine.answer(constrained);
  CHECK_EQ(engine.verdict(replaced(third, "\"kind\":\"regex\"", "\"kind\":\"\"")), "corrupt kind");
  CHECK_EQ(engine.verdict(replaced(third, "\"kind\":\"regex\"", "\"kind\":\"lark\"")), "corrupt sha256");
  CHECK_EQ(engine.verdict(replaced(third, "\"constraint\":{", "\"constraints\":{")), "corrupt constraint");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"top_k\":40", "\"top_k\":-1")), "corrupt top_k");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"top_k\":40", "\"top_k\":4294967296")), "corrupt top_k");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"top_k\":40", "\"top_k\":40,\"top_k\":40")), "corrupt JSON");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"top_p\":0.95", "\"top_p\":\"high\"")), "corrupt top_p");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"position\":12", "\"position\":11")), "corrupt position");
  const std::string adapter = "{\"name\":\"a\",\"fingerprint\":\"" + std::string(64, 'f') + "\",\"scale\":1}";
  for (const auto& [adapters, wrong] : std::vector<std::pair<std::string, std::string>>{
           {"1", "corrupt adapters"},
           {"{}", "corrupt name"},
           {"{\"name\":\"a\",\"fingerprint\":\"f\"}", "corrupt fingerprint"},
           {adapter.substr(0, adapter.size() - 2) + "\"x\"}", "corrupt scale"},
           {adapter, "unsupported adapters"},  // no such adapter is at hand
           {adapter + "," + adapter, "unsupported adapters"}})
    CHECK_EQ(engine.verdict(replaced(receipt, "\"adapters\":[]", "\"adapters\":[" + adapters + "]")), wrong);
  for (const auto& [decision, wrong] : std::vector<std::pair<std::string, std::string>>{
           {"1", "decisions"},
           {"{}", "position"},
           {"{\"position\":-1}", "position"},
           {"{\"position\":0}", "reason_id"},
           {"{\"position\":0,\"reason_id\":\"NONE\",\"data\":{}}", "decisions"},
           {"{\"position\":0,\"reason_id\":\"GUARD_TURN_STOP\"}", "data"},
           {"{\"position\":0,\"reason_id\":\"GUARD_TURN_STOP\",\"data\":[]}", "data"}})
    CHECK_EQ(engine.verdict(replaced(receipt, "\"decisions\":[]", "\"decisions\":[" + decision + "]")),
             "corrupt " + wrong);
  CHECK_EQ(engine.verdict(element_replaced(receipt, "tokens", 0, "-5")), "corrupt tokens");
  CHECK_EQ(engine.verdict(element_replaced(receipt, "logits_hashes", 0, "\"12\"")), "corrupt logits_hashes");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"logit_bias\":[]", "\"logit_bias\":[[1]]")), "corrupt logit_bias");
  CHECK_EQ(engine.verdict(replaced(receipt, "\"reason\":\"max_tokens\"", "\"reason\":\"magic\"")), "corrupt reason");
  const auto report = engine.verify(replaced(receipt, "\"top_p\":0.95", "\"top_p\":null"));
  CHECK_EQ(report.error().offset, receipt.find("\"top_p\":") + 8);
}

TEST(every_cut_of_a_receipt_is_refused) {
  Engine engine;
  const std::string receipt = engine.answer(options(3));
  for (u64 n = 0; n + 2 < receipt.size(); n += 3) {
    Arena arena(engine.world.platform);
    if (parse_receipt(arena, {receipt.data(), n}).ok()) CHECK_EQ(n, receipt.size());
  }
}

TEST(verification_can_be_interrupted) {
  Engine engine;
  const std::string text = engine.answer(options());
  Arena arena(engine.world.platform);
  const auto receipt = parse_receipt(arena, str(text));
  CancelToken cancel;
  cancel.stop = [](void*) { return true; };
  const auto report = verify_receipt(receipt.value(), *engine.model, cancel);
  REQUIRE(!report.ok());
  CHECK(report.error().code == Code::interrupted);
}
