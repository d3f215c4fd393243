// What the governor may do and when: plain integers, so that a journal holds them exactly. They are keys of the
// configuration (contract 4), which settings/config.h takes from this list.
#pragma once

#include "base/json.h"

namespace flyball::governor {

// CHOICE(field, key, choices, meaning): the value is the index among the choices, the default the first.
// INTEGER(field, key, default, least, most, meaning)
#define FLYBALL_GOVERNOR_SETTINGS(CHOICE, INTEGER)                                                                    \
  CHOICE(autotune_mode, "autotune.mode", "off simulate on",                                                           \
         "bound an answer's settings while the machine is slow, and undo it after; simulate: only tell")              \
  CHOICE(autotune_knobs, "autotune.knobs", "max_tokens all",                                                          \
         "what is bounded; all: top_k, top_p and temperature too, which save no time")                                \
  CHOICE(threads, "autotune.threads", "off on",                                                                       \
         "decode with fewer threads while others hold processors; cannot change an answer")                           \
  INTEGER(calibration_turns, "autotune.calibration_turns", 3, 1, 100, "answers that tell what a token costs here")    \
  INTEGER(min_tokens, "autotune.min_tokens", 8, 1, 65536, "decode steps that an answer must have to be judged")       \
  INTEGER(high_percent, "autotune.high_percent", 150, 101, 100000, "of the calibrated cost; above it: tighten")       \
  INTEGER(low_percent, "autotune.low_percent", 115, 1, 100000, "of the calibrated cost; below it: relax")             \
  INTEGER(high_cycles, "autotune.high_cycles", 0, 0, 1000000000000000,                                                \
          "decode cycles per token that count as high instead; 0: by percent")                                        \
  INTEGER(low_cycles, "autotune.low_cycles", 0, 0, 1000000000000000, "and as low")                                    \
  INTEGER(settle_turns, "autotune.settle_turns", 2, 0, 1000, "answers after a change before it may be reversed")      \
  INTEGER(step_max_tokens, "autotune.step_max_tokens", 16, 1, 16777216, "tokens fewer with each step")                \
  INTEGER(floor_max_tokens, "autotune.floor_max_tokens", 64, 1, 16777216, "never bounded below")                      \
  INTEGER(step_top_k, "autotune.step_top_k", 8, 1, 65536, "candidates fewer with each step")                          \
  INTEGER(floor_top_k, "autotune.floor_top_k", 24, 1, 65536, "never bounded below")                                   \
  INTEGER(step_top_p_percent, "autotune.step_top_p_percent", 2, 1, 100, "hundredths off top_p with each step")        \
  INTEGER(floor_top_p_percent, "autotune.floor_top_p_percent", 80, 1, 100, "never bounded below")                     \
  INTEGER(step_temperature_percent, "autotune.step_temperature_percent", 4, 1, 10000,                                 \
          "hundredths off the temperature with each step")                                                            \
  INTEGER(floor_temperature_percent, "autotune.floor_temperature_percent", 55, 1, 10000, "never bounded below")       \
  CHOICE(guard_mode, "guard.mode", "off simulate on", "end an answer that passes a limit; simulate: only tell")       \
  INTEGER(budget_percent, "guard.budget_percent", 300, 0, 100000,                                                     \
          "of the calibrated cost: a step that takes longer is an overrun; 0: none")                                  \
  INTEGER(budget_cycles, "guard.budget_cycles", 0, 0, 1000000000000000, "cycles of a step instead; 0: by percent")    \
  INTEGER(hard_stop_overruns, "guard.hard_stop_overruns", 6, 1, 1000000, "overruns of an answer that end it")         \
  INTEGER(first_token_ms, "guard.first_token_ms", 0, 0, 86400000, "milliseconds to the first token; 0: no limit")     \
  INTEGER(token_ms, "guard.token_ms", 0, 0, 86400000, "milliseconds from token to token; 0: no limit")                \
  INTEGER(turn_ms, "guard.turn_ms", 0, 0, 86400000, "milliseconds of a whole answer; 0: no limit")                    \
  INTEGER(loop_tokens, "guard.loop_tokens", 0, 0, 16777216, "last tokens that repeat what was before; 0: no limit")   \
  INTEGER(memory_floor_mb, "guard.memory_floor_mb", 0, 0, 16777216, "MiB of free memory that must stay; 0: no limit") \
  INTEGER(safe_turns, "guard.safe_turns", 2, 0, 1000, "answers in safe mode after one that was ended")                \
  INTEGER(safe_max_tokens, "guard.safe_max_tokens", 96, 1, 16777216, "in safe mode at most")                          \
  INTEGER(safe_top_k, "guard.safe_top_k", 40, 1, 65536, "in safe mode at most")                                       \
  INTEGER(safe_top_p_percent, "guard.safe_top_p_percent", 88, 1, 100, "in safe mode top_p at most, in hundredths")    \
  INTEGER(safe_temperature_percent, "guard.safe_temperature_percent", 70, 0, 10000,                                   \
          "in safe mode the temperature at most, in hundredths")                                                      \
  CHOICE(reset_cache, "guard.reset_cache", "off on", "empty the session's cache after an answer that was ended")      \
  CHOICE(consult, "policy.consult", "off turn session",                                                               \
         "ask the model what to change: never, after each answer, at a session's end")                                \
  CHOICE(auto_apply, "policy.auto_apply", "off conservative aggressive",                                              \
         "apply what was chosen: never, only what reduces, all that can be")                                          \
  CHOICE(gate, "policy.gate", "enforced log_only", "below the threshold: apply nothing, or only tell")                \
  INTEGER(threshold, "policy.threshold", 60, 0, 100, "confidence that a change needs")                                \
  INTEGER(plan_steps, "policy.plan_steps", 2, 1, 100, "changes in a session at most")                                 \
  INTEGER(bad_turns, "policy.bad_turns", 2, 1, 1000, "answers that show trouble until the mode is worse")             \
  INTEGER(calm_turns, "policy.calm_turns", 8, 1, 1000, "answers in a row that show none until it is better")          \
  INTEGER(outcome_turns, "policy.outcome_turns", 8, 5, 16, "answers before and after a change by which it is judged") \
  INTEGER(floor_context, "policy.floor_context", 512, 1, 16777216, "never reduced below")                             \
  INTEGER(most_context, "policy.most_context", 0, 0, 16777216, "never increased above; 0: what was asked for")        \
  INTEGER(floor_answer, "policy.floor_answer", 64, 1, 16777216, "max_tokens are never reduced below")                 \
  INTEGER(most_answer, "policy.most_answer", 0, 0, 16777216, "nor increased above; 0: what was asked for")            \
  INTEGER(headroom_mb, "policy.headroom_mb", 512, 0, 16777216, "MiB of free memory that an increase must leave")

struct Settings {
#define FLYBALL_CHOICE(field, key, choices, meaning) u64 field = 0;
#define FLYBALL_INTEGER(field, key, missing, least, most, meaning) u64 field = missing;
  FLYBALL_GOVERNOR_SETTINGS(FLYBALL_CHOICE, FLYBALL_INTEGER)
#undef FLYBALL_CHOICE
#undef FLYBALL_INTEGER
  friend bool operator==(const Settings&, const Settings&) = default;

