// The files of the REPL's journal: rotation, power cuts, what is set aside.
#include <vector>

#include "fake_platform.h"
#include "repl/journal_store.h"

using namespace flyball;
using repl::JournalStore;

namespace {

// A volume that may lose its power at a step: what was to be appended is there by half, and nothing works from then on.
struct Volume {
  test::FakePlatform world;
  u64 n_steps = 0, n_before_cut = ~u64(0);

  Volume() {
    world.writing = [this](const std::string&, std::string*) { return step(); };
    world.renaming = [this](const std::string&, const std::string&) { return step(); };
    world.removing = [this](const std::string&) { return step(); };
    world.appending = [this](const std::string&) { return step(); };
  }
  Status step() {
    if (n_steps++ >= n_before_cut) return fail(Code::io, "volume") << "has no power";
    return {};
  }
};

// One boot: a journal over a store, as the REPL has them.
struct Boot {
  JournalStore store;
  JournalStore::Opened opened;
  journal::Journal journal;
  Status status;

  explicit Boot(Volume& volume, u64 max_bytes = 1500, u64 n_files = 3, Str path = "j")
      : store(volume.world.platform), journal(volume.world.platform) {
    status = store.open(path, max_bytes, n_files, &opened);
    journal.go_on(opened.head);
  }
  Status tell(u64 n, bool all_now = false) {
    for (u64 i = 0; i < n; ++i) journal.sink()(0, 0, journal::Reason::HEAL_ACTIVE, "{\"what\":\"an event\"}");
    Status kept;
    journal.take([&](Str lines) {
      bool there = false;
      if (store.is_open()) kept = store.append(lines, all_now, &there);
      return there;
    });
    return kept;
  }
};

struct Kept {
  std::vector<std::string> names;  // oldest first
  std::vector<std::string> lines;
  u64 first = 0;
  bool whole = true;  // a chain without gap
};

Kept read(Volume& volume, const std::string& path = "j") {
  Kept kept;
  for (u64 n = 1; n < 100; ++n) {
    if (volume.world.files.contains(path + "." + std::to_string(n)))
      kept.names.push_back(path + "." + std::to_string(n));
  }
  if (volume.world.files.contains(path)) kept.names.push_back(path);
  journal::ChainCheck chain;
  for (const std::string& name : kept.names) {
    const std::string& text = volume.world.files[name];
    for (size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1) {
      journal::Line line;
      kept.whole = chain.next({text.data() + at, end - at}, &line).ok() && kept.whole;
      if (kept.lines.empty()) kept.first = line.number;
      kept.lines.push_back(text.substr(at, end - at));
    }
  }
  return kept;
}

journal::HeadFile head_of(Volume& volume, const std::string& path = "j") {
  const std::string& text = volume.world.files[path + ".head"];
  const Result<journal::HeadFile> head = journal::read_head_file({text.data(), text.size()});
  CHECK(head.ok());
  return head.value();
}

}  // namespace

TEST(a_full_file_of_the_journal_is_rotated_and_the_oldest_deleted) {
  Volume volume;
  for (int n = 0; n < 3; ++n) {
    Boot boot(volume);
    REQUIRE(boot.status.ok());
    CHECK_EQ(boot.opened.fault.size, 0u);
    for (int i = 0; i < 9; ++i) CHECK(boot.tell(1).ok());
    CHECK(boot.tell(1, true).ok());
    const Kept kept = read(volume);
    CHECK(kept.whole);
    CHECK_EQ(kept.first + kept.lines.size(), u64(10 * (n + 1)));
    CHECK_EQ(head_of(volume).head.n_lines, u64(10 * (n + 1)));
    CHECK_EQ(head_of(volume).begin.number, kept.first);
    CHECK(kept.names.size() <= 4u);
  }
  CHECK(read(volume).first > 0);
}

TEST(a_power_cut_at_any_step_leaves_a_journal_that_goes_on) {
  u64 n_cuts = 0;
  for (bool done = false; !done; ++n_cuts) {
    Volume volume;
    {
      Boot first(volume);
      REQUIRE(first.tell(3, true).ok());
    }
    volume.n_before_cut = volume.n_steps + n_cuts;
    u64 n_promised = 3;
    {
      Boot boot(volume);
      for (int i = 0; i < 12; ++i) {
        if (boot.tell(2).ok()) n_promised = 3 + 2 * u64(i + 1);
      }
    }
    done = volume.n_steps <= volume.n_before_cut;
    volume.n_before_cut = ~u64(0);
    Boot again(volume);
    CHECK(again.status.ok());
    CHECK_EQ(again.opened.fault.size, 0u);
    CHECK(!again.opened.head_missing);
    CHECK(again.tell(1, true).ok());
    const Kept kept = read(volume);
    CHECK(kept.whole);
    CHECK(kept.first <= head_of(volume).begin.number);
    CHECK_EQ(head_of(volume).head.n_lines, kept.first + kept.lines.size());
    CHECK(kept.first + kept.lines.size() > n_promised);
  }
  CHECK(n_cuts > 20);
}

