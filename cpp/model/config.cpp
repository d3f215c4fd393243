#include "model/config.h"

#include "base/math.h"
#include "model/config_parts.h"
#include "model/gemma3n.h"
#include "model/gemma4.h"
#include "model/traits.h"

namespace flyball::model {
namespace {

// Ollama converted gemma3 with names and gaps of its own; what its files leave out has the values that it runs them with.
bool is_from_ollama(const gguf::File& file) {
  constexpr Str signs[] = {"gemma3.rope.global.freq_base", "gemma3.rope.local.freq_base", "gemma3.mm.tokens_per_image",
                           "tokenizer.ggml.add_padding_token", "tokenizer.ggml.add_unknown_token"};
  for (Str sign : signs) {
    if (file.find(sign)) return true;
  }
  return !file.find("gemma3.attention.layer_norm_rms_epsilon");
}

// Keys that llama.cpp reads for these architectures and Flyball does not act on: their values must change nothing.
void refuse_others(const gguf::File& file, Reader& reader, const Config& config) {
  static constexpr struct {
    Str key;
    f64 neutral;
    Str what;
  } demands[] = {
      {"attention.causal", 1, "attention to later tokens"},
      {"classifier.pooling_type", 0, "classifiers"},
  };
  if (config.architecture != Architecture::hunyuan_dense)
    reader.demand("rope.scaling.alpha", 0, "this scaling of positions");
  for (const auto& demand : demands) reader.demand(demand.key, demand.neutral, demand.what);
  if (config.widest.n_expert == 0) {
    constexpr Str keys[] = {"expert_count", "expert_used_count", "expert_group_count", "expert_group_used_count"};
    for (const Str key : keys) reader.demand(key, 0, "mixtures of experts");
  }
  const bool gemma4 = config.architecture == Architecture::gemma4;
  if (!gemma4 && config.architecture != Architecture::gemma3n) {
    reader.demand("attention.shared_kv_layers", 0, "layers that share keys and values");
    reader.demand("embedding_length_per_layer_input", 0, "embeddings of layers");
  }
  if (!gemma4) {
    constexpr Str sliding = "sliding layers of another shape";
    reader.demand("attention.key_length_swa", config.widest.head_dim, sliding);
    reader.demand("attention.value_length_swa", config.widest.value_dim, sliding);
    reader.demand("rope.dimension_count_swa", config.n_rot_sliding, sliding);
  }
  if (reader.optional("embedding_length_out", 0, 0, ~u32(0)) != 0)
    reader.demand("embedding_length_out", config.n_embd, "embeddings of another width");
  const gguf::Value* labels = reader.find("classifier.output_labels");
  if (labels && labels->count != 0)
    reader.keep(fail(Code::unsupported, reader.full("classifier.output_labels"), labels->offset)
                << "has " << labels->count << " labels; Flyball does not run classifiers");
  const gguf::Value* suppressed = file.find("tokenizer.ggml.suppress_tokens");
  if (suppressed && suppressed->count != 0)
    reader.keep(fail(Code::unsupported, "tokenizer.ggml.suppress_tokens", suppressed->offset)
                << "has " << suppressed->count << " tokens; Flyball does not run models that forbid tokens");
}

// Of text, M-RoPE's first three positions are one and the fourth is 0: pairs of the fourth would not rotate.
void check_sections(Reader& reader, const Config& config) {
  constexpr Str key = "rope.dimension_sections";
  const gguf::Value* sections = reader.find(key);
  if (!sections || sections->type != gguf::ValueType::array) return;
  u64 n_pairs[4] = {};
  for (u64 i = 0; i < min(sections->count, u64(4)); ++i) {
    const Result<u64> n = gguf::integer(reader.full(key), gguf::element(*sections, i));
    if (!n) return reader.keep(n.error());
    n_pairs[i] = min(n.value(), u64(config.n_rot));
  }
  if (n_pairs[3] != 0 && n_pairs[0] + n_pairs[1] + n_pairs[2] < config.n_rot / 2)
    reader.keep(fail(Code::unsupported, reader.full(key), sections->offset)
                << "gives pairs to a fourth position; Flyball rotates all pairs by the text's");
}

Pooling read_pooling(Reader& reader) {
  constexpr Pooling known[] = {Pooling::none, Pooling::mean, Pooling::first, Pooling::last};
  const u32 type = reader.optional("pooling_type", 0, 0, ~u32(0));
  if (type == ~u32(0)) return Pooling::none;  // "not set"
  if (type < 4) return known[type];
  reader.demand("pooling_type", 0, "this way of pooling; 0 to 3 are none, mean, first and last token");
  return Pooling::none;
}

void read_attention_scale(Reader& reader, Config& config) {
  const f64 scale = reader.real("attention.scale", 0, 0, 1e6);
  if (scale != 0) config.attention_scale = f32(scale);
}

// Three of four layers rotate and attend within chunks; the fourth sees all, and its queries grow with their position.
// Lengths and the pattern of rotations are not the file's to say, and no key tells which models have norms.
void read_llama4(Reader& reader, Config& config) {
  constexpr Str key = "attention.sliding_window";
  constexpr u32 length = 8192, n_experts_of_maverick = 128;
  if (reader.optional(key, length, 0, ~u32(0)) == 0)
    reader.keep(fail(Code::unsupported, reader.full(key), reader.offset(key))
                << "is 0; Flyball runs llama4 with layers that attend within chunks");
  read_sliding(reader, config, length, 4);
  config.chunked = true;
  for (u32 layer = 3; layer < config.n_layer(); layer += 4) config.layers[layer].rotates = false;
  config.temperature_scale = 0.1;
  config.temperature_length = length;
  config.temperature_offset = 1;
  config.still_temperature = true;
  config.unit_norms = config.widest.n_expert != n_experts_of_maverick;
  config.routing.gating = Gating::sigmoid;
  config.routing.normalized = false;
  config.routing.by_logits = true;
  config.routing.of_inputs = true;
}

void widen(LayerShape& widest, const LayerShape& shape) {
  constexpr u32 LayerShape::* numbers[] = {
      &LayerShape::n_head,        &LayerShape::n_head_kv,   &LayerShape::head_dim,
      &LayerShape::value_dim,     &LayerShape::n_ff,        &LayerShape::n_expert,
      &LayerShape::n_expert_used, &LayerShape::n_ff_shared, &LayerShape::n_ff_beside};
  for (const auto number : numbers) widest.*number = max(widest.*number, shape.*number);
}

void read_architecture(const gguf::File& file, Reader& reader, Config& config) {
  config.attention_scale = 1 / sqrt32(f32(config.widest.head_dim));
  switch (config.architecture) {
    case Architecture::llama: read_attention_scale(reader, config); break;
    case Architecture::llama4: read_llama4(reader, config); break;
    case Architecture::mistral3:
      config.temperature_scale = reader.real("attention.temperature_scale", 0, 0, 1e3);
      config.temperature_length = config.rope_original_context;
      break;
    case Architecture::granite:
    case Architecture::granitehybrid:
    case Architecture::granitemoe: {
      read_attention_scale(reader, config);
      config.embedding_scale = read_scale(reader, "embedding_scale");
      config.residual_scale = read_scale(reader, "residual_scale");
      config.logit_scale = 1 / read_scale(reader, "logit_scale", config.architecture == Architecture::granitehybrid);
      if (config.architecture == Architecture::granitemoe) break;
      const bool rotates = reader.boolean("rope.scaling.finetuned", true);
      for (LayerShape& layer : config.layers) layer.rotates = rotates;
      if (config.architecture == Architecture::granitehybrid) read_mamba2(reader, config);
      break;
    }
    case Architecture::lfm2moe:
      read_routing(reader, config, Gating::sigmoid);
      config.routing.gating = Gating(reader.required("expert_gating_func", 1, 4));
      config.routing.normalized = true;
      [[fallthrough]];
    case Architecture::lfm2:
      config.sliding_window = reader.optional("attention.sliding_window", 0, 0, u64(1) << 31);
      for (LayerShape& layer : config.layers) layer.sliding = config.sliding_window != 0;
      config.rope_base_sliding = config.rope_base;
      read_short_convolution(reader, config);
      break;
    case Architecture::nemotron_h_moe:
      read_routing(reader, config, Gating::sigmoid);
      config.routing.gating = Gating::sigmoid;
      reader.demand("moe_latent_size", 0, "experts of another width than the model");
      [[fallthrough]];
    case Architecture::nemotron_h:
      read_attention_scale(reader, config);
      config.activation = Activation::relu_squared;
      for (LayerShape& layer : config.layers) layer.rotates = false;
      read_mamba2(reader, config);
      break;
    case Architecture::smollm3:
      for (u32 layer = 3; layer < config.n_layer(); layer += 4) config.layers[layer].rotates = false;
      break;
    case Architecture::gemma2:
    case Architecture::gemma3: {
      const bool second = config.architecture == Architecture::gemma2;
      config.activation = Activation::gelu;
      config.post_norms = true;
      config.embedding_scale = sqrt32(f32(config.n_embd));
      config.final_softcap = f32(reader.real("final_logit_softcapping", second ? 30 : 0, 0, 1e6));
      if (second) config.attention_softcap = f32(reader.real("attn_logit_softcapping", 50, 0, 1e6));
      // The 27B models scale by the embedding's share of a head, and the file does not say so.
      const u32 per_head = config.n_embd / config.widest.n_head;
      if (config.n_layer() == (second ? 46u : 62u)) config.attention_scale = 1 / sqrt32(f32(per_head));
      read_sliding(reader, config, reader.optional("attention.sliding_window", second ? 4096 : 0, 0, u64(1) << 31),
                   second ? 2 : 6);
      break;
    }
    case Architecture::olmo2:
      config.post_norms = true;
      read_one_base(reader, config, 0);
      config.rope_magnitude_sliding = 1;
      break;
    case Architecture::exaone4:
      config.post_norms = true;
      if (config.n_layer() != 64) break;  // the small model's key of a window is not honored: it has full attention
      read_one_base(reader, config, 4096);
      for (LayerShape& layer : config.layers) layer.rotates = layer.sliding || config.sliding_window == 0;
      break;
    case Architecture::cohere2:
      config.logit_scale = read_scale(reader, "logit_scale", false);
      read_sliding(reader, config, reader.required("attention.sliding_window", 1, u64(1) << 31), 4);
      config.rope_base_sliding = config.rope_base;
      for (LayerShape& layer : config.layers) layer.rotates = layer.sliding;
      break;
    case Architecture::hunyuan_dense: read_alpha(reader, config); break;
    case Architecture::qwen3next:
    case Architecture::qwen35:
    case Architecture::qwen35moe: read_delta_net(reader, config); break;
    case Architecture::gemma3n: read_gemma3n(file, reader, config); break;
    case Architecture::gemma4:
      read_sliding(reader, config, reader.required("attention.sliding_window", 1, u64(1) << 31), 0);
      read_gemma4(file, reader, config);
      config.widest = {};
      for (const LayerShape& layer : config.layers) widen(config.widest, layer);
      break;
    case Architecture::gpt_oss:
      config.activation = Activation::swiglu_clamped;
      config.routing.gating = Gating::softmax_of_chosen;
      config.routing.normalized = false;
      config.sinks = true;
      read_sliding(reader, config, reader.required("attention.sliding_window", 1, u64(1) << 31), 2);
      break;
    case Architecture::glm4moe: read_routing(reader, config, Gating::sigmoid); break;
    case Architecture::deepseek2: {
      // Files of GLM-4.7-Flash from before the key was written have this shape.
      const bool flash = (config.n_layer() == 47 || config.n_layer() == 48) && config.n_vocab == 154880;
      read_routing(reader, config, flash ? Gating::sigmoid : Gating::softmax);
      read_latent_scales(reader, config);
      break;
    }
    case Architecture::afmoe:
      read_routing(reader, config, Gating::sigmoid);
      config.attention_gate = AttentionGate::sigmoid;
      config.post_norms = true;
      config.embedding_scale = sqrt32(f32(config.n_embd));
      read_sliding(reader, config, reader.optional("attention.sliding_window", 0, 0, u64(1) << 31), 4);
      for (u32 layer = 3; layer < config.n_layer(); layer += 4) config.layers[layer].rotates = false;
      break;
    case Architecture::laguna:
      read_routing(reader, config, Gating::sigmoid);
      config.attention_gate = AttentionGate::softplus;
      read_sliding(reader, config, reader.optional("attention.sliding_window", 0, 0, u64(1) << 31), 4, true);
      if (reader.has("rope.dimension_count_swa"))
        config.n_rot_sliding = reader.rotated("rope.dimension_count_swa", config.widest.head_dim);
      config.rope_magnitude_sliding = 1;
      break;
    case Architecture::muse_glimmer:
      config.attention_gate = AttentionGate::sigmoid;
      config.embedding_norm = true;
      config.post_norms = true;
      config.post_norm_eps = 1e-8f;
      config.logit_scale = f32(reader.real("logit_scale", -1, 0, 1e6));
      config.final_softcap = f32(reader.real("final_logit_softcapping", 0, 0, 1e6));
      read_sliding(reader, config, reader.required("attention.sliding_window", 1, u64(1) << 31), 4);
      for (LayerShape& layer : config.layers) layer.rotates = layer.sliding;
      break;
    case Architecture::minimax_m2:
      read_routing(reader, config, Gating::sigmoid);
      config.routing.normalized = true;
      config.routing.scale = 1;
      break;
    case Architecture::ernie4_5:
    case Architecture::ernie4_5_moe:
    case Architecture::hunyuan_moe:
    case Architecture::phimoe:
    case Architecture::seed_oss:
    case Architecture::qwen2:
    case Architecture::qwen3:
    case Architecture::qwen3moe:
    case Architecture::phi3:  // its sliding_window key is not honored: the published weights are run with full
                              // attention
      break;
  }
}

// What the file says of a layer's heads and feed-forward. Where it says no head size, the first layer's heads share the
// embedding's width. `dense`: the layer has no experts, even if others have.
LayerShape read_shape(Reader& reader, const Traits& traits, Config& config, u32 layer, bool dense) {
  LayerShape shape;
  const auto number = [&](Str key, u64 otherwise, u64 low, u64 high) {
    return reader.of_layer(key, otherwise, low, high, layer, config.n_blocks);
  };
  const u32 least_heads = traits.hybrid ? 0 : 1;
  shape.n_head = number("attention.head_count", missing, least_heads, max_heads);
  if (!reader.status().ok()) return shape;
  shape.n_head_kv = number("attention.head_count_kv", shape.n_head, least_heads, shape.n_head);
  // Experts have a width of their own where an architecture always has them.
  const bool may_lack = traits.single_blocks || (traits.experts && !dense);
  const u32 n_ff = number("feed_forward_length", may_lack ? 0 : missing, may_lack ? 0 : 1, 1 << 22);
  const bool routes = traits.experts && !dense &&
                      (!traits.single_blocks || (n_ff != 0 && reader.optional("expert_count", 0, 0, max_experts) != 0));
  shape.n_ff = n_ff;
  if (routes || (traits.may_have_experts && reader.optional("expert_count", 0, 0, max_experts) != 0)) {
    shape.n_expert = reader.required("expert_count", 1, max_experts);
    shape.n_expert_used = number("expert_used_count", missing, 1, max(shape.n_expert, 1u));
    if (!reader.status().ok()) return shape;
    if (routes && !traits.wide_experts) shape.n_ff = number("expert_feed_forward_length", 0, 0, 1 << 22);
    if (shape.n_ff == 0) shape.n_ff = max(n_ff / shape.n_expert_used, 1u);  // not set
    if (traits.shares) {
      const bool laguna = traits.architecture == Architecture::laguna;
      shape.n_ff_shared = shape.n_ff * reader.optional("expert_shared_count", laguna ? 1 : 0, 0, 64);
      const u32 width = laguna ? reader.optional("expert_shared_feed_forward_length", 0, 0, 1 << 22) : 0;
      if (width != 0) shape.n_ff_shared = width;
    }
    if (traits.equal_shared) shape.n_ff_shared = shape.n_ff;
    if (traits.shared_expert || traits.may_share || traits.may_have_experts || traits.single_blocks) {
      shape.n_ff_shared = reader.optional("expert_shared_feed_forward_length", 0, 0, 1 << 22);
      if (shape.n_ff_shared == 0 && traits.shared_expert) shape.n_ff_shared = max(n_ff, 1u);
    }
  }
  if (!reader.status().ok()) return shape;
  const u32 first_n_head = layer == 0 ? shape.n_head : config.layers[0].n_head;
  if (shape.n_head_kv != 0 && shape.n_head % shape.n_head_kv != 0) {
    reader.keep(fail(Code::corrupt, reader.full("attention.head_count_kv"), reader.offset("attention.head_count_kv"))
                << "is " << shape.n_head_kv << ", which does not divide the " << shape.n_head << " heads");
  } else if (!reader.has("attention.key_length") && (first_n_head == 0 || config.n_embd % first_n_head != 0)) {
    reader.keep(fail(Code::corrupt, reader.full("attention.head_count"), reader.offset("attention.head_count"))
                << "is " << first_n_head << ", which does not divide the embedding length " << config.n_embd);
  }
  const u32 per_head = config.n_embd / max(first_n_head, 1u);
  shape.head_dim = reader.optional("attention.key_length", per_head, 2, 4096);
  shape.value_dim = reader.optional("attention.value_length", per_head, 1, 4096);
  if (traits.latent) read_latent(reader, shape, config.latent);
  return shape;
}

Status read_layers(Arena& arena, Reader& reader, const Traits& traits, Config& config) {
  constexpr Str drafts = "nextn_predict_layers";
  config.n_blocks = reader.required("block_count", 1, max_layers);
  const u32 n_drafts = reader.optional(drafts, 0, 0, config.n_blocks);
  FLYBALL_TRY(reader.status());
  if (n_drafts == config.n_blocks)
    return fail(Code::unsupported, reader.full(drafts), reader.offset(drafts))
           << "is " << n_drafts << ", all layers that the file has: they draft tokens for a model in another file";
  config.layers = arena.allocate<LayerShape>(config.n_blocks - n_drafts);
  if (config.layers.empty())
    return fail(Code::out_of_memory, "layers") << "no memory for " << config.n_blocks << " layers";
  const u32 n_dense = traits.shares || traits.leading_dense
                          ? reader.optional("leading_dense_block_count", 0, 0, config.n_layer() - 1)
                          : 0;
  const u32 step = traits.interleaved ? reader.required("interleave_moe_layer_step", 1, max_layers) : 1;
  FLYBALL_TRY(reader.status());
  for (u32 i = 0; i < config.n_layer(); ++i) {
    LayerShape& layer = config.layers[i] = read_shape(reader, traits, config, i, i < n_dense || (i + 1) % step != 0);
    FLYBALL_TRY(reader.status());
    widen(config.widest, layer);
  }
  return {};
}

// Gives each layer its place in a sequence's cache and state.
void place_layers(Config& config) {
  LayerShape next;
  for (LayerShape& layer : config.layers) {
    layer.first_head_kv = layer.shares_kv ? config.layers[layer.kv_layer].first_head_kv : next.first_head_kv;
    layer.first_state = next.first_state;
    layer.first_input = next.first_input;
    if (!layer.shares_kv) next.first_head_kv += layer.n_head_kv;
    next.first_state += layer.recurrence.state_floats();
    next.first_input += layer.recurrence.input_floats();
  }
}

}  // namespace

Result<Config> read_config(Arena& arena, const gguf::File& file, u32 n_vocab) {
  Config config;
  FLYBALL_ASSIGN(config.architecture_name, file.get_str("general.architecture"));
  FLYBALL_ASSIGN(config.name, file.get_str_or("general.name", ""));
  const Traits* const traits = find_architecture(config.architecture_name);
  if (!traits) {
    char shown[96];
    Writer out(shown, sizeof shown);
    out.put_printable(config.architecture_name, 40);
    return fail(Code::unsupported, "general.architecture", file.find("general.architecture")->offset)
           << "is '" << out.text() << "'; supported: " << supported_architectures();
  }

  config.architecture = traits->architecture;
  config.rope_neox = traits->rope_neox;
  config.query_key_norms = traits->query_key_norms;
  config.pre_norms = traits->pre_norms;
  config.whole_norms = traits->whole_norms;
  config.norms_after_rotation = traits->norms_after_rotation;
  config.layer_norms = traits->layer_norms;
  config.parallel = traits->parallel;
  config.optional_norms = traits->optional_norms;
  config.tied_output = traits->tied_output;
  config.query_gate = traits->query_gate;
  config.single_blocks = traits->single_blocks;
  config.ffn_norm = traits->ffn_norm;
  config.plain_local_rope = traits->plain_local_rope;
  Reader reader(file, config.architecture_name);
  config.n_vocab = n_vocab;
  config.n_ctx_train = reader.required("context_length", 1, u64(1) << 31);
  config.n_embd = reader.required("embedding_length", 1, 1 << 20);
  FLYBALL_TRY(reader.status());
  FLYBALL_TRY(read_layers(arena, reader, *traits, config));
  const bool from_ollama = config.architecture == Architecture::gemma3 && is_from_ollama(file);
  constexpr Str eps = "attention.layer_norm_epsilon", rms_eps = "attention.layer_norm_rms_epsilon";
  const bool either = config.single_blocks && !reader.has(rms_eps);  // nemotron_h's may have the first alone
  config.norm_eps = f32(reader.real(config.layer_norms || either ? eps : rms_eps, from_ollama ? 1e-6 : -1, 0, 1));
  config.post_norm_eps = config.norm_eps;
  config.pooling = read_pooling(reader);
  read_rope(reader, config, from_ollama);
  read_architecture(file, reader, config);
  place_layers(config);
  if (config.widest.n_expert != 0) read_groups(reader, config);
  check_sections(reader, config);
  refuse_others(file, reader, config);
  FLYBALL_TRY(reader.status());
  return config;
}

}  // namespace flyball::model
