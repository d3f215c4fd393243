// Which experts a token takes and with what weights: each kind of gating against an evaluation in double.
#include "model/route.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

#include "base/math.h"

namespace {

using flyball::f32;
using flyball::f64;
using flyball::u32;
using flyball::model::Gating;
using flyball::model::LayerShape;
using flyball::model::Routing;

struct Routed {
  std::vector<u32> chosen;
  std::vector<f32> weights;
};

Routed route(const Routing& routing, u32 n_used, std::vector<f32> logits, const f32* bias = nullptr) {
  LayerShape shape;
  shape.n_expert = u32(logits.size()), shape.n_expert_used = n_used;
  Routed first;
  for (const flyball::kernels::Table* table : flyball::kernels::usable_tables()) {
    Routed routed = {std::vector<u32>(n_used, ~0u), std::vector<f32>(n_used)};
    std::vector<f32> own = logits;
    flyball::model::route(*table, routing, shape, bias, own.data(), routed.chosen.data(), routed.weights.data());
    if (first.chosen.empty()) first = routed;
    CHECK(routed.chosen == first.chosen && routed.weights == first.weights);
  }
  return first;
}

std::vector<f64> expected_scores(Gating gating, const std::vector<f32>& logits) {
  std::vector<f64> scores(logits.begin(), logits.end());
  f64 sum = 0;
  for (const f64 x : scores) sum += std::exp(x);
  for (f64& x : scores) {
    if (gating == Gating::softmax) x = std::exp(x) / sum;
    if (gating == Gating::sigmoid) x = 1 / (1 + std::exp(-x));
    if (gating == Gating::sqrt_softplus) x = std::sqrt(std::log1p(std::exp(x)));
  }
  return scores;
}

}  // namespace

// Sigmoids of large logits are one number: llama4's experts compete before it.
TEST(route_by_logits_before_their_sigmoid) {
  Routing routing;
  routing.gating = Gating::sigmoid, routing.normalized = false;
  const std::vector<f32> logits = {0.5f, 30, 40, -1, 35};
  CHECK(route(routing, 1, logits).chosen == std::vector<u32>{1});
  routing.by_logits = true;
  const Routed one = route(routing, 1, logits);
  CHECK(one.chosen == std::vector<u32>{2});
  CHECK_EQ(one.weights[0], 1.0f);
  const Routed four = route(routing, 4, logits);
  CHECK((four.chosen == std::vector<u32>{1, 2, 4, 0}));  // by weight, then by number
  CHECK_EQ(four.weights[3], flyball::sigmoid32(0.5f));
}

TEST(route_by_each_gating) {
  kernel_test::Random random(3);
  for (const Gating gating : {Gating::softmax, Gating::sigmoid, Gating::softmax_of_chosen, Gating::sqrt_softplus}) {
    for (const bool biased : {false, true}) {
      for (u32 repeat = 0; repeat < 50; ++repeat) {
        const u32 n = 16, n_used = 1 + repeat % 6;
        std::vector<f32> logits(n), bias(n);
        for (f32& x : logits) x = random.normal();
        for (f32& x : bias) x = random.normal() * 0.3f;
        Routing routing;
        routing.gating = gating, routing.normalized = repeat % 2 == 0;
        routing.scale = repeat % 3 == 0 ? 2.5f : 1;
        const Routed got = route(routing, n_used, logits, biased ? bias.data() : nullptr);

        const std::vector<f64> scores = expected_scores(gating, logits);
        std::vector<u32> order(n);
        std::iota(order.begin(), order.end(), 0u);
        const auto value = [&](u32 e) { return scores[e] + (biased ? bias[e] : 0); };
        std::sort(order.begin(), order.end(), [&](u32 a, u32 b) { return value(a) > value(b); });
        order.resize(n_used);
        std::sort(order.begin(), order.end(), [&](u32 a, u32 b) { return scores[a] > scores[b]; });
        CHECK(got.chosen == order);
        f64 sum = 0, all = 0;
        for (const u32 e : order) sum += scores[e], all += std::exp(scores[e]);
        for (u32 i = 0; i < n_used; ++i) {
          f64 weight = gating == Gating::softmax_of_chosen ? std::exp(scores[order[i]]) / all : scores[order[i]];
          if (routing.normalized && gating != Gating::softmax_of_chosen) weight /= sum;
          CHECK(std::fabs(got.weights[i] - weight * routing.scale) < 1e-6 * routing.scale);
        }
      }
    }
  }
}

TEST(route_ties_go_to_the_lower_number) {
  Routing routing;
  for (const Gating gating : {Gating::softmax, Gating::sigmoid, Gating::softmax_of_chosen}) {
    routing.gating = gating;
    CHECK(route(routing, 3, {0, 1, 1, 0, 1, 1}).chosen == std::vector<u32>({1, 2, 4}));
    const f32 bias[] = {0, 0, 0, 0, 0, 0.5f};  // chosen first, then in its place by weight
    CHECK(route(routing, 3, {0, 1, 1, 0, 1, 1}, bias).chosen == std::vector<u32>({1, 2, 5}));
  }
}

TEST(route_by_groups_of_experts) {
  Routing routing;
  routing.gating = Gating::sigmoid;
  routing.n_group = 3, routing.n_group_used = 2;
  // The first has the best expert, and the others the better pairs.
  CHECK(route(routing, 3, {9, -9, -9, 1, 1, 0, 2, 2, 0}).chosen == std::vector<u32>({6, 7, 3}));
  CHECK(route(routing, 3, {9, 1, -9, 1, 1, 0, 2, 2, 0}).chosen == std::vector<u32>({0, 6, 7}));
  const f32 bias[] = {0, 0, 0, 0.5f, 0.5f, 0, 0, 0, 0};
  CHECK(route(routing, 3, {9, 1, -9, 1, 1, 0, 2, 2, 0}, bias).chosen == std::vector<u32>({6, 3, 4}));
  routing.gating = Gating::softmax;
  CHECK(route(routing, 2, {0, 0, 0, 0, 0, 0, 0, 0, 0}).chosen == std::vector<u32>({0, 1}));
}

TEST(route_of_nan_stays_within_the_experts) {
  const f32 nan = __builtin_nanf("");
  for (const Gating gating : {Gating::softmax, Gating::sigmoid, Gating::softmax_of_chosen, Gating::sqrt_softplus}) {
    Routing routing;
    routing.gating = gating;
    routing.n_group = 2, routing.n_group_used = 1;
    for (const std::vector<f32>& logits :
         {std::vector<f32>(8, nan), {nan, 0, 0, 0, 0, 0, 0, nan}, std::vector<f32>(8, -__builtin_inff())}) {
      LayerShape shape;
      shape.n_expert = 8, shape.n_expert_used = 3;
      u32 chosen[3] = {99, 99, 99};
      f32 weights[3];
      std::vector<f32> own = logits;
      flyball::model::route(flyball::kernels::scalar_table, routing, shape, nullptr, own.data(), chosen, weights);
      CHECK(chosen[0] < 8 && chosen[1] < 8 && chosen[2] < 8);
      CHECK(chosen[0] != chosen[1] && chosen[1] != chosen[2] && chosen[0] != chosen[2]);
    }
  }
}
