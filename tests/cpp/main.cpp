#include <algorithm>
#include <chrono>
#include <cstdio>
#include <mutex>
#include <vector>

#include "host/host.h"
#include "test.h"

namespace test {
namespace {

Case* first_case = nullptr;
std::atomic<int> n_failed_checks = 0;
std::atomic<long long> n_checks = 0;
std::mutex output;
constexpr int max_reports = 20;  // of one test: a broken kernel fails thousands of checks

std::string stem(const char* path) {
  std::string name = path;
  name = name.substr(name.find_last_of('/') + 1);
  name = name.substr(0, name.find_last_of('.'));
  return name.starts_with("test_") ? name.substr(5) : name;
}

std::string full_name(const Case& test_case) { return stem(test_case.file) + "." + test_case.name; }

bool selected(const Case& test_case, const std::vector<std::string>& filters) {
  const std::string name = full_name(test_case);
  return filters.empty() || std::any_of(filters.begin(), filters.end(), [&](const std::string& filter) {
           return filter.starts_with('=') ? name == filter.substr(1) : name.find(filter) != std::string::npos;
         });
}

bool run(const Case& test_case) {
  n_failed_checks = 0;
  const long long checks_before = n_checks;
  const auto begin = std::chrono::steady_clock::now();
  try {
    test_case.run();
  } catch (const Abort&) {
  } catch (const std::exception& error) {
    failed(test_case.file, 0, std::string("exception: ") + error.what());
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const bool good = n_failed_checks == 0;
  std::printf("%s %-60s %9lld checks %8.3f s\n", good ? "ok  " : "FAIL", full_name(test_case).c_str(),
              n_checks - checks_before, seconds);
  std::fflush(stdout);
  return good;
}

}  // namespace

Case::Case(const char* case_file, const char* test_name, void (*function)())
    : file(case_file), name(test_name), run(function), next(first_case) {
  first_case = this;
}

void passed() { ++n_checks; }

void failed(const char* file, int line, const std::string& message) {
  ++n_checks;
  const int n = ++n_failed_checks;
  const std::lock_guard<std::mutex> lock(output);
  if (n <= max_reports) std::printf("  %s:%d: %s\n", file, line, message.c_str());
  if (n == max_reports + 1) std::printf("  ... further failures of this test are not shown\n");
  std::fflush(stdout);
}

void note(const std::string& text) {
  const std::lock_guard<std::mutex> lock(output);
  std::printf("  note: %s\n", text.c_str());
}

}  // namespace test

int main(int argc, char** argv) {
  flyball::host::host_platform();  // asks the system for what the best kernel table needs
  std::vector<std::string> filters(argv + 1, argv + argc);
  const bool list = std::erase(filters, "--list") > 0;

  std::vector<const test::Case*> cases;
  for (const test::Case* c = test::first_case; c; c = c->next) {
    if (test::selected(*c, filters)) cases.push_back(c);
  }
  std::sort(cases.begin(), cases.end(),
            [](const auto* a, const auto* b) { return test::full_name(*a) < test::full_name(*b); });
  if (list) {
    for (const auto* c : cases) std::printf("%s\n", test::full_name(*c).c_str());
    return 0;
  }

  std::vector<std::string> failures;
  for (const auto* c : cases) {
    if (!test::run(*c)) failures.push_back(test::full_name(*c));
  }
  for (const auto& name : failures) std::printf("failed: %s\n", name.c_str());
  std::printf("%zu tests, %zu failed, %lld checks\n", cases.size(), failures.size(), test::n_checks.load());
  // A filter that matches nothing is a mistake, and an empty run must not pass for a good one.
  return failures.empty() && !cases.empty() ? 0 : 1;
}
