#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

#include "host/mappings.h"
#include "host/parts.h"

namespace flyball::host {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { close(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int release() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }
  bool close() {  // false: a delayed write error, which close alone may report
    const int fd = release();
    return fd < 0 || ::close(fd) == 0;
  }

 private:
  int fd_;
};

Error system_error(Str path, const char* doing, int error) {
  const Code code = error == ENOENT || error == ENOTDIR ? Code::not_found
                    : error == ENOMEM                   ? Code::out_of_memory
                                                        : Code::io;
  return fail(code, path) << "cannot " << doing << ": " << strerror(error);
}

// A path for the system: zero-terminated, hence without zeros inside.
Result<std::string> system_path(Str path) {
  std::string text(path.data, path.size);
  if (text.empty()) return fail(Code::invalid_argument, "path") << "is empty";
  if (text.find('\0') != std::string::npos) return fail(Code::invalid_argument, path) << "has a zero byte in its path";
  return text;
}

std::string directory_of(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Str kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Status check_regular(Str path, const struct stat& info) {
  if (S_ISREG(info.st_mode)) return {};
  return fail(Code::invalid_argument, path) << "is " << kind_of(info.st_mode) << ", not a regular file";
}

Status write_all(int fd, Str path, Span<const u8> bytes) {
  while (bytes.size > 0) {
    const ssize_t n = ::write(fd, bytes.data, bytes.size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return system_error(path, "write", errno);
    bytes = bytes.subspan(static_cast<u64>(n), bytes.size - static_cast<u64>(n));
  }
  return {};
}

u64 nanoseconds(const struct timespec& time) {
  return static_cast<u64>(time.tv_sec) * 1'000'000'000u + static_cast<u64>(time.tv_nsec);
}

FileInfo file_info(Str path, const struct stat& info) {
  FileInfo out;
  out.path = path;
  out.bytes = static_cast<u64>(info.st_size);
  out.modified_ns = nanoseconds(info.st_mtim);
  out.device = info.st_dev;
  out.inode = info.st_ino;
  out.changed_ns = nanoseconds(info.st_ctim);
  out.n_links = info.st_nlink;
  return out;
}

// The file behind a name: replacing it keeps a link a link.
std::string resolve_link(const std::string& path) {
  char* const real = realpath(path.c_str(), nullptr);
  const std::string resolved = real ? real : path;
  free(real);
  return resolved;
}

// A rename is durable only once its directory is. Not every file system can flush directories.
void flush_directory(const std::string& path) {
  const Descriptor directory(open(directory_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.ok()) (void)fsync(directory.get());
}

std::string temporary_name(const std::string& path) {
  static std::atomic<u32> n_written = 0;
  return path + ".tmp-" + std::to_string(getpid()) + "-" + std::to_string(n_written++);
}

Status write_and_flush(const std::string& name, Str path, mode_t mode, Span<const u8> bytes) {
  Descriptor file(open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
  if (!file.ok()) return system_error(path, "create a file beside it", errno);
  FLYBALL_TRY(write_all(file.get(), path, bytes));
  if (fsync(file.get()) != 0) return system_error(path, "flush", errno);
  if (!file.close()) return system_error(path, "close", errno);
  return {};
}

}  // namespace

Result<Span<const u8>> map(void*, Str path) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  // Non-blocking, so that the check below refuses a pipe instead of waiting for its writer.
  Descriptor file(open(name.value().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.ok()) return system_error(path, "open", errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return system_error(path, "stat", errno);
  FLYBALL_TRY(check_regular(path, info));
  if (info.st_size == 0) return fail(Code::corrupt, path) << "is empty (0 bytes)";

  const u64 bytes = static_cast<u64>(info.st_size);
  void* const data = mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) return system_error(path, "map", errno);
  const Span<const u8> mapping(static_cast<const u8*>(data), bytes);
  watch(mapping, file.release());
  return mapping;
}

void unmap(void*, Span<const u8> file) {
  if (file.size == 0) return;
  unwatch(file);  // first: another thread may get the address next
  munmap(const_cast<u8*>(file.data), file.size);
}

// Without a name: if the program ends before it has one, nothing is left behind. Its place on the disk is taken at once,
// since a full disk would be seen at some write through the mapping, as a signal.
Result<Span<u8>> map_new(void*, Str directory, u64 bytes) {
  const Result<std::string> name = system_path(directory);
  if (!name.ok()) return name.error();
  Descriptor file(open(name.value().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666));
  if (!file.ok()) return system_error(directory, "make a file in it", errno);
  if (const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes)); error != 0)
    return system_error(directory, "make room for a file in it", error);
  void* const data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (data == MAP_FAILED) return system_error(directory, "map a new file in it", errno);
  const Span<u8> mapping(static_cast<u8*>(data), bytes);
  watch(mapping, file.release());
  return mapping;
}

Status keep_new(void*, Span<const u8> file, Str path) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  const Watched now = watched(file);
  if (now.file < 0) return fail(Code::internal, path) << "is not mapped";
  if (now.unreadable || fsync(now.file) != 0) return system_error(path, "flush", now.unreadable ? EIO : errno);
  if (mprotect(const_cast<u8*>(file.data), file.size, PROT_READ) != 0) return system_error(path, "protect", errno);
  const std::string unnamed = "/proc/self/fd/" + std::to_string(now.file);
  if (linkat(AT_FDCWD, unnamed.c_str(), AT_FDCWD, name.value().c_str(), AT_SYMLINK_FOLLOW) == 0)
    flush_directory(name.value());
  return {};
}

Result<FileInfo> mapped(void*, Span<const u8> file) {
  const Watched now = watched(file);
  struct stat info;
  if (now.file < 0) return fail(Code::internal, "file") << "is not mapped";
  if (now.unreadable) return fail(Code::io, "file") << "could not be read to its end";
  if (fstat(now.file, &info) != 0) return system_error("file", "stat", errno);
  return file_info("", info);
}

// Only whole pages inside the range: a page at its edge may belong to a tensor that is still wanted.
void discard(void*, Span<const u8> range) {
  constexpr u64 page = 4096;
  const u64 begin = round_up(reinterpret_cast<u64>(range.data), page);
  const u64 end = reinterpret_cast<u64>(range.end()) / page * page;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
}

Status write_file(void*, Str path, Span<const u8> bytes) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  const std::string target = resolve_link(name.value());
  mode_t mode = 0666;  // less the process's mask
  struct stat old;
  const bool replaces = ::stat(target.c_str(), &old) == 0;
  if (replaces) {
    FLYBALL_TRY(check_regular(path, old));
    mode = old.st_mode & 0777;
  }

