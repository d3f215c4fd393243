// Commands: a new one is a function and a row in one of the files below. Private to repl/.
#pragma once

#include "repl/context.h"

namespace flyball::repl {

struct Command {
  Str name;
  Str arguments;
  Str help;
  Status (*run)(Context& repl, Str argument);
};

// In the order in which /help lists them.
Span<const Command> model_commands();
Span<const Command> sampling_commands();
Span<const Command> session_commands();
Span<const Command> governor_commands();
Span<const Command> inspect_commands();
Span<const Command> conversation_commands();
Span<const Command> feedback_commands();
Span<const Command> file_commands();

}  // namespace flyball::repl
