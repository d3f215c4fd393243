// Platform for Linux: mapped files, anonymous memory, the time-stamp counter, a thread pool. Hosted code, may use the STL.
#pragma once

#include "base/platform.h"

namespace flyball::host {

// One for the process. Safe to call from many threads.
const Platform& host_platform();

// Bytes that allocate() has returned since the process began: work that a benchmark counts.
u64 n_allocations();

// Memory of the machine, at most what the control groups of this process allow; ~0: not known.
u64 total_memory();

// Makes the next stop_requested() true. Async-signal-safe: meant for a SIGINT handler.
void request_stop();

}  // namespace flyball::host
