// What the files of Gemma 4 say of their own: a shape for each kind of layer, caches that layers share, and mixtures
// beside a dense feed-forward.
#pragma once

#include "model/config.h"
#include "model/metadata.h"

namespace flyball::model {

// Into a description whose layers know their heads, whether they slide, and the feed-forward's width.
void read_gemma4(const gguf::File& file, Reader& reader, Config& config);

}  // namespace flyball::model
