#include "gguf/split.h"

namespace flyball::gguf {
namespace {

constexpr u64 suffix_bytes = 20;  // "-00001-of-00003.gguf"
constexpr Str extension = ".gguf";

void put_five_digits(Writer& out, u32 value) {
  for (u32 unit = 10000; unit; unit /= 10) out.put(char('0' + value / unit % 10));
}

}  // namespace

bool is_gguf_path(Str path) {
  if (path.size <= extension.size) return false;
  const Str end = path.from(path.size - extension.size);
  for (u64 i = 0; i < extension.size; ++i) {
    const char c = end[i] >= 'A' && end[i] <= 'Z' ? char(end[i] + 32) : end[i];
    if (c != extension[i]) return false;
  }
  return true;
}

SplitName split_name(Str path) {
  if (path.size <= suffix_bytes || !is_gguf_path(path)) return {};
  const Str suffix = path.from(path.size - suffix_bytes);
  u64 number = 0, count = 0;
  const bool follows = suffix.starts_with("-") && parse_u64(suffix.substr(1, 5), &number) &&
                       suffix.substr(6, 4) == "-of-" && parse_u64(suffix.substr(10, 5), &count);
  if (!follows || number < 1 || number > count || count > most_parts) return {};
  return {u32(number - 1), u32(count)};
}

void put_split_suffix(Writer& out, u32 index, u32 count, Str end) {
  out.put('-');
  put_five_digits(out, index + 1);
  out.put("-of-");
  put_five_digits(out, count);
  out.put(end);
}

bool split_part_path(Str first_path, u32 index, u32 count, Writer& out) {
  const SplitName first = split_name(first_path);
  if (first.count == 0 || first.count != count || index >= count) return false;
  put_split_suffix(out.put(first_path.substr(0, first_path.size - suffix_bytes)), index, count,
                   first_path.from(first_path.size - extension.size));
  return true;
}

}  // namespace flyball::gguf
