// Fixed-width types and the few language helpers that the freestanding core uses instead of the standard library.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace flyball {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i8 = int8_t;
using i16 = int16_t;
using i32 = int32_t;
using i64 = int64_t;
using f32 = float;
using f64 = double;

static_assert(sizeof(f32) == 4 && sizeof(f64) == 8 && sizeof(void*) == 8);

template <class T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}

constexpr u64 round_up(u64 value, u64 multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr u64 divide_up(u64 value, u64 divisor) { return (value + divisor - 1) / divisor; }

template <class To, class From>
constexpr To bit_cast(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  return __builtin_bit_cast(To, from);
}

// Checked 64-bit arithmetic: false means the product or sum does not fit. Every size read from a file goes through
// these.
[[nodiscard]] constexpr bool checked_mul(u64 a, u64 b, u64* out) { return !__builtin_mul_overflow(a, b, out); }
[[nodiscard]] constexpr bool checked_add(u64 a, u64 b, u64* out) { return !__builtin_add_overflow(a, b, out); }

}  // namespace flyball

// The only library functions that the core may call; every target supplies them.
extern "C" {
void* memcpy(void* to, const void* from, size_t n) noexcept;
void* memmove(void* to, const void* from, size_t n) noexcept;
void* memset(void* to, int value, size_t n) noexcept;
int memcmp(const void* a, const void* b, size_t n) noexcept;
}

// A freestanding compiler takes them for functions like any other, and calls one to load a register.
#if !__STDC_HOSTED__
#define memcpy __builtin_memcpy
#define memmove __builtin_memmove
#define memset __builtin_memset
#define memcmp __builtin_memcmp
#endif
