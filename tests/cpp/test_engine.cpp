// What surrounds the engine in its process cannot change an answer: the caller's floating-point mode is not ours.
#include "engine/engine.h"

#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/state.h"
#include "fake_platform.h"
#include "host/host.h"
#include "small_model.h"

using namespace flyball;
using namespace flyball::engine;

namespace {

constexpr u32 standard_mode = 0x1f80;
constexpr u32 round_to_zero = 0x7f80;
constexpr u32 flush_subnormals = 0x9fc0;  // FTZ and DAZ, as libraries built with -ffast-math leave behind

u32 float_mode() {
  u32 mode = 0;
  __asm__ volatile("stmxcsr %0" : "=m"(mode));
  return mode;
}
void set_float_mode(u32 mode) { __asm__ volatile("ldmxcsr %0" : : "m"(mode)); }

std::vector<Hash128> answer(test::FakePlatform& world, u32 mode) {
  set_float_mode(mode);
  Model* model = Model::load(world.platform, "m.gguf", {}).value();
  Session* session = Session::create(*model, {}).value();
  const Token prompt[] = {72, 105};
  GenerateOptions options;
  options.max_tokens = 20;
  Generation* generation = Generation::begin(*session, {prompt, 2}, options).value();
  while (generation->stop_reason() == StopReason::none) REQUIRE(generation->step().ok());
  CHECK_EQ(float_mode() & ~0x3fu, mode & ~0x3fu);  // restored; the low bits are sticky flags
  const std::vector<Hash128> hashes(generation->logits_hashes().begin(), generation->logits_hashes().end());
  Generation::release(generation);
  Session::release(session);
  Model::release(model);
  set_float_mode(standard_mode);
  return hashes;
}

}  // namespace

TEST(the_callers_float_mode_changes_no_bit) {
  test::FakePlatform world;
  world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
  const std::vector<Hash128> standard = answer(world, standard_mode);
  CHECK(standard.size() > 1);
  CHECK(answer(world, round_to_zero) == standard);
  CHECK(answer(world, flush_subnormals) == standard);
}

// As bare metal does: what is forgotten is given to others, who write there.
struct Forgetful : test::FakePlatform {
  std::vector<u8> n_forgotten;  // of each byte of the file, how many times

  Forgetful() {
    files["m.gguf"] = test::small_model(test::chat_vocabulary());
    n_forgotten.resize(files["m.gguf"].size());
    platform.forget = [](void* self, Span<const u8> range) {
      auto& world = *static_cast<Forgetful*>(self);
      char* const file = world.files["m.gguf"].data();
      const u64 begin = static_cast<u64>(reinterpret_cast<const char*>(range.data) - file);
      for (u64 i = begin; i < std::min<u64>(begin + range.size, world.n_forgotten.size()); ++i)
        file[i] = '\xaa', ++world.n_forgotten[i];
    };
  }
};

TEST(what_is_forgotten_is_each_byte_of_packed_weights_once_and_never_read_again) {
  test::FakePlatform world;
  world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
  Model* kept = Model::load(world.platform, "m.gguf", {}).value();
  Forgetful forgetful;
  Model* model = Model::load(forgetful.platform, "m.gguf", {}).value();
  const Digest fingerprint = kept->fingerprint().value();
  CHECK(model->fingerprint().value() == fingerprint);
  CHECK(model->fingerprint({}, true).value() == fingerprint);
  u64 n_kept = 0;
  for (const u8 times : forgetful.n_forgotten) CHECK(times <= 1), n_kept += times == 0;
  const gguf::Tensor* const embedding = model->file().tensor("token_embd.weight");
  u64 metadata = forgetful.n_forgotten.size();
  for (const gguf::Tensor& tensor : model->file().tensors()) metadata = std::min(metadata, tensor.offset);
  CHECK_EQ(n_kept, metadata + round_up(embedding->data.size, 32));
  Model::release(model);
  Model::release(kept);
  Forgetful again;
  CHECK(answer(again, standard_mode) == answer(world, standard_mode));
}

