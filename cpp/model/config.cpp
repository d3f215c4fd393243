#include "model/config.h"

#include "base/math.h"

namespace flyball::model {
namespace {

// What follows from an architecture's name alone; read_architecture() reads the rest from the file.
struct Traits {
  Str name;
  Architecture architecture;
  bool rope_neox = true;
  bool query_key_norms = false;
  bool tied_output = false;
  bool plain_local_rope = false;
};
constexpr Traits architectures[] = {
    {.name = "llama", .architecture = Architecture::llama, .rope_neox = false},
    {.name = "qwen2", .architecture = Architecture::qwen2},
    {.name = "qwen3", .architecture = Architecture::qwen3, .query_key_norms = true},
    {.name = "gemma2", .architecture = Architecture::gemma2, .tied_output = true},
    {.name = "gemma3", .architecture = Architecture::gemma3, .query_key_norms = true, .plain_local_rope = true},
    {.name = "phi3", .architecture = Architecture::phi3},
};

const Traits* find_architecture(Str name) {
  for (const Traits& traits : architectures) {
    if (traits.name == name) return &traits;
  }
  return nullptr;
}

// Reads "<architecture>.<key>" and remembers the first error, so that a description reads as a list of fields.
class Reader {
 public:
  Reader(const gguf::File& file, Str architecture) : file_(file), architecture_(architecture) {}

  u32 required(Str key, u64 low, u64 high) { return bounded(key, file_.get_u64(full(key)), low, high); }
  u32 optional(Str key, u64 missing, u64 low, u64 high) {
    return bounded(key, file_.get_u64_or(full(key), missing), low, high);
  }
  f64 real(Str key, f64 missing, f64 low, f64 high) {
    Result<f64> value = file_.get_f64_or(full(key), missing);
    if (!value) {
      keep(value.error());
      return missing;
    }
    const f64 x = value.value();
    if (!(x >= low && x <= high) && !has(key))
      keep(fail(Code::not_found, full(key)) << "is missing from the file's metadata");
    if (!(x >= low && x <= high))
      keep(fail(Code::corrupt, full(key), offset(key)) << "is " << x << ", expected " << low << " to " << high);
    return x;
  }
  Str text(Str key) {
    Result<Str> value = file_.get_str_or(full(key), "");
    if (!value) keep(value.error());
    return value ? value.value() : Str();
  }
  bool has(Str key) { return file_.find(full(key)) != nullptr; }
  const gguf::Value* find(Str key) { return file_.find(full(key)); }
  u64 offset(Str key) {
    const gguf::Value* value = find(key);
    return value ? value->offset : Error::no_offset;
  }
  // Valid until the next call: error messages copy it.
  Str full(Str key) {
    Writer out(buffer_, sizeof buffer_);
    out.put(architecture_).put('.').put(key);
    return out.text();
  }
  void keep(const Error& error) {
    if (status_.ok()) status_ = error;
  }
  Status status() const { return status_; }

 private:
  u32 bounded(Str key, const Result<u64>& value, u64 low, u64 high) {
    if (!value) {
      keep(value.error());
      return u32(low);
    }
    const u64 x = value.value();
    if (x < low || x > high) {
      keep(fail(Code::corrupt, full(key), offset(key)) << "is " << x << ", expected " << low << " to " << high);
      return u32(low);
    }
    return u32(x);
  }

