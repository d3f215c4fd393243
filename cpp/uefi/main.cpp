// The boot image's program: sets up the machine, reads flyball.toml, and runs the REPL until it ends.
#include "repl/options.h"
#include "repl/repl.h"
#include "settings/config.h"
#include "uefi/parts.h"

namespace flyball::uefi {

Firmware firmware;

namespace {

constexpr u64 stack_bytes = u64(1) << 20;
constexpr u64 guard_bytes = page_bytes;

Platform make_platform() {
  Platform p;
  p.name = "uefi";
  p.allocate = allocate;
  p.release = release;
  p.available_memory = available_memory;
  p.resident_memory = resident_memory;
  p.map = map;
  p.unmap = unmap;
  p.forget = forget;
  p.write_file = write_file;
  p.append_file = append_file;
  p.rename_file = rename_file;
  p.remove_file = remove_file;
  p.list = list;
  p.stat = stat;
  p.cycles = cycles;
  p.now_ns = now_ns;
  p.wall_ns = wall_ns;
  p.cycles_per_second = cycles_per_second;
  p.parallel_for = parallel_for;
  p.n_processors = start_processors();
  p.write = write;
  p.stop_requested = stop_requested;
  return p;
}

void say(Str text) { write(nullptr, text); }

// models/ and the root folder of the boot volume, then those of the other volumes.
Span<const Str> model_directories(Arena& arena, u32 n_volumes) {
  const Span<Str> directories = arena.allocate<Str>(2 * u64(n_volumes));
  for (u64 i = 0; i < directories.size; ++i) {
    char text[32];
    Writer path(text, sizeof text);
    if (i >= 2) path.put("fs").put_u64(i / 2).put(":/");
    path.put(i % 2 == 0 ? "models" : i < 2 ? "/" : "");
    directories[i] = arena.copy(path.text());
  }
  return directories;
}

constexpr Str differences =
    "Without an operating system: files are on the boot volume, as fs1:/FILE on another, with names in ASCII; events, "
    "policy and metrics go to\n"
    "journal.jsonl, log.txt, policy.toml and metrics.json unless flyball.toml names others; probes choose instruction "
    "set\n"
    "and threads at boot; up and down recall earlier lines; /quit, and a script's --shutdown, power off.\n";

struct Program {
  Platform platform;
  u32 n_volumes = 1;
  bool well = false;  // no command and no prompt failed
};

void run(void* context) {
  auto& program = *static_cast<Program*>(context);
  const Platform& platform = program.platform;
  repl::Options options;
  Arena arena(platform);
  options.tune = options.measure_isa = true;
  options.journal = "journal.jsonl";
  options.log = "log.txt";
  options.policy_file = "policy.toml";
  options.metrics = "metrics.json";
  options.instead_of_log = write_serial;
  options.differences = differences;
  if (const flyball::Status status = repl::read_options(platform, arena, "flyball.toml", &options); !status.ok()) {
    char text[600];
    Writer described(text, sizeof text);
    status.error().describe(described.put("error: "));
    say(described.put("; the defaults hold\n").text());
  }
  options.model_directories = model_directories(arena, program.n_volumes);
  options.choose_model = true;
  options.catalog_cache = "models.json";
  options.tuning_cache = "tuned.txt";
  repl::Repl repl(platform, options);
  repl.start();
  while (repl.feed(read_line(repl.prompt()))) {
  }
  program.well = repl.n_errors() == 0;
}

// A guard page below the stack, where the firmware can set one: a stack overflow then stops instead of writing on.
void guard(u64 address) {
  void* found = nullptr;
  if (efi::failed(boot().locate_protocol(&efi::cpu_arch_guid, nullptr, &found))) return;
  auto* const cpu = static_cast<efi::CpuArch*>(found);
  (void)cpu->set_memory_attributes(cpu, address, guard_bytes, efi::memory_not_readable);
}

__attribute__((naked)) void call_on_stack(void* /*top*/, void (* /*function*/)(void*), void* /*argument*/) {
  __asm__(
      "pushq %rbp\n\t"
      "movq %rsp, %rbp\n\t"
      "movq %rcx, %rsp\n\t"
      "subq $32, %rsp\n\t"
      "movq %r8, %rcx\n\t"
      "callq *%rdx\n\t"
      "movq %rbp, %rsp\n\t"
      "popq %rbp\n\t"
      "retq");
}

}  // namespace
}  // namespace flyball::uefi

extern "C" flyball::efi::Status efi_main(flyball::efi::Handle image, flyball::efi::SystemTable* system) {
  using namespace flyball;
  using namespace flyball::uefi;
  firmware.image = image;
  firmware.system = system;
  (void)boot().set_watchdog(0, 0, 0, nullptr);
  set_up_processor();
  start_clock();
  start_console();
  static Program program;
  program.n_volumes = open_volumes();
  program.platform = make_platform();
  u8* const stack = static_cast<u8*>(allocate(nullptr, guard_bytes + stack_bytes));
  if (!stack) power_off(false);
  guard(u64(stack));
  call_on_stack(stack + guard_bytes + stack_bytes, run, &program);
  power_off(program.well);
}
