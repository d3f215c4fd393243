// Errors are values: code, place, detail. Only the binding turns them into exceptions.
#pragma once

#include "base/text.h"

namespace flyball {

enum class Code : u8 {
  ok,
  invalid_argument,  // the caller's mistake
  not_found,
  io,           // the platform could not read, write or map
  corrupt,      // a file contradicts itself or its size
  unsupported,  // well formed, but not something Flyball runs
  out_of_memory,
  context_full,
  interrupted,  // Ctrl-C, a deadline or a stop request
  non_finite,   // the model computed NaN or infinity
  mismatch,     // a verification found a difference
  internal,
};

Str code_name(Code code);

struct Error {
  static constexpr u64 no_offset = ~u64(0);

  Code code = Code::ok;
  u64 offset = no_offset;  // byte offset in the file, where there is one
  Text<160> where;         // file, field, tensor or argument
  Text<512> what;          // what is wrong, and what to do

  void describe(Writer& out) const;  // "corrupt: tensor 'x' at byte 123: ..."
};

// Builds an Error in one expression: fail(Code::corrupt, "general.alignment", offset) << "is " << 7 << ", ...".
class ErrorBuilder {
 public:
  ErrorBuilder(Code code, Str where, u64 offset);
  ErrorBuilder& operator<<(Str s);
  ErrorBuilder& operator<<(const char* s) { return *this << Str(s); }
  ErrorBuilder& operator<<(u64 value);
  ErrorBuilder& operator<<(i64 value);
  ErrorBuilder& operator<<(u32 value) { return *this << u64(value); }
  ErrorBuilder& operator<<(i32 value) { return *this << i64(value); }
  ErrorBuilder& operator<<(f64 value);
  operator Error() const { return error_; }  // NOLINT

 private:
  Error error_;
};

inline ErrorBuilder fail(Code code, Str where, u64 offset = Error::no_offset) { return {code, where, offset}; }

template <class T>
class [[nodiscard]] Result {  // T is default-constructible; reading value() of a failed Result is our own bug
 public:
  Result(T value) : value_(static_cast<T&&>(value)) {}  // NOLINT: a value is a result
  Result(const Error& error) : error_(error) {}         // NOLINT: an error is a result
  Result(const ErrorBuilder& error) : error_(error) {}  // NOLINT
  bool ok() const { return error_.code == Code::ok; }
  explicit operator bool() const { return ok(); }
  T& value() { return value_; }
  const T& value() const { return value_; }
  const Error& error() const { return error_; }

 private:
  T value_{};
  Error error_;
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(const Error& error) : error_(error) {}         // NOLINT
  Status(const ErrorBuilder& error) : error_(error) {}  // NOLINT
  bool ok() const { return error_.code == Code::ok; }
  explicit operator bool() const { return ok(); }
  const Error& error() const { return error_; }

 private:
  Error error_;
};

}  // namespace flyball

// FLYBALL_TRY(expr): return the error of a failed Status. FLYBALL_ASSIGN(target, expr): the same for a Result.
#define FLYBALL_TRY(expr)                                             \
  do {                                                                \
    if (auto status_ = (expr); !status_.ok()) return status_.error(); \
  } while (0)
#define FLYBALL_ASSIGN(target, expr)           \
  do {                                         \
    auto result_ = (expr);                     \
    if (!result_.ok()) return result_.error(); \
    target = result_.value();                  \
  } while (0)
