#include "model/route.h"

#include "base/math.h"

namespace flyball::model {
namespace {

constexpr f32 least_sum = 0x1p-14f;  // of weights that are normalized, as in llama.cpp: the least normal f16

// The `n` of the numbers below `end` with the largest values, largest first and ties to the lower number.
template <class Value, class Takes>
void choose(u32 end, u32 n, Value value, Takes takes, u32* chosen) {
  u32 n_chosen = 0;
  for (u32 number = 0; number < end; ++number) {
    if (!takes(number)) continue;
    u32 place = n_chosen;
    while (place > 0 && value(number) > value(chosen[place - 1])) --place;
    if (place == n) continue;
    n_chosen = min(n_chosen + 1, n);
    for (u32 i = n_chosen - 1; i > place; --i) chosen[i] = chosen[i - 1];
    chosen[place] = number;
  }
}

f32 largest_of(const f32* x, u32 n) {
  f32 largest = x[0];
  for (u32 i = 1; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Groups compete by the sum of their two best experts. A bit for each group that stays.
template <class Value>
u64 choose_groups(const Routing& routing, u32 n_expert, Value value) {
  if (routing.n_group <= 1) return ~u64(0);
  f32 sums[max_expert_groups];
  const u32 size = n_expert / routing.n_group;
  for (u32 group = 0; group < routing.n_group; ++group) {
    u32 best[2];
    choose(size, 2, [&](u32 i) { return value(group * size + i); }, [](u32) { return true; }, best);
    sums[group] = value(group * size + best[0]) + value(group * size + best[1]);
  }
  u32 chosen[max_expert_groups];
  choose(routing.n_group, routing.n_group_used, [&](u32 i) { return sums[i]; }, [](u32) { return true; }, chosen);
  u64 stay = 0;
  for (u32 i = 0; i < routing.n_group_used; ++i) stay |= u64(1) << chosen[i];
  return stay;
}

void sort_by_weight(u32 n, u32* chosen, f32* weights) {
  for (u32 i = 1; i < n; ++i) {
    const u32 expert = chosen[i];
    const f32 weight = weights[i];
    u32 place = i;
    for (; place > 0; --place) {
      const u32 other = place - 1;
      if (!(weight > weights[other] || (weight == weights[other] && expert < chosen[other]))) break;
      chosen[place] = chosen[other], weights[place] = weights[other];
    }
    chosen[place] = expert, weights[place] = weight;
  }
}

}  // namespace

void route(const kernels::Table& table, const Routing& routing, const LayerShape& shape, const f32* bias, f32* logits,
           u32* chosen, f32* weights) {
  const u32 n_expert = shape.n_expert, n = shape.n_expert_used;
  const auto softmax = [&](const f32* x, u32 size, auto&& each) {
    const f32 largest = largest_of(x, size), sum = table.sum_exp(x, largest, size);
    each([=](f32 logit) { return exp32(logit - largest) / sum; });
  };
  // Softmax keeps the order: the choice is by logits then, which tell experts apart that it rounds to one number.
  const bool by_logits = routing.gating == Gating::softmax && bias == nullptr && routing.n_group <= 1;
  const auto in_place = [&](auto&& weight) {
    for (u32 expert = 0; expert < n_expert; ++expert) logits[expert] = weight(logits[expert]);
  };
  const auto of_chosen = [&](auto&& weight) {
    for (u32 i = 0; i < n; ++i) weights[i] = weight(logits[chosen[i]]);
  };
  if (routing.gating == Gating::softmax && !by_logits) softmax(logits, n_expert, in_place);
  if (routing.gating == Gating::sigmoid && !routing.by_logits) in_place(sigmoid32);
  if (routing.gating == Gating::sqrt_softplus) in_place([](f32 logit) { return sqrt32(softplus32(logit)); });

  const auto score = [&](u32 expert) { return bias ? logits[expert] + bias[expert] : logits[expert]; };
  const u64 groups = choose_groups(routing, n_expert, score);
  const u32 group_size = n_expert / routing.n_group;
  choose(n_expert, n, score, [&](u32 expert) { return groups >> (expert / group_size) & 1; }, chosen);

  of_chosen([](f32 weight) { return weight; });
  if (routing.gating == Gating::sigmoid && routing.by_logits) of_chosen(sigmoid32);
  if (by_logits) softmax(logits, n_expert, of_chosen);
  if (routing.gating == Gating::softmax_of_chosen) softmax(weights, n, of_chosen);
  sort_by_weight(n, chosen, weights);
  if (routing.normalized) {
    f32 sum = 0;
    for (u32 i = 0; i < n; ++i) sum += weights[i];
    for (u32 i = 0; i < n; ++i) weights[i] /= max(sum, least_sum);
  }
  if (routing.scale != 1) {
    for (u32 i = 0; i < n; ++i) weights[i] *= routing.scale;
  }
}

}  // namespace flyball::model
