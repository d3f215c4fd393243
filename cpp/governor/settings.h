// The governor's settings: integers, so that a journal holds them exactly. settings/config.h makes keys of the
// configuration (contract 4) from this list.
#pragma once

#include "base/json.h"

namespace flyball::governor {

// CHOICE(field, key, choices, meaning): the value is the index among the choices, the default the first.
// INTEGER(field, key, default, least, most, meaning)
#define FLYBALL_GOVERNOR_SETTINGS(CHOICE, INTEGER)                                                                     \
  CHOICE(autotune_mode, "autotune.mode", "off simulate on",                                                            \
         "bound an answer's settings while the machine is slow, and undo it after; simulate: only record")             \
  CHOICE(autotune_knobs, "autotune.knobs", "max_tokens all",                                                           \
         "the settings to bound; all: top_k, top_p and temperature too, which save no time")                           \
  CHOICE(threads, "autotune.threads", "off on",                                                                        \
         "decode with fewer threads while others hold processors; cannot change an answer")                            \
  INTEGER(calibration_turns, "autotune.calibration_turns", 3, 1, 100, "answers that calibrate the cost of a token")    \
  INTEGER(min_tokens, "autotune.min_tokens", 8, 1, 65536, "decode steps that an answer needs to be judged")            \
  INTEGER(high_percent, "autotune.high_percent", 150, 101, 100000, "of the calibrated cost; above it: tighten")        \
  INTEGER(low_percent, "autotune.low_percent", 115, 1, 100000, "of the calibrated cost; below it: relax")              \
  INTEGER(high_cycles, "autotune.high_cycles", 0, 0, 1000000000000000,                                                 \
          "decode cycles per token that count as high; 0: by percent")                                                 \
  INTEGER(low_cycles, "autotune.low_cycles", 0, 0, 1000000000000000,                                                   \
          "decode cycles per token that count as low; 0: by percent")                                                  \
  INTEGER(settle_turns, "autotune.settle_turns", 2, 0, 1000, "answers after a change before it may be reversed")       \
  INTEGER(step_max_tokens, "autotune.step_max_tokens", 16, 1, 16777216, "tokens that a step takes off max_tokens")     \
  INTEGER(floor_max_tokens, "autotune.floor_max_tokens", 64, 1, 16777216, "the lowest bound of max_tokens")            \
  INTEGER(step_top_k, "autotune.step_top_k", 8, 1, 65536, "candidates that a step takes off top_k")                    \
  INTEGER(floor_top_k, "autotune.floor_top_k", 24, 1, 65536, "the lowest bound of top_k")                              \
  INTEGER(step_top_p_percent, "autotune.step_top_p_percent", 2, 1, 100, "hundredths that a step takes off top_p")      \
  INTEGER(floor_top_p_percent, "autotune.floor_top_p_percent", 80, 1, 100, "the lowest bound of top_p, in hundredths") \
  INTEGER(step_temperature_percent, "autotune.step_temperature_percent", 4, 1, 10000,                                  \
          "hundredths that a step takes off the temperature")                                                          \
  INTEGER(floor_temperature_percent, "autotune.floor_temperature_percent", 55, 1, 10000,                               \
          "the lowest bound of the temperature, in hundredths")                                                        \
  CHOICE(guard_mode, "guard.mode", "off simulate on", "end an answer that passes a limit; simulate: only record")      \
  INTEGER(budget_percent, "guard.budget_percent", 300, 0, 100000,                                                      \
          "of the calibrated cost; a step above it is an overrun; 0: none")                                            \
  INTEGER(budget_cycles, "guard.budget_cycles", 0, 0, 1000000000000000, "cycles of a step; 0: by percent")             \
  INTEGER(hard_stop_overruns, "guard.hard_stop_overruns", 6, 1, 1000000, "overruns of an answer that end it")          \
  INTEGER(first_token_ms, "guard.first_token_ms", 0, 0, 86400000, "milliseconds to the first token; 0: no limit")      \
  INTEGER(token_ms, "guard.token_ms", 0, 0, 86400000, "milliseconds from token to token; 0: no limit")                 \
  INTEGER(turn_ms, "guard.turn_ms", 0, 0, 86400000, "milliseconds of a whole answer; 0: no limit")                     \
  INTEGER(loop_tokens, "guard.loop_tokens", 0, 0, 16777216, "repeated tokens that end an answer; 0: no limit")         \
  INTEGER(memory_floor_mb, "guard.memory_floor_mb", 0, 0, 16777216, "MiB of memory that must stay free; 0: no limit")  \
  INTEGER(safe_turns, "guard.safe_turns", 2, 0, 1000, "answers in safe mode after the guard ended one")                \
  INTEGER(safe_max_tokens, "guard.safe_max_tokens", 96, 1, 16777216, "max_tokens in safe mode, at most")               \
  INTEGER(safe_top_k, "guard.safe_top_k", 40, 1, 65536, "top_k in safe mode, at most")                                 \
  INTEGER(safe_top_p_percent, "guard.safe_top_p_percent", 88, 1, 100, "top_p in safe mode, at most; in hundredths")    \
  INTEGER(safe_temperature_percent, "guard.safe_temperature_percent", 70, 0, 10000,                                    \
          "temperature in safe mode, at most; in hundredths")                                                          \
  CHOICE(reset_cache, "guard.reset_cache", "off on", "empty the session's cache after the guard ended an answer")      \
  CHOICE(consult, "policy.consult", "off turn session",                                                                \
         "ask the model what to change: never, after each answer, at a session's end")                                 \
  CHOICE(auto_apply, "policy.auto_apply", "off conservative aggressive",                                               \
         "apply the chosen action: never, only reductions, reductions and increases")                                  \
  CHOICE(gate, "policy.gate", "enforced log_only", "below the threshold: apply nothing, or only record it")            \
  INTEGER(threshold, "policy.threshold", 60, 0, 100, "confidence that a change needs")                                 \
  INTEGER(plan_steps, "policy.plan_steps", 2, 1, 100, "changes per session, at most")                                  \
  INTEGER(bad_turns, "policy.bad_turns", 2, 1, 1000, "answers with trouble that make the mode worse")                  \
  INTEGER(calm_turns, "policy.calm_turns", 8, 1, 1000, "answers in a row without trouble that make it better")         \
  INTEGER(outcome_turns, "policy.outcome_turns", 8, 5, 16, "answers to compare before and after a change")             \
  INTEGER(floor_context, "policy.floor_context", 512, 1, 16777216, "the smallest context after reductions")            \
  INTEGER(most_context, "policy.most_context", 0, 0, 16777216, "the largest after increases; 0: the requested one")    \
  INTEGER(floor_answer, "policy.floor_answer", 64, 1, 16777216, "the smallest max_tokens after reductions")            \
  INTEGER(most_answer, "policy.most_answer", 0, 0, 16777216, "the largest after increases; 0: the requested one")      \
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

// One setting from its written form; an error names the key and its range.
Status set(Settings* settings, Str key, Str word);
Status check(const Settings& settings);  // rules across settings

// {"autotune.mode":"off",...}, all of them.
void write_settings(JsonWriter& json, const Settings& settings);
Result<Settings> read_settings(const Json& object);

}  // namespace flyball::governor
