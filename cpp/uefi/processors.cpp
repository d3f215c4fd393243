// All processors. The firmware starts the others once; from then on they wait for work in their own loop.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

// One piece of work at a time, announced by its number. Any processor may take a task; the work ends when all are back.
struct Work {
  u64 number = 0;
  TaskFunction task = nullptr;
  void* context = nullptr;
  u32 n_tasks = 0;
  u32 n_helpers = 0;  // that may take part
  u32 next = 0;       // task
  u32 n_back = 0;     // helpers that have seen the end
};
Work work;
u32 n_helpers = 0;
u32 n_started = 0;  // helpers so far; with this bit none is taken any more
constexpr u32 closed = u32(1) << 31;

void take_tasks() {
  for (;;) {
    const u32 task = __atomic_fetch_add(&work.next, 1, __ATOMIC_RELAXED);
    if (task >= work.n_tasks) return;
    work.task(work.context, task);
  }
}

void help(void*) {
  set_up_processor();
  const u32 me = __atomic_fetch_add(&n_started, 1, __ATOMIC_ACQ_REL);
  if (me & closed) return;  // too late: the work runs without this processor
  for (u64 seen = 0;;) {
    while (__atomic_load_n(&work.number, __ATOMIC_ACQUIRE) == seen) __builtin_ia32_pause();
    seen = __atomic_load_n(&work.number, __ATOMIC_ACQUIRE);
    if (me < work.n_helpers) take_tasks();
    __atomic_fetch_add(&work.n_back, 1, __ATOMIC_RELEASE);
  }
}

}  // namespace

u32 start_processors() {
  void* found = nullptr;
  if (efi::failed(boot().locate_protocol(&efi::mp_services_guid, nullptr, &found))) return 1;
  auto* const services = static_cast<efi::MpServices*>(found);
  u64 all = 0, enabled = 0;
  if (efi::failed(services->get_number(services, &all, &enabled)) || enabled < 2) return 1;
  // With an event, which never fires, the call does not wait for procedures that never end.
  efi::Event never = nullptr;
  if (efi::failed(boot().create_event(0, efi::tpl_application, nullptr, nullptr, &never))) return 1;
  if (efi::failed(services->startup_all(services, help, false, never, 0, nullptr, nullptr))) return 1;
  const u64 second = cycles_per_second(nullptr);
  for (const u64 begin = cycles(nullptr); cycles(nullptr) - begin < second;) {
    if (__atomic_load_n(&n_started, __ATOMIC_ACQUIRE) == enabled - 1) break;
    __builtin_ia32_pause();
  }
  n_helpers = __atomic_fetch_or(&n_started, closed, __ATOMIC_ACQ_REL);
  return 1 + n_helpers;
}

void parallel_for(void*, u32 n_threads, u32 n_tasks, TaskFunction task, void* context) {
  if (n_tasks == 0) return;
  if (n_threads < 2 || n_tasks < 2 || n_helpers == 0) {
    for (u32 i = 0; i < n_tasks; ++i) task(context, i);
    return;
  }
  work.task = task;
  work.context = context;
  work.n_tasks = n_tasks;
  work.n_helpers = min(n_threads - 1, n_helpers);
  work.next = work.n_back = 0;
  __atomic_fetch_add(&work.number, 1, __ATOMIC_RELEASE);
  take_tasks();
  // Wait until every helper has seen this work: a late one would take part in the next with an old count.
  while (__atomic_load_n(&work.n_back, __ATOMIC_ACQUIRE) != n_helpers) __builtin_ia32_pause();
}

}  // namespace flyball::uefi
