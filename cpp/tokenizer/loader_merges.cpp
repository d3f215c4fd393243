#include "tokenizer/loader.h"

namespace flyball::tokenizer {

using gguf::Value;
using gguf::ValueType;

namespace {

constexpr u64 max_merges = u64(1) << 26;
// Lines are read in blocks, with the memory that the next step needs fetched ahead: a third less time on 280,000 merges.
constexpr u64 merge_block = 32;

}  // namespace

Status Loader::read_merges() {
  Value array;
  FLYBALL_ASSIGN(array, file_.get_array(KEY "merges", ValueType::string));
  if (array.count > max_merges) return fail(Code::corrupt, KEY "merges", array.offset) << array.count << " merges";
  if (!s_.merges.create(arena_, array.count)) return out_of_memory();
  formed_ = arena_.allocate<u8>(s_.texts.size);
  if (formed_.empty()) return out_of_memory();
  gguf::StringArray strings(array);
  for (u64 rank = 0; rank < array.count; rank += merge_block) {
    FLYBALL_TRY(read_merge_block(strings, rank, array.offset));
  }
  return {};
}

Status Loader::read_merge_block(gguf::StringArray& strings, u64 first_rank, u64 offset) {
  struct Line {
    Str text, left, right;
    Token left_token, right_token, merged;
  };
  Line lines[merge_block];
  u64 n = 0;
  const auto bad = [&](u64 i, Str what) {
    char shown[64];
    return fail(Code::corrupt, KEY "merges", offset)
           << "merge " << first_rank + i << " '" << Writer(shown, sizeof(shown)).put_printable(lines[i].text, 40).text()
           << "' " << what;
  };
  for (; n < merge_block && strings.next(&lines[n].text); ++n) {
    Line& line = lines[n];
    u64 space = 1;
    while (space < line.text.size && line.text[space] != ' ') ++space;
    if (space + 1 >= line.text.size) return bad(n, "is not two tokens with a space between");
    line.left = line.text.substr(0, space);
    line.right = line.text.from(space + 1);
    s_.table.prefetch(line.left);
    s_.table.prefetch(line.right);
  }
  for (u64 i = 0; i < n; ++i) {
    Line& line = lines[i];
    if (!find_merge(line.left, line.right, &line.left_token, &line.right_token, &line.merged)) {
      return bad(i, "needs a token that is not in " KEY "tokens");
    }
    s_.merges.prefetch(line.left_token, line.right_token);
  }
  for (u64 i = 0; i < n; ++i) {
    // A special token's text must stay text when it comes from the user: such a merge does not take place.
    if (!(s_.attributes[u64(lines[i].merged)] & is_mergeable)) continue;
    formed_[u64(lines[i].merged)] = 1;
    if (!s_.merges.add(lines[i].left_token, lines[i].right_token, u32(first_rank + i), lines[i].merged)) {
      return bad(i, "collides with many others; not a real vocabulary");
    }
  }
  return {};
}

// Most files list merges in the order of the tokens that they form, which saves the slowest of the three look-ups.
bool Loader::find_merge(Str left, Str right, Token* left_token, Token* right_token, Token* merged) {
  *left_token = s_.table.find(left);
  *right_token = s_.table.find(right);
  if (*left_token == no_token || *right_token == no_token) return false;
  const u64 guess = u64(last_merged_) + 1;
  if (guess < s_.texts.size) {
    const Str text = s_.texts[guess];
    if (text.size == left.size + right.size && text.starts_with(left) && text.ends_with(right)) {
      *merged = last_merged_ = Token(guess);
      return true;
    }
  }
  *merged = last_merged_ = s_.table.find(left, right);
  return *merged != no_token;
}

// Without scores all are 0, and what stands first merges first; some exporters write whole numbers.
Status Loader::read_scores() {
  const Value* found = file_.find(KEY "scores");
  const bool whole = found && found->element == ValueType::i32;
  Value scores;
  if (found) {
    FLYBALL_ASSIGN(scores, file_.get_array(KEY "scores", whole ? ValueType::i32 : ValueType::f32));
    FLYBALL_TRY(same_count(scores, KEY "scores"));
  }
  s_.keys = arena_.allocate<u32>(s_.texts.size);
  if (s_.keys.empty()) return out_of_memory();
  s_.words_start_with_space = true;
  for (u64 i = 0; i < s_.texts.size; ++i) {
    const f32 written = !found ? 0 : whole ? f32(element<i32>(scores, i)) : element<f32>(scores, i);
    const f32 score = written + 0.0f;  // -0 is 0
    if (score != score)
      return fail(Code::corrupt, KEY "scores", scores.offset) << "the score of token " << i << " is NaN";
    // Floats order like sign-magnitude integers; the best score shall be the smallest key.
    const u32 bits = bit_cast<u32>(score);
    s_.keys[i] = bits >> 31 ? bits : ~(bits | 0x80000000u);
    if (s_.attributes[i] & is_mergeable) measure_mergeable(s_.texts[i]);
  }
  return {};
}

void Loader::measure_mergeable(Str text) {
  s_.longest_mergeable = max(s_.longest_mergeable, u32(min(text.size, u64(0xffffffffu))));
  bool only_spaces = true;
  for (u64 i = 0; i < text.size;) {
    const bool space = text.from(i).starts_with(spm_space);
    if (space && !only_spaces) s_.words_start_with_space = false;
    only_spaces = only_spaces && space;
    i += space ? spm_space.size : 1;
  }
}

}  // namespace flyball::tokenizer
