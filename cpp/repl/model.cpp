// The model, its session and its draft: opened, replaced, closed.
#include "repl/context.h"

namespace flyball::repl {

using engine::CacheType;
using engine::Model;
using engine::Session;

namespace {

void release_with_model(Session* session) {
  if (session == nullptr) return;
  Model& model = session->model();
  Session::release(session);
  Model::release(&model);
}

Result<Model*> load_model(Context& repl, Str path, u64 prefix_cache_bytes) {
  if (path.size > sizeof repl.model_path.data) return fail(Code::invalid_argument, "model") << "the path is too long";
  engine::ModelOptions options;
  options.isa = repl.options.isa;
  options.threads = repl.options.threads;
  options.decode_threads = repl.options.decode_threads;
  options.prefix_cache_bytes = prefix_cache_bytes;
  options.events = repl.journal.sink();
  options.fingerprint_cache = repl.options.fingerprint_cache;
  options.packed = repl.options.packed;
  const Result<Model*> loaded = Model::load(repl.platform, path, options, progress(repl));
  if (repl.progress_shown) repl.out << "\r\x1b[K";
  repl.progress_shown = false;
  if (loaded.ok() && !loaded.value()->packed_copy().problem().empty())
    repl.out << "warning: no packed copy was made: " << loaded.value()->packed_copy().problem() << '\n';
  if (const Str isa = repl.options.isa; loaded.ok() && !isa.empty() && isa != "auto") {
    if (const Str name = loaded.value()->table().name; name != isa)
      repl.out << "warning: isa \"" << isa << "\" is now \"" << name << "\"; the old name goes with version 0.3\n";
  }
  return loaded;
}

void close_session(Context& repl) {
  Session::release(repl.session);
  repl.session = nullptr;
}

// A session of the draft with room for what this session holds.
Status follow(Context& repl, Model& draft) {
  engine::SessionOptions wanted;
  wanted.context = min(repl.session->context(), draft.config().n_ctx_train);
  engine::SpeculationOptions speculation;
  FLYBALL_ASSIGN(speculation.draft, Session::create(draft, wanted));
  const Status status = engine::check_draft(*repl.session, speculation);
  if (status.ok())
    repl.draft = speculation.draft;
  else
    Session::release(speculation.draft);
  return status;
}

// After the session was replaced. A draft that does not suit the new one is given up.
void follow_again(Context& repl) {
  Session* const before = repl.draft;
  if (before == nullptr) return;
  if (const Status status = follow(repl, before->model()); !status.ok()) {
    close_draft(repl);
    error(repl, status.error());
    show_speculation(repl);
  } else {
    Session::release(before);
  }
}

}  // namespace

void open_first_model(Context& repl) {
  const bool has_fallback = !repl.options.fallback_model.empty();
  const Str fallback = repl.options.choose_model ? Str("the first model that can be loaded")
                       : has_fallback            ? Str("the bundled demonstration model")
                                                 : no_model;
  if (!repl.options.model.empty()) {
    const Status status = open_model(repl, repl.options.model);
    if (status.ok()) return;
    report_problem(repl, repl.options.model, status.error(), fallback);
  }
  if (repl.options.choose_model) return choose_model(repl);
  if (has_fallback) {
    const Status status = open_model(repl, repl.options.fallback_model);
    if (status.ok()) {
      repl.out << "This is the bundled demonstration model: it writes short stories and answers a few narrow kinds of "
                  "questions.\n";
      return;
    }
    report_problem(repl, repl.options.fallback_model, status.error(), no_model);
  } else if (repl.options.model.empty()) {
    report_problem(repl, "",
                   fail(Code::not_found, "model")
                       << "no file was given, and the bundled model is not beside this program",
                   no_model);
  }
}

void report_problem(Context& repl, Str path, const Error& error, Str fallback) {
  ++repl.n_errors;
  describe_problem(repl, path, error, fallback);
}

void describe_problem(Context& repl, Str path, const Error& error, Str fallback) {
  char text[1600];
  Writer writer(text, sizeof text);
  catalog::put_model_problem(writer, error, fallback);
  (repl.out << "The model ").printable(path)
      << (path.empty() ? "cannot be used.\n" : " cannot be used.\n") << writer.text();
}

// The model before is given up only when the new one works: that needs memory for both, but loses nothing.
Status open_model(Context& repl, Str path) {
  const u64 start = now_ns(repl.platform);
  Model* loaded = nullptr;
  FLYBALL_ASSIGN(loaded, load_model(repl, path, repl.options.prefix_cache_bytes));
  if (repl.options.measure_isa && repl.options.isa == "auto") {
    if (const Result<catalog::IsaTimes> times = catalog::choose_isa(*loaded, cancel_token(repl)); !times.ok())
      error(repl, times.error());
  }
  if (catalog::Tuned tuned; repl.options.tune) {  // where that fails, all processors compute
    const Status status = choose_threads(repl, *loaded, repl.options.tune_refresh, &tuned);
    if (!status.ok()) error(repl, status.error());
  }
  engine::SessionOptions wanted;
  wanted.context = repl.options.context;
  wanted.cache = repl.options.cache;
  wanted.governor = repl.options.governor;
  const Result<Session*> session = Session::create(*loaded, wanted);
  if (!session.ok()) {
    Model::release(loaded);
    return session.error();
  }
  conversation_ended(repl);
  close_model(repl);
  repl.model = loaded;
  repl.session = session.value();
  repl.model_path.assign(path);
  repl.format = &chat::detect_chat_format(repl.model->tokenizer());
  repl.raw = repl.model->tokenizer().chat_template().empty();
  restart_conversation(repl);

  const model::Config& config = repl.model->config();
  char text[32];
  Writer size(text, sizeof text);
  catalog::put_bytes(size, repl.model->file_bytes());
  repl.out.printable(config.name.empty() ? path : config.name)
      << ": " << config.architecture_name << ", " << repl.model->quantization() << ", " << size.text()
      << ", loaded in ";
  repl.out.fixed(f64(now_ns(repl.platform) - start) / 1e6, 0) << " ms\n";
  repl.out << repl.model->table().name << " on " << repl.model->threads()
           << (repl.model->threads() == 1 ? " thread" : " threads") << ", context " << repl.session->context()
           << ", cache type " << engine::cache_type_name(repl.session->cache_type());
  if (repl.raw)
    repl.out << "; no chat template: prompts are continued as they are (/raw off for chat)\n";
  else
    repl.out << "; chat format " << repl.format->name << '\n';
  follow_again(repl);
  if (repl.options.governor.policy() || !repl.options.policy_file.empty()) {
    if (const Status status = open_policy(repl); !status.ok()) error(repl, status.error());
  }
  return {};
}

Status choose_threads(Context& repl, Model& model, bool again, catalog::Tuned* tuned) {
  if (repl.options.threads != 0 || repl.options.decode_threads != 0) return {};
  catalog::TuneOptions how;
  how.objective = repl.options.objective;
  how.cache_file = repl.options.tuning_cache;
  how.refresh = again;
  how.cancel = cancel_token(repl);
  FLYBALL_ASSIGN(*tuned, catalog::tune(model, how));
  return {};
}

Status open_session(Context& repl, u32 context, CacheType cache) {
  FLYBALL_TRY(replace_session(repl, context, cache));
  repl.options.context = context;
  repl.options.cache = cache;
  restart_conversation(repl);
  return {};
}

// The conversation stays; its keys and values are computed again.
Status replace_session(Context& repl, u32 context, CacheType cache) {
  engine::SessionOptions wanted;
  wanted.context = context;
  wanted.cache = cache;
  wanted.governor = repl.options.governor;
  wanted.adapter = repl.session->adapter();
  Session* opened = nullptr;
  FLYBALL_ASSIGN(opened, Session::create(*repl.model, wanted));
  close_session(repl);
  repl.session = opened;
  follow_again(repl);
  return {};
}

Status open_draft(Context& repl, Str path) {
  Model* loaded = nullptr;
  FLYBALL_ASSIGN(loaded, load_model(repl, path, 0));
  Session* const before = repl.draft;
  if (const Status status = follow(repl, *loaded); !status.ok()) {
    Model::release(loaded);
    return status;
  }
  release_with_model(before);
  repl.draft_path.assign(path);
  return {};
}

void close_draft(Context& repl) {
  release_with_model(repl.draft);
  repl.draft = nullptr;
}

void close_model(Context& repl) {
  close_policy(repl);
  close_session(repl);
  repl.receipt = repl.last_metrics = {};
  Model::release(repl.model);
  repl.model = nullptr;
}

void restart_conversation(Context& repl) {
  repl.conversation.start(repl.model->tokenizer(), *repl.format);
  repl.messages.truncate(0);
  repl.messages_whole = true;
}

Status need_model(const Context& repl) {
  if (repl.model != nullptr) return {};
  return fail(Code::not_found, "model")
         << "none is loaded; /load FILE loads one, /models DIRECTORY lists what there is";
}

}  // namespace flyball::repl
