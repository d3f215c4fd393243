#include <sched.h>

#include <algorithm>
#include <string>
#include <thread>

#include "host/cgroups.h"
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
u32 quota_of(u64 quota, u64 period) {
  if (quota == no_number || period == no_number || quota == 0 || period == 0) return ~0u;
  return static_cast<u32>(std::clamp<u64>(divide_up(quota, period), 1, ~0u));
}

u32 quota_of(const ControlGroup& group) {
  if (!group.unified) {
    const u64 quota = number_in(read_text(group.folder + "/cpu.cfs_quota_us"));  // "-1": none
    return quota_of(quota, number_in(read_text(group.folder + "/cpu.cfs_period_us")));
  }
  const std::string limit = read_text(group.folder + "/cpu.max");
  const size_t space = limit.find(' ');
  return space == std::string::npos ? ~0u : quota_of(number_in(limit), number_in(limit.substr(space)));
}

}  // namespace

u32 quota_below(const std::string& root) {
  u32 smallest = ~0u;
  for (const ControlGroup& group : control_groups(root, "cpu")) smallest = std::min(smallest, quota_of(group));
  return smallest;
}

u32 count_processors() { return std::min(count_affinity(), quota_below("")); }

}  // namespace flyball::host
