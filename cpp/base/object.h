// Objects in memory from the Platform: all that placement new needs without the standard library.
#pragma once

#include "base/platform.h"

namespace flyball {

struct InPlace {
  static void* operator new(size_t, void* memory) noexcept { return memory; }
  static void operator delete(void*, void*) noexcept {}
};

template <class T, class... Arguments>
T* create_object(const Platform& platform, Arguments&&... arguments) {
  void* memory = platform.allocate(platform.self, sizeof(T));
  return memory ? new (memory) T(static_cast<Arguments&&>(arguments)...) : nullptr;
}

template <class T>
void destroy_object(const Platform& platform, T* object) {
  object->~T();
  platform.release(platform.self, object, sizeof(T));
}

}  // namespace flyball
