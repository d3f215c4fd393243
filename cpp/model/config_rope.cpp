// How positions turn queries and keys.
#include "base/math.h"
#include "model/config_parts.h"

namespace flyball::model {

// Peng et al. 2023 (YaRN), eq. 22: attention is sharpened by scaling queries and keys alike.
f64 yarn_magnitude(f64 factor, f64 multiplier) { return factor > 1 ? 1 + 0.1 * multiplier * log64(factor) : 1; }

namespace {

void read_rope_bases(Reader& reader, Config& config, bool from_ollama) {
  const bool gemma3 = config.architecture == Architecture::gemma3;
  const bool own_sliding =
      gemma3 || config.architecture == Architecture::gemma3n || config.architecture == Architecture::gemma4;
  f64 base = from_ollama ? 1e6 : 10000, sliding = 10000;
  if (gemma3) base = reader.real("rope.global.freq_base", base, 2, 1e15);
  if (gemma3) sliding = reader.real("rope.local.freq_base", sliding, 2, 1e15);
  config.rope_base = reader.real("rope.freq_base", base, 2, 1e15);
  config.rope_base_sliding = reader.real("rope.freq_base_swa", own_sliding ? sliding : config.rope_base, 2, 1e15);
}

void read_yarn(Reader& reader, Config& config) {
  config.rope_scaling = RopeScaling::yarn;
  constexpr Str what = "this form of YaRN";
  const bool mistral3 = config.architecture == Architecture::mistral3;
  const bool deepseek2 = config.architecture == Architecture::deepseek2;
  if (mistral3) {
    config.yarn_beta_fast = reader.real("rope.scaling.yarn_beta_fast", 32, 1e-3, 1e6);
    config.yarn_beta_slow = reader.real("rope.scaling.yarn_beta_slow", 1, 1e-3, 1e6);
  } else {
    reader.demand("rope.scaling.yarn_beta_fast", 32, what);
    reader.demand("rope.scaling.yarn_beta_slow", 1, what);
  }
  constexpr Str key = "rope.scaling.yarn_log_multiplier";
  f64 multiplier = 0;
  if (mistral3 || deepseek2)
    multiplier = reader.real(key, 0, 0, 1e3);
  else
    reader.demand(key, 0, what);
  if (!deepseek2 || multiplier == 0)  // where deepseek2's scores grow instead, in read_latent_scales()
    config.rope_magnitude *= yarn_magnitude(config.rope_factor, 1) / yarn_magnitude(config.rope_factor, multiplier);
  reader.demand("rope.scaling.beta_fast", 32, what);  // Ollama's names
  reader.demand("rope.scaling.beta_slow", 1, what);
  reader.demand("rope.scaling.yarn_attn_factor", 1, what);
  reader.demand("rope.scaling.extrapolation_factor", 1, what);
  if (reader.real("rope.scaling.yarn_ext_factor", -1, -1e6, 1e6) >= 0)  // negative: not set
    reader.demand("rope.scaling.yarn_ext_factor", 1, what);
}

}  // namespace

void read_rope(Reader& reader, Config& config, bool from_ollama) {
  config.n_rot = config.n_rot_sliding = reader.rotated("rope.dimension_count", config.widest.head_dim);
  read_rope_bases(reader, config, from_ollama);
  config.rope_original_context =
      reader.optional("rope.scaling.original_context_length", config.n_ctx_train, 1, u64(1) << 31);
  config.rope_magnitude = reader.real("rope.scaling.attn_factor", 1, 1e-3, 1e3);
  const Str type = reader.text("rope.scaling.type");
  f64 factor = reader.real("rope.scale_linear", 0, 0, 1e6);     // files from before rope.scaling.*
  if (from_ollama && config.n_ctx_train >= 131072) factor = 8;  // as the models of 4B and more are published
  factor = reader.real("rope.scaling.factor", factor, 0, 1e6);
  if (factor == 0) factor = 1;  // not set
  if (factor < 0.01) {
    reader.keep(fail(Code::corrupt, reader.full("rope.scaling.factor"), reader.offset("rope.scaling.factor"))
                << "is " << factor << ", expected 0.01 to 1e6");
  }
  config.rope_factor = factor;
  config.rope_magnitude_sliding = config.rope_magnitude;
  if (type == "none" || type == "longrope") {
    config.rope_factor = 1;  // longrope: its factors are tensors
    config.long_rope = type == "longrope";
  } else if (type == "" || type == "linear") {
    config.rope_scaling = config.rope_factor == 1 ? RopeScaling::none : RopeScaling::linear;
  } else if (type == "yarn") {
    read_yarn(reader, config);
  } else {
    reader.keep(fail(Code::unsupported, reader.full("rope.scaling.type"), reader.offset("rope.scaling.type"))
                << "is '" << type << "'; supported: none, linear, yarn, longrope");
  }
  if (!config.plain_local_rope) config.rope_magnitude_sliding = config.rope_magnitude;
}

void read_one_base(Reader& reader, Config& config, u32 window) {
  read_sliding(reader, config, reader.optional("attention.sliding_window", window, 0, u64(1) << 31), 4);
  config.rope_base_sliding = config.rope_base;
}

void read_alpha(Reader& reader, Config& config) {
  const f64 alpha = reader.real("rope.scaling.alpha", 0, 0, 1e6);
  const f64 n = config.widest.head_dim;
  if (alpha != 0 && n > 2) config.rope_base *= pow64(alpha, n / (n - 2));
}

}  // namespace flyball::model
