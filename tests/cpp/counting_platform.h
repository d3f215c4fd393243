// A Platform with memory only, which counts allocations and can refuse them.
// Fresh mappings are zero without being touched: tests open thousands of files, each with an arena of its own.
#pragma once

#include <sys/mman.h>

#include "base/platform.h"

namespace test {

struct CountingPlatform {
  flyball::u64 limit = ~flyball::u64(0);  // bytes in use beyond which allocate gives null
  flyball::u64 in_use = 0;
  flyball::u64 peak = 0;
  flyball::u64 n_allocations = 0;
  flyball::u64 fail_at = ~flyball::u64(0);  // the number of the allocation that fails
  flyball::Platform platform;

  CountingPlatform() {
    platform.self = this;
    platform.allocate = [](void* self, flyball::u64 bytes) -> void* {
      auto& counts = *static_cast<CountingPlatform*>(self);
      if (counts.n_allocations++ == counts.fail_at) return nullptr;
      if (bytes > counts.limit || counts.in_use > counts.limit - bytes) return nullptr;
      void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) return nullptr;
      counts.in_use += bytes;
      counts.peak = flyball::max(counts.peak, counts.in_use);
      return memory;
    };
    platform.release = [](void* self, void* memory, flyball::u64 bytes) {
      static_cast<CountingPlatform*>(self)->in_use -= bytes;
      munmap(memory, bytes);
    };
  }
  CountingPlatform(const CountingPlatform&) = delete;
  CountingPlatform& operator=(const CountingPlatform&) = delete;
};

}  // namespace test
