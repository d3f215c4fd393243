#include "runtime/metrics.h"

namespace flyball::runtime {

namespace {

void write_ms(JsonWriter& out, Str name, u64 cycles, u64 cycles_per_second) {
  out.key(name);
  if (cycles == 0 || cycles_per_second == 0)
    out.null();
  else
    out.fixed(1e3 * f64(cycles) / f64(cycles_per_second), 3);
}

void write_phase(JsonWriter& out, Str name, const PhaseMetrics& phase, u64 cycles_per_second) {
  out.key(name).begin_object();
  out.field("calls", phase.calls).field("tokens", phase.tokens).field("cycles", phase.cycles);
  out.field("matrix_cycles", phase.matrix_cycles).field("attention_cycles", phase.attention_cycles);
  out.key("cycles_per_token");
  if (phase.tokens == 0)
    out.null();
  else
    out.fixed(cycles_per_token(phase), 1);
  out.key("tokens_per_second");
  if (phase.tokens == 0 || phase.cycles == 0 || cycles_per_second == 0)
    out.null();
  else
    out.fixed(tokens_per_second(phase, cycles_per_second), 2);
  out.end_object();
}

void write_speculation(JsonWriter& out, const SpeculationMetrics& m) {
  out.key("speculation").begin_object();
  out.field("calls", m.calls).field("drafted", m.drafted).field("accepted", m.accepted);
  out.end_object();
}

}  // namespace

u64 GovernorMetrics::guard_trips() const {
  u64 n = 0;
  for (u64 i = u64(journal::Reason::GUARD_BUDGET_STOP); i <= u64(journal::Reason::GUARD_MEMORY_STOP); ++i)
    n += of(journal::Reason(i));
  return n;
}

void GovernorMetrics::write(JsonWriter& out) const {
  out.begin_object();
  for (u64 i = 0; i < sizeof counts_ / sizeof *counts_; ++i) {
    if (counts_[i] != 0) out.field(journal::info(journal::Reason(u64(first) + i)).id, counts_[i]);
  }
  out.end_object();
}

void write_metrics(JsonWriter& out, const GenerationMetrics& m, u64 cycles_per_second) {
  out.begin_object();
  write_phase(out, "prefill", m.prefill, cycles_per_second);
  write_phase(out, "decode", m.decode, cycles_per_second);
  write_speculation(out, m.speculation);
  out.field("prompt_tokens", m.prompt_tokens).field("cached_tokens", m.cached_tokens);
  out.field("shared_tokens", m.shared_tokens);
  out.field("generated_tokens", m.generated_tokens).field("transformer_calls", m.prefill.calls + m.decode.calls);
  out.field("sample_cycles", m.sample_cycles).field("first_token_cycles", m.first_token_cycles);
  out.field("total_cycles", m.total_cycles).field("cycles_per_second", cycles_per_second);
  write_ms(out, "first_token_ms", m.first_token_cycles, cycles_per_second);
  write_ms(out, "total_ms", m.total_cycles, cycles_per_second);
  out.end_object();
}

void write_metrics(JsonWriter& out, const SessionMetrics& m, const StartupMetrics& startup, u64 cycles_per_second) {
  out.begin_object();
  out.key("startup").begin_object();
  out.key("model_select_ms").fixed(f64(startup.model_select_ns) / 1e6, 3);
  out.key("model_prepare_ms").fixed(f64(startup.model_prepare_ns) / 1e6, 3);
  out.end_object();
  write_phase(out, "prefill", m.prefill, cycles_per_second);
  write_phase(out, "decode", m.decode, cycles_per_second);
  write_speculation(out, m.speculation);
  out.field("transformer_calls", m.prefill.calls + m.decode.calls).field("kv_resets", m.cache_resets);
  out.field("generations_started", m.generations_started).field("generations_completed", m.generations_completed);
  out.field("sample_cycles", m.sample_cycles).field("last_first_token_cycles", m.last_first_token_cycles);
  out.field("cycles_per_second", cycles_per_second);
  write_ms(out, "last_first_token_ms", m.last_first_token_cycles, cycles_per_second);
  out.field("guard_trips", m.governor.guard_trips());
  out.field("guard_trips_simulated", m.governor.of(journal::Reason::GUARD_STOP_SIMULATED));
  m.governor.write(out.key("governor_decisions"));
  out.end_object();
}

}  // namespace flyball::runtime
