#include "governor/prompt_pace.h"

#include "base/math.h"

namespace flyball::governor {
namespace {

constexpr f64 noise = 0.2;              // of the room, left free where a token is less than that
constexpr f64 plain_share = 0.25;       // of a new measurement in the average
constexpr f64 kept = 0.875;             // of the sums, at each call
constexpr f64 outlier = 2;              // an interrupted call counts as at most this many times the average
constexpr u32 longest_unmeasured = 16;  // calls with tokens beside before one without

void average(f64& value, f64 measured, bool first) {
  if (first) {
    value = measured;
  } else {
    value += plain_share * (min(measured, outlier * value) - value);
  }
}

}  // namespace

u32 tokens_beside(const CallCosts& costs, u64 position) {
  const f64 each = costs.token + costs.attention * f64(position);
  if (costs.next <= 0 || each <= 0) return first_beside;
  const f64 doubling = costs.next / each;
  const f64 room = min(doubling, (1 - noise) * doubling + 0.5);
  return room >= most_beside ? most_beside : max(u32(room), fewest_beside);
}

u32 PromptPace::size_of(u32 n_next) {
  u32 size = 0;
  while (size + 1 < n_sizes && n_next >> (size + 1) != 0) ++size;
  return size;
}

bool PromptPace::wants_plain(u32 n_next) const {
  return plain_[size_of(n_next)].n_seen == 0 || n_since_plain_ >= longest_unmeasured;
}

CallCosts PromptPace::costs(u32 n_next) const {
  CallCosts costs;
  costs.next = plain_[size_of(n_next)].cycles;
  if (tokens_ > 0) costs.token = token_cycles_ / tokens_;
  if (positions_ > 0) costs.attention = attention_cycles_ / positions_;
  return costs;
}

u32 PromptPace::choose(u32 n_next, u64 position) const {
  return min(tokens_beside(costs(n_next), position), max(2 * most_seen_, first_beside));
}

void PromptPace::observe(const Call& call) {
  Plain& plain = plain_[size_of(call.n_next)];
  if (call.n_beside == 0) {
    average(plain.cycles, f64(call.cycles), plain.n_seen == 0);
    average(plain.attention_cycles, f64(call.attention_cycles), plain.n_seen == 0);
    plain.n_seen = min(plain.n_seen + 1, 1000u);
    n_since_plain_ = 0;
    return;
  }
  ++n_since_plain_;
  if (plain.n_seen == 0) return;
  most_seen_ = max(most_seen_, min(call.n_beside, most_beside));
  // What an interruption adds makes tokens dearer for a while, which keeps nobody waiting.
  const f64 added = max(f64(call.cycles) - plain.cycles, 0.0);
  const f64 for_attention = min(max(f64(call.attention_cycles) - plain.attention_cycles, 0.0), added);
  tokens_ = kept * tokens_ + call.n_beside;
  token_cycles_ = kept * token_cycles_ + added - for_attention;
  positions_ = kept * positions_ + f64(call.positions);
  attention_cycles_ = kept * attention_cycles_ + for_attention;
}

}  // namespace flyball::governor
