#include "chat/chat_format.h"

namespace flyball::chat {

namespace {

constexpr ChatFormat formats[] = {
    {"chatml",
     {"<|im_start|>system\n", "<|im_end|>\n"},
     {"<|im_start|>user\n", "<|im_end|>\n"},
     {"<|im_start|>assistant\n", "<|im_end|>\n"}},
    {"llama3",
     {"<|start_header_id|>system<|end_header_id|>\n\n", "<|eot_id|>"},
     {"<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"},
     {"<|start_header_id|>assistant<|end_header_id|>\n\n", "<|eot_id|>"},
     false,
     true},
    {"llama2", {"<<SYS>>\n", "\n<</SYS>>\n\n"}, {"{bos}[INST] ", " [/INST]"}, {"", " {eos}"}, true, true},
    {"mistral-v1", {"", "\n\n"}, {" [INST] ", " [/INST]"}, {"", "{eos}"}, true},
    {"mistral-v3", {"", "\n\n"}, {"[INST] ", "[/INST]"}, {"", "{eos}"}, true},
    {"mistral-v3-tekken", {"", "\n\n"}, {"[INST]", "[/INST]"}, {"", "{eos}"}, true},
    {"mistral-v7", {"[SYSTEM_PROMPT] ", "[/SYSTEM_PROMPT]"}, {"[INST] ", "[/INST]"}, {"", "{eos}"}},
    {"mistral-v7-tekken", {"[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"}, {"[INST]", "[/INST]"}, {"", "{eos}"}},
    {"gemma",
     {"", "\n\n"},
     {"<start_of_turn>user\n", "<end_of_turn>\n"},
     {"<start_of_turn>model\n", "<end_of_turn>\n"},
     true,
     true},
    {"phi3", {"<|system|>\n", "<|end|>\n"}, {"<|user|>\n", "<|end|>\n"}, {"<|assistant|>\n", "<|end|>\n"}},
    {"zephyr", {"<|system|>\n", "{eos}\n"}, {"<|user|>\n", "{eos}\n"}, {"<|assistant|>\n", "{eos}\n"}},
    {"plain", {"", "\n\n"}, {"You: ", "\n"}, {"AI:", "\n"}, false, true, "\nYou:"},
};

// Everything in the formats that a vocabulary may have as a token of its own.
constexpr Str markers[] = {
    "<|im_start|>",      "<|im_end|>",      "<|start_header_id|>",
    "<|end_header_id|>", "<|eot_id|>",      "[INST]",
    "[/INST]",           "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]",
    "<start_of_turn>",   "<end_of_turn>",   "<|system|>",
    "<|user|>",          "<|assistant|>",   "<|end|>",
};
constexpr u64 n_markers = sizeof markers / sizeof markers[0];
constexpr Str bos_marker = "{bos}";
constexpr Str eos_marker = "{eos}";

bool contains(Str text, Str part) {
  for (u64 i = 0; i + part.size <= text.size; ++i) {
    if (text.substr(i, part.size) == part) return true;
  }
  return false;
}

Str name_by_template(Str text, Str pre) {
  const auto has = [text](Str part) { return contains(text, part); };
  const bool tekken = pre == "tekken";
  if (has("<|im_start|>")) return "chatml";
  if (has("<|start_header_id|>")) return "llama3";
  if (has("<start_of_turn>")) return "gemma";
  if (has("[SYSTEM_PROMPT]")) return tekken ? "mistral-v7-tekken" : "mistral-v7";
  if (has("[INST]")) {
    if (has("<<SYS>>")) return "llama2";
    if (tekken || has("\"[INST]\"")) return "mistral-v3-tekken";
    return has(" [INST]") ? "mistral-v1" : "mistral-v3";
  }
  if (has("<|assistant|>") && has("<|end|>")) return "phi3";
  if (has("<|user|>")) return "zephyr";
  return "plain";
}

Str name_by_vocabulary(const tokenizer::Tokenizer& tokenizer) {
  const auto has = [&](Str piece) { return tokenizer.find(piece) != tokenizer::no_token; };
  if (has("<|im_start|>") && has("<|im_end|>")) return "chatml";
  if (has("<|start_header_id|>") && has("<|eot_id|>")) return "llama3";
  if (has("<start_of_turn>") && has("<end_of_turn>")) return "gemma";
  if (has("<|assistant|>") && has("<|end|>")) return "phi3";
  return "plain";
}

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }

Str skip_space(Str text) {
  while (!text.empty() && is_space(text[0])) text = text.from(1);
  return text;
}

Str trim(Str text) {
  text = skip_space(text);
  while (!text.empty() && is_space(text[text.size - 1])) text.size -= 1;
  return text;
}

Error no_memory() { return fail(Code::out_of_memory, "conversation") << "no memory for its tokens"; }

}  // namespace

