#include <sys/mman.h>

#include "host/parts.h"

namespace flyball::host {
namespace {

constexpr u64 page_bytes = 4096;
constexpr u64 huge_page_bytes = u64(2) << 20;

}  // namespace

// Anonymous maps: zeroed by the kernel, and given back at once on release. Large blocks start on a huge page's boundary,
// because weights and KV cache are streamed and their page walks would show in decode.
void* allocate(void*, u64 bytes) {
  if (bytes == 0 || bytes > (u64(1) << 47)) return nullptr;
  const u64 size = round_up(bytes, page_bytes);
  const bool large = size >= huge_page_bytes;
  const u64 slack = large ? huge_page_bytes - page_bytes : 0;
  void* mapped = mmap(nullptr, size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return nullptr;
  if (!large) return mapped;

  u8* const begin = static_cast<u8*>(mapped);
  const u64 head = round_up(reinterpret_cast<u64>(begin), huge_page_bytes) - reinterpret_cast<u64>(begin);
  if (head > 0) munmap(begin, head);
  if (slack > head) munmap(begin + head + size, slack - head);
  madvise(begin + head, size, MADV_HUGEPAGE);  // advice only: a kernel without huge pages refuses harmlessly
  return begin + head;
}

void release(void*, void* memory, u64 bytes) {
  if (memory) munmap(memory, round_up(bytes, page_bytes));
}

}  // namespace flyball::host
