// The closed registry of reasons (contract 3): whatever decides names one, and an id that is not here cannot be written.
// Python, docs/reasons.md and the tests read this list.
#pragma once

#include "base/span.h"

namespace flyball::journal {

// REASON(family, name, event, meaning): the id is FAMILY_NAME; `event` says what happened, the reason why.
#define FLYBALL_REASONS(REASON)                                                                                     \
  REASON(MODEL, LOADED, "model_load", "a model file was accepted and its weights prepared")                         \
  REASON(MODEL, TUNED, "tune", "threads were chosen by short measured probes")                                      \
  REASON(MODEL, TUNING_REMEMBERED, "tune", "threads were chosen as probes on this processor once chose them")       \
  REASON(MODEL, ISA_CHOSEN, "tune", "an instruction set was chosen by short measured probes")                       \
  REASON(SESSION, OPENED, "session_open", "a session was opened on a model; data has the settings of its governor") \
  REASON(SESSION, SETTINGS, "settings", "the settings of the session's governor were changed")                      \
  REASON(SESSION, CACHE_RESET, "cache_reset", "the session's cache was emptied on request")                         \
  REASON(SESSION, TURN_BEGUN, "turn_begin", "an answer was asked for; data has the settings that were asked for")   \
  REASON(SESSION, CALLS, "calls", "transformer calls of an answer: kind, rows, tokens gained, cycles, time")        \
  REASON(SESSION, CUT_SHORT, "cut_short", "a clock ended a call before it was complete")                            \
  REASON(SESSION, MEMORY_SEEN, "memory", "free memory, looked at because there is a floor")                         \
  REASON(SESSION, LOOP_SEEN, "loop", "the last tokens of an answer repeat themselves")                              \
  REASON(SESSION, TURN_ENDED, "turn_end", "an answer came to its end; data has what it cost")                       \
  REASON(SESSION, RECEIPT, "receipt",                                                                               \
         "a part of an answer's receipt, where the journal is to have prompts and answers")                         \
  REASON(SESSION, CLOSED, "session_close", "a session was closed")                                                  \
  REASON(SESSION, POLICY_OPENED, "policy_open",                                                                     \
         "a policy looks after a model's sessions; data has its settings, and what it has learnt")                  \
  REASON(SESSION, TURN_SEEN, "turn_seen", "what an answer has shown: speed, memory, how it ended")                  \
  REASON(SESSION, CONSULTED, "consult", "a model was asked what to change: its scores of all actions")              \
  REASON(SESSION, APPLIED, "applied", "the configuration's file, read again after a change")                        \
  REASON(SESSION, RESTORED, "restored", "the configuration's file, after it was to be as before")                   \
  REASON(SESSION, START_SEEN, "start",                                                                              \
         "a program with a policy's file has started; data has the checkpoint that lies beside it")                 \
  REASON(AUTOTUNE, CALIBRATED, "baseline", "what a token costs on this machine is known")                           \
  REASON(AUTOTUNE, BASELINE_LOWERED, "baseline", "a token can cost less than was known")                            \
  REASON(AUTOTUNE, TIGHTEN, "tighten", "an answer cost more than the high mark: later ones are bounded further")    \
  REASON(AUTOTUNE, RELAX, "relax", "an answer cost less than the low mark: a bound is taken back by a step")        \
  REASON(AUTOTUNE, TIGHTEN_SIMULATED, "tighten", "would tighten, but is to tell only")                              \
  REASON(AUTOTUNE, RELAX_SIMULATED, "relax", "would relax, but is to tell only")                                    \
  REASON(AUTOTUNE, THREADS, "threads", "decoding goes on with another number of threads, which is cheaper now")     \
  REASON(AUTOTUNE, AT_FLOOR, "blocked", "would tighten, but every bound is at its floor")                           \
  REASON(AUTOTUNE, SETTLING, "blocked", "would reverse the last change, which is too young")                        \
  REASON(AUTOTUNE, SAFE_MODE, "blocked", "would relax, but nothing is relaxed in safe mode")                        \
  REASON(AUTOTUNE, TOO_SHORT, "blocked", "cannot judge the answer: too few decode steps")                           \
  REASON(AUTOTUNE, CAPS, "caps", "an answer got less than was asked for, because of earlier tightening")            \
  REASON(GUARD, BUDGET_STOP, "stop", "too many steps of an answer took more cycles than their budget")              \
  REASON(GUARD, FIRST_TOKEN_STOP, "stop", "the first token took longer than it may")                                \
  REASON(GUARD, TOKEN_STOP, "stop", "a token took longer than it may")                                              \
  REASON(GUARD, TURN_STOP, "stop", "the answer took longer than it may")                                            \
  REASON(GUARD, LOOP_STOP, "stop", "the answer repeated itself")                                                    \
  REASON(GUARD, MEMORY_STOP, "stop", "free memory fell below its floor")                                            \
  REASON(GUARD, STOP_SIMULATED, "stop", "would end the answer, but is to tell only")                                \
  REASON(GUARD, SAFE_ENTERED, "safe_mode", "an answer was ended: the next ones are bounded")                        \
  REASON(GUARD, SAFE_CAPS, "caps", "an answer got less than was asked for, because of safe mode")                   \
  REASON(GUARD, SAFE_LEFT, "safe_mode", "safe mode has ended: its bounds are gone")                                 \
  REASON(GUARD, CACHE_RESET, "cache_reset", "the session's cache was emptied after an answer that was ended")       \
  REASON(SPECULATION, PAYS, "guesses", "checking guessed tokens pays: steps check some wherever there are any")     \
  REASON(SPECULATION, PAUSED, "guesses", "checking guessed tokens does not pay any more: they are tried seldom")    \
  REASON(POLICY, IN_FORCE, "in_force", "an answer was made with what the policy has changed")                       \
  REASON(POLICY, WORSE, "mode", "too many answers showed trouble: less is risked")                                  \
  REASON(POLICY, BETTER, "mode", "answers were calm for long enough: more may be tried")                            \
  REASON(POLICY, START_FAILED, "start", "the run before ended out of order before it was stable")                   \
  REASON(POLICY, START_STABLE, "stable", "answers since the start were calm long enough: what it has is proven")    \
  REASON(POLICY, STAY, "choice", "of all actions the model chose to change nothing")                                \
  REASON(POLICY, CHOICE, "choice", "of all actions the model chose one that changes something")                     \
  REASON(POLICY, SUGGESTED, "suggest", "an action that only a person can take")                                     \
  REASON(CONFIDENCE, PASSED, "confidence", "the score reaches the threshold")                                       \
  REASON(CONFIDENCE, TOO_LOW, "blocked", "the score is below the threshold: nothing is applied")                    \
  REASON(CONFIDENCE, LOG_ONLY, "confidence", "the score is below the threshold, but is to be told only")            \
  REASON(PLAN, CHECKPOINT, "checkpoint", "the configuration is kept as it was before the plan's first step")        \
  REASON(PLAN, STEP, "step", "the plan goes on by a step: the configuration is to change")                          \
  REASON(PLAN, RESTORED, "restore", "the configuration is as it was at the checkpoint")                             \
  REASON(PLAN, NOT_RESTORED, "restore", "the configuration could not be made as it was at the checkpoint")          \
  REASON(PLAN, ROLLED_BACK, "restore", "a start failed with a change that none has proven: the change goes back")   \
  REASON(PLAN, HARD_STOP, "hard_stop", "a step could not be verified: the session's plan ends")                     \
  REASON(APPLY, VERIFIED, "apply", "the change is in the file: read again, in range, byte for byte")                \
  REASON(APPLY, NOT_VERIFIED, "apply", "the file does not have the change that was to be written")                  \
  REASON(APPLY, SIMULATED, "blocked", "would be applied, but is to be told only")                                   \
  REASON(APPLY, GIVEN_BACK, "give_back", "the cause is gone: a setting goes back to what was asked for")            \
  REASON(APPLY, UNDONE, "give_back", "a change did harm: the setting goes back to what it was")                     \
  REASON(BLOCK, HARD_STOP, "blocked", "the session's plan has ended")                                               \
  REASON(BLOCK, PLAN_DONE, "blocked", "the session has had all the changes that it may")                            \
  REASON(BLOCK, JUDGING, "blocked", "the change before is still being judged")                                      \
  REASON(BLOCK, AT_LIMIT, "blocked", "the setting is at its limit")                                                 \
  REASON(BLOCK, NO_CAUSE, "blocked", "would reduce, but nothing is wrong")                                          \
  REASON(BLOCK, CONSERVATIVE, "blocked", "would increase, but only reductions are to be applied")                   \
  REASON(BLOCK, MODE, "blocked", "would increase, which only the normal mode may")                                  \
  REASON(BLOCK, MEMORY, "blocked", "would increase, but too little memory would be left")                           \
  REASON(OUTCOME, HELPED, "outcome", "answers after a change are better than those before")                         \
  REASON(OUTCOME, HARMED, "outcome", "answers after a change are worse than those before")                          \
  REASON(OUTCOME, UNDECIDED, "outcome", "answers after a change and before do not differ beyond chance")            \
  REASON(PREFLIGHT, READY, "preflight", "what the run needs is there")                                              \
  REASON(PREFLIGHT, MISSING, "preflight", "something that the run needs is not there")                              \
  REASON(PREFLIGHT, REFUSED, "preflight", "the model or the configuration cannot be used")                          \
  REASON(SCENARIO, COMPLETE, "scenario", "the frozen script ran to its end and left what it should")                \
  REASON(SCENARIO, BROKEN, "scenario", "the script ended early, or something in it went wrong")                     \
  REASON(STARTUP, HOLDS, "startup", "loading and the first token are within budget, and no slower than they were")  \
  REASON(STARTUP, OVER_BUDGET, "startup", "loading or the first token takes longer than it may")                    \
  REASON(STARTUP, SLOWER, "startup", "loading or the first token became slower, beyond chance")                     \
  REASON(STARTUP, LEARNING, "startup", "too few runs on this machine to say whether it became slower")              \
  REASON(QUALITY, HOLDS, "quality", "applied changes do no more harm than they may")                                \
  REASON(QUALITY, HARMFUL_SHARE, "quality", "a larger share of applied changes did harm than may")                  \
  REASON(QUALITY, HARMFUL_STREAK, "quality", "as many applied changes in a row did harm as may not")                \
  REASON(QUALITY, LEARNING, "quality", "too few applied changes were judged")                                       \
  REASON(HEAL, ACTIVE, "heal", "nothing is bounded: the policy may change what its settings allow")                 \
  REASON(HEAL, QUARANTINED, "heal", "the policy may not change anything until runs were stable")                    \
  REASON(HEAL, KEPT, "heal", "the quarantine goes on: too few runs in a row were stable")                           \
  REASON(HEAL, CANARY_BEGUN, "heal", "stable for long enough: a bounded trial of the policy begins")                \
  REASON(HEAL, CANARY_GOES_ON, "heal", "the trial has not yet shown enough to decide")                              \
  REASON(HEAL, RELEASED, "heal", "the trial has shown that harm is rare: the bounds are gone")                      \
  REASON(HEAL, ROLLED_BACK, "heal", "the trial has shown harm, or a gate has failed in it: quarantine again")       \
  REASON(HEAL, LATCHED, "heal", "a person holds the quarantine until it is reset")                                  \
  REASON(HEAL, RESET, "heal", "a person has set the state")                                                         \
  REASON(CURRICULUM, SET, "curriculum", "the confidence that changes need, by phase, workload and outcomes")        \
  REASON(EXPLAIN, COMPLETE, "explain", "each decision, stage and threshold can be explained")                       \
  REASON(EXPLAIN, GAPS, "explain", "a decision, a stage or a threshold cannot")                                     \
  REASON(COVERAGE, HOLDS, "coverage", "every marker has a registered reason, log and journal agree")                \
  REASON(COVERAGE, GAPS, "coverage", "a marker has no reason, or one that is not in the registry")                  \
  REASON(COVERAGE, DIFFERS, "coverage", "log and journal do not tell the same, or the journal does not hold")       \
  REASON(COVERAGE, UNDOCUMENTED, "coverage", "registry and documentation do not list the same reasons")             \
  REASON(DRIFT, HOLDS, "drift", "reasons are distributed as they were")                                             \
  REASON(DRIFT, DISTRIBUTION, "drift", "reasons are distributed otherwise than they were, beyond chance")           \
  REASON(DRIFT, UNSEEN, "drift", "reasons that the baseline has not seen have too large a share")                   \
  REASON(DRIFT, HARMFUL, "drift", "reasons that tell of harm have a larger share than before")                      \
  REASON(DRIFT, LEARNING, "drift", "too few events to compare")                                                     \
  REASON(METRICS, HOLDS, "metrics", "tokens cost what they cost in the baseline")                                   \
  REASON(METRICS, SLOWER, "metrics", "tokens cost more than in the baseline, beyond chance")                        \
  REASON(METRICS, LEARNING, "metrics", "no baseline of this machine and model, or too few runs")                    \
  REASON(BENCH, HOLDS, "bench", "the same digests and counters, and no slow-down beyond chance")                    \
  REASON(BENCH, SLOWER, "bench", "a case became slower, beyond chance and by more than may be")                     \
  REASON(BENCH, WATCH, "bench", "a case may have become slower: the evidence does not suffice to say")              \
  REASON(BENCH, DIGEST, "bench", "a case gives another answer")                                                     \
  REASON(BENCH, COUNTER, "bench", "a case counts more work")                                                        \
  REASON(BENCH, VANISHED, "bench", "a case is gone")                                                                \
  REASON(BENCH, LEARNING, "bench", "there is nothing to compare with")                                              \
  REASON(DASHBOARD, WRITTEN, "dashboard", "the pages are written, every number from the results")                   \
  REASON(REPORT, WRITTEN, "report", "the summaries are written")                                                    \
  REASON(RELEASE, READY, "release", "the archives are complete, and the same again")                                \
  REASON(RELEASE, DIFFERS, "release", "the same sources gave other bytes")                                          \
  REASON(RELEASE, BROKEN, "release", "an archive lacks something, or does not work")                                \
  REASON(RUN, CRASHED, "run", "a stage could not be carried out: nothing can be told from it")                      \
  REASON(RUN, CLEARED, "run", "an interrupted run was given up, and a new one began")

enum class Reason : u16 {
#define FLYBALL_REASON(family, name, event, meaning) family##_##name,
  FLYBALL_REASONS(FLYBALL_REASON)
#undef FLYBALL_REASON
};

struct ReasonInfo {
  Str id;
  Str family;
  Str event;
  Str meaning;
};

Span<const ReasonInfo> reasons();  // in the order of Reason
inline const ReasonInfo& info(Reason reason) { return reasons()[u64(reason)]; }
[[nodiscard]] bool find_reason(Str id, Reason* out);

}  // namespace flyball::journal
