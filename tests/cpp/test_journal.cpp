#include <set>
#include <string>
#include <vector>

#include "test.h"

#include "journal/journal.h"

using namespace flyball;
using namespace flyball::journal;

namespace {

Str str(const std::string& text) { return {text.data(), text.size()}; }
std::string string(Str text) { return {text.data, text.size}; }

// Lines without their newlines, and the head behind the last.
struct Chain {
  std::vector<std::string> lines;
  Head head;

  void add(Reason reason, const std::string& data = "{}") {
    std::vector<char> buffer(max_line_bytes);
    Writer out(buffer.data(), buffer.size());
    Event event;
    event.time_ns = 1'700'000'000'000'000'000u + head.n_lines;
    event.cycles = 1000 * head.n_lines;
    event.session = 1;
    event.turn = head.n_lines;
    event.reason = reason;
    event.data = str(data);
    REQUIRE(write_event(out, &head, event).ok());
    const std::string line = string(out.text());
    REQUIRE(line.ends_with("\n"));
    lines.push_back(line.substr(0, line.size() - 1));
  }
};

Chain chain_of(u32 n) {
  Chain journal;
  for (u32 i = 0; i < n; ++i)
    journal.add(i % 2 ? Reason::SESSION_TURN_ENDED : Reason::SESSION_CACHE_RESET, "{\"n\":" + std::to_string(i) + "}");
  return journal;
}

// Positions of the lines at which a check from the start finds a fault.
std::vector<u64> faults(const std::vector<std::string>& lines) {
  ChainCheck check{Head{}};
  std::vector<u64> found;
  for (u64 i = 0; i < lines.size(); ++i) {
    Line line;
    if (!check.next(str(lines[i]), &line).ok()) found.push_back(i);
  }
  return found;
}

std::string error_of(const std::string& line) {
  const auto read = read_line(str(line));
  return read.ok() ? "" : string(read.error().what.str());
}

}  // namespace

TEST(every_reason_is_found_by_its_id) {
  std::set<std::string> ids;
  for (u64 i = 0; i < reasons().size; ++i) {
    const ReasonInfo& reason = reasons()[i];
    Reason found{};
    CHECK(find_reason(reason.id, &found));
    CHECK_EQ(u64(found), i);
    CHECK(string(reason.id).starts_with(string(reason.family) + "_"));
    CHECK(!reason.event.empty() && !reason.meaning.empty());
    CHECK(ids.insert(string(reason.id)).second);
  }
  Reason none{};
  CHECK(!find_reason("SESSION_NEVER_HEARD_OF", &none));
  CHECK(!find_reason("", &none));
}

TEST(a_line_reads_back_as_it_was_written) {
  Chain journal;
  journal.add(Reason::MODEL_LOADED, R"({"name":"a \"model\"","tokens":[1,2]})");
  const auto line = read_line(str(journal.lines[0]));
  REQUIRE(line.ok());
  CHECK_EQ(line.value().number, 0u);
  CHECK(line.value().prev_hash == Digest());
  CHECK(line.value().hash == journal.head.hash);
  CHECK_EQ(line.value().event.time_ns, 1'700'000'000'000'000'000u);
  CHECK(line.value().event.reason == Reason::MODEL_LOADED);
  CHECK_EQ(line.value().event.data, Str(R"({"name":"a \"model\"","tokens":[1,2]})"));
}

TEST(the_bytes_of_a_line_are_a_promise) {
  Chain journal;
  journal.add(Reason::SESSION_CLOSED);
  CHECK_EQ(
      str(journal.lines[0]),
      Str(R"({"v":2,"seq":0,"time_ns":1700000000000000000,"cycles":0,"session":1,"turn":0,"event":"session_close",)"
          R"("reason_id":"SESSION_CLOSED","data":{},)"
          R"("prev_hash":"0000000000000000000000000000000000000000000000000000000000000000",)"
          R"("hash":"321d739e61f30b2ef8909ad14891670e436efc14ee68a7067d396bf9f5672b62"})"));
}

TEST(a_whole_chain_holds) {
  const Chain journal = chain_of(50);
  ChainCheck check{Head{}};
  ChainCheck later;  // from the middle: the first line says where it continues
  for (u64 i = 0; i < 50; ++i) {
    Line line;
    CHECK(check.next(str(journal.lines[i]), &line).ok());
    if (i >= 20) CHECK(later.next(str(journal.lines[i]), &line).ok());
  }
  CHECK(check.head() == journal.head);
  CHECK(later.head() == journal.head);
}

TEST(every_changed_byte_is_found_at_its_line) {
  const Chain journal = chain_of(3);
  for (u64 at = 0; at < journal.lines[1].size(); ++at) {
    for (const u8 flip : {1, 4, 32, 128}) {
      std::vector<std::string> lines = journal.lines;
      lines[1][at] = char(lines[1][at] ^ flip);
      const auto found = faults(lines);
      CHECK(found.size() == 1 && found[0] == 1);
    }
  }
}

TEST(missing_swapped_and_repeated_lines_are_found) {
  const Chain journal = chain_of(6);
  auto lines = journal.lines;
  lines.erase(lines.begin() + 2);
  CHECK(faults(lines) == std::vector<u64>{2});
  lines = journal.lines;
  std::swap(lines[2], lines[3]);
  CHECK(!faults(lines).empty() && faults(lines)[0] == 2);
  lines = journal.lines;
  lines.insert(lines.begin() + 4, lines[3]);
  CHECK(!faults(lines).empty() && faults(lines)[0] == 4);
  lines = journal.lines;
  lines.pop_back();  // only the exported head shows what is missing at the end
  CHECK(faults(lines).empty());
}

TEST(a_line_that_was_written_anew_does_not_fit_its_neighbors) {
  const Chain journal = chain_of(4);
  Chain forged;
  for (u32 i = 0; i < 3; ++i) forged.add(Reason::SESSION_OPENED);
  auto lines = journal.lines;
  lines[1] = forged.lines[1];
  CHECK_EQ(faults(lines)[0], 1u);
}

TEST(torn_lines_and_other_text_are_refused) {
  const Chain journal = chain_of(1);
  const std::string& line = journal.lines[0];
  for (u64 n = 0; n < line.size(); ++n) CHECK(!read_line(str(line.substr(0, n))).ok());
  CHECK(!read_line(str(line + " ")).ok());
  CHECK(!read_line(str(line + "\n")).ok());
  CHECK(error_of(std::string(max_line_bytes, 'x')).find("too long") != std::string::npos);
  CHECK(error_of("{}").find("torn") != std::string::npos);
}

TEST(what_is_no_object_on_one_line_is_not_written) {
  char buffer[4096];
  for (const char* data : {"", "[]", "{", "{\"a\":1}}", "{\n}", "{\"a\":1,\"a\":2}", "null"}) {
    Writer out(buffer, sizeof buffer);
    Head head;
    Event event;
    event.data = data;
    CHECK(!write_event(out, &head, event).ok());
    CHECK(head == Head());
  }
  Writer small(buffer, 100);
  Head head;
  CHECK_EQ(write_event(small, &head, Event()).error().code, Code::invalid_argument);
  CHECK(head == Head());
}
