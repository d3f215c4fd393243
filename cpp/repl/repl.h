// The REPL: one source for the host program and for bare metal. It is fed with lines and writes through the Platform; it
// makes no operating-system call of its own.
#pragma once

#include "repl/context.h"

namespace flyball::repl {

class Repl {
 public:
  Repl(const Platform& platform, const Options& options) : context_(platform, options) {}
  ~Repl();
  Repl(const Repl&) = delete;
  Repl& operator=(const Repl&) = delete;

  // Greets, loads the model, and says what is wrong where that fails; the REPL works without one.
  void start();

  // One line without its end: a command, a prompt, or (with a `\` at its end) a part of either. False: /quit.
  bool feed(Str line);
  Str prompt() const;                                 // to be shown before the next line
  u64 n_errors() const { return context_.n_errors; }  // commands and prompts that failed so far

 private:
  Context context_;
};

}  // namespace flyball::repl
