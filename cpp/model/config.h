// What a model is, read and checked once from GGUF metadata: one description drives one forward pass for all
// architectures.
#pragma once

#include "base/arena.h"
#include "gguf/file.h"

namespace flyball::model {

// Other names are the same model: mistral files say `llama`, qwen3vl is qwen3 with an image part.
enum class Architecture : u8 {
  llama,
  llama4,
  mistral3,
  qwen2,
  qwen3,
  qwen3moe,
  qwen35,
  qwen35moe,
  qwen3next,
  gemma2,
  gemma3,
  phi3,
  smollm3,
  seed_oss,
  granite,
  granitemoe,
  ernie4_5,
  ernie4_5_moe,
  olmo2,
  exaone4,
  cohere2,
  hunyuan_dense,
  hunyuan_moe,
  gemma3n,
  gemma4,
  gpt_oss,
  glm4moe,
  minimax_m2,
  phimoe,
  deepseek2,
  afmoe,
  muse_glimmer,
  laguna,
  lfm2,
  lfm2moe,
  granitehybrid,
  nemotron_h,
  nemotron_h_moe
};
enum class Activation : u8 { silu, gelu, swiglu_clamped, relu_squared };  // the last has no gate
enum class Gating : u8 {  // what makes an expert's weight of the router's logits; the numbers are the files'
  softmax = 1,
  sigmoid = 2,
  softmax_of_chosen = 3,
  sqrt_softplus = 4
};
// Of the layer's input, it multiplies what is attended to: each element, or each head where it has a row for each.
enum class AttentionGate : u8 { none, sigmoid, softplus };
enum class RopeScaling : u8 { none, linear, yarn };
enum class Pooling : u8 { none, mean, first, last };  // how a file wants its rows to become one embedding

constexpr u32 max_layers = 512;
constexpr u32 max_heads = 512;
constexpr u32 max_experts = 1024;
constexpr u32 max_expert_groups = 64;
constexpr u32 n_streams = 4;  // of a residual that has several

enum class Mixer : u8 {
  attention,
  latent_attention,
  delta_net,
  mamba2,
  short_convolution,
  none
};  // what mixes the positions of a layer

constexpr bool is_recurrent(Mixer mixer) {
  return mixer == Mixer::delta_net || mixer == Mixer::mamba2 || mixer == Mixer::short_convolution;
}

// The state of a layer that has one in place of a cache of positions: the last inputs of a convolution, then matrices
// (n_head, value_dim / 16 rounded up, key_dim, 16).
struct Recurrence {
  u32 n_tap = 1;       // of the convolution, the token's own included
  u32 n_channel = 0;   // of the convolution
  u32 n_head = 0;      // each has a matrix
  u32 n_key_head = 0;  // heads share keys
  u32 key_dim = 0;
  u32 value_dim = 0;
  u32 n_factor = 0;      // numbers a head that steer its matrix, beside the channels in each token's input
  bool grouped = false;  // neighboring heads share a key, else heads n_key_head apart
  u32 first_query = 0, first_key = 0, first_value = 0;  // among the channels

  u64 convolved_floats() const { return u64(n_tap - 1) * n_channel; }
  u64 matrix_floats() const { return key_dim * round_up(value_dim, 16); }
  u64 state_floats() const { return convolved_floats() + n_head * matrix_floats(); }
  u32 input_floats() const { return n_channel + n_factor * n_head; }  // what a token brings to the state
  u32 out_dim() const { return n_head != 0 ? n_head * value_dim : n_channel; }
};

// The shape of one layer; those of a model may differ.
struct LayerShape {
  u32 n_head = 0;
  u32 n_head_kv = 0;
  u32 head_dim = 0;       // of queries and keys
  u32 value_dim = 0;      // of values
  u32 n_ff = 0;           // of the feed-forward, or of each expert
  u32 n_expert = 0;       // 0: a dense feed-forward
  u32 n_expert_used = 0;  // for each token
  u32 n_ff_shared = 0;    // of the expert that every token has; 0: there is none
  u32 n_ff_beside = 0;    // gemma4: of a dense feed-forward beside the experts; 0: there is none
  Mixer mixer = Mixer::attention;
  Recurrence recurrence;
  u32 first_head_kv = 0;   // its place among the key/value heads of all layers
  bool shares_kv = false;  // its keys and values are those of layer kv_layer
  u32 kv_layer = 0;
  u64 first_state = 0;                       // among the floats of a sequence's state
  u64 first_input = 0;                       // among a token's inputs to the states of all layers
  bool rotates = true;                       // its queries and keys turn by their positions
  bool sliding = false;                      // sees the last Config::sliding_window positions, or those of its chunk
  f32 least_deviations = -__builtin_inff();  // gemma3n: below so many from their mean, values of a gate are 0

  u32 q_dim() const { return n_head * head_dim; }
  u32 k_dim() const { return n_head_kv * head_dim; }
  u32 v_dim() const { return n_head_kv * value_dim; }
  u32 attended_dim() const { return n_head * value_dim; }
  u32 dense_ff() const { return n_expert == 0 ? n_ff : n_ff_beside; }
};

struct Routing {
  Gating gating = Gating::softmax;
  bool normalized = true;  // the weights of a token's experts are divided by their sum
  bool by_logits = false;  // llama4: experts compete by the logits themselves
  bool of_inputs = false;  // llama4: the weights multiply what experts read, not what they give
  f32 scale = 1;           // of those weights
  u32 n_group = 1;         // of experts, of which a token's come from the best n_group_used
  u32 n_group_used = 1;
};

// Attention whose cache has one vector for all heads' keys and values; their own are made of it.
struct Latent {
  u32 rank = 0;        // of that vector; 0: attention is the usual one
  u32 query_rank = 0;  // of what queries are made of; 0: of the layer's input
  u32 key_dim = 0;     // of a head's key and query, the n_rot that rotate included
  u32 value_dim = 0;
};

struct Config {
  Architecture architecture = Architecture::llama;
  Str architecture_name;
  Str name;  // general.name, may be empty

