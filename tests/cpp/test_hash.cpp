#include "base/hash.h"

#include <random>
#include <set>
#include <string>
#include <vector>

#include "test.h"

using namespace flyball;

namespace {

std::string hex_of(const Digest& digest) {
  char text[64];
  hex(digest, text);
  return {text, 64};
}

std::string sha(Str s) {
  Sha256 hash;
  hash.update(s);
  return hex_of(hash.finish());
}

std::vector<f32> pattern(u64 n) {
  std::vector<f32> values(n);
  for (u64 i = 0; i < n; ++i) values[i] = f32(i * 37 % 1009) / 8 - 50;
  return values;
}

Hash128 hashed(const std::vector<f32>& values) {
  std::vector<f32> copy = values;
  return logits_hash({copy.data(), copy.size()});
}

std::pair<u64, u64> pair_of(Hash128 h) { return {h.low, h.high}; }

}  // namespace

TEST(sha256_known_answers) {  // FIPS 180-4 examples
  CHECK_EQ(sha(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK_EQ(sha("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_EQ(sha("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
           "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  const std::string million(1000000, 'a');
  CHECK_EQ(sha({million.data(), million.size()}), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

// The processor's own rounds, where this machine has them, against the portable ones; the known answers above cover whichever ran.
TEST(sha256_portable_rounds_agree) {
  std::mt19937_64 random(7);
  for (int n = 0; n < 2000; ++n) {
    u8 block[64] = {};
    for (int i = 0; i < 55; ++i) block[i] = u8(random());
    Sha256 hash;
    hash.update({block, 55});
    block[55] = 0x80;
    block[62] = 55 * 8 >> 8;
    block[63] = u8(55 * 8);
    u32 state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    flyball::internal::sha256_portable(state, block);
    Digest portable;
    for (int i = 0; i < 32; ++i) portable.bytes[i] = u8(state[i / 4] >> (24 - i % 4 * 8));
    CHECK(portable == hash.finish());
  }
}

TEST(sha256_in_pieces_equals_whole) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += char(i * 7);
  for (u64 size : {0, 1, 55, 56, 57, 63, 64, 65, 119, 120, 128, 300}) {
    const Str whole(text.data(), size);
    for (u64 piece : {1, 3, 63, 64, 65}) {
      Sha256 hash;
      for (u64 at = 0; at < size; at += piece) hash.update(whole.substr(at, min(piece, size - at)));
      CHECK_EQ(hex_of(hash.finish()), sha(whole));
    }
  }
  Sha256 number;
  number.update_u64(0x0102030405060708);
  CHECK_EQ(hex_of(number.finish()), sha(Str("\x08\x07\x06\x05\x04\x03\x02\x01", 8)));
}

TEST(hex_round_trip) {
  Sha256 hash;
  const Digest digest = hash.finish();
  Digest back;
  const std::string text = hex_of(digest);
  REQUIRE(parse_hex({text.data(), 64}, &back));
  CHECK(back == digest);
  CHECK(!parse_hex({text.data(), 63}, &back));
  std::string bad = text;
  bad[10] = 'G';
  CHECK(!parse_hex({bad.data(), 64}, &back));
  bad[10] = 'A';  // one spelling only
  CHECK(!parse_hex({bad.data(), 64}, &back));
}

// Computed by an independent program from the definition in base/hash.cpp. They are part of the receipts' format:
// a change here makes every old receipt unverifiable.
TEST(logits_hash_known_answers) {
  const struct {
    u64 n, low, high;
  } known[] = {
      {0, 0x413a8bf5e407b4ac, 0xa90c1b0e8b45c473},    {1, 0xd7c62813f7284cc8, 0x03cb60c488611fbe},
      {2, 0xeee144882d5d72fb, 0x9356d19befca2065},    {15, 0x09efaac09a233b3a, 0xa01a2b3a43bb91cb},
      {16, 0x8ecf5ce8591da1cf, 0x2f18f09811c8b53a},   {17, 0x095ccb6537e1d150, 0x75688b0464e73f78},
      {32, 0xa7b386b34f2b9c20, 0x82340a2ac1c99309},   {33, 0xe73c9a385909ea83, 0x6e2eced1492beeb3},
      {1000, 0x4da3f027cb4f597f, 0x39447ba197d5de4d}, {128256, 0x53f35b0186b01e76, 0x9989d6d5347e7658},
  };
  for (const auto& answer : known) {
    const Hash128 h = hashed(pattern(answer.n));
    CHECK_EQ(h.low, answer.low);
    CHECK_EQ(h.high, answer.high);
  }
  CHECK_EQ(hashed({bit_cast<f32>(0x7fc00001)}).low, 0x01812bb7169c983b);  // a NaN's payload counts
  CHECK_EQ(hashed({-0.0f}).low, 0x08998bea423d7c305);
}

TEST(logits_hash_sees_every_bit_place_and_length) {
  const u64 n = 83;
  const std::vector<f32> base = pattern(n);
  std::set<std::pair<u64, u64>> seen{pair_of(hashed(base))};
  u64 n_cases = 1;
  std::set<u64> lows{hashed(base).low}, highs{hashed(base).high};
  for (u64 i = 0; i < n; ++i) {
    for (u32 bit = 0; bit < 32; ++bit, ++n_cases) {
      std::vector<f32> changed = base;
      changed[i] = bit_cast<f32>(bit_cast<u32>(changed[i]) ^ u32(1) << bit);
      const Hash128 h = hashed(changed);
      seen.insert(pair_of(h)), lows.insert(h.low), highs.insert(h.high);
    }
  }
  for (u64 length = 0; length < 200; ++length, ++n_cases) {
    const Hash128 h = hashed(std::vector<f32>(length, 0.0f));
    seen.insert(pair_of(h)), lows.insert(h.low), highs.insert(h.high);
  }
  CHECK_EQ(seen.size(), n_cases);
  CHECK_EQ(lows.size(), n_cases);
  CHECK_EQ(highs.size(), n_cases);
}

// Kernels that differ by signed zeros, or that swap two rows, are the likely accidents: all pairs of such changes.
TEST(logits_hash_sees_pairs_of_sign_changes_and_swaps) {
  const u64 n = 96;
  const std::vector<f32> base = pattern(n);
  std::set<u64> lows, highs;
  u64 n_cases = 0;
  for (u64 i = 0; i < n; ++i) {
    for (u64 j = i + 1; j < n; ++j) {
      std::vector<f32> signs = base, swapped = base;
      signs[i] = -signs[i], signs[j] = -signs[j];
      std::swap(swapped[i], swapped[j]);
      for (const auto& values : {signs, swapped}) {
        const Hash128 h = hashed(values);
        lows.insert(h.low), highs.insert(h.high);
        ++n_cases;
      }
    }
  }
  CHECK_EQ(lows.size(), n_cases);
  CHECK_EQ(highs.size(), n_cases);
}

TEST(logits_hash_avalanches) {
  const std::vector<f32> base = pattern(64);
  const Hash128 before = hashed(base);
  u64 flipped = 0, n_cases = 0;
  for (u64 i = 0; i < base.size(); ++i) {
    for (u32 bit = 0; bit < 32; ++bit, ++n_cases) {
      std::vector<f32> changed = base;
      changed[i] = bit_cast<f32>(bit_cast<u32>(changed[i]) ^ u32(1) << bit);
      const Hash128 h = hashed(changed);
      flipped += u64(__builtin_popcountll(h.low ^ before.low) + __builtin_popcountll(h.high ^ before.high));
    }
  }
  const double mean = double(flipped) / double(n_cases);
  CHECK(mean > 63.0 && mean < 65.0);  // of 128; the standard error is 0.13
}
