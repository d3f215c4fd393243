#include "model/rope.h"

#include "base/math.h"

namespace flyball::model {
namespace {

constexpr f64 two_pi = 6.283185307179586476925286766559;
constexpr f32 still_factor = 1e9f;  // from here on a pair does not turn: Gemma 4's files write 1e30

// YaRN (Peng et al. 2023, eq. 17-23): pairs that turn often within the original context keep their frequency, those
// that turn seldom are interpolated, a linear ramp lies between.
struct YarnRamp {
  f64 low = 0, high = 0;

  YarnRamp(const Config& config, u32 n_rot, f64 base) {
    const auto pair_that_turns = [&](f64 turns) {
      return n_rot * log64(config.rope_original_context / (turns * two_pi)) / (2 * log64(base));
    };
    low = max(0.0, floor(pair_that_turns(config.yarn_beta_fast)));
    high = min(n_rot - 1.0, -floor(-pair_that_turns(config.yarn_beta_slow)));
  }
  f64 keep(u32 pair) const {  // 1: keep the frequency, 0: interpolate
    const f64 along = (pair - low) / max(0.001, high - low);
    return 1 - min(1.0, max(0.0, along));
  }
  static f64 floor(f64 x) {
    const f64 truncated = f64(i64(x));
    return truncated > x ? truncated - 1 : truncated;
  }
};

void fill(const Config& config, const f32* factors, f64 base, bool scaled, Span<f64> out) {
  const f64 interpolation = scaled ? 1 / config.rope_factor : 1;
  const u32 n_rot = 2 * u32(out.size);
  const YarnRamp ramp(config, n_rot, base);
  for (u32 i = 0; i < out.size; ++i) {
    f64 frequency = 1 / pow64(base, 2.0 * i / n_rot);
    if (factors) frequency = factors[i] < still_factor ? frequency / factors[i] : 0;
    if (config.rope_scaling == RopeScaling::yarn && scaled) {
      const f64 keep = ramp.keep(i);
      frequency *= interpolation * (1 - keep) + keep;
    } else {
      frequency *= interpolation;
    }
    out[i] = frequency;
  }
}

}  // namespace

Result<Rope> make_rope(Arena& arena, const Config& config, const Weights& weights, u32 context) {
  Rope rope;
  const u32 n_pairs = config.n_rot / 2;
  rope.magnitude = config.rope_magnitude;
  rope.magnitude_sliding = config.rope_magnitude_sliding;
  const f32* factors = weights.rope_factors;
  if (weights.rope_factors_long) {
    factors = context > config.rope_original_context ? weights.rope_factors_long : weights.rope_factors_short;
  }
  if (factors) {
    for (u32 i = 0; i < n_pairs; ++i) {
      const f32 factor = factors[i];
      if (!(factor > 0.01f && factor < __builtin_inff())) {
        return fail(Code::corrupt, "rope factors")
               << "factor " << i << " is " << f64(factor) << ", expected a number above 0.01";
      }
    }
  }
  rope.frequencies = arena.allocate<f64>(n_pairs);
  if (rope.frequencies.empty()) return fail(Code::out_of_memory, "rope") << "no memory for the rotary frequencies";
  fill(config, factors, config.rope_base, true, rope.frequencies);
  rope.frequencies_sliding = rope.frequencies;
  if (config.sliding_window != 0 && (config.plain_local_rope || config.rope_base_sliding != config.rope_base)) {
    rope.frequencies_sliding = arena.allocate<f64>(config.n_rot_sliding / 2);
    if (rope.frequencies_sliding.empty())
      return fail(Code::out_of_memory, "rope") << "no memory for the rotary frequencies";
    const bool plain = config.plain_local_rope;
    fill(config, plain ? nullptr : factors, config.rope_base_sliding, !plain, rope.frequencies_sliding);
  }
  return rope;
}

f32 query_temperature(const Config& config, u32 position) {
  return f32(1 +
             config.temperature_scale * log64(1 + (position + config.temperature_offset) / config.temperature_length));
}

void rope_angles(Span<const f64> frequencies, f64 magnitude, u32 position, f32* cosines, f32* sines) {
  for (u32 i = 0; i < frequencies.size; ++i) {
    f64 sine = 0, cosine = 0;
    sincos64(position * frequencies[i], &sine, &cosine);
    cosines[i] = f32(cosine * magnitude);
    sines[i] = f32(sine * magnitude);
  }
}

}  // namespace flyball::model
