#include "runtime/random.h"

#include "runtime/sampler.h"

namespace flyball::runtime {

Philox4x32 philox4x32_10(Philox4x32 counter, u32 key0, u32 key1) {
  Philox4x32 c = counter;
  for (u32 round = 0; round < 10; ++round) {
    const u64 product0 = u64(0xD2511F53u) * c.word[0];
    const u64 product1 = u64(0xCD9E8D57u) * c.word[2];
    c = {
        {u32(product1 >> 32) ^ c.word[1] ^ key0, u32(product1), u32(product0 >> 32) ^ c.word[3] ^ key1, u32(product0)}};
    key0 += 0x9E3779B9u;  // golden ratio
    key1 += 0xBB67AE85u;  // sqrt(3) - 1
  }
  return c;
}

f64 counter_uniform(u64 seed, u64 sequence, u64 position) {
  const Philox4x32 counter = {{u32(position), u32(position >> 32), u32(sequence), u32(sequence >> 32)}};
  const Philox4x32 random = philox4x32_10(counter, u32(seed), u32(seed >> 32));
  const u64 bits = (u64(random.word[0]) << 32 | random.word[1]) >> 11;
  return f64(bits) * 0x1p-53;
}

}  // namespace flyball::runtime
