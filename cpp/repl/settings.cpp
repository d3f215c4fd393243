// Settings: sampling, session, system text, modes.
#include "base/json.h"
#include "repl/repl.h"

namespace flyball::repl {

using engine::CacheType;

namespace {

Error not_a_number(Str name, Str argument, Str wanted) {
  return fail(Code::invalid_argument, name)
         << "'" << argument.substr(0, min(argument.size, u64(40))) << "' is not " << wanted;
}

Status read_integer(Str name, Str argument, u64 low, u64 high, u64* out) {
  u64 value = 0;
  if (parse_u64(argument, &value) && value >= low && value <= high) return *out = value, Status();
  char range[64];
  Writer text(range, sizeof range);
  text.put("an integer from ").put_u64(low).put(" to ").put_u64(high);
  return not_a_number(name, argument, text.text());
}

Status read_real(Str name, Str argument, Str range, f32* out) {  // the range is for the message; check() knows it too
  f64 value = 0;
  char wanted[64];
  Writer text(wanted, sizeof wanted);
  if (!parse_f64(argument, &value)) return not_a_number(name, argument, text.put("a number ").put(range).text());
  *out = f32(value);
  return {};
}

Status read_switch(Str name, Str argument, bool* out) {
  if (argument.empty()) return *out = !*out, Status();
  if (argument != "on" && argument != "off") return not_a_number(name, argument, "on or off");
  *out = argument == "on";
  return {};
}

}  // namespace

Status Repl::set(const runtime::SamplerSettings& changed) {
  FLYBALL_TRY(runtime::check(changed, model_ != nullptr ? model_->config().n_vocab : ~u32(0)));
  sampler_ = changed;
  return sampling("");
}

Status Repl::sampling(Str) {
  const runtime::SamplerSettings& s = sampler_;
  const auto real = [&](Str name, f32 value) {
    char digits[32];
    Writer text(digits, sizeof digits);
    write_f32(text, value);
    out_ << name << ' ' << text.text();
  };
  real("temp", s.temperature);
  out_ << (s.temperature == 0 ? " (greedy)" : "") << ", top_k " << s.top_k;
  real(", top_p", s.top_p);
  real(", min_p", s.min_p);
  real(", repeat", s.repeat_penalty);
  out_ << " over " << s.repeat_window << ", no_repeat " << s.no_repeat_ngram << ", max_tokens " << max_tokens_
       << ", seed " << s.seed << '\n';
  return {};
}

Status Repl::temperature(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  if (!argument.empty())
    FLYBALL_TRY(read_real("temperature", argument, "from 0 (greedy) to 100", &changed.temperature));
  return set(changed);
}

Status Repl::top_k(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  u64 value = changed.top_k;
  if (!argument.empty()) FLYBALL_TRY(read_integer("top_k", argument, 0, ~u32(0), &value));
  changed.top_k = u32(value);
  return set(changed);
}

Status Repl::top_p(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  if (!argument.empty()) FLYBALL_TRY(read_real("top_p", argument, "above 0 and at most 1", &changed.top_p));
  return set(changed);
}

Status Repl::min_p(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  if (!argument.empty()) FLYBALL_TRY(read_real("min_p", argument, "from 0 to 1", &changed.min_p));
  return set(changed);
}

Status Repl::repeat(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  u64 n = 0;
  while (n < argument.size && argument[n] != ' ') ++n;
  if (n != 0)
    FLYBALL_TRY(read_real("repeat_penalty", argument.substr(0, n), "from 0.01 to 100", &changed.repeat_penalty));
  if (n < argument.size) {
    u64 window = 0;
    FLYBALL_TRY(read_integer("repeat_window", argument.from(n + 1), 0, ~u32(0), &window));
    changed.repeat_window = u32(window);
  }
  return set(changed);
}

Status Repl::no_repeat(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  u64 value = changed.no_repeat_ngram;
  if (!argument.empty()) FLYBALL_TRY(read_integer("no_repeat_ngram", argument, 0, 64, &value));
  changed.no_repeat_ngram = u32(value);
  return set(changed);
}

Status Repl::max_tokens(Str argument) {
  u64 value = max_tokens_;
  if (!argument.empty()) FLYBALL_TRY(read_integer("max_tokens", argument, 1, 1u << 24, &value));
  if (!argument.empty() && session_ != nullptr)
    FLYBALL_TRY(ask_for(session_->context(), session_->cache_type(), u32(value)));
  max_tokens_ = u32(value);
  return sampling("");
}

Status Repl::seed(Str argument) {
  runtime::SamplerSettings changed = sampler_;
  if (!argument.empty()) FLYBALL_TRY(read_integer("seed", argument, 0, ~u64(0), &changed.seed));
  return set(changed);
}

Status Repl::context(Str argument) {
  FLYBALL_TRY(need_model());
  if (!argument.empty()) {
    u64 value = 0;
    FLYBALL_TRY(read_integer("context", argument, 1, 1u << 22, &value));
    FLYBALL_TRY(open_session(u32(value), session_->cache_type()));
    FLYBALL_TRY(ask_for(u32(value), session_->cache_type(), max_tokens_));
  }
  out_ << "context " << session_->context() << ", " << session_->tokens().size << " in use\n";
  return {};
}

Status Repl::cache_type(Str argument) {
  FLYBALL_TRY(need_model());
  if (!argument.empty()) {
    CacheType type = CacheType::f16;
    FLYBALL_ASSIGN(type, engine::parse_cache_type(argument));
    FLYBALL_TRY(open_session(session_->context(), type));
    FLYBALL_TRY(ask_for(session_->context(), type, max_tokens_));
  }
  out_ << "kv " << engine::cache_type_name(session_->cache_type()) << ", " << session_->cache_bytes() << " bytes\n";
  return {};
}

Status Repl::speculate(Str argument) {
  if (!argument.empty()) FLYBALL_ASSIGN(options_.speculation, engine::parse_speculation(argument));
  out_ << "speculate " << engine::speculation_name(options_.speculation);
  if (options_.speculation.lookup || draft_ != nullptr) {
    (out_ << (options_.speculation.lookup ? ", guesses from " : ", not used: "))
        .printable(draft_ != nullptr ? draft_path_.str() : Str("the text so far"));
  }
  out_ << '\n';
  return {};
}

Status Repl::draft(Str argument) {
  if (argument == "-") {
    close_draft();
  } else if (!argument.empty()) {
    FLYBALL_TRY(need_model());
    FLYBALL_TRY(open_draft(argument));
  }
  return speculate("");
}

Status Repl::tune(Str argument) {
  FLYBALL_TRY(need_model());
  if (options_.threads != 0 || options_.decode_threads != 0)
    return fail(Code::invalid_argument, "/tune") << "has nothing to choose: the number of threads was set";
  if (!argument.empty()) FLYBALL_ASSIGN(options_.profile, catalog::parse_profile(argument));
  catalog::Tuned tuned;
  FLYBALL_TRY(choose_threads(*model_, true, &tuned));
  for (const auto& c : Span<const catalog::Tuned::Candidate>(tuned.candidates, tuned.n_candidates)) {
    if (c.prefill_ns == 0 && c.decode_ns == 0) continue;
    (out_ << "  " << c.threads << (c.threads == 1 ? " thread:  " : " threads: ")).fixed(f64(c.decode_ns) / 1e6, 3);
    (out_ << " ms a step, ").fixed(f64(c.prefill_ns) / 1e6, 3) << " ms a prompt token\n";
  }
  FLYBALL_TRY(open_session(session_->context(), session_->cache_type()));
  out_ << catalog::profile_name(options_.profile) << ": " << tuned.threads
       << (tuned.threads == 1 ? " thread" : " threads") << ", " << tuned.decode_threads
       << " where no prompt is computed; measured in ";
  out_.fixed(f64(tuned.spent_ns) / 1e6, 0) << " ms\n";
  return {};
}

Status Repl::reset(Str) {
  FLYBALL_TRY(need_model());
  conversation_ended();
  FLYBALL_TRY(open_session(session_->context(), session_->cache_type()));
  FLYBALL_TRY(obey_policy());
  receipt_ = last_metrics_ = {};
  out_ << "a new session: counters at zero, conversation empty\n";
  return {};
}

Status Repl::clear(Str) {
  FLYBALL_TRY(need_model());
  session_->reset();
  restart_conversation();
  FLYBALL_TRY(obey_policy());
  out_ << "conversation and cache are empty\n";
  return {};
}

Status Repl::system(Str argument) {
  if (!argument.empty()) {
    system_.truncate(0);
    if (argument != "-" && !append(system_, argument))
      return fail(Code::out_of_memory, "system") << "no memory for the text";
    if (model_ != nullptr) FLYBALL_TRY(clear(""));
  }
  if (system_.size() == 0)
    out_ << "no system text\n";
  else
    (out_ << "system: ").printable(text_of(system_)) << '\n';
  return {};
}

Status Repl::raw(Str argument) {
  FLYBALL_TRY(read_switch("raw", argument, &raw_));
  out_ << (raw_ ? "raw: each prompt is continued as it is\n" : "chat: prompts are messages of a conversation\n");
  return {};
}

Status Repl::logprobs(Str argument) {
  FLYBALL_TRY(read_switch("logprobs", argument, &show_logprobs_));
  out_ << "logprobs " << (show_logprobs_ ? "on\n" : "off\n");
  return {};
}

Status Repl::format(Str argument) {
  FLYBALL_TRY(need_model());
  if (!argument.empty()) {
    const chat::ChatFormat* const wanted = chat::find_chat_format(argument);
    if (wanted == nullptr) {
      ErrorBuilder unknown = fail(Code::invalid_argument, "format");
      unknown << "'" << argument.substr(0, min(argument.size, u64(40))) << "' is not known; choose one of";
      for (const chat::ChatFormat& known : chat::chat_formats()) unknown << " " << known.name;
      return unknown;
    }
    format_ = wanted;
    FLYBALL_TRY(clear(""));
  }
  out_ << "format " << format_->name << '\n';
  return {};
}

}  // namespace flyball::repl
