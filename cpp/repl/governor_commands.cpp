// The governor and the policy.
#include "base/json.h"
#include "repl/command.h"

namespace flyball::repl {

using governor::Settings;
using journal::Reason;

namespace {

Str mode_name(u64 mode) { return mode == Settings::on ? "on" : mode == Settings::simulate ? "simulate" : "off"; }

// "": nothing; one word: the setting PREFIX.MAIN_KEY; "KEY VALUE": the setting PREFIX.KEY.
Status govern(Context& repl, Str prefix, Str main_key, Str argument) {
  if (argument.empty()) return {};
  u64 n = 0;
  while (n < argument.size && argument[n] != ' ') ++n;
  Str name = argument.substr(0, n), word = n < argument.size ? argument.from(n + 1) : Str();
  if (word.empty()) word = name, name = main_key;
  char key[96];
  Writer text(key, sizeof key);
  text.put(prefix).put('.').put(name.substr(0, min<u64>(name.size, 64)));
  Settings changed = repl.options.governor;
  FLYBALL_TRY(governor::set(&changed, text.text(), word));
  FLYBALL_TRY(governor::check(changed));
  if (repl.policy != nullptr) FLYBALL_TRY(repl.policy->govern(changed));
  if (repl.session != nullptr) FLYBALL_TRY(repl.session->govern(changed));
  repl.options.governor = changed;
  return {};
}

// A decision that was made `where` in an answer, with its reason and the numbers behind it.
void show(Context& repl, const engine::LastDecision& last, Str where) {
  const journal::ReasonInfo& about = journal::info(last.decision.reason);
  repl.out << about.id << ' ' << where << " answer " << last.turn << ": " << about.meaning << ' '
           << last.decision.data.str() << '\n';
}

void show(Context& repl, const governor::Knobs& knobs) {
  const auto real = [&](Str name, f32 value) {
    char digits[32];
    Writer text(digits, sizeof digits);
    write_f32(text, value);
    repl.out << name << text.text();
  };
  repl.out << "max_tokens " << knobs.max_tokens << ", top_k " << knobs.top_k;
  real(", top_p ", knobs.top_p);
  real(", temp ", knobs.temperature);
}

void show_effective(Context& repl) {
  const runtime::SamplerSettings& s = repl.sampler;
  const governor::Knobs asked{repl.max_tokens, s.top_k, s.top_p, s.temperature};
  const governor::Knobs given = governor::effective(repl.options.governor, repl.session->governor(), asked);
  repl.out << "the next answer gets ";
  show(repl, given);
  if (given == asked) {
    repl.out << ", as requested\n";
    return;
  }
  repl.out << "; requested: ";
  show(repl, asked);
  repl.out << '\n';
}

Status autotune(Context& repl, Str argument) {
  FLYBALL_TRY(govern(repl, "autotune", "mode", argument));
  const Settings& s = repl.options.governor;
  repl.out << "autotune " << mode_name(s.autotune_mode);
  if (s.autotune_mode != Settings::off) {
    if (s.high_cycles != 0)
      repl.out << ", tightens above " << s.high_cycles << " cycles a token, relaxes below " << s.low_cycles;
    else
      repl.out << ", tightens above " << s.high_percent << " % of the usual cost, relaxes below " << s.low_percent
               << " %";
    repl.out << "\na step takes " << s.step_max_tokens << " off max_tokens, down to " << s.floor_max_tokens;
    if (s.autotune_knobs != 0) {
      repl.out << "; " << s.step_top_k << " off top_k, down to " << s.floor_top_k;
      const auto percents = [&](Str name, u64 step, u64 floor) {
        (repl.out << "; ").fixed(f64(step) / 100, 2) << " off " << name << ", down to ";
        repl.out.fixed(f64(floor) / 100, 2);
      };
      percents("top_p", s.step_top_p_percent, s.floor_top_p_percent);
      percents("temp", s.step_temperature_percent, s.floor_temperature_percent);
    }
  }
  repl.out << '\n';
  if (repl.session == nullptr || !s.any()) return {};
  const governor::State& state = repl.session->governor();
  if (governor::calibrated(s, state)) {
    repl.out << "a token costs " << state.baseline.rest_cycles << " cycles, and " << state.baseline.attention_cycles
             << " for every 1,024 tokens in the cache\n";
  } else {
    repl.out << "the usual cost is not known yet: " << state.n_calibrated << " of " << s.calibration_turns
             << " answers\n";
  }
  const runtime::GovernorMetrics& seen = repl.session->metrics().governor;
  if (s.autotune_mode != Settings::off || repl.session->last_autotune().turn != 0) {
    repl.out << "answers are bounded by " << state.tightness << (state.tightness == 1 ? " step" : " steps")
             << "; tightened " << seen.of(Reason::AUTOTUNE_TIGHTEN) << ", relaxed " << seen.of(Reason::AUTOTUNE_RELAX)
             << " times\nlast action: ";
    if (repl.session->last_autotune().turn != 0)
      show(repl, repl.session->last_autotune(), "after");
    else
      repl.out << "none\n";
  }
  if (s.autotune_mode != Settings::off) show_effective(repl);
  return {};
}

Status guard(Context& repl, Str argument) {
  FLYBALL_TRY(govern(repl, "guard", "mode", argument));
  const Settings& s = repl.options.governor;
  repl.out << "guard " << mode_name(s.guard_mode);
  if (s.guard_mode != Settings::off) {
    const auto limit = [&](Str name, u64 value, Str unit) {
      if (value != 0) repl.out << ", " << name << ' ' << value << ' ' << unit;
    };
    if (s.budget_cycles != 0)
      limit("a step", s.budget_cycles, "cycles");
    else
      limit("a step", s.budget_percent, "% of the usual cost");
    repl.out << " (" << s.hard_stop_overruns << " overruns end an answer)";
    limit("first token", s.first_token_ms, "ms");
    limit("each token", s.token_ms, "ms");
    limit("whole answer", s.turn_ms, "ms");
    limit("repetition", s.loop_tokens, "tokens");
    limit("free memory", s.memory_floor_mb, "MiB");
  }
  repl.out << '\n';
  if (repl.session == nullptr) return {};
  const runtime::GovernorMetrics& seen = repl.session->metrics().governor;
  const u64 n_simulated = seen.of(Reason::GUARD_STOP_SIMULATED);
  if (s.guard_mode == Settings::off && seen.guard_trips() + n_simulated == 0) return {};
  repl.out << "trips: " << seen.guard_trips();
  Str before = " (";
  for (u64 i = u64(Reason::GUARD_BUDGET_STOP); i <= u64(Reason::GUARD_MEMORY_STOP); ++i) {
    if (const u64 n = seen.of(Reason(i)); n != 0)
      repl.out << before << journal::info(Reason(i)).id << ' ' << n, before = ", ";
  }
  repl.out << (before == ", " ? ")" : "");
  if (n_simulated != 0) repl.out << ", simulated: " << n_simulated;
  repl.out << '\n';
  if (repl.session->last_guard_stop().turn != 0) show(repl, repl.session->last_guard_stop(), "in");
  if (s.guard_mode == Settings::off) return {};
  constexpr u32 most = ~u32(0);
  constexpr f32 greatest = 1e6F;
  if (const u64 left = repl.session->governor().safe_turns_left; left != 0)
    repl.out << "safe mode for " << left << (left == 1 ? " more answer, " : " more answers, ");
  else
    repl.out << "not in safe mode, which lasts for " << s.safe_turns
             << (s.safe_turns == 1 ? " answer, " : " answers, ");
  repl.out << "with at most ";
  show(repl, governor::safe(s, {most, most, greatest, greatest}));
  repl.out << '\n';
  show_effective(repl);
  return {};
}

Status policy(Context& repl, Str argument) {
  const Settings before = repl.options.governor;
  FLYBALL_TRY(govern(repl, "policy", "auto_apply", argument));
  if (const Status status = open_policy(repl); !status.ok()) return repl.options.governor = before, status;
  const Settings& s = repl.policy->settings();
  const policy::Policy::State& state = repl.policy->state();
  const auto word = [&](u64 Settings::* field) {
    for (const governor::SettingInfo& info : governor::setting_infos()) {
      if (info.field == field) return governor::choice(info.choices, s.*field);
    }
    return Str();
  };
  repl.out << "policy applies: " << word(&Settings::auto_apply) << "; asks the model: " << word(&Settings::consult)
           << "; confidence of " << s.threshold << " needed: " << word(&Settings::gate) << '\n';
  if (repl.policy->limited()) (repl.out << "bounded by ").printable(repl.options.policy_file) << ".limits\n";
  repl.out << "mode " << governor::policy::mode_name(state.history.mode) << ": " << state.bad << " of " << s.bad_turns
           << " answers with trouble, " << state.calm << " calm ones in a row\n";
  const auto setting = [&](Str name, u32 now, u32 base) {
    repl.out << name << now;
    if (now != base) repl.out << " (requested: " << base << ')';
  };
  setting("context ", state.now.context, state.base.context);
  setting(", max_tokens ", state.now.max_tokens, state.base.max_tokens);
  repl.out << ", cache type " << engine::cache_type_name(repl.policy->cache()) << '\n';
  repl.out << "plan: " << state.steps << " of " << s.plan_steps << " steps";
  if (state.hard_stopped) repl.out << ", ended: a change could not be verified";
  if (state.trial != governor::policy::Action::stay)
    repl.out << "; " << governor::policy::info(state.trial).name << " is judged: " << state.after.n << " of "
             << s.outcome_turns << " answers";
  repl.out << '\n';
  if (const auto& starts = state.history.starts; starts.running) {
    repl.out << "start " << starts.n << (starts.stable ? ", stable" : ", not yet known to be stable");
    if (starts.unproven) repl.out << "; no start has proven the last change";
    if (starts.failed != 0) repl.out << "; starts that failed in a row: " << starts.failed;
    repl.out << '\n';
  }
  return {};
}

Status consult_policy(Context& repl, Str argument) {
  if (argument.empty()) return repl.policy->consult(*repl.session, cancel_token(repl));
  constexpr Str mock = "mock ";
  if (!argument.starts_with(mock)) return fail(Code::invalid_argument, "/consult") << "takes nothing, or: mock ACTION";
  policy::Policy::Action action;
  FLYBALL_ASSIGN(action, governor::policy::parse_action(argument.from(mock.size)));
  return repl.policy->consult_mock(*repl.session, action);
}

Status consult(Context& repl, Str argument) {
  FLYBALL_TRY(open_policy(repl));
  FLYBALL_TRY(repl.journal.keep());
  const u64 before = repl.journal.n_events();
  FLYBALL_TRY(consult_policy(repl, argument));
  FLYBALL_TRY(repl.journal.keep());
  repl.journal.explain(repl.out, repl.policy->number(), repl.policy->turn(), before);
  return obey_policy(repl);
}

Status outcomes(Context& repl, Str) {
  FLYBALL_TRY(open_policy(repl));
  using namespace governor::policy;
  (repl.out << "  ")
      .padded("action", 18)
      .padded("improved", 10)
      .padded("regressed", 11)
      .padded("unchanged", 11)
      .padded("inconclusive", 14);
  repl.out << "history  should lower\n";
  for (u32 i = 0; i < n_actions; ++i) {
    const ActionInfo& action = governor::policy::info(Action(i));
    if (action.metric == Metric::none) continue;
    const History::Outcomes& seen = repl.policy->state().history.outcomes[i];
    const auto column = [&](i64 value, u64 width) {
      char digits[24];
      Writer text(digits, sizeof digits);
      repl.out.padded(text.put_i64(value).text(), width);
    };
    (repl.out << "  ").padded(action.name, 18);
    column(i64(seen.improved), 10), column(i64(seen.regressed), 11), column(i64(seen.unchanged), 11);
    column(i64(seen.inconclusive), 14), column(seen.history, 9);
    repl.out << metric_name(action.metric) << '\n';
  }
  return {};
}

}  // namespace

Span<const Command> governor_commands() {
  static constexpr Command table[] = {
      {"autotune", "[HOW]", "bound answers while the machine is slow: on, off, simulate, or KEY VALUE", autotune},
      {"guard", "[HOW]", "end answers that pass a limit: on, off, simulate, or KEY VALUE", guard},
      {"policy", "[HOW]", "what the policy may change, and has: off, conservative, aggressive, or KEY VALUE", policy},
      {"consult", "[mock ACTION]", "ask the model what to change; mock: as if it had chosen ACTION", consult},
      {"outcomes", "", "what came of each action so far", outcomes},
  };
  return table;
}

}  // namespace flyball::repl
