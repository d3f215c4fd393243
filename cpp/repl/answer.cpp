// Models, sessions and answers.
#include "engine/version.h"
#include "receipt/receipt.h"
#include "repl/repl.h"

namespace flyball::repl {

using engine::CacheType;
using engine::Generation;
using engine::Model;
using engine::Session;
using engine::StopReason;
using engine::Token;

namespace {

constexpr Str no_model = "no model: commands work, prompts wait for /load FILE";

void release_with_model(Session* session) {
  if (session == nullptr) return;
  Model& model = session->model();
  Session::release(session);
  Model::release(&model);
}

}  // namespace

void Repl::start() {
  out_ << "flyball " << engine::version << " on " << platform_.name << "; /help lists the commands\n";
  if (!options_.journal.empty()) {
    u64 n_torn = 0;
    if (const Status status = journal_.open(options_.journal, &n_torn); !status.ok()) error(status.error());
    if (n_torn != 0)
      (out_ << "The last run ended while it wrote its journal: ").printable(options_.journal)
          << " had " << n_torn << " bytes behind its last whole line, now in FILE.torn.\n";
  }
  if (!options_.log.empty()) {
    if (const Status status = journal_.open_log(options_.log, options_.instead_of_log); !status.ok())
      error(status.error());
  }
  open_first_model();
  if (model_ != nullptr && !options_.draft.empty()) {
    if (const Status status = draft(options_.draft); !status.ok()) error(status.error());
  }
  out_.flush();
}

void Repl::open_first_model() {
  const bool has_fallback = !options_.fallback_model.empty();
  if (!options_.model.empty()) {
    const Status status = open_model(options_.model);
    if (status.ok()) return;
    report_problem(options_.model, status.error(), has_fallback ? Str("the bundled demonstration model") : no_model);
  }
  if (has_fallback) {
    const Status status = open_model(options_.fallback_model);
    if (status.ok()) {
      out_ << "This is the bundled demonstration model: it writes short stories and answers a few narrow kinds of "
              "questions.\n";
      return;
    }
    report_problem(options_.fallback_model, status.error(), no_model);
  } else if (options_.model.empty()) {
    report_problem(
        "", fail(Code::not_found, "model") << "no file was given, and the bundled model is not beside this program",
        no_model);
  }
}

void Repl::report_problem(Str path, const Error& error, Str fallback) {
  ++n_errors_;
  char text[1600];
  Writer writer(text, sizeof text);
  catalog::put_model_problem(writer, error, fallback);
  (out_ << "The model ").printable(path) << (path.empty() ? "cannot be used.\n" : " cannot be used.\n")
                                         << writer.text();
}

Status Repl::load(Str argument) {
  if (argument.empty())
    return fail(Code::invalid_argument, "/load") << "needs the model's file; /models lists what there is";
  const Status status = open_model(argument);
  if (!status.ok()) {
    report_problem(argument, status.error(),
                   model_ != nullptr ? Str("the model that was loaded before stays") : no_model);
  }
  return {};
}

Result<Model*> Repl::load_model(Str path, u64 prefix_cache_bytes) {
  if (path.size > sizeof model_path_.data) return fail(Code::invalid_argument, "model") << "the path is too long";
  engine::ModelOptions options;
  options.isa = options_.isa;
  options.threads = options_.threads;
  options.decode_threads = options_.decode_threads;
  options.prefix_cache_bytes = prefix_cache_bytes;
  options.events = journal_.sink();
  const Result<Model*> loaded = Model::load(platform_, path, options, progress());
  if (progress_shown_) out_ << "\r\x1b[K";
  progress_shown_ = false;
  if (const Str isa = options_.isa; loaded.ok() && !isa.empty() && isa != "auto") {
    if (const Str name = loaded.value()->table().name; !(name == isa))
      out_ << "warning: isa \"" << isa << "\" is now \"" << name << "\"; the next version knows only this name\n";
  }
  return loaded;
}

// The model before is given up only when the new one works: that needs memory for both, but loses nothing.
Status Repl::open_model(Str path) {
  const u64 start = now_ns(platform_);
  Model* loaded = nullptr;
  FLYBALL_ASSIGN(loaded, load_model(path, options_.prefix_cache_bytes));
  if (options_.measure_isa && options_.isa == "auto") {
    if (const Result<catalog::IsaTimes> times = catalog::choose_isa(*loaded, cancel_token()); !times.ok())
      error(times.error());
  }
  if (catalog::Tuned tuned; options_.tune) {  // where that fails, all processors compute
    const Status status = choose_threads(*loaded, options_.tune_again, &tuned);
    if (!status.ok()) error(status.error());
  }
  engine::SessionOptions wanted;
  wanted.context = options_.context;
  wanted.cache = options_.cache;
  wanted.governor = options_.governor;
  const Result<Session*> session = Session::create(*loaded, wanted);
  if (!session.ok()) {
    Model::release(loaded);
    return session.error();
  }
  conversation_ended();
  close_model();
  model_ = loaded;
  session_ = session.value();
  model_path_.assign(path);
  format_ = &chat::detect_chat_format(model_->tokenizer());
  raw_ = model_->tokenizer().chat_template().empty();
  restart_conversation();

  const model::Config& config = model_->config();
  char text[32];
  Writer size(text, sizeof text);
  catalog::put_bytes(size, model_->file_bytes());
  out_.printable(config.name.empty() ? path : config.name)
      << ": " << config.architecture_name << ", " << model_->quantisation() << ", " << size.text() << ", loaded in ";
  out_.fixed(f64(now_ns(platform_) - start) / 1e6, 0) << " ms\n";
  out_ << model_->table().name << " on " << model_->threads() << (model_->threads() == 1 ? " thread" : " threads")
       << ", context " << session_->context() << ", kv " << engine::cache_type_name(session_->cache_type());
  if (raw_)
    out_ << "; no chat template: prompts are continued as they are (/raw off for chat)\n";
  else
    out_ << "; chat format " << format_->name << '\n';
  follow_again();
  if (options_.governor.policy() || !options_.policy_file.empty()) {
    if (const Status status = open_policy(); !status.ok()) error(status.error());
  }
  return {};
}

Status Repl::choose_threads(Model& model, bool again, catalog::Tuned* tuned) {
  if (options_.threads != 0 || options_.decode_threads != 0) return {};
  catalog::TuneOptions how;
  how.profile = options_.profile;
  how.memory = options_.tuning_memory;
  how.again = again;
  how.cancel = cancel_token();
  FLYBALL_ASSIGN(*tuned, catalog::tune(model, how));
  return {};
}

Status Repl::open_session(u32 context, CacheType cache) {
  FLYBALL_TRY(replace_session(context, cache));
  options_.context = context;
  options_.cache = cache;
  restart_conversation();
  return {};
}

// The conversation stays; its keys and values are computed again.
Status Repl::replace_session(u32 context, CacheType cache) {
  engine::SessionOptions wanted;
  wanted.context = context;
  wanted.cache = cache;
  wanted.governor = options_.governor;
  Session* opened = nullptr;
  FLYBALL_ASSIGN(opened, Session::create(*model_, wanted));
  close_session();
  session_ = opened;
  follow_again();
  return {};
}

void Repl::close_session() {
  Session::release(session_);
  session_ = nullptr;
}

Status Repl::open_draft(Str path) {
  Model* loaded = nullptr;
  FLYBALL_ASSIGN(loaded, load_model(path, 0));
  Session* const before = draft_;
  if (const Status status = follow(*loaded); !status.ok()) {
    Model::release(loaded);
    return status;
  }
  release_with_model(before);
  draft_path_.assign(path);
  return {};
}

// A session of the draft with room for what this session holds.
Status Repl::follow(Model& draft) {
  engine::SessionOptions wanted;
  wanted.context = min(session_->context(), draft.config().n_ctx_train);
  engine::SpeculationOptions speculation;
  FLYBALL_ASSIGN(speculation.draft, Session::create(draft, wanted));
  const Status status = engine::check_draft(*session_, speculation);
  if (status.ok())
    draft_ = speculation.draft;
  else
    Session::release(speculation.draft);
  return status;
}

// After the session was replaced. A draft that does not suit the new one is given up.
void Repl::follow_again() {
  Session* const before = draft_;
  if (before == nullptr) return;
  if (const Status status = follow(before->model()); !status.ok()) {
    close_draft();
    error(status.error());
    (void)speculate("");
  } else {
    Session::release(before);
  }
}

void Repl::close_draft() {
  release_with_model(draft_);
  draft_ = nullptr;
}

void Repl::close_model() {
  close_policy();
  close_session();
  receipt_ = last_metrics_ = {};
  Model::release(model_);
  model_ = nullptr;
}

void Repl::restart_conversation() { conversation_.start(model_->tokenizer(), *format_); }

Status Repl::need_model() const {
  if (model_ != nullptr) return {};
  return fail(Code::not_found, "model")
         << "none is loaded; /load FILE loads one, /models DIRECTORY lists what there is";
}

engine::CancelToken Repl::cancel_token() const {
  engine::CancelToken cancel;
  cancel.context = const_cast<Platform*>(&platform_);
  cancel.stop = [](void* context) {
    const Platform& platform = *static_cast<const Platform*>(context);
    return platform.stop_requested != nullptr && platform.stop_requested(platform.self);
  };
  return cancel;
}

engine::Progress Repl::progress() {
  engine::Progress progress;
  progress.context = this;
  progress.report = [](void* context, Str phase, u64 done, u64 total) {
    Repl& repl = *static_cast<Repl*>(context);
    if (repl.options_.terminal && total != 0 && done < total) {
      repl.out_ << '\r' << phase << ' ' << 100 * done / total << " %\x1b[K";
      repl.out_.flush();
      repl.progress_shown_ = true;
    }
    const engine::CancelToken cancel = repl.cancel_token();
    return !cancel.stop(cancel.context);
  };
  return progress;
}

Status Repl::answer(Str line) {
  FLYBALL_TRY(need_model());
  (void)cancel_token().stop(
      cancel_token().context);  // a stop that came too late for the answer before is not meant for this one
  FLYBALL_TRY(raw_ ? answer_raw(line) : answer_chat(line));
  return obey_policy();  // the answer, which needs its session, is over
}

Status Repl::answer_raw(Str line) {
  const tokenizer::Tokenizer& tokenizer = model_->tokenizer();
  u64 n = 0;
  for (;;) {
    FLYBALL_ASSIGN(n, tokenizer.encode(platform_, line, {true, false}, raw_tokens_.space()));
    if (n <= raw_tokens_.space().size) break;
    if (!raw_tokens_.reserve(n)) return fail(Code::out_of_memory, "prompt") << "no memory for " << n << " tokens";
  }
  Generation* generation = nullptr;
  FLYBALL_ASSIGN(generation, begin(raw_tokens_.space().subspan(0, n), ""));
  out_.printable(line);
  const Status status = run(*generation);
  Generation::release(generation);
  return status;
}

Status Repl::answer_chat(Str line) {
  const u64 before = conversation_.tokens().size;
  Generation* generation = nullptr;
  const auto open = [&]() -> Status {
    FLYBALL_TRY(conversation_.add_user(line, text_of(system_)));
    FLYBALL_ASSIGN(generation, begin(conversation_.tokens(), format_->stop));
    return {};
  };
  Status status = open();
  if (status.ok()) status = run(*generation);
  if (status.ok() && generation->tokens().size != 0) {
    Span<const Token> tokens = generation->tokens();
    if (generation->stop_reason() == StopReason::eos) tokens.size -= 1;
    status = generation->stop_reason() == StopReason::stop_string ? conversation_.add_answer(text_of(shown_))
                                                                  : conversation_.add_answer(tokens);
  } else {
    conversation_.truncate(before);
  }
  Generation::release(generation);
  if (status.error().code == Code::context_full) {
    return fail(Code::context_full, "conversation")
           << "fills the context of " << session_->context() << " tokens; /clear starts anew, /ctx N makes room";
  }
  return status;
}

Result<Generation*> Repl::begin(Span<const Token> prompt, Str stop) {
  engine::GenerateOptions options;
  options.sampler = sampler_;
  options.max_tokens = max_tokens_;
  if (policy_ != nullptr) policy_->give(*session_, &options);
  options.speculation = options_.speculation;
  if (options.speculation.lookup) options.speculation.draft = draft_;
  if (!stop.empty()) options.stops = {&stop, 1};
  Generation* generation = nullptr;
  FLYBALL_ASSIGN(generation, Generation::begin(*session_, prompt, options));
  const Status status = generation->prefill(cancel_token(), progress());
  if (progress_shown_) out_ << "\r\x1b[K";
  progress_shown_ = false;
  if (status.ok()) return generation;
  Generation::release(generation);
  return status.error();
}

Status Repl::run(Generation& generation) {
  shown_.truncate(0);
  for (bool done = false; !done;) {
    engine::Step step;
    FLYBALL_ASSIGN(step, generation.step(cancel_token()));
    done = step.done;
    if (!append(shown_, step.text)) return fail(Code::out_of_memory, "answer") << "no memory for its text";
    if (show_logprobs_ && step.token != tokenizer::no_token)
      put_logprob(step);
    else
      out_.printable(step.text);
    out_.flush();
  }
  if (!show_logprobs_) out_ << '\n';
  return finish(generation);
}

void Repl::put_logprob(const engine::Step& step) {
  char piece[80];
  Writer shown(piece, sizeof piece);
  shown.put_safe(model_->tokenizer().piece(step.token, true));
  out_.fixed(step.logprob, 4) << "  " << step.token << " '" << shown.text() << "'\n";
}

// The metrics line, and the receipt for /receipt.
Status Repl::finish(Generation& generation) {
  const runtime::GenerationMetrics& m = generation.metrics();
  const u64 per_second = max(cycles_per_second(platform_), u64(1));
  dim(true);
  out_ << '[' << m.generated_tokens << (m.generated_tokens == 1 ? " token" : " tokens");
  if (m.decode.tokens != 0) {
    (out_ << ", ").fixed(runtime::cycles_per_token(m.decode), 0) << " cycles/token, ";
    out_.fixed(runtime::tokens_per_second(m.decode, per_second), 1) << " tok/s";
  }
  if (m.first_token_cycles != 0) {
    const f64 seconds = f64(m.first_token_cycles) / f64(per_second);
    (out_ << ", first after ").fixed(1e3 * seconds, 0) << " ms";
  }
  if (m.shared_tokens != 0) out_ << ", " << m.shared_tokens << " prompt tokens shared";
  if (m.speculation.drafted != 0)
    out_ << ", " << m.speculation.accepted << " of " << m.speculation.drafted << " guesses right";
  out_ << ", " << engine::stop_reason_name(generation.stop_reason());
  out_.flush();  // the model's fingerprint may take its time when it is asked for first

  receipt_arena_.clear();
  receipt_ = {};
  receipt::Receipt made;
  const auto make = [&]() -> Status {
    FLYBALL_ASSIGN(made, receipt::make_receipt(receipt_arena_, generation));
    FLYBALL_ASSIGN(receipt_, receipt::write_receipt(receipt_arena_, made));
    return {};
  };
  const Status status = make();
  if (status.ok()) {
    char digits[64];
    hex(made.digest, digits);
    out_ << ", digest " << Str(digits, 12);
  }
  out_ << "]\n";
  show_decisions(generation);
  const Status seen = policy_saw(generation);
  dim(false);
  metrics_arena_.clear();
  last_metrics_ = metrics_arena_.copy(made.metrics);
  if (generation.stop_reason() == StopReason::context_full) {
    out_ << "The context of " << session_->context() << " tokens is full; /clear starts anew, /ctx N makes room.\n";
  }
  return status.ok() ? seen : status;
}

}  // namespace flyball::repl
