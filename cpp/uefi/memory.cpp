// Pages from the firmware. It takes seconds to free large blocks, so none go back: they wait for the next allocation.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

constexpr u32 most_kept = 4096;

struct Block {
  u64 address;
  u64 n_pages;
  u64 end() const { return address + n_pages * page_bytes; }
};
Block kept[most_kept];  // by address; neighbors that touch are one
u32 n_kept = 0;
u64 pages_in_use = 0;

void remove_kept(u32 i) {
  for (--n_kept; i < n_kept; ++i) kept[i] = kept[i + 1];
}

// The start of the smallest that is large enough.
u64 take_kept(u64 n_pages) {
  u32 best = n_kept;
  for (u32 i = 0; i < n_kept; ++i) {
    const u64 n = kept[i].n_pages;
    if (n >= n_pages && (best == n_kept || n < kept[best].n_pages)) best = i;
  }
  if (best == n_kept) return 0;
  Block& block = kept[best];
  const u64 address = block.address;
  block.address += n_pages * page_bytes;
  block.n_pages -= n_pages;
  if (block.n_pages == 0) remove_kept(best);
  return address;
}

}  // namespace

void* take_pages(u64 n_pages) {
  u64 address = take_kept(n_pages);
  if (address == 0 && efi::failed(boot().allocate_pages(efi::any_pages, efi::loader_data, n_pages, &address)))
    return nullptr;
  pages_in_use += n_pages;
  return reinterpret_cast<void*>(address);
}

void give_back_pages(void* memory, u64 n_pages) {
  if (n_pages == 0) return;
  pages_in_use -= n_pages;
  const Block block = {u64(memory), n_pages};
  u32 at = 0;
  while (at < n_kept && kept[at].address < block.address) ++at;
  const bool touches_next = at < n_kept && block.end() == kept[at].address;
  if (at > 0 && kept[at - 1].end() == block.address) {
    kept[at - 1].n_pages += n_pages;
    if (touches_next) {
      kept[at - 1].n_pages += kept[at].n_pages;
      remove_kept(at);
    }
  } else if (touches_next) {
    kept[at].address = block.address;
    kept[at].n_pages += n_pages;
  } else if (n_kept == most_kept) {
    (void)boot().free_pages(block.address, n_pages);
  } else {
    for (u32 i = n_kept++; i > at; --i) kept[i] = kept[i - 1];
    kept[at] = block;
  }
}

void* allocate(void*, u64 bytes) {
  if (bytes == 0 || bytes > (u64(1) << 47)) return nullptr;
  const u64 n_pages = divide_up(bytes, page_bytes);
  void* const memory = take_pages(n_pages);
  return memory ? memset(memory, 0, n_pages * page_bytes) : nullptr;
}

void release(void*, void* memory, u64 bytes) {
  if (memory != nullptr) give_back_pages(memory, divide_up(bytes, page_bytes));
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
