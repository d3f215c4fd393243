// The regexes of pre-tokenizers, compiled by the C++ compiler into tables: the source shows each expression as its
// tokenizer.json has it, and an expression outside this subset does not build. Subset: alternatives of sets, literals,
// \p{..} \d \s \S \x{..}, [..&&[^..]], the quantifiers ? + * {m} {m,n}, a final group (?:..) or (?i:..), (?!set), and
// the forms below. Matching is leftmost, first alternative, greedy.
#pragma once

#include "tokenizer/unicode.h"

namespace flyball::tokenizer::regex {

struct Range {
  u32 first = 0;
  u32 last = 0;
};

struct Set {
  u64 ascii[2] = {};   // complete for code points below 128, negation applied
  u32 categories = 0;  // above: these categories and ranges, then `negated`
  u16 first_range = 0;
  u16 n_ranges = 0;
  u16 n_excluded = 0;  // ranges behind those, which are not in the set
  bool negated = false;
};

enum class Kind : u8 { set, not_ahead, group };

constexpr u16 none = 0xffff;
constexpr u16 unlimited = 0xffff;

struct Item {
  Kind kind = Kind::set;
  u16 index = 0;  // of the set, or of a group's first alternative
  u16 min = 1;
  u16 max = 1;
  u16 next = none;  // item
};

struct Alternative {
  u16 first_item = none;
  u16 next = none;
};

// Expressions that no matcher runs in linear time, each recognized as a whole. X is set 0, and a word's letters set 1.
enum class Form : u8 {
  matches,          // any other
  suffix,           // X+$: only a run that reaches the end of its piece matches
  threes,           // X{1,3}(?=(?:X{3})*(?!X)): a run falls into threes from its end
  threes_of_words,  // X{1,3}(?=(?:X{3})*\b): the same, if the word ends with the run
  before_threes,    // (?=(?:X{3})+(?!X)): the same, but what is left at its beginning stays with what is before
};

struct Program {  // alternative 0 is the first of the top level
  const Set* sets = nullptr;
  const Range* ranges = nullptr;
  const Item* items = nullptr;
  const Alternative* alternatives = nullptr;
  Form form = Form::matches;
};

// Marks the last character of every match and of every gap between matches with `word_end`. On entry the last character
// of each piece carries the mark; a piece is split on its own.
void split(const Program& program, Span<Char> text);

namespace detail {

void unsupported_expression();  // never defined: reaching it stops compilation

template <class T, u32 N>
struct Pool {
  T of[N] = {};
  u16 n = 0;
  constexpr u16 add(const T& value) {
    if (n == N) unsupported_expression();
    of[n] = value;
    return n++;
  }
};

struct Parser {
  Str rest;
  bool fold = false;  // inside (?i:
  Form form = Form::matches;
  Pool<Set, 48> sets;
  Pool<Range, 160> ranges;
  Pool<Item, 96> items;
  Pool<Alternative, 32> alternatives;

  constexpr bool at(Str prefix) const { return rest.starts_with(prefix); }
  constexpr bool take(Str prefix) {
    if (!at(prefix)) return false;
    rest = rest.from(prefix.size);
    return true;
  }
  constexpr u32 take_code_point() {
    const Decoded d = decode_utf8(rest);
    rest = rest.from(d.bytes);
    return d.code_point;
  }
  constexpr u16 take_number() {
    u16 value = 0;
    while (rest[0] >= '0' && rest[0] <= '9') value = u16(value * 10 + (take_code_point() - '0'));
    return value;
  }

