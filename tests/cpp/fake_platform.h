// A world in memory for everything above the Platform: files, console and clock are a test's own.
#pragma once

#include <cstdlib>
#include <functional>
#include <map>
#include <string>

#include "test.h"

#include "base/platform.h"

namespace test {

class FakePlatform {
 public:
  using Str = flyball::Str;
  using u64 = flyball::u64;

  std::map<std::string, std::string> files;
  std::map<std::string, u64> modified_ns;
  std::string written;  // to the console, since the last take()
  std::function<bool()> stop = [] { return false; };
  u64 ticks = 0;     // cycles and nanoseconds
  u64 tick = 1;      // that pass with each question: how slow this machine is
  u64 n_mapped = 0;  // files mapped so far
  u64 n_open = 0;    // and not yet unmapped
  u64 n_bytes = 0;   // allocated and not yet released
  u64 free_bytes = u64(1) << 40;
  u64 most_bytes = ~u64(0);  // allocated at once; allocate gives null beyond
  std::function<flyball::Status(const std::string& path, std::string* bytes)> writing;  // may refuse or spoil a file
  std::function<flyball::Status(const std::string& path)> appending;
  std::function<flyball::Status(const std::string& path, const std::string& to)> renaming;
  std::function<flyball::Status(const std::string& path)> removing;
  flyball::Platform platform;

  FakePlatform() {
    platform.self = this;
    platform.name = "fake";
    platform.allocate = [](void* self, u64 bytes) -> void* {
      if (world(self).n_bytes + bytes > world(self).most_bytes) return nullptr;
      void* memory = std::aligned_alloc(64, flyball::round_up(bytes, 64));
      if (memory == nullptr) return nullptr;
      world(self).n_bytes += bytes;
      return memset(memory, 0, bytes);
    };
    platform.release = [](void* self, void* memory, u64 bytes) {
      world(self).n_bytes -= bytes;
      std::free(memory);
    };
    platform.available_memory = [](void* self) { return world(self).free_bytes; };
    platform.resident_memory = [](void* self) { return world(self).n_bytes; };
    platform.map = [](void* self, Str path) -> flyball::Result<flyball::Span<const flyball::u8>> {
      const auto found = world(self).files.find(text(path));
      if (found == world(self).files.end()) return flyball::fail(flyball::Code::not_found, path) << "no such file";
      ++world(self).n_mapped, ++world(self).n_open;
      return flyball::Span<const flyball::u8>(reinterpret_cast<const flyball::u8*>(found->second.data()),
                                              found->second.size());
    };
    platform.unmap = [](void* self, flyball::Span<const flyball::u8>) { --world(self).n_open; };
    platform.discard = [](void*, flyball::Span<const flyball::u8>) {};
    platform.write_file = [](void* self, Str path, flyball::Span<const flyball::u8> bytes) -> flyball::Status {
      if (text(path).starts_with("read-only/")) return flyball::fail(flyball::Code::io, path) << "is read-only";
      std::string content(reinterpret_cast<const char*>(bytes.data), bytes.size);
      if (world(self).writing) FLYBALL_TRY(world(self).writing(text(path), &content));
      world(self).files[text(path)] = content;
      return {};
    };
    platform.append_file = [](void* self, Str path, flyball::Span<const flyball::u8> bytes) -> flyball::Status {
      if (text(path).starts_with("read-only/")) return flyball::fail(flyball::Code::io, path) << "is read-only";
      if (world(self).appending) FLYBALL_TRY(world(self).appending(text(path)));
      world(self).files[text(path)].append(reinterpret_cast<const char*>(bytes.data), bytes.size);
      return {};
    };
    platform.rename_file = [](void* self, Str path, Str to) -> flyball::Status {
      auto& there = world(self).files;
      if (text(path).starts_with("read-only/")) return flyball::fail(flyball::Code::io, path) << "is read-only";
      if (there.contains(text(to))) return flyball::fail(flyball::Code::io, to) << "exists";
      if (world(self).renaming) FLYBALL_TRY(world(self).renaming(text(path), text(to)));
      auto file = there.extract(text(path));
      if (file.empty()) return flyball::fail(flyball::Code::not_found, path) << "no such file";
      file.key() = text(to);
      there.insert(std::move(file));
      return {};
    };
    platform.remove_file = [](void* self, Str path) -> flyball::Status {
      if (world(self).removing) FLYBALL_TRY(world(self).removing(text(path)));
      world(self).files.erase(text(path));
      return {};
    };
    platform.list = [](void* self, Str directory, void* context,
                       void (*each)(void*, const flyball::FileInfo&)) -> flyball::Status {
      const std::string prefix = text(directory) == "." ? "" : text(directory) + "/";
      for (const auto& [path, bytes] : world(self).files) {
        if (path.starts_with(prefix) && path.find('/', prefix.size()) == std::string::npos)
          each(context, world(self).info(path));
      }
      return {};
    };
    platform.stat = [](void* self, Str path) -> flyball::Result<flyball::FileInfo> {
      const auto found = world(self).files.find(text(path));
      if (found == world(self).files.end()) return flyball::fail(flyball::Code::not_found, path) << "no such file";
      return world(self).info(found->first);
    };
    platform.cycles = [](void* self) { return world(self).ticks += world(self).tick; };
    platform.now_ns = platform.cycles;
    platform.cycles_per_second = [](void*) { return flyball::u64(1000000000); };
    platform.parallel_for = [](void*, flyball::u32, flyball::u32 n_tasks, flyball::TaskFunction task, void* context) {
      for (flyball::u32 i = 0; i < n_tasks; ++i) task(context, i);
    };
    platform.write = [](void* self, Str out) { world(self).written.append(out.data, out.size); };
    platform.stop_requested = [](void* self) { return world(self).stop(); };
  }
  FakePlatform(const FakePlatform&) = delete;
  FakePlatform& operator=(const FakePlatform&) = delete;

  std::string take() {
    std::string out;
    out.swap(written);
    return out;
  }

  static std::string text(Str s) { return {s.data, s.size}; }

 private:
  static FakePlatform& world(void* self) { return *static_cast<FakePlatform*>(self); }
  flyball::FileInfo info(const std::string& path) {
    flyball::FileInfo out;
    out.path = {path.data(), path.size()};
    out.bytes = files.at(path).size();
    out.modified_ns = modified_ns[path];
    return out;
  }
};

}  // namespace test
