// The governor and the journal, for people.
#include "repl/repl.h"

namespace flyball::repl {

using governor::Settings;

namespace {

Str mode_name(u64 mode) { return mode == Settings::on ? "on" : mode == Settings::simulate ? "simulate" : "off"; }

}  // namespace

// "": nothing; "on", "off", "simulate": the mode; "KEY VALUE": the setting PREFIX.KEY.
Status Repl::govern(Str prefix, Str argument) {
  if (argument.empty()) return {};
  u64 n = 0;
  while (n < argument.size && argument[n] != ' ') ++n;
  Str name = argument.substr(0, n), word = n < argument.size ? argument.from(n + 1) : Str();
  if (word.empty()) word = name, name = "mode";
  char key[96];
  Writer text(key, sizeof key);
  text.put(prefix).put('.').put(name.substr(0, min<u64>(name.size, 64)));
  Settings changed = options_.governor;
  FLYBALL_TRY(governor::set(&changed, text.text(), word));
  FLYBALL_TRY(governor::check(changed));
  if (session_ != nullptr) FLYBALL_TRY(session_->govern(changed));
  options_.governor = changed;
  return {};
}

Status Repl::autotune(Str argument) {
  FLYBALL_TRY(govern("autotune", argument));
  const Settings& s = options_.governor;
  out_ << "autotune " << mode_name(s.autotune_mode);
  if (s.autotune_mode != Settings::off) {
    if (s.high_cycles != 0)
      out_ << ", tightens above " << s.high_cycles << " cycles a token, relaxes below " << s.low_cycles;
    else
      out_ << ", tightens above " << s.high_percent << " % of the usual cost, relaxes below " << s.low_percent << " %";
  }
  out_ << '\n';
  if (session_ == nullptr || !s.any()) return {};
  const governor::State& state = session_->governor();
  if (!governor::calibrated(s, state)) {
    out_ << "the usual cost is not known yet: " << state.n_calibrated << " of " << s.calibration_turns << " answers\n";
    return {};
  }
  out_ << "a step costs " << state.baseline.rest_cycles << " cycles, and " << state.baseline.attention_cycles
       << " for every 1,024 tokens in the cache; answers are bounded by " << state.tightness
       << (state.tightness == 1 ? " step\n" : " steps\n");
  return {};
}

Status Repl::guard(Str argument) {
  FLYBALL_TRY(govern("guard", argument));
  const Settings& s = options_.governor;
  out_ << "guard " << mode_name(s.guard_mode);
  if (s.guard_mode != Settings::off) {
    const auto limit = [&](Str name, u64 value, Str unit) {
      if (value != 0) out_ << ", " << name << ' ' << value << ' ' << unit;
    };
    if (s.budget_cycles != 0)
      limit("a step", s.budget_cycles, "cycles");
    else
      limit("a step", s.budget_percent, "% of the usual cost");
    out_ << " (" << s.hard_stop_overruns << " overruns end an answer)";
    limit("first token", s.first_token_ms, "ms");
    limit("each token", s.token_ms, "ms");
    limit("whole answer", s.turn_ms, "ms");
    limit("repetition", s.loop_tokens, "tokens");
    limit("free memory", s.memory_floor_mb, "MiB");
  }
  out_ << '\n';
  if (session_ != nullptr && session_->governor().safe_turns_left != 0)
    out_ << "safe mode for " << session_->governor().safe_turns_left << " more answers\n";
  return {};
}

Status Repl::journal(Str argument) {
  u64 n = 10;
  if (!argument.empty() && (!parse_u64(argument, &n) || n == 0))
    return fail(Code::invalid_argument, "/journal") << "takes how many of the newest events to show";
  FLYBALL_TRY(chronicle_.keep());
  chronicle_.show(out_, n);
  return {};
}

Status Repl::explain(Str) {
  FLYBALL_TRY(need_model());
  FLYBALL_TRY(chronicle_.keep());
  chronicle_.explain(out_, session_->number(), session_->metrics().generations_started);
  return {};
}

// One quiet line when the governor acted.
void Repl::show_decisions(const engine::Generation& generation) {
  u64 n = 0;
  for (const engine::Decision& decision : generation.decisions()) {
    if (decision.reason == governor::Reason::AUTOTUNE_BASELINE_LOWERED) continue;
    out_ << (n++ == 0 ? "governor: " : ", ") << governor::info(decision.reason).id;
  }
  if (n != 0) out_ << "; /explain tells why\n";
}

}  // namespace flyball::repl
