// The REPL's journal: everything that its models and sessions record, kept in a file where one is named, and the newest lines
// in memory for /journal and /explain.
#pragma once

#include "repl/console.h"
#include "repl/journal_store.h"

namespace flyball::repl {

class JournalFile {
 public:
  explicit JournalFile(const Platform& platform)
      : platform_(platform), journal_(platform), store_(platform), newest_(platform), log_(platform) {}

  // Goes on with the file's chain. A journal that does not hold is set aside, and the new one begins with an event that
  // says so.
  Status open(Str path, u64 max_bytes, u64 n_files, JournalStore::Opened* opened);
  // Gets each event as a line of text, too. What it cannot take is given to `instead`.
  Status open_log(Str path, void (*instead)(Str lines));
  journal::EventSink sink() { return journal_.sink(); }

  // Takes what was recorded since the last time. Lines that cannot be written are written with the next; that is an error
  // once for each file, until something can be written to it again. `all_now`: the head, too.
  Status keep(bool all_now = false);

  void show(Console& out, u64 n);  // the newest lines, oldest first, as a log has them
  // What was recorded of an answer, with its meaning: events from number `from` on.
  void explain(Console& out, u64 session, u64 turn, u64 from = 0);
  u64 n_events() { return journal_.head().n_lines; }
  u64 n_lost() const { return n_lost_; }

 private:
  static constexpr u64 newest_bytes = u64(256) << 10;

  void write_log(Str lines);
  Status keep_journal(bool all_now);
  Status keep_log();
  template <class Each>
  void each_line(Each&& each) const;

  const Platform& platform_;
  journal::Journal journal_;
  JournalStore store_;
  Buffer<char> newest_;  // whole lines; the last unwritten_ bytes wait for the file
  u64 unwritten_ = 0;
  Buffer<char> log_;  // lines that wait for the log
  Text<1024> log_path_;
  void (*instead_of_log_)(Str lines) = nullptr;
  bool journal_failing_ = false, log_failing_ = false;
  u64 n_lost_ = 0;
};

}  // namespace flyball::repl
