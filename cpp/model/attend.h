// Attention of one layer for a whole batch: cut into tiles of tokens that share keys and values, and divided over
// threads.
#pragma once

#include "model/forward.h"

namespace flyball::model {

// False: no memory.
bool allocate_attention(Arena& arena, const Config& config, u32 max_tokens, AttentionScratch& scratch);

// scratch.query -> scratch.attended for every token of the batch, whose own keys and values are in the cache already.
// sinks: (n_head) or null.
void attend(const Engine& engine, const Config& config, u32 layer, const f32* sinks, Span<const BatchToken> batch,
            Scratch& scratch);

}  // namespace flyball::model
