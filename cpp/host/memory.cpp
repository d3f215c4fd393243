#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>

#include "base/text.h"
#include "host/host.h"
#include "host/parts.h"

namespace flyball::host {
namespace {

constexpr u64 page_bytes = 4096;
constexpr u64 unknown = ~u64(0);

std::atomic<u64> n_allocated{0};

// The first number behind `name` in a small text file of the kernel.
u64 number_in(const char* path, Str name) {
  char buffer[4096];
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return unknown;
  const ssize_t n = read(file, buffer, sizeof buffer);
  close(file);
  Str text(buffer, n > 0 ? static_cast<u64>(n) : 0);
  while (!text.empty() && !text.starts_with(name)) text = text.from(1);
  if (text.empty()) return unknown;
  text = text.from(name.size);
  while (text.starts_with(" ") || text.starts_with("\t")) text = text.from(1);
  u64 digits = 0;
  while (digits < text.size && text[digits] >= '0' && text[digits] <= '9') ++digits;
  u64 value = 0;
  return parse_u64(text.substr(0, digits), &value) ? value : unknown;
}

}  // namespace

// Memory that the kernel has without swapping, at most what the control group (a container's limit) leaves.
u64 available_memory(void*) {
  const u64 kib = number_in("/proc/meminfo", "MemAvailable:");
  u64 bytes = kib == unknown ? unknown : kib << 10;
  const u64 limit = number_in("/sys/fs/cgroup/memory.max", "");
  const u64 used = number_in("/sys/fs/cgroup/memory.current", "");
  if (limit != unknown && used != unknown) bytes = min(bytes, limit - min(limit, used));
  return bytes;
}

u64 resident_memory(void*) {
  const u64 kib = number_in("/proc/self/status", "VmRSS:");
  return kib == unknown ? 0 : kib << 10;
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
