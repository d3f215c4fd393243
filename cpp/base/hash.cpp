#include "base/hash.h"

#include "base/text.h"

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
u64 rotate_left(u64 x, u32 n) { return x << n | x >> (64 - n); }

u64 load_u64(const void* from) {
  u64 value;
  memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace

Sha256::Sha256()
    : state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19},
      buffer_{} {}

void Sha256::block(const u8* bytes) {
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
  u32 a = state_[0], b = state_[1], c = state_[2], d = state_[3];
  u32 e = state_[4], f = state_[5], g = state_[6], h = state_[7];
  for (u32 i = 0; i < 64; ++i) {
    const u32 s1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
    const u32 t1 = h + s1 + ((e & f) ^ (~e & g)) + sha_constants[i] + w[i];
    const u32 s0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
    const u32 t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
    h = g, g = f, f = e, e = d + t1;
    d = c, c = b, b = a, a = t1 + t2;
  }
  state_[0] += a, state_[1] += b, state_[2] += c, state_[3] += d;
  state_[4] += e, state_[5] += f, state_[6] += g, state_[7] += h;
}

void Sha256::update(Span<const u8> bytes) {
  const u8* data = bytes.data;
  u64 left = bytes.size;
  u64 filled = length_ % 64;
  length_ += left;
  if (filled && left) {
    const u64 n = min(left, 64 - filled);
    memcpy(buffer_ + filled, data, n);
    data += n, left -= n, filled += n;
    if (filled == 64) block(buffer_);
  }
  for (; left >= 64; data += 64, left -= 64) block(data);
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

void hex(const Digest& digest, char out[64]) {
  Writer writer(out, 64);
  for (u8 byte : digest.bytes) writer.put_hex(byte, 2);
}

bool parse_hex(Str text, Digest* out) {
  if (text.size != 64) return false;
  Digest digest;
  for (u32 i = 0; i < 64; ++i) {
    const char c = text[i];
    u32 value;
    if (c >= '0' && c <= '9')
      value = u32(c - '0');
    else if (c >= 'a' && c <= 'f')
      value = u32(c - 'a' + 10);
    else
      return false;
    digest.bytes[i / 2] = u8(digest.bytes[i / 2] << 4 | value);
  }
  *out = digest;
  return true;
}

// logits_hash, version 1. All arithmetic is modulo 2^64; fold(x, y) is the low half xor the high half of the 128-bit x
// * y.
//   Input: n logits as 32-bit patterns p[0..n). They are padded with zero patterns to a multiple of 16: a block is 16
//   patterns. Lane i (0..3) starts at seed[i]. Of each block it takes two words, each little-endian from two patterns:
//     w0 = p[4i] + 2^32 p[4i+1],  w1 = p[4i+2] + 2^32 p[4i+3]
//     lane = rotate_left(lane, 23) + fold(w0 ^ key[i], w1 ^ lane)
//   End: avalanche(h) is h ^= h >> 32, h *= 0xd6e8feb86659fd93, h ^= h >> 32, h *= 0xd6e8feb86659fd93, h ^= h >> 32.
//     low = avalanche(n ^ key[0]); then for i = 0, 1, 2, 3: low = avalanche(low ^ lane[i]) + key[i]
//     high = avalanche(n ^ key[1]); then for i = 3, 2, 1, 0: high = avalanche(high + lane[i]) ^ key[i]
// Why: a 128-bit product spreads every bit, sign bits too, which a 64-bit product does not (bit 63 only moves itself);
// the rotated addend keeps a lane alive when a factor is zero; four independent chains hide the product's latency.
namespace {

constexpr u64 lane_seed[4] = {0x243f6a8885a308d3, 0x13198a2e03707344, 0xa4093822299f31d0, 0x082efa98ec4e6c89};  // pi
constexpr u64 lane_key[4] = {0x452821e638d01377, 0xbe5466cf34e90c6c, 0xc0ac29b7c97c50dd, 0x3f84d5b5b5470917};  // pi, on

u64 fold(u64 x, u64 y) {
  __extension__ using u128 = unsigned __int128;
  const u128 product = u128(x) * y;
  return u64(product) ^ u64(product >> 64);
}

u64 avalanche(u64 h) {
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93;
  h = (h ^ h >> 32) * 0xd6e8feb86659fd93;
  return h ^ h >> 32;
}

u64 lane_step(u64 lane, const f32* logits, u64 key) {
  return rotate_left(lane, 23) + fold(load_u64(logits) ^ key, load_u64(logits + 2) ^ lane);
}

}  // namespace

Hash128 logits_hash(Span<const f32> logits) {
  u64 a = lane_seed[0], b = lane_seed[1], c = lane_seed[2], d = lane_seed[3];
  const auto take = [&](const f32* block) {
    a = lane_step(a, block, lane_key[0]);
    b = lane_step(b, block + 4, lane_key[1]);
    c = lane_step(c, block + 8, lane_key[2]);
    d = lane_step(d, block + 12, lane_key[3]);
  };
  const u64 whole = logits.size / 16 * 16;
  for (u64 i = 0; i < whole; i += 16) take(logits.data + i);
  if (whole < logits.size) {
    f32 last[16] = {};
    memcpy(last, logits.data + whole, (logits.size - whole) * sizeof(f32));
    take(last);
  }
  const u64 lanes[4] = {a, b, c, d};
  Hash128 hash{avalanche(logits.size ^ lane_key[0]), avalanche(logits.size ^ lane_key[1])};
  for (u32 i = 0; i < 4; ++i) hash.low = avalanche(hash.low ^ lanes[i]) + lane_key[i];
  for (u32 i = 4; i-- > 0;) hash.high = avalanche(hash.high + lanes[i]) ^ lane_key[i];
  return hash;
}

}  // namespace flyball
