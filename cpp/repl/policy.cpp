// The policy of the loaded model: made when it is wanted, shown each answer, and obeyed.
#include "repl/context.h"

namespace flyball::repl {

namespace {

// One quiet line when the policy acted.
void show_policy_decisions(Context& repl) {
  u64 n = 0;
  for (const journal::Reason reason : repl.policy->decisions()) {
    if (governor::policy::acted(reason)) repl.out << (n++ == 0 ? "policy: " : ", ") << journal::info(reason).id;
  }
  if (n != 0) repl.out << "; /policy and /journal tell more\n";
}

}  // namespace

Status open_policy(Context& repl) {
  FLYBALL_TRY(need_model(repl));
  if (repl.policy != nullptr) return {};
  policy::PolicyOptions wanted;
  wanted.settings = repl.options.governor;
  wanted.context = repl.session->context();
  wanted.cache = repl.session->cache_type();
  wanted.max_tokens = repl.max_tokens;
  wanted.file = repl.options.policy_file;
  wanted.counts_starts = true;
  FLYBALL_ASSIGN(repl.policy, policy::Policy::create(*repl.model, wanted));
  show_policy_decisions(repl);
  return obey_policy(repl);
}

void close_policy(Context& repl) {
  policy::Policy::release(repl.policy);
  repl.policy = nullptr;
}

// The session gets what the policy wants, and keeps its conversation. One that is too long for less context goes on in what
// it has until it is cleared, and says so once.
Status obey_policy(Context& repl) {
  if (repl.policy == nullptr) return {};
  const u32 context = repl.policy->context();
  const bool too_long = context != repl.session->context() && repl.conversation.tokens().size >= context;
  if (too_long && context != repl.promised_context)
    repl.out << "a context of " << context << " tokens applies from the next conversation: /clear begins one\n";
  repl.promised_context = too_long ? context : 0;
  if (too_long || (context == repl.session->context() && repl.policy->cache() == repl.session->cache_type())) return {};
  return replace_session(repl, context, repl.policy->cache());
}

// A person's own wish.
Status ask_for(Context& repl, u32 context, engine::CacheType cache, u32 max_tokens) {
  return repl.policy != nullptr ? repl.policy->ask_for(context, cache, max_tokens) : Status();
}

Status policy_saw(Context& repl, const engine::Generation& generation) {
  if (repl.policy == nullptr) return {};
  FLYBALL_TRY(repl.policy->turn_ended(generation, cancel_token(repl)));
  show_policy_decisions(repl);
  return {};
}

void conversation_ended(Context& repl) {
  if (repl.policy == nullptr || repl.session == nullptr) return;
  if (const Status status = repl.policy->session_ended(*repl.session, cancel_token(repl)); !status.ok())
    error(repl, status.error());
}

}  // namespace flyball::repl
