// The REPL's journal: everything that its models and sessions record, kept in a file where one is named, and the newest lines
// in memory for /journal and /explain.
#pragma once

#include "journal/journal.h"
#include "repl/console.h"

namespace flyball::repl {

class JournalFile {
 public:
  explicit JournalFile(const Platform& platform)
      : platform_(platform), journal_(platform), newest_(platform), log_(platform) {}

  // Goes on with the file's chain. A journal that does not hold is an error; what a crash leaves behind the last
  // whole line is moved to FILE.torn: `n_torn` bytes.
  Status open(Str path, u64* n_torn);
  // Gets each event as a line of text, too. What it cannot take is given to `instead`.
  Status open_log(Str path, void (*instead)(Str lines));
  journal::EventSink sink() { return journal_.sink(); }

  // Takes what was recorded since the last time. Lines that cannot be written are written with the next; that is an error
  // once, until something can be written again.
  Status keep();

  void show(Console& out, u64 n);  // the newest lines, oldest first, as a log has them
  // What was recorded of an answer, with its meaning: events from number `from` on.
  void explain(Console& out, u64 session, u64 turn, u64 from = 0);
  u64 n_events() { return journal_.head().n_lines; }
  u64 n_lost() const { return n_lost_; }

 private:
  Status go_on(Str lines, Str path, u64* n_torn);
  static constexpr u64 newest_bytes = u64(256) << 10;

  void write_log(Str lines);
  Status append_waiting(Str path, Str lines);
  Status keep_journal();
  u64 bytes() const;
  template <class Each>
  void each_line(Each&& each) const;

  const Platform& platform_;
  journal::Journal journal_;
  Buffer<char> newest_;  // whole lines; the last unwritten_ bytes wait for the file
  u64 unwritten_ = 0;
  Text<1024> path_;     // empty: none
  u64 path_bytes_ = 0;  // of that file, as it was left
  Buffer<char> log_;    // lines that wait for the log
  Text<1024> log_path_;
  void (*instead_of_log_)(Str lines) = nullptr;
  bool failing_ = false;
  u64 n_lost_ = 0;
};

}  // namespace flyball::repl
