// FILE.head beside a journal: how long the chain is, its last hash, and with which line the retained part begins.
// Version 1 has no beginning and is read; version 2 is written.
#pragma once

#include "journal/journal.h"

namespace flyball::journal {

constexpr u32 head_file_version = 2;
constexpr u64 max_head_file_bytes = 512;

// The first retained line: its number, and the hash of the line before it.
struct Begin {
  u64 number = 0;
  Digest prev_hash;
};

struct HeadFile {
  Head head;
  bool has_begin = false;
  Begin begin;
};

void write_head_file(Writer& out, const Head& head, const Begin& begin);
Result<HeadFile> read_head_file(Str text);

}  // namespace flyball::journal
