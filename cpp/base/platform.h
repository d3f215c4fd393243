// All that the core asks of the world, as a plain struct of function pointers. host/, uefi/ and tests fill it in.
#pragma once

#include "base/result.h"

namespace flyball {

using TaskFunction = void (*)(void* context, u32 task);

struct FileInfo {
  Str path;
  u64 bytes = 0;
  u64 modified_ns = 0;  // 0 where the file system keeps no time
  // Of the file behind the name; 0 where that is not known.
  u64 device = 0, inode = 0;
  u64 changed_ns = 0;  // when its bytes, names or attributes last changed; no program can set it
  u64 n_links = 0;     // its names
};

struct Platform {
  void* self = nullptr;
  const char* name = "unknown";  // for people: "linux", "uefi"

  // Memory: zeroed, aligned to 64 bytes; null when there is none. release() gets the same `bytes` as allocate().
  void* (*allocate)(void* self, u64 bytes) = nullptr;
  void (*release)(void* self, void* memory, u64 bytes) = nullptr;
  void (*prefault)(void* self, void* memory, u64 bytes) = nullptr;  // all of it will be written now; may be null
  u64 (*available_memory)(void* self) = nullptr;                    // bytes; null where that is not known
  u64 (*resident_memory)(void* self) = nullptr;                     // bytes that this program holds; may be null

  // Files. `map` gives the whole file read-only (mapped on the host, read into memory on firmware); `unmap` ends it;
  // `mapped` tells what the file behind a mapping is now, whatever became of its name, or an error once a part of it could
  // not be read (truncated, a broken device) and read as zeros; `discard` says that a range of a mapping will not be read
  // again soon; `forget` that it will never be read again, at most once for each byte. `write_file` replaces a file
  // atomically (written aside, flushed, renamed), `append_file` adds all of the bytes or none; `flush_file` waits until
  // they are on the disk (null: `append_file` does). `rename_file` gives a file another name in its directory, never that
  // of another file. `map_new` gives a writable mapping of a new file of so many bytes, which has its place on the disk but
  // no name; `keep_new` flushes it, makes it read-only and gives it a name, if the system can and no other file has it:
  // FileInfo::n_links tells. `list` calls `each` for every regular file directly in `directory` ("." is where paths begin).
  Result<Span<const u8>> (*map)(void* self, Str path) = nullptr;
  void (*unmap)(void* self, Span<const u8> file) = nullptr;
  Result<Span<u8>> (*map_new)(void* self, Str directory, u64 bytes) = nullptr;  // null: files cannot be mapped
  Status (*keep_new)(void* self, Span<const u8> file, Str path) = nullptr;
  Result<FileInfo> (*mapped)(void* self, Span<const u8> file) = nullptr;  // null: a mapping never changes
  void (*discard)(void* self, Span<const u8> range) = nullptr;  // null: what is given back cannot be read again
  void (*forget)(void* self, Span<const u8> range) = nullptr;   // null: `discard` is enough
  Status (*write_file)(void* self, Str path, Span<const u8> bytes) = nullptr;
  Status (*append_file)(void* self, Str path, Span<const u8> bytes) = nullptr;
  Status (*flush_file)(void* self, Str path) = nullptr;
  Status (*rename_file)(void* self, Str path, Str to) = nullptr;
  Status (*remove_file)(void* self, Str path) = nullptr;
  Status (*list)(void* self, Str directory, void* context, void (*each)(void* context, const FileInfo& file)) = nullptr;
  Result<FileInfo> (*stat)(void* self, Str path) = nullptr;

  // Time. One tick of the processor's time-stamp counter is one cycle; `cycles_per_second` is calibrated against a clock,
  // and from its first answer on the same.
  u64 (*cycles)(void* self) = nullptr;
  u64 (*now_ns)(void* self) = nullptr;   // monotonic
  u64 (*wall_ns)(void* self) = nullptr;  // since 1970; null where there is no calendar
  u64 (*cycles_per_second)(void* self) = nullptr;

  // Runs task 0..n_tasks-1, each exactly once, on at most `n_threads` threads, the caller's among them; returns when
  // all have ended. Tasks must not depend on each other: work is divided by output element, so who runs what is free.
  void (*parallel_for)(void* self, u32 n_threads, u32 n_tasks, TaskFunction task, void* context) = nullptr;
  u32 n_processors = 1;

  // Console.
  void (*write)(void* self, Str text) = nullptr;
  // True when the user asked to stop what is running (Ctrl-C on a terminal, a key on firmware). Reading clears it.
  bool (*stop_requested)(void* self) = nullptr;
};

inline u64 now_ns(const Platform& platform) { return platform.now_ns(platform.self); }
inline u64 cycles(const Platform& platform) { return platform.cycles(platform.self); }
inline u64 cycles_per_second(const Platform& platform) { return platform.cycles_per_second(platform.self); }

// Whether the processor's tile registers may be used: an operating system grants them on request only. A platform that
// has them sets it before the first use of a kernel table.
extern bool tiles_permitted;

}  // namespace flyball
