// Scores actions by a model: its probabilities of a closed set of answers, no free text. It has its own session, so it
// changes no other cache; exact, so the same prompt has the same scores on every machine. Private to policy/.
#pragma once

#include "engine/engine.h"
#include "governor/policy.h"

namespace flyball::policy {

using engine::CancelToken;
using engine::Model;

class ActionScorer {
 public:
  explicit ActionScorer(Model& model) : model_(model) {}

  // log P(action | situation) - log P(action | no situation), because a model prefers some words in any situation
  // (Holtzman et al. 2021, domain-conditional pointwise mutual information). Natural logarithms.
  Status ask(Str situation, CancelToken cancel, Span<f32> scores);

 private:
  Model& model_;
  f32 unasked_[governor::policy::n_actions] = {};  // log-probabilities without a situation
  bool has_unasked_ = false;
};

}  // namespace flyball::policy
