#include "tokenizer/tokenizer.h"

#include "tokenizer/vocabulary.h"

namespace flyball::tokenizer {

Str Tokenizer::piece(Token token, bool special) const {
  if (token < 0 || u64(token) >= state_->texts.size) return {};
  const u16 attributes = state_->attributes[u64(token)];
  const bool hidden = (attributes & (is_control_token | is_unknown_token)) && !(attributes & is_shown);
  return hidden && !special ? Str() : state_->pieces[u64(token)];
}

u64 Tokenizer::decode(Span<const Token> tokens, bool special, Span<char> out) const {
  Decoder decoder(*this, special);
  u64 size = 0;
  for (Token token : tokens) {
    const Str text = decoder.next(token);
    if (size < out.size) memcpy(out.data + size, text.data, min(text.size, out.size - size));
    size += text.size;
  }
  return size;
}

u32 Tokenizer::size() const { return u32(state_->texts.size); }

bool Tokenizer::is_control(Token token) const {
  return token >= 0 && u64(token) < state_->texts.size && (state_->attributes[u64(token)] & is_control_token);
}

bool Tokenizer::is_end_of_generation(Token token) const {
  return token >= 0 && u64(token) < state_->texts.size && (state_->attributes[u64(token)] & is_end_token);
}

Token Tokenizer::find(Str piece) const { return state_->table.find(piece); }
Token Tokenizer::bos() const { return state_->bos; }
Token Tokenizer::eos() const { return state_->eos; }
Token Tokenizer::eot() const { return state_->eot; }
bool Tokenizer::add_bos() const { return state_->add_bos; }
bool Tokenizer::add_eos() const { return state_->add_eos; }
Str Tokenizer::model() const { return state_->model; }
Str Tokenizer::pre() const { return state_->pre ? state_->pre->name : Str(); }
Str Tokenizer::chat_template() const { return state_->chat_template; }

Decoder::Decoder(const Tokenizer& tokenizer, bool special, Token previous) : tokenizer_(&tokenizer), special_(special) {
  const Tokenizer::State& s = *tokenizer.state_;
  const bool known = previous >= 0 && u64(previous) < s.texts.size;
  strip_space_ = s.add_space_prefix && (!known || s.is_special(previous));
}

Str Decoder::next(Token token) {
  const Tokenizer::State& s = *tokenizer_->state_;
  if (token < 0 || u64(token) >= s.texts.size) return {};
  Str text = tokenizer_->piece(token, special_);
  const bool special = s.is_special(token);
  if (strip_space_ && !special && text.starts_with(" ")) text = text.from(1);
  strip_space_ = special && s.add_space_prefix;
  return text;
}

}  // namespace flyball::tokenizer
