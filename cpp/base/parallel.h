// Platform::parallel_for with a lambda. Tasks must write to places of their own: who runs which task is free.
#pragma once

#include "base/platform.h"

namespace flyball {

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

}  // namespace flyball
