#include "engine/fingerprint.h"

#include "base/math.h"
#include "base/parallel.h"

namespace flyball::engine {
namespace {

constexpr u64 digits = 64, check_digits = 16;
constexpr u64 line_bytes = 2 * digits + check_digits + 3;  // with two spaces and the line's end
constexpr u64 most_lines = 1024;                           // then the older half goes

void write_line(const Digest& identity, const Digest& fingerprint, char (&line)[line_bytes]) {
  Sha256 hash;
  hash.update({identity.bytes, 32});
  hash.update({fingerprint.bytes, 32});
  char check[digits];
  hex(hash.finish(), check);
  hex(identity, line);
  line[digits] = ' ';
  hex(fingerprint, line + digits + 1);
  line[2 * digits + 1] = ' ';
  memcpy(line + 2 * digits + 2, check, check_digits);
  line[line_bytes - 1] = '\n';
}

Span<const u8> bytes_of(Str text) { return {reinterpret_cast<const u8*>(text.data), text.size}; }

}  // namespace

Result<Digest> hash_parts(const Platform& platform, u32 threads, Span<const Span<const u8>> parts,
                          HashProgress progress) {
  constexpr u64 chunk = u64(1) << 20;
  constexpr u32 batch = 16;  // chunks hashed side by side
  u64 done = 0;
  Sha256 whole;
  for (const Span<const u8> bytes : parts) {
    Digest digests[batch];
    for (u64 first = 0; first < bytes.size; first += batch * chunk) {
      const u32 n = u32(min(u64(batch), divide_up(bytes.size - first, chunk)));
      parallel(platform, threads, n, [&](u32 i) {
        const u64 begin = first + i * chunk;
        Sha256 hash;
        hash.update(bytes.subspan(begin, min(chunk, bytes.size - begin)));
        digests[i] = hash.finish();
      });
      for (u32 i = 0; i < n; ++i) whole.update({digests[i].bytes, 32});
      const u64 read = min(n * chunk, bytes.size - first);
      // Reading a file for its name must not double what the model holds in memory.
      if (platform.discard) platform.discard(platform.self, bytes.subspan(first, read));
      done += read;
      if (progress.report) FLYBALL_TRY(progress.report(progress.context, done));
    }
  }
  return whole.finish();
}

bool identity_of(Span<const FileInfo> files, u64 seen_ns, Digest* out) {
  constexpr u64 settled_ns = 2'000'000'000;  // FAT's clock ticks that slowly
  Sha256 hash;
  hash.update(Str("flyball file identity 1"));
  hash.update_u64(files.size);
  for (const FileInfo& file : files) {
    const u64 latest = max(file.modified_ns, file.changed_ns);
    if (file.inode == 0 || file.changed_ns == 0) return false;
    if (seen_ns != long_ago && seen_ns < latest + settled_ns) return false;
    const u64 fields[] = {file.device, file.inode, file.bytes, file.modified_ns, file.changed_ns};
    for (const u64 field : fields) hash.update_u64(field);
  }
  *out = hash.finish();
  return true;
}

Str FingerprintCache::read() {
  if (path_.empty()) return {};
  const Result<FileInfo> info = platform_.stat(platform_.self, path_);
  if (!info.ok() || info.value().bytes == 0 || info.value().bytes > 2 * most_lines * line_bytes) return {};
  const Result<Span<const u8>> file = platform_.map(platform_.self, path_);
  if (!file.ok()) return {};
  const Str text = arena_.copy({reinterpret_cast<const char*>(file.value().data), file.value().size});
  platform_.unmap(platform_.self, file.value());
  return text;
}

bool FingerprintCache::find(const Digest& identity, Digest* fingerprint) {
  bool found = false;
  for (Str text = read(); !text.empty();) {
    u64 n = 0;
    while (n < text.size && text[n] != '\n') ++n;
    const Str line = text.substr(0, min(n + 1, text.size));
    text = text.from(line.size);
    Digest read;
    if (line.size != line_bytes || !parse_hex(line.substr(digits + 1, digits), &read)) continue;
    char right[line_bytes];
    write_line(identity, read, right);
    if (line != Str(right, sizeof right)) continue;  // of another file, torn or changed
    *fingerprint = read;
    found = true;
  }
  return found;
}

void FingerprintCache::keep(const Digest& identity, const Digest& fingerprint) {
  if (path_.empty()) return;
  const Str text = read();
  if (text.size >= most_lines * line_bytes) forget_oldest(text);
  char room[line_bytes + 1];
  char line[line_bytes];
  write_line(identity, fingerprint, line);
  Writer out(room, sizeof room);
  if (!text.empty() && text[text.size - 1] != '\n') out.put('\n');  // after a torn line
  out.put(Str(line, sizeof line));
  (void)platform_.append_file(platform_.self, path_, bytes_of(out.text()));
}

void FingerprintCache::forget_oldest(Str text) {
  text = text.from(text.size / 2);
  (void)platform_.write_file(platform_.self, path_, bytes_of(text));
}

}  // namespace flyball::engine
