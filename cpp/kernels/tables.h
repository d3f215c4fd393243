// The tables of this build. Each instruction-set file exports its table and nothing else.
#pragma once

#include "kernels/kernels.h"

namespace flyball::kernels {

extern const Table amx_table;
extern const Table avx512_table;
extern const Table avx2_table;
extern const Table swar_table;
extern const Table scalar_table;

}  // namespace flyball::kernels
