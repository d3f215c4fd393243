// Text -> token ids: special tokens out first, then words, then merges.
#include "tokenizer/composition.h"
#include "tokenizer/merge.h"
#include "tokenizer/vocabulary.h"

namespace flyball::tokenizer {
namespace {

constexpr u64 max_text_bytes = u64(1) << 30;  // symbols and fragments count in 32 bits, and U+2581 triples a space

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

// A piece of text still to tokenize, or a special token found in it.
struct Fragment {
  Str text;
  Token token = no_token;
  Fragment* next = nullptr;
};

// Reusable memory: growing drops its contents.
template <class T>
class Buffer {
 public:
  [[nodiscard]] T* reserve(Arena& arena, u64 n) {
    if (memory_.size < n) memory_ = arena.allocate<T>(max(n, memory_.size * 2));
    return memory_.size < n ? nullptr : memory_.data;
  }

 private:
  Span<T> memory_;
};

class Encoder {
 public:
  Encoder(const Tokenizer::State& state, const Platform& platform, Span<Token> out)
      : s_(state), scratch_(platform), out_(out) {}

  Result<u64> run(Str text, Tokenizer::Options options) {
    if (text.size > max_text_bytes) {
      return fail(Code::invalid_argument, "text") << text.size << " bytes; at most " << max_text_bytes << " at a time";
    }
    if (options.add_special && s_.add_bos) emit(s_.bos);
    Fragment first{text, no_token, nullptr};
    if (!split_special_tokens(&first, options.parse_special)) return out_of_memory();
    bool after_special = true;
    for (const Fragment* f = text.empty() ? nullptr : &first; f; f = f->next) {
      if (f->token != no_token) {
        emit(f->token);
      } else if (f->text.empty()) {
        continue;
      } else if (!(s_.pre ? encode_bpe(f->text) : encode_spm(f->text, after_special && s_.add_space_prefix))) {
        return out_of_memory();
      }
      after_special = f->token != no_token;
    }
    if (options.add_special && s_.add_eos) emit(s_.eos);
    if (missing_byte_ < 256) {
      return fail(Code::unsupported, "text")
             << "byte " << missing_byte_ << " has no token in this vocabulary, and there is no unknown token";
    }
    return n_;
  }

 private:
  static Error out_of_memory() { return fail(Code::out_of_memory, "text") << "no memory to tokenize it"; }

  void emit(Token token) {
    if (n_ < out_.size) out_[n_] = token;
    ++n_;
  }
  void emit_byte(u8 byte) {
    Token token = s_.byte_tokens[byte];
    if (token == no_token) token = s_.unknown;
    if (token == no_token) {
      missing_byte_ = byte;
    } else {
      emit(token);
    }
  }

  // Longest special token first, and of one length the leftmost: a match is cut out, and the search continues in the
  // text left and right of it.
  bool split_special_tokens(Fragment* first, bool parse_special) {
    for (const SpecialLength& length : s_.special_lengths) {
      if (!parse_special && !length.plain) continue;
      u64 power = 1;  // of the byte that leaves the window
      for (u32 i = 1; i < length.bytes; ++i) power *= rolling_base;
      for (Fragment* f = first; f; f = f->next) {
        while (f->token == no_token && f->text.size >= length.bytes) {
          u64 at = 0;
          const Token token = find_special(f->text, length, power, parse_special, &at);
          if (token == no_token) break;
          f = cut(f, at, token);
          if (!f) return false;
        }
      }
    }
    return true;
  }

  Token find_special(Str text, const SpecialLength& length, u64 power, bool parse_special, u64* at) const {
    u64 hash = 0;
    for (u32 i = 0; i < length.bytes; ++i) hash = hash * rolling_base + u8(text[i]);
    for (u64 i = 0;; ++i) {
      const u8 lead = u8(text[i]);
      if (length.first_bytes[lead / 64] >> lead % 64 & 1) {
        const Token token = special_at(text.substr(i, length.bytes), mix(hash), parse_special);
        if (token != no_token) return *at = i, token;
      }
      if (i + length.bytes >= text.size) return no_token;
      hash = (hash - lead * power) * rolling_base + u8(text[i + length.bytes]);
    }
  }

  Token special_at(Str text, u64 hash, bool parse_special) const {
    for (u32 probe = 0; probe < max_probes; ++probe) {
      const u64 slot = s_.special_slots[(hash + probe) & (s_.special_slots.size - 1)];
      if (slot == 0) return no_token;
      if ((slot ^ hash) >> 32) continue;
      const Token token = Token(u32(slot)) - 1;
      if (s_.texts[u64(token)] != text) continue;
      const bool needs_parsing = s_.attributes[u64(token)] & (is_control_token | is_unknown_token);
      return needs_parsing && !parse_special ? no_token : token;
    }
    return no_token;
  }

