// What the files of Gemma 4 say of their own: a shape for each kind of layer, caches that layers share, and mixtures
// beside a dense feed-forward.
#pragma once

#include "model/config.h"
#include "model/metadata.h"

namespace flyball::model {

constexpr Str shared_key = "attention.shared_kv_layers";

// The last `n` layers read what the last layer of their kind before them has stored.
void share_caches(Reader& reader, Config& config, u32 n);

// Into a description whose layers know their heads, whether they slide, and the feed-forward's width.
void read_gemma4(const gguf::File& file, Reader& reader, Config& config);

}  // namespace flyball::model
