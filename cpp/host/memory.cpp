#include <sys/mman.h>

#include <atomic>
#include <initializer_list>

#include "host/cgroups.h"
#include "host/host.h"
#include "host/parts.h"

namespace flyball::host {
namespace {

constexpr u64 page_bytes = 4096;
std::atomic<u64> n_allocated{0};

u64 sum_of(const std::string& text, std::initializer_list<const char*> names) {
  u64 sum = 0;
  for (const char* name : names) {
    if (const u64 value = number_in(text, name); value != no_number) sum += value;
  }
  return sum;
}

u64 number_of(const ControlGroup& group, const char* file) { return number_in(read_text(group.folder + file)); }

u64 limit_of(const ControlGroup& group) {
  if (group.unified) return min(number_of(group, "/memory.max"), number_of(group, "/memory.high"));  // "max": no number
  return min(number_of(group, "/memory.limit_in_bytes"),
             number_in(read_text(group.folder + "/memory.stat"), "hierarchical_memory_limit"));
}

// What a group has left. Page cache counts as used there, but makes room when memory is wanted.
u64 left_in(const ControlGroup& group) {
  const u64 limit = limit_of(group);
  const u64 used = number_of(group, group.unified ? "/memory.current" : "/memory.usage_in_bytes");
  if (limit == no_number) return no_number;
  if (used == no_number) return limit;
  const std::string stat = read_text(group.folder + "/memory.stat");
  const u64 cache = group.unified ? sum_of(stat, {"inactive_file", "active_file", "slab_reclaimable"})
                                  : sum_of(stat, {"total_inactive_file", "total_active_file"});
  return limit - min(limit, used - min(used, cache));
}

u64 bytes_of(const std::string& root, const char* name) {
  const u64 kib = number_in(read_text(root + "/proc/meminfo"), name);
  return kib == no_number ? no_number : kib << 10;
}

}  // namespace

// Memory that the kernel has without swapping, at most what every control group above this process leaves.
u64 available_memory_below(const std::string& root) {
  u64 bytes = bytes_of(root, "MemAvailable");
  for (const ControlGroup& group : control_groups(root, "memory")) bytes = min(bytes, left_in(group));
  return bytes;
}

u64 available_memory(void*) { return available_memory_below(""); }

// Memory of the machine, at most what every control group above this process may use.
u64 total_memory_below(const std::string& root) {
  u64 bytes = bytes_of(root, "MemTotal");
  for (const ControlGroup& group : control_groups(root, "memory")) bytes = min(bytes, limit_of(group));
  return bytes;
}

u64 total_memory() { return total_memory_below(""); }

u64 resident_memory(void*) {
  const u64 kib = number_in(read_text("/proc/self/status"), "VmRSS");
  return kib == no_number ? 0 : kib << 10;
}

// Anonymous maps: the kernel zeroes pages at first touch and frees them at release. No huge pages: they made decode 2 %
// faster, but a first load up to four times slower where the kernel, or a hypervisor below it, has to find them, and a
// partly used cache wholly resident.
void* allocate(void*, u64 bytes) {
  if (bytes == 0 || bytes > (u64(1) << 47)) return nullptr;
  n_allocated.fetch_add(1, std::memory_order_relaxed);
  void* mapped = mmap(nullptr, round_up(bytes, page_bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return mapped == MAP_FAILED ? nullptr : mapped;
}

u64 n_allocations() { return n_allocated.load(std::memory_order_relaxed); }

void release(void*, void* memory, u64 bytes) {
  if (memory) munmap(memory, round_up(bytes, page_bytes));
}

// One call instead of a trap for every page: a third of the time that fresh memory takes. Kernels before 5.14 do not
// know the advice; pages then come one by one.
void prefault(void*, void* memory, u64 bytes) {
  constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, younger than some headers
  const u64 begin = reinterpret_cast<u64>(memory) / page_bytes * page_bytes;
  madvise(reinterpret_cast<void*>(begin), reinterpret_cast<u64>(memory) + bytes - begin, populate_write);
}

}  // namespace flyball::host
