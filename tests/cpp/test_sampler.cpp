#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "test.h"

#include "base/math.h"
#include "runtime/random.h"
#include "runtime/sampler.h"

using namespace flyball;
using namespace flyball::runtime;

namespace {

struct Memory : Platform {
  Memory() {
    allocate = [](void*, u64 bytes) -> void* {
      void* memory = std::aligned_alloc(64, round_up(bytes, 64));
      return memory != nullptr ? memset(memory, 0, bytes) : nullptr;
    };
    release = [](void*, void* memory, u64) { std::free(memory); };
  }
};

const kernels::Table& sum_table() {  // the sampler asks the table for one sum only
  static const kernels::Table table = [] {
    kernels::Table t = {};
    t.sum_exp = [](const f32* x, f32 shift, u64 n) {
      f64 sum = 0;
      for (u64 i = 0; i < n; ++i) sum += std::exp(f64(x[i]) - shift);
      return f32(sum);
    };
    return t;
  }();
  return table;
}

struct Bench {
  explicit Bench(std::vector<f32> values) : logits(std::move(values)), arena(memory) {
    auto made = Sampler::create(arena, u32(logits.size()));
    REQUIRE(made.ok());
    sampler = made.value();
  }
  Sample sample(const SamplerSettings& settings, std::vector<Token> history = {}, u64 position = 0, u64 n_prompt = 0) {
    return sampler.sample(sum_table(), {logits.data(), logits.size()}, {logits.data(), logits.size()},
                          {history.data(), history.size()}, n_prompt, settings, 0, position);
  }
  // Which tokens come out of many draws.
  std::map<Token, u32> draws(const SamplerSettings& settings, u32 n = 2000, std::vector<Token> history = {}) {
    std::map<Token, u32> counts;
    for (u32 i = 0; i < n; ++i) ++counts[sample(settings, history, i).token];
    return counts;
  }
  std::vector<f32> logits;
  Memory memory;
  Arena arena;
  Sampler sampler;
};

SamplerSettings plain() {
  SamplerSettings settings;
  settings.temperature = 1, settings.top_k = 0, settings.top_p = 1, settings.min_p = 0;
  return settings;
}

std::vector<f32> random_logits(u32 n, u32 seed, bool coarse = false) {
  std::mt19937 random(seed);
  std::normal_distribution<f32> normal(0, 3);
  std::vector<f32> logits(n);
  for (f32& logit : logits) logit = coarse ? std::round(normal(random)) : normal(random);
  return logits;
}

// The definition, written plainly: sort everything, cut, draw.
Token reference(const std::vector<f32>& logits, const SamplerSettings& s, u64 sequence, u64 position) {
  std::vector<u32> order;
  for (u32 i = 0; i < logits.size(); ++i) {
    if (logits[i] > -INFINITY) order.push_back(i);
  }
  std::sort(order.begin(), order.end(),
            [&](u32 a, u32 b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  if (s.temperature == 0) return Token(order[0]);
  if (s.top_k != 0 && order.size() > s.top_k) order.resize(s.top_k);
  const f64 best = logits[order[0]];
  f64 total = 0;
  for (const u32 token : order) total += exp64(logits[token] - best);
  if (s.top_p < 1) {
    f64 sum = 0;
    size_t n = 0;
    while (n < order.size() && (n == 0 || sum < f64(s.top_p) * total)) sum += exp64(logits[order[n++]] - best);
    order.resize(n);
  }
  while (order.size() > 1 && exp64(logits[order.back()] - best) < f64(s.min_p)) order.pop_back();
  total = 0;
  for (const u32 token : order) total += exp64((logits[token] - best) / f64(s.temperature));
  const f64 target = counter_uniform(s.seed, sequence, position) * total;
  f64 sum = 0;
  for (const u32 token : order) {
    sum += exp64((logits[token] - best) / f64(s.temperature));
    if (target < sum) return Token(token);
  }
  return Token(order.back());
}

}  // namespace

TEST(philox_gives_the_published_vectors) {  // Random123's kat_vectors, philox4x32 with 10 rounds
  const auto check_vector = [](Philox4x32 counter, u32 key0, u32 key1, Philox4x32 expected) {
    const Philox4x32 got = philox4x32_10(counter, key0, key1);
    for (u32 i = 0; i < 4; ++i) CHECK_EQ(got.word[i], expected.word[i]);
  };
  check_vector({{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}});
  check_vector({{~0u, ~0u, ~0u, ~0u}}, ~0u, ~0u, {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}});
  check_vector({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, 0xa4093822, 0x299f31d0,
               {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}});
}

TEST(uniform_numbers_are_named_by_seed_sequence_and_position) {
  f64 mean = 0;
  for (u64 i = 0; i < 10000; ++i) {
    const f64 u = counter_uniform(7, 3, i);
    CHECK(u >= 0 && u < 1);
    mean += u / 10000;
  }
  CHECK(std::fabs(mean - 0.5) < 0.02);
  CHECK_EQ(counter_uniform(7, 3, 5), counter_uniform(7, 3, 5));
  CHECK(counter_uniform(7, 3, 5) != counter_uniform(8, 3, 5));
  CHECK(counter_uniform(7, 3, 5) != counter_uniform(7, 4, 5));
  CHECK(counter_uniform(u64(7) << 32, 3, 5) != counter_uniform(7, 3, 5));
}

TEST(greedy_takes_the_largest_and_the_smaller_id_of_equals) {
  SamplerSettings greedy = plain();
  greedy.temperature = 0;
  CHECK_EQ(Bench({1, 5, 3, 5, 2}).sample(greedy).token, 1);
  CHECK_EQ(Bench({-0.0f, 0.0f}).sample(greedy).token, 0);
  std::vector<f32> many(1000, 2.0f);
  many[777] = 2.5f;
  CHECK_EQ(Bench(many).sample(greedy).token, 777);
}

TEST(logprob_is_the_log_softmax_of_the_raw_logits) {
  const std::vector<f32> logits = {1, 2, 3, 4};
  SamplerSettings greedy = plain();
  greedy.temperature = 0;
  const LogitBias push[] = {{0, 100.0f}};
  greedy.bias = push;
  const Sample sample = Bench(logits).sample(greedy);
  CHECK_EQ(sample.token, 0);
  f64 sum = 0;
  for (const f32 logit : logits) sum += std::exp(f64(logit));
  CHECK(std::fabs(sample.logprob - (1 - std::log(sum))) < 1e-6);
}

TEST(choices_equal_the_plain_definition) {
  u32 n_compared = 0;
  for (const bool coarse : {false, true}) {
    for (const u32 n : {1u, 2u, 33u, 1000u, 5000u}) {
      Bench bench(random_logits(n, n, coarse));
      for (const u32 top_k : {0u, 1u, 2u, 40u, 1024u, 1025u, 6000u}) {
        for (const f32 top_p : {1.0f, 0.95f, 0.3f}) {
          for (const f32 min_p : {0.0f, 0.05f, 1.0f}) {
            for (const f32 temperature : {0.0f, 1e-30f, 0.7f, 1.5f}) {
              SamplerSettings s = plain();
              s.top_k = top_k, s.top_p = top_p, s.min_p = min_p, s.temperature = temperature, s.seed = 42;
              for (u64 position = 0; position < 3; ++position) {
                const Token got = bench.sample(s, {}, position).token;
                const Token expected = reference(bench.logits, s, 0, position);
                if (got != expected) CHECK_EQ(got, expected);
                ++n_compared;
              }
            }
          }
        }
      }
    }
  }
  CHECK_EQ(n_compared, 2u * 5 * 7 * 3 * 3 * 4 * 3);
}

TEST(draws_follow_the_probabilities) {
  Bench bench({std::log(0.5f), std::log(0.3f), std::log(0.2f)});
  auto counts = bench.draws(plain(), 20000);
  CHECK(std::fabs(counts[0] / 20000.0 - 0.5) < 0.02);
  CHECK(std::fabs(counts[1] / 20000.0 - 0.3) < 0.02);
  CHECK(std::fabs(counts[2] / 20000.0 - 0.2) < 0.02);
}

TEST(top_p_keeps_the_smallest_set_that_reaches_it) {
  Bench bench({std::log(0.2f), std::log(0.5f), std::log(0.3f)});
  SamplerSettings s = plain();
  s.top_p = 0.4f;
  CHECK_EQ(bench.draws(s).size(), 1);
  s.top_p = 0.7f;
  CHECK_EQ(bench.draws(s).size(), 2);
  s.top_p = 0.9f;
  CHECK_EQ(bench.draws(s).size(), 3);
}

TEST(min_p_is_relative_to_the_best) {
  Bench bench({std::log(0.2f), std::log(0.5f), std::log(0.3f)});
  SamplerSettings s = plain();
  s.min_p = 0.5f;
  auto counts = bench.draws(s);
  CHECK_EQ(counts.size(), 2);
  CHECK_EQ(counts.count(0), 0);
}

TEST(repetition_penalty_looks_once_at_each_token_of_its_window) {
  SamplerSettings s = plain();
  s.temperature = 0, s.repeat_penalty = 2, s.repeat_window = 2;
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0}).token, 1);
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0, 0, 2, 2}).token, 0);  // outside the window
  CHECK_EQ(Bench({5, 2, 1}).sample(s, {0, 0}).token, 0);        // 5 / 2 > 2, but 5 / 4 < 2
  CHECK_EQ(Bench({-1, -1.5f}).sample(s, {0}).token, 1);         // negative logits are multiplied
  Bench bench({4, 3, 1});
  CHECK_EQ(bench.sample(s, {0}).token, 1);
  CHECK_EQ(bench.sample(s, {1}).token, 0);  // nothing is left over from the call before
}

