// Which tensors a file may and must have: every one is used, known to be ignorable, or refused by name.
#include "model/weights.h"

#include <functional>
#include <map>
#include <string>

#include "gguf_writer.h"
#include "opened_gguf.h"

using flyball::u32;
using flyball::u64;
using test::GgufWriter;

namespace {

constexpr u32 n_embd = 32, n_ff = 64, n_vocab = 100, n_head = 2, head_dim = 16;
using Tensors = std::map<std::string, std::vector<u64>>;

Tensors tensors_of(const std::string& architecture, u32 n_layer) {
  Tensors all = {{"token_embd.weight", {n_embd, n_vocab}}, {"output_norm.weight", {n_embd}}};
  for (u32 layer = 0; layer < n_layer; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    for (const char* norm : {"attn_norm", "ffn_norm"}) all[block + norm + ".weight"] = {n_embd};
    for (const char* square : {"attn_q", "attn_k", "attn_v", "attn_output"})
      all[block + square + ".weight"] = {n_embd, n_embd};
    for (const char* wide : {"ffn_gate", "ffn_up"}) all[block + wide + ".weight"] = {n_embd, n_ff};
    all[block + "ffn_down.weight"] = {n_ff, n_embd};
    if (architecture.starts_with("qwen3") || architecture == "gemma3") {
      all[block + "attn_q_norm.weight"] = all[block + "attn_k_norm.weight"] = {head_dim};
    }
    if (architecture.starts_with("gemma")) {
      all[block + "post_attention_norm.weight"] = all[block + "post_ffw_norm.weight"] = {n_embd};
    }
  }
  return all;
}

// "ok", or the place and the text of the refusal.
std::string check(
    const std::string& architecture, u32 n_layer, const Tensors& tensors,
    const std::function<void(GgufWriter&)>& more = [](GgufWriter&) {}) {
  GgufWriter writer;
  const std::string a = architecture + ".";
  writer.string_key("general.architecture", architecture);
  writer.u32_key(a + "context_length", 128).u32_key(a + "embedding_length", n_embd).u32_key(a + "block_count", n_layer);
  writer.u32_key(a + "feed_forward_length", n_ff).u32_key(a + "attention.head_count", n_head);
  writer.f32_key(a + "attention.layer_norm_rms_epsilon", 1e-5f);
  if (architecture == "granite") writer.f32_key(a + "logit_scale", 1);
  more(writer);
  for (const auto& [name, dims] : tensors) writer.tensor(name, dims, flyball::gguf::Type::f32);
  const test::OpenedGguf opened(writer.build().bytes);
  REQUIRE(opened.ok());
  test::CountingPlatform memory;
  const flyball::Status status = flyball::model::check_model(memory.platform, opened.file(), n_vocab);
  const flyball::Error& error = status.error();
  return status.ok()
             ? "ok"
             : std::string(error.where.data, error.where.size) + " " + std::string(error.what.data, error.what.size);
}

std::string with(const std::string& architecture, const Tensors& added) {
  Tensors all = tensors_of(architecture, 2);
  for (const auto& [name, dims] : added) all[name] = dims;
  return check(architecture, 2, all);
}

}  // namespace

TEST(every_architecture_takes_its_own_tensors) {
  for (const char* architecture : {"llama", "mistral3", "qwen2", "qwen2vl", "qwen3", "qwen3vl", "gemma2", "gemma3",
                                   "phi3", "smollm3", "granite", "ernie4_5"})
    CHECK_EQ(check(architecture, 2, tensors_of(architecture, 2)), "ok");
}

TEST(tensors_that_nothing_uses_are_refused_by_name) {
  const std::vector<std::pair<std::string, std::vector<u64>>> strangers = {
      {"blk.1.attn_sinks.weight", {n_head}},
      {"blk.0.attn_sub_norm.weight", {n_embd}},
      {"blk.0.attn_norm.bias", {n_embd}},
      {"output_norm.bias", {n_embd}},
      {"blk.1.attn_q.scale", {2}},
      {"blk.1.ffn_norm.scale", {1}},
      {"token_embd.scale", {1}},
      {"output.scale", {1}},
      {"position_embd.weight", {n_embd, 128}},
      {"lm_head.weight", {n_embd, n_vocab}},
      {"cls.output.weight", {n_embd, 2}},
      {"blk.0.ffn_gate_inp.weight", {n_embd, 4}},
      {"blk.0.attn_q.lora_a", {n_embd, 4}},
      {"blk.0.attn_qkv.bias", {3 * n_embd}},
      {"rope_factors_long.weight", {head_dim / 2}}};
  for (const auto& [name, dims] : strangers) {
    const std::string said =
        with("llama", {{name, dims}, {name == "rope_factors_long.weight" ? "rope_factors_short.weight" : name, dims}});
    CHECK(said.starts_with(name + " is not a tensor that Flyball's llama uses"));
  }
  // The norms of one architecture are strangers in another.
  CHECK(with("llama", {{"blk.0.attn_q_norm.weight", {head_dim}}}).starts_with("blk.0.attn_q_norm.weight is not"));
  CHECK(with("qwen3", {{"blk.1.post_ffw_norm.weight", {n_embd}}}).starts_with("blk.1.post_ffw_norm.weight is not"));
  CHECK(with("qwen2", {{"rope_freqs.weight", {head_dim / 2}}}).starts_with("rope_freqs.weight is not"));
  CHECK(with("gemma2", {{"output.weight", {n_embd, n_vocab}}}).starts_with("output.weight is not"));
}

