// A model is asked what to change: its probabilities of a closed set of answers, no text of its own. In a session of its
// own, so no other's cache is touched; exact, so the same question has the same scores on every machine. Private to policy/.
#pragma once

#include "engine/engine.h"
#include "governor/policy.h"

namespace flyball::policy {

using engine::CancelToken;
using engine::Model;

class ActionScorer {
 public:
  explicit ActionScorer(Model& model) : model_(model) {}

  // How much likelier each action is with this situation than with none: a model prefers some words whatever is asked
  // (Holtzman et al. 2021, domain-conditional pointwise mutual information). Natural logarithms.
  Status ask(Str situation, CancelToken cancel, Span<f32> scores);

 private:
  Model& model_;
  f32 unasked_[governor::policy::n_actions] = {};  // log-probabilities without a situation
  bool has_unasked_ = false;
};

}  // namespace flyball::policy
