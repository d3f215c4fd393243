// What the files of Gemma 3n say of their own, and what they do not say.
#pragma once

#include "model/config.h"
#include "model/metadata.h"

namespace flyball::model {

// Into a description whose layers know their heads and the feed-forward's width.
void read_gemma3n(const gguf::File& file, Reader& reader, Config& config);

}  // namespace flyball::model
