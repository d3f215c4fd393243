// Shared prefixes: what is found, what is given up first, and that a block is never half a block.
#include "runtime/prefix_cache.h"

#include <functional>
#include <thread>
#include <vector>

#include "counting_platform.h"
#include "test.h"

#include "host/host.h"

using namespace flyball;
using runtime::KvCache;
using runtime::PrefixCache;
using tokenizer::Token;

namespace {

constexpr u32 block = PrefixCache::block_tokens;
constexpr u64 kind = 7;
using Tokens = std::vector<Token>;

// Memory for caches of keys and values, apart from the platform that the prefix cache asks.
struct Memory {
  Arena arena{host::host_platform()};
  model::LayerShape layers[2];
  model::Config config;
  Memory() {
    for (u32 i = 0; i < 2; ++i) {
      layers[i].n_head_kv = 1;
      layers[i].head_dim = layers[i].value_dim = 16;
      layers[i].first_head_kv = i;
    }
    config.layers = layers;
  }
  KvCache cache(u32 positions) { return KvCache::create(arena, config, kernels::CacheType::f32, positions).value(); }
};

Tokens tokens(u32 seed, u32 n) {
  Tokens out(n);
  for (u32 i = 0; i < n; ++i) out[i] = Token((seed * 7919 + i * i * 31) % 100003);
  return out;
}
Tokens joined(Tokens first, const Tokens& then) {
  first.insert(first.end(), then.begin(), then.end());
  return first;
}
Span<const Token> span(const Tokens& t, u64 n = ~u64(0)) { return {t.data(), min<u64>(t.size(), n)}; }

// As the model does: a position's bytes follow from the tokens up to it, and from nothing else.
void compute(const Tokens& text, u32 end, const KvCache& cache) {
  u32 state = 1;
  for (u32 n = 0; n < end; n += 16) {
    for (u32 i = n; i < n + 16 && i < text.size(); ++i) state = (state ^ u32(text[i])) * 16777619;
    u32 random = state;
    cache.each_part(n, n + 16, [&](Span<u8> part) {
      for (u8& byte : part) byte = u8((random = random * 1664525 + 1013904223) >> 24);
    });
  }
}

runtime::RecurrentState no_state;

bool equal(const KvCache& a, const KvCache& b, u32 first, u32 end) {
  std::vector<u8> bytes[2];
  for (u32 i = 0; i < 2; ++i) {
    (i == 0 ? a : b).each_part(first, end, [&](Span<u8> part) {
      bytes[i].insert(bytes[i].end(), part.begin(), part.end());
    });
  }
  return bytes[0] == bytes[1];
}

struct Shared {
  test::CountingPlatform counted;
  Memory memory;
  PrefixCache prefixes;

  explicit Shared(u32 n_blocks) : prefixes(counted.platform, n_blocks * bytes_of_a_block()) {}

  static u64 bytes_of_a_block() {
    test::CountingPlatform counted;
    Memory memory;
    PrefixCache one(counted.platform, u64(1) << 20);
    const Tokens text = tokens(1, block);
    one.remember(kind, span(text), memory.cache(block), {});
    return one.bytes();
  }

  void remember(const Tokens& text, u64 settings = kind) {
    const KvCache cache = memory.cache(u32(text.size()));
    compute(text, u32(round_up(text.size(), 16)), cache);
    prefixes.remember(settings, span(text), cache, {});
    CHECK(prefixes.bytes() <= prefixes.capacity());
    CHECK_EQ(counted.in_use, prefixes.bytes());
  }

  // Tokens found; their rows are what computing them gives.
  u32 restored(const Tokens& text, u64 settings = kind) {
    const KvCache cache = memory.cache(u32(text.size())), expected = memory.cache(u32(text.size()));
    const u32 n = prefixes.restore(settings, span(text), 0, cache, no_state);
    compute(text, n, expected);
    CHECK(n == 0 || equal(cache, expected, 0, n));
    return n;
  }
};

}  // namespace

TEST(blocks_begin_and_end_at_multiples_of_64) {
  for (const u32 n : {1u, 63u, 64u, 65u, 127u, 128u, 129u}) {
    Shared shared(8);
    const Tokens text = tokens(1, n);
    shared.remember(text);
    CHECK_EQ(shared.restored(joined(text, tokens(2, 100))), n / block * block);
    CHECK_EQ(shared.restored(text), n / block * block);
    CHECK_EQ(shared.prefixes.bytes(), n / block * Shared::bytes_of_a_block());
  }
  Shared shared(8);
  const Tokens text = tokens(1, 4 * block);
  shared.remember(text);
  for (const u32 n : {1u, 63u, 64u, 65u, 191u, 192u, 255u, 256u})
    CHECK_EQ(shared.restored(Tokens(text.begin(), text.begin() + n)), n / block * block);
}