  constexpr void add_range(Set& set, u32 first, u32 last) {
    for (u32 c = first; c <= last && c < 128; ++c) set.ascii[c / 64] |= u64(1) << c % 64;
    if (last < 128) return;
    if (set.n_ranges == 0) set.first_range = ranges.n;
    ranges.add({max(first, 128u), last});
    ++set.n_ranges;
  }
  constexpr void add_categories(Set& set, u32 categories) {
    for (u32 c = 0; c < 128; ++c) {
      if (categories & bit(category(c))) set.ascii[c / 64] |= u64(1) << c % 64;
    }
    set.categories |= categories;
  }
  constexpr void add_literal(Set& set, u32 c) {
    add_range(set, c, c);
    if (!fold) return;
    if ((c | 32) < 'a' || (c | 32) > 'z') return;
    add_range(set, c ^ 32, c ^ 32);
    if ((c | 32) == 's') add_range(set, 0x17f, 0x17f);  // the two letters outside ASCII that fold into it
    if ((c | 32) == 'k') add_range(set, 0x212a, 0x212a);
  }
  constexpr u32 take_property() {  // after "\p{"
    const u32 letters =
        bit(Category::lu) | bit(Category::ll) | bit(Category::lt) | bit(Category::lm) | bit(Category::lo);
    if (take("Lu}")) return bit(Category::lu);
    if (take("Ll}")) return bit(Category::ll);
    if (take("Lt}")) return bit(Category::lt);
    if (take("Lm}")) return bit(Category::lm);
    if (take("Lo}")) return bit(Category::lo);
    if (take("L}")) return letters;
    if (take("M}")) return bit(Category::mark);
    if (take("N}")) return bit(Category::digit) | bit(Category::number);
    if (take("Nd}")) return bit(Category::digit);
    if (take("P}")) return bit(Category::punctuation);
    if (take("S}")) return bit(Category::symbol);
    unsupported_expression();
    return 0;
  }
  // A literal character, perhaps escaped; false: it was \p{..}, \d or \s, and is in `set` already.
  constexpr bool take_character(Set& set, u32* c) {
    if (take("\\d")) return add_categories(set, bit(Category::digit)), false;
    if (take("\\p{")) return add_categories(set, take_property()), false;
    if (take("\\s")) return add_categories(set, bit(Category::space)), false;
    if (take("\\r")) return *c = '\r', true;
    if (take("\\n")) return *c = '\n', true;
    if (take("\\x{")) {
      *c = 0;
      while (!take("}")) {
        const u32 digit = take_code_point();
        *c = *c * 16 + (digit <= '9' ? digit - '0' : (digit | 32) - 'a' + 10);
      }
      return true;
    }
    if (take("\\") && ((rest[0] | 32) >= 'a' && (rest[0] | 32) <= 'z')) unsupported_expression();
    return *c = take_code_point(), true;
  }
  constexpr void negate(Set& set) {
    set.ascii[0] = ~set.ascii[0];
    set.ascii[1] = ~set.ascii[1];
    set.negated = true;
  }
  constexpr u16 take_set() {
    Set set;
    u32 c = 0;
    if (take("\\S")) {
      add_categories(set, bit(Category::space));
      negate(set);
    } else if (take("[")) {
      const bool negated = take("^");
      while (!take("]")) {
        if (take("&&")) exclude(set);
        if (at("]") || !take_character(set, &c)) continue;
        u32 last = c;
        if (rest[0] == '-' && rest[1] != ']') {
          take("-");
          if (!take_character(set, &last) || fold) unsupported_expression();
          add_range(set, c, last);
        } else {
          add_literal(set, c);
        }
      }
      if (negated) negate(set);
    } else if (take_character(set, &c)) {
      add_literal(set, c);
    }
    return add_once(set);
  }
  constexpr void exclude(Set& set) {
    Set other;
    u32 first = 0;
    if (set.n_ranges != 0 || !take("[^")) unsupported_expression();
    while (!take("]")) {
      if (!take_character(other, &first)) unsupported_expression();
      u32 last = first;
      if (take("-") && !take_character(other, &last)) unsupported_expression();
      add_range(other, first, last);
    }
    if (other.ascii[0] || other.ascii[1]) unsupported_expression();
    set.first_range = other.first_range;
    set.n_excluded = other.n_ranges;
  }
  constexpr u16 add_once(const Set& set) {
    const auto ranges_of = [](const Set& s) { return s.n_ranges + s.n_excluded; };
    for (u16 i = 0; i < sets.n && ranges_of(set) == 0; ++i) {
      const Set& other = sets.of[i];
      const bool same = ranges_of(other) == 0 && other.ascii[0] == set.ascii[0] && other.ascii[1] == set.ascii[1] &&
                        other.categories == set.categories && other.negated == set.negated;
      if (same) return i;
    }
    return sets.add(set);
  }