TEST(a_journal_that_cannot_go_on_is_set_aside_with_all_its_files) {
  const auto damage = [](int how, std::map<std::string, std::string>& files) {
    std::string& newest = files["j"];
    if (how == 0) newest[50] ^= 1;
    if (how == 1) newest.clear();
    if (how == 2) files.erase("j");
    if (how == 3) files["j.head"][5] ^= 1;
    if (how == 4) files["j.head"] = "";
    if (how == 5) newest.resize(newest.rfind("{\"v\""));
    if (how == 6) files["j.head"].replace(files["j.head"].find("\"hash\":\"") + 8, 4, "0123");
    if (how == 7) newest.back() = 'x';
  };
  for (int how = 0; how < 8; ++how) {
    Volume volume;
    {
      Boot boot(volume);
      for (int i = 0; i < 5; ++i) REQUIRE(boot.tell(3, true).ok());
    }
    damage(how, volume.world.files);
    const auto damaged = volume.world.files;
    Boot boot(volume);
    REQUIRE(boot.status.ok());
    CHECK(boot.opened.fault.size != 0);
    CHECK(Json::parse(boot.opened.moved.str()).ok());
    for (const auto& [name, text] : damaged) CHECK(volume.world.files["j.broken-1" + name.substr(1)] == text);
    CHECK(boot.tell(1, true).ok());
    CHECK_EQ(read(volume).lines.size(), u64(1));
    CHECK_EQ(head_of(volume).head.n_lines, u64(1));
    volume.world.files["j"][50] ^= 1;
    Boot second(volume);
    CHECK(second.opened.aside.str() == "j.broken-2");
  }
}

TEST(a_journal_goes_on_without_its_newline_and_with_an_older_head) {
  Volume volume;
  {
    REQUIRE(Boot(volume).tell(2, true).ok());
  }
  const std::string whole = volume.world.files["j"], head = volume.world.files["j.head"];
  volume.world.files["j"].pop_back();
  {
    CHECK_EQ(Boot(volume).opened.fault.size, 0u);
  }
  CHECK(volume.world.files["j"] == whole);
  {
    REQUIRE(Boot(volume).tell(2, true).ok());
  }
  volume.world.files["j.head"] = head;
  {
    CHECK_EQ(Boot(volume).opened.head.n_lines, u64(4));
  }
  volume.world.files.erase("j.head");
  Boot boot(volume);
  CHECK(boot.opened.head_missing);
  CHECK_EQ(head_of(volume).head.n_lines, u64(4));
  const std::string hash = head.substr(head.find("\"hash\":\"") + 8, 64);
  volume.world.files["j.head"] = "{\"version\": 1, \"hash\": \"" + hash + "\", \"n_lines\": 2}\n";
  CHECK_EQ(Boot(volume).opened.fault.size, 0u);
}

TEST(what_is_no_journal_is_left_alone) {
  for (const std::string text : {"notes\n", "notes", "{\"v\": 1}\n", "[1]"}) {
    Volume volume;
    volume.world.files["j"] = text;
    CHECK(!Boot(volume).status.ok());
    CHECK_EQ(volume.world.files.size(), size_t(1));
    CHECK(volume.world.files["j"] == text);
  }
}

TEST(a_journal_in_a_directory_is_rotated_there) {
  Volume volume;
  {
    Boot boot(volume, 500, 3, "logs/j");
    for (int i = 0; i < 4; ++i) REQUIRE(boot.tell(3, true).ok());
  }
  CHECK(volume.world.files.contains("logs/j.4"));
  CHECK(!volume.world.files.contains("logs/j.1"));
  CHECK(read(volume, "logs/j").whole);
}

TEST(a_file_that_another_program_moved_is_gone_on_with) {
  Volume volume;
  Boot boot(volume, 1 << 20);
  REQUIRE(boot.tell(2, true).ok());
  volume.world.files["old"] = volume.world.files["j"];
  volume.world.files.erase("j");
  CHECK(boot.tell(1, true).ok());
  CHECK_EQ(read(volume).first, u64(2));
  volume.world.files["j"] += "theirs";
  CHECK(!boot.tell(1, true).ok());
}
