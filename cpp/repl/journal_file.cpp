#include "repl/journal_file.h"

namespace flyball::repl {

using journal::Line;

namespace {

u64 line_end(Str text) {
  u64 n = 0;
  while (n < text.size && text[n] != '\n') ++n;
  return n;
}

// Whether nothing of the text was ever a journal's: what lay on the disk where a power cut has left a file longer than what
// was written to it. A line that was changed is not that.
bool is_debris(Str text) {
  while (!text.empty()) {
    const u64 n = line_end(text);
    if (Json::parse(text.substr(0, n)).ok()) return false;
    text = text.from(min(n + 1, text.size));
  }
  return true;
}

}  // namespace

Status JournalFile::open(Str path, u64* n_torn) {
  if (path.size > sizeof path_.data) return fail(Code::invalid_argument, "journal") << "the path is too long";
  *n_torn = 0;
  if (const Result<FileInfo> found = platform_.stat(platform_.self, path); found.ok() && found.value().bytes != 0) {
    Span<const u8> file;
    FLYBALL_ASSIGN(file, platform_.map(platform_.self, path));
    const Status status = go_on({reinterpret_cast<const char*>(file.data), file.size}, path, n_torn);
    platform_.unmap(platform_.self, file);
    FLYBALL_TRY(status);
  }
  path_.assign(path);
  path_bytes_ = bytes();
  return {};
}

Status JournalFile::go_on(Str lines, Str path, u64* n_torn) {
  journal::ChainCheck chain;
  Str text = lines;
  for (u64 number = 1; !text.empty(); ++number) {
    const u64 n = line_end(text);
    if (n == text.size) break;  // a crash while it was written
    Line line;
    const journal::ChainCheck before = chain;
    const Status status = chain.next(text.substr(0, n), &line);
    if (!status.ok() && is_debris(text)) {
      chain = before;
      break;
    }
    if (!status.ok())
      return fail(Code::corrupt, path) << "line " << number << ": " << status.error().what.str()
                                       << "; flyball journal verify tells more, another name begins anew";
    text = text.from(n + 1);
  }
  *n_torn = text.size;
  if (*n_torn != 0) {
    char beside[sizeof path_.data + 8];
    Writer name(beside, sizeof beside);
    const auto write = [&](Str file, Str bytes) {
      return platform_.write_file(platform_.self, file, {reinterpret_cast<const u8*>(bytes.data), bytes.size});
    };
    FLYBALL_TRY(write(name.put(path).put(".torn").text(), text));
    FLYBALL_TRY(write(path, lines.substr(0, lines.size - text.size)));
  }
  journal_.go_on(chain.head());
  return {};
}

Status JournalFile::open_log(Str path, void (*instead)(Str lines)) {
  if (path.size > sizeof log_path_.data) return fail(Code::invalid_argument, "log") << "the path is too long";
  log_path_.assign(path);
  instead_of_log_ = instead;
  return {};
}

Status JournalFile::keep() {
  n_lost_ += journal_.take([&](Str lines) {
    if (newest_.size() > newest_bytes && unwritten_ == 0) newest_.truncate(0);
    if (!append(newest_, lines)) return false;
    unwritten_ += lines.size;
    if (log_path_.size != 0) write_log(lines);
    return true;
  });
  const Status journal = keep_journal();
  const Status log = append_waiting(log_path_.str(), text_of(log_));
  if (!log.ok() && instead_of_log_ != nullptr) instead_of_log_(text_of(log_));
  if (log.ok() || instead_of_log_ != nullptr) log_.truncate(0);
  const bool failed_before = failing_;
  failing_ = !journal.ok() || !log.ok();
  if (failing_ && failed_before) return {};
  return journal.ok() ? log : journal;
}

u64 JournalFile::bytes() const {
  const Result<FileInfo> found = platform_.stat(platform_.self, path_.str());
  return found.ok() ? found.value().bytes : 0;
}

// Lines behind those of somebody else would end both chains.
Status JournalFile::keep_journal() {
  const Str lines = text_of(newest_).from(newest_.size() - unwritten_);
  if (path_.size != 0 && !lines.empty()) {
    if (bytes() != path_bytes_) {
      const Error error = fail(Code::io, path_.str())
                          << "was changed by another program: what happens here is not kept any more";
      path_.size = 0;
      return error;
    }
    FLYBALL_TRY(append_waiting(path_.str(), lines));
    path_bytes_ += lines.size;
  }
  unwritten_ = 0;
  return {};
}

Status JournalFile::append_waiting(Str path, Str lines) {
  if (lines.empty()) return {};
  return platform_.append_file(platform_.self, path, {reinterpret_cast<const u8*>(lines.data), lines.size});
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
