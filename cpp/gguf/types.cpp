#include "gguf/types.h"

namespace flyball::gguf {
namespace {

constexpr TypeInfo supported[] = {
    {Type::f32, "F32", 1, 4},       {Type::f16, "F16", 1, 2},         {Type::bf16, "BF16", 1, 2},
    {Type::q4_0, "Q4_0", 32, 18},   {Type::q4_1, "Q4_1", 32, 20},     {Type::q5_0, "Q5_0", 32, 22},
    {Type::q5_1, "Q5_1", 32, 24},   {Type::q8_0, "Q8_0", 32, 34},     {Type::q2_k, "Q2_K", 256, 84},
    {Type::q3_k, "Q3_K", 256, 110}, {Type::q4_k, "Q4_K", 256, 144},   {Type::q5_k, "Q5_K", 256, 176},
    {Type::q6_k, "Q6_K", 256, 210}, {Type::iq4_nl, "IQ4_NL", 32, 18}, {Type::iq4_xs, "IQ4_XS", 256, 136},
};

// All numbers that were ever given out; the ones in brackets were withdrawn from the format.
constexpr Str names[] = {
    "F32",
    "F16",
    "Q4_0",
    "Q4_1",
    "Q4_2 (removed)",
    "Q4_3 (removed)",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q8_1",
    "Q2_K",
    "Q3_K",
    "Q4_K",
    "Q5_K",
    "Q6_K",
    "Q8_K",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ3_XXS",
    "IQ1_S",
    "IQ4_NL",
    "IQ3_S",
    "IQ2_S",
    "IQ4_XS",
    "I8",
    "I16",
    "I32",
    "I64",
    "F64",
    "IQ1_M",
    "BF16",
    "Q4_0_4_4 (removed)",
    "Q4_0_4_8 (removed)",
    "Q4_0_8_8 (removed)",
    "TQ1_0",
    "TQ2_0",
    "IQ4_NL_4_4 (removed)",
    "IQ4_NL_4_8 (removed)",
    "IQ4_NL_8_8 (removed)",
    "MXFP4",
    "NVFP4",
    "Q1_0",
    "Q2_0",
};

}  // namespace

const TypeInfo* type_info(u32 type) {
  for (const TypeInfo& info : supported)
    if (u32(info.type) == type) return &info;
  return nullptr;
}

Str type_name(u32 type) { return type < sizeof(names) / sizeof(names[0]) ? names[type] : Str("unknown"); }

Span<const TypeInfo> supported_types() { return supported; }

}  // namespace flyball::gguf
