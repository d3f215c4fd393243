// The parts of the Platform for UEFI, and the program's firmware tables.
#pragma once

#include "base/platform.h"
#include "uefi/efi.h"

namespace flyball::uefi {

struct Firmware {
  efi::Handle image = nullptr;
  efi::SystemTable* system = nullptr;
};
extern Firmware firmware;
inline efi::BootServices& boot() { return *firmware.system->boot; }

bool privileged();  // false: this is a process of an operating system, which plays the firmware

// processor.cpp: AVX and AVX-512 registers, rounding, on the processor that calls.
void set_up_processor();

// memory.cpp
constexpr u64 page_bytes = 4096;
void* take_pages(u64 n_pages);  // not zeroed; null: there are none
void give_back_pages(void* memory, u64 n_pages);
void* allocate(void*, u64 bytes);
void release(void*, void* memory, u64 bytes);
u64 available_memory(void*);
u64 resident_memory(void*);

// files.cpp: '/' separates folders, names are ASCII. "fs1:/NAME" is on the second volume; without a prefix, and as "fs0:",
// a name is on the volume that the program was started from.
u32 open_volumes();  // how many there are
Result<Span<const u8>> map(void*, Str path);
void unmap(void*, Span<const u8> file);
void forget(void*, Span<const u8> range);
flyball::Status write_file(void*, Str path, Span<const u8> bytes);
flyball::Status append_file(void*, Str path, Span<const u8> bytes);
flyball::Status rename_file(void*, Str path, Str to);
flyball::Status remove_file(void*, Str path);
flyball::Status list(void*, Str directory, void* context, void (*each)(void* context, const FileInfo& file));
Result<FileInfo> stat(void*, Str path);

// clock.cpp
void start_clock();
u64 cycles(void*);
u64 now_ns(void*);
u64 wall_ns(void*);
u64 cycles_per_second(void*);
u64 ns_of(const efi::Time& time);  // since 1970

// processors.cpp
u32 start_processors();  // how many there are
void parallel_for(void*, u32 n_threads, u32 n_tasks, TaskFunction task, void* context);

// console.cpp
void start_console();
void write(void*, Str text);
bool stop_requested(void*);
Str read_line(Str prompt);    // without its end; valid until the next
void write_serial(Str text);  // also where people have another console; a process writes to that

[[noreturn]] void power_off(bool well);

}  // namespace flyball::uefi