  const std::string aside = temporary_name(target);
  const Status written = write_and_flush(aside, path, mode, bytes);
  if (!written.ok() || rename(aside.c_str(), target.c_str()) != 0) {
    const int error = errno;
    ::unlink(aside.c_str());
    return written.ok() ? Status(system_error(path, "replace", error)) : written;
  }
  flush_directory(target);
  return {};
}

// Not flushed to the device, so that a line costs microseconds; the journal recovers from a torn last line. Locked,
// since the Python package holds the lock of a journal that it writes.
Status append_file(void*, Str path, Span<const u8> bytes) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  Descriptor file(open(name.value().c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666));
  if (!file.ok()) return system_error(path, "open for appending", errno);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return system_error(path, "stat", errno);
  FLYBALL_TRY(check_regular(path, info));
  if (flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return fail(Code::io, path) << "is in use by another program that writes to it; stop it or choose another file";
  const off_t end = lseek(file.get(), 0, SEEK_END);
  if (const Status written = write_all(file.get(), path, bytes); !written.ok()) {
    if (end >= 0) (void)!ftruncate(file.get(), end);
    return written;
  }
  if (!file.close()) return system_error(path, "close", errno);
  return {};
}

Status flush_file(void*, Str path) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  Descriptor file(open(name.value().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.ok() || fsync(file.get()) != 0) return system_error(path, "flush", errno);
  return {};
}

Status rename_file(void*, Str path, Str to) {
  const Result<std::string> name = system_path(path), target = system_path(to);
  if (!name.ok()) return name.error();
  if (!target.ok()) return target.error();
  struct stat info;
  if (lstat(target.value().c_str(), &info) == 0) return system_error(to, "rename a file to it", EEXIST);
  if (rename(name.value().c_str(), target.value().c_str()) != 0) return system_error(path, "rename", errno);
  flush_directory(target.value());
  return {};
}

Status remove_file(void*, Str path) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  if (unlink(name.value().c_str()) != 0) return system_error(path, "remove", errno);
  return {};
}

// In the order of names, so that a listing does not depend on the file system.
Status list(void*, Str directory, void* context, void (*each)(void* context, const FileInfo& file)) {
  const Result<std::string> name = system_path(directory);
  if (!name.ok()) return name.error();
  DIR* const stream = opendir(name.value().c_str());
  if (!stream) return system_error(directory, "list", errno);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(stream)) names.push_back(entry->d_name);
  std::sort(names.begin(), names.end());

  const std::string prefix = name.value().back() == '/' ? name.value() : name.value() + "/";
  for (const std::string& entry : names) {
    struct stat info;
    // Follow links: caches of downloaded models keep the files behind them.
    if (fstatat(dirfd(stream), entry.c_str(), &info, 0) != 0 || !S_ISREG(info.st_mode)) continue;
    const std::string path = prefix + entry;
    each(context, file_info(Str(path.data(), path.size()), info));
  }
  closedir(stream);
  return {};
}

Result<FileInfo> stat(void*, Str path) {
  const Result<std::string> name = system_path(path);
  if (!name.ok()) return name.error();
  struct stat info;
  if (::stat(name.value().c_str(), &info) != 0) return system_error(path, "stat", errno);
  FLYBALL_TRY(check_regular(path, info));
  return file_info(path, info);
}

}  // namespace flyball::host
