// The journal (contract 3): one JSON object a line, each with the hash of the line before and its own. The only
// serializer and the only reader, for the host and for bare metal; storage is the caller's.
#pragma once

#include "base/buffer.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/lock.h"
#include "journal/reasons.h"

namespace flyball::journal {

// 2: `prev_hash` instead of `before`, names for the columns of calls, some reason ids renamed. Version 1 is read.
constexpr u32 journal_version = 2;
constexpr u64 max_line_bytes = u64(64) << 10;  // the newline included

struct Event {
  u64 time_ns = 0;  // since 1970; 0: the platform has no calendar
  u64 cycles = 0;   // time-stamp counter
  u64 session = 0;  // of this journal's process; 0: none
  u64 turn = 0;     // of that session, from 1; 0: none
  Reason reason = Reason::MODEL_LOADED;
  Str data = "{}";  // a JSON object
};

// Where a chain stands: the last line's hash (zeros before the first) and how many lines there were.
struct Head {
  Digest hash;
  u64 n_lines = 0;
  friend bool operator==(const Head&, const Head&) = default;
};

// Appends the event's line, newline included, to `out` and advances the head. Data other than a JSON object on one
// line, or a line that does not fit, is an error that leaves the head unchanged.
Status write_event(Writer& out, Head* head, const Event& event);

struct Line {
  u64 version = journal_version;
  u64 number = 0;  // `seq` in the file, from 0
  Digest prev_hash;
  Digest hash;
  Event event;                // its data is a view of the text
  Str event_name, reason_id;  // as written: version 1 had other names for some
};

// One line without its newline: write_event()'s keys in its order, and the hash of its bytes. A changed line is an
// error.
Result<Line> read_line(Str text);

// The same event for a log, newline included:  [guard] stop reason_id=GUARD_TURN_STOP seq=7 session=1 turn=2 at_token=5 ...
// Members of data as key=value, those of objects as key.key=value, lists by their length.
void write_log_line(Writer& out, const Line& line);

// Whether lines follow each other without a gap: feed them in order.
class ChainCheck {
 public:
  ChainCheck() = default;  // begins at the first line's own number
  explicit ChainCheck(const Head& start) : head_(start), number_known_(true), hash_known_(true) {}

  // An error says what is wrong with this line: changed, out of order, or how many are missing before it. The check then
  // continues from here, and counts an unreadable line as one. `intact`: whether the line itself holds, and `out` has it.
  Status next(Str text, Line* out, bool* intact = nullptr);

  const Head& head() const { return head_; }

 private:
  Head head_;
  bool number_known_ = false;
  bool hash_known_ = false;
};

// Receives events, from any thread. Empty: no journal.
struct EventSink {
  void* context = nullptr;
  void (*record)(void* context, u64 session, u64 turn, Reason reason, Str data) = nullptr;
  u64 (*new_session)(void* context) = nullptr;  // a number that no other session of the journal has
  void operator()(u64 session, u64 turn, Reason reason, Str data = "{}") const {
    if (record) record(context, session, turn, reason, data);
  }
};

// One chain for all sessions: stamps events, makes their lines and holds these until take() hands them to a file.
class Journal {
 public:
  static constexpr u64 max_pending_bytes = u64(64) << 20;

  explicit Journal(const Platform& platform, const Head& start = {})
      : platform_(platform), pending_(platform), head_(start) {}

  EventSink sink() {
    return {
        this,
        [](void* self, u64 session, u64 turn, Reason reason, Str data) {
          static_cast<Journal*>(self)->record(session, turn, reason, data);
        },
        [](void* self) { return __atomic_add_fetch(&static_cast<Journal*>(self)->n_sessions_, 1, __ATOMIC_RELAXED); }};
  }

  // Hands all waiting lines to `keep(Str) -> bool`, and drops them where it returns true. Returns how many events were
  // lost since the last call, because memory ran out or too many lines waited.
  template <class Keep>
  u64 take(Keep&& keep) {
    const Locked locked(lock_);
    if (pending_.size() != 0 && keep(text_of(pending_))) pending_.truncate(0);
    const u64 n = n_lost_;
    n_lost_ = 0;
    return n;
  }

  void before_fork() { lock_.lock(); }
  void after_fork() { lock_.unlock(); }

  Head head();
  void go_on(const Head& head) { head_ = head; }  // before the first event

 private:
  void record(u64 session, u64 turn, Reason reason, Str data);

  const Platform& platform_;
  SpinLock lock_;
  Buffer<char> pending_;
  Head head_;
  u64 n_lost_ = 0;
  u64 n_sessions_ = 0;
};

}  // namespace flyball::journal
