#include "repl/journal_file.h"

#include "journal/event_data.h"

namespace flyball::repl {

using journal::Line;

namespace {

u64 line_end(Str text) {
  u64 n = 0;
  while (n < text.size && text[n] != '\n') ++n;
  return n;
}

// The error of a file that failed before was told.
Status once(const Status& status, bool* failing) {
  const bool told = *failing;
  *failing = !status.ok();
  return told ? Status() : status;
}

}  // namespace

Status JournalFile::open(Str path, u64 max_bytes, u64 n_files, JournalStore::Opened* opened) {
  FLYBALL_TRY(store_.open(path, max_bytes, n_files, opened));
  journal_.go_on(opened->head);
  const bool aside = opened->fault.size != 0;
  if (!aside && !opened->head_missing) return {};
  const journal::Head& head = aside ? opened->damaged : opened->head;
  journal::EventData<8192> data;
  if (aside && opened->moved.size != 0) data.json.key("files").raw(opened->moved.str());
  char digits[64];
  hex(head.hash, digits);
  data.json.field("n_lines", head.n_lines).field("hash", Str(digits, sizeof digits));
  if (aside) data.json.field("fault", opened->fault.str());
  sink()(0, 0, aside ? journal::Reason::JOURNAL_SET_ASIDE : journal::Reason::JOURNAL_HEAD_MISSING, data.done());
  return {};
}

Status JournalFile::open_log(Str path, void (*instead)(Str lines)) {
  if (path.size > sizeof log_path_.data) return fail(Code::invalid_argument, "log") << "the path is too long";
  log_path_.assign(path);
  instead_of_log_ = instead;
  return {};
}

Status JournalFile::keep(bool all_now) {
  n_lost_ += journal_.take([&](Str lines) {
    if (newest_.size() > newest_bytes && unwritten_ == 0) newest_.truncate(0);
    if (!append(newest_, lines)) return false;
    unwritten_ += lines.size;
    if (log_path_.size != 0) write_log(lines);
    return true;
  });
  const Status log = keep_log();
  if (!log.ok() && instead_of_log_ != nullptr) instead_of_log_(text_of(log_));
  if (log.ok() || instead_of_log_ != nullptr) log_.truncate(0);
  const Status journal = once(keep_journal(all_now), &journal_failing_);
  return journal.ok() ? once(log, &log_failing_) : journal;  // the log's is told with the next, then
}

Status JournalFile::keep_journal(bool all_now) {
  bool kept = true;
  Status status;
  if (store_.is_open()) status = store_.append(text_of(newest_).from(newest_.size() - unwritten_), all_now, &kept);
  if (kept) unwritten_ = 0;
  return status;
}

Status JournalFile::keep_log() {
  if (log_.size() == 0 || log_path_.size == 0) return {};
  const Str lines = text_of(log_);
  return platform_.append_file(platform_.self, log_path_.str(), {reinterpret_cast<const u8*>(lines.data), lines.size});
}

void JournalFile::write_log(Str lines) {
  Arena arena(platform_);
  const Span<char> room = arena.allocate<char>(2 * journal::max_line_bytes);
  while (!lines.empty() && !room.empty()) {
    const u64 n = line_end(lines);
    const Result<Line> line = journal::read_line(lines.substr(0, n));
    Writer text(room.data, room.size);
    if (line.ok()) journal::write_log_line(text, line.value());
    (void)append(log_, text.text());
    lines = lines.from(min(n + 1, lines.size));
  }
}

template <class Each>
void JournalFile::each_line(Each&& each) const {
  for (Str text = text_of(newest_); !text.empty();) {
    const u64 n = line_end(text);
    const Result<Line> line = journal::read_line(text.substr(0, n));
    if (line.ok()) each(line.value());
    text = text.from(min(n + 1, text.size));
  }
}

void JournalFile::show(Console& out, u64 n) {
  u64 n_lines = 0;
  each_line([&](const Line&) { ++n_lines; });
  u64 i = 0;
  each_line([&](const Line& line) {
    if (i++ + n < n_lines) return;
    char buffer[2048];
    Writer text(buffer, sizeof buffer);
    journal::write_log_line(text, line);
    out.printable(text.text());
    if (text.truncated()) out << "...\n";
  });
}

void JournalFile::explain(Console& out, u64 session, u64 turn, u64 from) {
  each_line([&](const Line& line) {
    const journal::Event& event = line.event;
    if (event.session != session || event.turn != turn || line.number < from) return;
    if (event.reason == journal::Reason::SESSION_CALLS) return;
    const journal::ReasonInfo& reason = info(event.reason);
    (out << "  ").padded(reason.id, 28) << ' ' << reason.meaning << '\n';
    (out << "    ").printable(event.data) << '\n';
  });
}

}  // namespace flyball::repl
