// Borrowed ranges. A Span never owns; a Str is bytes with a length, not zero-terminated.
#pragma once

#include "base/types.h"

namespace flyball {

template <class T>
struct Span {
  T* data = nullptr;
  u64 size = 0;

  constexpr Span() = default;
  constexpr Span(T* first, u64 n) : data(first), size(n) {}
  template <u64 N>
  constexpr Span(T (&array)[N]) : data(array), size(N) {}            // NOLINT: an array is a span
  constexpr operator Span<const T>() const { return {data, size}; }  // NOLINT

  constexpr T& operator[](u64 i) const { return data[i]; }
  constexpr T* begin() const { return data; }
  constexpr T* end() const { return data + size; }
  constexpr bool empty() const { return size == 0; }
  constexpr Span subspan(u64 first, u64 n) const { return {data + first, n}; }
};

struct Str {
  const char* data = "";
  u64 size = 0;

  constexpr Str() = default;
  constexpr Str(const char* s, u64 n) : data(s), size(n) {}
  constexpr Str(const char* zero_terminated)  // NOLINT: literals are strings
      : data(zero_terminated), size(length(zero_terminated)) {}

  constexpr char operator[](u64 i) const { return data[i]; }
  constexpr const char* begin() const { return data; }
  constexpr const char* end() const { return data + size; }
  constexpr bool empty() const { return size == 0; }
  constexpr Str substr(u64 first, u64 n) const { return {data + first, n}; }
  constexpr Str from(u64 first) const { return {data + first, size - first}; }
  constexpr bool starts_with(Str prefix) const { return size >= prefix.size && Str(data, prefix.size) == prefix; }
  constexpr bool ends_with(Str suffix) const { return size >= suffix.size && from(size - suffix.size) == suffix; }
  // A literal's length is a constant. Other text is counted by a loop that no compiler turns into strlen, which would be a
  // library call that the core does not have.
  static constexpr u64 length(const char* s) {
    if (__builtin_is_constant_evaluated() || __builtin_constant_p(__builtin_strlen(s))) return __builtin_strlen(s);
    u64 n = 0;
    while (static_cast<const volatile char&>(s[n]) != 0) ++n;
    return n;
  }

  friend constexpr bool operator==(Str a, Str b) {
    return a.size == b.size && (a.size == 0 || __builtin_memcmp(a.data, b.data, a.size) == 0);
  }
};

// FNV-1a: for hash tables inside the core only, never for integrity.
constexpr u64 hash_bytes(Str s) {
  u64 h = 0xcbf29ce484222325u;
  for (u64 i = 0; i < s.size; ++i) h = (h ^ u8(s.data[i])) * 0x100000001b3u;
  return h;
}

}  // namespace flyball
