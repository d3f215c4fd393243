#include "model/traits.h"

namespace flyball::model {
namespace {

constexpr Str late_norm = "post_attention_norm.weight";  // some name the feed-forward's norm by its place
constexpr Traits architectures[] = {
    {.name = "llama", .architecture = Architecture::llama, .rope_neox = false, .may_have_experts = true},
    {.name = "llama4",
     .architecture = Architecture::llama4,
     .rope_neox = false,
     .norms_after_rotation = true,
     .experts = true,
     .equal_shared = true,
     .interleaved = true},
    {.name = "mistral3", .architecture = Architecture::mistral3, .rope_neox = false, .may_have_experts = true},
    {.name = "qwen2", .architecture = Architecture::qwen2},
    {.name = "qwen3", .architecture = Architecture::qwen3, .query_key_norms = true},
    {.name = "qwen3moe", .architecture = Architecture::qwen3moe, .query_key_norms = true, .experts = true},
    {.name = "gemma2", .architecture = Architecture::gemma2, .tied_output = true},
    {.name = "gemma3", .architecture = Architecture::gemma3, .query_key_norms = true, .plain_local_rope = true},
    {.name = "phi3", .architecture = Architecture::phi3},
    {.name = "smollm3", .architecture = Architecture::smollm3, .rope_neox = false},
    {.name = "qwen35",
     .architecture = Architecture::qwen35,
     .query_key_norms = true,
     .query_gate = true,
     .ffn_norm = late_norm},
    {.name = "qwen35moe",
     .architecture = Architecture::qwen35moe,
     .query_key_norms = true,
     .experts = true,
     .shared_expert = true,
     .query_gate = true,
     .ffn_norm = late_norm},
    {.name = "qwen3next",
     .architecture = Architecture::qwen3next,
     .query_key_norms = true,
     .experts = true,
     .shared_expert = true,
     .query_gate = true,
     .ffn_norm = late_norm},
    {.name = "lfm2", .architecture = Architecture::lfm2, .query_key_norms = true, .hybrid = true},
    {.name = "lfm2moe",
     .architecture = Architecture::lfm2moe,
     .query_key_norms = true,
     .experts = true,
     .leading_dense = true,
     .hybrid = true},
    {.name = "granitehybrid",
     .architecture = Architecture::granitehybrid,
     .rope_neox = false,
     .may_have_experts = true,
     .hybrid = true},
    {.name = "nemotron_h", .architecture = Architecture::nemotron_h, .single_blocks = true, .hybrid = true},
    {.name = "nemotron_h_moe",
     .architecture = Architecture::nemotron_h_moe,
     .experts = true,
     .single_blocks = true,
     .hybrid = true},
    {.name = "seed_oss", .architecture = Architecture::seed_oss, .ffn_norm = late_norm},
    {.name = "granite", .architecture = Architecture::granite, .rope_neox = false, .may_have_experts = true},
    {.name = "granitemoe", .architecture = Architecture::granitemoe, .rope_neox = false, .may_have_experts = true},
    {.name = "olmo2",
     .architecture = Architecture::olmo2,
     .query_key_norms = true,
     .plain_local_rope = true,
     .pre_norms = false,
     .whole_norms = true},
    {.name = "exaone4", .architecture = Architecture::exaone4, .query_key_norms = true, .pre_norms = false},
    {.name = "cohere2",
     .architecture = Architecture::cohere2,
     .rope_neox = false,
     .tied_output = true,
     .layer_norms = true,
     .parallel = true},
    {.name = "hunyuan-dense",
     .architecture = Architecture::hunyuan_dense,
     .query_key_norms = true,
     .norms_after_rotation = true},
    {.name = "hunyuan-moe",
     .architecture = Architecture::hunyuan_moe,
     .query_key_norms = true,
     .norms_after_rotation = true,
     .experts = true,
     .shared_expert = true},
    {.name = "ernie4_5", .architecture = Architecture::ernie4_5, .rope_neox = false},
    {.name = "ernie4_5-moe",
     .architecture = Architecture::ernie4_5_moe,
     .rope_neox = false,
     .experts = true,
     .may_share = true,
     .leading_dense = true,
     .interleaved = true},
    {.name = "gemma3n", .architecture = Architecture::gemma3n, .query_key_norms = true, .plain_local_rope = true},
    {.name = "gemma4", .architecture = Architecture::gemma4, .query_key_norms = true, .plain_local_rope = true},
    {.name = "gpt-oss", .architecture = Architecture::gpt_oss, .experts = true, .ffn_norm = late_norm},
    {.name = "glm4moe",
     .architecture = Architecture::glm4moe,
     .query_key_norms = true,
     .optional_norms = true,
     .experts = true,
     .shares = true,
     .ffn_norm = late_norm},
    {.name = "minimax-m2",
     .architecture = Architecture::minimax_m2,
     .query_key_norms = true,
     .whole_norms = true,
     .experts = true,
     .wide_experts = true},
    {.name = "phimoe", .architecture = Architecture::phimoe, .experts = true, .wide_experts = true},
    {.name = "deepseek2",
     .architecture = Architecture::deepseek2,
     .rope_neox = false,
     .experts = true,
     .shares = true,
     .latent = true},
    {.name = "afmoe", .architecture = Architecture::afmoe, .query_key_norms = true, .experts = true, .shares = true},
    {.name = "muse-glimmer", .architecture = Architecture::muse_glimmer, .rope_neox = false, .query_key_norms = true},
    {.name = "laguna",
     .architecture = Architecture::laguna,
     .query_key_norms = true,
     .plain_local_rope = true,
     .experts = true,
     .shares = true},
    // As text: the three positions of an image's part are one, so that rotation is plain.
    {.name = "qwen2vl", .architecture = Architecture::qwen2},
    {.name = "qwen3vl", .architecture = Architecture::qwen3, .query_key_norms = true},
    {.name = "qwen3vlmoe", .architecture = Architecture::qwen3moe, .query_key_norms = true, .experts = true},
};

// Their names, one by one and as a text.
constexpr struct Names {
  static constexpr u32 n = sizeof architectures / sizeof *architectures;
  Str each[n];
  char text[1024] = {};
  u64 size = 0;

  constexpr Names() {
    for (u32 i = 0; i < n; ++i) {
      each[i] = architectures[i].name;
      if (i > 0) put(", ");
      put(each[i]);
    }
  }
  constexpr void put(Str s) {
    for (const char c : s) text[size++] = c;
  }
} names;

}  // namespace

const Traits* find_architecture(Str name) {
  for (const Traits& traits : architectures) {
    if (traits.name == name) return &traits;
  }
  return nullptr;
}

Span<const Str> architectures_by_name() { return {names.each, Names::n}; }
Str supported_architectures() { return {names.text, names.size}; }

}  // namespace flyball::model
