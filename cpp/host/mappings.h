// Files that are mapped into memory. Reading a page that its file has lost (truncated, or the device failed) raises SIGBUS,
// which would end the whole program: here the page becomes zeros, and the mapping is marked as unreadable.
#pragma once

#include "base/platform.h"

namespace flyball::host {

// Watches a mapping until unwatch(); `file`: a descriptor of its own, which unwatch() closes.
void watch(Span<const u8> mapping, int file);
void unwatch(Span<const u8> mapping);

struct Watched {
  int file = -1;  // -1: not watched
  bool unreadable = false;
};
Watched watched(Span<const u8> mapping);

}  // namespace flyball::host
