// AMX int8 tiles beside AVX-512 with VNNI. Compiled with its own flags; exports amx_table and nothing else.
#include <immintrin.h>

#include "base/math.h"
#include "kernels/cpu.h"
#include "kernels/pack.h"
#include "kernels/tables.h"

// Each part builds on the ones before.
// clang-format off
#include "kernels/isa.inl"
#include "kernels/amx_config.inl"
#include "kernels/amx_tiles.inl"
#include "kernels/amx.inl"
// clang-format on

namespace flyball::kernels {

const Table amx_table = amx_table_as("amx", cpu_amx_int8);

}  // namespace flyball::kernels
