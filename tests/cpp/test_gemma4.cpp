// Gemma 4's description and tensors: layers of two kinds, caches that layers share, inputs of layers, mixtures; and
// Gemma 3n's description.
#include <functional>
#include <map>
#include <string>

#include "gguf_writer.h"
#include "host/host.h"
#include "model/rope.h"
#include "opened_gguf.h"

using flyball::f32;
using flyball::u32;
using flyball::u64;
using flyball::u8;
using flyball::model::Config;
using test::GgufWriter;

namespace {

constexpr u32 n_embd = 32, n_vocab = 100, n_layer = 6, n_ff = 64;
using Keys = std::map<std::string, std::function<void(GgufWriter&, const std::string&)>>;
using Tensors = std::map<std::string, std::vector<u64>>;

auto number(u32 value) {
  return [value](GgufWriter& w, const std::string& key) { w.u32_key(key, value); };
}
auto numbers(const std::vector<u32>& values) {
  return [values](GgufWriter& w, const std::string& key) {
    std::string raw;
    for (const u32 value : values) raw += test::bytes_of(value);
    w.array_key(key, 4, values.size(), raw);
  };
}
auto booleans(const std::string& pattern) {  // 's' slides
  return [pattern](GgufWriter& w, const std::string& key) {
    std::string raw;
    for (const char c : pattern) raw += char(c == 's');
    w.array_key(key, 7, pattern.size(), raw);
  };
}

// Sliding layers of 2 heads of 8, full ones of 2 heads of 16 with one key/value head; the last two share caches.
Keys keys() {
  return {{"context_length", number(128)},
          {"embedding_length", number(n_embd)},
          {"block_count", number(n_layer)},
          {"feed_forward_length", number(n_ff)},
          {"attention.head_count", number(2)},
          {"attention.head_count_kv", numbers({2, 1, 2, 1, 2, 1})},
          {"attention.key_length", number(16)},
          {"attention.value_length", number(16)},
          {"attention.key_length_swa", number(8)},
          {"attention.value_length_swa", number(8)},
          {"attention.sliding_window", number(32)},
          {"attention.sliding_window_pattern", booleans("sfsfsf")},
          {"attention.shared_kv_layers", number(2)},
          {"attention.layer_norm_rms_epsilon", [](GgufWriter& w, const std::string& key) { w.f32_key(key, 1e-6f); }}};
}

// A small Gemma 3n, whose files leave out most of what it is.
flyball::Result<Config> gemma3n_with(const Keys& more) {
  Keys all = {
      {"context_length", number(128)},
      {"embedding_length", number(n_embd)},
      {"block_count", number(23)},
      {"feed_forward_length", number(n_ff)},
      {"attention.head_count", number(2)},
      {"attention.head_count_kv", number(1)},
      {"attention.sliding_window", number(32)},
      {"attention.layer_norm_rms_epsilon", [](GgufWriter& w, const std::string& key) { w.f32_key(key, 1e-6f); }}};
  for (const auto& [key, write] : more) all[key] = write;
  GgufWriter writer;
  writer.string_key("general.architecture", "gemma3n");
  for (const auto& [key, write] : all) write(writer, "gemma3n." + key);
  const test::OpenedGguf opened(writer.build().bytes);
  REQUIRE(opened.ok());
  static flyball::Arena arena(flyball::host::host_platform());
  return flyball::model::read_config(arena, opened.file(), n_vocab);
}

std::string described(const flyball::Error& error) {
  return std::string(error.where.data, error.where.size) + " " + std::string(error.what.data, error.what.size);
}

std::string file_of(const Keys& all, const Tensors& tensors = {}) {
  GgufWriter writer;
  writer.string_key("general.architecture", "gemma4");
  for (const auto& [key, write] : all) write(writer, "gemma4." + key);
  for (const auto& [name, dims] : tensors) writer.tensor(name, dims, flyball::gguf::Type::f32);
  return writer.build().bytes;
}

flyball::Result<Config> config_of(const Keys& all, const Tensors& tensors = {}) {
  const test::OpenedGguf opened(file_of(all, tensors));
  REQUIRE(opened.ok());
  static flyball::Arena arena(flyball::host::host_platform());
  return flyball::model::read_config(arena, opened.file(), n_vocab);
}

std::string check(const Keys& all, const Tensors& tensors) {
  const test::OpenedGguf opened(file_of(all, tensors));
  REQUIRE(opened.ok());
  test::CountingPlatform memory;
  const flyball::Status status = flyball::model::check_model(memory.platform, opened.file(), n_vocab);
  return status.ok() ? "ok" : described(status.error());
}

std::string refusal(const std::string& key, const std::function<void(GgufWriter&, const std::string&)>& value) {
  Keys all = keys();
  all[key] = value;
  const auto config = config_of(all);
  return config.ok() ? "ok" : described(config.error());
}

Tensors tensors() {
  Tensors all = {
      {"token_embd.weight", {n_embd, n_vocab}}, {"output_norm.weight", {n_embd}}, {"rope_freqs.weight", {8}}};
  for (u32 layer = 0; layer < n_layer; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    const u64 head = layer % 2 ? 16 : 8, kv = 16;
    for (const char* norm : {"attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"})
      all[block + norm + ".weight"] = {n_embd};
    all[block + "attn_q.weight"] = {n_embd, 2 * head};
    all[block + "attn_q_norm.weight"] = {head};
    if (layer < n_layer - 2) {
      all[block + "attn_k.weight"] = {n_embd, kv};
      all[block + "attn_k_norm.weight"] = {head};
      if (layer % 2 == 0) all[block + "attn_v.weight"] = {n_embd, kv};
    }
    all[block + "attn_output.weight"] = {2 * head, n_embd};
    for (const char* wide : {"ffn_gate", "ffn_up"}) all[block + wide + ".weight"] = {n_embd, n_ff};
    all[block + "ffn_down.weight"] = {n_ff, n_embd};
  }
  return all;
}

}  // namespace