// Workers inherit the mode of the thread that starts them, so they set their own.
TEST(worker_threads_compute_in_the_standard_mode) {
  const pid_t child = fork();
  if (child == 0) {  // a process of its own: this one's workers have been started by other tests
    set_float_mode(round_to_zero);
    std::vector<u32> modes(64);
    struct Seen {
      std::vector<u32>& modes;
      pthread_t caller;
      std::vector<u8> by_worker = std::vector<u8>(64);
    } seen{modes, pthread_self()};
    const Platform& platform = host::host_platform();
    bool worker_ran = false;
    for (int round = 0; round < 1000 && !worker_ran; ++round) {
      platform.parallel_for(
          platform.self, 3, 64,
          [](void* context, u32 task) {
            Seen& to = *static_cast<Seen*>(context);
            to.modes[task] = float_mode();
            to.by_worker[task] = !pthread_equal(pthread_self(), to.caller);
            for (int i = 0; i < 20000; ++i) __asm__ volatile("");
          },
          &seen);
      for (u32 task = 0; task < 64; ++task) {
        if (!seen.by_worker[task]) continue;
        worker_ran = true;
        if ((modes[task] & ~0x3fu) != standard_mode) _exit(1);
      }
    }
    _exit(worker_ran ? 0 : 2);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
}

namespace {

struct Answer {
  Session* session;
  Generation* generation;
  Answer(Model& model, const std::vector<Token>& prompt)
      : session(Session::create(model, {}).value()),
        generation(Generation::begin(*session, {prompt.data(), prompt.size()}, options()).value()) {}
  ~Answer() {
    Generation::release(generation);
    Session::release(session);
  }
  Answer(const Answer&) = delete;
  Answer& operator=(const Answer&) = delete;

  static GenerateOptions options() {
    GenerateOptions some;
    some.max_tokens = 6;
    some.ignore_eos = true;
    return some;
  }
};

}  // namespace

TEST(a_prompt_without_memory_fails_alone) {
  test::FakePlatform world;
  world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
  Model* model = Model::load(world.platform, "m.gguf", {}).value();
  {
    Answer first(*model, {72, 105}), long_prompt(*model, std::vector<Token>(100, 65)), second(*model, {66});
    Generation* const all[] = {first.generation, long_prompt.generation, second.generation};
    Generation* const others[] = {first.generation, second.generation};
    Generation::StepResult stepped[3];
    Generation::step_many({others, 2}, {stepped, 2});
    const u32 before = u32(first.generation->tokens().size);
    governor::PromptPace& pace = model->state().turns.pace;  // on this machine a prompt costs next to nothing
    pace.observe({2, 0, 0, 1'000'000, 0});
    pace.observe({2, 512, 0, 1'000'001, 0});
    world.most_bytes = world.n_bytes;  // no workspace for so many tokens
    Generation::step_many({all, 3}, {stepped, 3});
    CHECK(stepped[0].status.ok());
    CHECK(stepped[2].status.ok());
    CHECK_EQ(first.generation->tokens().size, before + 1);
    REQUIRE(!stepped[1].status.ok());
    CHECK(stepped[1].status.error().code == Code::out_of_memory);
    world.most_bytes = ~u64(0);
    while (first.generation->stop_reason() == StopReason::none) Generation::step_many({others, 2}, {stepped, 2});
    Answer alone(*model, {72, 105});
    while (alone.generation->stop_reason() == StopReason::none) REQUIRE(alone.generation->step().ok());
    CHECK(std::equal(alone.generation->logits_hashes().begin(), alone.generation->logits_hashes().end(),
                     first.generation->logits_hashes().begin()));
  }
  Model::release(model);
}

// The fork's child has no other thread: what one held or was computing is free, and its part of a job is not done twice.
TEST(the_child_of_a_fork_computes) {
  test::FakePlatform world;
  world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
  Model* model = Model::load(world.platform, "m.gguf", {}).value();
  model->before_fork();
  const pid_t child = fork();
  model->after_fork(child == 0);
  if (child == 0) {
    Answer answer(*model, {72, 105});
    while (answer.generation->stop_reason() == StopReason::none) {
      if (!answer.generation->step().ok()) _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK_EQ(status, 0);
  Model::release(model);
}

namespace {

struct Small {
  test::FakePlatform world;
  Model* model;
  Small() {
    world.files["m.gguf"] = test::small_model(test::chat_vocabulary());
    model = Model::load(world.platform, "m.gguf", {}).value();
  }
  ~Small() { Model::release(model); }
  Small(const Small&) = delete;
  Small& operator=(const Small&) = delete;
};

struct Begun {
  Session* session;
  Generation* generation;
  Begun(Model& model, const std::vector<Token>& prompt, const GenerateOptions& options)
      : session(Session::create(model, {}).value()),
        generation(Generation::begin(*session, {prompt.data(), prompt.size()}, options).value()) {}
  ~Begun() {
    Generation::release(generation);
    Session::release(session);
  }
  Begun(const Begun&) = delete;
  Begun& operator=(const Begun&) = delete;
  bool done() const { return generation->stop_reason() != StopReason::none; }
  std::vector<Hash128> hashes() const {
    return {generation->logits_hashes().begin(), generation->logits_hashes().end()};
  }
  std::vector<Token> tokens() const { return {generation->tokens().begin(), generation->tokens().end()}; }
};

GenerateOptions sampled(u32 max_tokens) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.ignore_eos = true;
  options.sampler.temperature = 1.5f;
  options.sampler.seed = 3;
  return options;
}

}  // namespace

TEST(known_tokens_are_the_answers_own) {
  Small small;
  const std::vector<Token> prompt{72, 105};
  Begun plain(*small.model, prompt, sampled(100));
  while (!plain.done()) REQUIRE(plain.generation->step().ok());
  const std::vector<Token> tokens = plain.tokens();
  for (const u64 n : {u64(0), u64(1), u64(63), u64(64), u64(65), tokens.size()}) {
    GenerateOptions options = sampled(100);
    options.known = {tokens.data(), n};
    Begun alone(*small.model, prompt, options), together(*small.model, prompt, options);
    while (!alone.done()) REQUIRE(alone.generation->step().ok());
    CHECK(alone.hashes() == plain.hashes());
    CHECK(alone.generation->metrics().decode.calls <= 1 + tokens.size() - n + n / 63);
    CHECK_EQ(alone.generation->metrics().decode.tokens, plain.generation->metrics().decode.tokens);

    Begun other(*small.model, {66}, sampled(20));
    Generation* const all[] = {together.generation, other.generation};
    Generation::StepResult stepped[2];
    while (!together.done()) {
      Generation::step_many({all, 2}, {stepped, 2});
      REQUIRE(stepped[0].status.ok());
    }
    CHECK(together.hashes() == plain.hashes());
  }
}

TEST(a_wrong_known_token_ends_the_answer_before_it) {
  Small small;
  const std::vector<Token> prompt{72, 105};
  Begun plain(*small.model, prompt, sampled(100));
  while (!plain.done()) REQUIRE(plain.generation->step().ok());
  std::vector<Token> tokens = plain.tokens();
  tokens[70] ^= 1;
  GenerateOptions options = sampled(100);
  options.known = {tokens.data(), tokens.size()};
  Begun wrong(*small.model, prompt, options);
  Result<Step> step = wrong.generation->step();
  while (step.ok() && !wrong.done()) step = wrong.generation->step();
  REQUIRE(!step.ok());
  CHECK(step.error().code == Code::mismatch);
  CHECK_EQ(step.error().where.str(), "known[70]");
  CHECK_EQ(wrong.generation->tokens().size, 70);
  CHECK_EQ(wrong.session->tokens().size, prompt.size() + 69);

  const Token outside[] = {1, 1 << 20};
  options.known = outside;
  const Status refused = Generation::check(*wrong.session, {prompt.data(), prompt.size()}, options);
  REQUIRE(!refused.ok());
  CHECK_EQ(refused.error().where.str(), "known");
}

TEST(more_prompts_than_a_call_has_parts) {
  Small small;
  std::vector<Begun*> answers;
  std::vector<Generation*> generations;
  GenerateOptions options = sampled(3);
  options.batch = 1;
  for (Token i = 0; i < 100; ++i) {
    answers.push_back(new Begun(*small.model, {i, 7, 7, 7}, options));
    generations.push_back(answers.back()->generation);
  }
  std::vector<Generation::StepResult> stepped(100);
  const auto all_done = [&] { return std::all_of(answers.begin(), answers.end(), [](Begun* a) { return a->done(); }); };
  for (u32 i = 0; i < 200 && !all_done(); ++i) Generation::step_many({generations.data(), 100}, {stepped.data(), 100});
  CHECK(all_done());
  for (Begun* answer : answers) {
    CHECK_EQ(answer->generation->tokens().size, 3);
    delete answer;
  }
}

// In turns, so that a long prompt does not hold up a short one.
TEST(a_short_prompt_passes_long_ones) {
  Small small;
  const std::vector<Token> long_prompt(120, 65);
  GenerateOptions options = sampled(2);
  Begun a(*small.model, long_prompt, sampled(2)), b(*small.model, {72, 105, 72}, options);
  Begun running(*small.model, {66}, sampled(100));
  Generation* const all[] = {running.generation, a.generation, b.generation};
  Generation::StepResult stepped[3];
  Generation::step_many({all, 1}, {stepped, 1});
  for (u32 i = 0; i < 100 && b.generation->tokens().empty(); ++i) {
    const u64 before = running.generation->tokens().size;
    Generation::step_many({all, 3}, {stepped, 3});
    CHECK_EQ(running.generation->tokens().size, before + 1);
  }
  CHECK(!b.generation->tokens().empty());
  CHECK(a.generation->tokens().empty());
}

TEST(prefixes_are_shared_under_one_root) {
  Small small;
  const std::vector<Token> prompt(100, 65);
  const auto shared = [&](Str root) {
    GenerateOptions options = sampled(2);
    options.prefix_root = root;
    Begun answer(*small.model, prompt, options);
    while (!answer.done()) REQUIRE(answer.generation->step().ok());
    return answer.generation->metrics().shared_tokens;
  };
  CHECK_EQ(shared("a"), 0);
  CHECK_EQ(shared("a"), 64);
  CHECK_EQ(shared("b"), 0);
  CHECK_EQ(shared(""), 0);
  CHECK_EQ(shared("b"), 64);
}
