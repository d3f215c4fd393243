// Files of the volume that the program was started from, and of others by a prefix.
#include "uefi/parts.h"

namespace flyball::uefi {
namespace {

constexpr u64 piece_bytes = u64(1) << 20;  // the fastest size for firmware to read
constexpr u64 most_name = 240;
constexpr u64 progress_bytes = u64(64) << 20;
constexpr u32 most_volumes = 64;

efi::File* volumes[most_volumes];  // the first is the program's own; null: it cannot be read
u32 n_volumes = 1;

Error failed(Str path, Str doing, efi::Status status) {
  const Code code = status == efi::not_found ? Code::not_found : Code::io;
  ErrorBuilder error = fail(code, path) << "cannot " << doing << ": ";
  if (status == efi::not_found) return error << "no such file";
  if (status == efi::device_error) return error << "the volume cannot be read";
  if (status == efi::write_protected) return error << "the volume is write-protected";
  if (status == efi::volume_full) return error << "the volume is full";
  return error << "firmware error " << (status & ~efi::error_bit);
}

// A path for the firmware: backslashes, two bytes a character, a zero.
struct Name {
  efi::Char text[most_name + 5];
  u64 size = 0;
  u32 volume = 0;

  flyball::Status set(Str path, Str ending = "") {
    if (path.empty()) return fail(Code::invalid_argument, "path") << "is empty";
    if (path.size > most_name)
      return fail(Code::invalid_argument, "path") << "is longer than " << most_name << " bytes";
    FLYBALL_TRY(take_volume(&path));
    size = 0;
    const Str parts[] = {path, ending};
    for (const Str part : parts) {
      for (const char c : part) {
        // list() shows others as '?', which no name can have.
        if (c < ' ' || c > '~' || c == '?')
          return fail(Code::invalid_argument, path) << "has a character that is not ASCII; rename the file";
        text[size++] = c == '/' ? u'\\' : efi::Char(c);
      }
    }
    text[size] = 0;
    return {};
  }

