// Persistent workers claim tasks one by one from a counter: a descheduled worker delays a job by one task at most.
// Waiting spins for some microseconds (the gap between two layers' products), then sleeps in the kernel. Where other
// programs want the processors, everybody may wait for a worker that was put aside with a task: then the caller works
// alone for a while. How many threads share the work changes no bit of a result.
#include <immintrin.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <x86intrin.h>

#include <atomic>

#include "base/math.h"
#include "host/parts.h"

namespace flyball::host {
namespace {

constexpr u32 max_workers = 255;
constexpr u64 spin_cycles = 100'000;  // 25 to 50 us: longer than a gap inside a token, shorter than a scheduler's tick

void futex_wait(std::atomic<u32>& word, u32 while_equal) {
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAIT_PRIVATE, while_equal, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<u32>& word) {
  syscall(SYS_futex, reinterpret_cast<u32*>(&word), FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

// Spins until `done()` holds or the time is up; says whether it holds.
template <class Done>
bool spin(u64 limit_cycles, Done done) {
  const u64 begin = __rdtsc();
  do {
    if (done()) return true;
    _mm_pause();
  } while (__rdtsc() - begin < limit_cycles);
  return done();
}

struct alignas(64) Worker {
  std::atomic<u32> asleep = 0;
};

// Whether help pays. A job's tasks that the caller ran tell how long it would have needed for all of them. When that is
// less than what jobs take, because workers are put aside while they hold a task, the caller works alone for a while;
// each trial in a row that ends so doubles it. Times are cycles of the wall clock.
class HelpPays {
 public:
  bool now(u64 time) const { return time >= alone_until_; }
  // A job from `begin` to `end`; until `idle` the caller ran `n_run` of its `n_tasks`.
  void note(u64 begin, u64 idle, u64 end, u32 n_run, u32 n_tasks) {
    if (n_run == 0) return;  // says nothing about the caller's pace
    alone_ += (idle - begin) * n_tasks / n_run;
    together_ += end - begin;
    if (together_ < trial_cycles) return;
    alone_cycles_ = alone_ > together_ ? 0 : min(max(2 * alone_cycles_, 4 * trial_cycles), most_alone_cycles);
    alone_until_ = end + alone_cycles_;
    alone_ = together_ = 0;
  }

 private:
  static constexpr u64 trial_cycles = 50'000'000;        // some of a scheduler's time slices
  static constexpr u64 most_alone_cycles = 800'000'000;  // how late the end of other load is noticed
  u64 alone_ = 0;
  u64 together_ = 0;
  u64 alone_cycles_ = 0;
  u64 alone_until_ = 0;
};

// One job at a time. `ticket` holds the job's number (high half) and how many tasks are left to take (low half); a
// compare-and-swap of the whole takes one. The description changes only while no task is left, so a thread that takes a
// task has read that task's description, and a late worker with an old job's number takes nothing.
struct Pool {
  alignas(64) std::atomic<u64> ticket = 0;
  alignas(64) std::atomic<TaskFunction> task = nullptr;
  std::atomic<void*> context = nullptr;
  std::atomic<u32> n_tasks = 0;
  std::atomic<u32> n_helpers = 0;  // workers 0..n_helpers-1 take part
  std::atomic<u64> spin_limit = spin_cycles;
  alignas(64) std::atomic<u32> n_done_by_workers = 0;
  std::atomic<u32> caller_asleep = 0;
  alignas(64) std::atomic<bool> busy = false;
  u32 n_workers = 0;  // for the thread that holds `busy`, as is:
  HelpPays help_pays;
  Worker workers[max_workers];
};

Pool pool;
thread_local bool inside_task = false;

u32 job_of(u64 ticket) { return static_cast<u32>(ticket >> 32); }

// Runs tasks of job `job` until none is left; returns how many.
u32 run_tasks(u32 job) {
  u32 n_run = 0;
  u64 ticket = pool.ticket.load(std::memory_order_acquire);
  for (;;) {
    const TaskFunction task = pool.task.load(std::memory_order_relaxed);
    void* const context = pool.context.load(std::memory_order_relaxed);
    const u32 n_tasks = pool.n_tasks.load(std::memory_order_relaxed);
    const u32 n_left = static_cast<u32>(ticket);
    if (job_of(ticket) != job || n_left == 0) return n_run;
    if (!pool.ticket.compare_exchange_weak(ticket, ticket - 1, std::memory_order_acq_rel, std::memory_order_acquire)) {
      continue;
    }
    task(context, n_tasks - n_left);
    ++n_run;
    ticket = pool.ticket.load(std::memory_order_acquire);
  }
}

void report_done(u32 n_run) {
  if (n_run == 0) return;
  pool.n_done_by_workers.fetch_add(n_run);
  if (pool.caller_asleep.load() != 0) futex_wake(pool.n_done_by_workers);
}

void sleep_until_new_job(Worker& self, u32 seen) {
  self.asleep.store(1);
  while (job_of(pool.ticket.load()) == seen && self.asleep.load() == 1) futex_wait(self.asleep, 1);
  self.asleep.store(0);
}

void* work(void* argument) {
  const u32 index = static_cast<u32>(reinterpret_cast<u64>(argument));
  Worker& self = pool.workers[index];
  inside_task = true;                         // a parallel_for inside a task runs inline
  const FloatMode standard;                   // not the mode of the thread that started this one
  u32 seen = job_of(pool.ticket.load()) - 1;  // the current job counts as new
  u64 spin_limit = pool.spin_limit.load(std::memory_order_relaxed);
  for (;;) {
    const auto new_job = [&] { return job_of(pool.ticket.load(std::memory_order_acquire)) != seen; };
    if (!spin(spin_limit, new_job)) sleep_until_new_job(self, seen);
    seen = job_of(pool.ticket.load(std::memory_order_acquire));
    // Only threads with a share of the job spin: others would only heat the machine.
    const bool takes_part = index < pool.n_helpers.load(std::memory_order_relaxed);
    if (takes_part) report_done(run_tasks(seen));
    spin_limit = takes_part ? pool.spin_limit.load(std::memory_order_relaxed) : 0;
  }
  return nullptr;
}

void start_workers(u32 n_wanted) {
  if (pool.n_workers >= n_wanted) return;
  // Signals belong to the program's own threads: a worker must not receive Ctrl-C. But a blocked SIGBUS, of a mapped page
  // that its file has lost, would end the program.
  sigset_t all, old;
  sigfillset(&all);
  sigdelset(&all, SIGBUS);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  while (pool.n_workers < n_wanted) {
    pthread_t thread;
    void* const index = reinterpret_cast<void*>(static_cast<u64>(pool.n_workers));
    if (pthread_create(&thread, &attributes, work, index) != 0) break;  // fewer threads compute the same
    pthread_setname_np(thread, "flyball-worker");
    ++pool.n_workers;
  }
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

// The child of a fork has the caller's thread alone; its first job starts new workers.
void reset_after_fork() {
  pool.busy.store(false);
  pool.caller_asleep.store(0);
  pool.ticket.store(static_cast<u64>(job_of(pool.ticket.load())) << 32);  // no task of another thread's job is left
  pool.n_done_by_workers.store(0);
  pool.n_workers = 0;
  for (Worker& worker : pool.workers) worker.asleep.store(0);
}

void publish(u32 n_tasks, TaskFunction task, void* context, u32 n_helpers, u64 spin_limit) {
  pool.task.store(task, std::memory_order_relaxed);
  pool.context.store(context, std::memory_order_relaxed);
  pool.n_tasks.store(n_tasks, std::memory_order_relaxed);
  pool.n_helpers.store(n_helpers, std::memory_order_relaxed);
  pool.spin_limit.store(spin_limit, std::memory_order_relaxed);
  pool.n_done_by_workers.store(0, std::memory_order_relaxed);
  pool.ticket.store((static_cast<u64>(job_of(pool.ticket.load()) + 1) << 32) | n_tasks);
  for (u32 i = 0; i < n_helpers; ++i) {
    if (pool.workers[i].asleep.load() == 1 && pool.workers[i].asleep.exchange(0) == 1) {
      futex_wake(pool.workers[i].asleep);
    }
  }
}

void wait_for_workers(u32 n_tasks, u64 spin_limit) {
  const auto done = [&] { return pool.n_done_by_workers.load(std::memory_order_acquire) == n_tasks; };
  if (spin(spin_limit, done)) return;
  pool.caller_asleep.store(1);
  for (u32 n = pool.n_done_by_workers.load(); n != n_tasks; n = pool.n_done_by_workers.load()) {
    futex_wait(pool.n_done_by_workers, n);
  }
  pool.caller_asleep.store(0);
}

void run_inline(u32 n_tasks, TaskFunction task, void* context) {
  for (u32 i = 0; i < n_tasks; ++i) task(context, i);
}

}  // namespace

// While the pool is busy with another caller's job, this caller runs its tasks on its own thread: this cannot deadlock,
// and keeps as many threads computing as there are callers and workers.
void parallel_for(void*, u32 n_threads, u32 n_tasks, TaskFunction task, void* context) {
  if (n_threads <= 1 || n_tasks <= 1 || inside_task || pool.busy.exchange(true, std::memory_order_acquire)) {
    run_inline(n_tasks, task, context);
    return;
  }
  if (!pool.help_pays.now(__rdtsc())) {
    run_inline(n_tasks, task, context);
    pool.busy.store(false, std::memory_order_release);
    return;
  }
  static const bool registered = pthread_atfork(nullptr, nullptr, reset_after_fork) == 0;
  (void)registered;
  const u32 n_helpers = min(min(n_threads, n_tasks) - 1, max_workers);
  start_workers(n_helpers);

  // With more threads than processors, spinning only takes time from threads with work.
  static const u32 n_processors = count_processors();
  const u64 spin_limit = n_threads <= n_processors ? spin_cycles : 0;
  const u64 begin = __rdtsc();
  publish(n_tasks, task, context, min(n_helpers, pool.n_workers), spin_limit);
  inside_task = true;
  const u32 n_run = run_tasks(job_of(pool.ticket.load(std::memory_order_relaxed)));
  inside_task = false;
  const u64 idle = __rdtsc();
  if (n_run < n_tasks) wait_for_workers(n_tasks - n_run, spin_limit);
  pool.help_pays.note(begin, idle, __rdtsc(), n_run, n_tasks);
  pool.busy.store(false, std::memory_order_release);
}

}  // namespace flyball::host
