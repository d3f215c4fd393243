// What a user says of the last answer: lines of a file that `flyball feedback import` takes.
#include "base/json.h"
#include "repl/command.h"

namespace flyball::repl {

namespace {

constexpr Str feedback_file = "feedback.jsonl";

Status give(Context& repl, Str rating, Str member, Str text) {
  if (repl.receipt.empty()) return fail(Code::invalid_argument, "feedback") << "there is no answer yet";
  const Str question(repl.messages.items().data, min(repl.question_bytes, repl.messages.size()));
  const Str answer = text_of(repl.shown);
  Buffer<char> line(repl.platform);
  constexpr u64 most_of_a_byte = 6, rest = 512;
  if (!line.reserve(question.size + most_of_a_byte * (answer.size + text.size) + rest))
    return fail(Code::out_of_memory, "feedback") << "no memory for " << answer.size << " bytes";
  Writer out(line.space().data, line.space().size);
  JsonWriter json(out);
  json.begin_object().field("answer_id", Str(repl.digest, sizeof repl.digest)).field("source", "repl");
  json.field("rating", rating).field("answer", answer);
  if (!text.empty()) json.field(member, text);
  if (!question.empty()) json.key("question").begin_array().raw(question).end_array();
  json.end_object();
  out.put('\n');
  const Str whole = out.text();
  FLYBALL_TRY(repl.platform.append_file(repl.platform.self, feedback_file,
                                        {reinterpret_cast<const u8*>(whole.data), whole.size}));
  repl.out << "kept in " << feedback_file << "; flyball feedback import takes it\n";
  return {};
}

Status good(Context& repl, Str argument) { return give(repl, "good", "reason", argument); }

Status bad(Context& repl, Str argument) { return give(repl, "bad", "reason", argument); }

Status correct(Context& repl, Str argument) {
  if (argument.empty()) return fail(Code::invalid_argument, "/correct") << "needs what the answer should have been";
  return give(repl, "bad", "correction", argument);
}

}  // namespace

Span<const Command> feedback_commands() {
  static constexpr Command table[] = {
      {"good", "[REASON]", "the last answer was good", good},
      {"bad", "[REASON]", "the last answer was bad", bad},
      {"correct", "TEXT", "what the last answer should have been", correct},
  };
  return table;
}

}  // namespace flyball::repl