  // Leaves `f` as the text on the left, puts the token and the rest behind it, and returns the rest.
  Fragment* cut(Fragment* f, u64 at, Token token) {
    Str left = f->text.substr(0, at);
    Str right = f->text.from(at + s_.texts[u64(token)].size);
    const u16 attributes = s_.attributes[u64(token)];
    while ((attributes & strips_left) && left.size > 0 && is_space(left[left.size - 1])) --left.size;
    while ((attributes & strips_right) && right.size > 0 && is_space(right[0])) right = right.from(1);
    Fragment* found = new_fragment();
    Fragment* rest = new_fragment();
    if (!found || !rest) return nullptr;
    *rest = {right, no_token, f->next};
    *found = {Str(), token, rest};
    *f = {left, no_token, found};
    return rest;
  }

  Fragment* new_fragment() {
    if (spare_.empty()) spare_ = scratch_.allocate<Fragment>(256);
    if (spare_.empty()) return nullptr;
    Fragment* fragment = spare_.data;
    spare_ = spare_.subspan(1, spare_.size - 1);
    return fragment;
  }

  bool encode_bpe(Str text) {
    if (s_.pre->characters && !escape_spaces(&text, false)) return false;
    if (s_.composes && may_compose(text)) {
      u32* work = composing_.reserve(scratch_, text.size * composing_memory);
      char* composed = composed_.reserve(scratch_, text.size * composed_bytes);
      if (!work || !composed) return false;
      text = {composed, compose(text, work, composed)};
    }
    Char* chars = chars_.reserve(scratch_, text.size);
    if (!chars) return false;
    const u64 n = decode_text(text, chars);
    split_words(*s_.pre, {chars, n});
    u64 begin = 0;
    u64 end = 0;
    for (u64 i = 0; i < n; ++i) {
      end += byte_length(chars[i]);
      if (!(chars[i] & word_end)) continue;
      if (!encode_word(text.substr(begin, end - begin))) return false;
      begin = end;
    }
    return true;
  }

  bool encode_word(Str word) {
    if (s_.pre->characters) return encode_characters(word);
    if (s_.pre->whole_words) {
      const Token token = find_word(word);
      if (token != no_token) return emit(token), true;
    }
    return word.size <= short_word ? encode_short_word(word) : encode_long_word(word);
  }

  Token find_word(Str word) const {
    char mapped[2 * 256];
    if (word.size > 256) return no_token;  // a longer token is made of its merges
    u64 n = 0;
    for (char c : word) {
      const u32 cp = byte_to_code_point(u8(c));
      if (cp >= 0x80) mapped[n++] = char(0xc0 | cp >> 6);
      mapped[n++] = char(cp >= 0x80 ? 0x80 | (cp & 0x3f) : cp);
    }
    const Token token = s_.table.find({mapped, n});
    return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
  }

  Merge find_merge(Token left, Token right) const {
    if (left == no_token || right == no_token) return {};
    const MergeTable::Slot* slot = s_.merges.find(left, right);
    return slot ? Merge{slot->rank, slot->token} : Merge{};
  }

  // The same merges in the same order as merge_symbols(), for words so short that scanning beats a heap.
  static constexpr u64 short_word = 32;
  bool encode_short_word(Str word) {
    Token tokens[short_word];
    Merge merges[short_word];  // of token i and i + 1
    u64 n = word.size;
    for (u64 i = 0; i < n; ++i) tokens[i] = s_.byte_tokens[u8(word[i])];
    for (u64 i = 0; i + 1 < n; ++i) merges[i] = find_merge(tokens[i], tokens[i + 1]);
    u8 lost[short_word];
    for (u64 i = 0; i < n; ++i) lost[i] = u8(word[i]);  // what a symbol without a token stands for
    for (;;) {
      u64 best = n;
      for (u64 i = 0; i + 1 < n; ++i) {
        if (merges[i].token != no_token && (best == n || merges[i].key < merges[best].key)) best = i;
      }
      if (best == n) break;
      tokens[best] = merges[best].token;
      --n;
      for (u64 i = best + 1; i < n; ++i) tokens[i] = tokens[i + 1], lost[i] = lost[i + 1];
      for (u64 i = best + 1; i + 1 < n; ++i) merges[i] = merges[i + 1];
      if (best > 0) merges[best - 1] = find_merge(tokens[best - 1], tokens[best]);
      if (best + 1 < n) merges[best] = find_merge(tokens[best], tokens[best + 1]);
    }
    for (u64 i = 0; i < n; ++i) {
      if (tokens[i] == no_token) {
        emit_byte(lost[i]);
      } else {
        emit(tokens[i]);
      }
    }
    return true;
  }

