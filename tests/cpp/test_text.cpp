#include "base/text.h"

#include <cstdio>
#include <cstdlib>
#include <limits>
#include <random>
#include <string>

#include "base/result.h"
#include "test.h"

using namespace flyball;

namespace {

template <class Put>
std::string written(Put put) {
  char buffer[1024];
  Writer out(buffer, sizeof(buffer));
  put(out);
  return {out.text().data, out.text().size};
}

std::string fixed(f64 value, u32 decimals) {
  return written([&](Writer& out) { out.put_fixed(value, decimals); });
}

std::string json(Str s) {
  return written([&](Writer& out) { out.put_json_string(s); });
}

f64 parsed(Str s) {
  f64 value = -12345;
  return parse_f64(s, &value) ? value : std::numeric_limits<f64>::quiet_NaN();
}

bool refused(Str s) {
  f64 value;
  return !parse_f64(s, &value);
}

}  // namespace

TEST(writer_truncates_and_remembers) {
  char buffer[4];
  Writer out(buffer, sizeof(buffer));
  CHECK(!out.put("abc").truncated());
  CHECK(out.put("de").truncated());
  CHECK_EQ(out.text(), Str("abcd"));
  out.clear();
  CHECK(!out.truncated());
  CHECK(out.text().empty());
  CHECK(Writer(nullptr, 0).put('x').truncated());
}

TEST(integers) {
  CHECK_EQ(written([](Writer& out) { out.put_u64(0); }), "0");
  CHECK_EQ(written([](Writer& out) { out.put_u64(~u64(0)); }), "18446744073709551615");
  CHECK_EQ(written([](Writer& out) { out.put_i64(-1); }), "-1");
  CHECK_EQ(written([](Writer& out) { out.put_i64(std::numeric_limits<i64>::min()); }), "-9223372036854775808");
  CHECK_EQ(written([](Writer& out) { out.put_hex(0); }), "0");
  CHECK_EQ(written([](Writer& out) { out.put_hex(0xab, 4); }), "00ab");
  CHECK_EQ(written([](Writer& out) { out.put_hex(~u64(0), 2); }), "ffffffffffffffff");
}

TEST(fixed_rounds_half_away_from_zero) {
  CHECK_EQ(fixed(0.5, 0), "1");
  CHECK_EQ(fixed(2.5, 0), "3");
  CHECK_EQ(fixed(-2.5, 0), "-3");
  CHECK_EQ(fixed(0.125, 2), "0.13");
  CHECK_EQ(fixed(1.005, 2), "1.00");  // the double lies below 1.005
  CHECK_EQ(fixed(9.999, 2), "10.00");
  CHECK_EQ(fixed(999.5, 0), "1000");
  CHECK_EQ(fixed(-0.0, 1), "0.0");
  CHECK_EQ(fixed(-0.001, 2), "0.00");
  CHECK_EQ(fixed(0.1, 20), "0.10000000000000000555");
  CHECK_EQ(fixed(5e-324, 3), "0.000");
  CHECK_EQ(fixed(1e22, 0), "10000000000000000000000");
  CHECK_EQ(fixed(std::numeric_limits<f64>::max(), 1).size(), 311);
  CHECK_EQ(fixed(std::numeric_limits<f64>::infinity(), 1), "inf");
  CHECK_EQ(fixed(-std::numeric_limits<f64>::infinity(), 1), "-inf");
  CHECK_EQ(fixed(std::numeric_limits<f64>::quiet_NaN(), 1), "nan");
}

// The C library rounds exact ties to even. Below 2^39 an odd mantissa has at least 14 binary places: no tie at 11
// decimals.
TEST(fixed_agrees_with_the_c_library) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const f64 value = bit_cast<f64>((random() & 0x800fffffffffffffu) | (u64(1023 - 60 + random() % 99) << 52) | 1);
    const u32 decimals = u32(random() % 12);
    char expected[512];
    const int size = std::snprintf(expected, sizeof(expected), "%.*f", int(decimals), value);
    std::string text(expected, size_t(size));
    if (text.find_first_of("123456789") == std::string::npos && text[0] == '-') text.erase(0, 1);
    CHECK_EQ(fixed(value, decimals), text);
  }
}

