// The governor of a session: (settings, state, observation) -> (state, what to do, decisions recorded). It reads no
// clock, no file and no model, so that replaying a journal's observations gives the journal's decisions.
#pragma once

#include "base/span.h"
#include "governor/draft_policy.h"
#include "governor/observation.h"
#include "governor/settings.h"

namespace flyball::governor {

// Takes decisions one by one, as they are made.
struct Record {
  void* context = nullptr;
  void (*record)(void* context, Reason reason, Str data) = nullptr;
  void operator()(Reason reason, Str data) const {
    if (record) record(context, reason, data);
  }
};

struct State {
  Baseline baseline;
  u64 n_calibrated = 0;             // answers behind the baseline
  u64 tightness = 0;                // steps by which settings are bounded below the requested values
  u64 since_change = u64(1) << 32;  // answers since tightness changed; at first it never has
  bool tightened = false;           // the last change
  u64 safe_turns_left = 0;          // 0: not in safe mode

  // Windows of plain decode steps, and between them trials of another number of threads.
  struct Threads {
    u32 most = 1;   // the session's
    u32 now = 1;    // in use
    u32 trial = 0;  // being tried; 0: none
    u32 pause = 0;  // steps of a window; doubles after each failed trial
    u32 n = 0;      // steps of the window or trial so far, and what they cost and should have
    u64 cycles = 0;
    u64 expected = 0;
    u64 usual_percent = 0;  // of the last window
  } threads;

  // Draft tokens, and whether the last decision was that they pay.
  DraftPolicy drafts;
  bool drafts_pay = false;

  struct Turn {
    Knobs asked;
    u64 depth = 0;  // tokens before the next one
    u64 gained = 0;
    u64 decode_tokens = 0;
    u64 decode_cycles = 0;
    u64 plain_calls = 0;
    u64 plain_cycles = 0;
    u64 plain_attention_cycles = 0;
    u64 plain_depth = 0;  // sum over plain calls
    u64 last_token_us = 0;
    u64 overruns = 0;
    u64 drafted = 0;
    u64 accepted = 0;
    u64 simulated = 0;  // a bit for each reason that would have ended it
    bool stopped = false;
  } turn;
};

// Begins a session: with the machine's baseline, or none (the first answers then calibrate it).
State begin(const Settings& settings, const Baseline& known, u32 decode_threads = 1);
bool calibrated(const Settings& settings, const State& state);

// What an answer with these requested settings gets: the same, or less.
Knobs effective(const Settings& settings, const State& state, Knobs asked);

// Begins an answer; returns its settings.
Knobs begin_turn(const Settings& settings, State& state, const TurnBegun& seen, Record record);

// Whether the answer ends here, and why.
struct Verdict {
  bool stop = false;
  Reason reason = Reason::GUARD_TURN_STOP;
};
Verdict observe(const Settings& settings, State& state, const Call& call, Record record);
Verdict observe(const Settings& settings, State& state, const CutShort& seen, Record record);
Verdict observe(const Settings& settings, State& state, const MemorySeen& seen, Record record);
Verdict observe(const Settings& settings, State& state, const LoopSeen& seen, Record record);

// Threads for the next decode step of the session alone.
inline u32 decode_threads(const State& state) { return state.threads.trial ? state.threads.trial : state.threads.now; }

// How many of `most` draft tokens to check with the next decode step of the session alone. Changes nothing:
// observe_drafts() updates the policy.
inline u32 draft_count(const State& state, u32 most) { return DraftPolicy(state.drafts).choose(most); }
void observe_drafts(State& state, const Call& call);  // a part of observe(), for a session without governor and journal

struct Afterwards {
  bool reset_cache = false;
  bool calibrated = false;  // the baseline is new, or better than before
};
Afterwards end_turn(const Settings& settings, State& state, Record record);

// Parts of the above, each in its own file.
Knobs tightened(const Settings& settings, Knobs asked, u64 tightness);
Knobs safe(const Settings& settings, Knobs knobs);
bool calibrate(const Settings& settings, State& state, Record record);
void autotune(const Settings& settings, State& state, Record record);
void try_threads(const Settings& settings, State& state, const Call& call, Record record);
void record_drafts(State& state, Record record);
u64 budget_at(const Settings& settings, const State& state, u64 depth);  // cycles of one step; 0: no budget

}  // namespace flyball::governor
