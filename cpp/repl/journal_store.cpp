#include "repl/journal_store.h"

namespace flyball::repl {

using journal::Line;

namespace {

constexpr u64 head_ns = 1'000'000'000;
constexpr Str aside_ending = ".broken-";
constexpr Str line_begin = "{\"v\":";

u64 line_end(Str text) {
  u64 n = 0;
  while (n < text.size && text[n] != '\n') ++n;
  return n;
}

u64 base_begin(Str path) {
  u64 n = path.size;
  while (n > 0 && path[n - 1] != '/') --n;
  return n;
}

Str base_name(Str path) { return path.from(base_begin(path)); }

// What is listed: unlike a model's, a journal's name may hold a backslash.
Str folder_of(Str path) {
  const u64 n = base_begin(path);
  return n == 0 ? Str(".") : path.substr(0, n == 1 ? 1 : n - 1);
}

class Name {
 public:
  Name(Str path, Str ending) { Writer(text_, sizeof text_).put(path).put(ending), size_ = path.size + ending.size; }
  Name(Str path, u64 number) {
    Writer text(text_, sizeof text_);
    size_ = text.put(path).put('.').put_u64(number).text().size;
  }
  Str str() const { return {text_, size_}; }

 private:
  char text_[1200];
  u64 size_ = 0;
};

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

// Calls `each(name)` for the files in the journal's directory whose names begin with its own and `ending`; the name is
// what follows that.
template <class Each>
void each_file(const Platform& platform, Str path, Str ending, Each&& each) {
  struct Found {
    Name prefix;
    Each& each;
  } found{Name(base_name(path), ending), each};
  (void)platform.list(platform.self, folder_of(path), &found, [](void* self, const FileInfo& file) {
    const Found& want = *static_cast<Found*>(self);
    const Str name = base_name(file.path);
    if (name.starts_with(want.prefix.str())) want.each(name.from(want.prefix.str().size));
  });
}

// The file's text while it is looked at; empty where there is none.
class Mapped {
 public:
  Mapped(const Platform& platform, Str path) : platform_(platform) {
    const Result<FileInfo> found = platform.stat(platform.self, path);
    there_ = found.ok() || found.error().code != Code::not_found;
    if (!found.ok()) {
      if (there_) status_ = found.error();
      return;
    }
    if (found.value().bytes == 0) return;
    Result<Span<const u8>> file = platform.map(platform.self, path);
    if (file.ok())
      file_ = file.value();
    else
      status_ = file.error();
  }
  ~Mapped() {
    if (file_.size != 0) platform_.unmap(platform_.self, file_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;

  bool there() const { return there_; }
  const Status& status() const { return status_; }
  Str text() const { return {reinterpret_cast<const char*>(file_.data), file_.size}; }

 private:
  const Platform& platform_;
  bool there_ = false;
  Status status_;
  Span<const u8> file_;
};

}  // namespace

struct JournalStore::Walk {
  journal::ChainCheck chain;
  bool has_head = false;
  journal::HeadFile expected;
  journal::Head end;     // of the readable lines
  u64 n_lines = 0;       // readable
  u64 n_torn = 0;        // bytes behind the last whole line of FILE
  bool begun = false;    // what is torn looks like a line of a journal
  bool unended = false;  // the last line is whole, but for its newline
  Text<512> fault;

  void add_fault(Str file, u64 line, Str what) {
    if (fault.size != 0) return;
    Writer text(fault.data, sizeof fault.data);
    text.put_safe(base_name(file)).put(':').put_u64(line).put(": ").put(what);
    fault.size = u32(text.text().size);
  }

