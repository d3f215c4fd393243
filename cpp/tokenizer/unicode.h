// Characters as pre-tokenizers see them: code point, length in bytes and Unicode category, packed into 32 bits.
#pragma once

#include "base/span.h"

namespace flyball::tokenizer {

// Disjoint: `space` is White_Space (all of Z, tab to carriage return, U+0085), so that \s is one bit.
enum class Category : u8 { lu, ll, lt, lm, lo, mark, digit, number, punctuation, symbol, space, other };

constexpr u32 bit(Category category) { return 1u << u32(category); }

namespace unicode_detail {
inline constexpr u32 runs[] = {
#include "tokenizer/unicode_data.inc"
};
inline constexpr u32 n_runs = sizeof(runs) / sizeof(runs[0]);
}  // namespace unicode_detail

// Usable at compile time: the pre-tokenizers' character sets are made from it.
constexpr Category category(u32 code_point) {
  u32 low = 0;
  u32 high = unicode_detail::n_runs;
  while (high - low > 1) {
    const u32 middle = (low + high) / 2;
    if (unicode_detail::runs[middle] >> 4 <= code_point) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return Category(unicode_detail::runs[low] & 15);
}

// One character of UTF-8 at the start of `s` (not empty). A byte that does not belong to a well-formed sequence is a
// character of its own with code point U+FFFD and length 1, so that no byte is lost.
struct Decoded {
  u32 code_point = 0;
  u32 bytes = 0;
};
constexpr u32 replacement = 0xfffd;

constexpr Decoded decode_utf8(Str s) {
  const u32 lead = u8(s[0]);
  if (lead < 0x80) return {lead, 1};
  const u32 n = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || s.size < n) return {replacement, 1};
  u32 code_point = lead & (0x7fu >> n);
  for (u32 i = 1; i < n; ++i) {
    const u32 next = u8(s[i]);
    if ((next & 0xc0) != 0x80) return {replacement, 1};
    code_point = code_point << 6 | (next & 0x3f);
  }
  const bool overlong = (n == 3 && code_point < 0x800) || (n == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xd800 && code_point < 0xe000;
  if (overlong || surrogate || code_point > 0x10ffff) return {replacement, 1};
  return {code_point, n};
}

// Bits 0-20 code point, 21-23 length in bytes, 24-27 category, 31: a word ends after this character.
using Char = u32;
constexpr Char word_end = 1u << 31;
constexpr u32 code_point(Char c) { return c & 0x1fffff; }
constexpr u32 byte_length(Char c) { return c >> 21 & 7; }
constexpr u32 category_bit(Char c) { return 1u << (c >> 24 & 15); }

// Writes one Char per character; `out` holds at least text.size. Returns how many there are.
u64 decode_text(Str text, Char* out);

}  // namespace flyball::tokenizer