TEST(printable) {
  CHECK_EQ(written([](Writer& out) { out.put_printable(Str("a\0b\xff\n~", 6)); }), "a\\x00b\\xff\\x0a~");
  CHECK_EQ(written([](Writer& out) { out.put_printable("abcdef", 3); }), "abc...");
  CHECK_EQ(written([](Writer& out) { out.put_printable("abc", 3); }), "abc");
}

TEST(safe_text_keeps_utf8_and_disarms_terminals) {
  const auto safe = [](Str s) { return written([&](Writer& out) { out.put_safe(s); }); };
  CHECK_EQ(safe("gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\x88"), "gr\xc3\xbc\xc3\x9f \xf0\x9f\x8e\x88");
  CHECK_EQ(safe("\x1b[2J\x7f\n"), "\\x1b[2J\\x7f\\x0a");
  CHECK_EQ(safe("\xc2\x9b"
                "31m"),
           "\\xc2\\x9b"
           "31m");  // the control sequence introducer as one character
  CHECK_EQ(safe("\xff\xc3"), "\\xff\\xc3");
  char buffer[3];
  Writer out(buffer, sizeof(buffer));
  CHECK(out.put_safe("ab\xc3\xbc").truncated());
  CHECK_EQ(out.text(), Str("ab"));
}

TEST(json_strings) {
  CHECK_EQ(json(""), "\"\"");
  CHECK_EQ(json("a\"b\\c/"), "\"a\\\"b\\\\c/\"");
  CHECK_EQ(json("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
  CHECK_EQ(json(Str("\0\x1f\x7f", 3)), "\"\\u0000\\u001f\x7f\"");
  CHECK_EQ(json("\xc3\xbc\xe2\x82\xac\xf0\x9f\x8e\x88"), "\"\xc3\xbc\xe2\x82\xac\xf0\x9f\x8e\x88\"");
}

// One U+FFFD for each maximal ill-formed part, as Python's errors="replace" has it.
TEST(json_strings_replace_invalid_utf8) {
  const std::string r = "\xef\xbf\xbd";
  CHECK_EQ(json("\xff"), "\"" + r + "\"");
  CHECK_EQ(json("a\x80z"), "\"a" + r + "z\"");
  CHECK_EQ(json("\xc0\xaf"), "\"" + r + r + "\"");                  // overlong
  CHECK_EQ(json("\xe0\x80\x80"), "\"" + r + r + r + "\"");          // overlong
  CHECK_EQ(json("\xed\xa0\x80"), "\"" + r + r + r + "\"");          // surrogate
  CHECK_EQ(json("\xf4\x90\x80\x80"), "\"" + r + r + r + r + "\"");  // above U+10FFFF
  CHECK_EQ(json("\xe2\x82z"), "\"" + r + "z\"");                    // cut off inside
  CHECK_EQ(json("\xf0\x9f\x8e"), "\"" + r + "\"");                  // cut off at the end
}

TEST(parse_integers_strictly) {
  u64 u = 7;
  CHECK(parse_u64("0", &u));
  CHECK_EQ(u, 0);
  CHECK(parse_u64("18446744073709551615", &u));
  CHECK_EQ(u, ~u64(0));
  for (Str bad :
       {Str(""), Str("-1"), Str("+1"), Str(" 1"), Str("1 "), Str("18446744073709551616"), Str("0x1"), Str("1e3")})
    CHECK(!parse_u64(bad, &u));
  i64 i = 7;
  CHECK(parse_i64("-9223372036854775808", &i));
  CHECK_EQ(i, std::numeric_limits<i64>::min());
  CHECK(parse_i64("9223372036854775807", &i));
  for (Str bad : {Str("-"), Str("--1"), Str("9223372036854775808"), Str("-9223372036854775809")})
    CHECK(!parse_i64(bad, &i));
}

TEST(parse_floats) {
  CHECK_EQ(parsed("0"), 0.0);
  CHECK_EQ(bit_cast<u64>(parsed("-0")), u64(1) << 63);
  CHECK_EQ(parsed("0.1"), 0.1);
  CHECK_EQ(parsed("-123.456"), -123.456);
  CHECK_EQ(parsed("1e22"), 1e22);
  CHECK_EQ(parsed("1E+5"), 1e5);
  CHECK_EQ(parsed("9007199254740993"), 9007199254740992.0);  // a tie: to even
  CHECK_EQ(parsed("5e-324"), 5e-324);
  CHECK_EQ(parsed("2e-324"), 0.0);
  CHECK_EQ(parsed("2.2250738585072011e-308"), 2.2250738585072011e-308);  // the largest subnormal
  CHECK_EQ(parsed("1.7976931348623157e308"), std::numeric_limits<f64>::max());
  CHECK_EQ(parsed("0e999999"), 0.0);
  CHECK_EQ(parsed("1e-999999999999999999999"), 0.0);
  CHECK_EQ(parsed("0.0000000000000000000000000000000000000001e40"), 1.0);
  for (Str bad :
       {Str(""), Str("-"), Str("+1"), Str("."), Str("1."), Str(".5"), Str("1e"), Str("1e+"), Str("nan"), Str("inf"),
        Str("1 "), Str("0x1p3"), Str("1e309"), Str("1.8e308"), Str("1e999999999999999999999"), Str("1.2.3")})
    CHECK(refused(bad));
}

TEST(parse_floats_agrees_with_the_c_library) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 20000; ++i) {
    char text[64];
    int size;
    if (i % 2) {
      size = std::snprintf(text, sizeof(text), "%llue%d",
                           static_cast<unsigned long long>(random() % 1000000000000000000u), int(random() % 640) - 345);
    } else {
      const f64 any = bit_cast<f64>(random());
      if (any - any != 0) continue;
      size = std::snprintf(text, sizeof(text), "%.16e", any);
    }
    const f64 expected = std::strtod(text, nullptr);
    if (expected - expected != 0)
      CHECK(refused(Str(text, u64(size))));
    else
      CHECK_EQ(bit_cast<u64>(parsed(Str(text, u64(size)))), bit_cast<u64>(expected));
  }
}

