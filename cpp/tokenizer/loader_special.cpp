#include "tokenizer/known_tokens.h"
#include "tokenizer/loader.h"

namespace flyball::tokenizer {

using gguf::Value;

namespace {

bool contains_ignoring_case(Str text, Str lower) {
  for (u64 i = 0; i + lower.size <= text.size; ++i) {
    u64 n = 0;
    while (n < lower.size && (text[i + n] >= 'A' && text[i + n] <= 'Z' ? text[i + n] | 32 : text[i + n]) == lower[n])
      ++n;
    if (n == lower.size) return true;
  }
  return false;
}

}  // namespace

Status Loader::read_special_ids() {
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
  // Gemma's tokenizer puts no space before a text; Ollama's converter leaves the key out.
  const Result<Str> architecture = file_.get_str_or("general.architecture", "");
  const bool gemma = architecture && architecture.value().starts_with("gemma");
  FLYBALL_ASSIGN(s_.add_space_prefix, file_.get_bool_or(KEY "add_space_prefix", !s_.pre && !gemma));
  if (s_.pre) s_.add_space_prefix = false;  // byte-level BPE has none, whatever the file says
  FLYBALL_ASSIGN(s_.add_bos, file_.get_bool_or(KEY "add_bos_token", s_.pre ? s_.pre->add_bos : true));
  FLYBALL_ASSIGN(s_.add_eos, file_.get_bool_or(KEY "add_eos_token", false));
  if (s_.add_bos && s_.bos == no_token) return missing_id(KEY "bos_token_id", "BOS");
  if (s_.add_eos && s_.eos == no_token) return missing_id(KEY "eos_token_id", "EOS");
  return {};
}

Error Loader::missing_id(Str key, Str name) {
  return fail(Code::corrupt, key) << "is missing, but the vocabulary asks for " << name << " around each text";
}

Token Loader::default_id(u64 token, u8 attribute) const {
  return token < s_.texts.size && (s_.attributes[token] & attribute) ? Token(token) : no_token;
}

Status Loader::read_id(Str key, Token* token) const {
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

void Loader::make_control(Token token) {
  if (token == no_token || is_text(token)) return;
  u8& attribute = s_.attributes[u64(token)];
  attribute = u8((attribute & ~(is_user_defined | is_mergeable)) | is_control_token);
}

void Loader::make_final(Token token) {
  make_control(token);
  if (token != no_token) s_.attributes[u64(token)] |= is_end_token;
}

void Loader::mark_known_texts() {
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

Token Loader::mark_known(Str text, bool ends) {
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
void Loader::mark_stripping() {
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

void Loader::mark_left(Str text) {
  const Token token = s_.table.find(text);
  if (token != no_token) s_.attributes[u64(token)] |= strips_left;
}

Status Loader::index_special_tokens() {
  u64 n = 0;
  Span<u32> lengths = arena_.allocate<u32>(max_special_bytes + 1);  // how many tokens have this length
  if (lengths.empty()) return out_of_memory();
  u64 n_lengths = 0;
  for (u64 i = 0; i < s_.texts.size; ++i) {
    const u64 size = s_.texts[i].size;
    if (!s_.is_special(Token(i)) || size == 0) continue;
    if (size > max_special_bytes) {
      return fail(Code::unsupported, KEY "tokens", tokens_offset_)
             << "special token " << i << " has " << size << " bytes; at most " << max_special_bytes << " are supported";
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

bool Loader::add_special(Token token) {
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

}  // namespace flyball::tokenizer
