#include "tokenizer/regex.h"

namespace flyball::tokenizer::regex {
namespace {

constexpr u64 no_match = ~u64(0);

bool has(const Program& program, const Set& set, Char c) {
  const u32 cp = code_point(c);
  if (cp < 128) return set.ascii[cp / 64] >> cp % 64 & 1;
  bool in = set.categories & category_bit(c);
  for (u32 i = 0; i < set.n_ranges && !in; ++i) {
    const Range& range = program.ranges[set.first_range + i];
    in = cp >= range.first && cp <= range.last;
  }
  return in != set.negated;
}

struct Matcher {
  const Program& program;
  const Char* text;
  u64 end;  // of the piece

  bool in(const Item& item, u64 at) const { return at < end && has(program, program.sets[item.index], text[at]); }

  u64 match_alternatives(u16 alternative, u64 at) const {
    for (; alternative != none; alternative = program.alternatives[alternative].next) {
      const u64 to = match_items(program.alternatives[alternative].first_item, at);
      if (to != no_match) return to;
    }
    return no_match;
  }

  // Recursion is as deep as an alternative has items. A run gives back characters one by one; that stays linear overall
  // because what follows a run fails on its first character, and then another alternative takes the whole run.
  u64 match_items(u16 index, u64 at) const {
    if (index == none) return at;
    const Item& item = program.items[index];
    if (item.kind == Kind::not_ahead) return in(item, at) ? no_match : match_items(item.next, at);
    if (item.kind == Kind::group) {
      const u64 to = match_alternatives(item.index, at);
      return to == no_match && item.min == 0 ? at : to;
    }
    u64 n = 0;
    while ((item.max == unlimited || n < item.max) && in(item, at + n)) ++n;
    if (n < item.min) return no_match;
    if (item.next == none) return at + n;
    for (;; --n) {
      const u64 to = match_items(item.next, at + n);
      if (to != no_match || n == item.min) return to;
    }
  }
};

void split_piece(const Program& program, Char* text, u64 begin, u64 end) {
  const Matcher matcher{program, text, end};
  if (program.suffix) {
    u64 at = end;
    while (at > begin && matcher.in(program.items[0], at - 1)) --at;
    if (at > begin) text[at - 1] |= word_end;
    return;
  }
  for (u64 at = begin; at < end;) {
    const u64 to = matcher.match_alternatives(0, at);
    if (to == no_match || to == at) {
      ++at;
      continue;
    }
    if (at > begin) text[at - 1] |= word_end;
    text[to - 1] |= word_end;
    at = to;
  }
}

}  // namespace

void split(const Program& program, Span<Char> text) {
  for (u64 begin = 0; begin < text.size;) {
    u64 end = begin;
    while (end < text.size && !(text[end] & word_end)) ++end;
    end = min(end + 1, text.size);
    split_piece(program, text.data, begin, end);
    begin = end;
  }
}

}  // namespace flyball::tokenizer::regex
