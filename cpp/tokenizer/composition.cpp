#include "tokenizer/composition.h"

#include "tokenizer/unicode.h"

namespace flyball::tokenizer {
namespace {

constexpr u32 behaviors[] = {
#define FLYBALL_BEHAVIORS
#include "tokenizer/composition_data.inc"
#undef FLYBALL_BEHAVIORS
};
constexpr u64 decompositions[] = {
#define FLYBALL_DECOMPOSITIONS
#include "tokenizer/composition_data.inc"
#undef FLYBALL_DECOMPOSITIONS
};
constexpr u64 compositions[] = {
#define FLYBALL_COMPOSITIONS
#include "tokenizer/composition_data.inc"
#undef FLYBALL_COMPOSITIONS
};

constexpr u32 first_changing = 0x300;  // everything below is composed already
constexpr u32 code_bits = 21;
constexpr u32 code_mask = (1u << code_bits) - 1;
constexpr u32 raw_byte = 0x110000;  // + a byte that is not UTF-8
constexpr u32 none = 0;             // no pair composes to U+0000

// The Unicode Standard, 3.12: Hangul syllables are arithmetic.
constexpr u32 syllables = 0xac00, leads = 0x1100, vowels = 0x1161, tails = 0x11a7;
constexpr u32 n_leads = 19, n_vowels = 21, n_tails = 28;

// The last entry whose upper part, from `shift` on, is not above `key`; the first where all are.
template <class T>
T last_up_to(Span<const T> sorted, u64 key, u32 shift) {
  u64 low = 0, high = sorted.size;
  while (high - low > 1) {
    const u64 middle = (low + high) / 2;
    (u64(sorted[middle]) >> shift <= key ? low : high) = middle;
  }
  return sorted[low];
}

// Combining class, + 256 where the character decomposes for good or may join the one before it. 0: begins anew.
u32 behavior(u32 c) {
  if (c < first_changing || c >= raw_byte) return 0;
  return last_up_to<u32>(behaviors, c, 9) & 0x1ff;
}

u32 composite(u32 first, u32 second) {
  if (first - leads < n_leads && second - vowels < n_vowels)
    return syllables + ((first - leads) * n_vowels + (second - vowels)) * n_tails;
  const u32 syllable = first - syllables;
  if (syllable < n_leads * n_vowels * n_tails && syllable % n_tails == 0 && second - tails - 1 < n_tails - 1)
    return first + (second - tails);
  const u64 pair = u64(first) << code_bits | second;
  const u64 found = last_up_to<u64>(compositions, pair, code_bits);
  return found >> code_bits == pair ? u32(found) & code_mask : none;
}

Decoded decode(Str text) {
  Decoded d = decode_utf8(text);
  if (d.code_point == replacement && d.bytes == 1) d.code_point = raw_byte + u8(text[0]);
  return d;
}

char* put_utf8(char* out, u32 c) {
  if (c >= raw_byte) return *out++ = char(c - raw_byte), out;
  if (c < 0x80) return *out++ = char(c), out;
  if (c >= 0x10000) *out++ = char(0xf0 | c >> 18);
  if (c >= 0x800) *out++ = char(c >= 0x10000 ? 0x80 | (c >> 12 & 0x3f) : 0xe0 | c >> 12);
  *out++ = char(c >= 0x800 ? 0x80 | (c >> 6 & 0x3f) : 0xc0 | c >> 6);
  *out++ = char(0x80 | (c & 0x3f));
  return out;
}

// Characters from one that begins anew up to the next such one, each with its combining class above its code point.
class Segment {
 public:
  explicit Segment(u32* memory) : chars_(memory) {}

  void add(u32 c) {
    const u32 syllable = c - syllables;
    const u64 step = last_up_to<u64>(decompositions, c, 2 * code_bits);
    if (syllable < n_leads * n_vowels * n_tails) {
      push(leads + syllable / n_tails / n_vowels);
      push(vowels + syllable / n_tails % n_vowels);
      if (syllable % n_tails) push(tails + syllable % n_tails);
    } else if (step >> 2 * code_bits == c) {
      add(u32(step >> code_bits) & code_mask);
      if (const u32 second = u32(step) & code_mask) add(second);
    } else {
      push(c);
    }
  }

  char* finish(char* out) {
    sort();
    join();
    for (u64 i = 0; i < n_; ++i) out = put_utf8(out, chars_[i] & code_mask);
    n_ = 0;
    return out;
  }

 private:
  void push(u32 c) { chars_[n_++] = (behavior(c) & 0xff) << code_bits | c; }
  static u32 class_of(u32 character) { return character >> code_bits; }

  // Stable, by class, between characters of class 0.
  void sort() {
    for (u64 begin = 0; begin < n_; ++begin) {
      u64 end = begin;
      while (end < n_ && class_of(chars_[end])) ++end;
      if (end - begin > 1) sort({chars_ + begin, end - begin}, chars_ + n_);
      begin = end;
    }
  }
  static void sort(Span<u32> marks, u32* copy) {
    u32 places[256] = {};
    for (u32 mark : marks) ++places[class_of(mark)];
    for (u32 i = 0, place = 0; i < 256; ++i) {
      const u32 n = places[i];
      places[i] = place;
      place += n;
    }
    memcpy(copy, marks.data, marks.size * sizeof(u32));
    for (u64 i = 0; i < marks.size; ++i) marks[places[class_of(copy[i])]++] = copy[i];
  }

  // The Unicode Standard, 3.11: a mark joins the last starter unless one of its class or a higher one stands between.
  void join() {
    u64 kept = 0, starter = 0;
    u32 last_class = 0;
    bool has_starter = false;
    for (u64 i = 0; i < n_; ++i) {
      const u32 now = class_of(chars_[i]);
      if (has_starter && (last_class == 0 || last_class < now)) {
        if (const u32 joined = composite(chars_[starter], chars_[i] & code_mask)) {
          chars_[starter] = joined;
          continue;
        }
      }
      if (now == 0) starter = kept, has_starter = true;
      last_class = now;
      chars_[kept++] = chars_[i];
    }
    n_ = kept;
  }

  u32* chars_;
  u64 n_ = 0;
};

}  // namespace

bool may_compose(Str text) {
  for (u64 i = 0; i < text.size;) {
    if (u8(text[i]) < 0xcc) {  // U+0300 begins with this byte
      i += u8(text[i]) < 0x80 ? 1 : decode_utf8(text.from(i)).bytes;
      continue;
    }
    const Decoded d = decode(text.from(i));
    if (behavior(d.code_point)) return true;
    i += d.bytes;
  }
  return false;
}

u64 compose(Str text, u32* work, char* out) {
  char* to = out;
  u64 copied = 0, anew = 0;  // what is written; where the last character that begins anew stands
  Segment segment(work);
  for (u64 i = 0; i < text.size;) {
    Decoded d = decode(text.from(i));
    if (behavior(d.code_point) == 0) {
      anew = i;
      i += d.bytes;
      continue;
    }
    memcpy(to, text.data + copied, anew - copied);
    to += anew - copied;
    for (i = anew; i < text.size; i += d.bytes) {
      d = decode(text.from(i));
      if (i > anew && behavior(d.code_point) == 0) break;
      segment.add(d.code_point);
    }
    to = segment.finish(to);
    copied = anew = i;
  }
  memcpy(to, text.data + copied, text.size - copied);
  return u64(to - out) + text.size - copied;
}

}  // namespace flyball::tokenizer