  // "fs1:/models/x" -> volume 1 and "/models/x".
  flyball::Status take_volume(Str* path) {
    volume = 0;
    u64 colon = 0;
    while (colon < path->size && (*path)[colon] != ':') ++colon;
    if (colon == path->size) return {};
    u64 number = 0;
    const bool known = (path->starts_with("fs") || path->starts_with("FS")) &&
                       parse_u64(path->substr(2, colon - 2), &number) && number < n_volumes;
    if (!known) return fail(Code::not_found, *path) << "names no volume; there are fs0: to fs" << n_volumes - 1 << ":";
    volume = u32(number);
    *path = path->from(colon + 1);
    if (path->empty()) *path = "/";
    return {};
  }
};

class OpenFile {
 public:
  OpenFile() = default;
  ~OpenFile() { close(); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  efi::Status open(const Name& name, u64 mode) {
    efi::File* const volume = volumes[name.volume];
    return volume ? volume->open(volume, &file_, name.text, mode, 0) : efi::device_error;
  }
  void close() {
    if (file_) (void)file_->close(file_);
    file_ = nullptr;
  }
  efi::Status remove() {  // and closes
    efi::File* const file = file_;
    file_ = nullptr;
    return file->remove(file);
  }
  efi::File* operator->() const { return file_; }
  efi::File* get() const { return file_; }

 private:
  efi::File* file_ = nullptr;
};

struct Info {
  alignas(8) u8 bytes[sizeof(efi::FileInfo) + 2 * 300];
  efi::FileInfo& info() { return *reinterpret_cast<efi::FileInfo*>(bytes); }
  efi::Status read(efi::File* file) {
    u64 n = sizeof bytes;
    return file->get_info(file, &efi::file_info_guid, &n, bytes);
  }
};

efi::Status write_all(efi::File* file, Span<const u8> bytes) {
  while (bytes.size > 0) {
    u64 n = min(bytes.size, piece_bytes);
    const efi::Status status = file->write(file, &n, bytes.data);
    if (efi::failed(status)) return status;
    if (n == 0) return efi::volume_full;
    bytes = bytes.subspan(n, bytes.size - n);
  }
  return file->flush(file);
}

efi::Status remove_if_there(const Name& name) {
  OpenFile file;
  const efi::Status status = file.open(name, efi::open_read | efi::open_write);
  if (status == efi::not_found) return efi::success;
  return efi::failed(status) ? status : file.remove();
}

// The firmware renames within a folder, and never over a file.
efi::Status rename(OpenFile& file, const Name& to) {
  Info info;
  if (const efi::Status status = info.read(file.get()); efi::failed(status)) return status;
  u64 begin = to.size;
  while (begin > 0 && to.text[begin - 1] != u'\\') --begin;
  u64 n = 0;
  for (; begin + n < to.size; ++n) info.info().name[n] = to.text[begin + n];
  info.info().name[n] = 0;
  info.info().struct_bytes = __builtin_offsetof(efi::FileInfo, name) + 2 * (n + 1);
  return file->set_info(file.get(), &efi::file_info_guid, info.info().struct_bytes, info.bytes);
}

constexpr Str aside = ".new";

// The file, or the new one that a power cut left between removing the old and renaming the new.
efi::Status open_to_read(Str path, OpenFile& file, flyball::Status* wrong) {
  Name name, left;
  *wrong = name.set(path);
  if (wrong->ok()) *wrong = left.set(path, aside);
  if (!wrong->ok()) return efi::not_found;
  efi::Status status = file.open(name, efi::open_read);
  if (status != efi::not_found) return status;
  status = file.open(left, efi::open_read);  // a write-protected volume must not hide that there is none
  if (efi::failed(status)) return status;
  file.close();
  const bool renamed =
      !efi::failed(file.open(left, efi::open_read | efi::open_write)) && !efi::failed(rename(file, name));
  file.close();
  return file.open(renamed ? name : left, efi::open_read);
}

void show_progress(Str path, u64 done, u64 total) {
  char line[120];
  Writer text(line, sizeof line);
  text.put("\r").put_printable(path, 60).put("  ").put_u64(100 * done / total).put(" %");
  if (done == total) text.put("\r\x1b[K");
  write(nullptr, text.text());
}

efi::File* open_root(efi::Handle device) {
  void* system = nullptr;
  efi::File* root = nullptr;
  if (efi::failed(boot().handle_protocol(device, &efi::file_system_guid, &system))) return nullptr;
  auto* const volume = static_cast<efi::FileSystem*>(system);
  return efi::failed(volume->open_volume(volume, &root)) ? nullptr : root;
}

template <class Function>
void each_handle(const efi::Guid& protocol, Function&& function) {
  efi::Handle* handles = nullptr;
  u64 n = 0;
  if (efi::failed(boot().locate_handle_buffer(efi::by_protocol, &protocol, nullptr, &n, &handles))) return;
  for (u64 i = 0; i < n; ++i) function(handles[i]);
}

// Behind the bytes of a file in memory: how many bytes of each page are forgotten. At all of them the page goes back.
struct Mapping {
  Mapping* next;
  Span<const u8> file;
  u64 n_pages;         // of the file
  u64 n_pages_behind;  // of this
  u16 n_forgotten[1];  // (n_pages)
};
Mapping* mappings = nullptr;

constexpr u64 mapping_bytes(u64 n_pages) { return sizeof(Mapping) + n_pages * sizeof(u16); }

// Memory for a file of `total` bytes, not zeroed.
Mapping* make_mapping(u64 total) {
  const u64 n_pages = divide_up(total, page_bytes);
  const u64 n_behind = divide_up(mapping_bytes(n_pages), page_bytes);
  u8* const memory = static_cast<u8*>(take_pages(n_pages + n_behind));
  if (!memory) return nullptr;
  auto* const mapping = reinterpret_cast<Mapping*>(memory + n_pages * page_bytes);
  memset(mapping, 0, n_behind * page_bytes);
  *mapping = {mappings, {memory, total}, n_pages, n_behind, {}};
  mapping->n_forgotten[n_pages - 1] = u16(n_pages * page_bytes - total);
  return mappings = mapping;
}

template <class Condition>
void give_back_where(Mapping& mapping, u64 begin, u64 end, Condition&& condition) {
  for (u64 page = begin; page < end; ++page) {
    u64 n = 0;
    while (page + n < end && condition(mapping.n_forgotten[page + n])) ++n;
    give_back_pages(const_cast<u8*>(mapping.file.data) + page * page_bytes, n);
    page += n;
  }
}

}  // namespace

u32 open_volumes() {
  void* image = nullptr;
  if (efi::failed(boot().handle_protocol(firmware.image, &efi::loaded_image_guid, &image))) return n_volumes;
  const efi::Handle own = static_cast<efi::LoadedImage*>(image)->device;
  volumes[0] = open_root(own);
  // Firmware that boots fast has connected its boot disk alone.
  each_handle(efi::block_io_guid,
              [](efi::Handle device) { (void)boot().connect_controller(device, nullptr, nullptr, true); });
  each_handle(efi::file_system_guid, [own](efi::Handle device) {
    if (device != own && n_volumes < most_volumes) volumes[n_volumes++] = open_root(device);
  });
  return n_volumes;
}

Result<Span<const u8>> map(void*, Str path) {
  OpenFile file;
  flyball::Status wrong;
  efi::Status status = open_to_read(path, file, &wrong);
  FLYBALL_TRY(wrong);
  if (efi::failed(status)) return failed(path, "open", status);
  Info info;
  status = info.read(file.get());
  if (efi::failed(status)) return failed(path, "read", status);
  if (info.info().attributes & efi::attribute_directory)
    return fail(Code::invalid_argument, path) << "is a directory, not a regular file";
  const u64 total = info.info().bytes;
  if (total == 0) return Span<const u8>();
  Mapping* const mapping = make_mapping(total);
  if (!mapping) return fail(Code::out_of_memory, path) << "has " << total << " bytes, and there is no memory for it";
  const Span<const u8> memory = mapping->file;
  for (u64 done = 0; done < total;) {
    u64 n = min(total - done, piece_bytes);
    status = file->read(file.get(), &n, const_cast<u8*>(memory.data) + done);
    if (efi::failed(status) || n == 0) {
      unmap(nullptr, memory);
      if (efi::failed(status)) return failed(path, "read", status);
      return fail(Code::io, path) << "ends after " << done << " of " << total << " bytes";
    }
    done += n;
    if (total >= progress_bytes) show_progress(path, done, total);
  }
  return memory;
}

void unmap(void*, Span<const u8> file) {
  for (Mapping** link = &mappings; *link; link = &(*link)->next) {
    Mapping& mapping = **link;
    if (mapping.file.data != file.data) continue;
    *link = mapping.next;
    give_back_where(mapping, 0, mapping.n_pages, [](u16 n_forgotten) { return n_forgotten != page_bytes; });
    give_back_pages(&mapping, mapping.n_pages_behind);
    return;
  }
}

void forget(void*, Span<const u8> range) {
  Mapping* mapping = mappings;
  while (mapping && !(range.data >= mapping->file.data && range.data < mapping->file.end())) mapping = mapping->next;
  if (!mapping) return;
  const u64 first = u64(range.data - mapping->file.data), end = min(first + range.size, mapping->file.size);
  for (u64 at = first; at < end;) {
    const u64 page = at / page_bytes, next = min((page + 1) * page_bytes, end);
    mapping->n_forgotten[page] = u16(mapping->n_forgotten[page] + (next - at));
    at = next;
  }
  give_back_where(*mapping, first / page_bytes, divide_up(end, page_bytes),
                  [](u16 n_forgotten) { return n_forgotten == page_bytes; });
}

// Written aside and flushed; then the old goes and the new gets its name. Between the two, map() and stat() find the new.
flyball::Status write_file(void*, Str path, Span<const u8> bytes) {
  Name name, beside;
  FLYBALL_TRY(name.set(path));
  FLYBALL_TRY(beside.set(path, aside));
  efi::Status status = remove_if_there(beside);
  if (efi::failed(status)) return failed(path, "write", status);
  OpenFile file;
  status = file.open(beside, efi::open_read | efi::open_write | efi::open_create);
  if (!efi::failed(status)) status = write_all(file.get(), bytes);
  if (efi::failed(status)) {
    if (file.get()) (void)file.remove();
    return failed(path, "write", status);
  }
  status = remove_if_there(name);
  if (!efi::failed(status)) status = rename(file, name);
  if (!efi::failed(status)) status = file->flush(file.get());
  if (efi::failed(status)) return failed(path, "replace", status);
  return {};
}

flyball::Status append_file(void*, Str path, Span<const u8> bytes) {
  Name name;
  FLYBALL_TRY(name.set(path));
  OpenFile file;
  efi::Status status = file.open(name, efi::open_read | efi::open_write | efi::open_create);
  if (!efi::failed(status)) status = file->set_position(file.get(), ~u64(0));  // its end
  Info before;
  if (!efi::failed(status)) status = before.read(file.get());
  if (efi::failed(status)) return failed(path, "append to", status);
  status = write_all(file.get(), bytes);
  if (!efi::failed(status)) return {};
  (void)file->set_info(file.get(), &efi::file_info_guid, before.info().struct_bytes,
                       before.bytes);  // as long as it was
  return failed(path, "append to", status);
}

flyball::Status rename_file(void*, Str path, Str to) {
  Name name, other;
  FLYBALL_TRY(name.set(path));
  FLYBALL_TRY(other.set(to));
  OpenFile file;
  efi::Status status = file.open(name, efi::open_read | efi::open_write);
  if (!efi::failed(status)) status = rename(file, other);
  if (!efi::failed(status)) status = file->flush(file.get());
  if (efi::failed(status)) return failed(path, "rename", status);
  return {};
}

flyball::Status remove_file(void*, Str path) {
  Name name;
  FLYBALL_TRY(name.set(path));
  const efi::Status status = remove_if_there(name);
  if (efi::failed(status)) return failed(path, "remove", status);
  return {};
}

flyball::Status list(void*, Str directory, void* context, void (*each)(void* context, const FileInfo& file)) {
  Name name;
  FLYBALL_TRY(name.set(directory));
  OpenFile folder;
  efi::Status status = folder.open(name, efi::open_read);
  if (efi::failed(status)) return failed(directory, "list", status);
  Info info;
  for (;;) {
    u64 n = sizeof info.bytes;
    status = folder->read(folder.get(), &n, info.bytes);
    if (efi::failed(status)) return failed(directory, "list", status);
    if (n == 0) return {};
    if (info.info().attributes & efi::attribute_directory) continue;
    char path[2 * most_name];
    Writer text(path, sizeof path);
    text.put(directory);
    if (!directory.ends_with("/")) text.put('/');
    for (const efi::Char* c = info.info().name; *c; ++c) text.put(*c < 0x80 ? char(*c) : '?');
    FileInfo found;
    found.path = text.text();
    found.bytes = info.info().bytes;
    found.modified_ns = ns_of(info.info().modified);
    each(context, found);
  }
}

Result<FileInfo> stat(void*, Str path) {
  OpenFile file;
  flyball::Status wrong;
  efi::Status status = open_to_read(path, file, &wrong);
  FLYBALL_TRY(wrong);
  Info info;
  if (!efi::failed(status)) status = info.read(file.get());
  if (efi::failed(status)) return failed(path, "open", status);
  if (info.info().attributes & efi::attribute_directory)
    return fail(Code::invalid_argument, path) << "is a directory, not a regular file";
  FileInfo found;
  found.path = path;
  found.bytes = info.info().bytes;
  found.modified_ns = ns_of(info.info().modified);
  return found;
}

}  // namespace flyball::uefi