TEST(presence_penalty_counts_a_token_of_the_answer_once) {
  SamplerSettings s = plain();
  s.temperature = 0, s.presence_penalty = 1.5f;
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0}).token, 1);        // 4 - 1.5 < 3
  CHECK_EQ(Bench({6, 3, 1}).sample(s, {0, 0, 0}).token, 0);  // once, whatever the count
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0}, 0, 1).token, 0);  // the prompt does not count
  CHECK_EQ(Bench({-1, -2, -9}).sample(s, {0}).token, 1);     // subtracted, whatever the sign
  s.presence_penalty = -3;
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {1}).token, 1);  // a negative one is a reward
}

TEST(frequency_penalty_counts_every_time) {
  SamplerSettings s = plain();
  s.temperature = 0, s.frequency_penalty = 0.5f;
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0, 0}).token, 0);     // equal logits: the smaller id
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0, 0, 0}).token, 1);  // 4 - 1.5 < 3
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0, 0, 0}, 0, 1).token, 0);
  Bench bench({4, 3, 1});
  CHECK_EQ(bench.sample(s, {0, 0, 0}).token, 1);
  CHECK_EQ(bench.sample(s, {}).token, 0);            // nothing is left over from the call before
  s.repeat_penalty = 2, s.presence_penalty = 0.25f;  // after the repetition penalty: 4 / 2 - 0.25 - 0.5 < 1.5
  CHECK_EQ(Bench({4, 1.5f, 1}).sample(s, {0}).token, 1);
  const LogitBias ban[] = {{0, -INFINITY}};
  s.bias = ban, s.frequency_penalty = -100;
  CHECK_EQ(Bench({4, 3, 1}).sample(s, {0}).token, 1);  // a ban stays
}

