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
  for (u32 i = 0; i < set.n_excluded && in; ++i) {
    const Range& range = program.ranges[set.first_range + i];
    in = cp < range.first || cp > range.last;
  }
  return in != set.negated;
}

struct Matcher {
  const Program& program;
  const Char* text;
  u64 end;  // of the piece
  // Where a run ended of which no length could be followed by the rest of its alternative: from no later start in the
  // run either. Without this, an expression that takes less than the run then would take quadratic time.
  u16 failed = none;  // item
  u64 failed_from = 0, failed_to = 0;

  bool in(const Item& item, u64 at) const { return at < end && has(program, program.sets[item.index], text[at]); }

  u64 match_alternatives(u16 alternative, u64 at) {
    for (; alternative != none; alternative = program.alternatives[alternative].next) {
      const u64 to = match_items(program.alternatives[alternative].first_item, at);
      if (to != no_match) return to;
    }
    return no_match;
  }

  // Recursion is as deep as an alternative has items. A run gives back characters one by one; that stays linear overall
  // because what follows a run fails on its first character, and a run that has failed does not fail again.
  u64 match_items(u16 index, u64 at) {
    if (index == none) return at;
    const Item& item = program.items[index];
    if (item.kind == Kind::not_ahead) return in(item, at) ? no_match : match_items(item.next, at);
    if (item.kind == Kind::group) {
      u64 n = 0;
      for (u64 to;
           (item.max == unlimited || n < item.max) && (to = match_alternatives(item.index, at)) != no_match && to != at;
           ++n)
        at = to;
      return n < item.min ? no_match : at;
    }
    const bool unbounded = item.max == unlimited && item.next != none;
    if (unbounded && index == failed && at >= failed_from && at < failed_to) return no_match;
    u64 n = 0;
    while ((item.max == unlimited || n < item.max) && in(item, at + n)) ++n;
    if (n < item.min) return no_match;
    if (item.next == none) return at + n;
    const u64 run_end = at + n;
    for (;; --n) {
      const u64 to = match_items(item.next, at + n);
      if (to != no_match) return to;
      if (n == item.min) break;
    }
    if (unbounded) failed = index, failed_from = at, failed_to = run_end;
    return no_match;
  }
};

// Runs of X fall into threes from their ends.
void split_threes(const Matcher& matcher, Char* text, u64 begin) {
  const Program& program = matcher.program;
  for (u64 at = begin; at < matcher.end;) {
    u64 to = at;
    while (matcher.in(program.items[0], to)) ++to;
    const bool word_goes_on =
        program.form == Form::threes_of_words && to < matcher.end && has(program, program.sets[1], text[to]);
    const bool isolated = program.form != Form::before_threes;
    if (to > at && !word_goes_on) {
      if (isolated) text[to - 1] |= word_end;
      if (isolated && at > begin) text[at - 1] |= word_end;
      for (u64 three = to; three >= at + 3; three -= 3) {
        if (three - 3 > begin) text[three - 4] |= word_end;
      }
    }
    at = max(to, at + 1);
  }
}

void split_piece(const Program& program, Char* text, u64 begin, u64 end) {
  Matcher matcher{program, text, end};
  if (program.form == Form::suffix) {
    u64 at = end;
    while (at > begin && matcher.in(program.items[0], at - 1)) --at;
    if (at > begin) text[at - 1] |= word_end;
    return;
  }
  if (program.form != Form::matches) return split_threes(matcher, text, begin);
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