TEST(a_file_with_more_layers_than_it_says_is_refused) {
  CHECK(check("llama", 4, tensors_of("llama", 6))
            .starts_with("blk.4.attn_k.weight belongs to layer 4, but llama.block_count says 4"));
  CHECK(check("llama", 1, tensors_of("llama", 11)).starts_with("blk.1.attn_k.weight belongs to layer 1"));
  CHECK(check("qwen3", 3, tensors_of("qwen3", 2)).starts_with("blk.2.attn_norm.weight the tensor is missing"));
}

TEST(parts_for_images_and_input_scales_are_ignorable) {
  CHECK_EQ(with("gemma3", {{"v.patch_embedding.weight", {4, 4}}, {"mm.mm_input_projection.weight", {4, 4}}}), "ok");
  CHECK_EQ(with("llama", {{"blk.0.attn_q.input_scale", {1}}, {"blk.1.ffn_down.input_scale", {1}}}), "ok");
}

TEST(scales_of_products_are_used) {
  for (const char* name : {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"})
    CHECK_EQ(with("llama", {{std::string("blk.1.") + name + ".scale", {1}}}), "ok");
  CHECK_EQ(with("llama", {{"output.weight", {n_embd, n_vocab}}, {"output.scale", {1}}}), "ok");
}

TEST(blocks_that_draft_are_not_run) {
  const auto drafts = [](u32 n) { return [n](GgufWriter& w) { w.u32_key("qwen3.nextn_predict_layers", n); }; };
  Tensors all = tensors_of("qwen3", 3);
  all["blk.2.nextn.eh_proj.weight"] = {2 * n_embd, n_embd};
  CHECK_EQ(check("qwen3", 3, all, drafts(1)), "ok");
  CHECK(check("qwen3", 3, all).starts_with("blk.2.nextn.eh_proj.weight is not"));
  all["blk.3.attn_norm.weight"] = {n_embd};
  CHECK(check("qwen3", 3, all, drafts(1)).starts_with("blk.3.attn_norm.weight belongs to layer 3"));
  CHECK(check("qwen3", 3, tensors_of("qwen3", 2), drafts(3)).starts_with("qwen3.nextn_predict_layers is 3, all"));
  const Tensors alone = {{"token_embd.weight", {n_embd, n_vocab}},
                         {"blk.2.nextn.eh_proj.weight", {2 * n_embd, n_embd}}};
  CHECK(
      check("qwen3", 3, alone, drafts(1)).starts_with("blk.2.nextn.eh_proj.weight drafts tokens for a model in anoth"));
}

TEST(layers_may_have_shapes_of_their_own) {
  Tensors all = tensors_of("llama", 2);
  all["blk.1.attn_k.weight"] = all["blk.1.attn_v.weight"] = {n_embd, head_dim};
  const auto heads = [](u32 first, u32 second) {
    return [=](GgufWriter& w) {
      w.array_key("llama.attention.head_count_kv", 4, 2, test::bytes_of(first) + test::bytes_of(second));
    };
  };
  CHECK_EQ(check("llama", 2, all, heads(2, 1)), "ok");
  CHECK(check("llama", 2, all, heads(2, 2)).starts_with("blk.1.attn_k.weight has shape"));
}

TEST(biases_beside_fused_weights_are_used) {
  Tensors all = tensors_of("phi3", 1);
  for (const char* letter : {"q", "k", "v"}) all.erase(std::string("blk.0.attn_") + letter + ".weight");
  all["blk.0.attn_qkv.weight"] = {n_embd, 3 * n_embd};
  CHECK_EQ(check("phi3", 1, all), "ok");
  all["blk.0.attn_q.bias"] = all["blk.0.attn_k.bias"] = all["blk.0.attn_v.bias"] = {n_embd};
  CHECK_EQ(check("phi3", 1, all), "ok");
  all["blk.0.attn_qkv.bias"] = {3 * n_embd};
  CHECK(check("phi3", 1, all).starts_with("blk.0.attn_k.bias is not"));
  all["blk.0.attn_q.weight"] = {n_embd, n_embd};
  CHECK(check("phi3", 1, all).find("is not a tensor") != std::string::npos);
}

TEST(factors_of_long_contexts_need_their_architecture_or_type) {
  Tensors all = tensors_of("llama", 1);
  all["rope_factors_long.weight"] = all["rope_factors_short.weight"] = {head_dim / 2};
  const auto longrope = [](GgufWriter& w) { w.string_key("llama.rope.scaling.type", "longrope"); };
  CHECK_EQ(check("llama", 1, all, longrope), "ok");
  all["rope_freqs.weight"] = {head_dim / 2};
  CHECK(check("llama", 1, all, longrope).starts_with("rope_freqs.weight is not"));
  all.erase("rope_factors_short.weight");
  CHECK(check("llama", 1, all, longrope).starts_with("rope_factors_long.weight long and short"));
}

TEST(keys_that_nothing_asked_for_are_known) {
  GgufWriter writer;
  writer.string_key("general.architecture", "llama").u32_key("llama.context_length", 8).f32_key("llama.logit_scale", 2);
  writer.u16_key("split.count", 1);
  const test::OpenedGguf opened(writer.build().bytes);
  REQUIRE(opened.ok());
  test::CountingPlatform memory;
  CHECK(!flyball::model::check_model(memory.platform, opened.file(), n_vocab).ok());
  std::string unread;
  for (const auto& entry : opened.file().entries()) {
    if (!opened.file().was_read(entry)) unread += std::string(entry.key.data, entry.key.size) + " ";
  }
  CHECK_EQ(unread, "llama.logit_scale ");
}
