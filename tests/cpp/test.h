// A test framework of one header: TEST(name) { CHECK(expr); CHECK_EQ(a, b); REQUIRE(expr); }.
// CHECK goes on after a failure, REQUIRE ends the test (in the test's own thread only: it throws).
// `flyball-tests [--list] [filter...]` runs the tests whose "file.name" contains one of the filters; "=file.name" is exact.
#pragma once

#include <atomic>
#include <sstream>
#include <string>
#include <type_traits>

#include "base/span.h"

namespace test {

struct Case {
  Case(const char* file, const char* test_name, void (*function)());
  const char* file;
  const char* name;
  void (*run)();
  Case* next;
};

struct Abort {};  // thrown by REQUIRE

void failed(const char* file, int line, const std::string& message);
void passed();

// A note that is printed with the test's result whether it passes or not: which kernel table ran, measured figures.
void note(const std::string& text);

template <class T>
std::string show(const T& value) {
  if constexpr (std::is_same_v<T, bool>) {
    return value ? "true" : "false";
  } else if constexpr (std::is_enum_v<T>) {
    return std::to_string(static_cast<long long>(value));
  } else if constexpr (sizeof(T) == 1 && std::is_integral_v<T>) {
    return std::to_string(static_cast<int>(value));
  } else if constexpr (std::is_same_v<T, flyball::Str>) {
    return "\"" + std::string(value.data, value.size) + "\"";
  } else if constexpr (std::is_floating_point_v<T>) {
    std::ostringstream out;
    out.precision(std::is_same_v<T, float> ? 9 : 17);
    out << value;
    return out.str();
  } else if constexpr (requires(std::ostringstream& out) { out << value; }) {
    std::ostringstream out;
    out << value;
    return out.str();
  } else {
    return "(" + std::to_string(sizeof(T)) + " bytes)";
  }
}

// Integers of different signedness compare by value, so CHECK_EQ(span.size, 3) needs no cast and warns of nothing.
template <class A, class B>
bool equal(const A& a, const B& b) {
  if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && std::is_signed_v<A> != std::is_signed_v<B>) {
    if constexpr (std::is_signed_v<A>) {
      return a >= 0 && static_cast<unsigned long long>(a) == b;
    } else {
      return b >= 0 && a == static_cast<unsigned long long>(b);
    }
  } else {
    return a == b;
  }
}

template <class A, class B>
bool check_equal(const A& a, const B& b, const char* file, int line, const char* text_a, const char* text_b) {
  if (equal(a, b)) {
    passed();
    return true;
  }
  failed(file, line, std::string(text_a) + " == " + text_b + "\n      left:  " + show(a) + "\n      right: " + show(b));
  return false;
}

inline bool check(bool holds, const char* file, int line, const char* text) {
  holds ? passed() : failed(file, line, text);
  return holds;
}

}  // namespace test

#define TEST(test_name)                                                             \
  static void test_name##_test();                                                   \
  static const test::Case test_name##_case(__FILE__, #test_name, test_name##_test); \
  static void test_name##_test()

#define CHECK(...) test::check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__)
#define CHECK_EQ(a, b) test::check_equal((a), (b), __FILE__, __LINE__, #a, #b)
#define REQUIRE(...) \
  (test::check(static_cast<bool>(__VA_ARGS__), __FILE__, __LINE__, #__VA_ARGS__) ? void() : throw test::Abort())
#define REQUIRE_EQ(a, b) (test::check_equal((a), (b), __FILE__, __LINE__, #a, #b) ? void() : throw test::Abort())
