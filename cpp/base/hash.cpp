#include "base/hash.h"

#include "base/text.h"

namespace flyball {
namespace {

u64 rotate_left(u64 x, u32 n) { return x << n | x >> (64 - n); }

u64 load_u64(const void* from) {
  u64 value;
  memcpy(&value, from, sizeof(value));
  return value;
}

}  // namespace

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