TEST(no_repeat_ngram_bans_what_would_complete_one) {
  SamplerSettings s = plain();
  s.temperature = 0, s.no_repeat_ngram = 2;
  CHECK_EQ(Bench({1, 2, 9}).sample(s, {1, 2, 0, 1}).token, 1);
  CHECK_EQ(Bench({1, 2, 9}).sample(s, {1, 2, 0}).token, 2);
  s.no_repeat_ngram = 1;
  CHECK_EQ(Bench({1, 2, 9}).sample(s, {2}).token, 1);
  CHECK_EQ(Bench({1, 2, 9}).sample(s, {0, 1, 2}).token, 2);  // everything banned: the raw best
  s.no_repeat_ngram = 3;
  CHECK_EQ(Bench({1, 2, 9}).sample(s, {2}).token, 2);  // shorter than an n-gram
}

TEST(bias_is_added_and_bans) {
  SamplerSettings s = plain();
  s.temperature = 0;
  const LogitBias ban[] = {{2, -INFINITY}, {2, 1000}, {0, 3}};
  s.bias = ban;
  CHECK_EQ(Bench({1, 2, 9}).sample(s).token, 0);
  s.temperature = 1;
  CHECK_EQ(Bench({1, 2, 9}).draws(s).count(2), 0);
}

