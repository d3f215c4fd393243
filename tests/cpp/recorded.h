// Decisions that were recorded, in journal and log.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "fake_platform.h"

#include "journal/journal.h"

namespace test {

inline std::string string(flyball::Str text) { return {text.data, text.size}; }

struct Recorded {
  flyball::journal::Reason reason;
  std::string data;
  friend bool operator==(const Recorded&, const Recorded&) = default;
};

// Each event is one line of the journal and one of the log, under the same registered reason and one of the `markers`.
inline void check_log_and_journal(const std::vector<Recorded>& recorded, const std::vector<std::string>& markers) {
  using namespace flyball;
  FakePlatform fake;
  journal::Journal journal(fake.platform);
  for (const Recorded& t : recorded) journal.sink()(1, 1, t.reason, {t.data.data(), t.data.size()});
  std::string lines;
  CHECK_EQ(journal.take([&](Str text) {
    lines = string(text);
    return true;
  }),
           u64(0));
  size_t at = 0, n = 0;
  for (; at < lines.size(); ++n) {
    const size_t end = lines.find('\n', at);
    const auto line = journal::read_line({lines.data() + at, end - at});
    REQUIRE(line.ok() && n < recorded.size());
    CHECK(line.value().event.reason == recorded[n].reason);
    char buffer[4096];
    Writer log(buffer, sizeof buffer);
    journal::write_log_line(log, line.value());
    const std::string text = string(log.text());
    CHECK(std::count(markers.begin(), markers.end(), text.substr(0, text.find(' '))) == 1);
    CHECK(text.find(" reason_id=" + string(journal::info(recorded[n].reason).id) + " ") != std::string::npos);
    CHECK_EQ(std::count(text.begin(), text.end(), '\n'), 1);
    at = end + 1;
  }
  CHECK_EQ(n, recorded.size());
}

}  // namespace test