  constexpr Item take_item() {
    Item item;
    if (take("(?!")) {
      item = {Kind::not_ahead, take_set()};
      if (!take(")")) unsupported_expression();
    } else if (at("(?:") || at("(?i:")) {
      fold = take("(?i:");
      if (!fold) take("(?:");
      item = {Kind::group, take_alternatives()};
      fold = false;
      if (!take(")")) unsupported_expression();
    } else {
      item = {Kind::set, take_set()};
    }
    if (take("?")) {
      item.min = 0;
    } else if (take("*")) {
      item.min = 0, item.max = unlimited;
    } else if (take("+")) {
      item.max = unlimited;
    } else if (take("{")) {
      item.min = item.max = take_number();
      if (take(",")) item.max = take_number();
      if (!take("}")) unsupported_expression();
    }
    return item;
  }
  constexpr u16 take_items() {
    u16 first = none;
    u16 previous = none;
    while (!rest.empty() && !at("|") && !at(")")) {
      if (take("$")) {
        const bool alone = items.n == 1 && alternatives.n == 1 && rest.empty() && items.of[0].max == unlimited;
        if (!alone) unsupported_expression();
        form = Form::suffix;
        break;
      }
      const u16 index = items.add(take_item());
      if (previous == none) {
        first = index;
      } else {
        // Groups are not backtracked into, so nothing may follow one.
        if (items.of[previous].kind == Kind::group) unsupported_expression();
        items.of[previous].next = index;
      }
      previous = index;
    }
    if (first == none) unsupported_expression();
    return first;
  }
  constexpr u16 take_alternatives() {
    const u16 first = alternatives.add({});
    u16 last = first;
    alternatives.of[last].first_item = take_items();
    while (take("|")) {
      const u16 next = alternatives.add({});
      alternatives.of[last].next = next;
      last = next;
      alternatives.of[last].first_item = take_items();
    }
    return first;
  }
};

// Whether the whole expression is one of the forms with threes.
constexpr bool take_threes(Parser& parser) {
  const Str expression = parser.rest;
  const bool before = parser.take("(?=(?:");
  const Str from = parser.rest;
  const u16 digits = parser.take_set();
  const Str x = from.substr(0, from.size - parser.rest.size);
  const auto ends = [&] { return parser.take("(?!") && parser.take(x) && parser.take("))"); };
  if (before && parser.take("{3})+") && ends()) {
    parser.form = Form::before_threes;
  } else if (!before && parser.take("{1,3}(?=(?:") && parser.take(x) && parser.take("{3})*")) {
    parser.form = parser.take("\\b)") ? Form::threes_of_words : Form::threes;
    if (parser.form == Form::threes && !ends()) unsupported_expression();
  } else {
    parser = Parser();
    parser.rest = expression;
    return false;
  }
  parser.items.add({Kind::set, digits});
  parser.alternatives.add({0});
  if (!parser.rest.empty()) unsupported_expression();
  // What \b takes for a word in Oniguruma, which Hugging Face's tokenizers match with.
  parser.rest =
      R"([\p{L}\p{M}\p{Nd}_\x{b2}\x{b3}\x{b9}\x{bc}-\x{be}\x{16ee}-\x{16f0}\x{203f}\x{2040}\x{2054}\x{2160}-\x{2188})"
      R"(\x{24b6}-\x{24e9}\x{3007}\x{3021}-\x{3029}\x{3038}-\x{303a}\x{a6e6}-\x{a6ef}\x{fe33}\x{fe34}\x{fe4d}-\x{fe4f})"
      R"(\x{ff3f}\x{10140}-\x{10174}\x{10341}\x{1034a}\x{103d1}-\x{103d5}\x{12400}-\x{1246e}\x{1f130}-\x{1f149})"
      R"(\x{1f150}-\x{1f169}\x{1f170}-\x{1f189}])";
  parser.take_set();
  return true;
}

consteval Parser parse(Str expression) {
  Parser parser;
  parser.rest = expression;
  if (take_threes(parser)) return parser;
  parser.take_alternatives();
  if (!parser.rest.empty()) unsupported_expression();
  return parser;
}

template <u64 N>
struct Literal {
  char text[N] = {};
  consteval Literal(const char (&s)[N]) {  // NOLINT: a string literal is the template's argument
    for (u64 i = 0; i < N; ++i) text[i] = s[i];
  }
};

template <Literal L>
struct Storage {
  static constexpr Parser parsed = parse(Str(L.text, sizeof(L.text) - 1));
  Set sets[parsed.sets.n] = {};
  Range ranges[max(parsed.ranges.n, u16(1))] = {};
  Item items[parsed.items.n] = {};
  Alternative alternatives[parsed.alternatives.n] = {};

  consteval Storage() {
    for (u32 i = 0; i < parsed.sets.n; ++i) sets[i] = parsed.sets.of[i];
    for (u32 i = 0; i < parsed.ranges.n; ++i) ranges[i] = parsed.ranges.of[i];
    for (u32 i = 0; i < parsed.items.n; ++i) items[i] = parsed.items.of[i];
    for (u32 i = 0; i < parsed.alternatives.n; ++i) alternatives[i] = parsed.alternatives.of[i];
  }
};

template <Literal L>
inline constexpr Storage<L> storage;

}  // namespace detail

template <detail::Literal L>
inline constexpr Program compiled = {detail::storage<L>.sets, detail::storage<L>.ranges, detail::storage<L>.items,
                                     detail::storage<L>.alternatives, detail::Storage<L>::parsed.form};

}  // namespace flyball::tokenizer::regex
