// A bump allocator over blocks from the Platform: freed all at once, never piece by piece.
#pragma once

#include "base/platform.h"

namespace flyball {

class Arena {
 public:
  explicit Arena(const Platform& platform) : platform_(&platform) {}
  ~Arena() { clear(); }
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // `n` zeroed objects aligned to at least 64 bytes for large ones; empty span when memory has run out or n * sizeof(T)
  // overflows. T must be trivially destructible: nothing is ever destroyed.
  template <class T>
  [[nodiscard]] Span<T> allocate(u64 n) {
    u64 bytes = 0;
    if (n == 0 || !checked_mul(n, sizeof(T), &bytes)) return {};
    T* memory = static_cast<T*>(allocate_bytes(bytes));
    return memory ? Span<T>(memory, n) : Span<T>();
  }
  [[nodiscard]] void* allocate_bytes(u64 bytes);  // 64-byte aligned, zeroed, or null
  [[nodiscard]] Str copy(Str s);                  // empty data on failure only when s is not empty: check size

  void clear();
  u64 bytes_used() const { return bytes_used_; }

 private:
  struct Block {
    Block* next;
    u64 bytes;
    u64 used;
  };
  static constexpr u64 block_bytes = u64(1) << 20;

  const Platform* platform_;
  Block* blocks_ = nullptr;
  u64 bytes_used_ = 0;
};

}  // namespace flyball
