#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "base/parallel.h"
#include "engine/packed_copy.h"
#include "host/host.h"
#include "test.h"

using namespace flyball;

namespace {

const Platform& platform() { return host::host_platform(); }

class TemporaryFolder {
 public:
  TemporaryFolder() {
    char pattern[] = "/tmp/flyball-test-XXXXXX";
    path_ = mkdtemp(pattern);
  }
  ~TemporaryFolder() {
    for (const std::string& name : names()) unlink((path_ + "/" + name).c_str());
    rmdir(path_.c_str());
  }
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    DIR* const stream = opendir(path_.c_str());
    while (const dirent* entry = readdir(stream)) {
      if (entry->d_name[0] != '.') out.push_back(entry->d_name);
    }
    closedir(stream);
    return out;
  }

 private:
  std::string path_;
};

Str str(const std::string& s) { return {s.data(), s.size()}; }
Span<const u8> bytes(const std::string& s) { return {reinterpret_cast<const u8*>(s.data()), s.size()}; }

std::string read_back(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Code map_error(const std::string& path) {
  const auto mapped = platform().map(platform().self, str(path));
  return mapped.error().code;
}

// Runs a job and checks that each task ran exactly once.
bool runs_each_once(u32 n_threads, u32 n_tasks) {
  std::vector<std::atomic<u32>> runs(n_tasks);
  platform().parallel_for(
      platform().self, n_threads, n_tasks,
      [](void* context, u32 task) { (*static_cast<std::vector<std::atomic<u32>>*>(context))[task]++; }, &runs);
  for (const auto& n : runs) {
    if (n != 1) return false;
  }
  return true;
}

double microseconds(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

TEST(memory_is_zeroed_and_aligned) {
  for (const u64 n : {u64(1), u64(4096), u64(4097), u64(2) << 20, (u64(5) << 20) + 3}) {
    u8* const memory = static_cast<u8*>(platform().allocate(platform().self, n));
    REQUIRE(memory != nullptr);
    CHECK_EQ(reinterpret_cast<u64>(memory) % 64, 0u);
    bool zeroed = true;
    for (u64 i = 0; i < n; ++i) zeroed = zeroed && memory[i] == 0;
    CHECK(zeroed);
    memory[0] = memory[n - 1] = 1;
    platform().release(platform().self, memory, n);
  }
}

TEST(impossible_memory_is_null) {
  CHECK(platform().allocate(platform().self, 0) == nullptr);
  CHECK(platform().allocate(platform().self, ~u64(0)) == nullptr);
  CHECK(platform().allocate(platform().self, u64(1) << 46) == nullptr);
}

TEST(map_gives_the_files_bytes) {
  const TemporaryFolder folder;
  std::string content(100'000, 'x');
  content[70'000] = 'y';
  std::ofstream(folder.file("a")) << content;
  auto mapped = platform().map(platform().self, str(folder.file("a")));
  REQUIRE(mapped.ok());
  const Span<const u8> file = mapped.value();
  REQUIRE_EQ(file.size, content.size());
  CHECK_EQ(memcmp(file.data, content.data(), content.size()), 0);
  platform().discard(platform().self, file.subspan(5000, 90'000));
  CHECK_EQ(memcmp(file.data, content.data(), content.size()), 0);
  platform().unmap(platform().self, file);
}

TEST(map_refuses_what_is_no_file) {
  const TemporaryFolder folder;
  CHECK_EQ(map_error(folder.file("absent")), Code::not_found);
  CHECK_EQ(map_error(folder.path()), Code::invalid_argument);
  CHECK_EQ(map_error("/dev/zero"), Code::invalid_argument);
  CHECK_EQ(map_error(""), Code::invalid_argument);
  CHECK_EQ(map_error(std::string("a\0b", 3)), Code::invalid_argument);
  std::ofstream(folder.file("empty"));
  CHECK_EQ(map_error(folder.file("empty")), Code::corrupt);
  // A pipe without a writer would block a plain open for ever.
  REQUIRE_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  CHECK_EQ(map_error(folder.file("pipe")), Code::invalid_argument);
}

TEST(errors_name_the_path) {
  const auto mapped = platform().map(platform().self, "/nowhere/model.gguf");
  char buffer[600];
  Writer out(buffer, sizeof buffer);
  mapped.error().describe(out);
  const std::string text(out.text().data, out.text().size);
  CHECK(text.find("/nowhere/model.gguf") != std::string::npos);
  CHECK(text.find("No such file") != std::string::npos);
}

TEST(a_mapping_tells_what_became_of_its_file) {
  TemporaryFolder folder;
  const std::string path = folder.file("a");
  std::ofstream(path) << std::string(10'000, 'x');
  auto mapped = platform().map(platform().self, str(path));
  REQUIRE(mapped.ok());
  const auto now = [&] { return platform().mapped(platform().self, mapped.value()); };
  const FileInfo then = now().value();
  const FileInfo named = platform().stat(platform().self, str(path)).value();
  CHECK_EQ(then.bytes, 10'000u);
  CHECK(then.inode == named.inode && then.device == named.device && then.changed_ns == named.changed_ns);
  CHECK_EQ(then.n_links, 1u);
  CHECK_EQ(unlink(path.c_str()), 0);
  CHECK_EQ(now().value().n_links, 0u);
  CHECK_EQ(now().value().inode, then.inode);
  std::ofstream(path) << "another file";
  CHECK_EQ(now().value().bytes, 10'000u);
  platform().unmap(platform().self, mapped.value());
  CHECK(!now().ok());
}

TEST(pages_that_a_file_has_lost_read_as_zeros) {
  TemporaryFolder folder;
  const std::string path = folder.file("a");
  std::ofstream(path) << std::string(100'000, 'x');
  struct sigaction before, during, after;
  sigaction(SIGBUS, nullptr, &before);
  auto mapped = platform().map(platform().self, str(path));
  auto other = platform().map(platform().self, str(path));
  REQUIRE(mapped.ok() && other.ok());
  sigaction(SIGBUS, nullptr, &during);
  CHECK(during.sa_sigaction != before.sa_sigaction);
  CHECK_EQ(truncate(path.c_str(), 5000), 0);
  const Span<const u8> bytes = mapped.value();
  CHECK_EQ(bytes[100], 'x');
  CHECK(platform().mapped(platform().self, bytes).ok());  // no such page was read yet
  std::thread reader([&] { CHECK_EQ(bytes[50'000], 0); });
  CHECK_EQ(bytes[50'001], 0);
  CHECK_EQ(bytes[99'999], 0);
  reader.join();
  CHECK_EQ(platform().mapped(platform().self, bytes).error().code, Code::io);
  CHECK_EQ(platform().mapped(platform().self, other.value()).value().bytes, 5000u);
  platform().unmap(platform().self, bytes);
  platform().unmap(platform().self, other.value());
  sigaction(SIGBUS, nullptr, &after);
  CHECK(after.sa_sigaction == before.sa_sigaction);
  const auto again = platform().map(platform().self, str(path));  // of a size that is right again
  CHECK(platform().mapped(platform().self, again.value()).ok());
  platform().unmap(platform().self, again.value());
}

TEST(write_file_replaces_and_leaves_nothing_behind) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  CHECK(platform().write_file(platform().self, str(path), bytes("first")).ok());
  CHECK_EQ(read_back(path), "first");
  chmod(path.c_str(), 0640);
  CHECK(platform().write_file(platform().self, str(path), bytes("")).ok());
  CHECK_EQ(read_back(path), "");
  struct stat info;
  CHECK_EQ(stat(path.c_str(), &info), 0);
  CHECK_EQ(info.st_mode & 0777u, 0640u);
  CHECK_EQ(folder.names().size(), 1u);

  CHECK_EQ(platform().write_file(platform().self, str(folder.path()), bytes("x")).error().code, Code::invalid_argument);
  CHECK(!platform().write_file(platform().self, str(folder.file("no/such/folder")), bytes("x")).ok());
  CHECK_EQ(folder.names().size(), 1u);
}

TEST(write_file_keeps_a_link) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("real")) << "old";
  REQUIRE_EQ(symlink(folder.file("real").c_str(), folder.file("link").c_str()), 0);
  CHECK(platform().write_file(platform().self, str(folder.file("link")), bytes("new")).ok());
  CHECK_EQ(read_back(folder.file("real")), "new");
  struct stat info;
  CHECK_EQ(lstat(folder.file("link").c_str(), &info), 0);
  CHECK(S_ISLNK(info.st_mode));
}

TEST(a_reader_sees_the_old_file_or_the_new) {
  const TemporaryFolder folder;
  const std::string path = folder.file("state");
  const std::string a(300'000, 'a'), b(200'000, 'b');
  REQUIRE(platform().write_file(platform().self, str(path), bytes(a)).ok());
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (int i = 0; i < 40; ++i) (void)platform().write_file(platform().self, str(path), bytes(i % 2 ? a : b)).ok();
    stop = true;
  });
  int n_reads = 0, n_torn = 0;
  while (!stop) {
    const std::string now = read_back(path);
    n_torn += now != a && now != b;
    ++n_reads;
  }
  writer.join();
  CHECK_EQ(n_torn, 0);
  CHECK(n_reads > 0);
}

// It appears when it is whole, never changes another, and can be written no more.
TEST(a_new_mapping_has_no_name_until_it_is_kept) {
  const TemporaryFolder folder;
  const Platform& p = platform();
  const std::string path = folder.file("kept");
  const Result<Span<u8>> made = p.map_new(p.self, str(folder.path()), 10000);
  CHECK(made.ok());
  memcpy(made.value().data, "whole", 5);
  CHECK(folder.names().empty());
  CHECK_EQ(p.mapped(p.self, made.value()).value().n_links, u64(0));
  CHECK(p.keep_new(p.self, made.value(), str(path)).ok());
  CHECK_EQ(p.mapped(p.self, made.value()).value().n_links, u64(1));
  const std::string text = read_back(path);
  CHECK_EQ(text.size(), 10000u);
  CHECK(text.substr(0, 5) == "whole");

  const Result<Span<u8>> second = p.map_new(p.self, str(folder.path()), 5000);
  CHECK(p.keep_new(p.self, second.value(), str(path)).ok());
  CHECK_EQ(p.mapped(p.self, second.value()).value().n_links, u64(0));
  CHECK(read_back(path) == text);
  p.unmap(p.self, second.value());
  p.unmap(p.self, made.value());
  CHECK_EQ(folder.names().size(), 1u);
  CHECK(!p.map_new(p.self, str(folder.file("missing")), 5000).ok());
  const Result<Span<u8>> huge = p.map_new(p.self, str(folder.path()), u64(1) << 60);
  CHECK(!huge.ok());
  CHECK(std::string(huge.error().what.data, huge.error().what.size).find("cannot make room") == 0);
  CHECK_EQ(folder.names().size(), 1u);
}

// Weights stay where they were packed; that they have no name is told.
TEST(a_packed_copy_that_gets_no_name_serves_its_model) {
  const TemporaryFolder folder;
  Platform p = platform();
  p.keep_new = [](void*, Span<const u8>, Str) { return Status(); };
  engine::PackedOptions options;
  options.folder = str(folder.path());
  options.use = engine::PackedUse::always;
  engine::PackedCopy copy(p, options, "");
  engine::PackedContent content;
  content.bytes = 4096;
  CHECK(copy.concerns(content.bytes, content.bytes));
  CHECK(copy.find(content, 1, {}).ok());
  copy.make(content, content.bytes);
  CHECK_EQ(copy.room().size, content.bytes);
  CHECK(!copy.is_kept());
  copy.room()[7] = 9;
  CHECK(copy.keep("A model", 1, {}).ok());
  CHECK(copy.is_kept());
  CHECK_EQ(copy.room()[7], u8(9));
  CHECK(!copy.problem().empty());
  CHECK(folder.names().empty());
}

TEST(append_file_appends) {
  const TemporaryFolder folder;
  const std::string path = folder.file("journal");
  CHECK(platform().append_file(platform().self, str(path), bytes("one\n")).ok());
  CHECK(platform().append_file(platform().self, str(path), bytes("two\n")).ok());
  CHECK_EQ(read_back(path), "one\ntwo\n");
  CHECK_EQ(platform().append_file(platform().self, "/dev/null", bytes("x")).error().code, Code::invalid_argument);
}

TEST(rename_file_never_takes_another_files_name) {
  const TemporaryFolder folder;
  const std::string one = folder.file("one"), two = folder.file("two");
  const Platform& p = platform();
  REQUIRE(p.append_file(p.self, str(one), bytes("1")).ok());
  REQUIRE(p.append_file(p.self, str(two), bytes("2")).ok());
  CHECK(p.flush_file(p.self, str(two)).ok());
  CHECK(!p.rename_file(p.self, str(one), str(two)).ok());
  CHECK(p.remove_file(p.self, str(two)).ok());
  CHECK(p.rename_file(p.self, str(one), str(two)).ok());
  CHECK(!p.stat(p.self, str(one)).ok());
  CHECK_EQ(p.stat(p.self, str(two)).value().bytes, u64(1));
  for (const Status& status : {p.rename_file(p.self, str(one), str(two + "3")), p.remove_file(p.self, str(one)),
                               p.flush_file(p.self, str(one))})
    CHECK_EQ(status.error().code, Code::not_found);
}

TEST(append_file_adds_all_or_nothing) {
  const TemporaryFolder folder;
  const std::string path = folder.file("journal");
  const std::string line(60, 'x');
  REQUIRE(platform().append_file(platform().self, str(path), bytes(line)).ok());
  rlimit before;
  REQUIRE_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit full{100, before.rlim_max};  // as on a disk that has room for 40 bytes more
  REQUIRE_EQ(setrlimit(RLIMIT_FSIZE, &full), 0);
  const Status status = platform().append_file(platform().self, str(path), bytes(line));
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, old_handler);
  CHECK_EQ(status.error().code, Code::io);
  CHECK_EQ(read_back(path), line);
}

TEST(append_file_leaves_a_locked_file_alone) {
  const TemporaryFolder folder;
  const std::string path = folder.file("journal");
  const int held = open(path.c_str(), O_WRONLY | O_CREAT, 0600);
  REQUIRE_EQ(flock(held, LOCK_EX), 0);
  const Status refused = platform().append_file(platform().self, str(path), bytes("x"));
  CHECK_EQ(refused.error().code, Code::io);
  CHECK(std::string(refused.error().what.str().data).find("another program") != std::string::npos);
  close(held);
  CHECK(platform().append_file(platform().self, str(path), bytes("x")).ok());
  CHECK_EQ(read_back(path), "x");
}

TEST(list_gives_regular_files_in_order) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("b.gguf")) << "12345";
  std::ofstream(folder.file("a.gguf")) << "1";
  REQUIRE_EQ(mkfifo(folder.file("pipe").c_str(), 0600), 0);
  std::vector<std::pair<std::string, u64>> found;
  const Status status =
      platform().list(platform().self, str(folder.path()), &found, [](void* context, const FileInfo& file) {
        auto& out = *static_cast<std::vector<std::pair<std::string, u64>>*>(context);
        out.emplace_back(std::string(file.path.data, file.path.size), file.bytes);
      });
  CHECK(status.ok());
  REQUIRE_EQ(found.size(), 2u);
  CHECK_EQ(found[0].first, folder.file("a.gguf"));
  CHECK_EQ(found[1].first, folder.file("b.gguf"));
  CHECK_EQ(found[1].second, 5u);
  const auto ignore = [](void*, const FileInfo&) {};
  CHECK_EQ(platform().list(platform().self, str(folder.file("absent")), nullptr, ignore).error().code, Code::not_found);
}

TEST(stat_tells_size_and_time) {
  const TemporaryFolder folder;
  std::ofstream(folder.file("a")) << "1234567";
  const auto info = platform().stat(platform().self, str(folder.file("a")));
  REQUIRE(info.ok());
  CHECK_EQ(info.value().bytes, 7u);
  CHECK(info.value().modified_ns > 1'500'000'000'000'000'000u);
  CHECK_EQ(platform().stat(platform().self, str(folder.path())).error().code, Code::invalid_argument);
}

TEST(cycles_and_time_agree) {
  const u64 cycles_begin = cycles(platform()), ns_begin = now_ns(platform());
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const u64 elapsed = cycles(platform()) - cycles_begin;
  const u64 ns = now_ns(platform()) - ns_begin;
  const f64 measured = f64(elapsed) * 1e9 / f64(ns);
  const u64 per_second = cycles_per_second(platform());
  CHECK_EQ(cycles_per_second(platform()), per_second);
  const f64 ratio = measured / f64(per_second);
  test::note("cycles per second: " + std::to_string(per_second) + ", ratio to a 50 ms window " + test::show(ratio));
  CHECK(ratio > 0.995 && ratio < 1.005);
}

TEST(stop_is_reported_once) {
  CHECK(!platform().stop_requested(platform().self));
  host::request_stop();
  CHECK(platform().stop_requested(platform().self));
  CHECK(!platform().stop_requested(platform().self));
}

TEST(each_task_runs_exactly_once) {
  CHECK(platform().n_processors >= 1);
  for (const u32 n_threads : {0u, 1u, 2u, 3u, 7u}) {
    bool good = true;
    for (u32 job = 0; job < 2000; ++job) good = good && runs_each_once(n_threads, job % 67);
    CHECK(good);
  }
  CHECK(runs_each_once(1000, 5000));
}

TEST(parts_cover_all_once) {
  bool good = true;
  for (const u32 n_threads : {1u, 2u, 3u, 7u}) {
    for (const u32 least : {1u, 4u, 33u}) {
      for (u32 n = 0; n < 100; ++n) {
        std::vector<std::atomic<u32>> runs(n);
        std::atomic<bool> small = false;  // a part of less than `least` that is not the last
        parallel_parts(platform(), n_threads, n, least, [&](u32 begin, u32 end) {
          if (end - begin < least && end != n) small = true;
          for (u32 i = begin; i < end; ++i) runs[i]++;
        });
        for (const auto& count : runs) good = good && count == 1 && !small;
      }
    }
  }
  CHECK(good);
}

TEST(jobs_of_changing_width_after_pauses) {
  bool good = true;
  for (u32 job = 0; job < 300; ++job) {
    good = good && runs_each_once(1 + job % 7, 1 + job % 13);
    if (job % 10 == 0) std::this_thread::sleep_for(std::chrono::microseconds(300));  // workers fall asleep
  }
  CHECK(good);
}

TEST(callers_do_not_disturb_each_other) {
  std::atomic<int> n_bad = 0;
  std::vector<std::thread> callers;
  for (u32 c = 0; c < 4; ++c) {
    callers.emplace_back([&n_bad, c] {
      for (u32 job = 0; job < 1500; ++job) n_bad += !runs_each_once(2 + c % 3, 1 + (job + c) % 41);
    });
  }
  for (std::thread& caller : callers) caller.join();
  CHECK_EQ(n_bad, 0);
}

TEST(nested_jobs_run_inline) {
  std::atomic<u32> n_runs = 0;
  platform().parallel_for(
      platform().self, 3, 8,
      [](void* outer, u32) {
        platform().parallel_for(
            platform().self, 3, 5, [](void* inner, u32) { ++*static_cast<std::atomic<u32>*>(inner); }, outer);
      },
      &n_runs);
  CHECK_EQ(n_runs, 40u);
}

TEST(results_are_visible_to_the_caller) {
  // Plain memory: a missing barrier shows here, and as a race under the thread sanitizer.
  bool good = true;
  for (u32 job = 0; job < 500; ++job) {
    std::vector<u32> out(33, 0);
    platform().parallel_for(
        platform().self, 4, 33,
        [](void* context, u32 task) { (*static_cast<std::vector<u32>*>(context))[task] = task + 1; }, &out);
    for (u32 i = 0; i < 33; ++i) good = good && out[i] == i + 1;
  }
  CHECK(good);
}

// Workers that hold a task for as long as a scheduler's time slices, as strangers make them: the caller works alone then,
// tries again now and then, and takes help again when it pays.
TEST(the_caller_works_alone_while_help_does_not_pay) {
  if (platform().n_processors < 2) return;
  struct Shared {
    std::thread::id caller = std::this_thread::get_id();
    std::atomic<bool> put_aside = true;
    std::atomic<u32> n_tasks = 0, n_by_workers = 0;
  } shared;
  const auto run = [&](u32 n_jobs) {
    shared.n_tasks = shared.n_by_workers = 0;
    for (u32 job = 0; job < n_jobs; ++job) {
      platform().parallel_for(
          platform().self, 2, 8,
          [](void* context, u32) {
            Shared& s = *static_cast<Shared*>(context);
            const bool is_worker = std::this_thread::get_id() != s.caller;
            ++s.n_tasks, s.n_by_workers += is_worker;
            if (is_worker && s.put_aside) std::this_thread::sleep_for(std::chrono::milliseconds(10));
            const auto begin = std::chrono::steady_clock::now();
            while (microseconds(begin) < 20) {
            }
          },
          &shared);
    }
    CHECK_EQ(shared.n_tasks, 8 * n_jobs);
  };
  run(1000);
  CHECK(shared.n_by_workers < 1000u);  // one or more of each job's tasks without it
  shared.put_aside = false;
  run(8000);
  CHECK(shared.n_by_workers > 0u);
}

TEST(a_forked_child_starts_its_own_workers) {
  CHECK(runs_each_once(3, 20));
  const pid_t child = fork();
  if (child == 0) {
    bool good = true;
    for (u32 job = 0; job < 200; ++job) good = good && runs_each_once(3, 20);
    _exit(good ? 0 : 1);
  }
  int status = -1;
  REQUIRE_EQ(waitpid(child, &status, 0), child);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 0);
  CHECK(runs_each_once(3, 20));
}

// Two figures: an empty job (the caller may take all of it before a worker has seen it), and a job whose two tasks wait for
// each other, which takes as long as a hot worker needs to join and to report. Noted, not judged: on a busy machine the
// scheduler decides them.
TEST(latency_of_a_job) {
  const auto nothing = [](void*, u32) {};
  const auto meet = [](void* context, u32) {
    auto& n_arrived = *static_cast<std::atomic<u32>*>(context);
    const u32 target = (n_arrived++ / 2 + 1) * 2;
    const auto begin = std::chrono::steady_clock::now();
    while (n_arrived < target && microseconds(begin) < 1e4) std::this_thread::yield();
  };
  std::atomic<u32> n_arrived = 0;
  const auto best_us = [&](TaskFunction task) {
    double best = 1e9;
    for (int round = 0; round < 20; ++round) {
      const auto begin = std::chrono::steady_clock::now();
      for (int i = 0; i < 100; ++i) platform().parallel_for(platform().self, 2, 2, task, &n_arrived);
      best = std::min(best, microseconds(begin) / 100);
    }
    return best;
  };
  if (platform().n_processors < 2) return;  // the tasks of `meet` need two threads
  const double empty = best_us(nothing), joined = best_us(meet);
  test::note("two threads, best of 20 rounds: empty job " + test::show(empty) + " us, joined by a worker " +
             test::show(joined) + " us");
  CHECK(n_arrived > 0);
}
