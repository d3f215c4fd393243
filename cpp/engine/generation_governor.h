// The governor's side of one answer: its observations and its decisions. Private to engine/.
#pragma once

#include "engine/engine.h"
#include "governor/loop_watch.h"

namespace flyball::engine {

class GenerationGovernor {
 public:
  // Begins the answer: its settings may come out smaller. Memory for the journal comes from the arena.
  Status begin(Generation::State& generation, Arena& arena);

  // After each transformer call of this answer, each shown token, and a call that a deadline ended.
  void called(governor::Call call);  // but for its time, which is now
  void showed(Span<const Token> tokens);
  void cut_short();
  void end();

  u32 draft_count(u32 most) const;           // how many of these to check with the next call
  u64 deadline_ns() const;                   // of the answer and its governor; 0: none
  StopReason stop() const { return stop_; }  // none: goes on
  Span<const Decision> decisions() const { return {decisions_, n_decisions_}; }

 private:
  static constexpr u32 max_decisions = 16;
  static constexpr u64 calls_between_memory = 64;

  // Whether this is still the current answer of the session's governor.
  bool current() const;
  bool watched() const;  // a journal records it, or a governor may decide
  governor::State& state();
  const governor::Settings& settings() const;
  governor::Record record();
  void decided(journal::Reason reason, Str data);
  void obey(const governor::Verdict& verdict);
  u64 elapsed_us() const;
  void flush_calls();
  void record_receipt();
  void look_at_memory();
  template <class Seen>
  void observe(journal::Reason reason, const Seen& seen);

  Generation::State* generation_ = nullptr;
  u64 start_ns_ = 0;
  u64 n_calls_ = 0;
  Span<governor::Call> calls_;  // not yet in the journal; empty: no journal
  u64 n_waiting_ = 0;
  governor::LoopWatch loops_;
  bool loop_seen_ = false;
  StopReason stop_ = StopReason::none;
  Decision decisions_[max_decisions];
  u32 n_decisions_ = 0;
};

}  // namespace flyball::engine
