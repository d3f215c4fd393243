// What the tokenizer's fuzz target and the replaying test do with some bytes: change a small vocabulary, load it, and
// tokenize a text with it. A broken promise is an exception.
//
// Input: u8 vocabulary (bit 0: llama; the rest picks a pre-tokenizer), u8 options (bit 0: add_special, bit 1:
// parse_special), u8 number of edits, each u16 position and u8 value in the GGUF file, u8 number of extra tokens, each u8
// type, u8 length and text; the rest is the text.
#pragma once

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cpp/counting_platform.h"
#include "../cpp/vocabularies.h"
#include "tokenizer/composition.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"

namespace fuzz {

using namespace flyball;
using tokenizer::Token;
using tokenizer::Tokenizer;

inline void tokenizer_promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

class Input {
 public:
  Input(const u8* data, u64 size) : data_(data), size_(size) {}
  u8 byte() { return at_ < size_ ? data_[at_++] : 0; }
  std::string text(u64 n) {
    n = min(n, size_ - at_);
    std::string bytes(reinterpret_cast<const char*>(data_ + at_), n);
    at_ += n;
    return bytes;
  }
  std::string rest() { return text(size_); }

 private:
  const u8* data_;
  u64 size_;
  u64 at_ = 0;
};

inline test::Vocabulary chosen_vocabulary(u8 choice) {
  if (choice & 1) return test::spm_vocabulary();
  const auto names = tokenizer::pre_tokenizers();
  const tokenizer::PreTokenizer& pre = names[(choice >> 1) % names.size];
  const std::string name(pre.name.data, pre.name.size);
  if (!pre.characters) return test::bpe_vocabulary(name);
  test::Vocabulary vocabulary = test::gemma_vocabulary();
  if (name != vocabulary.model) vocabulary.model = "gpt2", vocabulary.pre = name;
  return vocabulary;
}

inline std::vector<Token> encode(const Platform& platform, const Tokenizer& t, const std::string& text,
                                 Tokenizer::Options options, bool* ok) {
  const Str input(text.data(), text.size());
  const auto n = t.encode(platform, input, options, {});
  *ok = n.ok();
  if (!n.ok()) return {};
  std::vector<Token> ids(n.value());
  const auto again = t.encode(platform, input, options, {ids.data(), ids.size()});
  tokenizer_promise(again.ok() && again.value() == ids.size(), "another number of tokens for the same text");
  return ids;
}

inline std::string decode(const Tokenizer& t, const std::vector<Token>& ids, bool special) {
  const Span<const Token> tokens(ids.data(), ids.size());
  std::string text(t.decode(tokens, special, {}), '\0');
  t.decode(tokens, special, {text.data(), text.size()});
  tokenizer::Decoder decoder(t, special);
  std::string streamed;
  for (Token id : ids) {
    const Str piece = decoder.next(id);
    streamed.append(piece.data, piece.size);
  }
  tokenizer_promise(streamed == text, "a stream that differs from decode()");
  return text;
}

// True when the vocabulary could be loaded.
inline bool check_tokenizer(const u8* data, u64 size) {
  Input input(data, size);
  const u8 choice = input.byte();
  const u8 flags = input.byte();
  const u32 n_edits = input.byte() % 16;
  std::vector<std::pair<u32, u8>> edits;
  for (u32 i = 0; i < n_edits; ++i) {
    const u32 low = input.byte();
    const u32 position = low | u32(input.byte()) << 8;
    edits.push_back({position, input.byte()});
  }
  test::Vocabulary vocabulary = chosen_vocabulary(choice);
  const u32 n_extra = input.byte() % 8;
  for (u32 i = 0; i < n_extra; ++i) {
    const u8 type = input.byte();
    const u8 length = input.byte() % 64;
    vocabulary.add(input.text(length), type % 8, float(type) / 8);
  }
  std::string bytes = vocabulary.bytes();
  for (const auto& [position, value] : edits) bytes[position % bytes.size()] = char(value);

  test::CountingPlatform memory;
  Arena arena(memory.platform);
  const Span<const u8> part(reinterpret_cast<const u8*>(bytes.data()), bytes.size());
  const auto file = gguf::File::open(arena, {&part, 1});
  if (!file.ok()) return false;
  const auto loaded = Tokenizer::load(arena, *file.value());
  tokenizer_promise(memory.peak <= 64 * bytes.size() + (u64(8) << 20), "more memory than the file can justify");
  if (!loaded.ok()) {
    tokenizer_promise(loaded.error().where.size > 0 && loaded.error().what.size > 0, "an error without place or text");
    return false;
  }
  const Tokenizer& t = *loaded.value();
  const std::string text = input.rest();
  const Tokenizer::Options options{(flags & 1) != 0, (flags & 2) != 0};
  bool ok = false;
  const std::vector<Token> ids = encode(memory.platform, t, text, options, &ok);
  for (u64 i = 0; i < ids.size(); ++i) {
    tokenizer_promise(ids[i] >= 0 && ids[i] < i64(t.size()), "a token that does not exist");
    const bool added = options.add_special && (i == 0 || i + 1 == ids.size());
    tokenizer_promise(options.parse_special || added || !t.is_control(ids[i]), "text became a control token");
  }
  const std::string back = decode(t, ids, false);
  // Without changes, byte-level BPE is exact where it does not compose; the others cannot tell U+2581 from a space.
  const bool exact = edits.empty() && n_extra == 0 && !options.parse_special &&
                     (vocabulary.model != "gpt2" || vocabulary.id("<0x00>") >= 0
                          ? text.find("\xe2\x96\x81") == std::string::npos
                          : !tokenizer::may_compose({text.data(), text.size()}));
  if (exact) tokenizer_promise(ok && back == text, "decoding does not give the text back");
  return true;
}

}  // namespace fuzz
