// A file that remembers fingerprints of model files by their identity: a line "<identity> <fingerprint> <check>" each, in
// hexadecimal, the newest last. Hostile until its check holds; a file that cannot be read or written remembers nothing.
#pragma once

#include "base/arena.h"
#include "base/hash.h"
#include "base/platform.h"

namespace flyball::engine {

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
