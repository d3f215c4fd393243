// Free knobs: how many threads compute. No number of them changes an answer (contract 1), so probes choose it, once for
// each processor and model.
#pragma once

#include "engine/engine.h"

namespace flyball::catalog {

using engine::CancelToken;
using engine::Model;

enum class Objective : u8 {
  latency,     // one answer, as fast as it can be
  throughput,  // many answers at once
  quiet,       // the fewest threads that are nearly as fast: at most a quarter slower
};
Str objective_name(Objective objective);
Result<Objective> parse_objective(Str name);

struct TuneOptions {
  Objective objective = Objective::latency;
  Str cache_file;        // path of the file that remembers; empty: nothing is cached
  bool refresh = false;  // measure even where something is cached
  u64 budget_ns = 1'800'000'000;
  CancelToken cancel;
};

struct Tuned {
  static constexpr u32 max_candidates = 16;
  struct Candidate {
    u32 threads = 0;
    u64 prefill_ns = 0;  // of a prompt token; 0: not measured
    u64 decode_ns = 0;   // of a step; 0: not measured
  };

  u32 threads = 0;
  u32 decode_threads = 0;
  bool cached = false;
  u64 spent_ns = 0;
  u32 n_probes = 0;
  Candidate candidates[max_candidates];
  u32 n_candidates = 0;
};

// The default of the model's later sessions. Not while others use the model.
Result<Tuned> tune(Model& model, const TuneOptions& options);

// What instruction sets took for four tokens on one thread, best first as kernels::usable_tables() has them: those that
// take the model's weights as they are loaded.
struct IsaTimes {
  static constexpr u32 max_isas = 8;
  const kernels::Table* tables[max_isas] = {};
  u64 ns[max_isas] = {};
  u32 n = 0;
  u32 chosen = 0;
};

// The model computes with the fastest from now on: on an emulated processor that is rarely the one with the widest
// registers. Not while others use the model.
Result<IsaTimes> choose_isa(Model& model, CancelToken cancel);

}  // namespace flyball::catalog
