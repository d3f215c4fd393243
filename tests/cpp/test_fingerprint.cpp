#include <string>

#include "engine/fingerprint.h"
#include "fake_platform.h"
#include "test.h"

using namespace flyball;
using engine::FingerprintCache;

namespace {

Digest digest(u64 n) {
  Sha256 hash;
  hash.update_u64(n);
  return hash.finish();
}

struct World : test::FakePlatform {
  // The number of the fingerprint that a new reader finds; 0: none.
  u64 found(u64 identity) {
    Digest read;
    if (!FingerprintCache(platform, "c").find(digest(identity), &read)) return 0;
    for (u64 n = 1; n < 5000; ++n) {
      if (read == digest(n)) return n;
    }
    return ~u64(0);
  }
  void keep(u64 identity, u64 fingerprint) {
    FingerprintCache(platform, "c").keep(digest(identity), digest(fingerprint));
  }
};

}  // namespace

TEST(the_newest_fingerprint_of_an_identity_is_found) {
  World world;
  CHECK_EQ(world.found(1), 0u);
  world.keep(1, 11);
  world.keep(2, 12);
  CHECK_EQ(world.found(1), 11u);
  CHECK_EQ(world.found(2), 12u);
  CHECK_EQ(world.found(3), 0u);
  world.keep(1, 13);
  CHECK_EQ(world.found(1), 13u);
  CHECK_EQ(world.n_open, 0u);
  CHECK_EQ(world.n_bytes, 0u);
}

TEST(a_changed_line_is_no_fingerprint) {
  World world;
  world.keep(1, 11);
  const std::string line = world.files["c"];
  for (size_t i = 0; i + 1 < line.size(); ++i) {
    world.files["c"] = line;
    world.files["c"][i] = line[i] == '0' ? '1' : '0';
    CHECK_EQ(world.found(1), 0u);
  }
  for (size_t n = 0; n < line.size(); ++n) {  // torn by a crash, and written after
    world.files["c"] = line.substr(0, n);
    CHECK_EQ(world.found(1), 0u);
    world.keep(2, 12);
    CHECK_EQ(world.found(2), 12u);
  }
}

TEST(the_memory_of_fingerprints_is_bounded) {
  World world;
  for (u64 i = 1; i <= 3000; ++i) world.keep(i, i);
  CHECK(world.files["c"].size() < 200'000);
  CHECK_EQ(world.found(3000), 3000u);
  CHECK_EQ(world.found(2600), 2600u);
  CHECK_EQ(world.found(1), 0u);
}

TEST(a_memory_of_fingerprints_that_cannot_be_used_is_none) {
  World world;
  FingerprintCache none(world.platform, "");
  none.keep(digest(1), digest(2));
  Digest read;
  CHECK(!none.find(digest(1), &read));
  FingerprintCache closed(world.platform, "read-only/c");
  closed.keep(digest(1), digest(2));
  CHECK(!closed.find(digest(1), &read));
  CHECK(world.files.empty());
  world.files["c"] = std::string(10 << 20, 'x');  // not ours
  CHECK_EQ(world.found(1), 0u);
}
