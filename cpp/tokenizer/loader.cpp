#include "tokenizer/loader.h"

namespace flyball::tokenizer {

using gguf::Value;
using gguf::ValueType;

namespace {

constexpr u64 max_tokens = u64(1) << 24;

struct AllBytes {
  char of[256] = {};
  constexpr AllBytes() {
    for (u32 i = 0; i < 256; ++i) of[i] = char(i);
  }
};
constexpr AllBytes all_bytes;  // what the pieces of byte tokens point into

u32 hex_digit(char c) {
  if (c >= '0' && c <= '9') return u32(c - '0');
  if (c >= 'A' && c <= 'F') return u32(c - 'A' + 10);
  return 16;
}

// "<0x0A>" exactly: upper case, two digits, nothing else (a sign or a third digit must not become a wrong byte).
bool parse_byte_text(Str text, u32* value) {
  if (text.size != 6 || !text.starts_with("<0x") || text[5] != '>') return false;
  const u32 high = hex_digit(text[3]);
  const u32 low = hex_digit(text[4]);
  *value = high * 16 + low;
  return high < 16 && low < 16;
}

}  // namespace

Result<Tokenizer*> Loader::load(Arena& arena, const gguf::File& file) {
  auto* state = static_cast<Tokenizer::State*>(arena.allocate_bytes(sizeof(Tokenizer::State)));
  auto* tokenizer = static_cast<Tokenizer*>(arena.allocate_bytes(sizeof(Tokenizer)));
  if (!state || !tokenizer) return out_of_memory();
  *state = Tokenizer::State();
  *tokenizer = Tokenizer();
  tokenizer->state_ = state;
  FLYBALL_TRY(Loader(arena, file, *state).run());
  return tokenizer;
}

Status Loader::run() {
  FLYBALL_TRY(read_model());
  FLYBALL_TRY(read_tokens());
  FLYBALL_TRY(read_types());
  FLYBALL_TRY(index_texts());
  if (s_.pre) FLYBALL_TRY(read_merges());
  FLYBALL_TRY(read_special_ids());
  mark_known_texts();
  // Some files call <|endoftext|> their unknown token; text must not turn into that.
  if (s_.unknown != no_token && (s_.attributes[u64(s_.unknown)] & is_control_token)) s_.unknown = no_token;
  mark_stripping();
  FLYBALL_TRY(make_pieces());
  find_byte_tokens();
  if (!s_.pre) FLYBALL_TRY(read_scores());
  FLYBALL_TRY(index_special_tokens());
  FLYBALL_ASSIGN(s_.chat_template, file_.get_str_or("tokenizer.chat_template", ""));
  return {};
}

Status Loader::read_model() {
  FLYBALL_ASSIGN(s_.model, file_.get_str(KEY "model"));
  if (s_.model == "llama") return refuse_normalizer();
  if (s_.model == "gemma4") {
    s_.pre = find_pre_tokenizer(s_.model);
    return {};
  }
  if (s_.model != "gpt2") {
    return fail(Code::unsupported, KEY "model")
           << "tokenizer model '" << s_.model << "' is not supported; supported are 'llama' (SentencePiece), 'gpt2'"
           << " (byte-level BPE) and 'gemma4'";
  }
  // Files from before pre-tokenizers were named mean `default`; a name that is there must be known.
  Str name;
  FLYBALL_ASSIGN(name, file_.get_str_or(KEY "pre", "default"));
  s_.pre = find_pre_tokenizer(name.empty() ? Str("default") : name);
  if (s_.pre) {
    // GPT-NeoX files are from before pre-tokenizers were named.
    const Result<Str> architecture = file_.get_str_or("general.architecture", "");
    s_.composes = s_.pre->composes || (architecture && architecture.value() == "gptneox");
    return {};
  }
  return fail(Code::unsupported, KEY "pre")
         << "pre-tokenizer '" << name
         << "' is not known, and its token ids are not guessed; known are default, llama-bpe,"
         << " qwen2, qwen35, gpt-2, gpt-4o, tekken, smollm, phi-2, deepseek-v3 and those listed in "
            "docs/tokenizers.md";
}

// SentencePiece models with a normalizer of their own would need other ids than plain merging gives.
Status Loader::refuse_normalizer() {
  bool remove_extra = false;
  FLYBALL_ASSIGN(remove_extra, file_.get_bool_or(KEY "remove_extra_whitespaces", false));
  if (remove_extra) {
    return fail(Code::unsupported, KEY "remove_extra_whitespaces")
           << "true is not supported with tokenizer model 'llama'";
  }
  const Value* charsmap = file_.find(KEY "precompiled_charsmap");
  if (charsmap && charsmap->count > 0) {
    return fail(Code::unsupported, KEY "precompiled_charsmap", charsmap->offset)
           << "a normalization table is not supported with tokenizer model 'llama'";
  }
  return {};
}

Status Loader::read_tokens() {
  Value array;
  FLYBALL_ASSIGN(array, file_.get_array(KEY "tokens", ValueType::string));
  if (array.count == 0 || array.count > max_tokens) {
    return fail(Code::corrupt, KEY "tokens", array.offset)
           << array.count << " tokens; between 1 and " << max_tokens << " are supported";
  }
  tokens_offset_ = array.offset;
  n_listed_ = array.count;
  const u64 n = n_embedded(array.count);
  s_.texts = arena_.allocate<Str>(n);
  s_.pieces = arena_.allocate<Str>(n);
  s_.attributes = arena_.allocate<u16>(n);
  if (s_.texts.empty() || s_.pieces.empty() || s_.attributes.empty()) return out_of_memory();
  gguf::StringArray strings(array);
  for (Str& text : s_.texts) {
    if (!strings.next(&text)) return fail(Code::corrupt, KEY "tokens", array.offset) << "ends before its last string";
    text_bytes_ += text.size;
  }
  return {};
}

// Ollama's files of gemma3 with images list a token for them behind those that the embedding has.
u64 Loader::n_embedded(u64 n_listed) const {
  const gguf::Tensor* embedding = file_.tensor("token_embd.weight");
  return embedding && file_.find("gemma3.mm.tokens_per_image") ? min(n_listed, embedding->rows()) : n_listed;
}

Status Loader::read_types() {
  const Value* found = file_.find(KEY "token_type");
  if (!found && s_.pre) {
    for (u16& attribute : s_.attributes) attribute = is_mergeable;
    return {};
  }
  const bool is_unsigned = found && found->element == ValueType::u32;  // as some exporters write them
  FLYBALL_ASSIGN(types_, file_.get_array(KEY "token_type", is_unsigned ? ValueType::u32 : ValueType::i32));
  FLYBALL_TRY(same_count(types_, KEY "token_type"));
  for (u64 i = 0; i < s_.texts.size; ++i) {
    u16& attribute = s_.attributes[i];
    switch (type(i)) {
      case control: attribute = is_control_token; break;
      case unknown: attribute = is_unknown_token; break;
      case user_defined: attribute = is_user_defined | (stands_for_itself(s_.texts[i]) ? is_mergeable : 0); break;
      case byte: attribute = is_byte_token; break;
      default: attribute = is_mergeable; break;
    }
  }
  return {};
}

// Byte-level BPE maps bytes to characters, but writes user-defined tokens as they are: "\u00f5" is then no byte 0xf5.
bool Loader::stands_for_itself(Str text) const {
  for (char c : text) {
    if (s_.is_byte_level() && (c <= ' ' || c > '~')) return false;
  }
  return true;
}

Status Loader::same_count(const Value& array, Str key) const {
  if (array.count == n_listed_) return {};
  return fail(Code::corrupt, key, array.offset)
         << array.count << " values for " << n_listed_ << " tokens in " << KEY "tokens";
}

Status Loader::index_texts() {
  if (!s_.table.create(arena_, s_.texts.size, s_.texts.data)) return out_of_memory();
  for (u64 i = 0; i < s_.texts.size; ++i) {
    if (s_.texts[i].empty()) continue;  // fills a hole in the ids: never found, decodes to nothing
    Token same = no_token;
    const TextTable::Added added = s_.table.add(Token(i), &same);
    if (added == TextTable::Added::yes) continue;
    ErrorBuilder error = fail(Code::corrupt, KEY "tokens", tokens_offset_);
    if (added == TextTable::Added::crowded)
      return error << "token texts collide in the hash table; not a real vocabulary";
    Text<64> shown;
    Writer writer(shown.data, sizeof(shown.data));
    shown.size = u32(writer.put_printable(s_.texts[i], 40).text().size);
    return error << "tokens " << same << " and " << i << " have the same text '" << shown.str() << "'";
  }
  return {};
}

Status Loader::make_pieces() {
  Span<char> memory = arena_.allocate<char>(max(text_bytes_, u64(1)));
  if (memory.empty()) return out_of_memory();
  char* to = memory.data;
  for (u64 i = 0; i < s_.texts.size; ++i) {
    const u16 attribute = s_.attributes[i];
    u32 value = 0;
    if (s_.is_special(Token(i))) {
      s_.pieces[i] = s_.texts[i];
    } else if (attribute & is_byte_token) {
      if (!parse_byte_text(s_.texts[i], &value)) {
        char shown[64];
        return fail(Code::corrupt, KEY "tokens", tokens_offset_)
               << "token " << i << " is of type byte, but its text '"
               << Writer(shown, sizeof(shown)).put_printable(s_.texts[i], 40).text() << "' is not <0x00> to <0xFF>";
      }
      s_.pieces[i] = {&all_bytes.of[value], 1};
    } else {
      s_.pieces[i] = {to, s_.is_byte_level() ? decode_bytes(s_.texts[i], to) : unescape_spaces(s_.texts[i], to)};
      to += s_.pieces[i].size;
    }
  }
  return {};
}

// A text with a character that is no byte's (an added token typed as normal) stands for itself.
u64 Loader::decode_bytes(Str text, char* to) {
  u64 n = 0;
  for (u64 i = 0; i < text.size;) {
    const Decoded d = decode_utf8(text.from(i));
    const u32 value = code_point_to_byte(d.code_point);
    if (value == ~0u) {
      memcpy(to, text.data, text.size);
      return text.size;
    }
    to[n++] = char(value);
    i += d.bytes;
  }
  return n;
}

u64 Loader::unescape_spaces(Str text, char* to) {
  u64 n = 0;
  for (u64 i = 0; i < text.size;) {
    const bool space = text.from(i).starts_with(spm_space);
    to[n++] = space ? ' ' : text[i];
    i += space ? spm_space.size : 1;
  }
  return n;
}

void Loader::find_byte_tokens() {
  for (u32 value = 0; value < 256; ++value) {
    s_.byte_tokens[value] = s_.is_byte_level() ? find_mapped_byte(value) : find_byte(value);
  }
}

Token Loader::find_mapped_byte(u32 value) const {
  const u32 cp = byte_to_code_point(u8(value));
  const char utf8[2] = {char(0xc0 | cp >> 6), char(0x80 | (cp & 0x3f))};
  const char ascii = char(cp);
  const Token token = cp < 0x80 ? s_.table.find({&ascii, 1}) : s_.table.find({utf8, 2});
  return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
}

Token Loader::find_byte(u32 value) const {
  constexpr Str hex = "0123456789ABCDEF";
  const char text[6] = {'<', '0', 'x', hex[value >> 4], hex[value & 15], '>'};
  Token token = s_.table.find({text, 6});
  if (token != no_token && (s_.attributes[u64(token)] & is_byte_token)) return token;
  const char raw = char(value);
  token = s_.table.find({&raw, 1});
  return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
}

Result<Tokenizer*> Tokenizer::load(Arena& arena, const gguf::File& file) { return Loader::load(arena, file); }

}  // namespace flyball::tokenizer
