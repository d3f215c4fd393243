#include <string>

#include "fake_platform.h"
#include "small_model.h"

#include "catalog/catalog.h"

using namespace flyball;
using namespace flyball::catalog;
using namespace flyball::engine;

namespace {

std::string string(Str text) { return {text.data, text.size}; }

struct Directory : test::FakePlatform {
  Directory() {
    files["models/b.gguf"] = test::small_model(test::chat_vocabulary());
    files["models/a.gguf"] = test::small_model(test::chat_vocabulary(), "", 2, 64);
    files["models/broken.GGUF"] = files["models/a.gguf"].substr(0, 100);
    files["models/notes.txt"] = "no model";
    files["models/deeper/c.gguf"] = "not in this directory";
    files["other/d.gguf"] = files["models/a.gguf"];
  }
};

std::string bytes_text(u64 bytes) {
  char buffer[32];
  Writer out(buffer, sizeof buffer);
  put_bytes(out, bytes);
  return string(out.text());
}

}  // namespace

TEST(listing_tells_what_each_file_is) {
  Directory world;
  Catalog catalog(world.platform, "");
  const auto listed = catalog.list("models");
  REQUIRE(listed.ok());
  const Span<const ModelSummary> models = listed.value();
  REQUIRE_EQ(models.size, 3);
  CHECK_EQ(string(models[0].path), "models/a.gguf");
  CHECK_EQ(string(models[1].path), "models/b.gguf");
  CHECK_EQ(string(models[0].name), "Small");
  CHECK_EQ(string(models[0].architecture), "llama");
  CHECK_EQ(string(models[0].type), "F32");
  CHECK_EQ(models[0].context, 64);
  CHECK_EQ(models[0].bytes, world.files["models/a.gguf"].size());
  CHECK_EQ(models[0].n_vocab, test::chat_vocabulary().tokens.size());
  CHECK(models[0].n_parameters > 20000);
  CHECK(models[0].problem.empty());
  CHECK_EQ(string(models[2].path), "models/broken.GGUF");
  CHECK(!models[2].problem.empty());
  CHECK_EQ(world.n_open, 0);
  CHECK(!catalog.list("nowhere").ok() || catalog.list("nowhere").value().empty());
}

TEST(hidden_files_are_no_models) {
  Directory world;
  world.files["models/._a.gguf"] = std::string("\0\5\x16\7", 4);
  Arena arena(world.platform);
  const ModelFiles found = find_models(world.platform, arena, "models").value();
  CHECK_EQ(found.files.size, 3);
  CHECK_EQ(found.n_hidden, 1);
  Catalog catalog(world.platform, "");
  CHECK_EQ(catalog.list("models").value().size, 3);
}

TEST(later_parts_are_no_models_but_whole_files_named_like_one_are) {
  Directory world;
  world.files.clear();
  const std::string whole = test::small_model(test::chat_vocabulary());
  world.files["models/m-00001-of-00001.gguf"] = whole;
  world.files["models/n-00001-of-00003.gguf"] = whole;
  world.files["models/o-00002-of-00003.gguf"] = whole;
  world.files["models/p-00002-of-00002.gguf"] =
      test::GgufWriter().u16_key("split.no", 1).u16_key("split.count", 2).build().bytes;
  for (u32 listings = 0; listings < 2; ++listings) {  // read, then from the cache
    Catalog catalog(world.platform, "cache.json");
    const auto listed = catalog.list("models");
    REQUIRE(listed.ok());
    CHECK_EQ(catalog.n_opened(), listings == 0 ? 4 : 0);
    REQUIRE_EQ(listed.value().size, 3);
    for (const ModelSummary& model : listed.value()) CHECK(model.problem.empty());
  }
}

TEST(a_second_listing_opens_no_file) {
  Directory world;
  {
    Catalog first(world.platform, "cache.json");
    CHECK(first.list("models").ok());
    CHECK_EQ(first.n_opened(), 3);
    CHECK(first.list("other").ok());
    CHECK_EQ(first.n_opened(), 1);
  }
  Catalog catalog(world.platform, "cache.json");
  const auto listed = catalog.list("models");
  CHECK_EQ(catalog.n_opened(), 0);
  CHECK_EQ(listed.value().size, 3);
  CHECK_EQ(string(listed.value()[1].name), "Small");
  CHECK(!listed.value()[2].problem.empty());
  CHECK(catalog.list("other").ok());
  CHECK_EQ(catalog.n_opened(), 0);
  CHECK(catalog.summarize("models/a.gguf").ok());
  CHECK_EQ(catalog.n_opened(), 0);

  world.modified_ns["models/a.gguf"] = 5;  // rewritten at the same size
  CHECK(catalog.list("models").ok());
  CHECK_EQ(catalog.n_opened(), 1);
  CHECK(catalog.list("models").ok());
  CHECK_EQ(catalog.n_opened(), 0);
  world.files.erase("models/a.gguf");
  CHECK_EQ(catalog.list("models").value().size, 2);
}

TEST(a_damaged_cache_is_read_anew) {
  Directory world;
  Catalog catalog(world.platform, "cache.json");
  CHECK(catalog.list("models").ok());
  const std::string good = world.files["cache.json"];
  for (const std::string& bad : {std::string("{"), std::string(), good.substr(0, good.size() / 2), std::string("[1,2]"),
                                 std::string("{\"schema_version\":1,\"flyball\":\"0.0.0\",\"models\":[]}"),
                                 std::string("{\"schema_version\":1,\"flyball\":7,\"models\":{}}")}) {
    world.files["cache.json"] = bad;
    CHECK(catalog.list("models").ok());
    CHECK_EQ(catalog.n_opened(), 3);
    CHECK_EQ(world.files["cache.json"], good);
  }
  Catalog read_only(world.platform, "read-only/cache.json");
  CHECK(read_only.list("models").ok());
  CHECK_EQ(world.n_open, 0);
}

TEST(sizes_are_written_for_people) {
  CHECK_EQ(bytes_text(0), "0 B");
  CHECK_EQ(bytes_text(999), "999 B");
  CHECK_EQ(bytes_text(1000), "1.0 kB");
  CHECK_EQ(bytes_text(99949), "99.9 kB");
  CHECK_EQ(bytes_text(99960), "100 kB");
  CHECK_EQ(bytes_text(7400000), "7.4 MB");
  CHECK_EQ(bytes_text(40000000000), "40.0 GB");
}

TEST(every_problem_has_cause_hint_and_fallback) {
  for (u32 code = u32(Code::invalid_argument); code <= u32(Code::internal); ++code) {
    char buffer[2000];
    Writer out(buffer, sizeof buffer);
    put_model_problem(out, fail(Code(code), "file.gguf") << "is wrong", "something else");
    const std::string text = string(out.text());
    CHECK(text.starts_with("cause:    "));
    CHECK(text.find("file.gguf") != std::string::npos);
    CHECK(text.find("\nhint:     ") != std::string::npos);
    CHECK(text.ends_with("\nfallback: something else\n"));
  }
}
