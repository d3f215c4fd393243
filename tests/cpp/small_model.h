// A llama model of two layers with random weights as a GGUF file, small enough to be written and run in milliseconds.
#pragma once

#include <cstring>
#include <random>
#include <string>

#include "vocabularies.h"

namespace test {

constexpr char chatml_template[] = "{% for m in messages %}{{ '<|im_start|>' + m['role'] }}{% endfor %}";

// Bytes as tokens, and what chatml needs.
inline Vocabulary chat_vocabulary() {
  Vocabulary v = bpe_vocabulary();
  v.add("<|im_start|>", control_token);
  return v;
}

inline std::string small_model(const Vocabulary& vocabulary, const std::string& chat_template = chatml_template,
                               unsigned seed = 1, u32 context = 128) {
  constexpr u32 n_embd = 32, n_ff = 64, n_layer = 2, n_head = 2;
  GgufWriter file = vocabulary.writer();
  file.string_key("general.architecture", "llama").string_key("general.name", "Small");
  file.u32_key("llama.block_count", n_layer).u32_key("llama.context_length", context);
  file.u32_key("llama.embedding_length", n_embd).u32_key("llama.feed_forward_length", n_ff);
  file.u32_key("llama.attention.head_count", n_head).u32_key("llama.attention.head_count_kv", 1);
  file.f32_key("llama.attention.layer_norm_rms_epsilon", 1e-5f).u32_key("llama.rope.dimension_count", n_embd / n_head);
  if (!chat_template.empty()) file.string_key("tokenizer.chat_template", chat_template);

  const auto f32 = flyball::gguf::Type::f32;
  std::vector<std::pair<std::string, u64>> tensors;
  const auto tensor = [&](const std::string& name, const std::vector<u64>& dims) {
    u64 values = 1;
    for (const u64 dim : dims) values *= dim;
    file.tensor(name, dims, f32);
    tensors.push_back({name, values});
  };
  tensor("token_embd.weight", {n_embd, vocabulary.tokens.size()});
  tensor("output_norm.weight", {n_embd});
  for (u32 layer = 0; layer < n_layer; ++layer) {
    const std::string block = "blk." + std::to_string(layer) + ".";
    tensor(block + "attn_norm.weight", {n_embd});
    tensor(block + "attn_q.weight", {n_embd, n_embd});
    tensor(block + "attn_k.weight", {n_embd, n_embd / n_head});
    tensor(block + "attn_v.weight", {n_embd, n_embd / n_head});
    tensor(block + "attn_output.weight", {n_embd, n_embd});
    tensor(block + "ffn_norm.weight", {n_embd});
    tensor(block + "ffn_gate.weight", {n_embd, n_ff});
    tensor(block + "ffn_up.weight", {n_embd, n_ff});
    tensor(block + "ffn_down.weight", {n_ff, n_embd});
  }
  GgufBytes built = file.build();
  std::mt19937 random(seed);  // its numbers are the same everywhere; the standard's distributions are not
  for (const auto& [name, values] : tensors) {
    const bool norm = name.find("norm") != std::string::npos;
    for (u64 i = 0; i < values; ++i) {
      const float value = norm ? 1.0f : (float(random() >> 8) / float(1 << 24) - 0.5f) * 0.6f;
      std::memcpy(built.bytes.data() + built.at(name + "/data") + 4 * i, &value, 4);
    }
  }
  return built.bytes;
}

// An adapter of that model for the queries of its first layer, of rank 4. `gain`: of its values; 0 changes nothing.
inline std::string small_adapter(float gain = 1) {
  constexpr u32 n_embd = 32, rank = 4;
  GgufWriter file;
  file.string_key("general.type", "adapter").string_key("general.architecture", "llama");
  file.string_key("adapter.type", "lora").f32_key("adapter.lora.alpha", 8);
  const std::string names[] = {"blk.0.attn_q.weight.lora_a", "blk.0.attn_q.weight.lora_b"};
  file.tensor(names[0], {n_embd, rank}, flyball::gguf::Type::f32);
  file.tensor(names[1], {rank, n_embd}, flyball::gguf::Type::f32);
  GgufBytes built = file.build();
  for (const std::string& name : names) {
    for (u32 i = 0; i < n_embd * rank; ++i) {
      const float value = gain * (float(i * 7 % 11) - 5) / 8;
      std::memcpy(built.bytes.data() + built.at(name + "/data") + 4 * i, &value, 4);
    }
  }
  return built.bytes;
}

}  // namespace test
