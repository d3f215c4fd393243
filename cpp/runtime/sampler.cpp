#include "runtime/sampler.h"

#include "base/math.h"

namespace flyball::runtime {

namespace {

constexpr f32 banned = -__builtin_inff();
constexpr f32 largest = 3.402823466e38f;
constexpr u32 heap_limit = 1024;  // a larger top-k sorts the whole vocabulary: its cost is linear whatever the logits

// A candidate as one integer: ascending keys are descending logits, and equal logits come by ascending token id.
// Adding +0 makes -0 and +0 the same logit.
u64 candidate_key(f32 logit, u32 token) {
  const u32 bits = bit_cast<u32>(logit + 0.0f);
  const u32 ascending = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return u64(~ascending) << 32 | token;
}

Token key_token(u64 key) { return Token(u32(key)); }

f32 key_logit(u64 key) {
  const u32 ascending = ~u32(key >> 32);
  return bit_cast<f32>((ascending & 0x80000000u) != 0 ? ascending & 0x7fffffffu : ~ascending);
}

// Independent lanes: one chain of maxima would wait for each comparison in turn.
f32 maximum(Span<const f32> x) {
  constexpr u64 n_lanes = 32;
  f32 lanes[n_lanes];
  for (f32& lane : lanes) lane = banned;
  u64 i = 0;
  for (; i + n_lanes <= x.size; i += n_lanes) {
    for (u64 lane = 0; lane < n_lanes; ++lane) lanes[lane] = lanes[lane] < x[i + lane] ? x[i + lane] : lanes[lane];
  }
  f32 result = banned;
  for (const f32 lane : lanes) result = max(result, lane);
  for (; i < x.size; ++i) result = max(result, x[i]);
  return result;
}

Token first_equal(Span<const f32> x, f32 value) {
  u64 i = 0;
  while (x[i] != value) ++i;
  return Token(i);
}

// Restores the heap (largest key at the root: the worst candidate) below `hole`.
void sift_down(Span<u64> heap, u64 hole) {
  const u64 key = heap[hole];
  for (u64 child = 2 * hole + 1; child < heap.size; child = 2 * hole + 1) {
    if (child + 1 < heap.size && heap[child + 1] > heap[child]) ++child;
    if (heap[child] <= key) break;
    heap[hole] = heap[child];
    hole = child;
  }
  heap[hole] = key;
}

// The best `k` candidates in descending order. One pass: only a logit above the worst kept one costs more than a
// comparison (an equal one has the larger id, so it never enters). Returns how many there are.
u64 select_top(Span<const f32> logits, u64 k, Span<u64> keys) {
  u64 n = 0;
  u64 i = 0;
  for (; i < logits.size && n < k; ++i) {
    if (logits[i] > banned) keys[n++] = candidate_key(logits[i], u32(i));
  }
  const Span<u64> heap = keys.subspan(0, n);
  for (u64 parent = n / 2; parent-- > 0;) sift_down(heap, parent);
  if (n == k) {
    f32 worst = key_logit(heap[0]);
    for (; i < logits.size; ++i) {
      if (!(logits[i] > worst)) continue;
      heap[0] = candidate_key(logits[i], u32(i));
      sift_down(heap, 0);
      worst = key_logit(heap[0]);
    }
  }
  for (u64 last = n; last-- > 1;) {
    const u64 key = heap[0];
    heap[0] = heap[last];
    heap[last] = key;
    sift_down(heap.subspan(0, last), 0);
  }
  return n;
}

// All candidates in descending order: a stable radix sort by logit from ascending ids. Returns how many there are.
u64 sort_all(Span<const f32> logits, Span<u64> keys, Span<u64> spare) {
  u64 n = 0;
  for (u64 i = 0; i < logits.size; ++i) {
    if (logits[i] > banned) keys[n++] = candidate_key(logits[i], u32(i));
  }
  u64* from = keys.data;
  u64* to = spare.data;
  for (u32 shift = 32; shift < 64; shift += 8) {  // an even number of passes: the result is in `keys`
    u64 start[256] = {};
    for (u64 i = 0; i < n; ++i) ++start[u8(from[i] >> shift)];
    u64 sum = 0;
    for (u64& count : start) {
      const u64 before = sum;
      sum += count;
      count = before;
    }
    for (u64 i = 0; i < n; ++i) to[start[u8(from[i] >> shift)]++] = from[i];
    u64* const sorted = to;
    to = from;
    from = sorted;
  }
  return n;
}

// How many of the sorted candidates top-p and min-p leave; `weights` is scratch.
u64 truncate(Span<const u64> keys, const SamplerSettings& settings, Span<f64> weights) {
  if (settings.top_p >= 1 && settings.min_p <= 0) return keys.size;
  const f64 best = key_logit(keys[0]);
  f64 total = 0;
  for (u64 i = 0; i < keys.size; ++i) {
    weights[i] = exp64(f64(key_logit(keys[i])) - best);
    total += weights[i];
  }
  u64 n = keys.size;
  if (settings.top_p < 1) {
    const f64 wanted = f64(settings.top_p) * total;
    f64 sum = weights[0];
    for (n = 1; n < keys.size && sum < wanted; ++n) sum += weights[n];
  }
  while (n > 1 && weights[n - 1] < f64(settings.min_p)) --n;
  return n;
}

Token draw(Span<const u64> keys, f32 temperature, f64 uniform, Span<f64> weights) {
  const f64 best = key_logit(keys[0]);
  f64 total = 0;
  for (u64 i = 0; i < keys.size; ++i) {
    weights[i] = exp64((f64(key_logit(keys[i])) - best) / f64(temperature));
    total += weights[i];
  }
  const f64 target = uniform * total;
  f64 sum = 0;
  for (u64 i = 0; i + 1 < keys.size; ++i) {
    sum += weights[i];
    if (target < sum) return key_token(keys[i]);
  }
  return key_token(keys[keys.size - 1]);
}

f32 clamp_finite(f32 value) { return min(max(value, -largest), largest); }

void add_bias(Span<const LogitBias> bias, Span<f32> logits) {
  for (const LogitBias& entry : bias) {
    f32& logit = logits[u64(entry.token)];
    logit = entry.bias == banned ? banned : logit == banned ? banned : clamp_finite(logit + entry.bias);
  }
}

// Calls penalize(logit, count) once for each token in `tokens` that is not banned.
template <class Penalize>
void for_each_count(Span<const Token> tokens, Span<f32> logits, Span<u32> counts, Penalize penalize) {
  for (const Token token : tokens) ++counts[u64(token)];
  for (const Token token : tokens) {
    f32& logit = logits[u64(token)];
    u32& count = counts[u64(token)];
    if (count != 0 && logit != banned) logit = clamp_finite(penalize(logit, count));
    count = 0;
  }
}

void ban_repeated_ngrams(Span<const Token> history, u32 n, Span<f32> logits) {
  if (history.size < n) return;
  const Token* const suffix = history.end() - (n - 1);
  for (u64 i = 0; i + n <= history.size; ++i) {
    if (memcmp(history.data + i, suffix, (n - 1) * sizeof(Token)) == 0) logits[u64(history[i + n - 1])] = banned;
  }
}

// out[i] = x[i] where bit i of the mask is set, else banned; the two may be one row. In integers without branches: the
// compiler makes vectors of it.
void ban_others(Span<const u32> allowed, const f32* x, Span<f32> out) {
  static constexpr u32 bit[32] = {1u << 0,  1u << 1,  1u << 2,  1u << 3,  1u << 4,  1u << 5,  1u << 6,  1u << 7,
                                  1u << 8,  1u << 9,  1u << 10, 1u << 11, 1u << 12, 1u << 13, 1u << 14, 1u << 15,
                                  1u << 16, 1u << 17, 1u << 18, 1u << 19, 1u << 20, 1u << 21, 1u << 22, 1u << 23,
                                  1u << 24, 1u << 25, 1u << 26, 1u << 27, 1u << 28, 1u << 29, 1u << 30, 1u << 31};
  const u64 whole = out.size / 32;
  for (u64 word = 0; word < whole; ++word) {
    const u32 bits = allowed[word];
    for (u32 i = 0; i < 32; ++i) {
      const u32 keep = (bits & bit[i]) != 0 ? ~0u : 0u;
      const u32 value = (bit_cast<u32>(x[32 * word + i]) & keep) | (bit_cast<u32>(banned) & ~keep);
      out[32 * word + i] = bit_cast<f32>(value);
    }
  }
  for (u64 i = 32 * whole; i < out.size; ++i) out[i] = (allowed[i / 32] & bit[i % 32]) != 0 ? x[i] : banned;
}

bool in_range(f32 value, f32 low, f32 high) { return value >= low && value <= high; }  // false for NaN

}  // namespace

LogSoftmax::LogSoftmax(const kernels::Table& table, Span<const f32> logits) {
  const f32 largest_logit = maximum(logits);
  best = largest_logit;
  log_sum = log64(table.sum_exp(logits.data, largest_logit, logits.size));
}

Status check(const SamplerSettings& s, u32 n_vocab) {
  const auto refuse = [](Str name, f64 value, Str range) {
    return fail(Code::invalid_argument, name) << "is " << value << ", must be " << range;
  };
  if (!in_range(s.temperature, 0, 100)) return refuse("temperature", s.temperature, "from 0 (greedy) to 100");
  if (!(s.top_p > 0 && s.top_p <= 1)) return refuse("top_p", s.top_p, "above 0 and at most 1 (1: off)");
  if (!in_range(s.min_p, 0, 1)) return refuse("min_p", s.min_p, "from 0 (off) to 1");
  if (!in_range(s.repeat_penalty, 0.01f, 100))
    return refuse("repeat_penalty", s.repeat_penalty, "from 0.01 to 100 (1: off)");
  if (!in_range(s.presence_penalty, -100, 100))
    return refuse("presence_penalty", s.presence_penalty, "from -100 to 100 (0: off)");
  if (!in_range(s.frequency_penalty, -100, 100))
    return refuse("frequency_penalty", s.frequency_penalty, "from -100 to 100 (0: off)");
  if (s.no_repeat_ngram > 64) return refuse("no_repeat_ngram", s.no_repeat_ngram, "from 0 (off) to 64");
  for (const LogitBias& entry : s.bias) {
    if (entry.token < 0 || u32(entry.token) >= n_vocab) {
      return fail(Code::invalid_argument, "logit_bias")
             << "token " << i64(entry.token) << " is outside the vocabulary of " << n_vocab;
    }
    if (entry.bias != banned && !in_range(entry.bias, -10000, 10000)) {
      return fail(Code::invalid_argument, "logit_bias") << "of token " << i64(entry.token) << " is " << f64(entry.bias)
                                                        << ", must be from -10000 to 10000, or -infinity (banned)";
    }
  }
  return {};
}

Result<Sampler> Sampler::create(Arena& arena, u32 n_vocab) {
  Sampler sampler;
  sampler.processed_ = arena.allocate<f32>(n_vocab);
  sampler.adjusted_ = arena.allocate<f32>(n_vocab);
  sampler.keys_ = arena.allocate<u64>(n_vocab);
  sampler.spare_ = arena.allocate<u64>(n_vocab);
  sampler.weights_ = arena.allocate<f64>(n_vocab);
  sampler.counts_ = arena.allocate<u32>(n_vocab);
  if (n_vocab == 0 || sampler.processed_.empty() || sampler.adjusted_.empty() || sampler.keys_.empty() ||
      sampler.spare_.empty() || sampler.weights_.empty() || sampler.counts_.empty()) {
    return fail(Code::out_of_memory, "sampler") << "no memory for " << n_vocab << " candidates";
  }
  return sampler;
}

Result<Span<const f32>> Sampler::process(const LogitsProcessor& processor, Span<const f32> logits,
                                         Span<const Token> history) {
  memcpy(processed_.data, logits.data, logits.size * sizeof(f32));
  FLYBALL_TRY(processor.apply(processor.context, history, processed_));
  bool any = false;
  for (u64 i = 0; i < processed_.size; ++i) {
    if (processed_[i] != banned && !in_range(processed_[i], -largest, largest)) {
      return fail(Code::invalid_argument, "logits_processor")
             << "made the logit of token " << i << ' ' << f64(processed_[i])
             << ", must be finite or -infinity (banned)";
    }
    any = any || processed_[i] != banned;
  }
  if (!any) return fail(Code::invalid_argument, "logits_processor") << "banned every token";
  return Span<const f32>(processed_);
}

Result<Span<const f32>> Sampler::mask(const Constraint& constraint, Span<const f32> logits, Span<const Token> answer) {
  Span<const u32> allowed;
  FLYBALL_ASSIGN(allowed, constraint.allowed(constraint.context, answer));
  const u64 n_words = (logits.size + 31) / 32;
  if (allowed.size != n_words) {
    return fail(Code::internal, "constraint")
           << "gave a mask of " << allowed.size << " words for " << logits.size << " tokens, must be " << n_words;
  }
  ban_others(allowed, logits.data, processed_);
  if (maximum(processed_) != banned) return Span<const f32>(processed_);
  const bool processed = logits.data == processed_.data;
  return fail(Code::invalid_argument, "constraint")
         << (processed ? "allows no token that the logits processor has left" : "allows no token") << ", after "
         << answer.size << " of the answer";
}

Sample Sampler::sample(const kernels::Table& table, Span<const f32> logits, Span<const f32> processed,
                       Span<const Token> history, u64 n_prompt, const SamplerSettings& settings, u64 sequence,
                       u64 position) {
  Sample sample;
  sample.softmax = LogSoftmax(table, logits);
  sample.token = choose(adjust(processed, history, n_prompt, settings), settings, sequence, position);
  if (sample.token == tokenizer::no_token)
    sample.token = first_equal(processed, maximum(processed));  // all banned: the settings yield, a constraint never
  sample.logprob = sample.softmax.logprob(logits[u64(sample.token)]);
  return sample;
}

void Sampler::likeliest(Span<const f32> logits, const LogSoftmax& softmax, Span<TokenLogprob> out) {
  select_top(logits, out.size, keys_);
  for (u64 i = 0; i < out.size; ++i) out[i] = {key_token(keys_[i]), softmax.logprob(key_logit(keys_[i]))};
}

Span<const f32> Sampler::adjust(Span<const f32> logits, Span<const Token> history, u64 n_prompt,
                                const SamplerSettings& settings) {
  const Span<const Token> window = history.subspan(history.size - min(history.size, u64(settings.repeat_window)),
                                                   min(history.size, u64(settings.repeat_window)));
  const bool repeats = settings.repeat_penalty != 1;
  const bool counts = settings.presence_penalty != 0 || settings.frequency_penalty != 0;
  if (settings.bias.empty() && !repeats && !counts && settings.no_repeat_ngram == 0) return logits;

  memcpy(adjusted_.data, logits.data, logits.size * sizeof(f32));
  add_bias(settings.bias, adjusted_);
  if (repeats) {
    const f32 penalty = settings.repeat_penalty;
    for_each_count(window, adjusted_, counts_,
                   [=](f32 logit, u32) { return logit > 0 ? logit / penalty : logit * penalty; });
  }
  if (counts) {
    // In double precision, rounded once: the order of the two penalties cannot matter.
    const f64 presence = settings.presence_penalty, frequency = settings.frequency_penalty;
    for_each_count(history.subspan(n_prompt, history.size - n_prompt), adjusted_, counts_,
                   [=](f32 logit, u32 count) { return f32(f64(logit) - (f64(count) * frequency + presence)); });
  }
  if (settings.no_repeat_ngram != 0) ban_repeated_ngrams(history, settings.no_repeat_ngram, adjusted_);
  return adjusted_;
}

Token Sampler::choose(Span<const f32> logits, const SamplerSettings& settings, u64 sequence, u64 position) {
  if (settings.temperature == 0) {
    const f32 best = maximum(logits);
    return best == banned ? tokenizer::no_token : first_equal(logits, best);
  }
  const u64 k = settings.top_k == 0 ? logits.size : min(logits.size, u64(settings.top_k));
  u64 n = k <= heap_limit ? select_top(logits, k, keys_) : min(k, sort_all(logits, keys_, spare_));
  if (n == 0) return tokenizer::no_token;
  n = truncate(keys_.subspan(0, n), settings, weights_);
  return draw(keys_.subspan(0, n), settings.temperature, counter_uniform(settings.seed, sequence, position), weights_);
}

}  // namespace flyball::runtime
