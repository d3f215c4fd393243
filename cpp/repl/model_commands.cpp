// Models: which there are, and the one that is loaded.
#include "repl/command.h"

namespace flyball::repl {

namespace {

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

void show_models(Context& repl, Span<const catalog::ModelSummary> found) {
  u64 widest = 4;
  for (const catalog::ModelSummary& model : found) widest = max(widest, min(file_name(model.path).size, u64(40)));
  for (const catalog::ModelSummary& model : found) {
    Line line;
    char shown[64];
    Writer name(shown, sizeof shown);
    name.put_printable(file_name(model.path), 40);
    repl.out.padded(name.text(), widest + 2).padded(bytes_text(line, model.bytes), 9);
    repl.out.padded(model.type, 8);
    line.writer.clear();
    catalog::put_summary(line.writer, model);
    if (!model.name.empty()) line.writer.put("; ").put_safe(model.name);
    repl.out << line.writer.text() << '\n';
  }
}

Status models(Context& repl, Str argument) {
  const Str own = directory_of(repl.model_path.str());
  const Str one[] = {!argument.empty() ? argument : own.empty() ? Str(".") : own};
  const bool several = argument.empty() && repl.options.model_directories.size > 1;
  const Span<const Str> directories =
      argument.empty() && !repl.options.model_directories.empty() ? repl.options.model_directories : one;
  u64 n_found = 0;
  for (const Str directory : directories) {
    const Result<Span<const catalog::ModelSummary>> found = repl.catalog.list(directory);
    if (!found.ok() && (!several || found.error().code != Code::not_found)) return found.error();
    if (!found.ok() || found.value().empty()) continue;
    n_found += found.value().size;
    if (several) repl.out.printable(directory) << ":\n";
    show_models(repl, found.value());
  }
  if (n_found != 0) return {};
  repl.out << "no *.gguf files in";
  for (const Str& directory : directories)
    (repl.out << (&directory == directories.data ? " " : ", ")).printable(directory);
  repl.out << "; /models DIRECTORY looks elsewhere\n";
  return {};
}

void describe_model(Context& repl) {
  const engine::Model& model = *repl.model;
  const model::Config& c = model.config();
  const tokenizer::Tokenizer& t = model.tokenizer();
  const auto row = [&](Str name) -> Console& { return (repl.out << "  ").padded(name, 14); };
  Line line;
  row("file").printable(repl.model_path.str()) << ", " << bytes_text(line, model.file_bytes()) << '\n';
  row("name").printable(c.name.empty() ? Str("(none)") : c.name) << '\n';
  line.writer.clear();
  catalog::put_parameters(line.writer, model.n_parameters());
  row("architecture") << c.architecture_name << ", " << line.writer.text() << " parameters, " << model.quantization()
                      << '\n';
  row("layers") << c.n_layer() << " of width " << c.n_embd << ", ";
  const model::LayerShape& last = c.layers[c.n_layer() - 1];  // the first may have no experts
  if (last.n_expert != 0) {
    repl.out << last.n_expert << " experts of " << last.n_ff << ", " << last.n_expert_used << " for each token";
    if (last.n_ff_shared != 0) repl.out << ", one of " << last.n_ff_shared << " for all";
    repl.out << '\n';
  } else {
    repl.out << "feed-forward " << c.widest.n_ff << '\n';
  }
  row("attention") << c.widest.n_head << " heads of " << c.widest.head_dim << ", " << c.widest.n_head_kv
                   << " for keys and values";
  if (c.sliding_window != 0) repl.out << ", window " << c.sliding_window;
  repl.out << '\n';
  row("context") << "trained for " << c.n_ctx_train << '\n';
  row("vocabulary") << t.size() << " tokens, " << t.model();
  if (!t.pre().empty()) repl.out << ", " << t.pre();
  repl.out << '\n';
  row("chat") << repl.format->name << (t.chat_template().empty() ? " (the file has no template)\n" : "\n");
  row("in memory") << bytes_text(line, model.weight_bytes());
  repl.out << " of weights, " << bytes_text(line, repl.session != nullptr ? repl.session->cache_bytes() : 0)
           << " of cache\n";
  char digits[64];
  repl.out.flush();
  const Result<Digest> fingerprint = model.fingerprint(progress(repl));
  if (repl.progress_shown) repl.out << "\r\x1b[K";
  repl.progress_shown = false;
  hex(fingerprint.value(), digits);
  row("fingerprint") << (fingerprint.ok() ? Str(digits, sizeof digits) : fingerprint.error().what.str()) << '\n';
}

Status model_info(Context& repl, Str argument) {
  if (argument.empty()) {
    FLYBALL_TRY(need_model(repl));
    describe_model(repl);
    return {};
  }
  catalog::ModelSummary summary;
  FLYBALL_ASSIGN(summary, repl.catalog.summarize(argument));
  Line line;
  if (!summary.name.empty()) line.writer.put_safe(summary.name).put(": ");
  catalog::put_summary(line.writer, summary);
  repl.out << line.writer.text() << ", vocabulary " << summary.n_vocab << ", " << summary.type;
  repl.out << ", " << bytes_text(line, summary.bytes) << '\n';
  return {};
}

Status load(Context& repl, Str argument) {
  if (argument.empty())
    return fail(Code::invalid_argument, "/load") << "needs the model's file; /models lists what there is";
  const Status status = open_model(repl, argument);
  if (!status.ok()) {
    report_problem(repl, argument, status.error(),
                   repl.model != nullptr ? Str("the model that was loaded before stays") : no_model);
  }
  return {};
}

}  // namespace

Span<const Command> model_commands() {
  static constexpr Command table[] = {
      {"models", "[DIRECTORY]", "models there: size, type, name, summary", models},
      {"model_info", "[FILE]", "the loaded model in full, or a file's summary", model_info},
      {"load", "FILE", "load another model; the conversation starts anew", load},
  };
  return table;
}

}  // namespace flyball::repl
