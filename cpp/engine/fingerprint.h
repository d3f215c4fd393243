// The names of files by their bytes, and a file that remembers them.
#pragma once

#include "base/arena.h"
#include "base/hash.h"
#include "base/platform.h"

namespace flyball::engine {

// Called after each piece, with the bytes read so far; an error stops.
struct HashProgress {
  void* context = nullptr;
  Status (*report)(void* context, u64 done) = nullptr;
};

// SHA-256 over the SHA-256 of each MiB of each part, on `threads` threads. What was read is given back.
Result<Digest> hash_parts(const Platform& platform, u32 threads, Span<const Span<const u8>> parts,
                          HashProgress progress);

// A name for files without reading them: what a file system cannot repeat. False where that is not known, or where one
// was changed so shortly before `seen_ns` (since 1970) that a second change may have had the same time.
constexpr u64 long_ago = ~u64(0);  // of files that nobody else could write before
bool identity_of(Span<const FileInfo> files, u64 seen_ns, Digest* out);

// A file that remembers fingerprints by identity: a line "<identity> <fingerprint> <check>" each, in hexadecimal, the
// newest last. Hostile until its check holds; a file that cannot be read or written remembers nothing.
class FingerprintCache {
 public:
  FingerprintCache(const Platform& platform, Str path) : platform_(platform), path_(path), arena_(platform) {}

  bool find(const Digest& identity, Digest* fingerprint);
  void keep(const Digest& identity, const Digest& fingerprint);

 private:
  Str read();
  void forget_oldest(Str text);

  const Platform& platform_;
  Str path_;
  Arena arena_;
};

}  // namespace flyball::engine
