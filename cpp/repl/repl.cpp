// Lines in: continuation, commands, prompts. The commands' handlers are in commands.cpp and settings.cpp, answers in
// answer.cpp.
#include "repl/repl.h"

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

}  // namespace

Repl::Repl(const Platform& platform, const Options& options)
    : platform_(platform),
      options_(options),
      out_(platform),
      catalog_(platform, options.catalog_cache),
      journal_(platform),
      sampler_(options.sampler),
      max_tokens_(options.max_tokens),
      conversation_(platform),
      system_(platform),
      script_(platform),
      line_(platform),
      shown_(platform),
      raw_tokens_(platform),
      receipt_arena_(platform),
      metrics_arena_(platform) {}

Repl::~Repl() {
  conversation_ended();
  if (model_ != nullptr && !options_.metrics.empty()) {
    if (const Status status = metrics(options_.metrics); !status.ok()) error(status.error());
  }
  close_draft();
  close_model();
  if (const Status status = journal_.keep(); !status.ok()) error(status.error());
}

Str Repl::prompt() const { return line_.size() != 0 ? "... " : "> "; }

bool Repl::feed(Str line) {
  (void)feed_line(line);
  if (script_.size() != 0) run_script();
  return running_;
}

// Shown as if they were typed. A stop ends the script, too.
void Repl::run_script() {
  Buffer<char> lines(platform_);
  if (!append(lines, text_of(script_)))
    return error(fail(Code::out_of_memory, "/autorun") << "no memory for the script");
  script_.truncate(0);
  for (Str text = text_of(lines); running_ && !text.empty();) {
    u64 n = 0;
    while (n < text.size && text[n] != '\n') ++n;
    if (cancel_token().stop(cancel_token().context)) return error(fail(Code::interrupted, "/autorun") << "was stopped");
    (out_ << prompt()).printable(text.substr(0, n)) << '\n';
    (void)feed_line(text.substr(0, n));
    if (script_.size() != 0) {
      script_.truncate(0);
      error(fail(Code::invalid_argument, "/autorun") << "is not for scripts that run already");
    }
    text = text.from(min(n + 1, text.size));
  }
  out_.flush();
}

bool Repl::feed_line(Str line) {
  while (!line.empty() && (line[line.size - 1] == '\r' || line[line.size - 1] == '\n')) line.size -= 1;
  const bool continued = line.ends_with("\\");
  if (continued) line.size -= 1;
  if (!append(line_, line) || (continued && !append(line_, "\n"))) {
    line_.release();
    error(fail(Code::out_of_memory, "line") << "no memory for a line of " << line.size << " bytes");
    return running_;
  }
  if (continued) return running_;

  const Str whole = text_of(line_);
  const Str trimmed = trim(whole);
  Status status;
  if (trimmed.starts_with("//"))
    status = answer(trimmed.from(1));  // a prompt that begins with a slash
  else if (trimmed.starts_with("/"))
    status = run_command(trimmed.from(1));
  else if (!trimmed.empty())
    status = answer(whole);
  line_.truncate(0);
  if (!status.ok()) error(status.error());
  if (const Status kept = journal_.keep(); !kept.ok()) error(kept.error());
  out_.flush();
  return running_;
}

Status Repl::run_command(Str line) {
  u64 n = 0;
  while (n < line.size && !is_space(line[n]) && line[n] != '\n') ++n;
  const Str name = line.substr(0, n);
  const Command* nearest = nullptr;
  for (const Command& command : commands()) {
    if (command.name == name) return (this->*command.run)(trim(line.from(n)));
    if (nearest == nullptr || distance(command.name, name) < distance(nearest->name, name)) nearest = &command;
  }
  char slashed[40];
  Writer shown(slashed, sizeof slashed);
  shown.put('/').put_printable(name, 24);
  ErrorBuilder unknown = fail(Code::invalid_argument, shown.text()) << "is no command; ";
  if (distance(nearest->name, name) <= 1 + name.size / 3) unknown << "did you mean /" << nearest->name << "? ";
  return unknown << "/help lists all";
}

void Repl::error(const Error& error) {
  ++n_errors_;
  char text[600];
  Writer described(text, sizeof text);
  error.describe(described);
  out_ << "error: " << described.text() << '\n';
}

void Repl::dim(bool on) {
  if (options_.terminal) out_ << (on ? "\x1b[2m" : "\x1b[0m");
}

}  // namespace flyball::repl