TEST(layers_have_the_shape_of_their_kind_and_share_caches) {
  const auto config = config_of(keys());
  REQUIRE(config.ok());
  const Config& c = config.value();
  CHECK_EQ(c.layers[0].head_dim, 8);
  CHECK_EQ(c.layers[1].value_dim, 16);
  CHECK_EQ(c.n_rot, 16);
  CHECK_EQ(c.n_rot_sliding, 8);
  CHECK_EQ(c.rotated(c.layers[2]), 8);
  CHECK_EQ(c.rotated(c.layers[3]), 16);
  CHECK_EQ(c.most_pairs(), 8);
  CHECK(!c.layers[3].shares_kv && c.layers[4].shares_kv && c.layers[5].shares_kv);
  CHECK_EQ(c.layers[4].first_head_kv, c.layers[2].first_head_kv);
  CHECK_EQ(c.layers[5].first_head_kv, c.layers[3].first_head_kv);
  CHECK_EQ(c.n_cache_heads(), 6);
  CHECK_EQ(c.attention_scale, 1.0f);
  CHECK_EQ(c.final_softcap, 30.0f);
  CHECK_EQ(c.rope_base_sliding, 10000.0);
  CHECK_EQ(c.widest.n_head_kv, 2);
  CHECK_EQ(c.widest.head_dim, 16);
}

TEST(what_layers_cannot_share_is_refused) {
  CHECK_EQ(refusal("attention.shared_kv_layers", number(4)), "ok");
  for (const u32 n : {5u, 6u}) {
    const std::string error = refusal("attention.shared_kv_layers", number(n));
    CHECK(error.starts_with("gemma4.attention.shared_kv_layers is " + std::to_string(n) + ", but two layers"));
  }
  CHECK(refusal("attention.shared_kv_layers", number(7)).find("expected 0 to 6") != std::string::npos);
  // An odd number: the layers before it are not in the order that they are read in.
  CHECK(refusal("attention.shared_kv_layers", number(1)).find("of another kind") != std::string::npos);
  CHECK(refusal("attention.head_count_kv", numbers({2, 1, 2, 1, 1, 1})).find("have other heads") != std::string::npos);
  CHECK(refusal("attention.value_length_swa", number(4)).starts_with("gemma4.attention.value_length_swa is 4; in"));
  CHECK(refusal("attention.value_length", number(8)).starts_with("gemma4.attention.value_length is 8; in"));
  CHECK(refusal("rope.dimension_count_swa", number(16)).find("expected 2 to 8") != std::string::npos);
  CHECK(refusal("rope.dimension_count_swa", number(7)).find("must be even") != std::string::npos);
  CHECK(refusal("attention.sliding_window_pattern", booleans("sf")).find("has 2 entries") != std::string::npos);
  Keys none = keys();
  none.erase("attention.sliding_window_pattern");
  const auto config = config_of(none);
  CHECK(!config.ok() && described(config.error()).starts_with("gemma4.attention.sliding_window_pattern is missing"));
}

