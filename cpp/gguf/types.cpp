#include "gguf/types.h"

namespace flyball::gguf {
namespace {

#define FLYBALL_TYPE(id, name, number, block_values, block_bytes) {Type::id, name, block_values, block_bytes},
constexpr TypeInfo supported[] = {FLYBALL_TYPES(FLYBALL_TYPE)};
#undef FLYBALL_TYPE

// GGUF's other type numbers; the format has withdrawn those in brackets.
constexpr struct {
  u32 number;
  Str name;
} unsupported[] = {
    {4, "Q4_2 (removed)"},
    {5, "Q4_3 (removed)"},
    {9, "Q8_1"},
    {15, "Q8_K"},
    {24, "I8"},
    {25, "I16"},
    {26, "I32"},
    {27, "I64"},
    {28, "F64"},
    {31, "Q4_0_4_4 (removed)"},
    {32, "Q4_0_4_8 (removed)"},
    {33, "Q4_0_8_8 (removed)"},
    {36, "IQ4_NL_4_4 (removed)"},
    {37, "IQ4_NL_4_8 (removed)"},
    {38, "IQ4_NL_8_8 (removed)"},
};

}  // namespace

const TypeInfo* type_info(u32 type) {
  for (const TypeInfo& info : supported)
    if (u32(info.type) == type) return &info;
  return nullptr;
}

Str type_name(u32 type) {
  if (const TypeInfo* info = type_info(type)) return info->name;
  for (const auto& other : unsupported)
    if (other.number == type) return other.name;
  return "unknown";
}

Span<const TypeInfo> supported_types() { return supported; }

}  // namespace flyball::gguf
