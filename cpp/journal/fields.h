// Members of an event's data, read with their ranges.
#pragma once

#include "base/json.h"

namespace flyball::journal {

constexpr u64 most_number = u64(1) << 53;  // exact in other readers of JSON, too
constexpr u64 most_u32 = ~u32(0);

template <class T>
Status take(const Json& object, Str name, u64 most, T* out) {
  Json value;
  u64 number = 0;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(number, value.as_u64(name, 0, most));
  *out = T(number);
  return {};
}

inline Status take(const Json& object, Str name, bool* out) {
  Json value;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(*out, value.as_bool(name));
  return {};
}

inline Status take(const Json& object, Str name, f32* out) {
  Json value;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(*out, value.as_f32(name));
  return {};
}

}  // namespace flyball::journal