  // Each choice of a mode.
  enum Mode : u64 { off, simulate, on };
  enum Consult : u64 { never, each_turn, at_end };
  enum AutoApply : u64 { nothing, reductions, everything };
  enum Gate : u64 { enforced, log_only };
  bool policy() const { return consult != never || auto_apply != nothing; }
  bool any() const { return autotune_mode != off || guard_mode != off || threads != 0 || policy(); }
};

struct SettingInfo {
  Str key;
  u64 Settings::* field;
  u64 least;
  u64 most;     // a choice: the index of the last
  Str choices;  // separated by a space; empty: an integer
};
Span<const SettingInfo> setting_infos();

constexpr Str choice(Str choices, u64 index) {
  for (; index > 0; --index) {
    while (choices[0] != ' ') choices = choices.from(1);
    choices = choices.from(1);
  }
  u64 end = 0;
  while (end < choices.size && choices[end] != ' ') ++end;
  return choices.substr(0, end);
}

// One setting from its written form; an error names the key and what it may be.
Status set(Settings* settings, Str key, Str word);
Status check(const Settings& settings);  // what no single range can say

// {"autotune.mode":"off",...}, all of them.
void write_settings(JsonWriter& json, const Settings& settings);
Result<Settings> read_settings(const Json& object);

}  // namespace flyball::governor
