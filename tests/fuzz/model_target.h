// What the model fuzz target and the replaying test do with some bytes: load them as a model as the engine would (metadata,
// vocabulary, description, weights), encode a text and generate two tokens. A broken promise is an exception.
#pragma once

#include <cstdint>
#include <cstring>
#include <stdexcept>

#include "../cpp/counting_platform.h"
#include "engine/engine.h"
#include "tokenizer/tokenizer.h"

namespace fuzz {

using namespace flyball;

inline void model_promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

struct World {
  test::CountingPlatform memory;
  Span<const u8> file;
  u64 clock = 0;
};

inline Platform platform_of(World& world) {
  Platform platform = world.memory.platform;
  // CountingPlatform casts `self` to itself: it is the first member.
  platform.self = &world;
  platform.map = [](void* self, Str) -> Result<Span<const u8>> { return static_cast<World*>(self)->file; };
  platform.unmap = [](void*, Span<const u8>) {};
  platform.cycles = [](void* self) { return static_cast<World*>(self)->clock += 1000; };
  platform.now_ns = [](void* self) { return static_cast<World*>(self)->clock += 1000; };
  platform.cycles_per_second = [](void*) { return u64(1000000000); };
  platform.parallel_for = [](void*, u32, u32 n_tasks, TaskFunction task, void* context) {
    for (u32 i = 0; i < n_tasks; ++i) task(context, i);
  };
  return platform;
}

template <class T>
bool check(const T& result) {
  if (!result.ok())
    model_promise(result.error().where.size > 0 && result.error().what.size > 0, "an error says nothing");
  return result.ok();
}

inline void use_tokenizer(const Platform& platform, const tokenizer::Tokenizer& tokenizer) {
  tokenizer::Token ids[256];
  for (const bool special : {false, true}) {
    const auto n =
        tokenizer.encode(platform, "Once upon <s> a\ttime 12345 \xff\xe2\x82\xac", {true, special}, {ids, 256});
    if (!check(n)) continue;
    model_promise(n.value() < 256, "more tokens than bytes");
    for (u64 i = 0; i < n.value(); ++i)
      model_promise(ids[i] >= 0 && u32(ids[i]) < tokenizer.size(), "an id out of range");
    char text[4096];
    (void)tokenizer.decode({ids, n.value()}, special, {text, sizeof text});
  }
  u64 bytes = 0;
  for (u32 i = 0; i < tokenizer.size(); ++i) {
    for (char c : tokenizer.piece(tokenizer::Token(i), true)) bytes += u8(c);
    (void)tokenizer.is_end_of_generation(tokenizer::Token(i));
  }
  volatile u64 used = bytes;
  (void)used;
}

inline void generate(engine::Model& model) {
  engine::SessionOptions options;
  options.context = 16;
  const auto session = engine::Session::create(model, options);
  if (!check(session)) return;
  const tokenizer::Token prompt[] = {0, tokenizer::Token(model.config().n_vocab - 1), 0};
  engine::GenerateOptions settings;
  settings.max_tokens = 2;
  const auto generation = engine::Generation::begin(*session.value(), prompt, settings);
  if (check(generation)) {
    for (bool done = false; !done;) {
      const auto step = generation.value()->step();
      done = !check(step) || step.value().done;
    }
    engine::Generation::release(generation.value());
  }
  engine::Session::release(session.value());
}

// True when the bytes were a model that loads.
inline bool check_model(const u8* data, u64 size) {
  bool loads = false;
  World world;
  world.file = {data, size};
  world.memory.limit = u64(256) << 20;
  const Platform platform = platform_of(world);
  for (const bool vocab_only : {true, false}) {
    engine::ModelOptions options;
    options.isa = "scalar";  // the same everywhere, and what the other tables are tested against
    options.threads = 1;
    options.vocab_only = vocab_only;
    const auto model = engine::Model::load(platform, "model.gguf", options);
    if (check(model)) {
      use_tokenizer(platform, model.value()->tokenizer());
      if (!vocab_only) generate(*model.value()), loads = true;
      engine::Model::release(model.value());
    }
    model_promise(world.memory.in_use == 0, "memory leaks");
  }
  model_promise(world.memory.peak <= 64 * size + (u64(32) << 20), "more memory than the file can justify");
  return loads;
}

}  // namespace fuzz
