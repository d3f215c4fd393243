#include <cmath>
#include <cstdlib>
#include <random>
#include <string>

#include "test.h"

#include "base/json.h"

using namespace flyball;

namespace {

struct Memory : Platform {
  Memory() {
    allocate = [](void*, u64 bytes) -> void* {
      void* memory = std::aligned_alloc(64, round_up(bytes, 64));
      return memory != nullptr ? memset(memory, 0, bytes) : nullptr;
    };
    release = [](void*, void* memory, u64) { std::free(memory); };
  }
};

Str str(const std::string& text) { return {text.data(), text.size()}; }
std::string string(Str text) { return {text.data, text.size}; }

std::string written(f32 value) {
  char buffer[64];
  Writer out(buffer, sizeof buffer);
  JsonWriter(out).value(value);
  return string(out.text());
}

bool accepts(const std::string& text) { return Json::parse(str(text)).ok(); }

u64 error_offset(const std::string& text) {
  const auto parsed = Json::parse(str(text));
  return parsed.ok() ? ~u64(0) : parsed.error().offset;
}

}  // namespace

TEST(writer_places_commas_and_escapes) {
  char buffer[400];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  json.begin_object().field("a", u64(1)).field("b", "x\"\n\x01").key("c").begin_array();
  json.value(true).null().value(i64(-5)).begin_object().end_object().begin_array().end_array().fixed(1.25, 1);
  json.end_array().key("d").fixed(NAN, 1).key("e").hex(1, 0xabc).end_object();
  CHECK_EQ(string(out.text()),
           "{\"a\":1,\"b\":\"x\\\"\\n\\u0001\",\"c\":[true,null,-5,{},[],1.3],\"d\":null,"
           "\"e\":\"00000000000000010000000000000abc\"}");
  CHECK(accepts(string(out.text())));
}

TEST(floats_are_written_short) {
  CHECK_EQ(written(0.8f), "0.8");
  CHECK_EQ(written(0), "0");
  CHECK_EQ(written(-0.0f), "-0");
  CHECK_EQ(written(1), "1");
  CHECK_EQ(written(100), "100");
  CHECK_EQ(written(16777216), "16777216");
  CHECK_EQ(written(-0.05f), "-0.05");
  CHECK_EQ(written(1e-30f), "1e-30");
  CHECK_EQ(written(3.4028235e38f), "3.4028235e38");
  CHECK_EQ(written(1e-45f), "1e-45");
  CHECK_EQ(written(NAN), "\"nan\"");
  CHECK_EQ(written(-INFINITY), "\"-inf\"");
}

TEST(floats_read_back_as_the_same_bits) {
  std::mt19937 random(1);
  u32 n_different = 0;
  const auto round_trip = [&](u32 bits) {
    const f32 value = bit_cast<f32>(bits);
    if (value != value) return;
    const std::string text = written(value);
    const auto parsed = Json::parse(str(text));
    const bool same = parsed.ok() && bit_cast<u32>(parsed.value().as_f32("x").value()) == bits;
    const bool same_for_others = std::isinf(value) || bit_cast<u32>(std::strtof(text.c_str(), nullptr)) == bits;
    n_different += !same || !same_for_others;
  };
  for (u32 exponent = 0; exponent < 256; ++exponent) {
    for (const u32 mantissa : {0u, 1u, 2u, 0x3fffffu, 0x400000u, 0x7ffffeu, 0x7fffffu}) {
      round_trip(exponent << 23 | mantissa);
      round_trip(1u << 31 | exponent << 23 | mantissa);
    }
  }
  for (u32 i = 0; i < 20000; ++i) round_trip(u32(random()));
  CHECK_EQ(n_different, 0);
}

