// Files: saved sessions, receipts, scripts.
#include "receipt/receipt.h"
#include "repl/command.h"

namespace flyball::repl {

namespace {

Status save(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (argument.empty()) return fail(Code::invalid_argument, "/save") << "needs the file's name";
  // The cache lacks the last token and what closes the answer: computed now, so that a restored session continues there.
  if (!repl.raw && repl.conversation.tokens().size > repl.session->tokens().size) {
    engine::Generation* closing = nullptr;
    FLYBALL_ASSIGN(closing, begin(repl, repl.conversation.tokens(), ""));
    engine::Generation::release(closing);
  }
  FLYBALL_TRY(repl.session->save(argument));
  (repl.out << "saved " << repl.session->tokens().size << " tokens to ").printable(argument) << '\n';
  return {};
}

Status restore(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (argument.empty()) return fail(Code::invalid_argument, "/restore") << "needs the file's name";
  FLYBALL_TRY(repl.session->restore(argument));
  FLYBALL_TRY(repl.conversation.continue_from(repl.session->tokens()));
  repl.messages_whole = false;
  (repl.out << "restored " << repl.session->tokens().size << " tokens from ").printable(argument)
      << "; the conversation goes on there\n";
  return {};
}

Status receipt(Context& repl, Str argument) {
  if (argument.empty()) return fail(Code::invalid_argument, "/receipt") << "needs the file's name";
  if (repl.receipt.empty()) return fail(Code::invalid_argument, "/receipt") << "there is no answer yet";
  FLYBALL_TRY(repl.platform.write_file(repl.platform.self, argument,
                                       {reinterpret_cast<const u8*>(repl.receipt.data), repl.receipt.size}));
  (repl.out << "wrote the receipt of the last answer to ").printable(argument) << '\n';
  return {};
}

Status verify(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (argument.empty()) return fail(Code::invalid_argument, "/verify") << "needs the receipt's file";
  Span<const u8> file;
  FLYBALL_ASSIGN(file, repl.platform.map(repl.platform.self, argument));
  Arena arena(repl.platform);
  const auto run = [&]() -> Result<receipt::VerifyReport> {
    receipt::Receipt receipt;
    FLYBALL_ASSIGN(receipt, receipt::parse_receipt(arena, {reinterpret_cast<const char*>(file.data), file.size}));
    const engine::AdapterRef adapter = repl.session->adapter().adapter;
    return receipt::verify_receipt(receipt, *repl.model, cancel_token(repl), progress(repl), {},
                                   {&adapter, adapter ? 1u : 0u});
  };
  const Result<receipt::VerifyReport> report = run();
  repl.platform.unmap(repl.platform.self, file);
  if (!report.ok()) return report.error();
  if (report.value().verified) {
    repl.out << "verified: " << report.value().message.str() << '\n';
    return {};
  }
  ErrorBuilder differs = fail(Code::mismatch, receipt::difference_name(report.value().difference));
  if (report.value().difference >= receipt::Difference::logits &&
      report.value().difference <= receipt::Difference::stop) {
    differs << "at position " << report.value().position << ": ";
  }
  return differs << report.value().message.str();
}

Status autorun(Context& repl, Str argument) {
  constexpr Str shutdown = " --shutdown";
  const bool ends = argument.ends_with(shutdown);
  if (ends) argument.size -= shutdown.size;
  if (argument.empty()) return fail(Code::invalid_argument, "/autorun") << "needs the script's file";
  Span<const u8> file;
  FLYBALL_ASSIGN(file, repl.platform.map(repl.platform.self, argument));
  const bool kept = append(repl.script, {reinterpret_cast<const char*>(file.data), file.size}) &&
                    (!ends || append(repl.script, "\n/quit\n"));
  repl.platform.unmap(repl.platform.self, file);
  if (!kept) return fail(Code::out_of_memory, "/autorun") << "no memory for a script of " << file.size << " bytes";
  return {};
}

}  // namespace

Span<const Command> file_commands() {
  static constexpr Command table[] = {
      {"save", "FILE", "save the session (tokens and cache) to a file", save},
      {"restore", "FILE", "restore a saved session", restore},
      {"receipt", "FILE", "write the receipt of the last answer", receipt},
      {"verify", "FILE", "repeat the answer of a receipt and compare every bit", verify},
      {"autorun", "FILE [--shutdown]", "feed the lines of a file, and then end", autorun},
  };
  return table;
}

}  // namespace flyball::repl
