// Small vocabularies of both kinds as GGUF files, for the tokenizer's tests and its fuzz target.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gguf_writer.h"

namespace test {

enum TokenType : std::int32_t {
  normal_token = 1,
  unknown_token,
  control_token,
  user_defined_token,
  unused_token,
  byte_token
};

// What goes into a file; a test changes one thing and builds.
struct Vocabulary {
  std::string model;
  std::string pre;
  std::string name;  // general.name
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<float> scores;
  std::vector<std::string> merges;
  std::vector<std::pair<std::string, u32>> ids;     // key after "tokenizer.ggml." -> value
  std::vector<std::pair<std::string, bool>> flags;  // likewise
  u32 type_element = 5;                             // the format's number: i32

  void add(const std::string& text, std::int32_t type = normal_token, float score = 0) {
    tokens.push_back(text);
    types.push_back(type);
    scores.push_back(score);
  }
  std::int32_t id(const std::string& text) const {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (tokens[i] == text) return std::int32_t(i);
    }
    return -1;
  }

  GgufWriter writer() const {
    const std::string prefix = "tokenizer.ggml.";
    GgufWriter file;
    if (!name.empty()) file.string_key("general.name", name);
    file.string_key(prefix + "model", model);
    if (!pre.empty()) file.string_key(prefix + "pre", pre);
    file.strings_key(prefix + "tokens", tokens);
    if (!types.empty()) file.array_key(prefix + "token_type", type_element, types.size(), raw(types));
    if (model != "gpt2" && !scores.empty()) file.array_key(prefix + "scores", 6, scores.size(), raw(scores));
    if (model != "llama") file.strings_key(prefix + "merges", merges);
    for (const auto& [key, value] : ids) file.u32_key(prefix + key, value);
    for (const auto& [key, value] : flags) file.bool_key(prefix + key, value);
    return file;
  }
  std::string bytes() const { return writer().build().bytes; }

 private:
  template <class T>
  static std::string raw(const std::vector<T>& values) {
    std::string out;
    for (const T& value : values) out += bytes_of(value);
    return out;
  }
};

// How byte-level BPE writes a byte, by its definition in GPT-2's encoder.
inline std::string mapped_byte(unsigned byte) {
  static const std::vector<std::string> table = [] {
    std::vector<std::string> map(256);
    unsigned next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      const unsigned cp = printable ? b : next++;
      map[b] = cp < 0x80 ? std::string(1, char(cp)) : std::string{char(0xc0 | cp >> 6), char(0x80 | (cp & 0x3f))};
    }
    return map;
  }();
  return table[byte];
}
inline std::string mapped(const std::string& bytes) {
  std::string out;
  for (char c : bytes) out += mapped_byte(static_cast<unsigned char>(c));
  return out;
}

// 256 bytes, a few merges, control and user-defined tokens.
inline Vocabulary bpe_vocabulary(const std::string& pre = "gpt-2") {
  Vocabulary v;
  v.model = "gpt2";
  v.pre = pre;
  for (unsigned byte = 0; byte < 256; ++byte) v.add(mapped_byte(byte));
  const std::vector<std::pair<std::string, std::string>> merges = {
      {"l", "l"}, {"h", "e"},   {"he", "ll"}, {"hell", "o"}, {" ", "w"}, {"o", "r"},  {" w", "or"},
      {"l", "d"}, {"a", "a"},   {"aa", "aa"}, {"a", "b"},    {"1", "2"}, {"12", "3"}, {"\xc3", "\xa9"},
      {" ", " "}, {"  ", "  "}, {"\n", "\n"}, {"<", "|"},    {"|", ">"},
  };
  for (const auto& [left, right] : merges) {
    v.merges.push_back(mapped(left) + " " + mapped(right));
    v.add(mapped(left + right));
  }
  v.add("<|begin|>", control_token);
  v.add("<|im_end|>", control_token);
  v.add("<|im_end|>\n", control_token);
  v.add("<tool>", user_defined_token);
  v.add("<tool>>", user_defined_token);
  v.add("<|pad|>", unused_token);
  v.ids = {{"bos_token_id", u32(v.id("<|begin|>"))}, {"eos_token_id", u32(v.id("<|im_end|>"))}};
  v.flags = {{"add_bos_token", true}};
  return v;
}

