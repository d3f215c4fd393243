// The counter-based generator behind every draw: no state, so a draw depends on nothing but its name.
#pragma once

#include "base/types.h"

namespace flyball::runtime {

struct Philox4x32 {
  u32 word[4];
};

// Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
Philox4x32 philox4x32_10(Philox4x32 counter, u32 key0, u32 key1);

}  // namespace flyball::runtime
