#include "tokenizer/known_tokens.h"
#include "tokenizer/loader.h"

namespace flyball::tokenizer {

using gguf::Value;

namespace {

// What converters write where a vocabulary has no such token: -1, often as a u32.
bool is_none(const Value& id) {
  for (const u8 byte : id.raw) {
    if (byte != 0xff) return false;
  }
  return id.raw.size >= 4;
}

// Phi-3's tokenizer.json: tokens that swallow the white space behind them.
constexpr Str phi3_stripping[] = {
    "</s>",       "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
    "<|system|>", "<|end|>",       "<|placeholder5|>", "<|placeholder6|>", "<|user|>"};

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
  FLYBALL_TRY(read_eos_list());
  // Gemma's tokenizer puts no space before a text; Ollama's converter leaves the key out.
  const Result<Str> architecture = file_.get_str_or("general.architecture", "");
  const bool gemma = architecture && architecture.value().starts_with("gemma");
  const Value* const bos = file_.find(KEY "bos_token_id");
  const bool adds_bos = (s_.pre ? s_.pre->add_bos : true) && !(bos && is_none(*bos));
  FLYBALL_ASSIGN(s_.add_space_prefix, file_.get_bool_or(KEY "add_space_prefix", !s_.pre && !gemma));
  if (s_.pre) s_.add_space_prefix = false;  // BPE has none, whatever the file says
  FLYBALL_ASSIGN(s_.add_bos, file_.get_bool_or(KEY "add_bos_token", adds_bos));
  if (s_.pre && s_.pre->gemma) s_.add_bos = true;
  FLYBALL_ASSIGN(s_.add_eos, file_.get_bool_or(KEY "add_eos_token", false));
  if (s_.add_bos && s_.bos == no_token) return missing_id(KEY "bos_token_id", "BOS");
  if (s_.add_eos && s_.eos == no_token) return missing_id(KEY "eos_token_id", "EOS");
  return {};
}

Error Loader::missing_id(Str key, Str name) {
  return fail(Code::corrupt, key) << "is missing, but the vocabulary asks for " << name << " around each text";
}

Token Loader::default_id(u64 token, u16 attribute) const {
  return token < s_.texts.size && (s_.attributes[token] & attribute) ? Token(token) : no_token;
}

Status Loader::read_id(Str key, Token* token) const {
  const Value* value = file_.find(key);
  return value ? read_id(key, *value, token) : Status();
}

Status Loader::read_id(Str key, const Value& value, Token* token) const {
  if (value.type != gguf::ValueType::array && is_none(value)) return *token = no_token, Status();
  u64 id = 0;
  FLYBALL_ASSIGN(id, gguf::integer(key, value));
  if (id >= s_.texts.size) {
    return fail(Code::corrupt, key, value.offset) << id << " is not a token: there are " << s_.texts.size;
  }
  *token = Token(id);
  return {};
}

// Ollama's files have all ends of an answer in one list.
Status Loader::read_eos_list() {
  const Value* ids = file_.find(KEY "eos_token_ids");
  if (ids && ids->type != gguf::ValueType::array) return read_eos(*ids);
  for (u64 i = 0; ids && i < ids->count; ++i) FLYBALL_TRY(read_eos(gguf::element(*ids, i)));
  return {};
}

Status Loader::read_eos(const Value& id) {
  Token token = no_token;
  FLYBALL_TRY(read_id(KEY "eos_token_ids", id, &token));
  if (s_.eos == no_token) s_.eos = token;
  make_final(token);
  return {};
}

void Loader::make_control(Token token) {
  if (token == no_token || is_text(token)) return;
  u16& attribute = s_.attributes[u64(token)];
  attribute = u16((attribute & ~(is_user_defined | is_mergeable)) | is_control_token);
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
  for (Str text : shown_texts) {
    const Token token = s_.pre && s_.pre->gemma ? mark_known(text, false) : no_token;
    if (token != no_token) s_.attributes[u64(token)] |= is_shown;
  }
  // "</s>" is EOS to Llama and phi-3, but an HTML tag to gemma, which marks it as user-defined or normal.
  const Token html = s_.table.find("</s>");
  if (html != no_token && type(u64(html)) != normal && !(type(u64(html)) == user_defined && has("<eos>"))) {
    mark_known("</s>", true);
  }
  // In the harmony formats "<|end|>" ends a message, not the answer.
  const bool harmony = has("<|return|>") && has("<|call|>");
  if (harmony || (has("<|calls|>") && has("<|flush|>"))) {
    const Token end = s_.table.find("<|end|>");
    if (end != no_token && end != s_.eos) s_.attributes[u64(end)] &= u16(~is_end_token);
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
  if (!s_.pre && has("<|placeholder1|>") && has("<|assistant|>") && has("<|end|>")) {
    for (Str text : phi3_stripping) mark_stripping(text, strips_right);
  }
  const Str pre = s_.pre ? s_.pre->name : Str();
  if (pre == "jina-v2-de" || pre == "jina-v2-es" || pre == "jina-v2-code") mark_stripping("<mask>", strips_left);
  if (pre == "modern-bert") mark_stripping("[MASK]", strips_left);
}

void Loader::mark_stripping(Str text, u8 side) {
  const Token token = s_.table.find(text);
  if (token != no_token && s_.is_special(token)) s_.attributes[u64(token)] |= side;
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