  u32 n_vocab = 0;
  u32 n_embd = 0;
  u32 n_ctx_train = 0;
  u32 n_blocks = 0;  // of the file: the layers, then blocks that draft further tokens and are not run
  Span<LayerShape> layers;
  LayerShape widest;  // each number the most of any layer's

  u32 n_layer() const { return u32(layers.size); }
  u32 n_cache_heads() const {  // of all layers
    u32 n = 0;
    for (const LayerShape& layer : layers) n = max(n, layer.first_head_kv + layer.n_head_kv);
    return n;
  }
  u32 rotated(const LayerShape& layer) const { return layer.sliding ? n_rot_sliding : n_rot; }
  u32 most_pairs() const { return max(n_rot, n_rot_sliding) / 2; }
  // Of a sequence; 0: no layer has a state, or the file is not of an architecture that Flyball runs.
  u64 state_floats() const {
    u64 n = 0;
    for (const LayerShape& layer : layers) n += layer.recurrence.state_floats();
    return n;
  }
  u64 input_floats() const {  // that a token brings to it
    u64 n = 0;
    for (const LayerShape& layer : layers) n += layer.recurrence.input_floats();
    return n;
  }

  f32 norm_eps = 0;
  f32 post_norm_eps = 0;        // of the norms after attention and feed-forward
  bool embedding_norm = false;  // muse-glimmer: embeddings have a norm without weights
  Activation activation = Activation::silu;
  bool post_norms = false;         // gemma: a norm after attention and after the feed-forward, before the residual sum
  f32 embedding_scale = 1;         // gemma: sqrt(n_embd)
  f32 attention_scale = 0;         // 1 / sqrt(head_dim) unless the architecture says otherwise
  f32 attention_softcap = 0;       // 0: none
  f64 temperature_scale = 0;       // mistral3: queries grow with the logarithm of their position; 0: they do not
  u32 temperature_length = 1;      // positions that share a factor
  u32 temperature_offset = 0;      // added to a position before
  bool still_temperature = false;  // llama4: layers that do not rotate alone have it
  f32 final_softcap = 0;
  f32 residual_scale = 1;  // granite: of what attention and feed-forward add
  f32 logit_scale = 1;     // granite
  u32 sliding_window = 0;  // keys a sliding layer sees, the query's own included; 0: no layer slides
  bool chunked = false;    // llama4: a sliding layer sees from the last multiple of sliding_window on

  Str ffn_norm = "ffn_norm.weight";  // the tensor's name
  bool single_blocks = false;        // nemotron_h: a layer is one block: attention, a recurrence or a feed-forward
  bool query_gate = false;           // the query's matrix has for each head a query, then a gate of what it attends to
  bool shared_gate = false;          // the expert that every token has is scaled by a gate
  Routing routing;
  Latent latent;
  AttentionGate attention_gate = AttentionGate::none;
  bool sinks = false;  // gpt-oss: each head has a score of no key

  bool query_key_norms = false;       // a norm for each head's query and key
  bool optional_norms = false;        // of those: where the file has them
  bool whole_norms = false;           // of those: one for all heads of a token
  bool norms_after_rotation = false;  // of those: they read what has turned
  bool unit_norms = false;            // llama4: of layers that rotate, instead, and without weights
  bool pre_norms = true;          // norms before attention and feed-forward; else those after them are the only ones
  bool layer_norms = false;       // norms subtract the mean first
  bool parallel = false;          // attention and feed-forward read the same norm, and both join the residual after it
  u32 n_embd_per_layer = 0;       // gemma3n, gemma4: of an input that every layer has for a token; 0: there is none
  bool streams = false;           // gemma3n: the residual has n_streams, of which layers compute the first
  u32 laurel_rank = 0;            // gemma3n: of a branch beside attention; 0: there is none
  bool value_norms = false;       // gemma3n, gemma4: one without weights for each head's value
  bool raw_values = false;        // gemma4: where no matrix makes values, they are the raw keys
  bool tied_output = false;       // the embedding is the output matrix, whatever else the file has
  bool plain_local_rope = false;  // gemma3: sliding layers turn by unscaled positions, on a base of their own
  Pooling pooling = Pooling::none;

  bool rope_neox = false;  // pairs (i, i + n_rot / 2); else (2i, 2i + 1)
  u32 n_rot = 0;           // dimensions of a head that turn
  u32 n_rot_sliding = 0;   // the same of sliding layers
  f64 rope_base = 10000;
  f64 rope_base_sliding = 10000;  // gemma3: local layers have their own
  RopeScaling rope_scaling = RopeScaling::none;
  f64 rope_factor = 1;     // linear, yarn: positions are divided by it
  f64 rope_magnitude = 1;  // multiplies cosines and sines (rope.scaling.attn_factor, and yarn's own)
  f64 rope_magnitude_sliding = 1;
  f64 yarn_beta_fast = 32;        // turns within the original context from which on a pair keeps its frequency
  f64 yarn_beta_slow = 1;         // and up to which it is interpolated
  bool long_rope = false;         // factors of long and short contexts are tensors
  u32 rope_original_context = 0;  // yarn; longrope: the longest context that takes the short factors
};

// The shapes of the layers are in `arena`.
Result<Config> read_config(Arena& arena, const gguf::File& file, u32 n_vocab);
Span<const Str> architectures_by_name();  // the names that files give; some are one model
Str supported_architectures();            // the same names, as a text

}  // namespace flyball::model
