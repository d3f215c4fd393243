#include "engine/state.h"

namespace flyball::engine {

Status PromptLookup::make_room(Arena& arena, u32 capacity) {
  u64 size = 64;
  while (size < 2 * u64(capacity)) size *= 2;
  latest_ = arena.allocate<u32>(size);
  if (latest_.empty()) return fail(Code::out_of_memory, "speculation") << "no memory for " << capacity << " tokens";
  return {};
}

u32 PromptLookup::hash(const Token* tokens) {
  u64 mixed = 0;
  for (u32 i = 0; i < gram; ++i) mixed = (mixed ^ u32(tokens[i])) * 0x9e3779b97f4a7c15u;
  return u32(mixed >> 32);
}

u32 PromptLookup::propose(Span<const Token> history, Span<Token> drafts) {
  if (latest_.empty() || history.size < gram) return 0;
  const u64 mask = latest_.size - 1;
  // The last three are not entered yet, so a match is an earlier place.
  for (; n_seen_ < history.size; ++n_seen_) latest_[hash(&history[n_seen_ - gram]) & mask] = n_seen_;
  const u32 next = latest_[hash(&history[history.size - gram]) & mask];
  if (next == 0) return 0;
  for (u32 i = 1; i <= gram; ++i) {
    if (history[next - i] != history[history.size - i]) return 0;
  }
  // A match less than a draft away means that the text repeats: the draft repeats it as well.
  for (u64 i = 0; i < drafts.size; ++i) drafts[i] = history[next + i % (history.size - next)];
  return u32(drafts.size);
}

u32 draft_by_model(Session::State& draft, Span<const Token> history, Span<Token> drafts, const CancelToken& cancel) {
  draft.compute_with(draft.options.adapter);
  if (drafts.empty() || history.size + drafts.size > draft.options.context) return 0;
  const u32 n_vocab = draft.model.config().n_vocab;
  u32 n_same = 0;
  while (n_same < draft.n_tokens && n_same + 1 < history.size && draft.tokens[n_same] == history[n_same]) ++n_same;
  draft.truncate(n_same);
  Span<const Token> fed = history.subspan(n_same, history.size - n_same);
  for (u32 i = 0; i < drafts.size; ++i) {
    if (!draft.compute(fed, max_batch, Session::State::Want::last, draft.logits.data, {}, cancel, {}).ok()) return i;
    Token best = 0;
    for (u32 token = 1; token < n_vocab; ++token) {
      if (draft.logits[token] > draft.logits[u32(best)]) best = Token(token);
    }
    drafts[i] = best;
    fed = {&drafts[i], 1};
  }
  return u32(drafts.size);
}

Str speculation_name(const SpeculationOptions& options) {
  return options.always ? "always" : options.lookup ? "auto" : "off";
}

Result<SpeculationOptions> parse_speculation(Str name) {
  SpeculationOptions options;
  options.lookup = name != "off";
  options.always = name == "always";
  if (name == speculation_name(options)) return options;
  return fail(Code::invalid_argument, "speculate") << "is '" << name << "'; choose auto, off or always";
}

Status check_draft(const Session& session, const SpeculationOptions& options) {
  if (options.draft == nullptr) return {};
  Session::State& draft = options.draft->state();
  if (&draft == &session.state()) return fail(Code::invalid_argument, "draft") << "is the session itself";
  const Model& model = session.model();
  if (&draft.model != &model) {
    const tokenizer::Tokenizer& a = model.tokenizer();
    const tokenizer::Tokenizer& b = draft.model.tokenizer();
    bool same = a.size() == b.size() && model.config().n_vocab == draft.model.config().n_vocab;
    for (u32 i = 0; same && i < a.size(); ++i) same = a.piece(Token(i), true) == b.piece(Token(i), true);
    if (!same)
      return fail(Code::invalid_argument, "draft")
             << "has another vocabulary than the model; choose a draft model with the same tokens";
  }
  if (draft.logits.empty()) draft.logits = draft.arena.allocate<f32>(draft.model.config().n_vocab);
  if (draft.logits.empty()) return fail(Code::out_of_memory, "draft") << "no memory for its logits";
  return {};
}

}  // namespace flyball::engine