TEST(utf8_prefix_ends_at_a_character) {
  const Str text = "a\xc3\xbc\xe2\x82\xac\xf0\x9f\x8e\x88";
  const u64 expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10};
  for (u64 n = 0; n <= text.size; ++n) CHECK_EQ(utf8_complete_prefix(text.substr(0, n)), expected[n]);
  CHECK_EQ(utf8_complete_prefix("\x80\x80\x80\x80"), 4);  // nothing to wait for
  CHECK_EQ(utf8_complete_prefix("\xe0\x80"), 2);          // can never become a character
  CHECK_EQ(utf8_complete_prefix("\xed\xa0"), 2);
  CHECK_EQ(utf8_complete_prefix("\xf4\x90"), 2);
  CHECK_EQ(utf8_complete_prefix("\xf5"), 1);
  CHECK_EQ(utf8_complete_prefix("\xf0\x9f\x8e\xc3"), 3);  // the broken one counts, the new one waits
}

TEST(errors_say_what_and_where) {
  const Error error = fail(Code::corrupt, "n_kv", 16)
                      << "says " << ~u64(0) << ", not " << -3 << " or " << 0.25 << " \x1b";
  const auto text = written([&](Writer& out) { error.describe(out); });
  CHECK_EQ(text, "corrupt: n_kv at byte 16: says 18446744073709551615, not -3 or 0.25 \\x1b");
  const auto bare = written([&](Writer& out) { Error(fail(Code::io, "")).describe(out); });
  CHECK_EQ(bare, "input/output");
  ErrorBuilder long_error = fail(Code::internal, "x");
  for (int i = 0; i < 1000; ++i) long_error << "\xc3\xbc";
  CHECK_EQ(Error(long_error).what.size, 512);
}
