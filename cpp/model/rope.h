// Rotary embedding: angles from a position. Frequencies are made once per session in double precision (its context
// length chooses phi3's factors); the cosines and sines of a batch are made once per batch and serve every layer and
// head.
#pragma once

#include "model/weights.h"

namespace flyball::model {

struct Rope {
  f64 magnitude = 1;
  f64 magnitude_sliding = 1;
  Span<f64> frequencies;          // (n_rot / 2) radians per position
  Span<f64> frequencies_sliding;  // (n_rot_sliding / 2), of sliding layers; the same memory where they do not differ
};

Result<Rope> make_rope(Arena& arena, const Config& config, const Weights& weights, u32 context);

// cosines, sines: one for each frequency
void rope_angles(Span<const f64> frequencies, f64 magnitude, u32 position, f32* cosines, f32* sines);

// A query's factor that grows with its position.
f32 query_temperature(const Config& config, u32 position);

}  // namespace flyball::model
