#include "engine/fingerprint_cache.h"

#include "base/math.h"

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
