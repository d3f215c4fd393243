// The AMX table with emulated tiles: its own code but for the tile instructions, on processors that have AVX-512 alone.
#pragma once

#include "kernels/kernels.h"

extern const flyball::kernels::Table amx_emulated_table;

// Whether the calling thread's tiles hold anything that the system would have to save.
bool emulated_tiles_in_use();
