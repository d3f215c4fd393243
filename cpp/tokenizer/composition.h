// Canonical composition (Unicode's NFC): text that can be spelled with and without combining marks, in one spelling.
#pragma once

#include "base/span.h"

namespace flyball::tokenizer {

bool may_compose(Str text);  // false: compose() would change nothing

constexpr u64 composed_bytes = 3;    // at most, for each byte of text
constexpr u64 composing_memory = 8;  // code points for each byte: a character becomes four at most, twice for sorting

// Bytes that are not UTF-8 stay as they are. `work` holds composing_memory, `out` composed_bytes for each byte of `text`.
// Returns how many bytes it wrote; takes linear time.
u64 compose(Str text, u32* work, char* out);

}  // namespace flyball::tokenizer