TEST(texts_of_other_lengths_share_what_is_equal) {
  Shared shared(16);
  const Tokens text = tokens(1, 300);
  shared.remember(text);
  for (const u32 n_equal : {0u, 10u, 64u, 100u, 128u, 200u, 256u}) {
    Tokens other = joined(Tokens(text.begin(), text.begin() + n_equal), tokens(5, 400));
    other[n_equal] = text[n_equal] + 1000;
    CHECK_EQ(shared.restored(other), n_equal / block * block);
  }
  CHECK_EQ(shared.restored(Tokens(text.begin() + block, text.end())), 0);  // the same tokens at other positions
  CHECK_EQ(shared.restored(text, kind + 1), 0);

  const u64 before = shared.prefixes.bytes();
  shared.remember(joined(Tokens(text.begin(), text.begin() + 128), tokens(6, 64)));
  CHECK_EQ(shared.prefixes.bytes(), before + Shared::bytes_of_a_block());  // two of its three blocks are there already
  CHECK_EQ(shared.restored(text), 256);
}

TEST(what_a_session_holds_is_not_written) {
  Shared shared(8);
  const Tokens text = tokens(1, 4 * block);
  shared.remember(text);
  const KvCache cache = shared.memory.cache(4 * block), expected = shared.memory.cache(4 * block);
  compute(text, 4 * block, expected);
  CHECK_EQ(shared.prefixes.restore(kind, span(text), 100, cache, no_state), 4 * block);
  CHECK(!equal(cache, expected, 0, block));  // of its own 100 tokens the first block is left alone
  CHECK(equal(cache, expected, block, 4 * block));
  CHECK_EQ(shared.prefixes.restore(kind, span(text, 200), 199, cache, no_state), 199);
}

TEST(the_least_recently_used_goes_first) {
  Shared shared(3);
  const Tokens a = tokens(1, block), b = tokens(2, block), c = tokens(3, block), d = tokens(4, block);
  shared.remember(a), shared.remember(b), shared.remember(c);
  CHECK_EQ(shared.restored(a), block);  // now b is the oldest
  shared.remember(d);
  CHECK_EQ(shared.restored(b), 0);
  CHECK_EQ(shared.restored(c), block);
  shared.remember(a);  // known: used again, kept once
  shared.remember(b);
  CHECK_EQ(shared.restored(d), 0);
  CHECK_EQ(shared.restored(a), block);
}

TEST(leaves_go_before_what_they_grow_from) {
  Shared shared(3);
  const Tokens text = tokens(1, 3 * block);
  shared.remember(text);
  shared.remember(tokens(2, block));
  CHECK_EQ(shared.restored(text), 2 * block);
  shared.remember(tokens(3, 2 * block));
  CHECK_EQ(shared.restored(text), block);
  Shared small(3);
  small.remember(tokens(4, 10 * block));  // longer than the memory: its beginning is what others can use
  CHECK_EQ(small.restored(tokens(4, 10 * block)), 3 * block);
}

TEST(long_prefixes_are_restored_in_rounds) {
  Shared shared(200);
  const Tokens text = tokens(1, 150 * block + 5);
  shared.remember(text);
  CHECK_EQ(shared.restored(text), 150 * block);
  for (const u32 n : {63u, 64u, 65u, 128u})
    CHECK_EQ(shared.restored(Tokens(text.begin(), text.begin() + n * block)), n * block);
  for (u32 i = 0; i < 200; ++i) shared.remember(tokens(1000 + i, block));  // nothing is still held
  CHECK_EQ(shared.restored(text), 0);
}

// Others fill the memory while a block's child is being made: eviction may take only unused blocks.
TEST(a_block_in_use_is_kept) {
  Shared shared(2);
  const Tokens used = tokens(1, 2 * block), others[] = {tokens(2, block), tokens(3, block), tokens(4, block)};
  static std::function<void()> meanwhile;
  static void* (*allocate)(void*, u64);
  allocate = shared.counted.platform.allocate;
  u32 n_asked = 0;
  meanwhile = [&] {
    if (++n_asked != 2) return;  // the second block's memory: the first is in use
    for (const Tokens& other : others) {
      const KvCache cache = shared.memory.cache(block);
      compute(other, block, cache);
      shared.prefixes.remember(kind, span(other), cache, {});
    }
    CHECK_EQ(shared.restored(Tokens(used.begin(), used.begin() + block)), block);
    CHECK_EQ(shared.restored(others[1]), 0);
    CHECK_EQ(shared.restored(others[2]), block);
  };
  shared.counted.platform.allocate = [](void* self, u64 bytes) {
    meanwhile();
    return allocate(self, bytes);
  };
  shared.remember(used);
  CHECK(n_asked > 2);
  CHECK_EQ(shared.restored(used), 2 * block);
  shared.remember(tokens(5, 2 * block));  // and afterwards it goes like any other
  CHECK_EQ(shared.restored(used), 0);
}

