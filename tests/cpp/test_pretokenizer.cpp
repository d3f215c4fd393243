#include "tokenizer/pretokenizer.h"

#include <set>
#include <string>
#include <vector>

#include "test.h"

using namespace flyball;
using namespace flyball::tokenizer;

namespace {

struct Split {
  const char* pre;
  int text;
  const char* lengths;  // of the words, in bytes
};

#include "pretokenizer_splits.inc"

std::string word_lengths(const PreTokenizer& pre, Str text) {
  std::vector<Char> chars(text.size);
  const u64 n = decode_text(text, chars.data());
  split_words(pre, {chars.data(), n});
  std::string lengths;
  u64 length = 0;
  for (u64 i = 0; i < n; ++i) {
    length += byte_length(chars[i]);
    if (!(chars[i] & word_end)) continue;
    lengths += (lengths.empty() ? "" : " ") + std::to_string(length);
    length = 0;
  }
  CHECK_EQ(length, 0);
  return lengths;
}

}  // namespace

TEST(words_are_those_of_hugging_face_tokenizers) {
  std::set<const void*> covered;
  for (const Split& split : splits) {
    const PreTokenizer* pre = find_pre_tokenizer(split.pre);
    REQUIRE(pre != nullptr);
    covered.insert(pre->stages.data);
    CHECK_EQ(word_lengths(*pre, texts[split.text]), std::string(split.lengths));
  }
  for (const PreTokenizer& pre : pre_tokenizers()) CHECK(covered.count(pre.stages.data) == 1);
}

TEST(names_are_found_once) {
  std::set<std::string> names;
  for (const PreTokenizer& pre : pre_tokenizers()) {
    CHECK(names.insert(std::string(pre.name.data, pre.name.size)).second);
    CHECK(find_pre_tokenizer(pre.name) == &pre);
  }
  CHECK(find_pre_tokenizer("") == nullptr);
  CHECK(find_pre_tokenizer("llama") == nullptr);
}

TEST(invalid_utf8_is_one_character_a_byte) {
  struct Case {
    const char* bytes;
    std::vector<u32> lengths;
  };
  const Case cases[] = {
      {"a\xc3\xa9z", {1, 2, 1}},
      {"\xc3", {1}},                // cut off
      {"\xc0\x80", {1, 1}},         // overlong
      {"\xe0\x80\x80", {1, 1, 1}},  // overlong
      {"\xed\xa0\x80", {1, 1, 1}},  // surrogate
      {"\xf0\x9f\x98\x80", {4}},
      {"\xf4\x90\x80\x80", {1, 1, 1, 1}},         // beyond U+10FFFF
      {"\xf8\x88\x80\x80\x80", {1, 1, 1, 1, 1}},  // no such lead
      {"\xe4\xb8\x2d", {1, 1, 1}},
      {"\xff\xfe", {1, 1}},
  };
  for (const Case& c : cases) {
    const Str text(c.bytes);
    std::vector<Char> chars(text.size);
    const u64 n = decode_text(text, chars.data());
    REQUIRE_EQ(n, c.lengths.size());
    u64 at = 0;
    for (u64 i = 0; i < n; ++i) {
      CHECK_EQ(byte_length(chars[i]), c.lengths[i]);
      if (byte_length(chars[i]) == 1 && u8(text[at]) >= 0x80) CHECK_EQ(code_point(chars[i]), replacement);
      at += byte_length(chars[i]);
    }
  }
}

TEST(unicode_categories) {
  CHECK(category('A') == Category::lu);
  CHECK(category('z') == Category::ll);
  CHECK(category(0x1c5) == Category::lt);
  CHECK(category(0x2b0) == Category::lm);
  CHECK(category(0x4e2d) == Category::lo);
  CHECK(category(0x301) == Category::mark);
  CHECK(category('7') == Category::digit);
  CHECK(category(0xbd) == Category::number);
  CHECK(category('_') == Category::punctuation);
  CHECK(category('$') == Category::symbol);
  for (u32 c : {9u, 10u, 11u, 12u, 13u, 32u, 0x85u, 0xa0u, 0x1680u, 0x2000u, 0x200au, 0x2028u, 0x2029u, 0x202fu,
                0x205fu, 0x3000u}) {
    CHECK(category(c) == Category::space);
  }
  for (u32 c : {0u, 0x1cu, 0x7fu, 0x200bu, 0xfeffu, 0xe000u, 0x378u, 0x10ffffu}) CHECK(category(c) == Category::other);
}