Span<const ChatFormat> chat_formats() { return formats; }

const ChatFormat* find_chat_format(Str name) {
  for (const ChatFormat& format : formats) {
    if (format.name == name) return &format;
  }
  return nullptr;
}

const ChatFormat& detect_chat_format(const tokenizer::Tokenizer& tokenizer) {
  const Str text = tokenizer.chat_template();
  return *find_chat_format(text.empty() ? name_by_vocabulary(tokenizer) : name_by_template(text, tokenizer.pre()));
}

void Conversation::start(const tokenizer::Tokenizer& tokenizer, const ChatFormat& format) {
  tokenizer_ = &tokenizer;
  format_ = &format;
  tokens_.truncate(0);
  text_.truncate(0);
  skip_space_ = false;
  found_markers_ = 0;
  for (u64 i = 0; i < n_markers; ++i) {
    Token id = tokenizer::no_token;
    const Result<u64> n = tokenizer.encode(platform_, markers[i], {false, false}, {&id, 1});
    if (n.ok() && n.value() == 1 && id == tokenizer.find(markers[i])) found_markers_ |= u64(1) << i;
  }
}

Status Conversation::continue_from(Span<const Token> tokens) {
  tokens_.truncate(0);
  return tokens_.append(tokens) ? Status() : Status(no_memory());
}

Status Conversation::begin() {
  if (tokens_.size() != 0 || !tokenizer_->add_bos() || tokenizer_->bos() == tokenizer::no_token) return {};
  return token(tokenizer_->bos());
}

Status Conversation::add_user(Str content, Str system) {
  const bool first = tokens_.size() == 0;
  if (!first) system = {};
  FLYBALL_TRY(begin());
  if (!system.empty() && !format_->system_in_user) {
    FLYBALL_TRY(markup(format_->system.before));
    FLYBALL_TRY(message(system));
    FLYBALL_TRY(markup(format_->system.after));
  }
  FLYBALL_TRY(markup(format_->user.before));
  if (!system.empty() && format_->system_in_user) {
    FLYBALL_TRY(markup(format_->system.before));
    FLYBALL_TRY(message(system));
    FLYBALL_TRY(markup(format_->system.after));
  }
  FLYBALL_TRY(message(content));
  FLYBALL_TRY(markup(format_->user.after));
  FLYBALL_TRY(markup(format_->answer.before));
  return flush();
}

Status Conversation::add_answer(Span<const Token> answer) {
  if (!tokens_.append(answer)) return no_memory();
  FLYBALL_TRY(markup(format_->answer.after));
  return flush();
}

Status Conversation::add_answer(Str content) {
  FLYBALL_TRY(message(content));
  FLYBALL_TRY(markup(format_->answer.after));
  return flush();
}

// Markup is ours: its markers become tokens where the vocabulary has them.
Status Conversation::markup(Str rest) {
  u64 i = 0;
  while (i < rest.size) {
    const Str here = rest.from(i);
    Token id = tokenizer::no_token;
    u64 size = 0;
    if (here.starts_with(bos_marker)) id = tokenizer_->bos(), size = bos_marker.size;
    if (here.starts_with(eos_marker)) id = tokenizer_->eos(), size = eos_marker.size;
    for (const Str marker : markers) {
      if (here.starts_with(marker)) id = tokenizer_->find(marker), size = marker.size;
    }
    const bool stands_for_a_token = here.starts_with(bos_marker) || here.starts_with(eos_marker);
    if (id == tokenizer::no_token && !stands_for_a_token) {
      FLYBALL_TRY(text(here.substr(0, 1)));
      ++i;
      continue;
    }
    if (id != tokenizer::no_token) FLYBALL_TRY(token(id));
    i += size;
  }
  return {};
}

