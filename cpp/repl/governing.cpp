// The governor and the journal, for people.
#include "repl/repl.h"

namespace flyball::repl {

using governor::Settings;

namespace {

Str mode_name(u64 mode) { return mode == Settings::on ? "on" : mode == Settings::simulate ? "simulate" : "off"; }

}  // namespace

// "": nothing; one word: the setting PREFIX.MAIN_KEY; "KEY VALUE": the setting PREFIX.KEY.
Status Repl::govern(Str prefix, Str main_key, Str argument) {
  if (argument.empty()) return {};
  u64 n = 0;
  while (n < argument.size && argument[n] != ' ') ++n;
  Str name = argument.substr(0, n), word = n < argument.size ? argument.from(n + 1) : Str();
  if (word.empty()) word = name, name = main_key;
  char key[96];
  Writer text(key, sizeof key);
  text.put(prefix).put('.').put(name.substr(0, min<u64>(name.size, 64)));
  Settings changed = options_.governor;
  FLYBALL_TRY(governor::set(&changed, text.text(), word));
  FLYBALL_TRY(governor::check(changed));
  if (policy_ != nullptr) FLYBALL_TRY(policy_->govern(changed));
  if (session_ != nullptr) FLYBALL_TRY(session_->govern(changed));
  options_.governor = changed;
  return {};
}

Status Repl::autotune(Str argument) {
  FLYBALL_TRY(govern("autotune", "mode", argument));
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
  FLYBALL_TRY(govern("guard", "mode", argument));
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

Status Repl::open_policy() {
  FLYBALL_TRY(need_model());
  if (policy_ != nullptr) return {};
  policy::PolicyOptions wanted;
  wanted.settings = options_.governor;
  wanted.context = session_->context();
  wanted.cache = session_->cache_type();
  wanted.max_tokens = max_tokens_;
  wanted.file = options_.policy_file;
  wanted.counts_starts = true;
  FLYBALL_ASSIGN(policy_, policy::Policy::create(*model_, wanted));
  show_policy_decisions();
  return obey_policy();
}

void Repl::close_policy() {
  policy::Policy::release(policy_);
  policy_ = nullptr;
}

// The session gets what the policy wants, and keeps its conversation. One that is too long for less context goes on in what
// it has until it is cleared, and says so once.
Status Repl::obey_policy() {
  if (policy_ == nullptr) return {};
  const u32 context = policy_->context();
  const bool too_long = context != session_->context() && conversation_.tokens().size >= context;
  if (too_long && context != promised_context_)
    out_ << "a context of " << context << " tokens holds from the next conversation: /clear begins one\n";
  promised_context_ = too_long ? context : 0;
  if (too_long || (context == session_->context() && policy_->cache() == session_->cache_type())) return {};
  return replace_session(context, policy_->cache());
}

// A person's own wish.
Status Repl::ask_for(u32 context, engine::CacheType cache, u32 max_tokens) {
  return policy_ != nullptr ? policy_->ask_for(context, cache, max_tokens) : Status();
}

// One quiet line when the policy acted.
void Repl::show_policy_decisions() {
  u64 n = 0;
  for (const journal::Reason reason : policy_->decisions()) {
    if (governor::policy::acted(reason)) out_ << (n++ == 0 ? "policy: " : ", ") << journal::info(reason).id;
  }
  if (n != 0) out_ << "; /policy and /journal tell more\n";
}

Status Repl::policy_saw(const engine::Generation& generation) {
  if (policy_ == nullptr) return {};
  FLYBALL_TRY(policy_->turn_ended(generation, cancel_token()));
  show_policy_decisions();
  return {};
}

void Repl::conversation_ended() {
  if (policy_ == nullptr || session_ == nullptr) return;
  if (const Status status = policy_->session_ended(*session_, cancel_token()); !status.ok()) error(status.error());
}

Status Repl::policy(Str argument) {
  const Settings before = options_.governor;
  FLYBALL_TRY(govern("policy", "auto_apply", argument));
  if (const Status status = open_policy(); !status.ok()) return options_.governor = before, status;
  const Settings& s = policy_->settings();
  const policy::Policy::State& state = policy_->state();
  const auto word = [&](u64 Settings::* field) {
    for (const governor::SettingInfo& info : governor::setting_infos()) {
      if (info.field == field) return governor::choice(info.choices, s.*field);
    }
    return Str();
  };
  out_ << "policy applies: " << word(&Settings::auto_apply) << "; asks the model: " << word(&Settings::consult)
       << "; confidence of " << s.threshold << " needed: " << word(&Settings::gate) << '\n';
  if (policy_->limited()) (out_ << "bounded by ").printable(options_.policy_file) << ".limits\n";
  out_ << "mode " << governor::policy::mode_name(state.history.mode) << ": " << state.bad << " of " << s.bad_turns
       << " answers with trouble, " << state.calm << " calm ones in a row\n";
  const auto setting = [&](Str name, u32 now, u32 base) {
    out_ << name << now;
    if (now != base) out_ << " (asked for: " << base << ')';
  };
  setting("context ", state.now.context, state.base.context);
  setting(", max_tokens ", state.now.max_tokens, state.base.max_tokens);
  out_ << ", kv " << engine::cache_type_name(policy_->cache()) << '\n';
  out_ << "plan: " << state.steps << " of " << s.plan_steps << " steps";
  if (state.hard_stopped) out_ << ", ended: a change could not be verified";
  if (state.trial != governor::policy::Action::stay)
    out_ << "; " << governor::policy::info(state.trial).name << " is judged: " << state.after.n << " of "
         << s.outcome_turns << " answers";
  out_ << '\n';
  if (const auto& starts = state.history.starts; starts.running) {
    out_ << "start " << starts.n << (starts.stable ? ", stable" : ", not yet known to be stable");
    if (starts.unproven) out_ << "; no start has proven the last change";
    if (starts.failed != 0) out_ << "; starts that failed in a row: " << starts.failed;
    out_ << '\n';
  }
  return {};
}

Status Repl::consult_policy(Str argument) {
  if (argument.empty()) return policy_->consult(*session_, cancel_token());
  constexpr Str mock = "mock ";
  if (!argument.starts_with(mock)) return fail(Code::invalid_argument, "/consult") << "takes nothing, or: mock ACTION";
  policy::Policy::Action action;
  FLYBALL_ASSIGN(action, governor::policy::parse_action(argument.from(mock.size)));
  return policy_->consult_mock(*session_, action);
}

Status Repl::consult(Str argument) {
  FLYBALL_TRY(open_policy());
  FLYBALL_TRY(journal_.keep());
  const u64 before = journal_.n_events();
  FLYBALL_TRY(consult_policy(argument));
  FLYBALL_TRY(journal_.keep());
  journal_.explain(out_, policy_->number(), policy_->turn(), before);
  return obey_policy();
}

Status Repl::outcomes(Str) {
  FLYBALL_TRY(open_policy());
  using namespace governor::policy;
  (out_ << "  ").padded("action", 18).padded("improved", 10).padded("regressed", 11).padded("inconclusive", 14);
  out_ << "history  should lower\n";
  for (u32 i = 0; i < n_actions; ++i) {
    const ActionInfo& action = governor::policy::info(Action(i));
    if (action.metric == Metric::none) continue;
    const History::Outcomes& seen = policy_->state().history.outcomes[i];
    const auto column = [&](i64 value, u64 width) {
      char digits[24];
      Writer text(digits, sizeof digits);
      out_.padded(text.put_i64(value).text(), width);
    };
    (out_ << "  ").padded(action.name, 18);
    column(i64(seen.improved), 10), column(i64(seen.regressed), 11), column(i64(seen.inconclusive), 14),
        column(seen.history, 9);
    out_ << metric_name(action.metric) << '\n';
  }
  return {};
}

Status Repl::journal(Str argument) {
  u64 n = 10;
  if (!argument.empty() && (!parse_u64(argument, &n) || n == 0))
    return fail(Code::invalid_argument, "/journal") << "takes how many of the newest events to show";
  FLYBALL_TRY(journal_.keep());
  journal_.show(out_, n);
  return {};
}

Status Repl::explain(Str) {
  FLYBALL_TRY(need_model());
  FLYBALL_TRY(journal_.keep());
  journal_.explain(out_, session_->number(), session_->metrics().generations_started);
  return {};
}

// One quiet line when the governor acted. What holds for answer after answer was shown when it began.
void Repl::show_decisions(const engine::Generation& generation) {
  u64 n = 0;
  for (const engine::Decision& decision : generation.decisions()) {
    if (decision.reason == journal::Reason::AUTOTUNE_BASELINE_LOWERED ||
        decision.reason == journal::Reason::POLICY_IN_FORCE)
      continue;
    out_ << (n++ == 0 ? "governor: " : ", ") << journal::info(decision.reason).id;
  }
  if (n != 0) out_ << "; /explain tells why\n";
}

}  // namespace flyball::repl
