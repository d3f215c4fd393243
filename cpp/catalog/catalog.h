// What models there are: a listing of a directory with a summary of each, kept in a cache file so that many large files
// are listed without opening them, and the words for everything that can be wrong with one.
#pragma once

#include "engine/engine.h"

namespace flyball::catalog {

struct ModelSummary {
  Str path;       // of the first part
  u64 bytes = 0;  // of all parts
  u64 modified_ns = 0;
  u64 n_parts = 1;
  Str name;  // general.name; may be empty
  Str architecture;
  Str type;  // quantization: "Q4_K_M"
  u64 n_parameters = 0;
  u64 context = 0;  // that it was trained for
  u64 n_vocab = 0;
  Str problem;  // why it cannot run; empty: by its metadata it can
};

struct ModelFiles {
  Span<const FileInfo> files;
  u64 n_hidden = 0;
};

// The *.gguf files directly in a directory, by name. Hidden ones are only counted: macOS writes ._NAME beside each file
// that it copies to a FAT volume.
Result<ModelFiles> find_models(const Platform& platform, Arena& arena, Str directory);

class Catalog {
 public:
  static constexpr u32 max_files = 4096;

  // The cache is optional: without a valid one the catalog reads the files themselves, and ignores that it cannot write
  // one. An empty path: no cache.
  Catalog(const Platform& platform, Str cache_path) : platform_(platform), cache_path_(cache_path), arena_(platform) {}

  // What find_models() finds, later parts of split models left out. Valid until the next call.
  Result<Span<const ModelSummary>> list(Str directory);
  Result<ModelSummary> summarize(Str path);
  u32 n_opened() const { return n_opened_; }  // by the last call: files that the cache did not know

 private:
  Result<ModelSummary> summary_of(const FileInfo& file);
  void read(ModelSummary* summary);
  void load_cache();
  void save_cache(Span<const ModelSummary> fresh, Str directory);

  const Platform& platform_;
  Str cache_path_;
  Arena arena_;
  Span<ModelSummary> cached_;
  u64 n_cached_ = 0;
  u32 n_opened_ = 0;
};

// "llama, 1.2 B parameters, context 8192", or why it cannot run.
void put_summary(Writer& out, const ModelSummary& summary);
void put_bytes(Writer& out, u64 bytes);       // "7.4 MB"
void put_parameters(Writer& out, u64 count);  // "1.2 B"

// Every problem with a model in three lines: cause (the error), hint (what to do), fallback (what happens instead).
void put_model_problem(Writer& out, const Error& error, Str fallback);

}  // namespace flyball::catalog
