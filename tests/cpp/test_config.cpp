// The model's description: real keys give the right numbers, lies are refused by name.
#include "model/config.h"

#include <functional>
#include <string>

#include "gguf_writer.h"
#include "opened_gguf.h"

#include "host/host.h"
#include "model/rope.h"

using flyball::Code;
using flyball::f32;
using flyball::f64;
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
flyball::Result<Config> config_with(const std::string& architecture, const std::vector<Field>& changes,
                                    u32 n_vocab = 1000) {
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
  if (architecture == "granite" || architecture == "granitemoe")
    fields.push_back({"logit_scale", [](GgufWriter& w, const std::string& key) { w.f32_key(key, 1); }});
  for (const auto& change : changes) {
    std::erase_if(fields, [&](const Field& field) { return field.key == change.key; });
    if (change.write) fields.push_back(change);
  }
  GgufWriter writer;
  writer.string_key("general.architecture", architecture);
  for (const auto& field : fields) field.write(writer, architecture + "." + field.key);
  const test::OpenedGguf opened(writer.build().bytes);
  static flyball::Arena arena(flyball::host::host_platform());
  return read_config(arena, opened.file(), n_vocab);
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

// An array of equal widths: `element` is the format's number of the type T.
template <class T>
Field array(const std::string& key, u32 element, const std::vector<T>& values) {
  return {key, [element, values](GgufWriter& w, const std::string& full) {
            std::string raw;
            for (const T value : values) raw += test::bytes_of(value);
            w.array_key(full, element, values.size(), raw);
          }};
}
Field boolean(const std::string& key, bool value) {
  return {key, [value](GgufWriter& w, const std::string& full) { w.bool_key(full, value); }};
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
  CHECK_EQ(c.widest.head_dim, 32);
  CHECK_EQ(c.n_rot, 32);
  CHECK_EQ(c.widest.k_dim(), 64);
  CHECK(!c.rope_neox);
  CHECK(!c.layers[0].sliding);
}

TEST(gemma_layers_slide_in_their_pattern) {
  const auto second = config_with("gemma2", {number("attention.sliding_window", 64)});
  REQUIRE(second.ok());
  CHECK(second.value().layers[0].sliding);
  CHECK(!second.value().layers[1].sliding);
  CHECK_EQ(second.value().attention_softcap, 50.0f);
  const auto third = config_with("gemma3", {number("attention.sliding_window", 64)});
  REQUIRE(third.ok());
  for (u32 layer = 0; layer < 6; ++layer) CHECK_EQ(third.value().layers[layer].sliding, layer != 5);
  const auto full = config_with("gemma3", {});
  REQUIRE(full.ok());
  CHECK(!full.value().layers[0].sliding);
}

TEST(unknown_architectures_are_named_with_what_is_supported) {
  const auto config = config_with("mamba", {});
  CHECK(refused(config, Code::unsupported, "general.architecture"));
  const std::string what(config.error().what.data, config.error().what.size);
  CHECK(what.find("'mamba'") != std::string::npos);
  CHECK(what.find("qwen3") != std::string::npos);
}

TEST(layers_that_do_not_rotate) {
  const auto some = config_with("smollm3", {});
  REQUIRE(some.ok());
  for (u32 layer = 0; layer < 6; ++layer) CHECK_EQ(some.value().layers[layer].rotates, layer != 3);
  const auto rotates = [](const flyball::Result<Config>& config) {
    REQUIRE(config.ok());
    return config.value().layers[0].rotates && config.value().layers[5].rotates;
  };
  CHECK(rotates(config_with("granite", {})));
  CHECK(rotates(config_with("granite", {boolean("rope.scaling.finetuned", true)})));
  CHECK(!rotates(config_with("granite", {boolean("rope.scaling.finetuned", false)})));
  CHECK(rotates(config_with("llama", {boolean("rope.scaling.finetuned", false)})));  // a note of its training
  CHECK(refused(config_with("granite", {number("rope.scaling.finetuned", 2)}), Code::corrupt,
                "granite.rope.scaling.finetuned"));
}

TEST(sections_of_images_rotate_all_pairs_or_are_refused) {
  const std::string key = "rope.dimension_sections";
  CHECK(config_with("qwen2vl", {}).ok());
  CHECK(config_with("qwen2vl", {array<u32>(key, 4, {4, 6, 6, 0})}).ok());
  CHECK(config_with("llama", {array<u32>(key, 4, {0, 0, 0, 0})}).ok());
  CHECK(refused(config_with("qwen2vl", {array<u32>(key, 4, {4, 4, 4, 4})}), Code::unsupported, "qwen2vl." + key));
  CHECK(config_with("qwen2vl", {array<u32>(key, 4, {8, 8, 8, 8})}).ok());
}

TEST(scales_that_are_missing_or_zero_are_none) {
  const auto plain = config_with("granite", {real("logit_scale", 0)});
  REQUIRE(plain.ok());
  CHECK_EQ(plain.value().logit_scale, 1.0f);
  CHECK_EQ(plain.value().residual_scale, 1.0f);
  const auto scaled = config_with("granite", {real("logit_scale", 4), real("residual_scale", 0.5f),
                                              real("embedding_scale", 12), real("attention.scale", 0.25f)});
  REQUIRE(scaled.ok());
  CHECK_EQ(scaled.value().logit_scale, 0.25f);
  CHECK_EQ(scaled.value().residual_scale, 0.5f);
  CHECK_EQ(scaled.value().embedding_scale, 12.0f);
  CHECK_EQ(scaled.value().attention_scale, 0.25f);
  CHECK(refused(config_with("granite", {real("logit_scale", -1)}), Code::corrupt, "granite.logit_scale"));
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
  CHECK(
      refused(config_with("llama", {real("rope.scaling.factor", 0.001f)}), Code::corrupt, "llama.rope.scaling.factor"));
  CHECK(refused(config_with("llama", {real("attention.layer_norm_rms_epsilon", -1)}), Code::corrupt,
                "llama.attention.layer_norm_rms_epsilon"));
  CHECK(refused(config_with("llama", {text("block_count", "6")}), Code::corrupt, "llama.block_count"));
}

TEST(experts_are_some_or_none_where_an_architecture_has_both) {
  for (const std::string name : {"llama", "granite", "granitemoe"}) {
    CHECK_EQ(config_with(name, {}).value().widest.n_expert, 0);
    const auto mixture = config_with(name, {number("expert_count", 8), number("expert_used_count", 2)});
    REQUIRE(mixture.ok());
    CHECK_EQ(mixture.value().layers[5].n_expert, 8);
    CHECK_EQ(mixture.value().layers[5].n_ff, 512);
    CHECK_EQ(mixture.value().layers[5].n_ff_shared, 0);
    CHECK(refused(config_with(name, {number("expert_count", 8)}), Code::not_found, name + ".expert_used_count"));
    CHECK(refused(config_with(name, {number("expert_count", 1025)}), Code::corrupt, name + ".expert_count"));
  }
  const auto shared = config_with("hunyuan-moe", {number("expert_count", 8), number("expert_used_count", 2)});
  REQUIRE(shared.ok());
  CHECK_EQ(shared.value().layers[0].n_ff_shared, 512);
}

TEST(a_base_grows_by_alpha) {
  const auto plain = config_with("hunyuan-dense", {}),
             grown = config_with("hunyuan-dense", {real("rope.scaling.alpha", 4)});
  REQUIRE(plain.ok() && grown.ok());
  CHECK_EQ(plain.value().rope_base, 10000.0);
  CHECK(grown.value().rope_base > 43800 && grown.value().rope_base < 43900);  // 10000 * 4^(32 / 30)
}

TEST(exaone4_slides_in_its_large_model_alone) {
  CHECK_EQ(config_with("exaone4", {number("attention.sliding_window", 64)}).value().sliding_window, 0);
  const auto large = config_with("exaone4", {number("block_count", 64)});
  REQUIRE(large.ok());
  CHECK_EQ(large.value().sliding_window, 4096);
  for (u32 layer = 0; layer < 8; ++layer) {
    CHECK_EQ(large.value().layers[layer].sliding, layer % 4 != 3);
    CHECK_EQ(large.value().layers[layer].rotates, layer % 4 != 3);
  }
}

TEST(missing_keys_are_named) {
  for (const char* key : {"context_length", "embedding_length", "block_count", "feed_forward_length",
                          "attention.head_count", "attention.layer_norm_rms_epsilon"}) {
    CHECK(refused(config_with("llama", {{key, nullptr}}), Code::not_found, std::string("llama.") + key));
  }
}

TEST(what_is_not_run_is_refused) {
  CHECK(refused(config_with("qwen2", {number("expert_count", 8)}), Code::unsupported, "qwen2.expert_count"));
  CHECK(
      refused(config_with("llama", {text("rope.scaling.type", "ntk")}), Code::unsupported, "llama.rope.scaling.type"));
}

TEST(arrays_give_each_layer_its_number) {
  for (const std::string key : {"attention.head_count", "attention.head_count_kv", "feed_forward_length"}) {
    const auto even =
        config_with("llama", {array<u32>(key, 5, {4, 4, 4, 4, 4, 4}), number("attention.key_length", 32)});
    REQUIRE(even.ok());
    CHECK_EQ(key == "attention.head_count"  ? even.value().widest.n_head
             : key == "feed_forward_length" ? even.value().widest.n_ff
                                            : even.value().widest.n_head_kv,
             4);
    CHECK(config_with("llama", {array<u64>(key, 10, {4, 4, 4, 4, 4, 4})}).ok());
    const auto uneven =
        config_with("llama", {array<u32>(key, 5, {4, 4, 2, 4, 4, 8}), number("attention.key_length", 32)});
    REQUIRE(uneven.ok());
    const auto of = [&](const flyball::model::LayerShape& shape) {
      return key == "attention.head_count" ? shape.n_head : key == "feed_forward_length" ? shape.n_ff : shape.n_head_kv;
    };
    CHECK_EQ(of(uneven.value().layers[1]), 4);
    CHECK_EQ(of(uneven.value().layers[2]), 2);
    CHECK_EQ(of(uneven.value().widest), 8);
    CHECK_EQ(
        uneven.value().layers[3].first_head_kv,
        uneven.value().layers[0].n_head_kv + uneven.value().layers[1].n_head_kv + uneven.value().layers[2].n_head_kv);
    CHECK(refused(config_with("llama", {array<u32>(key, 5, {4, 4, 4, 4, 4, 0})}), Code::corrupt, "llama." + key));
    CHECK(refused(config_with("llama", {array<u32>(key, 5, {4, 4})}), Code::corrupt, "llama." + key));
    CHECK(refused(config_with("llama", {array<u32>(key, 5, {})}), Code::corrupt, "llama." + key));
    CHECK(refused(config_with("llama", {array<float>(key, 6, {4, 4, 4, 4, 4, 4})}), Code::corrupt, "llama." + key));
  }
}

TEST(keys_that_would_change_the_answers_are_refused_with_their_value) {
  for (const std::string key :
       {"expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count", "classifier.pooling_type",
        "rope.scaling.alpha", "attention.key_length_swa", "attention.value_length_swa", "rope.dimension_count_swa",
        "embedding_length_out", "pooling_type"}) {
    const auto config = config_with("qwen2", {number(key, 7)});
    CHECK(refused(config, Code::unsupported, "qwen2." + key));
    CHECK(std::string(config.error().what.data, config.error().what.size).starts_with("is 7; "));
  }
  const auto config = config_with("qwen3", {boolean("attention.causal", false)});
  CHECK(refused(config, Code::unsupported, "qwen3.attention.causal"));
  CHECK(std::string(config.error().what.data, config.error().what.size).starts_with("is false; "));
  const Field labels = {"classifier.output_labels",
                        [](GgufWriter& w, const std::string& key) { w.strings_key(key, {"yes", "no"}); }};
  CHECK(refused(config_with("qwen3", {labels}), Code::unsupported, "qwen3.classifier.output_labels"));
}

TEST(neutral_values_of_those_keys_are_fine) {
  CHECK(config_with("llama", {boolean("attention.causal", true), number("expert_count", 0),
                              number("expert_used_count", 0), number("nextn_predict_layers", 0),
                              number("attention.key_length_swa", 32), number("attention.value_length_swa", 32),
                              number("rope.dimension_count_swa", 32), number("embedding_length_out", 256),
                              number("pooling_type", 0xffffffff), real("rope.scaling.factor", 0)})
            .ok());
}

TEST(pooling_is_what_the_file_says) {
  using flyball::model::Pooling;
  CHECK(config_with("qwen3", {}).value().pooling == Pooling::none);
  CHECK(config_with("qwen3", {number("pooling_type", 1)}).value().pooling == Pooling::mean);
  CHECK(config_with("qwen3", {number("pooling_type", 2)}).value().pooling == Pooling::first);
  CHECK(config_with("qwen3", {number("pooling_type", 3)}).value().pooling == Pooling::last);
}

TEST(yarn_of_another_form_is_refused) {
  const auto yarn = [](const Field& field) {
    return config_with("llama", {text("rope.scaling.type", "yarn"), real("rope.scaling.factor", 4), field});
  };
  CHECK(yarn(real("rope.scaling.yarn_ext_factor", -1)).ok());
  CHECK(yarn(real("rope.scaling.yarn_beta_fast", 32)).ok());
  for (const std::string key : {"yarn_beta_fast", "yarn_beta_slow", "yarn_attn_factor", "yarn_log_multiplier",
                                "yarn_ext_factor", "beta_fast", "beta_slow", "extrapolation_factor"}) {
    CHECK(refused(yarn(real("rope.scaling." + key, 0.5f)), Code::unsupported, "llama.rope.scaling." + key));
  }
  // Without YaRN they do nothing.
  CHECK(config_with("llama", {real("rope.scaling.yarn_beta_fast", 8)}).ok());
}

TEST(yarn_of_mistral3_is_what_the_file_says) {
  const auto yarn = [](const Field& field) {
    return config_with("mistral3", {text("rope.scaling.type", "yarn"), real("rope.scaling.factor", 16), field});
  };
  const auto plain = yarn(real("rope.scaling.yarn_beta_fast", 4));
  REQUIRE(plain.ok());
  CHECK_EQ(plain.value().yarn_beta_fast, 4.0);
  CHECK_EQ(plain.value().yarn_beta_slow, 1.0);
  CHECK(plain.value().rope_magnitude > 1.27);
  const auto whole = yarn(real("rope.scaling.yarn_log_multiplier", 1));
  REQUIRE(whole.ok());
  CHECK_EQ(whole.value().rope_magnitude, 1.0);
  CHECK(refused(yarn(real("rope.scaling.yarn_beta_slow", -1)), Code::corrupt, "mistral3.rope.scaling.yarn_beta_slow"));
  CHECK(refused(yarn(real("rope.scaling.yarn_attn_factor", 0.5f)), Code::unsupported,
                "mistral3.rope.scaling.yarn_attn_factor"));
  CHECK(refused(config_with("mistral3", {real("attention.temperature_scale", -0.5f)}), Code::corrupt,
                "mistral3.attention.temperature_scale"));
}

TEST(every_second_layer_of_gpt_oss_slides) {
  const std::vector<Field> experts = {number("expert_count", 8), number("expert_used_count", 2)};
  std::vector<Field> fields = experts;
  CHECK(refused(config_with("gpt-oss", fields), Code::not_found, "gpt-oss.attention.sliding_window"));
  fields.push_back(number("attention.sliding_window", 128));
  const auto config = config_with("gpt-oss", fields);
  REQUIRE(config.ok());
  CHECK_EQ(config.value().sliding_window, 128);
  for (u32 layer = 0; layer < 6; ++layer) CHECK_EQ(config.value().layers[layer].sliding, layer % 2 == 0);
  CHECK(config.value().routing.gating == flyball::model::Gating::softmax_of_chosen);
  CHECK_EQ(config.value().layers[0].n_ff, 256);
}

TEST(experts_follow_dense_layers_and_share_one) {
  using flyball::model::Gating;
  std::vector<Field> fields = {number("expert_count", 8), number("expert_used_count", 2),
                               number("expert_feed_forward_length", 96), number("leading_dense_block_count", 2),
                               number("expert_shared_count", 3)};
  const auto plain = config_with("glm4moe", fields);
  REQUIRE(plain.ok());
  const Config& c = plain.value();
  for (u32 layer = 0; layer < 6; ++layer) {
    CHECK_EQ(c.layers[layer].n_expert, layer < 2 ? 0 : 8);
    CHECK_EQ(c.layers[layer].n_ff, layer < 2 ? 512 : 96);
  }
  CHECK_EQ(c.widest.n_ff, 512);
  CHECK_EQ(c.layers[5].n_ff_shared, 288);
  CHECK(c.routing.gating == Gating::sigmoid);
  CHECK(!c.routing.normalized);
  CHECK_EQ(c.routing.scale, 1.0f);
  for (const Field& more : {boolean("expert_weights_norm", true), real("expert_weights_scale", 2.5f),
                            number("expert_gating_func", 1), number("nextn_predict_layers", 1)})
    fields.push_back(more);
  const auto named = config_with("glm4moe", fields);
  REQUIRE(named.ok());
  CHECK(named.value().routing.gating == Gating::softmax);
  CHECK(named.value().routing.normalized);
  CHECK_EQ(named.value().routing.scale, 2.5f);
  CHECK_EQ(named.value().n_layer(), 5);  // the last guesses further tokens
  fields.push_back(number("expert_gating_func", 5));
  CHECK(refused(config_with("glm4moe", fields), Code::corrupt, "glm4moe.expert_gating_func"));
}

TEST(experts_of_every_nth_layer) {
  std::vector<Field> fields = {number("expert_count", 8), number("expert_used_count", 2),
                               number("expert_feed_forward_length", 96), number("leading_dense_block_count", 3)};
  const std::string key = "ernie4_5-moe.interleave_moe_layer_step";
  CHECK(refused(config_with("ernie4_5-moe", fields), Code::not_found, key));
  fields.push_back(number("interleave_moe_layer_step", 2));
  const auto some = config_with("ernie4_5-moe", fields);
  REQUIRE(some.ok());
  for (u32 layer = 0; layer < 6; ++layer) {
    CHECK_EQ(some.value().layers[layer].n_expert, layer == 3 || layer == 5 ? 8 : 0);
    CHECK_EQ(some.value().layers[layer].n_ff, layer == 3 || layer == 5 ? 96 : 512);
    CHECK_EQ(some.value().layers[layer].n_ff_shared, 0);
  }
  fields.push_back(number("expert_shared_feed_forward_length", 192));
  CHECK_EQ(config_with("ernie4_5-moe", fields).value().layers[5].n_ff_shared, 192);
  fields.push_back(number("interleave_moe_layer_step", 0));
  CHECK(refused(config_with("ernie4_5-moe", fields), Code::corrupt, key));
}

TEST(llama4_attends_in_chunks_of_one_length) {
  std::vector<Field> fields = {number("expert_count", 16), number("expert_used_count", 1),
                               number("expert_feed_forward_length", 96), number("interleave_moe_layer_step", 2)};
  const auto scout = config_with("llama4", fields);
  REQUIRE(scout.ok());
  const Config& c = scout.value();
  CHECK(c.chunked && c.unit_norms);
  CHECK_EQ(c.sliding_window, 8192);
  for (u32 layer = 0; layer < 6; ++layer) {
    CHECK_EQ(c.layers[layer].sliding, layer != 3);
    CHECK_EQ(c.layers[layer].rotates, layer != 3);
    CHECK_EQ(c.layers[layer].n_expert, layer % 2 == 1 ? 16 : 0);
    CHECK_EQ(c.layers[layer].n_ff_shared, layer % 2 == 1 ? 96 : 0);
  }
  const f64 ln2 = 0.69314718055994531;
  CHECK_EQ(query_temperature(c, 8190), 1.0f);
  CHECK_EQ(query_temperature(c, 8191), f32(1 + 0.1 * ln2));
  CHECK_EQ(query_temperature(c, 3 * 8192 - 1), f32(1 + 0.1 * 2 * ln2));
  fields.push_back(number("attention.sliding_window", 32));  // what llama.cpp runs has one length
  CHECK_EQ(config_with("llama4", fields).value().sliding_window, 8192);
  fields.push_back(number("expert_count", 128));
  CHECK(!config_with("llama4", fields).value().unit_norms);
  fields.push_back(number("attention.sliding_window", 0));
  CHECK(refused(config_with("llama4", fields), Code::unsupported, "llama4.attention.sliding_window"));
}

TEST(llama_may_be_a_mixture) {
  const auto mixture = config_with("llama", {number("expert_count", 8), number("expert_used_count", 2)});
  REQUIRE(mixture.ok());
  CHECK_EQ(mixture.value().layers[0].n_expert, 8);
  CHECK_EQ(mixture.value().layers[0].n_ff, 512);
  CHECK(refused(config_with("llama", {number("expert_count", 8)}), Code::not_found, "llama.expert_used_count"));
}

TEST(latent_attention_has_one_head_for_keys_and_values) {
  std::vector<Field> fields = {number("expert_count", 8),
                               number("expert_used_count", 2),
                               number("expert_shared_count", 1),
                               number("attention.kv_lora_rank", 64),
                               number("attention.head_count_kv", 8),
                               number("attention.key_length", 48),
                               number("attention.value_length", 32),
                               number("rope.dimension_count", 16)};
  for (const bool split : {false, true}) {
    if (split) {
      fields.push_back(number("attention.key_length", 80));
      fields.push_back(number("attention.value_length", 64));
      fields.push_back(number("attention.key_length_mla", 48));
      fields.push_back(number("attention.value_length_mla", 32));
      fields.push_back(number("attention.head_count_kv", 1));
    }
    const auto config = config_with("deepseek2", fields);
    REQUIRE(config.ok());
    CHECK_EQ(config.value().layers[0].n_head_kv, 1);
    CHECK_EQ(config.value().layers[0].head_dim, 80);
    CHECK_EQ(config.value().layers[0].value_dim, 64);
    CHECK_EQ(config.value().latent.key_dim, 48);
    CHECK_EQ(config.value().latent.value_dim, 32);
    CHECK(config.value().routing.gating == flyball::model::Gating::softmax);
  }
  fields.push_back(number("rope.dimension_count", 48));
  CHECK(refused(config_with("deepseek2", fields), Code::corrupt, "deepseek2.rope.dimension_count"));
  // Files of GLM-4.7-Flash do not name their gating.
  fields.push_back(number("rope.dimension_count", 16));
  fields.push_back(number("block_count", 47));
  const auto flash = config_with("deepseek2", fields, 154880);
  REQUIRE(flash.ok());
  CHECK(flash.value().routing.gating == flyball::model::Gating::sigmoid);
}

TEST(sliding_layers_of_yarn_keep_their_magnitude) {
  const auto config = config_with("gemma3", {number("attention.sliding_window", 64), text("rope.scaling.type", "yarn"),
                                             real("rope.scaling.factor", 8)});
  REQUIRE(config.ok());
  CHECK(config.value().rope_magnitude > 1.2);
  CHECK_EQ(config.value().rope_magnitude_sliding, 1.0);
}

TEST(sliding_patterns_may_be_numbers) {
  const Field window = number("attention.sliding_window", 64);
  const std::string key = "attention.sliding_window_pattern";
  for (const Field& pattern : {array<u32>(key, 4, {1, 1, 0, 1, 1, 0}), array<flyball::u8>(key, 7, {1, 1, 0, 1, 1, 0}),
                               array<flyball::i64>(key, 11, {1, 1, 0, 1, 1, 0}), number(key, 3)}) {
    const auto config = config_with("gemma3", {window, pattern});
    REQUIRE(config.ok());
    for (u32 layer = 0; layer < 6; ++layer) CHECK_EQ(config.value().layers[layer].sliding, layer % 3 != 2);
  }
  const Field twos = array<u32>(key, 4, {1, 1, 2, 1, 1, 0});
  CHECK(refused(config_with("gemma3", {window, twos}), Code::corrupt, "gemma3." + key));
  // A period of 1 has only layers that see all, one of 0 none.
  CHECK(!config_with("gemma3", {window, number(key, 1)}).value().layers[0].sliding);
  CHECK(config_with("gemma3", {window, number(key, 0)}).value().layers[5].sliding);
}

TEST(gemma3_files_of_ollama_have_other_names_and_gaps) {
  const Field window = number("attention.sliding_window", 64);
  const auto named =
      config_with("gemma3", {window, real("rope.global.freq_base", 500000), real("rope.local.freq_base", 20000)});
  REQUIRE(named.ok());
  CHECK_EQ(named.value().rope_base, 500000.0);
  CHECK_EQ(named.value().rope_base_sliding, 20000.0);
  // Neither bases nor an epsilon: what Ollama runs such files with.
  const auto bare = config_with("gemma3", {window, {"attention.layer_norm_rms_epsilon", nullptr}});
  REQUIRE(bare.ok());
  CHECK_EQ(bare.value().rope_base, 1e6);
  CHECK_EQ(bare.value().rope_base_sliding, 10000.0);
  CHECK_EQ(bare.value().norm_eps, 1e-6f);
  CHECK_EQ(bare.value().rope_factor, 1.0);
  const auto large =
      config_with("gemma3", {window, number("mm.tokens_per_image", 256), number("context_length", 131072)});
  REQUIRE(large.ok());
  CHECK_EQ(large.value().rope_factor, 8.0);
  // The names of llama.cpp come first, and its files keep its defaults.
  CHECK_EQ(config_with("gemma3", {window, real("rope.global.freq_base", 500000), real("rope.freq_base", 30000)})
               .value()
               .rope_base,
           30000.0);
  CHECK_EQ(config_with("gemma3", {window}).value().rope_base, 10000.0);
}

TEST(a_short_sliding_pattern_is_refused) {
  const Field pattern = {"attention.sliding_window_pattern", [](GgufWriter& w, const std::string& key) {
                           w.array_key(key, 7, 3, std::string("\1\0\1", 3));
                         }};
  CHECK(refused(config_with("gemma2", {pattern}), Code::corrupt, "gemma2.attention.sliding_window_pattern"));
}
