// Pages from the firmware. It takes seconds to free large blocks, so these wait for the next allocation.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

constexpr u64 page_bytes = 4096;
constexpr u64 large_pages = (u64(8) << 20) / page_bytes;
constexpr u32 most_kept = 256;

struct Block {
  u64 address;
  u64 n_pages;
};
Block kept[most_kept];
u32 n_kept = 0;
u64 pages_in_use = 0;

// The smallest that is large enough, unless most of it would be wasted.
void* take_kept(u64 n_pages) {
  u32 best = n_kept;
  for (u32 i = 0; i < n_kept; ++i) {
    const u64 n = kept[i].n_pages;
    if (n >= n_pages && (best == n_kept || n < kept[best].n_pages)) best = i;
  }
  if (best == n_kept) return nullptr;
  Block& block = kept[best];
  void* const memory = reinterpret_cast<void*>(block.address);
  block.address += n_pages * page_bytes;
  block.n_pages -= n_pages;
  if (block.n_pages == 0) block = kept[--n_kept];
  return memory;
}

}  // namespace

void* allocate(void*, u64 bytes) {
  if (bytes == 0 || bytes > (u64(1) << 47)) return nullptr;
  const u64 n_pages = divide_up(bytes, page_bytes);
  void* memory = n_pages >= large_pages ? take_kept(n_pages) : nullptr;
  if (memory == nullptr) {
    u64 address = 0;
    if (efi::failed(boot().allocate_pages(efi::any_pages, efi::loader_data, n_pages, &address))) return nullptr;
    memory = reinterpret_cast<void*>(address);
  }
  pages_in_use += n_pages;
  return memset(memory, 0, n_pages * page_bytes);
}

void release(void*, void* memory, u64 bytes) {
  if (memory == nullptr) return;
  const u64 n_pages = divide_up(bytes, page_bytes);
  pages_in_use -= n_pages;
  if (n_pages >= large_pages && n_kept < most_kept)
    kept[n_kept++] = {u64(memory), n_pages};
  else
    (void)boot().free_pages(u64(memory), n_pages);
}

// What is free in the firmware's map, and what waits here.
u64 available_memory(void*) {
  static u8 map[32 << 10];
  u64 bytes = sizeof map, key = 0, entry_bytes = 0, n_pages = 0;
  u32 version = 0;
  if (efi::failed(boot().get_memory_map(&bytes, map, &key, &entry_bytes, &version)) || entry_bytes == 0) return ~u64(0);
  for (u64 at = 0; at + entry_bytes <= bytes; at += entry_bytes) {
    efi::MemoryDescriptor entry;
    memcpy(&entry, map + at, sizeof entry);
    if (entry.type == efi::conventional_memory) n_pages += entry.n_pages;
  }
  for (u32 i = 0; i < n_kept; ++i) n_pages += kept[i].n_pages;
  return n_pages * page_bytes;
}

u64 resident_memory(void*) { return pages_in_use * page_bytes; }

}  // namespace flyball::uefi
