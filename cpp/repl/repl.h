// The REPL: one source for the host program and for bare metal. It is fed with lines and writes through the Platform; it
// makes no operating-system call of its own.
#pragma once

#include "base/buffer.h"
#include "catalog/catalog.h"
#include "catalog/tune.h"
#include "chat/chat_format.h"
#include "engine/engine.h"
#include "policy/policy.h"
#include "repl/journal_file.h"

namespace flyball::repl {

struct Options {
  Str model;           // path; empty: the fallback, if there is one
  Str fallback_model;  // the bundled one; empty: none
  Str isa = "auto";
  u32 threads = 0;
  u32 decode_threads = 0;
  u64 prefix_cache_bytes = engine::ModelOptions().prefix_cache_bytes;
  u32 context = 0;
  engine::CacheType cache = engine::CacheType::f16;
  engine::SpeculationOptions speculation;
  Str draft;                 // path of the model that drafts; empty: prompt lookup does
  Str models_directory;      // for /models without an argument; empty: the loaded model's
  Str catalog_cache;         // path of the file that keeps model summaries; empty: none
  bool measure_isa = false;  // where none is named: the fastest here, not the widest
  bool tune = false;         // threads by measured probes where none are set
  bool tune_again = false;   // even where some are remembered
  catalog::Profile profile = catalog::Profile::latency;
  Str tuning_memory;  // path of the file that remembers them; empty: none
  Str journal;        // path of the file that gets the journal; empty: none
  Str log;            // path of the file that gets the same as lines of text; empty: none
  Str policy_file;    // path of the file that gets what the policy changes; empty: none, and nothing is applied
  Str metrics;        // path of the file that gets the metrics at the end; empty: none
  Str differences;    // what /help says of this program alone
  void (*instead_of_log)(Str lines) = nullptr;  // gets what a log cannot take
  engine::GovernorSettings governor;
  runtime::SamplerSettings sampler;
  u32 max_tokens = engine::default_max_tokens;
  bool terminal = false;  // colours and a progress line
};

class Repl {
 public:
  Repl(const Platform& platform, const Options& options);
  ~Repl();
  Repl(const Repl&) = delete;
  Repl& operator=(const Repl&) = delete;

  // Greets, loads the model, and says what is wrong where that fails; the REPL works without one.
  void start();

  // One line without its end: a command, a prompt, or (with a `\` at its end) a part of either. False: /quit.
  bool feed(Str line);
  Str prompt() const;                         // to be shown before the next line
  u64 n_errors() const { return n_errors_; }  // commands and prompts that failed so far

 private:
  struct Command {
    Str name;
    Str arguments;
    Str help;
    Status (Repl::*run)(Str argument);
  };
  static Span<const Command> commands();
  Status run_command(Str line);
  bool feed_line(Str line);
  void run_script();

  // Commands, in the order of the table.
  Status help(Str argument);
  Status models(Str argument);
  Status model_info(Str argument);
  Status load(Str argument);
  Status sampling(Str argument);
  Status temperature(Str argument);
  Status top_k(Str argument);
  Status top_p(Str argument);
  Status min_p(Str argument);
  Status repeat(Str argument);
  Status no_repeat(Str argument);
  Status max_tokens(Str argument);
  Status seed(Str argument);
  Status context(Str argument);
  Status cache_type(Str argument);
  Status speculate(Str argument);
  Status draft(Str argument);
  Status tune(Str argument);
  Status autotune(Str argument);
  Status guard(Str argument);
  Status policy(Str argument);
  Status consult(Str argument);
  Status outcomes(Str argument);
  Status journal(Str argument);
  Status explain(Str argument);
  Status cpu(Str argument);
  Status metrics(Str argument);
  Status reset(Str argument);
  Status clear(Str argument);
  Status system(Str argument);
  Status raw(Str argument);
  Status format(Str argument);
  Status tokens(Str argument);
  Status logprobs(Str argument);
  Status save(Str argument);
  Status restore(Str argument);
  Status receipt(Str argument);
  Status verify(Str argument);
  Status autorun(Str argument);
  Status quit(Str argument);

  // Model and session.
  Result<engine::Model*> load_model(Str path, u64 prefix_cache_bytes);
  void open_first_model();
  Status open_model(Str path);
  void report_problem(Str path, const Error& error, Str fallback);
  Status open_session(u32 context, engine::CacheType cache);
  Status replace_session(u32 context, engine::CacheType cache);
  void close_session();
  Status choose_threads(engine::Model& model, bool again, catalog::Tuned* tuned);
  Status open_draft(Str path);
  Status follow(engine::Model& draft);
  void follow_again();
  void close_draft();
  void close_model();
  Status need_model() const;
  void describe_model();
  void restart_conversation();

  // Settings.
  Status govern(Str prefix, Str main_key, Str argument);
  Status set(const runtime::SamplerSettings& changed);

  // The policy: made when it is wanted, shown each answer, and obeyed.
  Status open_policy();
  void close_policy();
  Status consult_policy(Str argument);
  void show_policy_decisions();
  Status policy_saw(const engine::Generation& generation);
  void conversation_ended();
  Status ask_for(u32 context, engine::CacheType cache, u32 max_tokens);
  Status obey_policy();

  // Answers.
  Status answer(Str line);
  Status answer_raw(Str line);
  Status answer_chat(Str line);
  Result<engine::Generation*> begin(Span<const engine::Token> prompt, Str stop);
  Status run(engine::Generation& generation);
  Status finish(engine::Generation& generation);
  void show_decisions(const engine::Generation& generation);
  void put_logprob(const engine::Step& step);
  engine::CancelToken cancel_token() const;
  engine::Progress progress();

  void error(const Error& error);
  void dim(bool on);

  const Platform& platform_;
  Options options_;
  Console out_;
  catalog::Catalog catalog_;
  JournalFile journal_;
  engine::Model* model_ = nullptr;
  engine::Session* session_ = nullptr;
  policy::Policy* policy_ = nullptr;  // null: none is wanted
  engine::Session* draft_ = nullptr;  // follows session_ and drafts; null: none
  Text<1024> model_path_;
  Text<1024> draft_path_;

  runtime::SamplerSettings sampler_;
  u32 max_tokens_;
  u32 promised_context_ = 0;  // that the next conversation gets; 0: none
  bool raw_ = false;
  bool show_logprobs_ = false;
  const chat::ChatFormat* format_ = nullptr;
  chat::Conversation conversation_;
  Buffer<char> system_;
  Buffer<char> script_;  // lines of /autorun that wait
  Buffer<char> line_;    // gathered from continued lines
  Buffer<char> shown_;   // the answer's text
  Buffer<engine::Token> raw_tokens_;
  Arena receipt_arena_;
  Str receipt_;  // of the last answer; empty: none yet
  Arena metrics_arena_;
  Str last_metrics_;  // JSON of the last answer
  bool progress_shown_ = false;
  bool running_ = true;
  u64 n_errors_ = 0;
};

}  // namespace flyball::repl
