// flyball-native: runs the boot image's program as a Linux process. It maps the PE file, plays the firmware (memory, files
// of a folder, console, time, other processors), and calls the entry. So the very bytes that boot are tested at full speed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "uefi/efi.h"

namespace {

using namespace flyball;
namespace fs = std::filesystem;

#define EFI FLYBALL_EFI

constexpr char usage[] = "usage: flyball-native PROGRAM.efi FOLDER [PROCESSORS]\n";
constexpr u64 page_bytes = 4096;
constexpr efi::Status unsupported = efi::error_bit | 3;

[[noreturn]] void end(const std::string& why) {
  fprintf(stderr, "flyball-native: %s\n", why.c_str());
  exit(2);
}

// --- the program -----------------------------------------------------------------------------------------------------

template <class T>
T at(const std::vector<char>& bytes, u64 offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) end("the program is not a whole PE file");
  T value;
  memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

using Entry = efi::Status(EFI*)(efi::Handle, efi::SystemTable*);

Entry load(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) end("cannot read " + path);
  const std::vector<char> bytes(std::istreambuf_iterator<char>(file), {});
  const u64 pe = at<u32>(bytes, 0x3c);
  if (at<u32>(bytes, pe) != 0x4550) end(path + " is not a PE file");
  const u32 n_sections = at<u16>(bytes, pe + 6), optional_bytes = at<u16>(bytes, pe + 20);
  const u64 optional = pe + 24;
  const u32 entry = at<u32>(bytes, optional + 16), image_bytes = at<u32>(bytes, optional + 56);
  const u64 preferred = at<u64>(bytes, optional + 24);
  const u32 fixups = at<u32>(bytes, optional + 112 + 5 * 8), fixup_bytes = at<u32>(bytes, optional + 112 + 5 * 8 + 4);
  void* const mapped =
      mmap(nullptr, image_bytes, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) end("no memory for the program");
  char* const image = static_cast<char*>(mapped);
  for (u32 i = 0; i < n_sections; ++i) {
    const u64 header = optional + optional_bytes + 40 * u64(i);
    const u32 to = at<u32>(bytes, header + 12), from = at<u32>(bytes, header + 20);
    const u32 n = std::min(at<u32>(bytes, header + 8), at<u32>(bytes, header + 16));
    if (u64(to) + n > image_bytes || u64(from) + n > bytes.size()) end("a section lies outside the program");
    memcpy(image + to, bytes.data() + from, n);
  }
  // Base relocations: pages, each with 16-bit entries of a type and an offset.
  const u64 moved = reinterpret_cast<u64>(image) - preferred;
  for (u64 block = fixups; block + 8 <= u64(fixups) + fixup_bytes;) {
    u32 page, n;
    memcpy(&page, image + block, 4);
    memcpy(&n, image + block + 4, 4);
    if (n < 8) break;
    for (u64 i = block + 8; i + 2 <= block + n; i += 2) {
      u16 fixup;
      memcpy(&fixup, image + i, 2);
      if (fixup >> 12 != 10) continue;  // padding
      u64 value;
      memcpy(&value, image + page + (fixup & 0xfff), 8);
      value += moved;
      memcpy(image + page + (fixup & 0xfff), &value, 8);
    }
    block += n;
  }
  return reinterpret_cast<Entry>(image + entry);
}

// --- files -----------------------------------------------------------------------------------------------------------

fs::path root;

struct OpenFile : efi::File {
  fs::path path;
  int fd = -1;
  std::vector<fs::directory_entry> entries;  // of a folder
  size_t next = 0;
};

OpenFile& self(efi::File* file) { return *static_cast<OpenFile*>(file); }

efi::Status status_of(int error) {
  switch (error) {
    case ENOENT: return efi::not_found;
    case EROFS:
    case EACCES: return efi::write_protected;
    case ENOSPC: return efi::volume_full;
    default: return efi::device_error;
  }
}