TEST(without_memory_less_is_kept) {
  const Tokens text = tokens(1, 4 * block), other = tokens(2, 4 * block);
  for (u64 failing = 0; failing < 4; ++failing) {
    Shared shared(4);
    shared.counted.fail_at = failing;
    shared.remember(text);
    CHECK_EQ(shared.restored(text), failing * block);
    shared.counted.fail_at = ~u64(0);
    shared.remember(other);  // nothing is left in use: all of the memory can be had
    CHECK_EQ(shared.restored(other), 4 * block);
    CHECK_EQ(shared.restored(text), 0);
    shared.remember(text);
    CHECK_EQ(shared.restored(text), 4 * block);
  }
  Shared none(0);
  none.remember(text);
  CHECK_EQ(none.counted.n_allocations, 0);
  CHECK_EQ(none.restored(text), 0);
}

// States of recurrent layers: a session goes on only where one is known.
TEST(states_are_found_bounded_and_given_back) {
  test::CountingPlatform counted;
  {
    Memory memory;
    memory.layers[1].recurrence.n_tap = 3;
    memory.layers[1].recurrence.n_channel = 100;
    const auto new_state = [&] { return runtime::RecurrentState::create(memory.arena, memory.config).value(); };
    const u64 state_bytes = memory.config.state_floats() * sizeof(f32) + 64;
    PrefixCache prefixes(counted.platform, 4 * Shared::bytes_of_a_block() + 2 * state_bytes);
    const Tokens text = tokens(1, 4 * block);
    const KvCache cache = memory.cache(4 * block);
    compute(text, 4 * block, cache);
    for (const u32 n : {block, 3 * block, 4 * block}) {  // the last has no room for a state: the first one goes
      std::vector<f32> floats(memory.config.state_floats(), f32(n));
      prefixes.remember(kind, span(text, n), cache, {n, {floats.data(), floats.size()}});
      CHECK(prefixes.bytes() <= prefixes.capacity());
      CHECK_EQ(counted.in_use, prefixes.bytes());
    }
    for (const auto& [n_tokens, known] : std::vector<std::pair<u32, u32>>{{4, 4}, {3, 3}, {2, 0}}) {
      runtime::RecurrentState state = new_state();
      CHECK_EQ(prefixes.restore(kind, span(text, n_tokens * block), 0, cache, state), known * block);
      CHECK_EQ(state.position(), known * block);
      CHECK_EQ(state.floats()[0], f32(known * block));
    }
  }
  CHECK_EQ(counted.in_use, 0);
}

TEST(all_memory_is_given_back) {
  test::CountingPlatform counted;
  {
    Memory memory;
    PrefixCache prefixes(counted.platform, u64(1) << 20);
    const Tokens text = tokens(1, 10 * block);
    prefixes.remember(kind, span(text), memory.cache(10 * block), {});
    CHECK(counted.in_use > 0);
  }
  CHECK_EQ(counted.in_use, 0);
}

TEST(many_threads_find_whole_blocks_only) {
  const u64 capacity = 6 * Shared::bytes_of_a_block();
  PrefixCache prefixes(host::host_platform(), capacity);
  std::atomic<u32> n_found = 0, n_wrong = 0;
  const auto work = [&](u32 start) {
    Memory memory;
    const KvCache cache = memory.cache(4 * block), expected = memory.cache(4 * block);
    for (u32 turn = 0; turn < 300; ++turn) {
      const Tokens text = joined(tokens((start + turn) % 3, block), tokens(10 + (start * 5 + turn) % 4, 3 * block));
      compute(text, 4 * block, expected);
      const u32 n = prefixes.restore(kind, span(text), 0, cache, no_state);
      n_found += n / block;
      n_wrong += n != 0 && !equal(cache, expected, 0, n);
      prefixes.remember(kind, span(text), expected, {});
    }
  };
  std::vector<std::thread> threads;
  for (u32 start = 0; start < 4; ++start) threads.emplace_back(work, start);
  for (std::thread& thread : threads) thread.join();
  CHECK_EQ(n_wrong.load(), 0);
  CHECK(n_found > 0);
  CHECK(prefixes.bytes() <= capacity);
}