// BPE of characters, as Gemma 4's: byte tokens, characters, merges of lines, and user-defined tokens of an answer's parts.
inline Vocabulary gemma_vocabulary() {
  Vocabulary v;
  v.model = "gemma4";
  for (const char* text : {"<pad>", "<eos>", "<bos>", "<unk>"}) v.add(text, control_token);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char* hex = "0123456789ABCDEF";
    v.add(std::string("<0x") + hex[byte >> 4] + hex[byte & 15] + ">", byte_token);
  }
  const std::string space = "\xe2\x96\x81";
  for (const std::string& text : {space, std::string("\n"), std::string("\xc3\xa9"), std::string("\xe4\xb8\xad")})
    v.add(text);
  for (char c : std::string("hellowrdab<|>")) {
    if (v.id(std::string(1, c)) < 0) v.add(std::string(1, c));
  }
  const std::vector<std::pair<std::string, std::string>> merges = {
      {space, space}, {"\n", "\n"},         {"l", "l"}, {"h", "e"},        {"he", "ll"}, {"hell", "o"},
      {"o", space},   {space, "w"},         {"o", "r"}, {"\xc3\xa9", "a"}, {"a", "b"},   {"a", "a"},
      {"aa", "aa"},   {space + space, "a"}, {"l", "d"}, {"<", "|"},
  };
  for (const auto& [left, right] : merges) {
    v.merges.push_back(left + " " + right);
    v.add(left + right);
  }
  v.add("\n\n\n");         // no merge forms it
  v.add("hello" + space);  // nor this, and it is no run of newlines
  for (const char* text : {"<turn|>", "<|think|>"}) v.add(text, control_token);
  for (const char* text : {"<|channel>", "<|tool_response>", "<|\"|>", "<tool>"}) v.add(text, user_defined_token);
  v.ids = {{"bos_token_id", u32(v.id("<bos>"))},
           {"eos_token_id", u32(v.id("<eos>"))},
           {"unknown_token_id", u32(v.id("<unk>"))}};
  v.scores.assign(v.tokens.size(), -1000);  // as in its files: they mean nothing
  return v;
}

// SentencePiece: unknown, control and byte tokens first, then pieces with scores.
inline Vocabulary spm_vocabulary() {
  Vocabulary v;
  v.model = "llama";
  v.add("<unk>", unknown_token);
  v.add("<s>", control_token);
  v.add("</s>", control_token);
  for (unsigned byte = 0; byte < 256; ++byte) {
    const char* hex = "0123456789ABCDEF";
    v.add(std::string("<0x") + hex[byte >> 4] + hex[byte & 15] + ">", byte_token);
  }
  const std::string space = "\xe2\x96\x81";
  const std::vector<std::string> pieces = {
      "he",
      "ll",
      space + "he",
      "llo",
      space + "hello",
      space + "w",
      "or",
      "ld",
      "orld",
      space + "world",
      "aa",
      "ab",
      space + space,
      space + space + space + space,
      "s>",
      "</",
      "<s",
      space,
      "h",
      "e",
      "l",
      "o",
      "w",
      "r",
      "d",
      "a",
      "b",
      "<",
      ">",
      "/",
      "s",
      "\xc3\xa9",
      "1",
      "2",
  };
  float score = 0;
  for (const auto& piece : pieces) v.add(piece, normal_token, score -= 1);
  v.add("<|user|>", control_token);
  v.add("<tool>", user_defined_token);
  v.ids = {{"bos_token_id", 1}, {"eos_token_id", 2}, {"unknown_token_id", 0}};
  v.flags = {{"add_bos_token", true}, {"add_eos_token", false}};
  return v;
}

}  // namespace test
