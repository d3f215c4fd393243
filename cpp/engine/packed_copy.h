// A model's packed weights in a file of a cache folder. Mapping it takes the place of packing them, and the pages of what
// is not read (the experts that no token chooses) are the system's to take: so a model that memory cannot hold runs, too.
//
// A copy is never needed: without it weights are packed into memory. Its name is the fingerprint of the model's file, and
// it is hostile until its checksum holds; that of a file that nobody has written since is remembered (fingerprint.h).
#pragma once

#include "engine/fingerprint.h"

namespace flyball::engine {

enum class PackedUse : u8 {
  automatic,  // any that is there; made only of models that memory cannot hold
  always,     // made of all models
  never,
};
Result<PackedUse> parse_packed_use(Str name);  // "auto", "on", "off"

struct PackedOptions {
  Str folder;  // of all copies; empty: none is used or made
  PackedUse use = PackedUse::automatic;
  u64 most_bytes = u64(64) << 30;  // of all copies: the oldest make room
};

struct PackedContent {
  u64 bytes = 0;
  Digest order;        // model::Needs::packed_order
  Digest fingerprint;  // of the model's file
  friend bool operator==(const PackedContent&, const PackedContent&) = default;
};

// What a file of packed weights begins with. The checksum covers what follows: hash_parts().
struct PackedHeader {
  static constexpr u64 bytes = 4096;  // of the file
  static constexpr u32 layout = 1;    // changes with what kernels::pack_groups() writes
  char magic[16];
  u32 version;
  u32 unused;
  PackedContent content;
  Digest checksum;
  char model[256];  // the model's name, for people; ends with a zero
};

class PackedCopy {
 public:
  PackedCopy(const Platform& platform, const PackedOptions& options, Str fingerprint_cache)
      : platform_(platform),
        arena_(platform),
        options_(options),
        remembered_(platform, arena_.copy(fingerprint_cache)) {
    options_.folder = arena_.copy(options.folder);
  }
  ~PackedCopy() {
    if (!file_.empty()) platform_.unmap(platform_.self, file_);
  }
  PackedCopy(const PackedCopy&) = delete;
  PackedCopy& operator=(const PackedCopy&) = delete;

  bool is_possible() const { return options_.use != PackedUse::never && !options_.folder.empty() && platform_.map_new; }
  // Whether a model of so many packed bytes has to be named to go on: a copy of that size is there, or is to be made.
  // `in_memory`: what a load without a copy takes.
  bool concerns(u64 packed_bytes, u64 in_memory) const;
  // Maps the copy of a model, and checks it where that is not remembered. A broken one is removed.
  Status find(const PackedContent& content, u32 threads, HashProgress progress);
  // Room for a new one, if one is to be made. What hinders it is no error, but problem().
  void make(const PackedContent& content, u64 in_memory);
  // It was filled: flushes it and gives it its name.
  Status keep(Str model, u32 threads, HashProgress progress);

  // The packed weights; empty: they have no copy, and belong into memory.
  Span<u8> room() const { return {file_.data + (file_.empty() ? 0 : PackedHeader::bytes), weight_bytes_}; }
  bool is_kept() const { return !how_.empty(); }  // else it is still to be filled
  Str how() const { return how_; }                // "mapped", "made", or empty
  Span<const u8> file() const { return file_; }
  const FileInfo& info() const { return info_; }  // of a kept one, as it was then
  Str path() const { return path_.str(); }        // of a kept one
  Str problem() const { return problem_.str(); }  // why none was made; empty: none was to be made, or one was

 private:
  bool wanted(u64 in_memory) const;
  void name(const Digest& fingerprint);
  Status check(const PackedContent& content, u32 threads, HashProgress progress);
  Status make_room(u64 bytes);
  void release();

  const Platform& platform_;
  Arena arena_;
  PackedOptions options_;
  FingerprintCache remembered_;
  Span<u8> file_;
  u64 weight_bytes_ = 0;
  Str how_;
  FileInfo info_;
  Text<4096> path_;
  Text<512> problem_;
};

}  // namespace flyball::engine
