// Chat formats that the core knows, for conversations without the model's own template engine. A format is data: the markup
// around each kind of message. Special tokens of the markup are placed by id; everything else, the messages above all, is
// encoded as plain text, so no message can become a special token.
#pragma once

#include "base/buffer.h"
#include "tokenizer/tokenizer.h"

namespace flyball::chat {

using tokenizer::Token;

struct ChatFormat {
  struct Markup {
    Str before = "";
    Str after = "";
  };
  Str name;
  Markup system = {}, user = {}, answer = {};  // "{bos}" and "{eos}" stand for the vocabulary's own
  bool system_in_user = false;                 // the system text is part of the first user message
  bool trimmed = false;                        // messages lose white space at both ends, as the published templates do
  Str stop = "";                               // ends an answer where the format has no token that does
};

Span<const ChatFormat> chat_formats();
const ChatFormat* find_chat_format(Str name);  // null: not known
// By what the model's template contains; without one by the special tokens of its vocabulary; else "plain".
const ChatFormat& detect_chat_format(const tokenizer::Tokenizer& tokenizer);

// The tokens of a conversation. Answers stay as they were produced, so the session's cache keeps fitting.
class Conversation {
 public:
  explicit Conversation(const Platform& platform)
      : platform_(platform), tokens_(platform), text_(platform), scratch_(platform) {}

  // Empties it and sets its format. Call it first.
  void start(const tokenizer::Tokenizer& tokenizer, const ChatFormat& format);
  Status continue_from(Span<const Token> tokens);  // a restored session's

  // A user's message: the system text before it (first message only; may be empty), the answer's opening after it.
  Status add_user(Str message, Str system);
  // The answer. `tokens` end before the token that ended the generation, if one did.
  Status add_answer(Span<const Token> tokens);
  Status add_answer(Str text);
  void truncate(u64 n) { tokens_.truncate(n), text_.truncate(0), skip_space_ = false; }  // takes back a turn

  Span<const Token> tokens() const { return {tokens_.items().data, tokens_.size()}; }
  const ChatFormat& format() const { return *format_; }

 private:
  Status begin();
  Status markup(Str text);
  Status message(Str text);
  Status text(Str text);
  Status token(Token token);
  Status flush();
  Status encode(Str text);
  Status encode_into_scratch(Str text, u64* n);
  bool is_reserved(Token token) const;
  bool swallows_space(Token token, bool after) const;

  const Platform& platform_;
  const tokenizer::Tokenizer* tokenizer_ = nullptr;
  const ChatFormat* format_ = nullptr;
  Buffer<Token> tokens_;
  Buffer<char> text_;  // not yet encoded
  Buffer<Token> scratch_;
  bool skip_space_ = false;  // the token before swallows white space
  u64 found_markers_ = 0;    // bits: markers that this vocabulary finds even in plain text
};

}  // namespace flyball::chat