TEST(reads_every_type) {
  Memory memory;
  Arena arena(memory);
  const std::string text =
      R"( {"n": 42, "i":-7,"f" :1.5e1,"s":"h\u00e9\ud83d\ude00\n","b":true,"z":null,"a":[1, [2,3],{}],"o":{"k":"v"}} )";
  const auto parsed = Json::parse(str(text));
  REQUIRE(parsed.ok());
  const Json root = parsed.value();
  CHECK_EQ(root.member("n").value().as_u64("n", 0, 100).value(), 42);
  CHECK_EQ(root.member("i").value().as_i64("i", -10, 10).value(), -7);
  CHECK_EQ(root.member("f").value().as_f64("f").value(), 15.0);
  CHECK_EQ(string(root.member("s").value().as_string(arena, "s").value()), "h\xc3\xa9\xf0\x9f\x98\x80\n");
  CHECK(root.member("b").value().as_bool("b").value());
  CHECK(root.member("z").value().is_null());
  CHECK_EQ(root.member("a").value().count(), 3);
  CHECK_EQ(root.member("o").value().count(), 1);
  CHECK_EQ(root.count(), 8);
  Json inner;
  CHECK(root.member("o").value().find("k", &inner));
  CHECK_EQ(string(inner.as_string(arena, "k").value()), "v");
  CHECK_EQ(text.substr(inner.offset(), 3), "\"v\"");
}

TEST(errors_name_field_and_offset) {
  const std::string text = R"({"top_p":"high","n":300})";
  const Json root = Json::parse(str(text)).value();
  const auto wrong = root.member("top_p").value().as_f64("sampler.top_p");
  REQUIRE(!wrong.ok());
  CHECK_EQ(string(wrong.error().where.str()), "sampler.top_p");
  CHECK_EQ(wrong.error().offset, 9);
  const auto range = root.member("n").value().as_u64("n", 1, 255);
  REQUIRE(!range.ok());
  CHECK_EQ(string(range.error().what.str()), "must be an integer from 1 to 255, is 300");
  CHECK(!root.member("absent").ok());
}

TEST(refuses_what_is_not_json) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "]",
                           "[1,]",
                           "[,1]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "[1 2]",
                           "01",
                           "-",
                           "1.",
                           ".5",
                           "1e",
                           "+1",
                           "tru",
                           "nul",
                           "NaN",
                           "'a'",
                           "\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\x01\"",
                           "\"\xff\"",
                           "\"\xc3\"",
                           "\"\xed\xa0\x80\"",
                           "1 1",
                           "{}x",
                           "[1}",
                           "{\"a\":1]",
                           "\xef\xbb\xbf{}"}) {
    if (accepts(text)) CHECK_EQ(std::string("accepted"), text);
  }
  for (const char* text :
       {"0", "-0", "1.0e+5", "\"\"", "[]", "{}", " [ ] ", "[[],{}]", "{\"a\":{\"b\":[]},\"c\":0}", "true", "null"}) {
    if (!accepts(text)) CHECK_EQ(std::string("refused"), text);
  }
  CHECK_EQ(error_offset("[1, 2, x]"), 7);
}

TEST(refuses_duplicate_members_however_escaped) {
  CHECK(!accepts(R"({"a":1,"a":2})"));
  CHECK(!accepts(R"({"a":1,"\u0061":2})"));
  CHECK(accepts(R"({"a":1,"b":{"a":2},"c":[{"a":1},{"a":2}]})"));
}

TEST(depth_and_members_are_bounded) {
  const auto nested = [](u32 n) { return std::string(n, '[') + std::string(n, ']'); };
  CHECK(accepts(nested(Json::max_depth)));
  CHECK(!accepts(nested(Json::max_depth + 1)));
  CHECK(!accepts(std::string(10000000, '[')));
  const auto members = [](u32 n) {
    std::string text = "{";
    for (u32 i = 0; i < n; ++i) text += (i ? ",\"" : "\"") + std::to_string(i) + "\":0";
    return text + "}";
  };
  CHECK(accepts(members(Json::max_open_keys)));
  CHECK(!accepts(members(Json::max_open_keys + 1)));
}

TEST(every_cut_and_every_changed_byte_ends_well) {
  const std::string text = R"({"a":[1,2.5e-3,"x\u00e9\\"],"b":{"c":null,"d":[true,false,[]]},"e":"\ud83d\ude00"})";
  REQUIRE(accepts(text));
  for (u64 n = 0; n < text.size(); ++n) CHECK(!accepts(text.substr(0, n)));
  Memory memory;
  for (u64 i = 0; i < text.size(); ++i) {
    for (u32 byte = 0; byte < 256; ++byte) {
      std::string changed = text;
      changed[i] = char(byte);
      const auto parsed = Json::parse(str(changed));
      if (!parsed.ok() && parsed.error().offset > text.size()) CHECK(false);
      if (parsed.ok()) (void)parsed.value().count();
    }
  }
}
