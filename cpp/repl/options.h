// What a REPL begins with.
#pragma once

#include "catalog/tune.h"
#include "engine/engine.h"

namespace flyball::repl {

struct Options {
  Str model;           // path; empty: the fallback, if there is one
  Str fallback_model;  // the bundled one; empty: none
  Str isa = "auto";
  u32 threads = 0;
  u32 decode_threads = 0;
  u64 prefix_cache_bytes = engine::ModelOptions().prefix_cache_bytes;
  u32 context = 0;
  engine::CacheType cache = engine::CacheType::f16;
  engine::SpeculationOptions speculation;
  Str draft;                          // path of the model that drafts; empty: prompt lookup does
  Str adapter;                        // path of the model's adapter, or PATH:SCALE; empty: none
  Span<const Str> model_directories;  // for /models without an argument; empty: the loaded model's
  bool choose_model = false;          // where none is named: the first in model_directories that can be loaded
  Str catalog_cache;                  // path of the file that keeps model summaries; empty: none
  bool measure_isa = false;           // where none is named: the fastest here, not the widest
  bool tune = false;                  // threads by measured probes where none are set
  bool tune_refresh = false;          // even where a result is cached
  catalog::Objective objective = catalog::Objective::latency;
  Str fingerprint_cache;  // path of the file that remembers fingerprints; empty: none
  engine::PackedOptions packed;
  Str tuning_cache;  // path of the file that caches the result; empty: none
  Str journal;       // path of the file that gets the journal; empty: none
  Str log;           // path of the file that gets the same as lines of text; empty: none
  Str policy_file;   // path of the file that gets what the policy changes; empty: none, and nothing is applied
  Str metrics;       // path of the file that gets the metrics at the end; empty: none
  Str differences;   // what /help says of this program alone
  void (*instead_of_log)(Str lines) = nullptr;  // gets what a log cannot take
  u64 journal_max_bytes = u64(8) << 20;
  u64 journal_files = 8;
  engine::GovernorSettings governor;
  runtime::SamplerSettings sampler;
  u32 max_tokens = engine::default_max_tokens;
  Text<400> warnings;     // of the configuration, shown at the start
  bool terminal = false;  // colors and a progress line
};

// From a configuration file (contract 4), for programs that have no command line. Keys that the file sets become options; a
// file that is not there sets none. Texts live in the arena. After an error the options are as they were.
Status read_options(const Platform& platform, Arena& arena, Str path, Options* options);

}  // namespace flyball::repl
