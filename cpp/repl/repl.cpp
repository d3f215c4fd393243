// Lines in: continuation, commands, prompts.
#include "repl/repl.h"

#include "engine/version.h"
#include "repl/command.h"

namespace flyball::repl {

namespace {

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

Str trim(Str text) {
  while (!text.empty() && is_space(text[0])) text = text.from(1);
  while (!text.empty() && is_space(text[text.size - 1])) text.size -= 1;
  return text;
}

// Levenshtein distance between short words.
u64 distance(Str a, Str b) {
  constexpr u64 longest = 32;
  if (a.size > longest || b.size > longest) return longest;
  u64 row[longest + 1];
  for (u64 j = 0; j <= b.size; ++j) row[j] = j;
  for (u64 i = 1; i <= a.size; ++i) {
    u64 diagonal = row[0];
    row[0] = i;
    for (u64 j = 1; j <= b.size; ++j) {
      const u64 above = row[j];
      row[j] = min(min(above, row[j - 1]) + 1, diagonal + (a[i - 1] == b[j - 1] ? 0 : 1));
      diagonal = above;
    }
  }
  return row[b.size];
}

Status help(Context& repl, Str argument);

Status quit(Context& repl, Str) {
  repl.running = false;
  return {};
}

constexpr Command first[] = {{"help", "[COMMAND]", "all commands, or one", help}};
constexpr Command last[] = {{"quit", "", "end", quit}};

template <class Function>
void each_command(Function&& function) {
  const Span<const Command> groups[] = {first,
                                        model_commands(),
                                        sampling_commands(),
                                        session_commands(),
                                        governor_commands(),
                                        inspect_commands(),
                                        conversation_commands(),
                                        feedback_commands(),
                                        file_commands(),
                                        last};
  for (const Span<const Command> group : groups) {
    for (const Command& command : group) function(command);
  }
}

Status run_command(Context& repl, Str line) {
  u64 n = 0;
  while (n < line.size && !is_space(line[n]) && line[n] != '\n') ++n;
  Str name = line.substr(0, n);
  if (name == "kv") {
    repl.out << "warning: /kv is now /cache_type; the old name goes with version 0.3\n";
    name = "cache_type";
  }
  const Command* nearest = nullptr;
  each_command([&](const Command& command) {
    if (nearest == nullptr || distance(command.name, name) < distance(nearest->name, name)) nearest = &command;
  });
  if (nearest->name == name) return nearest->run(repl, trim(line.from(n)));
  char slashed[40];
  Writer shown(slashed, sizeof slashed);
  shown.put('/').put_printable(name, 24);
  ErrorBuilder unknown = fail(Code::invalid_argument, shown.text()) << "is no command; ";
  if (distance(nearest->name, name) <= 1 + name.size / 3) unknown << "did you mean /" << nearest->name << "? ";
  return unknown << "/help lists all";
}

Status help(Context& repl, Str argument) {
  if (argument.starts_with("/")) argument = argument.from(1);
  bool known = argument.empty();
  each_command([&](const Command& command) {
    if (!argument.empty() && command.name != argument) return;
    known = true;
    char usage[64];
    Writer text(usage, sizeof usage);
    text.put('/').put(command.name).put(' ').put(command.arguments);
    (repl.out << "  ").padded(text.text(), 23) << ' ' << command.help << '\n';
  });
  if (!known) return run_command(repl, argument);  // says that there is none, and the nearest
  if (argument.empty()) {
    repl.out << "Anything else is a prompt. A \\ at the end of a line continues it; // begins a prompt with a slash;\n"
                "Ctrl-C stops an answer.\n"
             << repl.options.differences;
  }
  return {};
}

Str prompt(const Context& repl) { return repl.line.size() != 0 ? "... " : "> "; }

void feed_line(Context& repl, Str line) {
  while (!line.empty() && (line[line.size - 1] == '\r' || line[line.size - 1] == '\n')) line.size -= 1;
  const bool continued = line.ends_with("\\");
  if (continued) line.size -= 1;
  if (!append(repl.line, line) || (continued && !append(repl.line, "\n"))) {
    repl.line.release();
    error(repl, fail(Code::out_of_memory, "line") << "no memory for a line of " << line.size << " bytes");
    return;
  }
  if (continued) return;

  const Str whole = text_of(repl.line);
  const Str trimmed = trim(whole);
  Status status;
  if (trimmed.starts_with("//"))
    status = answer(repl, trimmed.from(1));  // a prompt that begins with a slash
  else if (trimmed.starts_with("/"))
    status = run_command(repl, trimmed.from(1));
  else if (!trimmed.empty())
    status = answer(repl, whole);
  repl.line.truncate(0);
  if (!status.ok()) error(repl, status.error());
  if (const Status kept = repl.journal.keep(); !kept.ok()) error(repl, kept.error());
  repl.out.flush();
}

// Shown as if they were typed. A stop ends the script, too.
void run_script(Context& repl) {
  Buffer<char> lines(repl.platform);
  if (!append(lines, text_of(repl.script)))
    return error(repl, fail(Code::out_of_memory, "/autorun") << "no memory for the script");
  repl.script.truncate(0);
  for (Str text = text_of(lines); repl.running && !text.empty();) {
    u64 n = 0;
    while (n < text.size && text[n] != '\n') ++n;
    if (cancel_token(repl).stop(cancel_token(repl).context))
      return error(repl, fail(Code::interrupted, "/autorun") << "was stopped");
    (repl.out << prompt(repl)).printable(text.substr(0, n)) << '\n';
    feed_line(repl, text.substr(0, n));
    if (repl.script.size() != 0) {
      repl.script.truncate(0);
      error(repl, fail(Code::invalid_argument, "/autorun") << "is not for scripts that run already");
    }
    text = text.from(min(n + 1, text.size));
  }
  repl.out.flush();
}

}  // namespace

Context::Context(const Platform& on, const Options& wanted)
    : platform(on),
      options(wanted),
      out(on),
      catalog(on, wanted.catalog_cache),
      journal(on),
      sampler(wanted.sampler),
      max_tokens(wanted.max_tokens),
      conversation(on),
      system(on),
      script(on),
      line(on),
      shown(on),
      messages(on),
      raw_tokens(on),
      receipt_arena(on),
      metrics_arena(on) {}

Repl::~Repl() {
  Context& repl = context_;
  conversation_ended(repl);
  if (repl.model != nullptr && !repl.options.metrics.empty()) {
    if (const Status status = write_metrics(repl, repl.options.metrics); !status.ok()) error(repl, status.error());
  }
  close_draft(repl);
  close_model(repl);
  if (const Status status = repl.journal.keep(true); !status.ok()) error(repl, status.error());
}

void Repl::start() {
  Context& repl = context_;
  repl.out << "flyball " << engine::version << " on " << repl.platform.name << "; /help lists the commands\n"
           << repl.options.warnings.str();
  if (!repl.options.journal.empty()) {
    JournalStore::Opened opened;
    const Options& o = repl.options;
    if (const Status status = repl.journal.open(o.journal, o.journal_max_bytes, o.journal_files, &opened); !status.ok())
      error(repl, status.error());
    if (opened.n_torn != 0)
      (repl.out << "The last run ended while it wrote its journal: ").printable(o.journal)
          << " had " << opened.n_torn << " bytes behind its last whole line, now in FILE.torn.\n";
    if (opened.fault.size != 0) {
      (repl.out << "warning: ").printable(o.journal) << ": cannot go on, ";
      repl.out.printable(opened.fault.str()) << "; it was set aside as ";
      repl.out.printable(opened.aside.str()) << ", and a new one begins\n";
    }
  }
  if (!repl.options.log.empty()) {
    if (const Status status = repl.journal.open_log(repl.options.log, repl.options.instead_of_log); !status.ok())
      error(repl, status.error());
  }
  open_first_model(repl);
  if (repl.model != nullptr && !repl.options.draft.empty()) {
    if (const Status status = use_draft(repl, repl.options.draft); !status.ok()) error(repl, status.error());
  }
  if (repl.model != nullptr && !repl.options.adapter.empty()) {
    if (const Status status = use_adapter(repl, repl.options.adapter); !status.ok()) error(repl, status.error());
  }
  repl.out.flush();
}

Str Repl::prompt() const { return repl::prompt(context_); }

bool Repl::feed(Str line) {
  feed_line(context_, line);
  if (context_.script.size() != 0) run_script(context_);
  return context_.running;
}

void error(Context& repl, const Error& error) {
  ++repl.n_errors;
  char text[600];
  Writer described(text, sizeof text);
  error.describe(described);
  repl.out << "error: " << described.text() << '\n';
}

void dim(Context& repl, bool on) {
  if (repl.options.terminal) repl.out << (on ? "\x1b[2m" : "\x1b[0m");
}

engine::CancelToken cancel_token(const Context& repl) {
  engine::CancelToken cancel;
  cancel.context = const_cast<Platform*>(&repl.platform);
  cancel.stop = [](void* context) {
    const Platform& platform = *static_cast<const Platform*>(context);
    return platform.stop_requested != nullptr && platform.stop_requested(platform.self);
  };
  return cancel;
}

engine::Progress progress(Context& repl) {
  engine::Progress progress;
  progress.context = &repl;
  progress.report = [](void* context, Str phase, u64 done, u64 total) {
    Context& self = *static_cast<Context*>(context);
    if (self.options.terminal && total != 0 && done < total) {
      self.out << '\r' << phase << ' ' << 100 * done / total << " %\x1b[K";
      self.out.flush();
      self.progress_shown = true;
    }
    const engine::CancelToken cancel = cancel_token(self);
    return !cancel.stop(cancel.context);
  };
  return progress;
}

}  // namespace flyball::repl
