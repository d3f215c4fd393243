#include <string>

#include "fake_platform.h"
#include "small_model.h"

#include "engine/engine.h"

using namespace flyball;
using namespace flyball::engine;

namespace {

struct World : test::FakePlatform {
  Model* model = nullptr;

  World() {
    files["m.gguf"] = test::small_model(test::chat_vocabulary());
    files["a.gguf"] = test::small_adapter();
    files["zero.gguf"] = test::small_adapter(0);
    const Result<Model*> loaded = Model::load(platform, "m.gguf", {});
    REQUIRE(loaded.ok());
    model = loaded.value();
  }
  ~World() { Model::release(model); }
  Result<AdapterRef> load(Str path) { return Adapter::load(*model, path, {}); }
};

std::string path_of(const AdapterArgument& argument) { return {argument.path.data, argument.path.size}; }

}  // namespace

TEST(an_adapters_argument_has_a_scale_behind_its_last_colon) {
  const struct {
    Str text, path;
    f32 scale;
  } cases[] = {{"a.gguf", "a.gguf", 1},           {"a.gguf:0.5", "a.gguf", 0.5f},
               {"a:b.gguf", "a:b.gguf", 1},       {"a:1:-2", "a:1", -2},
               {"fs1:a.gguf:2", "fs1:a.gguf", 2}, {":2", ":2", 1},
               {"a.gguf:", "a.gguf:", 1},         {"", "", 1}};
  for (const auto& [text, path, scale] : cases) {
    CHECK_EQ(path_of(parse_adapter_argument(text)), std::string(path.data, path.size));
    CHECK_EQ(parse_adapter_argument(text).scale, scale);
  }
}

TEST(the_last_user_frees_an_adapter) {
  World world;
  const u64 before = world.n_bytes;
  AdapterRef adapter = world.load("a.gguf").value();
  CHECK(adapter->changes_logits());
  CHECK_EQ(adapter->rank(), 4u);
  CHECK_EQ(adapter->n_pairs(), 1u);
  const u64 with = world.n_bytes;
  CHECK(with > before);
  AdapterRef other = adapter;
  adapter = {};
  CHECK_EQ(world.n_bytes, with);
  SessionOptions options;
  options.adapter = {other, 0.5f};
  Session* session = Session::create(*world.model, options).value();
  other = options.adapter.adapter = {};
  CHECK(world.n_bytes > with);
  Session::release(session);
  // The probe's workspace stays with the model.
  AdapterRef again = world.load("a.gguf").value();
  const u64 loaded = world.n_bytes;
  again = {};
  CHECK(world.n_bytes < loaded);
  CHECK_EQ(world.n_open, 1u);  // the model's file alone
}

TEST(without_memory_loading_fails_whole) {
  World world;
  CHECK(world.load("a.gguf").ok());
  const u64 before = world.n_bytes;
  u64 n_failed = 0;
  for (u64 room = 0; room < u64(1) << 24; room = room * 5 / 4 + 256) {
    world.most_bytes = before + room;
    const Result<AdapterRef> loaded = world.load("a.gguf");
    if (loaded.ok()) break;
    CHECK(loaded.error().code == Code::out_of_memory);
    CHECK_EQ(world.n_bytes, before);
    ++n_failed;
  }
  CHECK(n_failed > 3);
}

TEST(an_adapter_that_changes_nothing_is_known) {
  World world;
  CHECK(!world.load("zero.gguf").value()->changes_logits());
}

TEST(a_damaged_adapter_is_refused) {
  World world;
  const std::string whole = world.files["a.gguf"];
  for (u64 size = 0; size < whole.size(); size += 37) {
    world.files["a.gguf"] = whole.substr(0, size);
    CHECK(!world.load("a.gguf").ok());
  }
  CHECK_EQ(world.n_open, 1u);
  CHECK(world.load("m.gguf").error().code == Code::invalid_argument);
  world.files["a.gguf"] = whole;
  const Result<Model*> as_model = Model::load(world.platform, "a.gguf", {});
  CHECK(!as_model.ok() && as_model.error().code == Code::invalid_argument);
}
