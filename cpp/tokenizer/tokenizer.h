// Text <-> token ids for the vocabularies of a GGUF file: SentencePiece (`llama`), byte-level BPE (`gpt2`), and BPE of
// characters (`gemma4`).
#pragma once

#include "gguf/file.h"

namespace flyball::tokenizer {

using Token = i32;
constexpr Token no_token = -1;

// Growable ids in an arena would waste it: the caller owns the buffer. encode() returns how many ids the text has, and
// writes at most `out.size` of them: call again with a larger buffer when the count is larger.
class Tokenizer {
 public:
  // Refuses, by name, a tokenizer model or pre-tokenizer that is not known: ids are never guessed.
  static Result<Tokenizer*> load(Arena& arena, const gguf::File& file);

  struct Options {
    bool add_special = true;     // BOS/EOS as the vocabulary says
    bool parse_special = false;  // false: text can never become a control token
  };
  // Scratch comes from `platform` and is released before returning. Fails when a byte of the text has no token and there
  // is no unknown token either (Code::unsupported): text is never lost silently.
  Result<u64> encode(const Platform& platform, Str text, Options options, Span<Token> out) const;

  // The bytes of one token (control and unknown tokens: empty unless `special` or shown; out of range: empty), with
  // SentencePiece's leading space: a stream goes through Decoder, and holds back an incomplete UTF-8 tail
  // (base/text.h utf8_complete_prefix).
  Str piece(Token token, bool special = false) const;
  // Whole sequence, exact bytes: what a Decoder gives, joined. Returns the length; writes at most out.size bytes.
  u64 decode(Span<const Token> tokens, bool special, Span<char> out) const;

  u32 size() const;
  bool is_control(Token token) const;
  bool is_end_of_generation(Token token) const;  // EOS, EOT, EOM and the known end-of-turn tokens
  Token find(Str piece) const;                   // exact text of a token in the vocabulary, or no_token
  Token bos() const;
  Token eos() const;
  Token eot() const;
  bool add_bos() const;
  bool add_eos() const;
  Str model() const;  // "llama", "gpt2" or "gemma4"
  Str pre() const;
  Str chat_template() const;  // empty where the file has none

  struct State;

 private:
  Tokenizer() = default;
  friend class Loader;
  friend class Decoder;
  State* state_ = nullptr;
};

// Tokens -> text, one at a time. Encoding puts a space before text at the start and after a special token where the
// vocabulary says so (add_space_prefix); this takes it away again. `previous` is the token before the first one.
class Decoder {
 public:
  explicit Decoder(const Tokenizer& tokenizer, bool special = false, Token previous = no_token);
  Str next(Token token);  // lives as long as the tokenizer

 private:
  const Tokenizer* tokenizer_;
  bool special_;
  bool strip_space_;
};

}  // namespace flyball::tokenizer
