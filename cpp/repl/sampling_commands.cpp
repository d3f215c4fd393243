// How tokens are chosen, and how many.
#include "base/json.h"
#include "repl/command.h"
#include "repl/words.h"

namespace flyball::repl {

namespace {

Status sampling(Context& repl, Str) {
  const runtime::SamplerSettings& s = repl.sampler;
  const auto real = [&](Str name, f32 value) {
    char digits[32];
    Writer text(digits, sizeof digits);
    write_f32(text, value);
    repl.out << name << ' ' << text.text();
  };
  real("temp", s.temperature);
  repl.out << (s.temperature == 0 ? " (greedy)" : "") << ", top_k " << s.top_k;
  real(", top_p", s.top_p);
  real(", min_p", s.min_p);
  real(", repeat", s.repeat_penalty);
  repl.out << " over " << s.repeat_window;
  if (s.presence_penalty != 0) real(", presence", s.presence_penalty);
  if (s.frequency_penalty != 0) real(", frequency", s.frequency_penalty);
  repl.out << ", no_repeat " << s.no_repeat_ngram << ", max_tokens " << repl.max_tokens << ", seed " << s.seed << '\n';
  return {};
}

Status set(Context& repl, const runtime::SamplerSettings& changed) {
  FLYBALL_TRY(runtime::check(changed, repl.model != nullptr ? repl.model->config().n_vocab : ~u32(0)));
  repl.sampler = changed;
  return sampling(repl, "");
}

Status temperature(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  if (!argument.empty())
    FLYBALL_TRY(read_real("temperature", argument, "from 0 (greedy) to 100", &changed.temperature));
  return set(repl, changed);
}

Status top_k(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  u64 value = changed.top_k;
  if (!argument.empty()) FLYBALL_TRY(read_integer("top_k", argument, 0, ~u32(0), &value));
  changed.top_k = u32(value);
  return set(repl, changed);
}

Status top_p(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  if (!argument.empty()) FLYBALL_TRY(read_real("top_p", argument, "above 0 and at most 1", &changed.top_p));
  return set(repl, changed);
}

Status min_p(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  if (!argument.empty()) FLYBALL_TRY(read_real("min_p", argument, "from 0 to 1", &changed.min_p));
  return set(repl, changed);
}

Status repeat(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  u64 n = 0;
  while (n < argument.size && argument[n] != ' ') ++n;
  if (n != 0)
    FLYBALL_TRY(read_real("repeat_penalty", argument.substr(0, n), "from 0.01 to 100", &changed.repeat_penalty));
  if (n < argument.size) {
    u64 window = 0;
    FLYBALL_TRY(read_integer("repeat_window", argument.from(n + 1), 0, ~u32(0), &window));
    changed.repeat_window = u32(window);
  }
  return set(repl, changed);
}

Status no_repeat(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  u64 value = changed.no_repeat_ngram;
  if (!argument.empty()) FLYBALL_TRY(read_integer("no_repeat_ngram", argument, 0, 64, &value));
  changed.no_repeat_ngram = u32(value);
  return set(repl, changed);
}

Status max_tokens(Context& repl, Str argument) {
  u64 value = repl.max_tokens;
  if (!argument.empty()) FLYBALL_TRY(read_integer("max_tokens", argument, 1, 1u << 24, &value));
  if (!argument.empty() && repl.session != nullptr)
    FLYBALL_TRY(ask_for(repl, repl.session->context(), repl.session->cache_type(), u32(value)));
  repl.max_tokens = u32(value);
  return sampling(repl, "");
}

Status seed(Context& repl, Str argument) {
  runtime::SamplerSettings changed = repl.sampler;
  if (!argument.empty()) FLYBALL_TRY(read_integer("seed", argument, 0, ~u64(0), &changed.seed));
  return set(repl, changed);
}

}  // namespace

Span<const Command> sampling_commands() {
  static constexpr Command table[] = {
      {"sampling", "", "how tokens are chosen", sampling},
      {"temp", "[T]", "temperature from 0 (always the likeliest) to 100", temperature},
      {"top_k", "[K]", "only the K likeliest tokens; 0: all", top_k},
      {"top_p", "[P]", "only the likeliest that together reach P; 1: all", top_p},
      {"min_p", "[P]", "only tokens at least P times as likely as the likeliest; 0: all", min_p},
      {"repeat", "[P [WINDOW]]", "penalty on tokens among the last WINDOW; 1: off", repeat},
      {"no_repeat", "[N]", "never the same N tokens in a row twice; 0: off", no_repeat},
      {"max_tokens", "[N]", "tokens of an answer, at most", max_tokens},
      {"seed", "[N]", "the same seed draws the same tokens", seed},
  };
  return table;
}

}  // namespace flyball::repl
