// Tensor element types that Flyball reads, with the sizes of their blocks. Values are GGUF's own type numbers.
#pragma once

#include "base/span.h"

namespace flyball::gguf {

enum class Type : u32 {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q2_k = 10,
  q3_k = 11,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  iq4_xs = 23,
  bf16 = 30,
};

struct TypeInfo {
  Type type;
  Str name;          // as people write it: "Q4_K"
  u32 block_values;  // values in a block along a row
  u32 block_bytes;
};

const TypeInfo* type_info(u32 type);  // null: not a type that Flyball reads
Str type_name(u32 type);              // also of known types that are not supported; "unknown" otherwise
Span<const TypeInfo> supported_types();

}  // namespace flyball::gguf