TEST(layers_that_share_need_no_keys_and_values) {
  CHECK_EQ(check(keys(), tensors()), "ok");
  Tensors more = tensors();
  more["blk.4.attn_k.weight"] = more["blk.4.attn_v.weight"] = {n_embd, 16};  // some files have them
  more["blk.4.attn_k_norm.weight"] = {8};
  more["blk.0.layer_output_scale.weight"] = {1};
  CHECK_EQ(check(keys(), more), "ok");
  Tensors less = tensors();
  less.erase("blk.2.attn_k.weight");
  CHECK(check(keys(), less).starts_with("blk.2.attn_k.weight"));
  Tensors inputs = tensors();
  inputs["per_layer_token_embd.weight"] = {n_layer * 8, n_vocab};
  CHECK(check(keys(), inputs).starts_with("per_layer_token_embd.weight is not a tensor"));
  inputs["per_layer_model_proj.weight"] = {n_embd, n_layer * 8};
  inputs["per_layer_proj_norm.weight"] = {8};
  for (u32 layer = 0; layer < n_layer; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    inputs[block + "inp_gate.weight"] = {n_embd, 8};
    inputs[block + "proj.weight"] = {8, n_embd};
    inputs[block + "post_norm.weight"] = {n_embd};
  }
  Keys all = keys();
  all["embedding_length_per_layer_input"] = number(8);
  CHECK_EQ(check(all, inputs), "ok");
  all["embedding_length_per_layer_input"] = number(16);
  CHECK(check(all, inputs).starts_with("per_layer_token_embd.weight has shape"));
}

TEST(layers_with_a_router_have_experts_beside_a_feed_forward) {
  Keys all = keys();
  all["expert_count"] = number(4);
  all["expert_used_count"] = number(2);
  all["expert_feed_forward_length"] = number(16);
  Tensors mixed = tensors();
  mixed["blk.1.ffn_gate_inp.weight"] = {n_embd, 4};
  const auto config = config_of(all, mixed);
  REQUIRE(config.ok());
  CHECK_EQ(config.value().layers[0].n_expert, 0);
  CHECK_EQ(config.value().layers[0].dense_ff(), n_ff);
  CHECK_EQ(config.value().layers[1].n_expert_used, 2);
  CHECK_EQ(config.value().layers[1].n_ff, 16);
  CHECK_EQ(config.value().layers[1].dense_ff(), n_ff);
  CHECK(check(all, mixed).starts_with("blk.1.ffn_gate_inp.scale"));
  mixed["blk.1.ffn_gate_inp.scale"] = {n_embd};
  for (const char* norm : {"post_ffw_norm_1", "pre_ffw_norm_2", "post_ffw_norm_2"})
    mixed[std::string("blk.1.") + norm + ".weight"] = {n_embd};
  mixed["blk.1.ffn_gate_up_exps.weight"] = {n_embd, 32, 4};
  mixed["blk.1.ffn_down_exps.weight"] = {16, n_embd, 4};
  mixed["blk.1.ffn_down_exps.scale"] = {4};
  CHECK_EQ(check(all, mixed), "ok");
}

