// SHA-256 for digests and chains, and the fast 128-bit hash of logits that contract 1 defines.
#pragma once

#include "base/span.h"

namespace flyball {

struct Digest {
  u8 bytes[32] = {};
  friend bool operator==(const Digest& a, const Digest& b) { return memcmp(a.bytes, b.bytes, 32) == 0; }
};

class Sha256 {  // FIPS 180-4
 public:
  Sha256();
  void update(Span<const u8> bytes);
  void update(Str s) { update({reinterpret_cast<const u8*>(s.data), s.size}); }
  void update_u64(u64 value);  // little-endian
  Digest finish();

 private:
  u32 state_[8];
  u8 buffer_[64];
  u64 length_ = 0;
};

namespace internal {  // for the test that holds the processor's rounds to the portable ones
void sha256_portable(u32* state, const u8* bytes);
}

void hex(const Digest& digest, char out[64]);
[[nodiscard]] bool parse_hex(Str text, Digest* out);

// The logits hash: four lanes of 64 bits over the little-endian 32-bit patterns, multiply-xor, defined in
// docs/contracts.md. Not cryptographic: the digest that covers it is.
struct Hash128 {
  u64 low = 0;
  u64 high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
};
Hash128 logits_hash(Span<const f32> logits);

}  // namespace flyball