  // What a crash leaves is at the end of the newest file alone.
  void lines(Str file, Str text, bool newest) {
    for (u64 number = 1; !text.empty(); ++number) {
      const u64 n = line_end(text);
      const journal::ChainCheck before = chain;
      Line line;
      bool intact = false;
      const Status status = chain.next(text.substr(0, n), &line, &intact);
      if (newest && ((n == text.size && !intact) || (!status.ok() && is_debris(text)))) {
        chain = before;
        n_torn = text.size;
        begun = text.starts_with(line_begin) || line_begin.starts_with(text);
        return;
      }
      if (!status.ok()) add_fault(file, number, status.error().what.str());
      if (intact) {
        ++n_lines;
        end = chain.head();
        if (has_head && end.n_lines == expected.head.n_lines && end.hash != expected.head.hash)
          add_fault(file, number, "the chain differs from that of the head");
      }
      unended = newest && n == text.size;
      text = text.from(min(n + 1, text.size));
    }
  }
};

Status JournalStore::inspect(Walk* walk) const {
  const Name head_name(path_.str(), ".head");
  {
    const Mapped head(platform_, head_name.str());
    Result<journal::HeadFile> read = journal::HeadFile();
    if (head.status().ok() && head.there()) read = journal::read_head_file(head.text());
    walk->has_head = head.there();
    if (!head.status().ok())
      walk->add_fault(head_name.str(), 1, head.status().error().what.str());
    else if (!read.ok())
      walk->add_fault(head_name.str(), 1, read.error().what.str());
    else
      walk->expected = read.value();
  }
  const Mapped newest(platform_, path_.str());
  FLYBALL_TRY(newest.status());
  // Behind a rotation the newest file may have no whole line: then the one before it says where the chain stands.
  const u64 last = rotated().newest;
  const bool begun = newest.text().starts_with(line_begin) && line_end(newest.text()) < newest.text().size;
  if (last != 0 && !begun) {
    const Name name(path_.str(), last);
    const Mapped before(platform_, name.str());
    FLYBALL_TRY(before.status());
    walk->lines(name.str(), before.text(), false);
  }
  walk->lines(path_.str(), newest.text(), true);
  if (walk->expected.head.n_lines > walk->end.n_lines) {
    char what[80];
    Writer text(what, sizeof what);
    text.put_u64(walk->expected.head.n_lines - walk->end.n_lines).put(" lines are missing, according to the head");
    walk->add_fault(path_.str(), walk->n_lines + 1, text.text());
  }
  return {};
}

Status JournalStore::open(Str path, u64 max_bytes, u64 n_files, Opened* opened) {
  if (path.size > sizeof path_.data) return fail(Code::invalid_argument, "journal") << "the path is too long";
  max_bytes_ = max_bytes;
  n_files_ = n_files;
  path_.assign(path);
  const Status status = go_on(opened);
  if (!status.ok()) path_.size = 0;
  return status;
}

Status JournalStore::go_on(Opened* opened) {
  Walk walk;
  FLYBALL_TRY(inspect(&walk));
  const bool damaged = walk.fault.size != 0;
  if (walk.n_lines == 0 && !walk.has_head && rotated().n == 0 && (damaged || (walk.n_torn != 0 && !walk.begun)))
    return fail(Code::corrupt, path_.str()) << "has no line of a journal; another name begins one";
  if (damaged || walk.n_torn != 0 || walk.unended) {  // refused where another program holds the file's lock
    if (Mapped(platform_, path_.str()).there()) FLYBALL_TRY(platform_.append_file(platform_.self, path_.str(), {}));
  }
  if (damaged) {
    opened->fault = walk.fault;
    opened->damaged = walk.end;
    FLYBALL_TRY(set_aside(opened));
  } else {
    FLYBALL_TRY(repair(walk));
    opened->n_torn = walk.n_torn;
    opened->head_missing = !walk.has_head && walk.n_lines != 0;
    opened->head = end_ = walk.end;
    if (walk.expected.has_begin)
      begin_ = walk.expected.begin;
    else
      read_begin(0);
  }
  bytes_ = bytes_of(path_.str());
  if (damaged || !walk.has_head) (void)write_head();  // what keeps it from being written keeps the first lines, too
  return {};
}

Status JournalStore::repair(const Walk& walk) {
  if (walk.unended) return platform_.append_file(platform_.self, path_.str(), {reinterpret_cast<const u8*>("\n"), 1});
  if (walk.n_torn == 0) return {};
  const Mapped newest(platform_, path_.str());
  FLYBALL_TRY(newest.status());
  const auto write = [&](Str file, Str bytes) {
    return platform_.write_file(platform_.self, file, {reinterpret_cast<const u8*>(bytes.data), bytes.size});
  };
  const u64 n_whole = newest.text().size - walk.n_torn;
  FLYBALL_TRY(write(Name(path_.str(), ".torn").str(), newest.text().from(n_whole)));
  return write(path_.str(), newest.text().substr(0, n_whole));
}

// All files and the head get a name that is free.
Status JournalStore::set_aside(Opened* opened) {
  u64 last = 0;
  each_file(platform_, path_.str(), aside_ending, [&](Str rest) {
    u64 n = 0, number = 0;
    while (n < rest.size && rest[n] != '.') ++n;
    if (parse_u64(rest.substr(0, n), &number)) last = max(last, number);
  });
  Writer aside(opened->aside.data, sizeof opened->aside.data);
  opened->aside.size = u32(aside.put(path_.str()).put(aside_ending).put_u64(last + 1).text().size);
  Writer moved(opened->moved.data, sizeof opened->moved.data);
  JsonWriter list(moved);
  list.begin_array();
  const auto rename = [&](Str file) -> Status {
    const Name to(opened->aside.str(), file.from(path_.size));
    FLYBALL_TRY(platform_.rename_file(platform_.self, file, to.str()));
    list.value(base_name(to.str()));
    return {};
  };
  for (Numbers all = rotated(); all.n != 0; all = rotated()) FLYBALL_TRY(rename(Name(path_.str(), all.oldest).str()));
  const Name head(path_.str(), ".head");
  const Str others[] = {path_.str(), head.str()};
  for (const Str file : others) {
    if (Mapped(platform_, file).there()) FLYBALL_TRY(rename(file));
  }
  list.end_array();
  opened->moved.size = moved.truncated() ? 0 : u32(moved.text().size);
  return {};
}

Status JournalStore::append(Str lines, bool all_now, bool* kept) {
  *kept = false;
  if (!lines.empty()) {
    const u64 now = bytes_of(path_.str());
    if (now != bytes_ && now != 0) {  // lines behind those of somebody else would end both chains
      const Error error = fail(Code::io, path_.str())
                          << "was changed by another program: what happens here is not kept any more";
      path_.size = 0;
      *kept = true;
      return error;
    }
    FLYBALL_TRY(
        platform_.append_file(platform_.self, path_.str(), {reinterpret_cast<const u8*>(lines.data), lines.size}));
    bytes_ = now + lines.size;
    u64 last = lines.size - 1;
    while (last > 0 && lines[last - 1] != '\n') --last;
    if (const Result<Line> line = journal::read_line(lines.substr(last, lines.size - 1 - last)); line.ok())
      end_ = {line.value().hash, line.value().number + 1};
    headed_ = false;
  }
  *kept = true;
  if (bytes_ > max_bytes_) return rotate();
  if (headed_ || (!all_now && headed_ns_ != 0 && now_ns(platform_) - headed_ns_ < head_ns)) return {};
  return write_head();
}

// The head allows the deletion of the oldest file before that is done.
Status JournalStore::rotate() {
  FLYBALL_TRY(write_head());
  FLYBALL_TRY(platform_.rename_file(platform_.self, path_.str(), Name(path_.str(), rotated().newest + 1).str()));
  bytes_ = 0;
  for (Numbers all = rotated(); all.n > n_files_; all = rotated()) {
    read_begin(all.oldest);
    FLYBALL_TRY(write_head());
    FLYBALL_TRY(platform_.remove_file(platform_.self, Name(path_.str(), all.oldest).str()));
  }
  return {};
}

// The lines are on the disk before the head that attests them.
Status JournalStore::write_head() {
  if (!headed_ && platform_.flush_file != nullptr) FLYBALL_TRY(platform_.flush_file(platform_.self, path_.str()));
  char buffer[journal::max_head_file_bytes];
  Writer text(buffer, sizeof buffer);
  journal::write_head_file(text, end_, begin_);
  FLYBALL_TRY(platform_.write_file(platform_.self, Name(path_.str(), ".head").str(),
                                   {reinterpret_cast<const u8*>(buffer), text.text().size}));
  headed_ = true;
  headed_ns_ = max<u64>(now_ns(platform_), 1);
  return {};
}

// From the first readable line of the files behind number `after`; without one, where the chain stands.
void JournalStore::read_begin(u64 after) {
  for (;;) {
    const Numbers left = rotated(after);
    const Mapped file(platform_, left.n != 0 ? Name(path_.str(), left.oldest).str() : path_.str());
    for (Str text = file.text(); !text.empty();) {
      const u64 n = line_end(text);
      if (const Result<Line> line = journal::read_line(text.substr(0, n)); line.ok()) {
        begin_ = {line.value().number, line.value().prev_hash};
        return;
      }
      text = text.from(min(n + 1, text.size));
    }
    if (left.n == 0) break;
    after = left.oldest;
  }
  begin_ = {end_.n_lines, end_.hash};
}

JournalStore::Numbers JournalStore::rotated(u64 after) const {
  Numbers numbers;
  each_file(platform_, path_.str(), ".", [&](Str rest) {
    u64 number = 0;
    if (!parse_u64(rest, &number) || number <= after) return;
    numbers.oldest = numbers.n == 0 ? number : min(numbers.oldest, number);
    numbers.newest = max(numbers.newest, number);
    ++numbers.n;
  });
  return numbers;
}

u64 JournalStore::bytes_of(Str file) const {
  const Result<FileInfo> found = platform_.stat(platform_.self, file);
  return found.ok() ? found.value().bytes : 0;
}

}  // namespace flyball::repl
