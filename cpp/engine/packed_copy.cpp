#include "engine/packed_copy.h"

#include "base/text.h"

namespace flyball::engine {
namespace {

constexpr Str ending = ".packed";
constexpr char magic[] = "flyball packed\n";
static_assert(sizeof magic == sizeof PackedHeader::magic && sizeof(PackedHeader) <= PackedHeader::bytes);

}  // namespace

Result<PackedUse> parse_packed_use(Str name) {
  if (name == "auto") return PackedUse::automatic;
  if (name == "on") return PackedUse::always;
  if (name == "off") return PackedUse::never;
  return fail(Code::invalid_argument, "packed_copy") << "is '" << name << "'; choose auto, on or off";
}

bool PackedCopy::wanted(u64 in_memory) const {
  if (options_.use == PackedUse::always) return true;
  const u64 free = platform_.available_memory ? platform_.available_memory(platform_.self) : ~u64(0);
  return in_memory > free - free / 8;  // sessions want some, too
}

bool PackedCopy::concerns(u64 packed_bytes, u64 in_memory) const {
  if (packed_bytes == 0 || !is_possible()) return false;
  struct Looking {
    u64 bytes;
    bool found;
  } looking = {PackedHeader::bytes + packed_bytes, false};
  const Status listed =
      platform_.list(platform_.self, options_.folder, &looking, [](void* context, const FileInfo& file) {
        Looking& at = *static_cast<Looking*>(context);
        at.found = at.found || (file.path.ends_with(ending) && file.bytes == at.bytes);
      });
  return (listed.ok() && looking.found) || wanted(in_memory);
}

void PackedCopy::name(const Digest& fingerprint) {
  char digits[64];
  hex(fingerprint, digits);
  Writer out(path_.data, sizeof path_.data);
  out.put(options_.folder).put('/').put(Str(digits, sizeof digits)).put(ending);
  path_.size = out.truncated() ? 0 : u32(out.text().size);
}

void PackedCopy::release() {
  if (!file_.empty()) platform_.unmap(platform_.self, file_);
  file_ = {};
  weight_bytes_ = 0;
  how_ = {};
}

Status PackedCopy::check(const PackedContent& content, u32 threads, HashProgress progress) {
  const PackedHeader& header = *reinterpret_cast<const PackedHeader*>(file_.data);
  if (file_.size != PackedHeader::bytes + content.bytes) return fail(Code::corrupt, path()) << "has another size";
  const bool fits = memcmp(header.magic, magic, sizeof magic) == 0 && header.version == PackedHeader::layout &&
                    header.content == content;
  if (!fits) return fail(Code::corrupt, path()) << "is a packed copy of something else";
  FLYBALL_ASSIGN(info_, platform_.mapped(platform_.self, file_));
  Digest key, found;
  const bool remembers = identity_of({&info_, 1}, platform_.wall_ns ? platform_.wall_ns(platform_.self) : 0, &key);
  if (remembers && remembered_.find(key, &found) && found == header.checksum) return {};
  const Span<const u8> weights = room();
  FLYBALL_ASSIGN(found, hash_parts(platform_, threads, {&weights, 1}, progress));
  if (!(found == header.checksum)) return fail(Code::corrupt, path()) << "does not have the bytes of its checksum";
  FileInfo now;
  FLYBALL_ASSIGN(now, platform_.mapped(platform_.self, file_));  // an error: some of it read as zeros
  if (remembers) remembered_.keep(key, found);
  return {};
}

Status PackedCopy::find(const PackedContent& content, u32 threads, HashProgress progress) {
  name(content.fingerprint);
  if (path().empty()) return {};
  const Result<Span<const u8>> mapping = platform_.map(platform_.self, path());
  if (!mapping.ok()) {
    if (mapping.error().code != Code::not_found) (void)platform_.remove_file(platform_.self, path());
    return {};
  }
  file_ = {const_cast<u8*>(mapping.value().data), mapping.value().size};  // nobody writes to a kept one
  weight_bytes_ = content.bytes;
  const Status checked = check(content, threads, progress);
  if (checked.ok()) {
    how_ = "mapped";
    return {};
  }
  release();
  if (checked.error().code == Code::interrupted) return checked;
  (void)platform_.remove_file(platform_.self, path());
  problem_ = checked.error().what;
  return {};
}

Status PackedCopy::make_room(u64 bytes) {
  if (bytes > options_.most_bytes)
    return fail(Code::io, options_.folder)
           << "may have " << (options_.most_bytes >> 20) << " MiB of packed copies, and "
           << "this one has " << (bytes >> 20) << " (packed_copies_gb)";
  for (;;) {  // the oldest goes, until it fits
    struct Looking {
      u64 bytes = 0;
      u64 oldest_ns = ~u64(0);
      Text<512> oldest;
    } looking;
    FLYBALL_TRY(platform_.list(platform_.self, options_.folder, &looking, [](void* context, const FileInfo& file) {
      Looking& at = *static_cast<Looking*>(context);
      if (!file.path.ends_with(ending)) return;
      at.bytes += file.bytes;
      if (file.modified_ns >= at.oldest_ns) return;
      at.oldest_ns = file.modified_ns;
      at.oldest.assign(file_name(file.path));
    }));
    if (looking.bytes + bytes <= options_.most_bytes) return {};
    char buffer[4096];
    Writer oldest(buffer, sizeof buffer);
    oldest.put(options_.folder).put('/').put(looking.oldest.str());
    FLYBALL_TRY(platform_.remove_file(platform_.self, oldest.text()));
  }
}

void PackedCopy::make(const PackedContent& content, u64 in_memory) {
  if (!wanted(in_memory)) return;
  const u64 bytes = PackedHeader::bytes + content.bytes;
  Status made = path().empty() ? fail(Code::invalid_argument, "packed_copy") << "its folder has too long a path"
                               : make_room(bytes);
  if (made.ok()) {
    const Result<Span<u8>> mapping = platform_.map_new(platform_.self, options_.folder, bytes);
    if (mapping.ok())
      file_ = mapping.value();
    else
      made = mapping.error();
  }
  problem_ = made.error().what;
  if (!made.ok()) return;
  weight_bytes_ = content.bytes;
  PackedHeader& header = *reinterpret_cast<PackedHeader*>(file_.data);
  memcpy(header.magic, magic, sizeof magic);
  header.version = PackedHeader::layout;
  header.content = content;
}

Status PackedCopy::keep(Str model, u32 threads, HashProgress progress) {
  PackedHeader& header = *reinterpret_cast<PackedHeader*>(file_.data);
  memcpy(header.model, model.data, min(model.size, u64(sizeof header.model - 1)));
  const Span<const u8> weights = room();
  FLYBALL_ASSIGN(header.checksum, hash_parts(platform_, threads, {&weights, 1}, progress));
  const Digest checksum = header.checksum;
  FLYBALL_TRY(platform_.keep_new(platform_.self, file_, path()));
  FLYBALL_ASSIGN(info_, platform_.mapped(platform_.self, file_));
  how_ = "made";
  // Without /proc, say. Its memory is good all the same.
  if (info_.n_links == 0 && !platform_.stat(platform_.self, path()).ok()) {
    Writer out(problem_.data, sizeof problem_.data);
    problem_.size = u32(out.put("the file system gave it no name: it lasts as long as this model").text().size);
  }
  if (Digest key; identity_of({&info_, 1}, long_ago, &key)) remembered_.keep(key, checksum);
  return {};
}

}  // namespace flyball::engine
