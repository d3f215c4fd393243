// Counted work (contract 2): cycles, tokens and calls of prefill and decode apart, per call and in total.
#pragma once

#include "base/text.h"

namespace flyball::runtime {

struct PhaseMetrics {
  u64 calls = 0;   // transformer calls: batches in prefill, steps in decode
  u64 tokens = 0;  // prefill counts every prompt token it computed; decode every token it fed
  u64 cycles = 0;
  void add(const PhaseMetrics& other) { calls += other.calls, tokens += other.tokens, cycles += other.cycles; }
};

struct GenerationMetrics {  // one call
  PhaseMetrics prefill;
  PhaseMetrics decode;
  u64 sample_cycles = 0;
  u64 prompt_tokens = 0;
  u64 cached_tokens = 0;  // of the prompt, reused from the session's cache
  u64 generated_tokens = 0;
  u64 first_token_cycles = 0;  // from the call's start to its first sampled token
  u64 total_cycles = 0;
};

struct SessionMetrics {
  PhaseMetrics prefill;
  PhaseMetrics decode;
  u64 sample_cycles = 0;
  u64 cache_resets = 0;
  u64 generations_started = 0;
  u64 generations_completed = 0;
  u64 last_first_token_cycles = 0;
};

struct StartupMetrics {
  u64 model_select_ns = 0;   // from the path to a file that is mapped, parsed and accepted
  u64 model_prepare_ns = 0;  // weights interleaved, tables made
};

}  // namespace flyball::runtime
