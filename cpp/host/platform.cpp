#include <errno.h>
#include <unistd.h>

#include <atomic>

#include "host/host.h"
#include "host/parts.h"

namespace flyball::host {
namespace {

std::atomic<bool> stop_flag = false;
static_assert(std::atomic<bool>::is_always_lock_free);  // a signal handler sets it

bool stop_requested(void*) { return stop_flag.load(std::memory_order_relaxed) && stop_flag.exchange(false); }

// A closed or broken stdout loses text: there is no other place for the error.
void write(void*, Str text) {
  while (text.size > 0) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data, text.size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text = text.from(static_cast<u64>(n));
  }
}

Platform make_platform() {
  tiles_permitted = request_tiles();
  Platform p;
  p.name = "linux";
  p.allocate = allocate;
  p.release = release;
  p.prefault = prefault;
  p.available_memory = available_memory;
  p.resident_memory = resident_memory;
  p.map = map;
  p.unmap = unmap;
  p.map_new = map_new;
  p.keep_new = keep_new;
  p.mapped = mapped;
  p.discard = discard;
  p.write_file = write_file;
  p.append_file = append_file;
  p.flush_file = flush_file;
  p.rename_file = rename_file;
  p.remove_file = remove_file;
  p.list = list;
  p.stat = stat;
  p.cycles = cycles;
  p.now_ns = now_ns;
  p.wall_ns = wall_ns;
  start_calibration();
  p.cycles_per_second = cycles_per_second;
  p.parallel_for = parallel_for;
  p.n_processors = count_processors();
  p.write = write;
  p.stop_requested = stop_requested;
  return p;
}

}  // namespace

const Platform& host_platform() {
  static const Platform platform = make_platform();
  return platform;
}

void request_stop() { stop_flag.store(true); }

}  // namespace flyball::host
