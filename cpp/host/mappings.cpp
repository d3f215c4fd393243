#include "host/mappings.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <mutex>

namespace flyball::host {
namespace {

// A list that only grows, since the signal handler may walk it at any time; ended ones are used again.
struct Mapping {
  std::atomic<u64> begin{0};  // 0: free
  std::atomic<u64> end{0};
  std::atomic<bool> unreadable{false};
  int file = -1;
  Mapping* next = nullptr;
};

std::atomic<Mapping*> first{nullptr};
std::mutex changing;                         // of the list and the handler
[[maybe_unused]] const int kept_for_forks =  // the child has no thread that would give the lock back
    pthread_atfork([] { changing.lock(); }, [] { changing.unlock(); }, [] { changing.unlock(); });
u32 n_watched = 0;
bool installed = false;
struct sigaction before;  // the handler that ours took the place of, and passes on to what it does not know

Mapping* find(u64 address) {
  for (Mapping* m = first.load(std::memory_order_acquire); m; m = m->next) {
    const u64 begin = m->begin.load(std::memory_order_acquire);
    if (begin != 0 && address >= begin && address < m->end.load(std::memory_order_relaxed)) return m;
  }
  return nullptr;
}

// Only what is safe in a signal handler. MAP_FIXED replaces the one page; the read is then repeated by the processor.
bool replace_page(u64 address) {
  constexpr u64 page = 4096;
  Mapping* const mapping = find(address);
  if (!mapping) return false;
  void* const at = reinterpret_cast<void*>(address / page * page);
  // Writable, since new files are written through their mapping.
  if (mmap(at, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
    return false;
  mapping->unreadable.store(true, std::memory_order_relaxed);
  return true;
}

void end_program() {
  struct sigaction standard = {};
  standard.sa_handler = SIG_DFL;
  sigaction(SIGBUS, &standard, nullptr);
}

void pass_on(int signal, siginfo_t* info, void* context) {
  const bool from_kernel = info->si_code > 0;
  if (before.sa_flags & SA_SIGINFO) {
    before.sa_sigaction(signal, info, context);
  } else if (before.sa_handler == SIG_DFL || (before.sa_handler == SIG_IGN && from_kernel)) {
    end_program();  // by the read that is repeated, or by the signal that is sent again
    if (!from_kernel) raise(signal);
  } else if (before.sa_handler != SIG_IGN) {
    before.sa_handler(signal);
  }
}

void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const bool repaired = info->si_code > 0 && replace_page(reinterpret_cast<u64>(info->si_addr));
  if (!repaired) pass_on(signal, info, context);
  errno = error;
}

// In front of the handler that is there, for as long as anything is mapped. One that came in front of ours meanwhile may
// pass on to ours: to go in front of that again would make a circle, so it stays.
void install() {
  struct sigaction now;
  if (sigaction(SIGBUS, nullptr, &now) != 0) return;
  const bool passes_on = (now.sa_flags & SA_SIGINFO) || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN);
  if (installed && passes_on) return;
  before = now;
  struct sigaction ours = {};
  ours.sa_sigaction = on_bus_error;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  installed = sigaction(SIGBUS, &ours, nullptr) == 0;
}

void uninstall() {
  struct sigaction now;
  if (sigaction(SIGBUS, nullptr, &now) != 0 || !(now.sa_flags & SA_SIGINFO) || now.sa_sigaction != on_bus_error) return;
  sigaction(SIGBUS, &before, nullptr);
  installed = false;
}

}  // namespace

void watch(Span<const u8> mapping, int file) {
  const std::lock_guard<std::mutex> locked(changing);
  install();
  ++n_watched;
  Mapping* m = first.load(std::memory_order_relaxed);
  while (m && m->begin.load(std::memory_order_relaxed) != 0) m = m->next;
  const bool added = m == nullptr;
  if (added) m = new Mapping;
  m->file = file;
  m->unreadable.store(false, std::memory_order_relaxed);
  m->end.store(reinterpret_cast<u64>(mapping.end()), std::memory_order_relaxed);
  m->begin.store(reinterpret_cast<u64>(mapping.data), std::memory_order_release);
  if (!added) return;
  m->next = first.load(std::memory_order_relaxed);
  first.store(m, std::memory_order_release);
}

void unwatch(Span<const u8> mapping) {
  const std::lock_guard<std::mutex> locked(changing);
  Mapping* const m = find(reinterpret_cast<u64>(mapping.data));
  if (!m) return;
  m->begin.store(0, std::memory_order_release);
  close(m->file);
  if (--n_watched == 0) uninstall();
}

Watched watched(Span<const u8> mapping) {
  const Mapping* const m = find(reinterpret_cast<u64>(mapping.data));
  return m ? Watched{m->file, m->unreadable.load(std::memory_order_relaxed)} : Watched{};
}

}  // namespace flyball::host
