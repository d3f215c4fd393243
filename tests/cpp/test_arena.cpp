#include "base/arena.h"

#include "counting_platform.h"
#include "test.h"

using namespace flyball;

TEST(memory_is_aligned_zeroed_and_distinct) {
  test::CountingPlatform memory;
  Arena arena(memory.platform);
  u8* last = nullptr;
  for (u64 bytes : {1, 63, 64, 65, 1000, 300000, 900000, 2000000, 5}) {
    u8* data = static_cast<u8*>(arena.allocate_bytes(bytes));
    REQUIRE(data != nullptr);
    CHECK_EQ(reinterpret_cast<uintptr_t>(data) % 64, 0);
    bool zero = true;
    for (u64 i = 0; i < bytes; ++i) zero = zero && data[i] == 0;
    CHECK(zero);
    memset(data, 0xff, bytes);
    CHECK(data != last);
    last = data;
  }
  CHECK(arena.bytes_used() >= 3200000);
  arena.clear();
  CHECK_EQ(memory.in_use, 0);
  CHECK_EQ(arena.bytes_used(), 0);
  CHECK(arena.allocate_bytes(1) != nullptr);
}

TEST(large_requests_leave_the_current_block_in_use) {
  test::CountingPlatform memory;
  Arena arena(memory.platform);
  CHECK(arena.allocate_bytes(100) != nullptr);
  CHECK(arena.allocate_bytes(u64(8) << 20) != nullptr);
  CHECK_EQ(memory.n_allocations, 2);
  for (int i = 0; i < 1000; ++i) CHECK(arena.allocate_bytes(100) != nullptr);
  CHECK_EQ(memory.n_allocations, 2);
}

TEST(failure_is_a_null_and_leaves_the_arena_usable) {
  test::CountingPlatform memory;
  memory.limit = u64(3) << 20;
  Arena arena(memory.platform);
  CHECK(arena.allocate_bytes(100) != nullptr);
  CHECK(arena.allocate_bytes(u64(4) << 20) == nullptr);
  CHECK(arena.allocate_bytes(~u64(0)) == nullptr);
  CHECK(arena.allocate_bytes(~u64(0) - 64) == nullptr);
  CHECK(arena.allocate<u64>(u64(1) << 61).empty());
  CHECK(arena.allocate<u64>(0).empty());
  CHECK(arena.allocate<u64>(100).size == 100);
  CHECK(arena.copy("text") == Str("text"));
  CHECK(arena.copy("").empty());
}

TEST(the_destructor_gives_everything_back) {
  test::CountingPlatform memory;
  {
    Arena arena(memory.platform);
    for (int i = 0; i < 100; ++i) CHECK(arena.allocate_bytes(100000) != nullptr);
    CHECK(memory.in_use >= 10000000);
  }
  CHECK_EQ(memory.in_use, 0);
}
