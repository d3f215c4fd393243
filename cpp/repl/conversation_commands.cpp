// The conversation and how it is shown.
#include "repl/command.h"
#include "repl/words.h"

namespace flyball::repl {

namespace {

Status reset(Context& repl, Str) {
  FLYBALL_TRY(need_model(repl));
  conversation_ended(repl);
  FLYBALL_TRY(open_session(repl, repl.session->context(), repl.session->cache_type()));
  FLYBALL_TRY(obey_policy(repl));
  repl.receipt = repl.last_metrics = {};
  repl.out << "a new session: counters at zero, conversation empty\n";
  return {};
}

Status clear(Context& repl, Str) {
  FLYBALL_TRY(need_model(repl));
  repl.session->reset();
  restart_conversation(repl);
  FLYBALL_TRY(obey_policy(repl));
  repl.out << "conversation and cache are empty\n";
  return {};
}

Status system(Context& repl, Str argument) {
  if (!argument.empty()) {
    repl.system.truncate(0);
    if (argument != "-" && !append(repl.system, argument))
      return fail(Code::out_of_memory, "system") << "no memory for the text";
    if (repl.model != nullptr) FLYBALL_TRY(clear(repl, ""));
  }
  if (repl.system.size() == 0)
    repl.out << "no system text\n";
  else
    (repl.out << "system: ").printable(text_of(repl.system)) << '\n';
  return {};
}

Status raw(Context& repl, Str argument) {
  FLYBALL_TRY(read_switch("raw", argument, &repl.raw));
  repl.out << (repl.raw ? "raw: each prompt is continued as it is\n"
                        : "chat: prompts are messages of a conversation\n");
  return {};
}

Status format(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (!argument.empty()) {
    const chat::ChatFormat* const wanted = chat::find_chat_format(argument);
    if (wanted == nullptr) {
      ErrorBuilder unknown = fail(Code::invalid_argument, "format");
      unknown << "'" << argument.substr(0, min(argument.size, u64(40))) << "' is not known; choose one of";
      for (const chat::ChatFormat& known : chat::chat_formats()) unknown << " " << known.name;
      return unknown;
    }
    repl.format = wanted;
    FLYBALL_TRY(clear(repl, ""));
  }
  repl.out << "format " << repl.format->name << '\n';
  return {};
}

Status tokens(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  const tokenizer::Tokenizer& tokenizer = repl.model->tokenizer();
  u64 n = 0;
  FLYBALL_ASSIGN(n, tokenizer.encode(repl.platform, argument, {false, false}, repl.raw_tokens.space()));
  if (n > repl.raw_tokens.space().size) {
    if (!repl.raw_tokens.reserve(n)) return fail(Code::out_of_memory, "tokens") << "no memory for " << n << " ids";
    FLYBALL_ASSIGN(n, tokenizer.encode(repl.platform, argument, {false, false}, repl.raw_tokens.space()));
  }
  repl.out << n << " tokens:";
  for (const engine::Token token : repl.raw_tokens.space().subspan(0, n)) {
    char piece[80];
    Writer shown(piece, sizeof piece);
    shown.put_safe(tokenizer.piece(token, true));
    repl.out << ' ' << token << "'" << shown.text() << "'";
  }
  repl.out << '\n';
  return {};
}

Status logprobs(Context& repl, Str argument) {
  FLYBALL_TRY(read_switch("logprobs", argument, &repl.show_logprobs));
  repl.out << "logprobs " << (repl.show_logprobs ? "on\n" : "off\n");
  return {};
}

}  // namespace

Span<const Command> conversation_commands() {
  static constexpr Command table[] = {
      {"reset", "", "a new session: counters at zero, conversation empty", reset},
      {"clear", "", "forget the conversation and its cache", clear},
      {"system", "[TEXT]", "what the model is told before the conversation; - for nothing", system},
      {"raw", "[on|off]", "on: continue the text as it is, without chat format", raw},
      {"format", "[NAME]", "chat format; found by the model's template", format},
      {"tokens", "TEXT", "how the text is divided into tokens", tokens},
      {"logprobs", "[on|off]", "show each token with its log probability", logprobs},
  };
  return table;
}

}  // namespace flyball::repl