  bool encode_long_word(Str word) {
    Symbol* symbols = symbols_.reserve(scratch_, word.size);
    Candidate* heap = heap_.reserve(scratch_, heap_capacity(word.size));
    if (!symbols || !heap) return false;
    const u64 n = word.size;
    for (u64 i = 0; i < n; ++i) {
      symbols[i] = {u32(i), 1, i32(i) - 1, i + 1 < n ? i32(i + 1) : -1, s_.byte_tokens[u8(word[i])]};
    }
    merge_symbols(symbols, n, heap, [&](const Symbol& l, const Symbol& r) { return find_merge(l.token, r.token); });
    emit_symbols(symbols, word);
    return true;
  }

  bool encode_characters(Str word) {
    if (s_.pre->gemma && word[0] == '\n') {
      const Token token = s_.table.find(word);
      if (token != no_token && (s_.attributes[u64(token)] & is_mergeable)) return emit(token), true;
    }
    return encode_symbols(word, [&](const Symbol& l, const Symbol& r) { return find_merge(l.token, r.token); });
  }

  void emit_symbols(const Symbol* symbols, Str text) {
    for (i32 i = 0; i >= 0; i = symbols[i].next) {
      const Symbol& symbol = symbols[i];
      if (symbol.token != no_token) {
        emit(symbol.token);
        continue;
      }
      for (char c : text.substr(symbol.begin, symbol.size)) emit_byte(u8(c));
    }
  }

  // Every space to U+2581, in memory of the encoder.
  bool escape_spaces(Str* text, bool space_before) {
    u64 n_spaces = space_before;
    for (char c : *text) n_spaces += c == ' ';
    const u64 size = text->size + n_spaces * (spm_space.size - 1) + space_before;
    char* escaped = escaped_.reserve(scratch_, size);
    if (!escaped) return false;
    u64 n = 0;
    const auto put_space = [&] {
      memcpy(escaped + n, spm_space.data, spm_space.size);
      n += spm_space.size;
    };
    if (space_before) put_space();
    for (char c : *text) {
      if (c == ' ') {
        put_space();
      } else {
        escaped[n++] = c;
      }
    }
    *text = {escaped, n};
    return true;
  }

  bool encode_spm(Str text, bool space_before) {
    if (!escape_spaces(&text, space_before)) return false;
    // Where no token has a space inside, nothing merges across the start of a word: small heaps, the same result.
    while (!text.empty()) {
      const u64 size = s_.words_start_with_space ? word_length(text) : text.size;
      const Str word = text.substr(0, size);
      const bool done = encode_symbols(word, [&](const Symbol& left, const Symbol& right) {
        const Token token = find_mergeable(word.substr(left.begin, left.size + right.size));
        return token == no_token ? Merge{} : Merge{s_.keys[u64(token)], token};
      });
      if (!done) return false;
      text = text.from(size);
    }
    return true;
  }

  static u64 word_length(Str text) {
    u64 i = 0;
    while (text.from(i).starts_with(spm_space)) i += spm_space.size;
    while (i < text.size && !(text[i] == spm_space[0] && text.from(i).starts_with(spm_space))) ++i;
    return i;
  }

  Token find_mergeable(Str text) const {
    if (text.size > s_.longest_mergeable) return no_token;
    const Token token = s_.table.find(text);
    return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
  }

  // Characters merge as `find` says.
  template <class Find>
  bool encode_symbols(Str word, const Find& find) {
    Symbol* symbols = symbols_.reserve(scratch_, word.size);
    Candidate* heap = heap_.reserve(scratch_, heap_capacity(word.size));
    if (!symbols || !heap) return false;
    u64 n = 0;
    for (u64 i = 0; i < word.size; ++n) {
      const u32 bytes = decode_utf8(word.from(i)).bytes;
      symbols[n] = {u32(i), bytes, i32(n) - 1, i32(n) + 1, find_mergeable(word.substr(i, bytes))};
      i += bytes;
    }
    symbols[n - 1].next = -1;
    merge_symbols(symbols, n, heap, find);
    emit_symbols(symbols, word);
    return true;
  }

  const Tokenizer::State& s_;
  Arena scratch_;
  Span<Token> out_;
  u64 n_ = 0;
  u32 missing_byte_ = 256;
  Span<Fragment> spare_;
  Buffer<Char> chars_;
  Buffer<u32> composing_;
  Buffer<char> composed_;
  Buffer<char> escaped_;
  Buffer<Symbol> symbols_;
  Buffer<Candidate> heap_;
};

}  // namespace

Result<u64> Tokenizer::encode(const Platform& platform, Str text, Options options, Span<Token> out) const {
  return Encoder(*state_, platform, out).run(text, options);
}

}  // namespace flyball::tokenizer
