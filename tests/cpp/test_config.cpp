// The model's description: real keys give the right numbers, lies are refused by name.
#include "model/config.h"

#include <functional>
#include <string>

#include "gguf_writer.h"
#include "opened_gguf.h"

using flyball::Code;
using flyball::u32;
using flyball::u64;
using flyball::model::Config;
using flyball::model::read_config;
using test::GgufWriter;

namespace {

struct Field {
  std::string key;
  std::function<void(GgufWriter&, const std::string&)> write;
};

// A small valid llama; a field given again replaces it, and an empty writer removes it.
flyball::Result<Config> config_with(const std::string& architecture, const std::vector<Field>& changes) {
  const auto number = [](u32 value) {
    return [value](GgufWriter& w, const std::string& key) { w.u32_key(key, value); };
  };
  std::vector<Field> fields = {
      {"context_length", number(512)},
      {"embedding_length", number(256)},
      {"block_count", number(6)},
      {"feed_forward_length", number(512)},
      {"attention.head_count", number(8)},
      {"attention.head_count_kv", number(2)},
      {"attention.layer_norm_rms_epsilon", [](GgufWriter& w, const std::string& key) { w.f32_key(key, 1e-5f); }},
  };
  for (const auto& change : changes) {
    std::erase_if(fields, [&](const Field& field) { return field.key == change.key; });
    if (change.write) fields.push_back(change);
  }
  GgufWriter writer;
  writer.string_key("general.architecture", architecture);
  for (const auto& field : fields) field.write(writer, architecture + "." + field.key);
  const test::OpenedGguf opened(writer.build().bytes);
  return read_config(opened.file(), 1000);
}

Field number(const std::string& key, u32 value) {
  return {key, [value](GgufWriter& w, const std::string& full) { w.u32_key(full, value); }};
}
Field real(const std::string& key, float value) {
  return {key, [value](GgufWriter& w, const std::string& full) { w.f32_key(full, value); }};
}
Field text(const std::string& key, const std::string& value) {
  return {key, [value](GgufWriter& w, const std::string& full) { w.string_key(full, value); }};
}

bool refused(const flyball::Result<Config>& config, Code code, const std::string& where) {
  const auto& error = config.error();
  return !config.ok() && error.code == code && std::string(error.where.data, error.where.size) == where;
}

}  // namespace

TEST(reads_a_plain_llama) {
  const auto config = config_with("llama", {});
  REQUIRE(config.ok());
  const Config& c = config.value();
  CHECK_EQ(c.n_vocab, 1000);
  CHECK_EQ(c.head_dim, 32);
  CHECK_EQ(c.n_rot, 32);
  CHECK_EQ(c.k_dim(), 64);
  CHECK(!c.rope_neox);
  CHECK(!c.is_sliding(0));
}

TEST(gemma_layers_slide_in_their_pattern) {
  const auto second = config_with("gemma2", {number("attention.sliding_window", 64)});
  REQUIRE(second.ok());
  CHECK(second.value().is_sliding(0));
  CHECK(!second.value().is_sliding(1));
  CHECK_EQ(second.value().attention_softcap, 50.0f);
  const auto third = config_with("gemma3", {number("attention.sliding_window", 64)});
  REQUIRE(third.ok());
  for (u32 layer = 0; layer < 6; ++layer) CHECK_EQ(third.value().is_sliding(layer), layer != 5);
  const auto full = config_with("gemma3", {});
  REQUIRE(full.ok());
  CHECK(!full.value().is_sliding(0));
}

TEST(unknown_architectures_are_named_with_what_is_supported) {
  const auto config = config_with("mamba", {});
  CHECK(refused(config, Code::unsupported, "general.architecture"));
  const std::string what(config.error().what.data, config.error().what.size);
  CHECK(what.find("'mamba'") != std::string::npos);
  CHECK(what.find("qwen3") != std::string::npos);
}

TEST(lies_are_refused_by_key) {
  CHECK(refused(config_with("llama", {number("block_count", 513)}), Code::corrupt, "llama.block_count"));
  CHECK(refused(config_with("llama", {number("block_count", 0)}), Code::corrupt, "llama.block_count"));
  CHECK(
      refused(config_with("llama", {number("attention.head_count", 0)}), Code::corrupt, "llama.attention.head_count"));
  CHECK(refused(config_with("llama", {number("attention.head_count", 7)}), Code::corrupt,
                "llama.attention.head_count_kv"));
  CHECK(refused(config_with("llama", {number("attention.head_count_kv", 16)}), Code::corrupt,
                "llama.attention.head_count_kv"));
  CHECK(
      refused(config_with("llama", {number("embedding_length", 0xffffffff)}), Code::corrupt, "llama.embedding_length"));
  CHECK(refused(config_with("llama", {number("feed_forward_length", 0)}), Code::corrupt, "llama.feed_forward_length"));
  CHECK(
      refused(config_with("llama", {number("rope.dimension_count", 33)}), Code::corrupt, "llama.rope.dimension_count"));
  CHECK(
      refused(config_with("llama", {number("rope.dimension_count", 15)}), Code::corrupt, "llama.rope.dimension_count"));
  CHECK(refused(config_with("llama", {real("rope.freq_base", 0)}), Code::corrupt, "llama.rope.freq_base"));
  CHECK(refused(config_with("llama", {real("rope.freq_base", __builtin_nanf(""))}), Code::corrupt,
                "llama.rope.freq_base"));
  CHECK(refused(config_with("llama", {real("rope.scaling.factor", 0)}), Code::corrupt, "llama.rope.scaling.factor"));
  CHECK(refused(config_with("llama", {real("attention.layer_norm_rms_epsilon", -1)}), Code::corrupt,
                "llama.attention.layer_norm_rms_epsilon"));
  CHECK(refused(config_with("llama", {text("block_count", "6")}), Code::corrupt, "llama.block_count"));
}

TEST(missing_keys_are_named) {
  for (const char* key : {"context_length", "embedding_length", "block_count", "feed_forward_length",
                          "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    CHECK(refused(config_with("llama", {{key, nullptr}}), Code::not_found, std::string("llama.") + key));
  }
}

TEST(what_is_not_run_is_refused) {
  CHECK(refused(config_with("llama", {number("expert_count", 8)}), Code::unsupported, "llama.expert_count"));
  CHECK(
      refused(config_with("llama", {text("rope.scaling.type", "ntk")}), Code::unsupported, "llama.rope.scaling.type"));
  const Field mixed = {"attention.head_count_kv", [](GgufWriter& w, const std::string& key) {
                         w.array_key(key, 5, 2, test::bytes_of(u32(2)) + test::bytes_of(u32(4)));
                       }};
  CHECK(refused(config_with("llama", {mixed}), Code::unsupported, "llama.attention.head_count_kv"));
  const Field even = {"attention.head_count_kv", [](GgufWriter& w, const std::string& key) {
                        w.array_key(key, 5, 2, test::bytes_of(u32(4)) + test::bytes_of(u32(4)));
                      }};
  const auto uniform = config_with("llama", {even});
  REQUIRE(uniform.ok());
  CHECK_EQ(uniform.value().n_head_kv, 4);
}

TEST(a_short_sliding_pattern_is_refused) {
  const Field pattern = {"attention.sliding_window_pattern", [](GgufWriter& w, const std::string& key) {
                           w.array_key(key, 7, 3, std::string("\1\0\1", 3));
                         }};
  CHECK(refused(config_with("gemma2", {pattern}), Code::corrupt, "gemma2.attention.sliding_window_pattern"));
}
