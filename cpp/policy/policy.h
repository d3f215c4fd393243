// The policy at work: it sees answers, asks the model, and keeps what sessions are to use in a file of its own, which is
// written aside, read again and verified (docs/policy.md).
#pragma once

#include "base/object.h"
#include "policy/consult.h"

namespace flyball::policy {

using engine::CacheType;
using engine::GenerateOptions;
using engine::Generation;
using engine::GovernorSettings;
using engine::Session;

CacheType cache_of(u32 bits);  // of Configuration::cache_bits

struct PolicyOptions {
  GovernorSettings settings;
  u32 context = 0;  // what was asked for; 0: the model's, at most 8192
  CacheType cache = CacheType::f16;
  u32 max_tokens = 128;
  Str file;  // FILE gets the configuration, FILE.before the checkpoint, FILE.learnt what is known of actions; empty: none
  bool counts_starts = false;  // the program is the only one with the file, and ends in order unless something is wrong
};

class Policy : public InPlace {
 public:
  using State = governor::policy::State;
  using Action = governor::policy::Action;

  // Applying needs a file. One that is there and valid holds from the beginning; else its checkpoint, else nothing.
  static Result<Policy*> create(Model& model, const PolicyOptions& options);
  static void release(Policy* policy);  // in order, and before the model

  // FILE.limits bounds it: what a reliability run found makes it more careful, whatever the settings allow.
  bool limited() const { return limited_; }

  // What new sessions and answers are to use.
  u32 context() const { return state_.now.context; }
  u32 max_tokens() const { return state_.now.max_tokens; }
  void give(const Session& session, GenerateOptions* options) const;  // to an answer for which these are asked
  CacheType cache() const;
  const State& state() const { return state_; }
  const GovernorSettings& settings() const { return settings_; }
  Status govern(const GovernorSettings& settings);

  // A person asks for something else: that holds, whatever was changed before.
  Status ask_for(u32 context, CacheType cache, u32 max_tokens);

  // After each answer, and at a session's end: either may be the time to ask the model.
  Status turn_ended(const Generation& generation, Control control = {});
  Status session_ended(const Session& session, Control control = {});
  Status consult(const Session& session, Control control = {});
  Status consult_mock(const Session& session, Action action);  // as if a model had chosen it, without a doubt

  // What the model makes of a situation: the scores of all actions. Changes nothing.
  Status ask_model(Str situation, Control control, Span<f32> scores);

  // Decisions of the last of these calls, the newest at most.
  Span<const journal::Reason> told() const { return {told_, n_told_}; }
  u64 number() const { return number_; }  // in the journal; 0: nobody listens
  u64 turn() const { return n_turns_; }

 private:
  using Configuration = governor::policy::Configuration;
  template <class T, class... Arguments>
  friend T* flyball::create_object(const Platform& platform, Arguments&&... arguments);
  template <class T>
  friend void flyball::destroy_object(const Platform& platform, T* object);

  Policy(Model& model, const GovernorSettings& settings) : model_(model), settings_(settings), consultant_(model) {}

  void begin(const Configuration& base, const Configuration& now, Str source, const governor::policy::Learnt& learnt);
  Status open(const PolicyOptions& options);
  Str read_now(const Configuration& base, Configuration* now) const;
  Status read_file(Str path, const Configuration& base, Configuration* out) const;
  governor::policy::Learnt read_learnt() const;
  void start(const Configuration& base);
  Status check_file(const GovernorSettings& settings) const;
  GovernorSettings limit(const GovernorSettings& settings);
  Status ask(const Session& session, Control control);
  template <class Seen>
  void observe(journal::Reason reason, const Seen& seen);
  governor::policy::Applied apply(const Configuration& wanted, bool checkpoint) const;
  void tell(journal::Reason reason, Str data) const;
  void told(journal::Reason reason, Str data);
  governor::policy::Consulted consulted(const Session& session) const;
  void describe(const governor::policy::Consulted& seen, Writer& out) const;
  void keep_learnt() const;

  Model& model_;
  GovernorSettings settings_;
  State state_;
  Consultant consultant_;
  Text<512> file_;
  u64 number_ = 0;  // in the journal; 0: nobody listens
  u64 n_turns_ = 0;
  static constexpr u32 max_told = 16;
  journal::Reason told_[max_told] = {};
  u32 n_told_ = 0;
  bool limited_ = false;
};

}  // namespace flyball::policy