TEST(extreme_logits_give_a_token) {
  for (const u32 top_k : {0u, 2u}) {
    SamplerSettings s = plain();
    s.top_k = top_k, s.top_p = 0.5f, s.repeat_penalty = 100;
    s.presence_penalty = 100, s.frequency_penalty = -100;
    Bench bench({3.4e38f, -3.4e38f, 0});
    CHECK_EQ(bench.sample(s, {1}).token, 0);
    const Token token = bench.sample(s, {0, 1, 2}).token;
    CHECK(token >= 0 && token < 3);
  }
}

TEST(settings_out_of_range_are_named) {
  const auto message = [](const SamplerSettings& s) {
    const Status status = check(s, 10);
    char buffer[600];
    Writer out(buffer, sizeof buffer);
    if (!status.ok()) status.error().describe(out);
    return std::string(out.text().data, out.text().size);
  };
  const auto names = [&](const SamplerSettings& s, const char* key, const char* value) {
    const std::string text = message(s);
    CHECK(text.find(key) != std::string::npos);
    CHECK(text.find(value) != std::string::npos);
  };
  CHECK_EQ(message(SamplerSettings()), "");
  SamplerSettings s;
  s.temperature = -1, names(s, "temperature", "-1"), s = {};
  s.temperature = NAN, names(s, "temperature", "nan"), s = {};
  s.top_p = 0, names(s, "top_p", "0"), s = {};
  s.top_p = 1.5f, names(s, "top_p", "1.5"), s = {};
  s.min_p = -0.5f, names(s, "min_p", "-0.5"), s = {};
  s.repeat_penalty = 0, names(s, "repeat_penalty", "0"), s = {};
  s.presence_penalty = 101, names(s, "presence_penalty", "101"), s = {};
  s.frequency_penalty = NAN, names(s, "frequency_penalty", "nan"), s = {};
  s.no_repeat_ngram = 65, names(s, "no_repeat_ngram", "65"), s = {};
  const LogitBias outside[] = {{10, 1}};
  s.bias = outside, names(s, "logit_bias", "10"), s = {};
  const LogitBias nan_bias[] = {{1, NAN}};
  s.bias = nan_bias, names(s, "logit_bias", "nan");
}

TEST(sampling_a_large_vocabulary_costs_little) {
  SamplerSettings s;
  for (const char* kind : {"random", "ascending"}) {
    std::vector<f32> logits = random_logits(128256, 1);
    if (kind[0] == 'a') std::sort(logits.begin(), logits.end());
    Bench bench(logits);
    for (const u32 top_k : {40u, 0u}) {
      s.top_k = top_k;
      kernels::Table free_table = {};
      free_table.sum_exp = [](const f32*, f32, u64) { return 1.0f; };
      f64 best = 1e9;
      for (u64 i = 0; i < 20; ++i) {
        const auto start = std::chrono::steady_clock::now();
        bench.sampler.sample(free_table, {logits.data(), logits.size()}, {logits.data(), logits.size()}, {}, 0, s, 0,
                             i);
        best = std::min(best, std::chrono::duration<f64, std::milli>(std::chrono::steady_clock::now() - start).count());
      }
      test::note(std::string(kind) + " 128256 logits, top_k " + std::to_string(top_k) + ": " + std::to_string(best) +
                 " ms");
    }
  }
}