// A name of the volume, which no path leaves.
fs::path path_of(const efi::Char* name) {
  std::string text;
  for (; *name; ++name) text += *name == u'\\' ? '/' : *name < 0x80 ? static_cast<char>(*name) : '?';
  fs::path inside;
  for (const fs::path& part : fs::path(text)) {
    if (part != "/" && part != "." && part != ".." && !part.empty()) inside /= part;
  }
  return root / inside;
}

efi::File* new_file(const fs::path& path);

EFI efi::Status open_file(efi::File*, efi::File** opened, const efi::Char* name, u64 mode, u64) {
  auto* const file = static_cast<OpenFile*>(new_file(path_of(name)));
  std::error_code none;
  if (fs::is_directory(file->path, none)) {
    file->entries.assign(fs::directory_iterator(file->path, none), {});
  } else {
    const int access = mode & efi::open_write ? O_RDWR : O_RDONLY;
    file->fd = open(file->path.c_str(), access | O_CLOEXEC | (mode & efi::open_create ? O_CREAT : 0), 0666);
    if (file->fd < 0) {
      const efi::Status status = status_of(errno);
      delete file;
      return status;
    }
  }
  *opened = file;
  return efi::success;
}

EFI efi::Status close_file(efi::File* file) {
  if (self(file).fd >= 0) close(self(file).fd);
  delete &self(file);
  return efi::success;
}

EFI efi::Status remove_file(efi::File* file) {
  const bool removed = unlink(self(file).path.c_str()) == 0;
  (void)close_file(file);
  return removed ? efi::success : efi::device_error;
}

efi::Time time_of(time_t seconds) {
  tm t{};
  gmtime_r(&seconds, &t);
  return {static_cast<u16>(t.tm_year + 1900),
          static_cast<u8>(t.tm_mon + 1),
          static_cast<u8>(t.tm_mday),
          static_cast<u8>(t.tm_hour),
          static_cast<u8>(t.tm_min),
          static_cast<u8>(t.tm_sec),
          0,
          0,
          0,
          0,
          0};
}

efi::Status fill_info(const fs::path& path, u64* bytes, void* buffer) {
  struct stat found{};
  if (stat(path.c_str(), &found) != 0) return status_of(errno);
  const std::string name = path.filename().string();
  const u64 needed = __builtin_offsetof(efi::FileInfo, name) + 2 * (name.size() + 1);
  if (*bytes < needed) return *bytes = needed, efi::buffer_too_small;
  *bytes = needed;
  auto* const info = static_cast<efi::FileInfo*>(buffer);
  memset(info, 0, sizeof *info);
  info->struct_bytes = needed;
  info->bytes = info->physical_bytes = static_cast<u64>(found.st_size);
  info->modified = time_of(found.st_mtime);
  info->attributes = S_ISDIR(found.st_mode) ? efi::attribute_directory : 0;
  efi::Char* const text = info->name;
  for (size_t i = 0; i <= name.size(); ++i) text[i] = i < name.size() ? static_cast<u8>(name[i]) : 0;
  return efi::success;
}

EFI efi::Status read_file(efi::File* file, u64* bytes, void* buffer) {
  OpenFile& f = self(file);
  if (f.fd < 0) {
    if (f.next == f.entries.size()) return *bytes = 0, efi::success;
    return fill_info(f.entries[f.next++].path(), bytes, buffer);
  }
  const ssize_t n = read(f.fd, buffer, *bytes);
  if (n < 0) return status_of(errno);
  return *bytes = static_cast<u64>(n), efi::success;
}

EFI efi::Status write_file(efi::File* file, u64* bytes, const void* buffer) {
  const ssize_t n = write(self(file).fd, buffer, *bytes);
  if (n < 0) return status_of(errno == EBADF ? EROFS : errno);
  return *bytes = static_cast<u64>(n), efi::success;
}

EFI efi::Status get_position(efi::File* file, u64* position) {
  return *position = static_cast<u64>(lseek(self(file).fd, 0, SEEK_CUR)), efi::success;
}

