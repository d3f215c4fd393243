// The tables of this build. Each instruction-set file exports its table and nothing else.
#pragma once

#include "kernels/kernels.h"

namespace flyball::kernels {

using Matmul = void(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride);
Matmul sse41_few_bits_matmul, avx2_few_bits_matmul, avx512_few_bits_matmul;  // parts of these tables

extern const Table amx_table;
extern const Table avx512_table;
extern const Table avx_vnni_table;
extern const Table avx2_table;
extern const Table sse41_table;
extern const Table swar_table;
extern const Table scalar_table;

Span<const Table* const> tables_for(u64 features);  // usable_tables() of a processor with these (kernels/cpu.h)

}  // namespace flyball::kernels
