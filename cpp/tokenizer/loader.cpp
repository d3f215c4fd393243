// GGUF metadata -> vocabulary. Everything that encoding and decoding rely on is checked here, and errors name the key.
#include "tokenizer/known_tokens.h"
#include "tokenizer/vocabulary.h"

namespace flyball::tokenizer {

using gguf::File;
using gguf::Value;
using gguf::ValueType;

namespace {

#define KEY "tokenizer.ggml."

constexpr u64 max_tokens = u64(1) << 24;
constexpr u64 max_merges = u64(1) << 26;

enum Type : i32 { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

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

bool contains_ignoring_case(Str text, Str lower) {
  for (u64 i = 0; i + lower.size <= text.size; ++i) {
    u64 n = 0;
    while (n < lower.size && (text[i + n] >= 'A' && text[i + n] <= 'Z' ? text[i + n] | 32 : text[i + n]) == lower[n])
      ++n;
    if (n == lower.size) return true;
  }
  return false;
}

template <class T>
T element(const Value& array, u64 i) {
  T value;
  memcpy(&value, array.raw.data + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace

class Loader {
 public:
  Loader(Arena& arena, const File& file, Tokenizer::State& state) : arena_(arena), file_(file), s_(state) {}

  static Result<Tokenizer*> load(Arena& arena, const File& file) {
    auto* state = static_cast<Tokenizer::State*>(arena.allocate_bytes(sizeof(Tokenizer::State)));
    auto* tokenizer = static_cast<Tokenizer*>(arena.allocate_bytes(sizeof(Tokenizer)));
    if (!state || !tokenizer) return out_of_memory();
    *state = Tokenizer::State();
    *tokenizer = Tokenizer();
    tokenizer->state_ = state;
    FLYBALL_TRY(Loader(arena, file, *state).run());
    return tokenizer;
  }

 private:
  static Error out_of_memory() { return fail(Code::out_of_memory, KEY "tokens") << "no memory for the vocabulary"; }

  Status run() {
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

  Status read_model() {
    FLYBALL_ASSIGN(s_.model, file_.get_str(KEY "model"));
    if (s_.model == "llama") return refuse_normalizer();
    if (s_.model != "gpt2") {
      return fail(Code::unsupported, KEY "model")
             << "tokenizer model '" << s_.model
             << "' is not supported; supported are 'llama' (SentencePiece) and 'gpt2'"
             << " (byte-level BPE)";
    }
    // Files from before pre-tokenizers were named mean `default`; a name that is there must be known.
    Str name;
    FLYBALL_ASSIGN(name, file_.get_str_or(KEY "pre", "default"));
    s_.pre = find_pre_tokenizer(name.empty() ? Str("default") : name);
    if (s_.pre) return {};
    return fail(Code::unsupported, KEY "pre")
           << "pre-tokenizer '" << name
           << "' is not known, and its token ids are not guessed; known are default, llama-bpe,"
           << " qwen2, qwen35, gpt-2, gpt-4o, tekken, smollm, phi-2, deepseek-v3 and those listed in "
              "docs/tokenizers.md";
  }

  // SentencePiece models with a normalizer of their own would need other ids than plain merging gives.
  Status refuse_normalizer() {
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

  Status read_tokens() {
    Value array;
    FLYBALL_ASSIGN(array, file_.get_array(KEY "tokens", ValueType::string));
    if (array.count == 0 || array.count > max_tokens) {
      return fail(Code::corrupt, KEY "tokens", array.offset)
             << array.count << " tokens; between 1 and " << max_tokens << " are supported";
    }
    tokens_offset_ = array.offset;
    s_.texts = arena_.allocate<Str>(array.count);
    s_.pieces = arena_.allocate<Str>(array.count);
    s_.attributes = arena_.allocate<u8>(array.count);
    if (s_.texts.empty() || s_.pieces.empty() || s_.attributes.empty()) return out_of_memory();
    gguf::StringArray strings(array);
    for (Str& text : s_.texts) {
      if (!strings.next(&text)) return fail(Code::corrupt, KEY "tokens", array.offset) << "ends before its last string";
      text_bytes_ += text.size;
    }
    return {};
  }

  Status read_types() {
    const Value* found = file_.find(KEY "token_type");
    if (!found && s_.pre) {
      for (u8& attribute : s_.attributes) attribute = is_mergeable;
      return {};
    }
    FLYBALL_ASSIGN(types_, file_.get_array(KEY "token_type", ValueType::i32));
    FLYBALL_TRY(same_count(types_, KEY "token_type"));
    for (u64 i = 0; i < types_.count; ++i) {
      u8& attribute = s_.attributes[i];
      switch (type(i)) {
        case control: attribute = is_control_token; break;
        case unknown: attribute = is_unknown_token; break;
        case user_defined: attribute = is_user_defined | is_mergeable; break;
        case byte: attribute = is_byte_token; break;
        default: attribute = is_mergeable; break;
      }
    }
    return {};
  }

  i32 type(u64 token) const { return types_.count ? element<i32>(types_, token) : i32(normal); }

  Status same_count(const Value& array, Str key) const {
    if (array.count == s_.texts.size) return {};
    return fail(Code::corrupt, key, array.offset)
           << array.count << " values for " << s_.texts.size << " tokens in " << KEY "tokens";
  }

  Status index_texts() {
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

  Status read_merges() {
    Value array;
    FLYBALL_ASSIGN(array, file_.get_array(KEY "merges", ValueType::string));
    if (array.count > max_merges) return fail(Code::corrupt, KEY "merges", array.offset) << array.count << " merges";
    if (!s_.merges.create(arena_, array.count)) return out_of_memory();
    formed_ = arena_.allocate<u8>(s_.texts.size);
    if (formed_.empty()) return out_of_memory();
    gguf::StringArray strings(array);
    for (u64 rank = 0; rank < array.count; rank += merge_block) {
      FLYBALL_TRY(read_merge_block(strings, rank, array.offset));
    }
    return {};
  }

  // In steps over a block, with the memory that the next step needs fetched ahead: a third less time on 280,000 merges.
  static constexpr u64 merge_block = 32;
  Status read_merge_block(gguf::StringArray& strings, u64 first_rank, u64 offset) {
    struct Line {
      Str text, left, right;
      Token left_token, right_token, merged;
    };
    Line lines[merge_block];
    u64 n = 0;
    const auto bad = [&](u64 i, Str what) {
      char shown[64];
      return fail(Code::corrupt, KEY "merges", offset)
             << "merge " << first_rank + i << " '"
             << Writer(shown, sizeof(shown)).put_printable(lines[i].text, 40).text() << "' " << what;
    };
    for (; n < merge_block && strings.next(&lines[n].text); ++n) {
      Line& line = lines[n];
      u64 space = 1;
      while (space < line.text.size && line.text[space] != ' ') ++space;
      if (space + 1 >= line.text.size) return bad(n, "is not two tokens with a space between");
      line.left = line.text.substr(0, space);
      line.right = line.text.from(space + 1);
      s_.table.prefetch(line.left);
      s_.table.prefetch(line.right);
    }
    for (u64 i = 0; i < n; ++i) {
      Line& line = lines[i];
      if (!find_merge(line.left, line.right, &line.left_token, &line.right_token, &line.merged)) {
        return bad(i, "needs a token that is not in " KEY "tokens");
      }
      s_.merges.prefetch(line.left_token, line.right_token);
    }
    for (u64 i = 0; i < n; ++i) {
      // A special token's text must stay text when it comes from the user: such a merge does not take place.
      if (!(s_.attributes[u64(lines[i].merged)] & is_mergeable)) continue;
      formed_[u64(lines[i].merged)] = 1;
      if (!s_.merges.add(lines[i].left_token, lines[i].right_token, u32(first_rank + i), lines[i].merged)) {
        return bad(i, "collides with many others; not a real vocabulary");
      }
    }
    return {};
  }

  // Most files list merges in the order of the tokens that they form, which saves the slowest of the three look-ups.
  bool find_merge(Str left, Str right, Token* left_token, Token* right_token, Token* merged) {
    *left_token = s_.table.find(left);
    *right_token = s_.table.find(right);
    if (*left_token == no_token || *right_token == no_token) return false;
    const u64 guess = u64(last_merged_) + 1;
    if (guess < s_.texts.size) {
      const Str text = s_.texts[guess];
      if (text.size == left.size + right.size && text.starts_with(left) && text.ends_with(right)) {
        *merged = last_merged_ = Token(guess);
        return true;
      }
    }
    *merged = last_merged_ = s_.table.find(left, right);
    return *merged != no_token;
  }

  Status read_special_ids() {
    // Where a file names none: SentencePiece's own order, if the types agree.
    if (!s_.pre) {
      s_.unknown = default_id(0, is_unknown_token);
      s_.bos = default_id(1, is_control_token);
      s_.eos = default_id(2, is_control_token);
    }
    FLYBALL_TRY(read_id(KEY "unknown_token_id", &s_.unknown));
    FLYBALL_TRY(read_id(KEY "bos_token_id", &s_.bos));
    FLYBALL_TRY(read_id(KEY "eos_token_id", &s_.eos));
    FLYBALL_TRY(read_id(KEY "eot_token_id", &s_.eot));
    Token eom = no_token;
    FLYBALL_TRY(read_id(KEY "eom_token_id", &eom));
    make_control(s_.bos);
    make_final(s_.eos);
    make_final(s_.eot);
    make_final(eom);
    constexpr Str other_ends[] = {KEY "fim_pad_token_id", KEY "fim_rep_token_id", KEY "fim_sep_token_id"};
    for (Str key : other_ends) {
      Token token = no_token;
      FLYBALL_TRY(read_id(key, &token));
      make_final(token);
    }
    FLYBALL_ASSIGN(s_.add_space_prefix, file_.get_bool_or(KEY "add_space_prefix", !s_.pre));
    if (s_.pre) s_.add_space_prefix = false;  // byte-level BPE has none, whatever the file says
    FLYBALL_ASSIGN(s_.add_bos, file_.get_bool_or(KEY "add_bos_token", s_.pre ? s_.pre->add_bos : true));
    FLYBALL_ASSIGN(s_.add_eos, file_.get_bool_or(KEY "add_eos_token", false));
    if (s_.add_bos && s_.bos == no_token) return missing_id(KEY "bos_token_id", "BOS");
    if (s_.add_eos && s_.eos == no_token) return missing_id(KEY "eos_token_id", "EOS");
    return {};
  }

  static Error missing_id(Str key, Str name) {
    return fail(Code::corrupt, key) << "is missing, but the vocabulary asks for " << name << " around each text";
  }

  Token default_id(u64 token, u8 attribute) const {
    return token < s_.texts.size && (s_.attributes[token] & attribute) ? Token(token) : no_token;
  }

  Status read_id(Str key, Token* token) const {
    const Value* value = file_.find(key);
    if (!value) return {};
    u64 id = 0;
    FLYBALL_ASSIGN(id, file_.get_u64(key));
    if (id >= s_.texts.size) {
      return fail(Code::corrupt, key, value->offset) << id << " is not a token: there are " << s_.texts.size;
    }
    *token = Token(id);
    return {};
  }

  // A token that merging forms from text is text, whatever it looks like ("</s>" is plain HTML to qwen2).
  bool is_text(Token token) const { return !formed_.empty() && formed_[u64(token)]; }
  void make_control(Token token) {
    if (token == no_token || is_text(token)) return;
    u8& attribute = s_.attributes[u64(token)];
    attribute = u8((attribute & ~(is_user_defined | is_mergeable)) | is_control_token);
  }
  void make_final(Token token) {
    make_control(token);
    if (token != no_token) s_.attributes[u64(token)] |= is_end_token;
  }

  void mark_known_texts() {
    for (Str text : end_of_turn_texts) {
      const Token token = mark_known(text, true);
      if (s_.eot == no_token) s_.eot = token;
    }
    for (Str text : end_of_generation_texts) mark_known(text, true);
    for (Str text : control_texts) mark_known(text, false);
    // "</s>" is EOS to Llama and phi-3, but an HTML tag to gemma, which marks it as user-defined or normal.
    const Token html = s_.table.find("</s>");
    if (html != no_token && type(u64(html)) != normal && !(type(u64(html)) == user_defined && has("<eos>"))) {
      mark_known("</s>", true);
    }
    // In the harmony formats "<|end|>" ends a message, not the answer.
    const bool harmony = has("<|return|>") && has("<|call|>");
    if (harmony || (has("<|calls|>") && has("<|flush|>"))) {
      const Token end = s_.table.find("<|end|>");
      if (end != no_token && end != s_.eos) s_.attributes[u64(end)] &= u8(~is_end_token);
    }
  }

  bool has(Str text) const { return s_.table.find(text) != no_token; }

  Token mark_known(Str text, bool ends) {
    const Token token = s_.table.find(text);
    if (token == no_token || is_text(token)) return no_token;
    if (ends) {
      make_final(token);
    } else {
      make_control(token);
    }
    return token;
  }

  // GGUF does not carry the tokens' lstrip and rstrip; these are the vocabularies known to have them.
  void mark_stripping() {
    const Result<Str> name = file_.get_str_or("general.name", "");
    const Str model_name = name.ok() ? name.value() : Str();
    if (contains_ignoring_case(model_name, "phi-3") || contains_ignoring_case(model_name, "phi3")) {
      for (u64 i = 0; i < s_.texts.size; ++i) {
        const Str text = s_.texts[i];
        const bool keeps = text == "<unk>" || text == "<s>" || text == "<|endoftext|>";
        if (s_.is_special(Token(i)) && !keeps) s_.attributes[i] |= strips_right;
      }
    }
    const Str pre = s_.pre ? s_.pre->name : Str();
    if (pre == "jina-v2-de" || pre == "jina-v2-es" || pre == "jina-v2-code") mark_left("<mask>");
    if (contains_ignoring_case(model_name, "modern-bert")) mark_left("[MASK]");
  }
  void mark_left(Str text) {
    const Token token = s_.table.find(text);
    if (token != no_token) s_.attributes[u64(token)] |= strips_left;
  }

  Status make_pieces() {
    Span<char> memory = arena_.allocate<char>(max(text_bytes_, u64(1)));
    if (memory.empty()) return out_of_memory();
    char* to = memory.data;
    for (u64 i = 0; i < s_.texts.size; ++i) {
      const u8 attribute = s_.attributes[i];
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
        s_.pieces[i] = {to, s_.pre ? decode_bytes(s_.texts[i], to) : unescape_spaces(s_.texts[i], to)};
        to += s_.pieces[i].size;
      }
    }
    return {};
  }

  // A text with a character that is no byte's (an added token typed as normal) stands for itself.
  static u64 decode_bytes(Str text, char* to) {
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

  static u64 unescape_spaces(Str text, char* to) {
    u64 n = 0;
    for (u64 i = 0; i < text.size;) {
      const bool space = text.from(i).starts_with(spm_space);
      to[n++] = space ? ' ' : text[i];
      i += space ? spm_space.size : 1;
    }
    return n;
  }

  void find_byte_tokens() {
    for (u32 value = 0; value < 256; ++value) {
      s_.byte_tokens[value] = s_.pre ? find_mapped_byte(value) : find_spm_byte(value);
    }
  }
  Token find_mapped_byte(u32 value) const {
    const u32 cp = byte_to_code_point(u8(value));
    const char utf8[2] = {char(0xc0 | cp >> 6), char(0x80 | (cp & 0x3f))};
    const char ascii = char(cp);
    const Token token = cp < 0x80 ? s_.table.find({&ascii, 1}) : s_.table.find({utf8, 2});
    return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
  }
  Token find_spm_byte(u32 value) const {
    constexpr Str hex = "0123456789ABCDEF";
    const char text[6] = {'<', '0', 'x', hex[value >> 4], hex[value & 15], '>'};
    Token token = s_.table.find({text, 6});
    if (token != no_token && (s_.attributes[u64(token)] & is_byte_token)) return token;
    const char raw = char(value);
    token = s_.table.find({&raw, 1});
    return token != no_token && (s_.attributes[u64(token)] & is_mergeable) ? token : no_token;
  }

  Status read_scores() {
    Value scores;
    FLYBALL_ASSIGN(scores, file_.get_array(KEY "scores", ValueType::f32));
    FLYBALL_TRY(same_count(scores, KEY "scores"));
    s_.keys = arena_.allocate<u32>(scores.count);
    if (s_.keys.empty()) return out_of_memory();
    s_.words_start_with_space = true;
    for (u64 i = 0; i < scores.count; ++i) {
      const f32 score = element<f32>(scores, i) + 0.0f;  // -0 is 0
      if (score != score)
        return fail(Code::corrupt, KEY "scores", scores.offset) << "the score of token " << i << " is NaN";
      // Floats order like sign-magnitude integers; the best score shall be the smallest key.
      const u32 bits = bit_cast<u32>(score);
      s_.keys[i] = bits >> 31 ? bits : ~(bits | 0x80000000u);
      if (s_.attributes[i] & is_mergeable) measure_mergeable(s_.texts[i]);
    }
    return {};
  }

  void measure_mergeable(Str text) {
    s_.longest_mergeable = max(s_.longest_mergeable, u32(min(text.size, u64(0xffffffffu))));
    bool only_spaces = true;
    for (u64 i = 0; i < text.size;) {
      const bool space = text.from(i).starts_with(spm_space);
      if (space && !only_spaces) s_.words_start_with_space = false;
      only_spaces = only_spaces && space;
      i += space ? spm_space.size : 1;
    }
  }

  Status index_special_tokens() {
    u64 n = 0;
    Span<u32> lengths = arena_.allocate<u32>(max_special_bytes + 1);  // how many tokens have this length
    if (lengths.empty()) return out_of_memory();
    u64 n_lengths = 0;
    for (u64 i = 0; i < s_.texts.size; ++i) {
      const u64 size = s_.texts[i].size;
      if (!s_.is_special(Token(i)) || size == 0) continue;
      if (size > max_special_bytes) {
        return fail(Code::unsupported, KEY "tokens", tokens_offset_)
               << "special token " << i << " has " << size << " bytes; at most " << max_special_bytes
               << " are supported";
      }
      n_lengths += lengths[size]++ == 0;
      ++n;
    }
    if (n == 0) return {};
    s_.special_lengths = arena_.allocate<SpecialLength>(n_lengths);
    u64 slots = 16;
    while (slots < n * 2) slots *= 2;
    s_.special_slots = arena_.allocate<u64>(slots);
    if (s_.special_lengths.empty() || s_.special_slots.empty()) return out_of_memory();
    u64 index = 0;
    for (u32 size = max_special_bytes; size > 0; --size) {
      if (lengths[size]) s_.special_lengths[index].bytes = size, lengths[size] = u32(++index);
    }
    for (u64 i = 0; i < s_.texts.size; ++i) {
      if (!s_.is_special(Token(i)) || s_.texts[i].empty()) continue;
      SpecialLength& length = s_.special_lengths[lengths[s_.texts[i].size] - 1];
      const u8 first = u8(s_.texts[i][0]);
      length.first_bytes[first / 64] |= u64(1) << first % 64;
      length.plain |= !(s_.attributes[i] & (is_control_token | is_unknown_token));
      if (!add_special(Token(i))) {
        return fail(Code::corrupt, KEY "tokens", tokens_offset_) << "special tokens collide in the hash table";
      }
    }
    return {};
  }

  bool add_special(Token token) {
    u64 hash = 0;
    for (char c : s_.texts[u64(token)]) hash = hash * rolling_base + u8(c);
    hash = mix(hash);
    for (u32 probe = 0; probe < max_probes; ++probe) {
      u64& slot = s_.special_slots[(hash + probe) & (s_.special_slots.size - 1)];
      if (slot) continue;
      slot = (hash & 0xffffffff00000000u) | (u32(token) + 1);
      return true;
    }
    return false;
  }

  Arena& arena_;
  const File& file_;
  Tokenizer::State& s_;
  Value types_;
  Span<u8> formed_;  // gpt2: tokens that a merge forms
  u64 tokens_offset_ = 0;
  u64 text_bytes_ = 0;
  Token last_merged_ = no_token;
};

Result<Tokenizer*> Tokenizer::load(Arena& arena, const File& file) { return Loader::load(arena, file); }

}  // namespace flyball::tokenizer
