#include "tokenizer/unicode.h"

namespace flyball::tokenizer {
namespace {

struct AsciiChars {
  Char of[128];
};

constexpr AsciiChars make_ascii() {
  AsciiChars table{};
  for (u32 c = 0; c < 128; ++c) table.of[c] = c | 1u << 21 | u32(category(c)) << 24;
  return table;
}

constexpr AsciiChars ascii = make_ascii();

}  // namespace

u64 decode_text(Str text, Char* out) {
  u64 n = 0;
  for (u64 i = 0; i < text.size;) {
    const u8 byte = u8(text[i]);
    if (byte < 128) {
      out[n++] = ascii.of[byte];
      ++i;
      continue;
    }
    const Decoded d = decode_utf8(text.from(i));
    out[n++] = d.code_point | d.bytes << 21 | u32(category(d.code_point)) << 24;
    i += d.bytes;
  }
  return n;
}

}  // namespace flyball::tokenizer