EFI efi::Status set_position(efi::File* file, u64 position) {
  const bool to_end = position == ~u64(0);
  const off_t at = lseek(self(file).fd, to_end ? 0 : static_cast<off_t>(position), to_end ? SEEK_END : SEEK_SET);
  return at < 0 ? efi::device_error : efi::success;
}

EFI efi::Status get_info(efi::File* file, const efi::Guid*, u64* bytes, void* buffer) {
  return fill_info(self(file).path, bytes, buffer);
}

EFI efi::Status set_info(efi::File* file, const efi::Guid*, u64, void* buffer) {
  OpenFile& f = self(file);
  std::string name;
  for (const efi::Char* c = static_cast<efi::FileInfo*>(buffer)->name; *c; ++c) name += static_cast<char>(*c);
  const fs::path to = f.path.parent_path() / name;
  std::error_code failed;
  if (fs::exists(to, failed)) return efi::write_protected;  // as firmware: never over another file
  fs::rename(f.path, to, failed);
  if (failed) return status_of(failed.value());
  f.path = to;
  return efi::success;
}

EFI efi::Status flush(efi::File* file) { return fsync(self(file).fd) == 0 ? efi::success : efi::device_error; }

efi::File* new_file(const fs::path& path) {
  auto* const file = new OpenFile;
  static_cast<efi::File&>(*file) = {1,         open_file,  close_file,   remove_file,
                                    read_file, write_file, get_position, set_position,
                                    get_info,  set_info,   flush};
  file->path = path;
  return file;
}

EFI efi::Status open_volume(efi::FileSystem*, efi::File** opened) { return *opened = new_file(root), efi::success; }

// --- console ---------------------------------------------------------------------------------------------------------

EFI efi::Status output(efi::TextOutput*, const efi::Char* text) {
  std::string bytes;
  for (; *text; ++text) {
    const u32 c = *text;
    if (c == '\r') continue;
    if (c < 0x80) {
      bytes += static_cast<char>(c);
    } else if (c < 0x800) {
      bytes += static_cast<char>(0xc0 | c >> 6);
      bytes += static_cast<char>(0x80 | (c & 0x3f));
    } else {
      bytes += static_cast<char>(0xe0 | c >> 12);
      bytes += static_cast<char>(0x80 | (c >> 6 & 0x3f));
      bytes += static_cast<char>(0x80 | (c & 0x3f));
    }
  }
  return write(STDOUT_FILENO, bytes.data(), bytes.size()) < 0 ? efi::device_error : efi::success;
}

EFI efi::Status clear(efi::TextOutput*) { return efi::success; }

std::string typed;  // and not yet read; at the end of the input the firmware asks the program to end
bool input_ended = false;

bool fill_input(int wait_ms) {
  if (!typed.empty()) return true;
  pollfd ready{STDIN_FILENO, POLLIN, 0};
  if (input_ended || poll(&ready, 1, wait_ms) <= 0) return false;
  char buffer[4096];
  const ssize_t n = read(STDIN_FILENO, buffer, sizeof buffer);
  input_ended = n <= 0;
  typed = n > 0 ? std::string(buffer, static_cast<size_t>(n)) : "/quit\n";
  return true;
}

EFI efi::Status read_key(efi::TextInput*, efi::Key* key) {
  if (!fill_input(0)) return efi::not_ready;
  const char c = typed[0];
  typed.erase(0, 1);
  *key = {0, static_cast<efi::Char>(c == '\n' ? u'\r' : static_cast<u8>(c))};
  return efi::success;
}

EFI efi::Status wait_for_event(u64, efi::Event*, u64* index) {
  if (!fill_input(-1)) exit(2);  // the input is over, and the program does not end
  return *index = 0, efi::success;
}

// --- services --------------------------------------------------------------------------------------------------------

