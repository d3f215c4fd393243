// Open-addressing index over named things: the reader refuses duplicates by it, and finds keys and tensors later.
#pragma once

#include "gguf/file.h"

namespace flyball::gguf {

inline Str name_of(const Entry& entry) { return entry.key; }
inline Str name_of(const Tensor& tensor) { return tensor.name; }

constexpr u64 no_item = ~u64(0);
// FNV is not keyed, so a file can carry names that all collide. At a load of at most one half an honest run stays far
// below this; refusing longer ones keeps the reading time proportional to the file.
constexpr u32 longest_probe = 512;

// Slots for n names: a power of two, at most half full. Zero means free, so the slots hold item + 1.
constexpr u64 index_size(u64 n) {
  u64 size = 8;
  while (size < 2 * n) size *= 2;
  return size;
}

struct Probe {
  u32* slot = nullptr;  // free, or null when the run is too long
  u64 item = no_item;   // the one with this name
};

template <class T>
Probe probe(Span<u32> index, Span<T> items, Str name) {
  if (index.empty()) return {};
  const u64 hash = hash_bytes(name);
  u64 slot = (hash ^ hash >> 32) & (index.size - 1);
  for (u32 i = 0; i < longest_probe && i < index.size; ++i) {
    if (index[slot] == 0) return {&index[slot], no_item};
    if (name_of(items[index[slot] - 1]) == name) return {nullptr, u64(index[slot]) - 1};
    slot = (slot + 1) & (index.size - 1);
  }
  return {};
}

}  // namespace flyball::gguf
