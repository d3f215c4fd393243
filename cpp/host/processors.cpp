#include <sched.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include "host/parts.h"

namespace flyball::host {
namespace {

u32 count_affinity() {
  // A mask of fixed size fails on machines with more processors than it holds.
  for (int n = 1024; n <= 1 << 20; n *= 2) {
    cpu_set_t* const set = CPU_ALLOC(static_cast<size_t>(n));
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(n));
    const bool known = set && sched_getaffinity(0, bytes, set) == 0;
    const int count = known ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (known) return static_cast<u32>(std::max(count, 1));
  }
  return std::max(std::thread::hardware_concurrency(), 1u);
}

// "max 100000" or "150000 100000": the second means one and a half processors, for which two threads are right.
u32 quota_of_v2(const std::string& file) {
  std::ifstream in(file);
  std::string quota;
  u64 period = 0;
  if (!(in >> quota >> period) || quota == "max" || period == 0) return ~0u;
  u64 value = 0;
  if (!parse_u64(Str(quota.data(), quota.size()), &value)) return ~0u;
  return static_cast<u32>(std::clamp<u64>(divide_up(value, period), 1, ~0u));
}

u32 quota_of_v1(const std::string& folder) {
  i64 quota = 0, period = 0;
  std::ifstream quota_in(folder + "/cpu.cfs_quota_us"), period_in(folder + "/cpu.cfs_period_us");
  if (!(quota_in >> quota) || !(period_in >> period) || quota <= 0 || period <= 0) return ~0u;
  return static_cast<u32>(std::max<i64>((quota + period - 1) / period, 1));
}

// This process's group and all groups above it: each sets a limit.
template <class Quota>
u32 smallest_quota(const std::string& root, std::string group, Quota quota) {
  u32 smallest = ~0u;
  for (;;) {
    smallest = std::min(smallest, quota(root + group));
    const size_t slash = group.find_last_of('/');
    if (slash == std::string::npos) return smallest;
    group.resize(slash);
  }
}

u32 count_quota() {
  u32 smallest = ~0u;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {  // "0::/path" or "4:cpu,cpuacct:/path"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::string controllers = line.substr(first, second - first + 1);
    std::replace(controllers.begin(), controllers.end(), ':', ',');
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") {
      smallest = std::min(smallest, smallest_quota("/sys/fs/cgroup", group, [](const std::string& folder) {
                            return quota_of_v2(folder + "/cpu.max");
                          }));
    } else if (controllers.find(",cpu,") != std::string::npos) {
      smallest = std::min(smallest, smallest_quota("/sys/fs/cgroup/cpu", group, quota_of_v1));
    }
  }
  return smallest;
}

}  // namespace

u32 count_processors() { return std::min(count_affinity(), count_quota()); }

}  // namespace flyball::host
