// One answer in progress: its tokens, its pending text, and the decisions to stop. Private to engine/.
#pragma once

#include "engine/generation_governor.h"
#include "engine/state.h"

namespace flyball::engine {

struct Generation::State : InPlace {
  static constexpr u32 max_stops = 16;
  static constexpr u32 max_stop_bytes = 256;

  State(Session::State& s, const GenerateOptions& o);
  static State& of(Generation& generation) { return *generation.state_; }

  Status make_room(Span<const Token> prompt);   // all memory of the generation, once
  void reuse_prefix(Span<const Token> prompt);  // what the session or the model has cached of it

  Status check_session() const;  // an error: other work has used the session meanwhile

  // Computing: feeds tokens of the history that are not in the cache yet; the last one's logits choose the next.
  bool has_ready() const { return n_tokens < n_sampled; }
  bool is_stop(Token token) const {
    for (const Token stop : options.stop_tokens) {
      if (stop == token) return true;
    }
    return false;
  }
  bool is_eos(Token token) const {
    return !options.ignore_eos && session.model.tokenizer().is_end_of_generation(token);
  }
  bool is_end(Token token) const { return is_eos(token) || is_stop(token); }
  bool catches_up() const { return has_ready() && n_tokens < options.known.size; }
  bool in_prompt() const { return session.n_tokens < n_prompt; }
  u32 n_known() const { return n_prompt + n_sampled; }
  // Known tokens that the next call can check; and draft tokens for it: so many known ones, or guesses where it is alone.
  u32 n_checkable() const;
  u32 draft(u32 n_checked, bool guess, const CancelToken& cancel);  // writes them; how many
  // Chooses the next token from the logits (n_vocab) after the history. It may accept a draft token.
  Result<Token> choose(runtime::Sampler& sampler, Span<const f32> logits);
  Status compute(u32 batch, CancelToken cancel);  // one transformer call for this generation alone

  // Showing: one chosen token after the other, until a reason to stop.
  Result<Step> show();
  void decide_stop(Token token);          // end of generation, stop string, length, context, guard: in this order
  bool ended_by_guard();                  // with nothing left to show
  Status stop_early(const Error& error);  // interruption and deadline are stop reasons; other errors pass
  void complete();
  Step finished();

  Session::State& session;
  Arena arena;
  Generation handle;
  GenerateOptions options;
  AdapterSetting adapter;
  tokenizer::Decoder decoder;  // goes on after the prompt's last token
  u64 epoch = 0;
  u64 turn = 0;  // of the session, from 1
  u64 start_cycles = 0;
  u32 n_prompt = 0;
  u32 n_tokens = 0;                 // shown
  u32 n_sampled = 0;                // chosen: accepted draft tokens wait to be shown
  u32 n_granted = 0;                // tokens of the prompt, or known ones, that the step may compute
  u64 granted_at = 0;               // the model's count of grants then
  u32 n_offered = 0;                // draft tokens at hand for the next call, whose number the governor chooses
  u32 capacity = 0;                 // tokens that may be produced
  Span<Token> history;              // (n_prompt + capacity): prompt, then produced tokens
  Span<Token> tokens;               // (capacity), inside history
  Span<f32> logprobs;               // (capacity)
  Span<Hash128> hashes;             // (capacity)
  Span<runtime::TokenLogprob> top;  // (capacity, options.top_logprobs)
  Str stops[max_stops];
  PromptLookup lookup;
  Token drafts[max_step_rows - 1];
  runtime::GenerationMetrics metrics;
  GenerationGovernor governor;
  StopReason stop_reason = StopReason::none;
  Status file_status;  // when it was done

 private:
  u32 draft_room() const;
  Error contradicted(Str why);
  void drop_shown();
  void append_text(Token token);
  u64 ready_bytes() const;

  // Text of the answer that has not been shown: it may be half a character, or begin a stop string.
  Span<char> pending_;
  u64 n_pending_ = 0;
  u64 n_shown_ = 0;  // of pending_, given out by the last step; dropped by the next
};

Status check_generate(const Session::State& session, Span<const Token> prompt, const GenerateOptions& options);
u32 common_prefix(Span<const Token> a, Span<const Token> b);
inline u64 earlier(u64 a, u64 b) { return a == 0 ? b : b == 0 ? a : min(a, b); }  // deadlines: 0 is none

}  // namespace flyball::engine
