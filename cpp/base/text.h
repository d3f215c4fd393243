// Text without a C library: a bounded writer that truncates and remembers it, and number formatting with defined
// digits.
#pragma once

#include "base/span.h"

namespace flyball {

class Writer {
 public:
  Writer(char* buffer, u64 capacity) : data_(buffer), capacity_(capacity) {}

  Writer& put(char c);
  Writer& put(Str s);
  Writer& put_u64(u64 value);
  Writer& put_i64(i64 value);
  Writer& put_hex(u64 value, u32 digits = 0);    // lower case, padded with zeros to `digits`
  Writer& put_fixed(f64 value, u32 decimals);    // rounded half away from zero; "nan", "inf", "-inf"
  Writer& put_printable(Str s, u64 limit = 64);  // bytes outside 0x20..0x7e as \xNN; longer text ends in "..."
  Writer& put_safe(Str s);                       // UTF-8 kept; control and invalid bytes as \xNN, so terminals are safe
  Writer& put_json_string(Str s);                // quoted; invalid UTF-8 bytes become U+FFFD

  Str text() const { return {data_, size_}; }
  bool truncated() const { return truncated_; }
  void clear() { size_ = 0, truncated_ = false; }

 private:
  char* data_;
  u64 capacity_;
  u64 size_ = 0;
  bool truncated_ = false;
};

template <u64 N>
struct Text {  // a Writer that owns its bytes
  char data[N] = {};
  u32 size = 0;
  Str str() const { return {data, size}; }
  void assign(Str s) {
    size = u32(min(s.size, N));
    memcpy(data, s.data, size);
  }
};

// Strict parsers: the whole of `s` or nothing.
[[nodiscard]] bool parse_u64(Str s, u64* out);
[[nodiscard]] bool parse_i64(Str s, i64* out);
[[nodiscard]] bool parse_f64(Str s,
                             f64* out);  // [-]digits[.digits][e[+-]digits], finite; correctly rounded up to 19 digits

// Length in bytes of the longest prefix of `s` that ends at a UTF-8 character boundary. Invalid bytes count as
// characters.
u64 utf8_complete_prefix(Str s);

// Of a path with either separator: its directory with the last separator, empty if it names none; and the rest.
Str directory_of(Str path);
Str file_name(Str path);

}  // namespace flyball
