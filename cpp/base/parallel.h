// Platform::parallel_for with a lambda. Tasks must write to places of their own: who runs which task is free.
#pragma once

#include "base/platform.h"

namespace flyball {

// In multiply-adds: about 5 us of a small Q8_0 model, less than it takes to gain from another thread.
constexpr u64 inline_work = u64(1) << 17;

constexpr u32 threads_for(u64 work, u32 n_threads) { return work < inline_work ? 1 : n_threads; }

template <class Function>
void parallel(const Platform& platform, u32 n_threads, u32 n_tasks, Function&& function) {
  if (n_tasks == 0) return;
  if (n_threads <= 1 || n_tasks == 1) {
    for (u32 task = 0; task < n_tasks; ++task) function(task);
    return;
  }
  auto* pointer = &function;
  platform.parallel_for(
      platform.self, n_threads, n_tasks,
      [](void* context, u32 task) { (**static_cast<decltype(pointer)*>(context))(task); }, &pointer);
}

// Threads take parts of [0, n) that shrink with what is left: long streams of memory first, and short parts at the end,
// so that all threads finish together. A part of less than `least` would cost more to take than to do.
template <class Function>
void parallel_parts(const Platform& platform, u32 n_threads, u32 n, u32 least, Function&& function) {
  u32 next = 0;
  const u32 n_tasks = min(n_threads, u32(divide_up(n, least)));
  parallel(platform, n_tasks, n_tasks, [&](u32) {
    u32 begin = __atomic_load_n(&next, __ATOMIC_RELAXED);
    while (begin < n) {
      const u32 size = n_tasks == 1 ? n : max(least, u32(divide_up(n - begin, 2 * n_tasks)));
      const u32 end = begin + min(size, n - begin);
      if (!__atomic_compare_exchange_n(&next, &begin, end, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) continue;
      function(begin, end);
      begin = __atomic_load_n(&next, __ATOMIC_RELAXED);
    }
  });
}

}  // namespace flyball
