// The journal and the registry of reasons for Python: lines are made and read in the core, kept in files by Python.
#include "bind/cores.h"

#include "governor/replay.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

using journal::ChainCheck;
using journal::Head;
using journal::Journal;

Head head_from(const std::string& hash, u64 n_lines) {
  Head head;
  head.n_lines = n_lines;
  if (!hash.empty() && !parse_hex(str(hash), &head.hash))
    raise("invalid_argument", "hash", "is not 64 hexadecimal digits");
  return head;
}

py::tuple tuple_of(const Head& head) { return py::make_tuple(hex(head.hash), head.n_lines); }

// (lines, how many events were lost)
py::tuple take(JournalCore& core) {
  std::string lines;
  const u64 n_lost = core.journal->take([&](Str text) {
    lines = string(text);
    return true;
  });
  return py::make_tuple(py::bytes(lines), n_lost);
}

// An event of Python's own, of no session.
void record(JournalCore& core, const std::string& reason_id, const std::string& data) {
  journal::Reason reason;
  if (!journal::find_reason(str(reason_id), &reason)) raise("corrupt", "reason_id", "is not in the registry");
  if (const Result<Json> json = Json::parse(str(data)); !json.ok() || data.size() > journal::max_line_bytes / 2)
    raise("invalid_argument", "data", "is no JSON, or too long for a line");
  core.journal->sink()(0, 0, reason, str(data));
}

// An intact line; `fault`: what is wrong with its place in the chain. Raises what is wrong with the line itself.
py::dict next(ChainCheck& check, const std::string& line) {
  journal::Line read;
  bool intact = false;
  const Status status = check.next(str(line), &read, &intact);
  if (!intact) bind::check(status);
  const journal::ReasonInfo& reason = info(read.event.reason);
  py::dict d;
  d["fault"] = status.ok() ? py::object(py::none()) : py::object(text(status.error().what.str()));
  d["prev_hash"] = hex(read.prev_hash);
  d["version"] = read.version;
  d["number"] = read.number;
  d["time_ns"] = read.event.time_ns;
  d["cycles"] = read.event.cycles;
  d["session"] = read.event.session;
  d["turn"] = read.event.turn;
  d["event"] = text(reason.event);
  d["reason_id"] = text(reason.id);
  d["data"] = text(read.event.data);
  d["hash"] = hex(read.hash);
  return d;
}

// A line of a journal as a line of a log, without its newline.
py::str log_line(const std::string& line) {
  const journal::Line read = unwrap(journal::read_line(str(line)));
  std::vector<char> buffer(2 * journal::max_line_bytes);
  Writer out(buffer.data(), buffer.size());
  journal::write_log_line(out, read);
  return text(out.text().substr(0, out.text().size - 1));
}

// One session replayed. `changes`: configuration keys whose values replace those of the journal.
class ReplayCore {
 public:
  explicit ReplayCore(std::vector<std::pair<std::string, std::string>> changes) : words_(std::move(changes)) {
    governor::Settings known;
    for (const auto& [key, word] : words_) {
      check(governor::set(&known, str(key), str(word)));
      changes_.push_back({str(key), str(word)});
    }
    replay_.emplace(Span<const governor::Replay::Change>(changes_.data(), changes_.size()));
  }
  ReplayCore(const ReplayCore&) = delete;
  ReplayCore& operator=(const ReplayCore&) = delete;

  // (reason_id, data) of each decision that follows from the event.
  py::list observe(const std::string& reason_id, u64 turn, const std::string& data) {
    journal::Reason reason;
    if (!journal::find_reason(str(reason_id), &reason)) raise("corrupt", "reason_id", "is not in the registry");
    py::list decided;
    const governor::Record record{
        &decided, [](void* list, journal::Reason why, Str what) {
          static_cast<py::list*>(list)->append(py::make_tuple(text(info(why).id), text(what)));
        }};
    check(replay_->observe(reason, turn, str(data), record));
    return decided;
  }

 private:
  std::vector<std::pair<std::string, std::string>> words_;
  std::vector<governor::Replay::Change> changes_;
  std::optional<governor::Replay> replay_;
};

// (id, family, event, meaning)
py::list reasons() {
  py::list list;
  for (const journal::ReasonInfo& reason : journal::reasons())
    list.append(py::make_tuple(text(reason.id), text(reason.family), text(reason.event), text(reason.meaning)));
  return list;
}

// The registry's id for a current or former one; empty: unknown.
py::str current_reason(const std::string& reason_id) {
  journal::Reason reason;
  return text(journal::find_reason(str(reason_id), &reason) ? info(reason).id : Str());
}

}  // namespace

void bind_journal(py::module_& module) {
  using namespace py::literals;
  module.def("reasons", &reasons);
  module.def("current_reason", &current_reason, "reason_id"_a);
  py::class_<JournalCore, std::shared_ptr<JournalCore>>(module, "JournalCore")
      .def(py::init([](const std::string& hash, u64 n_lines, bool content) {
             auto journal = std::make_shared<Journal>(host::host_platform(), head_from(hash, n_lines));
             return std::make_shared<JournalCore>(std::move(journal), content);
           }),
           "hash"_a, "n_lines"_a, "content"_a)
      .def("take", &take)
      .def("tell", &record, "reason_id"_a, "data"_a)
      .def("head", [](const JournalCore& core) { return tuple_of(core.journal->head()); });
  module.def("log_line", &log_line, "line"_a);
  py::class_<ReplayCore>(module, "ReplayCore")
      .def(py::init<std::vector<std::pair<std::string, std::string>>>(), "changes"_a)
      .def("observe", &ReplayCore::observe, "reason_id"_a, "turn"_a, "data"_a);
  py::class_<ChainCheck>(module, "JournalCheck")
      .def(py::init<>())
      .def(py::init([](const std::string& hash, u64 n_lines) { return ChainCheck(head_from(hash, n_lines)); }),
           "hash"_a, "n_lines"_a)
      .def("next", &next, "line"_a)
      .def("head", [](const ChainCheck& check) { return tuple_of(check.head()); });
}

}  // namespace flyball::bind
