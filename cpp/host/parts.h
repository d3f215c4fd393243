// The parts of host_platform().
#pragma once

#include <string>

#include "base/platform.h"

namespace flyball::host {

void* allocate(void*, u64 bytes);
void release(void*, void* memory, u64 bytes);
void prefault(void*, void* memory, u64 bytes);
u64 available_memory(void*);
// With `root` before every path that they read, for tests; ~0: not known.
u64 available_memory_below(const std::string& root);
u64 total_memory_below(const std::string& root);
u64 resident_memory(void*);

Result<Span<const u8>> map(void*, Str path);
void unmap(void*, Span<const u8> file);
Result<Span<u8>> map_new(void*, Str directory, u64 bytes);
Status keep_new(void*, Span<const u8> file, Str path);
Result<FileInfo> mapped(void*, Span<const u8> file);
void discard(void*, Span<const u8> range);
Status write_file(void*, Str path, Span<const u8> bytes);
Status append_file(void*, Str path, Span<const u8> bytes);
Status flush_file(void*, Str path);
Status rename_file(void*, Str path, Str to);
Status remove_file(void*, Str path);
Status list(void*, Str directory, void* context, void (*each)(void* context, const FileInfo& file));
Result<FileInfo> stat(void*, Str path);

u64 cycles(void*);
u64 now_ns(void*);
u64 wall_ns(void*);
void start_calibration();  // before cycles_per_second()
u64 cycles_per_second(void*);

void parallel_for(void*, u32 n_threads, u32 n_tasks, TaskFunction task, void* context);
bool request_tiles();                      // whether this process may use AMX's tile registers from now on
u32 count_processors();                    // that this process may use: affinity mask and cgroup quota
u32 quota_below(const std::string& root);  // processors that the cgroups allow, rounded up; ~0u: all

}  // namespace flyball::host
