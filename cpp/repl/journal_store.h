// A journal's files, with the rules of the Python package's writer: FILE has the newest lines, FILE.1, FILE.2 ... the earlier
// ones, oldest first; FILE.head attests both ends. A crash between any two steps leaves a journal that holds.
#pragma once

#include "base/buffer.h"
#include "journal/head_file.h"

namespace flyball::repl {

class JournalStore {
 public:
  // What open() found. `fault`: why the files could not be gone on with and have new names now.
  struct Opened {
    journal::Head head;         // the chain goes on from here
    u64 n_torn = 0;             // bytes behind the last whole line, moved to FILE.torn
    bool head_missing = false;  // there are lines, and FILE.head is not there
    Text<512> fault;            // empty: nothing was set aside
    Text<1100> aside;           // new name of FILE, which the others' begin with
    Text<4096> moved;           // a JSON list of all new names
    journal::Head damaged;      // where the chain ends that was set aside
  };

  explicit JournalStore(const Platform& platform) : platform_(platform) {}

  // An error: there is no journal, and nothing is kept.
  Status open(Str path, u64 max_bytes, u64 n_files, Opened* opened);
  bool is_open() const { return path_.size != 0; }

  // Appends whole lines or none, rotates when the file is full, and writes the head: once a second, or `all_now`.
  // `*kept`: whether the lines are in the file, whatever failed behind that.
  Status append(Str lines, bool all_now, bool* kept);

 private:
  struct Numbers {  // of the rotated files
    u64 n = 0, oldest = 0, newest = 0;
  };
  struct Walk;

  Status go_on(Opened* opened);
  Status inspect(Walk* walk) const;
  Status repair(const Walk& walk);
  Status set_aside(Opened* opened);
  Status rotate();
  Status write_head();
  void read_begin(u64 after);
  Numbers rotated(u64 after = 0) const;  // those above `after`
  u64 bytes_of(Str file) const;

  const Platform& platform_;
  Text<1024> path_;  // empty: none
  u64 max_bytes_ = 0, n_files_ = 0;
  u64 bytes_ = 0;  // of the file, as it was left
  journal::Head end_;
  journal::Begin begin_;
  bool headed_ = true;  // FILE.head has `end_`
  u64 headed_ns_ = 0;
};

}  // namespace flyball::repl