namespace {

// A constraint that gives one mask.
struct OneMask {
  std::vector<u32> words;
  Status status;
  Constraint constraint() {
    Constraint made;
    made.context = this;
    made.allowed = [](void* self, Span<const Token>) -> Result<Span<const u32>> {
      auto& one = *static_cast<OneMask*>(self);
      if (!one.status.ok()) return one.status.error();
      return Span<const u32>(one.words.data(), one.words.size());
    };
    return made;
  }
};

}  // namespace

TEST(a_mask_bans_what_it_does_not_allow) {
  for (const u32 n : {1u, 31u, 32u, 33u, 64u, 1000u}) {
    Bench bench(random_logits(n, n));
    std::mt19937 random(n);
    OneMask one{std::vector<u32>((n + 31) / 32), {}};
    for (u32& word : one.words) word = u32(random());
    one.words[0] |= 1;
    const auto masked = bench.sampler.mask(one.constraint(), {bench.logits.data(), n}, {});
    REQUIRE(masked.ok());
    for (u32 i = 0; i < n; ++i) {
      const bool allowed = (one.words[i / 32] >> (i % 32) & 1) != 0;
      CHECK_EQ(masked.value()[i], allowed ? bench.logits[i] : -INFINITY);
    }
    // Again over its own row, as after a logits processor.
    for (u32& word : one.words) word &= ~2u;
    const auto again = bench.sampler.mask(one.constraint(), masked.value(), {});
    REQUIRE(again.ok());
    if (n > 1) CHECK_EQ(again.value()[1], -INFINITY);
    CHECK_EQ(again.value()[0], bench.logits[0]);
  }
}

TEST(settings_yield_to_a_mask_and_never_to_what_it_bans) {
  Bench bench({9, 1, 2, 8});
  OneMask one{{0b0110}, {}};
  SamplerSettings s = plain();
  s.temperature = 0;
  const auto sample = [&] {
    const auto masked = bench.sampler.mask(one.constraint(), {bench.logits.data(), 4}, {});
    REQUIRE(masked.ok());
    return bench.sampler.sample(sum_table(), {bench.logits.data(), 4}, masked.value(), {}, 0, s, 0, 0);
  };
  const Sample greedy = sample();
  CHECK_EQ(greedy.token, 2);
  CHECK_EQ(greedy.logprob, bench.sample(plain()).softmax.logprob(2));  // of the raw logits
  const LogitBias helps[] = {{0, 100}, {3, 100}, {1, 2}};
  s.bias = helps;
  CHECK_EQ(sample().token, 1);  // a bias cannot allow again
  const LogitBias bans[] = {{1, -__builtin_inff()}, {2, -__builtin_inff()}};
  s.bias = bans;
  CHECK_EQ(sample().token, 2);  // all that is allowed is banned: the bans yield, the mask does not
  s.temperature = 1, s.bias = {};
  for (u32 seed = 0; seed < 50; ++seed) {
    s.seed = seed;
    const Token token = sample().token;
    CHECK(token == 1 || token == 2);
  }
}

TEST(a_mask_that_leaves_nothing_is_an_error) {
  Bench bench({9, 1, 2, 8});
  OneMask one{{0}, {}};
  const Span<const f32> logits(bench.logits.data(), 4);
  CHECK(bench.sampler.mask(one.constraint(), logits, {}).error().where.str() == Str("constraint"));
  one.words = {0xfffffff0};  // beyond the vocabulary
  CHECK(!bench.sampler.mask(one.constraint(), logits, {}).ok());
  one.words = {15, 15};  // of another vocabulary
  CHECK_EQ(u32(bench.sampler.mask(one.constraint(), logits, {}).error().code), u32(Code::internal));
  one.words = {15};
  one.status = fail(Code::invalid_argument, "grammar") << "ended";
  CHECK(bench.sampler.mask(one.constraint(), logits, {}).error().where.str() == Str("grammar"));
}
