// The closed registry of reasons (contract 3): each decision names one, and the journal takes no other id. Python,
// docs/reasons.md and the tests read this list.
#pragma once

#include "base/span.h"

namespace flyball::journal {

// REASON(family, name, event, meaning): the id is FAMILY_NAME; `event` says what happened, the reason why.
#define FLYBALL_REASONS(REASON)                                                                                       \
  REASON(MODEL, LOADED, "model_load", "a model file passed its checks and its weights are prepared")                  \
  REASON(MODEL, TUNED, "tune", "short measured probes chose the number of threads")                                   \
  REASON(MODEL, TUNING_CACHED, "tune",                                                                                \
         "the number of threads is the cached result of earlier probes on this processor")                            \
  REASON(MODEL, ISA_CHOSEN, "tune", "short measured probes chose the instruction set")                                \
  REASON(MODEL, ADAPTER_LOADED, "adapter_load",                                                                       \
         "an adapter passed its checks; data has its fingerprint and whether it changes any logits")                  \
  REASON(SESSION, OPENED, "session_open", "a session was opened on a model; data has the settings of its governor")   \
  REASON(SESSION, SETTINGS, "settings", "the settings of the session's governor were changed")                        \
  REASON(SESSION, CACHE_RESET, "cache_reset", "the session's cache was emptied on request")                           \
  REASON(SESSION, TURN_BEGUN, "turn_begin", "an answer was requested; data has the requested settings")               \
  REASON(SESSION, CALLS, "calls", "transformer calls of an answer: kind, rows, tokens gained, cycles, time")          \
  REASON(SESSION, CUT_SHORT, "cut_short", "a deadline ended a call before it was complete")                           \
  REASON(SESSION, MEMORY_SEEN, "memory", "free memory, measured because there is a floor")                            \
  REASON(SESSION, LOOP_SEEN, "loop", "the last tokens of an answer repeat themselves")                                \
  REASON(SESSION, TURN_ENDED, "turn_end", "an answer ended; data has its cost")                                       \
  REASON(SESSION, RECEIPT, "receipt", "a part of an answer's receipt, in a journal that keeps prompts and answers")   \
  REASON(SESSION, CLOSED, "session_close", "a session was closed")                                                    \
  REASON(SESSION, POLICY_OPENED, "policy_open",                                                                       \
         "a policy manages a model's sessions; data has its settings and its history")                                \
  REASON(SESSION, TURN_SEEN, "turn_seen", "what the policy measured of an answer: speed, memory, how it ended")       \
  REASON(SESSION, CONSULTED, "consult", "the policy asked a model what to change; data has its score of each action") \
  REASON(SESSION, APPLIED, "applied", "the configuration's file, read again after a change")                          \
  REASON(SESSION, RESTORED, "restored", "the configuration's file, after it was restored")                            \
  REASON(SESSION, START_SEEN, "start",                                                                                \
         "a program that uses a policy's file has started; data has the checkpoint beside it")                        \
  REASON(JOURNAL, SET_ASIDE, "set_aside",                                                                             \
         "the journal before could not go on: its files were renamed, and this one began")                            \
  REASON(JOURNAL, HEAD_MISSING, "head_missing",                                                                       \
         "the journal goes on without the head that it had: lines cut off before this one would not be seen")         \
  REASON(AUDIT, SIGNED, "sign", "a receipt was signed; data has its id, the key and the hash of the statement")       \
  REASON(AUDIT, CACHE_MISMATCH, "verify",                                                                             \
         "an answer that was given again was computed otherwise: it is given no more; data has its receipt's id")     \
  REASON(ADAPTER, ADDED, "adapter", "an adapter was checked against its model and is in the registry")                \
  REASON(ADAPTER, PROMOTABLE, "gate",                                                                                 \
         "better where answers were held out, others are as they were, and no safety prompt fails")                   \
  REASON(ADAPTER, NO_EFFECT, "gate",                                                                                  \
         "the adapter changes no logits, or none that its parent does not change likewise")                           \
  REASON(ADAPTER, INEXACT, "gate", "with the scale 0 the logits are not those without an adapter")                    \
  REASON(ADAPTER, WORSE, "gate", "where answers were held out it is worse, beyond chance")                            \
  REASON(ADAPTER, FORGETS, "gate", "a larger share of the answers that shall stay has changed than allowed")          \
  REASON(ADAPTER, UNSAFE, "gate", "a safety prompt gets an answer that it must not get")                              \
  REASON(ADAPTER, UNDECIDED, "gate", "too few answers to judge the adapter")                                          \
  REASON(ADAPTER, PROMOTED, "promote", "an adapter that passed its gate is active: it answers from now on")           \
  REASON(ADAPTER, FORCED, "promote", "a person made an adapter answer without a passed gate")                         \
  REASON(ADAPTER, CANARY_BEGUN, "promote",                                                                            \
         "an adapter answers a share of the requests, and is compared with the others")                               \
  REASON(ADAPTER, CANARY_PASSED, "promote", "the canary's answers are not worse than the others: it is active")       \
  REASON(ADAPTER, CANARY_WORSE, "rollback",                                                                           \
         "the canary's answers are worse than the others, beyond chance: it is rolled back")                          \
  REASON(ADAPTER, ROLLED_BACK, "rollback",                                                                            \
         "a person rolled an adapter back: the one before it answers, or the model alone")                            \
  REASON(ADAPTER, RETIRED, "retire", "a person retired an adapter")                                                   \
  REASON(ADAPTER, IN_USE, "adapter",                                                                                  \
         "a server answers a project's requests with this adapter, or with none, from now on")                        \
  REASON(ADAPTER, UNUSABLE, "adapter", "an adapter in use cannot be loaded: the model answers without it")            \
  REASON(ROUTE, REGISTRY_LOADED, "route_registry",                                                                    \
         "the registry of routes was read; data has its digest, its intents and their floors")                        \
  REASON(ROUTE, REGISTRY_REFUSED, "route_registry",                                                                   \
         "the registry of routes was changed and cannot be used: the one before goes on")                             \
  REASON(ROUTE, INTENT, "route", "a request went to a model of the intent that its text has")                         \
  REASON(ROUTE, BELOW_FLOOR, "route", "the text's intent is less likely than its floor: the fallback answers")        \
  REASON(ROUTE, NO_TEXT, "route", "a request had no text that could tell its intent: the fallback answers")           \
  REASON(ROUTE, MODELS_OUT, "route", "no model of the intent could answer: its fallback does")                        \
  REASON(ROUTE, NOTHING_LEFT, "route",                                                                                \
         "neither the intent's models nor its fallbacks could answer: the request is refused")                        \
  REASON(ROUTE, REPEATED, "route", "a request came again, and went where it went before")                             \
  REASON(ROUTE, MODEL_OPENED, "route_health", "a model failed repeatedly: it is asked nothing for a while")           \
  REASON(ROUTE, MODEL_TRIED, "route_health", "one request tries whether a model that failed answers again")           \
  REASON(ROUTE, MODEL_CLOSED, "route_health", "a model that failed answers again")                                    \
  REASON(MEMORY, RECALLED, "recall", "what is remembered was put into a prompt; data has ids and the answer's id")    \
  REASON(MEMORY, FORGOTTEN, "forget", "what was remembered was deleted; data has the number and hash of the record")  \
  REASON(GUARDIAN, REJECTED, "guardian", "a guardian rejected an answer; data has its name and what it found")        \
  REASON(PLUGIN, ALLOWED, "plugin",                                                                                   \
         "a project's owner allowed a plugin; data has its name and the digest of its code")                          \
  REASON(PLUGIN, REFUSED, "plugin", "a plugin was asked for that the project has not allowed, or that has changed")   \
  REASON(PLUGIN, CALLED, "plugin", "a plugin gave a result")                                                          \
  REASON(PLUGIN, FAILED, "plugin", "a plugin crashed, took too long, or gave what is no result")                      \
  REASON(PLUGIN, QUARANTINED, "plugin", "a plugin failed repeatedly: it is asked nothing until a person allows it")   \
  REASON(SETTINGS, CHANGED, "settings",                                                                               \
         "a server goes by other settings from now on; data has who changed what, and what was before")               \
  REASON(SETTINGS, REFUSED, "settings", "a server cannot go by a revision of the settings: it goes on with its own")  \
  REASON(SETTINGS, ROLLED_BACK, "settings", "a server did worse after a change of settings: it was taken back")       \
  REASON(REPLICA, JOINED, "replica", "a replica gives the answers that the others give: it gets requests")            \
  REASON(REPLICA, DIFFERS, "replica", "a replica serves another model, setting or version: it gets no requests")      \
  REASON(REPLICA, LOST, "replica", "a replica does not answer, or says that it cannot: it gets no requests")          \
  REASON(REPLICA, MISMATCH, "replica",                                                                                \
         "a replica computed what the others do not: it is taken out until a person puts it back")                    \
  REASON(REPLICA, CONTINUED, "replica", "an answer's replica was lost: another one went on at the next token")        \
  REASON(AUTOTUNE, CALIBRATED, "baseline", "the cost of a token on this machine is known")                            \
  REASON(AUTOTUNE, BASELINE_LOWERED, "baseline", "a token costs less than the baseline")                              \
  REASON(AUTOTUNE, TIGHTEN, "tighten", "an answer cost more than the high mark: later answers get one step less")     \
  REASON(AUTOTUNE, RELAX, "relax", "an answer cost less than the low mark: later answers get one step more")          \
  REASON(AUTOTUNE, TIGHTEN_SIMULATED, "tighten", "would tighten, but the mode is simulate")                           \
  REASON(AUTOTUNE, RELAX_SIMULATED, "relax", "would relax, but the mode is simulate")                                 \
  REASON(AUTOTUNE, THREADS, "threads", "decoding goes on with another number of threads, which is cheaper now")       \
  REASON(AUTOTUNE, AT_FLOOR, "blocked", "would tighten, but every bound is at its floor")                             \
  REASON(AUTOTUNE, COOLDOWN, "blocked", "would reverse the last change, which is too recent")                         \
  REASON(AUTOTUNE, SAFE_MODE, "blocked", "would relax, but safe mode relaxes nothing")                                \
  REASON(AUTOTUNE, TOO_SHORT, "blocked", "the answer has too few decode steps to judge its cost")                     \
  REASON(AUTOTUNE, CAPS, "caps", "an answer got less than requested, because of earlier tightening")                  \
  REASON(GUARD, BUDGET_STOP, "stop", "too many steps of an answer exceeded their budget of cycles")                   \
  REASON(GUARD, FIRST_TOKEN_STOP, "stop", "the first token exceeded its time limit")                                  \
  REASON(GUARD, TOKEN_STOP, "stop", "a token exceeded its time limit")                                                \
  REASON(GUARD, TURN_STOP, "stop", "the answer exceeded its time limit")                                              \
  REASON(GUARD, LOOP_STOP, "stop", "the answer repeated itself")                                                      \
  REASON(GUARD, MEMORY_STOP, "stop", "free memory fell below its floor")                                              \
  REASON(GUARD, STOP_SIMULATED, "stop", "would end the answer, but the mode is simulate")                             \
  REASON(GUARD, SAFE_ENTERED, "safe_mode", "the guard ended an answer: the next ones are bounded")                    \
  REASON(GUARD, SAFE_CAPS, "caps", "an answer got less than requested, because of safe mode")                         \
  REASON(GUARD, SAFE_EXITED, "safe_mode", "safe mode has ended, and its bounds with it")                              \
  REASON(GUARD, CACHE_RESET, "cache_reset", "the session's cache was emptied after the guard ended an answer")        \
  REASON(SPECULATION, PAYS, "speculation", "draft tokens save time: steps verify them wherever there are any")        \
  REASON(SPECULATION, PAUSED, "speculation", "draft tokens save no time: they are tried rarely")                      \
  REASON(POLICY, IN_FORCE, "in_force", "an answer was made with settings that the policy has changed")                \
  REASON(POLICY, WORSE, "mode", "too many answers showed trouble: the policy risks less")                             \
  REASON(POLICY, BETTER, "mode", "enough answers in a row were calm: the policy may risk more")                       \
  REASON(POLICY, START_FAILED, "start", "the previous run crashed before it was stable")                              \
  REASON(POLICY, START_STABLE, "stable", "enough answers since the start were calm: the current settings are proven") \
  REASON(POLICY, STAY, "choice", "of all actions the model chose to change nothing")                                  \
  REASON(POLICY, CHOICE, "choice", "of all actions the model chose one that changes something")                       \
  REASON(POLICY, SUGGESTED, "suggest", "the model chose an action that only a user can take")                         \
  REASON(CONFIDENCE, PASSED, "confidence", "the confidence reaches the threshold")                                    \
  REASON(CONFIDENCE, TOO_LOW, "blocked", "the confidence is below the threshold: nothing is applied")                 \
  REASON(CONFIDENCE, LOG_ONLY, "confidence", "the confidence is below the threshold, but the gate only logs")         \
  REASON(PLAN, CHECKPOINT, "checkpoint", "the configuration before the plan's first step was saved")                  \
  REASON(PLAN, STEP, "step", "the plan's next step: the configuration is to change")                                  \
  REASON(PLAN, RESTORED, "restore", "the configuration was restored to the checkpoint")                               \
  REASON(PLAN, NOT_RESTORED, "restore", "the configuration could not be restored to the checkpoint")                  \
  REASON(PLAN, ROLLED_BACK, "restore", "a start failed with an unproven change: the change is rolled back")           \
  REASON(PLAN, HARD_STOP, "hard_stop", "a step could not be verified: the session's plan ends")                       \
  REASON(APPLY, VERIFIED, "apply", "the file has the change: read again, in range, byte for byte")                    \
  REASON(APPLY, NOT_VERIFIED, "apply", "the file does not have the change")                                           \
  REASON(APPLY, SIMULATED, "blocked", "would apply the change, but the policy only suggests")                         \
  REASON(APPLY, REVERTED, "revert", "the cause is gone: a setting returns to the requested value")                    \
  REASON(APPLY, UNDONE, "revert", "a change did harm: the setting returns to its previous value")                     \
  REASON(BLOCK, HARD_STOP, "blocked", "the session's plan has ended")                                                 \
  REASON(BLOCK, PLAN_DONE, "blocked", "the session has had all the changes that it may have")                         \
  REASON(BLOCK, TRIAL_PENDING, "blocked", "the previous change is still on trial")                                    \
  REASON(BLOCK, AT_LIMIT, "blocked", "the setting is at its limit")                                                   \
  REASON(BLOCK, NO_CAUSE, "blocked", "would reduce, but nothing is wrong")                                            \
  REASON(BLOCK, CONSERVATIVE, "blocked", "would increase, but auto_apply is conservative")                            \
  REASON(BLOCK, MODE, "blocked", "would increase, which only the normal mode may")                                    \
  REASON(BLOCK, MEMORY, "blocked", "would increase, but too little memory would be left")                             \
  REASON(OUTCOME, IMPROVED, "outcome", "answers after a change are better than those before")                         \
  REASON(OUTCOME, REGRESSED, "outcome", "answers after a change are worse than those before")                         \
  REASON(OUTCOME, INCONCLUSIVE, "outcome", "too few answers could be compared, or they do not differ beyond chance")  \
  REASON(OUTCOME, UNCHANGED, "outcome", "enough answers were compared to see harm, and there was none")               \
  REASON(PREFLIGHT, READY, "preflight", "everything that the run needs is there")                                     \
  REASON(PREFLIGHT, MISSING, "preflight", "something that the run needs is missing")                                  \
  REASON(PREFLIGHT, REFUSED, "preflight", "the model or the configuration cannot be used")                            \
  REASON(SCENARIO, COMPLETE, "scenario", "the frozen script ran to its end and left the expected files")              \
  REASON(SCENARIO, BROKEN, "scenario", "the script ended early, or one of its steps failed")                          \
  REASON(STARTUP, PASSED, "startup", "loading and the first token are within budget, and no slower than before")      \
  REASON(STARTUP, OVER_BUDGET, "startup", "loading or the first token exceeds its budget")                            \
  REASON(STARTUP, SLOWER, "startup", "loading or the first token became slower, beyond chance")                       \
  REASON(STARTUP, INSUFFICIENT_DATA, "startup", "too few runs on this machine to judge a slow-down")                  \
  REASON(STARTUP, CONTENDED, "startup", "other load, or a baseline that varies, hides slow-downs of loading")         \
  REASON(QUALITY, PASSED, "quality", "applied changes do no more harm than allowed")                                  \
  REASON(QUALITY, HARMFUL_SHARE, "quality", "a larger share of applied changes did harm than allowed")                \
  REASON(QUALITY, HARMFUL_STREAK, "quality", "more applied changes in a row did harm than allowed")                   \
  REASON(QUALITY, INSUFFICIENT_DATA, "quality", "too few applied changes were judged")                                \
  REASON(QUALITY, UNDECIDED, "quality", "changes were applied, but too few of them could be judged")                  \
  REASON(HEAL, ACTIVE, "heal", "the policy may change what its settings allow")                                       \
  REASON(HEAL, QUARANTINED, "heal", "the policy may change nothing until enough runs are stable")                     \
  REASON(HEAL, KEPT, "heal", "the quarantine goes on: too few runs in a row were stable")                             \
  REASON(HEAL, CANARY_BEGUN, "heal", "enough runs were stable: a bounded trial of the policy begins")                 \
  REASON(HEAL, CANARY_GOES_ON, "heal", "the trial has too little evidence to decide")                                 \
  REASON(HEAL, RELEASED, "heal", "the trial has shown that harm is rare: the bounds are gone")                        \
  REASON(HEAL, ROLLED_BACK, "heal", "the trial has shown harm, or a gate failed in it: quarantine again")             \
  REASON(HEAL, LATCHED, "heal", "a user keeps the quarantine until they reset it")                                    \
  REASON(HEAL, RESET, "heal", "a user has set the state")                                                             \
  REASON(HEAL, OTHER_SUBJECT, "heal", "the quarantine is about another model, target or policy: no progress")         \
  REASON(CURRICULUM, SET, "curriculum", "the confidence that changes need, by phase, workload and outcomes")          \
  REASON(EXPLAIN, COMPLETE, "explain", "each decision, stage and threshold can be explained")                         \
  REASON(EXPLAIN, GAPS, "explain", "a decision, a stage or a threshold cannot be explained")                          \
  REASON(COVERAGE, PASSED, "coverage", "every marker has a registered reason, log and journal agree")                 \
  REASON(COVERAGE, GAPS, "coverage", "a marker has no reason, or one that is not in the registry")                    \
  REASON(COVERAGE, DIFFERS, "coverage", "log and journal have different events, or the journal fails its check")      \
  REASON(COVERAGE, UNDOCUMENTED, "coverage", "registry and documentation list different reasons")                     \
  REASON(DRIFT, PASSED, "drift", "the distribution of reasons is as before")                                          \
  REASON(DRIFT, DISTRIBUTION, "drift", "the distribution of reasons has changed beyond chance")                       \
  REASON(DRIFT, UNSEEN, "drift", "reasons that the baseline does not have take too large a share")                    \
  REASON(DRIFT, HARMFUL, "drift", "reasons that signal harm have a larger share than before")                         \
  REASON(DRIFT, INSUFFICIENT_DATA, "drift", "too few events to compare")                                              \
  REASON(METRICS, PASSED, "metrics", "tokens cost what they cost in the baseline")                                    \
  REASON(METRICS, SLOWER, "metrics", "tokens cost more than in the baseline, beyond chance")                          \
  REASON(METRICS, OVER_LIMIT, "metrics", "a cost is further above the baseline than the limits file allows")          \
  REASON(METRICS, INSUFFICIENT_DATA, "metrics", "no baseline of this machine and model, or too few runs")             \
  REASON(METRICS, CONTENDED, "metrics", "other load, or a baseline that varies, hides slow-downs of tokens")          \
  REASON(BENCH, PASSED, "bench", "equal digests and counters, and no slow-down beyond chance")                        \
  REASON(BENCH, SLOWER, "bench", "a case became slower, beyond chance and beyond the limit")                          \
  REASON(BENCH, OVER_LIMIT, "bench", "a case takes longer than the given limit allows, measured without pairs")       \
  REASON(BENCH, WATCH, "bench", "a case may have become slower: the evidence does not suffice")                       \
  REASON(BENCH, DIGEST, "bench", "a case gives another answer")                                                       \
  REASON(BENCH, COUNTER, "bench", "a case counts more work")                                                          \
  REASON(BENCH, VANISHED, "bench", "a case is gone")                                                                  \
  REASON(BENCH, INSUFFICIENT_DATA, "bench", "there is nothing to compare with")                                       \
  REASON(BENCH, NOT_COMPARABLE, "bench", "the earlier results are of another corpus, model or settings")              \
  REASON(DASHBOARD, WRITTEN, "dashboard", "the pages are written, every number from the results")                     \
  REASON(REPORT, WRITTEN, "report", "the summaries are written")                                                      \
  REASON(RELEASE, READY, "release", "the archives are complete and reproducible")                                     \
  REASON(RELEASE, DIFFERS, "release", "two builds of the same sources differ")                                        \
  REASON(RELEASE, BROKEN, "release", "an archive is incomplete or does not work")                                     \
  REASON(RUN, CRASHED, "run", "a stage crashed: it has no verdict")                                                   \
  REASON(RUN, CLEARED, "run", "an interrupted run was abandoned, and a new one began")                                \
  REASON(RUN, ACCEPTED, "run", "a user has accepted a run: later ones are compared with it")                          \
  REASON(RUN, SWITCHED_OFF, "run", "the limits switch the stage off: it has no verdict")                              \
  REASON(HISTORY, PASSED, "history", "every record and file of the earlier runs is whole")                            \
  REASON(HISTORY, DAMAGED, "history", "a record or file of the earlier runs is missing or was altered")               \
  REASON(JOURNALS, COUNTED, "journals", "new events of the given journals are evidence now, each once")               \
  REASON(JOURNALS, OTHER_MODEL, "journals", "the given journals have no event of this model")                         \
  REASON(JOURNALS, DAMAGED, "journals", "a given journal is damaged: nothing of it is evidence")

// RENAMED(old id, new id): version 0.1 wrote the old ones; readers accept them until version 0.3.
#define FLYBALL_RENAMED_REASONS(RENAMED)                \
  RENAMED(MODEL_TUNING_REMEMBERED, MODEL_TUNING_CACHED) \
  RENAMED(AUTOTUNE_SETTLING, AUTOTUNE_COOLDOWN)         \
  RENAMED(GUARD_SAFE_LEFT, GUARD_SAFE_EXITED)           \
  RENAMED(APPLY_GIVEN_BACK, APPLY_REVERTED)             \
  RENAMED(BLOCK_JUDGING, BLOCK_TRIAL_PENDING)           \
  RENAMED(OUTCOME_HELPED, OUTCOME_IMPROVED)             \
  RENAMED(OUTCOME_HARMED, OUTCOME_REGRESSED)            \
  RENAMED(OUTCOME_UNDECIDED, OUTCOME_INCONCLUSIVE)      \
  RENAMED(STARTUP_HOLDS, STARTUP_PASSED)                \
  RENAMED(STARTUP_LEARNING, STARTUP_INSUFFICIENT_DATA)  \
  RENAMED(QUALITY_HOLDS, QUALITY_PASSED)                \
  RENAMED(QUALITY_LEARNING, QUALITY_INSUFFICIENT_DATA)  \
  RENAMED(COVERAGE_HOLDS, COVERAGE_PASSED)              \
  RENAMED(DRIFT_HOLDS, DRIFT_PASSED)                    \
  RENAMED(DRIFT_LEARNING, DRIFT_INSUFFICIENT_DATA)      \
  RENAMED(METRICS_HOLDS, METRICS_PASSED)                \
  RENAMED(METRICS_LEARNING, METRICS_INSUFFICIENT_DATA)  \
  RENAMED(BENCH_HOLDS, BENCH_PASSED)                    \
  RENAMED(BENCH_LEARNING, BENCH_INSUFFICIENT_DATA)

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
[[nodiscard]] bool find_reason(Str id, Reason* out);  // a former id, too

}  // namespace flyball::journal