EFI efi::Status allocate_pages(efi::AllocateType, efi::MemoryType, u64 n_pages, u64* address) {
  void* const memory = mmap(nullptr, n_pages * page_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return efi::error_bit | 9;
  return *address = reinterpret_cast<u64>(memory), efi::success;
}
EFI efi::Status free_pages(u64 address, u64 n_pages) {
  return munmap(reinterpret_cast<void*>(address), n_pages * page_bytes) == 0 ? efi::success : efi::not_found;
}
EFI efi::Status get_memory_map(u64* bytes, void* map, u64* key, u64* entry_bytes, u32* version) {
  const u64 n_free = static_cast<u64>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<u64>(sysconf(_SC_PAGESIZE)) / page_bytes;
  const efi::MemoryDescriptor free{efi::conventional_memory, 0, 0, n_free, 0};
  if (*bytes < sizeof free) return efi::buffer_too_small;
  memcpy(map, &free, sizeof free);
  *bytes = *entry_bytes = sizeof free;
  *key = *version = 0;
  return efi::success;
}
EFI efi::Status create_event(u32, u64, void(EFI*)(efi::Event, void*), void*, efi::Event* event) {
  return *event = nullptr, efi::success;
}
EFI efi::Status stall(u64 us) { return usleep(static_cast<useconds_t>(us)) == 0 ? efi::success : efi::device_error; }
EFI efi::Status set_watchdog(u64, u64, u64, efi::Char*) { return efi::success; }
EFI efi::Status get_time(efi::Time* to, void*) { return *to = time_of(time(nullptr)), efi::success; }
EFI void reset_system(efi::ResetType, efi::Status status, u64, void*) { _exit(status == efi::success ? 0 : 1); }

u64 n_processors = 1;
EFI efi::Status get_number(efi::MpServices*, u64* all, u64* enabled) {
  return *all = *enabled = n_processors, efi::success;
}
EFI efi::Status startup_all(efi::MpServices*, void(EFI* procedure)(void*), bool, efi::Event, u64, void* argument,
                            u64**) {
  for (u64 i = 1; i < n_processors; ++i) std::thread([=] { procedure(argument); }).detach();
  return efi::success;
}

efi::LoadedImage loaded_image{};
efi::FileSystem file_system{1, open_volume};
efi::MpServices mp_services{get_number, nullptr, startup_all};

bool same(const efi::Guid* a, const efi::Guid& b) { return memcmp(a, &b, sizeof b) == 0; }

EFI efi::Status handle_protocol(efi::Handle, const efi::Guid* guid, void** found) {
  if (same(guid, efi::loaded_image_guid)) return *found = &loaded_image, efi::success;
  if (same(guid, efi::file_system_guid)) return *found = &file_system, efi::success;
  return unsupported;
}
EFI efi::Status locate_protocol(const efi::Guid* guid, void*, void** found) {
  if (same(guid, efi::mp_services_guid)) return *found = &mp_services, efi::success;
  return efi::not_found;
}

EFI efi::Status locate_handle_buffer(efi::LocateSearch, const efi::Guid*, void*, u64*, efi::Handle**) {
  return efi::not_found;  // one volume
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3 || argc > 4) return fputs(usage, stderr), 2;
  const Entry entry = load(argv[1]);
  root = argv[2];
  if (!fs::is_directory(root)) end(root.string() + " is not a folder");
  if (argc == 4) n_processors = std::max(1l, atol(argv[3]));

  efi::BootServices boot{};
  boot.allocate_pages = allocate_pages;
  boot.free_pages = free_pages;
  boot.get_memory_map = get_memory_map;
  boot.create_event = create_event;
  boot.wait_for_event = wait_for_event;
  boot.handle_protocol = handle_protocol;
  boot.stall = stall;
  boot.set_watchdog = set_watchdog;
  boot.locate_handle_buffer = locate_handle_buffer;
  boot.locate_protocol = locate_protocol;
  efi::RuntimeServices runtime{};
  runtime.get_time = get_time;
  runtime.reset_system = reset_system;
  efi::TextInput input{nullptr, read_key, nullptr};
  efi::TextOutput text_output{nullptr, output, nullptr, nullptr, nullptr, nullptr, clear};
  efi::SystemTable system{};
  system.console_in = &input;
  system.console_out = &text_output;
  system.runtime = &runtime;
  system.boot = &boot;
  return entry(nullptr, &system) == efi::success ? 0 : 1;
}
