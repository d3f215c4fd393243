// The table of commands, and those that look at models, the machine and files.
#include "base/json.h"
#include "engine/version.h"
#include "receipt/receipt.h"
#include "repl/repl.h"

namespace flyball::repl {

using engine::CacheType;

Span<const Repl::Command> Repl::commands() {
  static constexpr Command table[] = {
      {"help", "[COMMAND]", "all commands, or one", &Repl::help},
      {"models", "[DIRECTORY]", "models there: size, type, name, summary", &Repl::models},
      {"model_info", "[FILE]", "the loaded model in full, or a file's summary", &Repl::model_info},
      {"load", "FILE", "load another model; the conversation starts anew", &Repl::load},
      {"sampling", "", "how tokens are chosen", &Repl::sampling},
      {"temp", "[T]", "temperature from 0 (always the likeliest) to 100", &Repl::temperature},
      {"top_k", "[K]", "only the K likeliest tokens; 0: all", &Repl::top_k},
      {"top_p", "[P]", "only the likeliest that together reach P; 1: all", &Repl::top_p},
      {"min_p", "[P]", "only tokens at least P times as likely as the likeliest; 0: all", &Repl::min_p},
      {"repeat", "[P [WINDOW]]", "penalty on tokens among the last WINDOW; 1: off", &Repl::repeat},
      {"no_repeat", "[N]", "never the same N tokens in a row twice; 0: off", &Repl::no_repeat},
      {"max_tokens", "[N]", "tokens of an answer, at most", &Repl::max_tokens},
      {"seed", "[N]", "the same seed draws the same tokens", &Repl::seed},
      {"ctx", "[N]", "context: tokens that the session can hold; a new session", &Repl::context},
      {"kv", "[TYPE]", "type of cached keys and values: f16, f32, q8_0; a new session", &Repl::cache_type},
      {"speculate", "[HOW]", "guess tokens and check several at once: auto, off, always", &Repl::speculate},
      {"draft", "[FILE]", "a smaller model that guesses; - for none: the text so far does", &Repl::draft},
      {"tune", "[PROFILE]", "measure how many threads to use: latency, throughput, quiet; a new session", &Repl::tune},
      {"autotune", "[HOW]", "bound answers while the machine is slow: on, off, simulate, or KEY VALUE",
       &Repl::autotune},
      {"guard", "[HOW]", "end answers that pass a limit: on, off, simulate, or KEY VALUE", &Repl::guard},
      {"policy", "[HOW]", "what the policy may change, and has: off, conservative, aggressive, or KEY VALUE",
       &Repl::policy},
      {"consult", "[mock ACTION]", "ask the model what to change; mock: as if it had chosen ACTION", &Repl::consult},
      {"outcomes", "", "what came of each action so far", &Repl::outcomes},
      {"journal", "[N]", "the newest events: what was done and decided, and why", &Repl::journal},
      {"explain", "", "what was told and decided in the last answer", &Repl::explain},
      {"cpu", "", "instruction set, threads, frequency", &Repl::cpu},
      {"metrics", "[FILE]", "counted work of the session and of the last answer, as JSON", &Repl::metrics},
      {"reset", "", "a new session: counters at zero, conversation empty", &Repl::reset},
      {"clear", "", "forget the conversation and its cache", &Repl::clear},
      {"system", "[TEXT]", "what the model is told before the conversation; - for nothing", &Repl::system},
      {"raw", "[on|off]", "on: continue the text as it is, without chat format", &Repl::raw},
      {"format", "[NAME]", "chat format; found by the model's template", &Repl::format},
      {"tokens", "TEXT", "how the text is divided into tokens", &Repl::tokens},
      {"logprobs", "[on|off]", "show each token with its log probability", &Repl::logprobs},
      {"save", "FILE", "save the session (tokens and cache) to a file", &Repl::save},
      {"restore", "FILE", "restore a saved session", &Repl::restore},
      {"receipt", "FILE", "write the receipt of the last answer", &Repl::receipt},
      {"verify", "FILE", "repeat the answer of a receipt and compare every bit", &Repl::verify},
      {"autorun", "FILE [--shutdown]", "feed the lines of a file, and then end", &Repl::autorun},
      {"quit", "", "end", &Repl::quit},
  };
  return table;
}

Status Repl::help(Str argument) {
  if (argument.starts_with("/")) argument = argument.from(1);
  bool known = argument.empty();
  for (const Command& command : commands()) {
    if (!argument.empty() && command.name != argument) continue;
    known = true;
    char usage[64];
    Writer text(usage, sizeof usage);
    text.put('/').put(command.name).put(' ').put(command.arguments);
    (out_ << "  ").padded(text.text(), 23) << ' ' << command.help << '\n';
  }
  if (!known) return run_command(argument);  // says that there is none, and the nearest
  if (argument.empty()) {
    out_ << "Anything else is a prompt. A \\ at the end of a line continues it; // begins a prompt with a slash;\n"
            "Ctrl-C stops an answer.\n"
         << options_.differences;
  }
  return {};
}

namespace {

Str directory_of(Str path) {
  u64 n = path.size;
  while (n > 0 && path[n - 1] != '/' && path[n - 1] != '\\') --n;
  return n == 0 ? Str(".") : path.substr(0, n);
}

Str file_name(Str path) {
  u64 n = path.size;
  while (n > 0 && path[n - 1] != '/' && path[n - 1] != '\\') --n;
  return path.from(n);
}

struct Line {  // a short text made on the stack
  Line() : writer(data, sizeof data) {}
  char data[700];
  Writer writer;
};

Str bytes_text(Line& line, u64 bytes) {
  line.writer.clear();
  catalog::put_bytes(line.writer, bytes);
  return line.writer.text();
}

}  // namespace

Status Repl::models(Str argument) {
  const Str directory = !argument.empty()                    ? argument
                        : !options_.models_directory.empty() ? options_.models_directory
                                                             : directory_of(model_path_.str());
  Span<const catalog::ModelSummary> found;
  FLYBALL_ASSIGN(found, catalog_.list(directory));
  if (found.empty()) {
    (out_ << "no *.gguf files in ").printable(directory) << "; /models DIRECTORY looks elsewhere\n";
    return {};
  }
  u64 widest = 4;
  for (const catalog::ModelSummary& model : found) widest = max(widest, min(file_name(model.path).size, u64(40)));
  for (const catalog::ModelSummary& model : found) {
    Line line;
    char shown[64];
    Writer name(shown, sizeof shown);
    name.put_printable(file_name(model.path), 40);
    out_.padded(name.text(), widest + 2).padded(bytes_text(line, model.bytes), 9);
    out_.padded(model.type, 8);
    line.writer.clear();
    catalog::put_summary(line.writer, model);
    if (!model.name.empty()) line.writer.put("; ").put_safe(model.name);
    out_ << line.writer.text() << '\n';
  }
  return {};
}

Status Repl::model_info(Str argument) {
  if (argument.empty()) {
    FLYBALL_TRY(need_model());
    describe_model();
    return {};
  }
  catalog::ModelSummary summary;
  FLYBALL_ASSIGN(summary, catalog_.summarise(argument));
  Line line;
  if (!summary.name.empty()) line.writer.put_safe(summary.name).put(": ");
  catalog::put_summary(line.writer, summary);
  out_ << line.writer.text() << ", vocabulary " << summary.n_vocab << ", " << summary.type;
  out_ << ", " << bytes_text(line, summary.bytes) << '\n';
  return {};
}

void Repl::describe_model() {
  const engine::Model& model = *model_;
  const model::Config& c = model.config();
  const tokenizer::Tokenizer& t = model.tokenizer();
  const auto row = [&](Str name) -> Console& { return (out_ << "  ").padded(name, 14); };
  Line line;
  row("file").printable(model_path_.str()) << ", " << bytes_text(line, model.file_bytes()) << '\n';
  row("name").printable(c.name.empty() ? Str("(none)") : c.name) << '\n';
  line.writer.clear();
  catalog::put_parameters(line.writer, model.n_parameters());
  row("architecture") << c.architecture_name << ", " << line.writer.text() << " parameters, " << model.quantisation()
                      << '\n';
  row("layers") << c.n_layer << " of width " << c.n_embd << ", feed-forward " << c.n_ff << '\n';
  row("attention") << c.n_head << " heads of " << c.head_dim << ", " << c.n_head_kv << " for keys and values";
  if (c.sliding_window != 0) out_ << ", window " << c.sliding_window;
  out_ << '\n';
  row("context") << "trained for " << c.n_ctx_train << '\n';
  row("vocabulary") << t.size() << " tokens, " << t.model();
  if (!t.pre().empty()) out_ << ", " << t.pre();
  out_ << '\n';
  row("chat") << format_->name << (t.chat_template().empty() ? " (the file has no template)\n" : "\n");
  row("in memory") << bytes_text(line, model.weight_bytes());
  out_ << " of weights, " << bytes_text(line, session_ != nullptr ? session_->cache_bytes() : 0) << " of cache\n";
  char digits[64];
  out_.flush();
  hex(model.fingerprint(), digits);
  row("fingerprint") << Str(digits, sizeof digits) << '\n';
}

Status Repl::cpu(Str) {
  const auto row = [&](Str name) -> Console& { return (out_ << "  ").padded(name, 14); };
  const Result<const kernels::Table*> chosen = kernels::select_table(options_.isa);
  const char* const wanted = chosen.ok() ? chosen.value()->name : "none";
  row("instructions") << (model_ != nullptr ? model_->table().name : wanted) << " (this processor can run:";
  for (const kernels::Table* table : kernels::usable_tables()) out_ << ' ' << table->name;
  out_ << ")\n";
  const u32 threads = options_.threads != 0 ? options_.threads : platform_.n_processors;
  row("threads") << (session_ != nullptr ? session_->threads() : threads) << " of " << platform_.n_processors
                 << " processors";
  if (options_.decode_threads != 0) out_ << ", " << options_.decode_threads << " where no prompt is computed";
  out_ << '\n';
  row("frequency");
  const u64 per_second = cycles_per_second(platform_);
  out_.fixed(f64(per_second) / 1e9, 3) << " GHz, " << per_second << " cycles per second of the time-stamp counter\n";
  row("platform") << platform_.name << '\n';
  return {};
}

Status Repl::metrics(Str argument) {
  FLYBALL_TRY(need_model());
  char text[8192];
  Writer writer(text, sizeof text);
  JsonWriter json(writer);
  json.begin_object().key("session");
  runtime::write_metrics(json, session_->metrics(), model_->startup(), cycles_per_second(platform_));
  json.key("last").raw(last_metrics_.empty() ? Str("null") : last_metrics_).key("prefix_cache").begin_object();
  json.field("bytes", model_->prefix_cache_bytes()).field("capacity_bytes", options_.prefix_cache_bytes);
  json.end_object().end_object();
  writer.put('\n');
  if (argument.empty()) {
    out_ << writer.text();
    return {};
  }
  const Str written = writer.text();
  FLYBALL_TRY(
      platform_.write_file(platform_.self, argument, {reinterpret_cast<const u8*>(written.data), written.size}));
  (out_ << "wrote the metrics to ").printable(argument) << '\n';
  return {};
}

Status Repl::tokens(Str argument) {
  FLYBALL_TRY(need_model());
  const tokenizer::Tokenizer& tokenizer = model_->tokenizer();
  u64 n = 0;
  FLYBALL_ASSIGN(n, tokenizer.encode(platform_, argument, {false, false}, raw_tokens_.space()));
  if (n > raw_tokens_.space().size) {
    if (!raw_tokens_.reserve(n)) return fail(Code::out_of_memory, "tokens") << "no memory for " << n << " ids";
    FLYBALL_ASSIGN(n, tokenizer.encode(platform_, argument, {false, false}, raw_tokens_.space()));
  }
  out_ << n << " tokens:";
  for (const engine::Token token : raw_tokens_.space().subspan(0, n)) {
    char piece[80];
    Writer shown(piece, sizeof piece);
    shown.put_safe(tokenizer.piece(token, true));
    out_ << ' ' << token << "'" << shown.text() << "'";
  }
  out_ << '\n';
  return {};
}

Status Repl::save(Str argument) {
  FLYBALL_TRY(need_model());
  if (argument.empty()) return fail(Code::invalid_argument, "/save") << "needs the file's name";
  // The cache lacks the last token and what closes the answer: computed now, so that a restored session continues there.
  if (!raw_ && conversation_.tokens().size > session_->tokens().size) {
    engine::Generation* closing = nullptr;
    FLYBALL_ASSIGN(closing, begin(conversation_.tokens(), ""));
    engine::Generation::release(closing);
  }
  FLYBALL_TRY(session_->save(argument));
  (out_ << "saved " << session_->tokens().size << " tokens to ").printable(argument) << '\n';
  return {};
}

Status Repl::restore(Str argument) {
  FLYBALL_TRY(need_model());
  if (argument.empty()) return fail(Code::invalid_argument, "/restore") << "needs the file's name";
  FLYBALL_TRY(session_->restore(argument));
  FLYBALL_TRY(conversation_.continue_from(session_->tokens()));
  (out_ << "restored " << session_->tokens().size << " tokens from ").printable(argument)
      << "; the conversation goes on there\n";
  return {};
}

Status Repl::receipt(Str argument) {
  if (argument.empty()) return fail(Code::invalid_argument, "/receipt") << "needs the file's name";
  if (receipt_.empty()) return fail(Code::invalid_argument, "/receipt") << "there is no answer yet";
  FLYBALL_TRY(
      platform_.write_file(platform_.self, argument, {reinterpret_cast<const u8*>(receipt_.data), receipt_.size}));
  (out_ << "wrote the receipt of the last answer to ").printable(argument) << '\n';
  return {};
}

Status Repl::verify(Str argument) {
  FLYBALL_TRY(need_model());
  if (argument.empty()) return fail(Code::invalid_argument, "/verify") << "needs the receipt's file";
  Span<const u8> file;
  FLYBALL_ASSIGN(file, platform_.map(platform_.self, argument));
  Arena arena(platform_);
  const auto run = [&]() -> Result<receipt::VerifyReport> {
    receipt::Receipt receipt;
    FLYBALL_ASSIGN(receipt, receipt::parse_receipt(arena, {reinterpret_cast<const char*>(file.data), file.size}));
    return receipt::verify_receipt(receipt, *model_, cancel_token(), progress());
  };
  const Result<receipt::VerifyReport> report = run();
  platform_.unmap(platform_.self, file);
  if (!report.ok()) return report.error();
  if (report.value().verified) {
    out_ << "verified: " << report.value().message.str() << '\n';
    return {};
  }
  ErrorBuilder differs = fail(Code::mismatch, receipt::difference_name(report.value().difference));
  if (report.value().difference >= receipt::Difference::logits &&
      report.value().difference <= receipt::Difference::stop) {
    differs << "at position " << report.value().position << ": ";
  }
  return differs << report.value().message.str();
}

Status Repl::autorun(Str argument) {
  constexpr Str shutdown = " --shutdown";
  const bool ends = argument.ends_with(shutdown);
  if (ends) argument.size -= shutdown.size;
  if (argument.empty()) return fail(Code::invalid_argument, "/autorun") << "needs the script's file";
  Span<const u8> file;
  FLYBALL_ASSIGN(file, platform_.map(platform_.self, argument));
  const bool kept =
      append(script_, {reinterpret_cast<const char*>(file.data), file.size}) && (!ends || append(script_, "\n/quit\n"));
  platform_.unmap(platform_.self, file);
  if (!kept) return fail(Code::out_of_memory, "/autorun") << "no memory for a script of " << file.size << " bytes";
  return {};
}

Status Repl::quit(Str) {
  running_ = false;
  return {};
}

}  // namespace flyball::repl
