// What read_config() reads of a file and has a file of its own.
#pragma once

#include "model/config.h"
#include "model/metadata.h"

namespace flyball::model {

// Layers whose positions are mixed by a gated delta net; every P-th, or those that the file says, have attention.
void read_delta_net(Reader& reader, Config& config);

}  // namespace flyball::model
