// Tensor element types that Flyball reads, with the sizes of their blocks. Values are GGUF's own type numbers.
#pragma once

#include "base/span.h"

namespace flyball::gguf {

// TYPE(id, name as people write it, number in GGUF, values of a block along a row, bytes of a block)
#define FLYBALL_TYPES(TYPE)             \
  TYPE(f32, "F32", 0, 1, 4)             \
  TYPE(f16, "F16", 1, 1, 2)             \
  TYPE(bf16, "BF16", 30, 1, 2)          \
  TYPE(q4_0, "Q4_0", 2, 32, 18)         \
  TYPE(q4_1, "Q4_1", 3, 32, 20)         \
  TYPE(q5_0, "Q5_0", 6, 32, 22)         \
  TYPE(q5_1, "Q5_1", 7, 32, 24)         \
  TYPE(q8_0, "Q8_0", 8, 32, 34)         \
  TYPE(q2_k, "Q2_K", 10, 256, 84)       \
  TYPE(q3_k, "Q3_K", 11, 256, 110)      \
  TYPE(q4_k, "Q4_K", 12, 256, 144)      \
  TYPE(q5_k, "Q5_K", 13, 256, 176)      \
  TYPE(q6_k, "Q6_K", 14, 256, 210)      \
  TYPE(iq2_xxs, "IQ2_XXS", 16, 256, 66) \
  TYPE(iq2_xs, "IQ2_XS", 17, 256, 74)   \
  TYPE(iq3_xxs, "IQ3_XXS", 18, 256, 98) \
  TYPE(iq1_s, "IQ1_S", 19, 256, 50)     \
  TYPE(iq4_nl, "IQ4_NL", 20, 32, 18)    \
  TYPE(iq3_s, "IQ3_S", 21, 256, 110)    \
  TYPE(iq2_s, "IQ2_S", 22, 256, 82)     \
  TYPE(iq4_xs, "IQ4_XS", 23, 256, 136)  \
  TYPE(iq1_m, "IQ1_M", 29, 256, 56)     \
  TYPE(tq1_0, "TQ1_0", 34, 256, 54)     \
  TYPE(tq2_0, "TQ2_0", 35, 256, 66)     \
  TYPE(mxfp4, "MXFP4", 39, 32, 17)      \
  TYPE(nvfp4, "NVFP4", 40, 64, 36)      \
  TYPE(q1_0, "Q1_0", 41, 128, 18)       \
  TYPE(q2_0, "Q2_0", 42, 64, 18)

enum class Type : u32 {
#define FLYBALL_TYPE(id, name, number, block_values, block_bytes) id = number,
  FLYBALL_TYPES(FLYBALL_TYPE)
#undef FLYBALL_TYPE
};

struct TypeInfo {
  Type type;
  Str name;
  u32 block_values;
  u32 block_bytes;
};

const TypeInfo* type_info(u32 type);  // null: not a type that Flyball reads
Str type_name(u32 type);              // also of known types that are not supported; "unknown" otherwise
Span<const TypeInfo> supported_types();

}  // namespace flyball::gguf
