// The closed registry of reasons (contract 3): whatever decides names one, and an id that is not here cannot be written.
// Python, docs/reasons.md and the tests read this list.
#pragma once

#include "base/span.h"

namespace flyball::governor {

// REASON(family, name, event, meaning): the id is FAMILY_NAME; `event` says what happened, the reason why.
#define FLYBALL_REASONS(REASON)                                                                                     \
  REASON(MODEL, LOADED, "model_load", "a model file was accepted and its weights prepared")                         \
  REASON(MODEL, TUNED, "tune", "threads were chosen by short measured probes")                                      \
  REASON(MODEL, TUNING_REMEMBERED, "tune", "threads were chosen as probes on this processor once chose them")       \
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
  REASON(GUARD, SAFE_LEFT, "safe_mode", "safe mode has ended: answers get what is asked for")                       \
  REASON(GUARD, CACHE_RESET, "cache_reset", "the session's cache was emptied after an answer that was ended")

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

}  // namespace flyball::governor
