// Models split over several files, by their usual names: model-00001-of-00003.gguf, ...
#pragma once

#include "base/text.h"

namespace flyball::gguf {

constexpr u32 most_parts = 65535;  // split.count is a u16

bool is_gguf_path(Str path);  // it ends in .gguf, in letters of any case

struct SplitName {
  u32 index = 0;  // from 0
  u32 count = 0;  // 0: the path does not follow the convention, so it names a whole model
};
SplitName split_name(Str path);

// "-00002-of-00003.gguf" for index 1 of 3
void put_split_suffix(Writer& out, u32 index, u32 count, Str end = ".gguf");

// Writes the path of part `index` (from 0) of `count`, given the path of the first. False when that path does not
// follow the convention or names another count; the writer is then left as it was.
[[nodiscard]] bool split_part_path(Str first_path, u32 index, u32 count, Writer& out);

}  // namespace flyball::gguf
