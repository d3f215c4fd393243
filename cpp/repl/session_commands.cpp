// What a session computes with.
#include "repl/command.h"
#include "repl/words.h"

namespace flyball::repl {

using engine::CacheType;

namespace {

Status context(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (!argument.empty()) {
    u64 value = 0;
    FLYBALL_TRY(read_integer("context", argument, 1, 1u << 22, &value));
    FLYBALL_TRY(open_session(repl, u32(value), repl.session->cache_type()));
    FLYBALL_TRY(ask_for(repl, u32(value), repl.session->cache_type(), repl.max_tokens));
  }
  repl.out << "context " << repl.session->context() << ", " << repl.session->tokens().size << " in use\n";
  return {};
}

Status cache_type(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (!argument.empty()) {
    CacheType type = CacheType::f16;
    FLYBALL_ASSIGN(type, engine::parse_cache_type(argument));
    FLYBALL_TRY(open_session(repl, repl.session->context(), type));
    FLYBALL_TRY(ask_for(repl, repl.session->context(), type, repl.max_tokens));
  }
  repl.out << "cache type " << engine::cache_type_name(repl.session->cache_type()) << ", "
           << repl.session->cache_bytes() << " bytes\n";
  return {};
}

Status speculate(Context& repl, Str argument) {
  if (!argument.empty()) FLYBALL_ASSIGN(repl.options.speculation, engine::parse_speculation(argument));
  show_speculation(repl);
  return {};
}

Status tune(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (repl.options.threads != 0 || repl.options.decode_threads != 0)
    return fail(Code::invalid_argument, "/tune") << "has nothing to choose: the number of threads was set";
  if (!argument.empty()) FLYBALL_ASSIGN(repl.options.objective, catalog::parse_objective(argument));
  catalog::Tuned tuned;
  FLYBALL_TRY(choose_threads(repl, *repl.model, true, &tuned));
  for (const auto& c : Span<const catalog::Tuned::Candidate>(tuned.candidates, tuned.n_candidates)) {
    if (c.prefill_ns == 0 && c.decode_ns == 0) continue;
    (repl.out << "  " << c.threads << (c.threads == 1 ? " thread:  " : " threads: ")).fixed(f64(c.decode_ns) / 1e6, 3);
    (repl.out << " ms a step, ").fixed(f64(c.prefill_ns) / 1e6, 3) << " ms a prompt token\n";
  }
  FLYBALL_TRY(open_session(repl, repl.session->context(), repl.session->cache_type()));
  repl.out << catalog::objective_name(repl.options.objective) << ": " << tuned.threads
           << (tuned.threads == 1 ? " thread" : " threads") << ", " << tuned.decode_threads
           << " where no prompt is computed; measured in ";
  repl.out.fixed(f64(tuned.spent_ns) / 1e6, 0) << " ms\n";
  return {};
}

}  // namespace

void show_speculation(Context& repl) {
  repl.out << "speculate " << engine::speculation_name(repl.options.speculation);
  if (repl.options.speculation.lookup || repl.draft != nullptr) {
    (repl.out << (repl.options.speculation.lookup ? ", draft tokens from " : ", not used: "))
        .printable(repl.draft != nullptr ? repl.draft_path.str() : Str("prompt lookup"));
  }
  repl.out << '\n';
}

Status use_draft(Context& repl, Str path) {
  if (path == "-") {
    close_draft(repl);
  } else if (!path.empty()) {
    FLYBALL_TRY(need_model(repl));
    FLYBALL_TRY(open_draft(repl, path));
  }
  show_speculation(repl);
  return {};
}

namespace {

void show_adapter(Context& repl) {
  const engine::AdapterSetting& setting = repl.session->adapter();
  if (!setting.adapter) {
    repl.out << "no adapter\n";
    return;
  }
  const engine::Adapter& adapter = *setting.adapter;
  char digits[64];
  hex(adapter.fingerprint(), digits);
  ((repl.out << "adapter ").printable(repl.adapter_path.str()) << ", scale ").fixed(setting.scale, 4);
  repl.out << ": rank " << adapter.rank() << ", " << adapter.n_pairs() << " matrices, fingerprint " << Str(digits, 12)
           << '\n';
  if (!adapter.changes_logits()) repl.out << "warning: it changes no logits: its matrices may still be untrained\n";
}

}  // namespace

Status use_adapter(Context& repl, Str argument) {
  FLYBALL_TRY(need_model(repl));
  if (argument == "-") {
    FLYBALL_TRY(repl.session->set_adapter({}));
  } else if (!argument.empty()) {
    const engine::AdapterArgument wanted = engine::parse_adapter_argument(argument);
    if (wanted.path.size > sizeof repl.adapter_path.data)
      return fail(Code::invalid_argument, "adapter") << "the path is too long";
    engine::AdapterSetting setting;
    setting.scale = wanted.scale;
    FLYBALL_ASSIGN(setting.adapter, engine::Adapter::load(*repl.model, wanted.path, cancel_token(repl)));
    FLYBALL_TRY(repl.session->set_adapter(setting));
    repl.adapter_path.assign(wanted.path);
  }
  show_adapter(repl);
  return {};
}

Span<const Command> session_commands() {
  static constexpr Command table[] = {
      {"ctx", "[N]", "context: tokens that the session can hold; a new session", context},
      {"cache_type", "[TYPE]", "type of cached keys and values: f16, f32, q8_0; a new session", cache_type},
      {"speculate", "[HOW]", "verify draft tokens, several at once: auto, off, always", speculate},
      {"draft", "[FILE]", "a draft model; - for none: prompt lookup", use_draft},
      {"adapter", "[FILE[:SCALE]]", "a LoRA adapter of the model, for the next answers; - for none", use_adapter},
      {"tune", "[PROFILE]", "measure how many threads to use: latency, throughput, quiet; a new session", tune},
  };
  return table;
}

}  // namespace flyball::repl