  const gguf::File& file_;
  Str architecture_;
  char buffer_[128];
  Status status_;
};

// head_count_kv and feed_forward_length may be arrays with an entry a layer; Flyball runs them when all entries agree.
Result<u64> uniform(const gguf::File& file, Str key, u64 missing) {
  const gguf::Value* value = file.find(key);
  if (!value || value->type != gguf::ValueType::array) return file.get_u64_or(key, missing);
  const bool wide = value->element == gguf::ValueType::i32 || value->element == gguf::ValueType::u32;
  if (!wide || value->count == 0)
    return fail(Code::corrupt, key, value->offset) << "expected a number, or an array of 32-bit integers";
  u32 first = 0;
  memcpy(&first, value->raw.data, 4);
  for (u64 i = 1; i < value->count; ++i) {
    u32 entry = 0;
    memcpy(&entry, value->raw.data + i * 4, 4);
    if (entry != first)
      return fail(Code::unsupported, key, value->offset) << "differs from layer to layer (" << first << " and " << entry
                                                         << "); Flyball runs models whose layers agree";
  }
  return u64(first);
}

void read_sliding(Reader& reader, Config& config, u32 window, u32 period) {
  config.sliding_window = window;
  if (window == 0) return;
  const gguf::Value* pattern = reader.find("attention.sliding_window_pattern");
  const bool per_layer = pattern && pattern->type == gguf::ValueType::array;
  if (per_layer && (pattern->element != gguf::ValueType::boolean || pattern->count < config.n_layer)) {
    reader.keep(fail(Code::corrupt, reader.full("attention.sliding_window_pattern"), pattern->offset)
                << "expected a number, or a bool for each of the " << config.n_layer << " layers");
    return;
  }
  if (!per_layer) period = reader.optional("attention.sliding_window_pattern", period, 1, max_layers);
  for (u32 layer = 0; layer < config.n_layer; ++layer) {
    const bool sliding = per_layer ? pattern->raw[layer] != 0 : period == 1 || layer % period < period - 1;
    config.sliding_layers[layer / 64] |= u64(sliding) << (layer % 64);
  }
}

void read_rope(Reader& reader, Config& config) {
  config.n_rot = reader.optional("rope.dimension_count", config.head_dim, 2, config.head_dim);
  if (config.n_rot % 2 != 0) {
    reader.keep(fail(Code::corrupt, reader.full("rope.dimension_count"), reader.offset("rope.dimension_count"))
                << "is " << config.n_rot << "; pairs of dimensions rotate, so it must be even");
  }
  config.rope_base = reader.real("rope.freq_base", 10000, 2, 1e15);
  config.rope_base_sliding =
      reader.real("rope.freq_base_swa", config.plain_local_rope ? 10000 : config.rope_base, 2, 1e15);
  config.rope_original_context =
      reader.optional("rope.scaling.original_context_length", config.n_ctx_train, 1, u64(1) << 31);
  config.rope_magnitude = reader.real("rope.scaling.attn_factor", 1, 1e-3, 1e3);
  const Str type = reader.text("rope.scaling.type");
  const f64 old_factor = reader.real("rope.scale_linear", 1, 0.01, 1e6);  // files from before rope.scaling.*
  config.rope_factor = reader.real("rope.scaling.factor", old_factor, 0.01, 1e6);
  if (type == "none" || type == "longrope") {
    config.rope_factor = 1;  // longrope: its factors are tensors
  } else if (type == "" || type == "linear") {
    config.rope_scaling = config.rope_factor == 1 ? RopeScaling::none : RopeScaling::linear;
  } else if (type == "yarn") {
    config.rope_scaling = RopeScaling::yarn;
    // Peng et al. 2023 (YaRN), eq. 22: attention is sharpened by scaling queries and keys alike.
    if (config.rope_factor > 1) config.rope_magnitude *= 1 + 0.1 * log64(config.rope_factor);
  } else {
    reader.keep(fail(Code::unsupported, reader.full("rope.scaling.type"), reader.offset("rope.scaling.type"))
                << "is '" << type << "'; supported: none, linear, yarn, longrope");
  }
}

void read_architecture(Reader& reader, Config& config) {
  config.attention_scale = 1 / sqrt32(f32(config.head_dim));
  switch (config.architecture) {
    case Architecture::llama: {
      const f64 scale = reader.real("attention.scale", 0, 0, 1e6);
      if (scale != 0) config.attention_scale = f32(scale);
      break;
    }
    case Architecture::gemma2:
    case Architecture::gemma3: {
      const bool second = config.architecture == Architecture::gemma2;
      config.activation = Activation::gelu;
      config.post_norms = true;
      config.embedding_scale = sqrt32(f32(config.n_embd));
      config.final_softcap = f32(reader.real("final_logit_softcapping", second ? 30 : 0, 0, 1e6));
      if (second) config.attention_softcap = f32(reader.real("attn_logit_softcapping", 50, 0, 1e6));
      // The 27B models scale by the embedding's share of a head, and the file does not say so.
      const u32 per_head = config.n_embd / config.n_head;
      if (config.n_layer == (second ? 46u : 62u)) config.attention_scale = 1 / sqrt32(f32(per_head));
      read_sliding(reader, config, reader.optional("attention.sliding_window", second ? 4096 : 0, 0, u64(1) << 31),
                   second ? 2 : 6);
      break;
    }
    case Architecture::qwen2:
    case Architecture::qwen3:
    case Architecture::phi3:  // its sliding_window key is not honored: the published weights are run with full
                              // attention
      break;
  }
}

}  // namespace

Str supported_architectures() { return "llama (and mistral), qwen2, qwen3, gemma2, gemma3, phi3"; }

Result<Config> read_config(const gguf::File& file, u32 n_vocab) {
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
  config.tied_output = traits->tied_output;
  config.plain_local_rope = traits->plain_local_rope;
  Reader reader(file, config.architecture_name);
  config.n_vocab = n_vocab;
  config.n_ctx_train = reader.required("context_length", 1, u64(1) << 31);
  config.n_embd = reader.required("embedding_length", 1, 1 << 20);
  config.n_layer = reader.required("block_count", 1, max_layers);
  config.n_head = reader.required("attention.head_count", 1, max_heads);
  FLYBALL_TRY(reader.status());

  const auto checked = [&](Str key, u64 missing, u64 high, u32* out) -> Status {
    const Str full = reader.full(key);
    Result<u64> value = uniform(file, full, missing);
    if (!value) return value.error();
    if (value.value() < 1 || value.value() > high) {
      return fail(Code::corrupt, full, reader.offset(key)) << "is " << value.value() << ", expected 1 to " << high;
    }
    *out = u32(value.value());
    return {};
  };
  FLYBALL_TRY(checked("attention.head_count_kv", config.n_head, config.n_head, &config.n_head_kv));
  if (!reader.has("feed_forward_length"))
    return fail(Code::not_found, reader.full("feed_forward_length")) << "is missing from the file's metadata";
  FLYBALL_TRY(checked("feed_forward_length", 0, 1 << 22, &config.n_ff));
  if (config.n_head % config.n_head_kv != 0) {
    return fail(Code::corrupt, reader.full("attention.head_count_kv"), reader.offset("attention.head_count_kv"))
           << "is " << config.n_head_kv << ", which does not divide the " << config.n_head << " heads";
  }
  if (!reader.has("attention.key_length") && config.n_embd % config.n_head != 0) {
    return fail(Code::corrupt, reader.full("attention.head_count"), reader.offset("attention.head_count"))
           << "is " << config.n_head << ", which does not divide the embedding length " << config.n_embd;
  }
  config.head_dim = reader.optional("attention.key_length", config.n_embd / config.n_head, 2, 4096);
  config.value_dim = reader.optional("attention.value_length", config.n_embd / config.n_head, 1, 4096);
  config.norm_eps = f32(reader.real("attention.layer_norm_rms_epsilon", -1, 0, 1));
  read_rope(reader, config);
  read_architecture(reader, config);
  FLYBALL_TRY(reader.status());
  constexpr Str refused[] = {"expert_count", "pooling_type"};
  for (Str key : refused) {
    const u64 value = reader.optional(key, 0, 0, ~u32(0));
    if (value != 0)
      return fail(Code::unsupported, reader.full(key), reader.offset(key))
             << "is " << value << "; mixtures of experts and encoders are not supported";
  }
  return config;
}

}  // namespace flyball::model
