// Which experts a token takes, and with what weights.
#pragma once

#include "kernels/kernels.h"
#include "model/config.h"

namespace flyball::model {

// logits: (n_expert), of the router, overwritten. bias: (n_expert) or null, in the choice alone. chosen, weights:
// (n_expert_used), the largest weight first and ties to the lower number.
void route(const kernels::Table& table, const Routing& routing, const LayerShape& shape, const f32* bias, f32* logits,
           u32* chosen, f32* weights);

}  // namespace flyball::model
