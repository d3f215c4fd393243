// SHA-256 (FIPS 180-4), with the processor's own rounds where it has them: a model's fingerprint reads every byte of the file.
#include "base/hash.h"

namespace flyball {
namespace {

constexpr u32 sha_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

u32 rotate_right(u32 x, u32 n) { return x >> n | x << (32 - n); }

void compress_portable(u32* state, const u8* bytes) {
  u32 w[64];
  for (u32 i = 0; i < 16; ++i) {
    u32 word;
    memcpy(&word, bytes + 4 * i, 4);
    w[i] = __builtin_bswap32(word);
  }
  for (u32 i = 16; i < 64; ++i) {
    const u32 s0 = rotate_right(w[i - 15], 7) ^ rotate_right(w[i - 15], 18) ^ w[i - 15] >> 3;
    const u32 s1 = rotate_right(w[i - 2], 17) ^ rotate_right(w[i - 2], 19) ^ w[i - 2] >> 10;
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  u32 a = state[0], b = state[1], c = state[2], d = state[3];
  u32 e = state[4], f = state[5], g = state[6], h = state[7];
  for (u32 i = 0; i < 64; ++i) {
    const u32 s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    const u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + sha_constants[i] + w[i];
    const u32 s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    const u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  state[0] += a, state[1] += b, state[2] += c, state[3] += d;
  state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

// Four words in a register. Compiler vectors and built-ins instead of intrinsics: the core includes no header for them.
typedef int Words __attribute__((vector_size(16)));
#define FLYBALL_SHA_TARGET __attribute__((target("sha,sse4.1")))

FLYBALL_SHA_TARGET Words load_words(const void* from) {
  Words words;
  memcpy(&words, from, sizeof words);
  return words;
}

// Modulo 2^32: what the instructions take is signed, and signed sums may not overflow.
FLYBALL_SHA_TARGET Words add(Words a, Words b) {
  using Unsigned = u32 __attribute__((vector_size(16)));
  return Words(Unsigned(a) + Unsigned(b));
}

FLYBALL_SHA_TARGET Words load_big_endian(const u8* from) {
  u32 words[4];
  memcpy(words, from, sizeof words);
  for (u32& word : words) word = __builtin_bswap32(word);
  return load_words(words);
}

// The instructions keep the state as (f, e, b, a) and (h, g, d, c), lowest word first, and do two rounds each.
FLYBALL_SHA_TARGET void compress_sha_ni(u32* state, const u8* bytes, u64 n_blocks) {
  const Words abcd = load_words(state), efgh = load_words(state + 4);
  Words abef = __builtin_shufflevector(abcd, efgh, 5, 4, 1, 0);
  Words cdgh = __builtin_shufflevector(abcd, efgh, 7, 6, 3, 2);
  for (; n_blocks != 0; --n_blocks, bytes += 64) {
    const Words abef_before = abef, cdgh_before = cdgh;
    Words w[4];
    for (u32 i = 0; i < 4; ++i) w[i] = load_big_endian(bytes + 16 * i);
    for (u32 i = 0; i < 16; ++i) {
      const Words sum = add(w[i % 4], load_words(sha_constants + 4 * i));
      cdgh = __builtin_ia32_sha256rnds2(cdgh, abef, sum);
      abef = __builtin_ia32_sha256rnds2(abef, cdgh, __builtin_shufflevector(sum, sum, 2, 3, 2, 3));
      if (i < 12) {
        const Words last = w[(i + 3) % 4], before = w[(i + 2) % 4];
        const Words seven_back = __builtin_shufflevector(before, last, 1, 2, 3, 4);
        const Words partial = __builtin_ia32_sha256msg1(w[i % 4], w[(i + 1) % 4]);
        w[i % 4] = __builtin_ia32_sha256msg2(add(partial, seven_back), last);
      }
    }
    abef = add(abef, abef_before);
    cdgh = add(cdgh, cdgh_before);
  }
  const Words abcd_after = __builtin_shufflevector(abef, cdgh, 3, 2, 7, 6);
  const Words efgh_after = __builtin_shufflevector(abef, cdgh, 1, 0, 5, 4);
  memcpy(state, &abcd_after, 16);
  memcpy(state + 4, &efgh_after, 16);
}

bool ask_processor() {
  u32 a = 0, b = 0, c = 0, d = 0;
  const auto cpuid = [&](u32 leaf) {
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(leaf), "c"(0));
  };
  cpuid(0);
  if (a < 7) return false;
  cpuid(1);
  const bool sse41 = (c >> 19) & 1;
  cpuid(7);
  return sse41 && ((b >> 29) & 1);
}

// Asked once: a guest of a hypervisor pays microseconds for each cpuid. 0: not yet asked, 1: no, 2: yes.
bool has_sha_ni() {
  static u32 known = 0;
  u32 answer = __atomic_load_n(&known, __ATOMIC_RELAXED);
  if (answer == 0) {
    answer = ask_processor() ? 2 : 1;
    __atomic_store_n(&known, answer, __ATOMIC_RELAXED);
  }
  return answer == 2;
}

void compress(u32* state, const u8* bytes, u64 n_blocks) {
  if (has_sha_ni()) return compress_sha_ni(state, bytes, n_blocks);
  for (; n_blocks != 0; --n_blocks, bytes += 64) compress_portable(state, bytes);
}

}  // namespace

namespace internal {
void sha256_portable(u32* state, const u8* bytes) { compress_portable(state, bytes); }
}  // namespace internal

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
      buffer_{} {}

void Sha256::update(Span<const u8> bytes) {
  const u8* data = bytes.data;
  u64 left = bytes.size;
  u64 filled = length_ % 64;
  length_ += left;
  if (filled && left) {
    const u64 n = min(left, 64 - filled);
    memcpy(buffer_ + filled, data, n);
    data += n, left -= n, filled += n;
    if (filled == 64) compress(state_, buffer_, 1);
  }
  compress(state_, data, left / 64);
  data += left / 64 * 64, left %= 64;
  if (left) memcpy(buffer_, data, left);
}

void Sha256::update_u64(u64 value) {
  u8 bytes[8];
  memcpy(bytes, &value, 8);
  update({bytes, 8});
}

Digest Sha256::finish() {
  const u64 bits = __builtin_bswap64(length_ * 8);
  const u8 padding[64] = {0x80};
  const u64 filled = length_ % 64;
  update({padding, filled < 56 ? 56 - filled : 120 - filled});
  u8 tail[8];
  memcpy(tail, &bits, 8);
  update({tail, 8});
  Digest digest;
  for (u32 i = 0; i < 8; ++i) {
    const u32 word = __builtin_bswap32(state_[i]);
    memcpy(digest.bytes + 4 * i, &word, 4);
  }
  return digest;
}

}  // namespace flyball
