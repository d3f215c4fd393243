// The policy at work: it observes answers, scores actions by the model, and keeps the limits of sessions in a file of
// its own, which it writes aside, reads again and verifies (docs/policy.md).
#pragma once

#include "base/object.h"
#include "policy/action_scorer.h"

namespace flyball::policy {

using engine::CacheType;
using engine::GenerateOptions;
using engine::Generation;
using engine::GovernorSettings;
using engine::Session;

CacheType cache_of(u32 bits);  // of TunableLimits::cache_bits

struct PolicyOptions {
  GovernorSettings settings;
  u32 context = 0;  // requested; 0: the model's, at most 8192
  CacheType cache = CacheType::f16;
  u32 max_tokens = engine::default_max_tokens;
  Str file;  // FILE: the configuration, FILE.before: the checkpoint, FILE.history: the outcomes of actions; empty: none
  bool counts_starts = false;  // the program is the file's only user, and ends in order unless it crashes
};

class Policy : public InPlace {
 public:
  using State = governor::policy::State;
  using Action = governor::policy::Action;

  // Applying needs a file. The policy starts from a valid one, else from its checkpoint, else from the base.
  static Result<Policy*> create(Model& model, const PolicyOptions& options);
  static void release(Policy* policy);  // in order, and before the model

  // Whether FILE.limits, written by a reliability run, bounds the settings.
  bool limited() const { return limited_; }

  // The limits of new sessions and answers.
  u32 context() const { return state_.now.context; }
  u32 max_tokens() const { return state_.now.max_tokens; }
  void give(const Session& session, GenerateOptions* options) const;  // applies them to an answer's requested options
  CacheType cache() const;
  const State& state() const { return state_; }
  const GovernorSettings& settings() const { return settings_; }
  Status govern(const GovernorSettings& settings);

  // A user's explicit request replaces the base and the policy's changes.
  Status ask_for(u32 context, CacheType cache, u32 max_tokens);

  // After each answer, and at a session's end: either may be the time to ask the model.
  Status turn_ended(const Generation& generation, CancelToken cancel = {});
  Status session_ended(const Session& session, CancelToken cancel = {});
  Status consult(const Session& session, CancelToken cancel = {});
  Status consult_mock(const Session& session, Action action);  // as if a model had chosen it with full confidence

  // The model's scores of all actions in a situation. Changes nothing.
  Status ask_model(Str situation, CancelToken cancel, Span<f32> scores);

  // Decisions of the last of these calls, the newest at most.
  Span<const journal::Reason> decisions() const { return {decisions_, n_decisions_}; }
  u64 number() const { return number_; }  // in the journal; 0: no journal
  u64 turn() const { return n_turns_; }

 private:
  using TunableLimits = governor::policy::TunableLimits;
  template <class T, class... Arguments>
  friend T* flyball::create_object(const Platform& platform, Arguments&&... arguments);
  template <class T>
  friend void flyball::destroy_object(const Platform& platform, T* object);

  Policy(Model& model, const GovernorSettings& settings) : model_(model), settings_(settings), scorer_(model) {}

  void begin(const TunableLimits& base, const TunableLimits& now, Str source, const governor::policy::History& history);
  Status open(const PolicyOptions& options);
  Str read_now(const TunableLimits& base, TunableLimits* now) const;
  Status read_file(Str path, const TunableLimits& base, TunableLimits* out) const;
  governor::policy::History read_history() const;
  void start(const TunableLimits& base);
  Status check_file(const GovernorSettings& settings) const;
  GovernorSettings limit(const GovernorSettings& settings);
  Status ask(const Session& session, CancelToken cancel);
  template <class Seen>
  void observe(journal::Reason reason, const Seen& seen);
  governor::policy::Applied apply(const TunableLimits& wanted, bool checkpoint) const;
  void record(journal::Reason reason, Str data) const;
  void decided(journal::Reason reason, Str data);
  governor::policy::Consulted consulted(const Session& session) const;
  void describe(const governor::policy::Consulted& seen, Writer& out) const;
  void keep_history() const;

  Model& model_;
  GovernorSettings settings_;
  State state_;
  ActionScorer scorer_;
  Text<512> file_;
  u64 number_ = 0;  // in the journal; 0: no journal
  u64 n_turns_ = 0;
  static constexpr u32 max_decisions = 16;
  journal::Reason decisions_[max_decisions] = {};
  u32 n_decisions_ = 0;
  bool limited_ = false;
};

}  // namespace flyball::policy