TEST(pairs_of_huge_factors_do_not_turn) {
  const auto config = config_of(keys());
  REQUIRE(config.ok());
  f32 factors[8] = {1, 1, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f, 1e30f};
  flyball::model::Weights weights;
  weights.rope_factors = factors;
  test::CountingPlatform memory;
  flyball::Arena arena(memory.platform);
  const auto rope = flyball::model::make_rope(arena, config.value(), weights, 128);
  REQUIRE(rope.ok());
  CHECK_EQ(rope.value().frequencies.size, 8);
  CHECK(rope.value().frequencies[1] > 0);
  for (u32 i = 2; i < 8; ++i) CHECK_EQ(rope.value().frequencies[i], 0.0);
  CHECK_EQ(rope.value().frequencies_sliding.size, 4);
  CHECK(rope.value().frequencies_sliding[3] > 0);  // the factors are not theirs
  for (const f32 bad : {__builtin_inff(), __builtin_nanf(""), 0.0f, -1.0f}) {
    factors[5] = bad;
    CHECK(!flyball::model::make_rope(arena, config.value(), weights, 128).ok());
  }
}

TEST(gemma3n_is_what_its_files_leave_out) {
  const auto config = gemma3n_with({});
  REQUIRE(config.ok());
  const Config& c = config.value();
  CHECK(c.streams);
  CHECK_EQ(c.laurel_rank, 64);
  CHECK_EQ(c.n_embd_per_layer, 256);
  CHECK_EQ(c.rope_base_sliding, 10000.0);
  CHECK_EQ(c.final_softcap, 30.0f);
  for (u32 i = 0; i < 23; ++i) {
    CHECK_EQ(c.layers[i].sliding, i % 5 != 4);
    CHECK_EQ(c.layers[i].shares_kv, i >= 20);
    CHECK_EQ(c.layers[i].least_deviations, i < 10 ? 1.6448533535003662f : -__builtin_inff());
  }
  CHECK_EQ(c.layers[21].kv_layer, 18);
  CHECK_EQ(c.layers[21].first_head_kv, c.layers[18].first_head_kv);
}

TEST(gemma3n_of_another_form_is_refused) {
  const auto refusal = [](const Keys& more) {
    const auto config = gemma3n_with(more);
    return config.ok() ? "ok" : described(config.error());
  };
  const auto reals = [](const std::vector<f32>& values) {
    return [values](GgufWriter& w, const std::string& key) {
      std::string raw;
      for (const f32 value : values) raw += test::bytes_of(value);
      w.array_key(key, 6, values.size(), raw);
    };
  };
  const f32 none = -__builtin_inff();
  CHECK_EQ(refusal({{"altup.num_inputs", number(4)}, {"altup.active_idx", number(0)}}), "ok");
  CHECK(refusal({{"altup.num_inputs", number(3)}}).starts_with("gemma3n.altup.num_inputs is 3; "));
  CHECK(refusal({{"altup.active_idx", number(1)}}).starts_with("gemma3n.altup.active_idx is 1; "));
  CHECK_EQ(refusal({{"attention.shared_kv_layers", number(3)}}), "ok");
  CHECK(refusal({{"attention.shared_kv_layers", number(2)}}).starts_with("gemma3n.attention.shared_kv_layers is 2; "));
  CHECK(refusal({{"attention.sliding_window_pattern", number(2)}}) == "ok");
  CHECK(refusal({{"attention.sliding_window_pattern", number(7)}})  // layer 19, which the full layer 20 reads, slides
            .starts_with("gemma3n.attention.shared_kv_layers is 3, "));
  CHECK(refusal({{"attention.key_length_swa", number(8)}}).starts_with("gemma3n.attention.key_length_swa is 8; "));
  std::vector<f32> sparsity(23, none);
  sparsity[3] = 0.5f;
  const auto config = gemma3n_with({{"activation_sparsity_scale", reals(sparsity)}});
  REQUIRE(config.ok());
  CHECK_EQ(config.value().layers[3].least_deviations, 0.5f);
  CHECK_EQ(config.value().layers[0].least_deviations, none);
  for (const f32 lie : {__builtin_nanf(""), __builtin_inff(), 11.0f, -11.0f}) {
    sparsity[3] = lie;
    CHECK(refusal({{"activation_sparsity_scale", reals(sparsity)}})
              .starts_with("gemma3n.activation_sparsity_scale has "));
  }
  CHECK(
      refusal({{"activation_sparsity_scale", reals({none})}}).starts_with("gemma3n.activation_sparsity_scale has 1 "));
  CHECK(refusal({{"activation_sparsity_scale", number(1)}}).starts_with("gemma3n.activation_sparsity_scale "));
}
