// The AVX-VNNI table with its one instruction emulated: its own code on processors that have AVX2 alone.
#pragma once

#include "kernels/kernels.h"

extern const flyball::kernels::Table avx_vnni_emulated_table;
