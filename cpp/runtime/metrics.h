// Counted work (contract 2): cycles, tokens and calls of prefill and decode apart, per call and in total.
#pragma once

#include "base/json.h"
#include "journal/reasons.h"

namespace flyball::runtime {

struct PhaseMetrics {
  u64 calls = 0;          // transformer calls: batches in prefill, steps in decode
  u64 tokens = 0;         // prefill: prompt tokens computed; decode: tokens fed, without rejected draft tokens
  u64 cycles = 0;         // of a shared call: this sequence's share, by tokens
  u64 matrix_cycles = 0;  // of these: products with weights
  u64 attention_cycles = 0;
  void add(const PhaseMetrics& other) {
    calls += other.calls, tokens += other.tokens, cycles += other.cycles;
    matrix_cycles += other.matrix_cycles, attention_cycles += other.attention_cycles;
  }
};

struct SpeculationMetrics {
  u64 calls = 0;    // decode steps that checked draft tokens
  u64 drafted = 0;  // draft tokens checked
  u64 accepted = 0;
  void add(const SpeculationMetrics& other) {
    calls += other.calls, drafted += other.drafted, accepted += other.accepted;
  }
};

struct GenerationMetrics {  // one call
  PhaseMetrics prefill;
  PhaseMetrics decode;
  SpeculationMetrics speculation;
  u64 sample_cycles = 0;
  u64 prompt_tokens = 0;
  u64 cached_tokens = 0;  // of the prompt, not computed: the session's own cache or the model's shared prefixes
  u64 shared_tokens = 0;  // of these, from the shared prefixes
  u64 generated_tokens = 0;
  u64 first_token_cycles = 0;  // from the call's start to its first sampled token
  u64 total_cycles = 0;
};

// Decisions of a session's governor, by reason.
class GovernorMetrics {
 public:
  void add(journal::Reason reason) {
    if (reason >= first && reason <= last) ++counts_[u64(reason) - u64(first)];
  }
  u64 of(journal::Reason reason) const {
    return reason >= first && reason <= last ? counts_[u64(reason) - u64(first)] : 0;
  }
  u64 guard_trips() const;            // answers that the guard ended
  void write(JsonWriter& out) const;  // {reason: count}, without those that never occurred

 private:
  static constexpr journal::Reason first = journal::Reason::AUTOTUNE_CALIBRATED;
  static constexpr journal::Reason last = journal::Reason::GUARD_CACHE_RESET;
  u64 counts_[u64(last) - u64(first) + 1] = {};
};

struct SessionMetrics {
  PhaseMetrics prefill;
  PhaseMetrics decode;
  SpeculationMetrics speculation;
  u64 sample_cycles = 0;
  u64 cache_resets = 0;
  u64 generations_started = 0;
  u64 generations_completed = 0;
  u64 last_first_token_cycles = 0;
  GovernorMetrics governor;
};

struct StartupMetrics {
  u64 model_select_ns = 0;   // from the path to a file that is mapped, parsed and accepted
  u64 model_prepare_ns = 0;  // weights interleaved, tables made
};

// One JSON object each. Cycles per token is the quotient of the two integers beside it, null where nothing was counted;
// times follow from cycles and the calibrated frequency, which is written next to them.
void write_metrics(JsonWriter& out, const GenerationMetrics& metrics, u64 cycles_per_second);
void write_metrics(JsonWriter& out, const SessionMetrics& metrics, const StartupMetrics& startup,
                   u64 cycles_per_second);

inline f64 cycles_per_token(const PhaseMetrics& phase) {
  return phase.tokens ? f64(phase.cycles) / f64(phase.tokens) : 0;
}
inline f64 tokens_per_second(const PhaseMetrics& phase, u64 cycles_per_second) {
  return phase.cycles ? f64(phase.tokens) * f64(cycles_per_second) / f64(phase.cycles) : 0;
}

}  // namespace flyball::runtime
