// What was done and counted, and on what machine.
#include "base/json.h"
#include "repl/command.h"

namespace flyball::repl {

namespace {

Status journal(Context& repl, Str argument) {
  u64 n = 10;
  if (!argument.empty() && (!parse_u64(argument, &n) || n == 0))
    return fail(Code::invalid_argument, "/journal") << "takes how many of the newest events to show";
  FLYBALL_TRY(repl.journal.keep());
  repl.journal.show(repl.out, n);
  return {};
}

Status explain(Context& repl, Str) {
  FLYBALL_TRY(need_model(repl));
  FLYBALL_TRY(repl.journal.keep());
  repl.journal.explain(repl.out, repl.session->number(), repl.session->metrics().generations_started);
  return {};
}

Status cpu(Context& repl, Str) {
  const auto row = [&](Str name) -> Console& { return (repl.out << "  ").padded(name, 14); };
  const Result<const kernels::Table*> chosen = kernels::select_table(repl.options.isa);
  const char* const wanted = chosen.ok() ? chosen.value()->name : "none";
  row("instructions") << (repl.model != nullptr ? repl.model->table().name : wanted) << " (this processor can run:";
  for (const kernels::Table* table : kernels::usable_tables()) repl.out << ' ' << table->name;
  repl.out << ")\n";
  const u32 threads = repl.options.threads != 0 ? repl.options.threads : repl.platform.n_processors;
  row("threads") << (repl.session != nullptr ? repl.session->threads() : threads) << " of "
                 << repl.platform.n_processors << " processors";
  if (repl.options.decode_threads != 0)
    repl.out << ", " << repl.options.decode_threads << " where no prompt is computed";
  repl.out << '\n';
  row("frequency");
  const u64 per_second = cycles_per_second(repl.platform);
  repl.out.fixed(f64(per_second) / 1e9, 3)
      << " GHz, " << per_second << " cycles per second of the time-stamp counter\n";
  row("platform") << repl.platform.name << '\n';
  return {};
}

}  // namespace

Status write_metrics(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  char text[8192];
  Writer writer(text, sizeof text);
  JsonWriter json(writer);
  json.begin_object().key("session");
  runtime::write_metrics(json, repl.session->metrics(), repl.model->startup(), cycles_per_second(repl.platform));
  json.key("last").raw(repl.last_metrics.empty() ? Str("null") : repl.last_metrics).key("prefix_cache").begin_object();
  json.field("bytes", repl.model->prefix_cache_bytes()).field("capacity_bytes", repl.options.prefix_cache_bytes);
  json.end_object().end_object();
  writer.put('\n');
  if (argument.empty()) {
    repl.out << writer.text();
    return {};
  }
  const Str written = writer.text();
  FLYBALL_TRY(repl.platform.write_file(repl.platform.self, argument,
                                       {reinterpret_cast<const u8*>(written.data), written.size}));
  (repl.out << "wrote the metrics to ").printable(argument) << '\n';
  return {};
}

Span<const Command> inspect_commands() {
  static constexpr Command table[] = {
      {"journal", "[N]", "the newest events: what was done and decided, and why", journal},
      {"explain", "", "what was told and decided in the last answer", explain},
      {"cpu", "", "instruction set, threads, frequency", cpu},
      {"metrics", "[FILE]", "counted work of the session and of the last answer, as JSON", write_metrics},
  };
  return table;
}

}  // namespace flyball::repl
