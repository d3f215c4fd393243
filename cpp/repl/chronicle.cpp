#include "repl/chronicle.h"

namespace flyball::repl {

using governor::Line;

namespace {

u64 line_end(Str text) {
  u64 n = 0;
  while (n < text.size && text[n] != '\n') ++n;
  return n;
}

}  // namespace

Status Chronicle::open(Str path, u64* n_torn) {
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
  return {};
}

Status Chronicle::go_on(Str lines, Str path, u64* n_torn) {
  governor::ChainCheck chain;
  Str text = lines;
  for (u64 number = 1; !text.empty(); ++number) {
    const u64 n = line_end(text);
    if (n == text.size) break;  // a crash while it was written
    Line line;
    if (const Status status = chain.next(text.substr(0, n), &line); !status.ok())
      return fail(Code::corrupt, path) << "line " << number << ": " << status.error().what.str()
                                       << "; flyball journal verify tells more, another name begins anew";
    text = text.from(n + 1);
  }
  *n_torn = text.size;
  if (*n_torn != 0)
    FLYBALL_TRY(
        platform_.write_file(platform_.self, path, {reinterpret_cast<const u8*>(lines.data), lines.size - text.size}));
  journal_.go_on(chain.head());
  return {};
}

Status Chronicle::keep() {
  n_lost_ += journal_.take([&](Str lines) {
    if (newest_.size() > newest_bytes && unwritten_ == 0) newest_.truncate(0);
    if (!append(newest_, lines)) return false;
    unwritten_ += lines.size;
    return true;
  });
  if (path_.size == 0) unwritten_ = 0;
  if (unwritten_ == 0) return {};
  const Str lines = text_of(newest_).from(newest_.size() - unwritten_);
  FLYBALL_TRY(
      platform_.append_file(platform_.self, path_.str(), {reinterpret_cast<const u8*>(lines.data), lines.size}));
  unwritten_ = 0;
  return {};
}

template <class Each>
void Chronicle::each_line(Each&& each) const {
  for (Str text = text_of(newest_); !text.empty();) {
    const u64 n = line_end(text);
    const Result<Line> line = governor::read_line(text.substr(0, n));
    if (line.ok()) each(line.value());
    text = text.from(min(n + 1, text.size));
  }
}

void Chronicle::show(Console& out, u64 n) {
  u64 n_lines = 0;
  each_line([&](const Line&) { ++n_lines; });
  u64 i = 0;
  each_line([&](const Line& line) {
    if (i++ + n < n_lines) return;
    char buffer[2048];
    Writer text(buffer, sizeof buffer);
    governor::write_log_line(text, line);
    out.printable(text.text());
    if (text.truncated()) out << "...\n";
  });
}

void Chronicle::explain(Console& out, u64 session, u64 turn, u64 from) {
  each_line([&](const Line& line) {
    const governor::Event& event = line.event;
    if (event.session != session || event.turn != turn || line.number < from) return;
    if (event.reason == governor::Reason::SESSION_CALLS) return;
    const governor::ReasonInfo& reason = info(event.reason);
    (out << "  ").padded(reason.id, 28) << ' ' << reason.meaning << '\n';
    (out << "    ").printable(event.data) << '\n';
  });
}

}  // namespace flyball::repl
