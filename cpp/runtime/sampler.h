// Logits -> one token. Everything is a function of (logits, history, settings, seed, sequence, position): no stream of
// random numbers, no unordered sum; ties go to the smaller token id.
#pragma once

#include "base/arena.h"
#include "kernels/kernels.h"
#include "tokenizer/tokenizer.h"

namespace flyball::runtime {

using tokenizer::Token;

struct LogitBias {
  Token token = 0;
  f32 bias = 0;  // added to the logit; -infinity bans the token
};

struct SamplerSettings {
  f32 temperature = 0.8f;     // 0: greedy
  u32 top_k = 40;             // 0: all
  f32 top_p = 0.95f;          // 1: all
  f32 min_p = 0.05f;          // 0: all
  f32 repeat_penalty = 1;     // 1: off; divides positive and multiplies negative logits of tokens in the window
  u32 repeat_window = 64;     // last tokens of prompt and answer that it looks at
  f32 presence_penalty = 0;   // 0: off; subtracted from the logit of each token that the answer has
  f32 frequency_penalty = 0;  // 0: off; subtracted as often as the answer has the token
  u32 no_repeat_ngram = 0;    // n > 0: a token that would complete an n-gram already present is banned
  u64 seed = 0;
  Span<const LogitBias> bias;
};

// A function of the caller that changes a copy of the logits before the settings apply. It may ban tokens (-infinity).
struct LogitsProcessor {
  void* context = nullptr;
  Status (*apply)(void* context, Span<const Token> history, Span<f32> logits) = nullptr;  // null: none
  Str name;                                                                               // for the receipt
};

// What an answer may be: for each of its positions the tokens that keep it possible. Whoever holds the grammar computes
// the masks; the texts name it for the receipt.
struct Constraint {
  void* context = nullptr;
  // The mask of the next position, called once for each position in order: bit i % 32 of word i / 32 is set where token i
  // is allowed. It is valid until the next call of either function. null: no constraint.
  Result<Span<const u32>> (*allowed)(void* context, Span<const Token> answer) = nullptr;
  // Tells at once what was chosen there, unless the answer ends with it: time to compute the next mask beside the forward
  // pass. May be null.
  void (*chosen)(void* context, Token token) = nullptr;
  Str kind;     // "json_schema"
  Str library;  // that applies it, with its version
  Str text;
};

Status check(const SamplerSettings& settings, u32 n_vocab);  // names the setting, its value and its range

// The normalization of a row of logits, with the table's one order of the sum.
struct LogSoftmax {
  f64 best = 0;     // the largest logit
  f64 log_sum = 0;  // natural log of the sum of exp(logit - best)
  LogSoftmax() = default;
  LogSoftmax(const kernels::Table& table, Span<const f32> logits);
  f32 logprob(f32 logit) const { return f32(f64(logit) - best - log_sum); }
};

struct TokenLogprob {
  Token token = 0;
  f32 logprob = 0;
};

struct Sample {
  Token token = 0;
  f32 logprob = 0;     // log softmax of the raw logits at the token
  LogSoftmax softmax;  // of the raw logits
};

// A uniform number in [0, 1) from a counter (contract 1): the same for the same (seed, sequence, position), always.
f64 counter_uniform(u64 seed, u64 sequence, u64 position);

class Sampler {
 public:
  // Scratch for `n_vocab` candidates comes from the arena, once: sampling allocates nothing.
  static Result<Sampler> create(Arena& arena, u32 n_vocab);

  // A copy of the logits that `processor` has changed; valid until the next call. Banning every token is an error.
  Result<Span<const f32>> process(const LogitsProcessor& processor, Span<const f32> logits, Span<const Token> history);

  // A copy of the logits (raw or processed) in which what `constraint` does not allow is banned; valid until the next call.
  // The settings cannot allow it again. A mask that leaves nothing is an error.
  Result<Span<const f32>> mask(const Constraint& constraint, Span<const f32> logits, Span<const Token> answer);

  // `logits` are the raw ones, `processed` the same or what process() and mask() gave. Order: bias, repetition penalty, presence and frequency penalty, n-gram ban, top-k, top-p, min-p, temperature,
  // draw. `history`: a prompt of `n_prompt` tokens, and the answer so far; `position`: index in the sequence of the token
  // being chosen. Logits must be finite (the caller has checked).
  Sample sample(const kernels::Table& table, Span<const f32> logits, Span<const f32> processed,
                Span<const Token> history, u64 n_prompt, const SamplerSettings& settings, u64 sequence, u64 position);

  // The out.size likeliest tokens under the raw logits, best first; ties go to the smaller token id.
  void likeliest(Span<const f32> logits, const LogSoftmax& softmax, Span<TokenLogprob> out);

 private:
  Span<const f32> adjust(Span<const f32> logits, Span<const Token> history, u64 n_prompt,
                         const SamplerSettings& settings);
  Token choose(Span<const f32> logits, const SamplerSettings& settings, u64 sequence, u64 position);

  Span<f32> processed_;  // each (n_vocab)
  Span<f32> adjusted_;
  Span<u64> keys_;  // candidates, best first
  Span<u64> spare_;
  Span<f64> weights_;
  Span<u32> counts_;  // zero between calls
};

}  // namespace flyball::runtime
