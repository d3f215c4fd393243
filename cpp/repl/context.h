// What the REPL's commands share: the model, the session and the conversation, and what is done with them. Private to repl/.
#pragma once

#include "base/buffer.h"
#include "catalog/catalog.h"
#include "chat/chat_format.h"
#include "policy/policy.h"
#include "repl/journal_file.h"
#include "repl/options.h"

namespace flyball::repl {

struct Context {
  Context(const Platform& platform, const Options& options);
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  const Platform& platform;
  Options options;
  Console out;
  catalog::Catalog catalog;
  JournalFile journal;
  engine::Model* model = nullptr;
  engine::Session* session = nullptr;
  policy::Policy* policy = nullptr;  // null: none is wanted
  engine::Session* draft = nullptr;  // follows the session and drafts; null: none
  Text<1024> model_path;
  Text<1024> draft_path;
  Text<1024> adapter_path;

  runtime::SamplerSettings sampler;
  u32 max_tokens;
  u32 promised_context = 0;  // that the next conversation gets; 0: none
  bool raw = false;
  bool show_logprobs = false;
  const chat::ChatFormat* format = nullptr;
  chat::Conversation conversation;
  Buffer<char> system;
  Buffer<char> script;         // lines of /autorun that wait
  Buffer<char> line;           // gathered from continued lines
  Buffer<char> shown;          // the answer's text
  Buffer<char> messages;       // of the conversation, as JSON with commas between, for feedback
  u64 question_bytes = 0;      // of them those that the last answer answers; 0: they are not known
  bool messages_whole = true;  // false: a restored conversation has turns whose text is not known
  char digest[64] = {};        // of the last answer, in digits
  Buffer<engine::Token> raw_tokens;
  Arena receipt_arena;
  Str receipt;  // of the last answer; empty: none yet
  Arena metrics_arena;
  Str last_metrics;  // JSON of the last answer
  bool progress_shown = false;
  bool running = true;
  u64 n_errors = 0;
};

// repl.cpp
void error(Context& repl, const Error& error);
void dim(Context& repl, bool on);
engine::CancelToken cancel_token(const Context& repl);
engine::Progress progress(Context& repl);

// model.cpp
constexpr Str no_model = "no model: commands work, prompts wait for /load FILE";
void open_first_model(Context& repl);
Status open_model(Context& repl, Str path);
void report_problem(Context& repl, Str path, const Error& error, Str fallback);    // an error of the run
void describe_problem(Context& repl, Str path, const Error& error, Str fallback);  // not one
Status choose_threads(Context& repl, engine::Model& model, bool again, catalog::Tuned* tuned);
Status open_session(Context& repl, u32 context, engine::CacheType cache);     // and a new conversation
Status replace_session(Context& repl, u32 context, engine::CacheType cache);  // the conversation goes on
Status open_draft(Context& repl, Str path);
void close_draft(Context& repl);
void close_model(Context& repl);
Status need_model(const Context& repl);
void restart_conversation(Context& repl);

// first_model.cpp
void choose_model(Context& repl);

// policy.cpp
Status open_policy(Context& repl);
void close_policy(Context& repl);
Status obey_policy(Context& repl);
Status ask_for(Context& repl, u32 context, engine::CacheType cache, u32 max_tokens);
Status policy_saw(Context& repl, const engine::Generation& generation);
void conversation_ended(Context& repl);

// answer.cpp
Status answer(Context& repl, Str line);
Result<engine::Generation*> begin(Context& repl, Span<const engine::Token> prompt, Str stop);

// Commands that are more than that.
void show_speculation(Context& repl);
Status use_draft(Context& repl, Str path);        // empty: shown; "-": none
Status use_adapter(Context& repl, Str argument);  // empty: shown; "-": none
Status write_metrics(Context& repl, Str path);    // empty: shown

}  // namespace flyball::repl