Status Conversation::message(Str content) { return text(format_->trimmed ? trim(content) : content); }

Status Conversation::text(Str content) {
  if (skip_space_ && text_.size() == 0) content = skip_space(content);
  return append(text_, content) ? Status() : Status(no_memory());
}

Status Conversation::token(Token id) {
  if (swallows_space(id, false)) {
    while (text_.size() != 0 && is_space(text_[text_.size() - 1])) text_.truncate(text_.size() - 1);
  }
  FLYBALL_TRY(flush());
  const bool doubled_bos = id == tokenizer_->bos() && tokens_.size() == 1 && tokens_[0] == id;
  if (!doubled_bos && !tokens_.append(id)) return no_memory();
  skip_space_ = swallows_space(id, true);
  return {};
}

// Some vocabularies (phi-3) strip white space next to a special token; a trial encoding shows it.
bool Conversation::swallows_space(Token id, bool after) const {
  const Str piece = tokenizer_->piece(id, true);
  char buffer[64];
  if (piece.size + 1 > sizeof buffer) return false;
  Writer out(buffer, sizeof buffer);
  if (!after) out.put('\n');
  out.put(piece);
  if (after) out.put('\n');
  Token ids[4];
  const Result<u64> n = tokenizer_->encode(platform_, out.text(), {false, true}, ids);
  return n.ok() && n.value() == 1 && ids[0] == id;
}

Status Conversation::flush() {
  if (text_.size() == 0) return {};
  skip_space_ = false;
  const Status status = encode(text_of(text_));
  text_.truncate(0);
  return status;
}

bool Conversation::is_reserved(Token id) const {
  if (tokenizer_->is_control(id) || tokenizer_->is_end_of_generation(id)) return true;
  for (const Str marker : markers) {
    if (tokenizer_->find(marker) == id) return true;
  }
  return false;
}

Status Conversation::encode_into_scratch(Str text, u64* n) {
  for (;;) {
    FLYBALL_ASSIGN(*n, tokenizer_->encode(platform_, text, {false, false}, scratch_.space()));
    if (*n <= scratch_.space().size) return {};
    if (!scratch_.reserve(*n)) return no_memory();
  }
}

// Plain text. A vocabulary may list markers as user-defined tokens, which encoding finds in any text: so the text is
// encoded in two parts that meet inside the marker. Markers already found so are cut first: a text full of them is then
// encoded once.
Status Conversation::encode(Str rest) {
  while (!rest.empty()) {
    u64 cut = rest.size;
    for (u64 i = 0; i < cut; ++i) {
      for (u64 marker = 0; marker < n_markers; ++marker) {
        if ((found_markers_ >> marker & 1) != 0 && rest.from(i).starts_with(markers[marker])) cut = i + 1;
      }
    }
    u64 n = 0;
    FLYBALL_TRY(encode_into_scratch(rest.substr(0, cut), &n));
    const u64 whole = cut;
    for (const Token id : scratch_.space().subspan(0, n)) {
      const Str piece = tokenizer_->piece(id, true);
      if (piece.size < 2 || !is_reserved(id)) continue;
      for (u64 i = 0; i + piece.size <= rest.size && i + 1 < cut; ++i) {
        if (rest.substr(i, piece.size) == piece) cut = i + 1;
      }
    }
    if (cut < whole) FLYBALL_TRY(encode_into_scratch(rest.substr(0, cut), &n));
    if (!tokens_.append({scratch_.space().data, n})) return no_memory();
    rest = rest.from(cut);
  }
  return {};
}

}  // namespace flyball::chat
