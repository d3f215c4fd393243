#include "engine/events.h"
#include "engine/scheduler.h"

namespace flyball::engine {

Status check_generate(const Session::State& session, Span<const Token> prompt, const GenerateOptions& options) {
  const u32 n_vocab = session.model.config().n_vocab;
  FLYBALL_TRY(check_tokens(prompt, n_vocab, "prompt"));
  FLYBALL_TRY(session.model.check_file(Reliance::computing));
  FLYBALL_TRY(runtime::check(options.sampler, n_vocab));
  if (prompt.size > session.options.context) {
    return fail(Code::context_full, "prompt")
           << "has " << prompt.size << " tokens, the context holds " << session.options.context
           << "; choose a larger context or a shorter prompt";
  }
  if (options.max_tokens == 0) return fail(Code::invalid_argument, "max_tokens") << "is 0, expected at least 1";
  if (options.stops.size > Generation::State::max_stops) {
    return fail(Code::invalid_argument, "stop")
           << "has " << options.stops.size << " strings, at most " << Generation::State::max_stops;
  }
  if (options.constraint.allowed && options.ignore_eos) {
    return fail(Code::invalid_argument, "ignore_eos")
           << "does not go with a constraint, whose answers end where the grammar does";
  }
  if (!options.stop_tokens.empty()) FLYBALL_TRY(check_tokens(options.stop_tokens, n_vocab, "stop_token_ids"));
  if (options.top_logprobs > max_top_logprobs) {
    return fail(Code::invalid_argument, "top_logprobs")
           << "is " << options.top_logprobs << ", must be at most " << max_top_logprobs;
  }
  if (options.prefix_root.size > max_prefix_root_bytes) {
    return fail(Code::invalid_argument, "prefix_root")
           << "has " << options.prefix_root.size << " bytes, at most " << max_prefix_root_bytes;
  }
  if (!options.known.empty()) FLYBALL_TRY(check_tokens(options.known, n_vocab, "known"));
  FLYBALL_TRY(check_draft(session.handle, options.speculation));
  if (options.adapter) FLYBALL_TRY(check_adapter(session.model, *options.adapter));
  for (const Str& stop : options.stops) {
    if (stop.empty() || stop.size > Generation::State::max_stop_bytes) {
      return fail(Code::invalid_argument, "stop")
             << "a string has " << stop.size << " bytes, expected 1 to " << Generation::State::max_stop_bytes;
    }
  }
  return {};
}

namespace {

// The caller's list as the generation's own.
template <class T>
Status keep(Arena& arena, Str name, Span<const T>* list) {
  if (list->empty()) return {};
  const Span<T> kept = arena.allocate<T>(list->size);
  if (kept.empty()) return fail(Code::out_of_memory, name) << "no memory for " << list->size << " entries";
  memcpy(kept.data, list->data, list->size * sizeof(T));
  *list = kept;
  return {};
}

}  // namespace

u32 common_prefix(Span<const Token> a, Span<const Token> b) {
  const u64 n = min(a.size, b.size);
  u64 i = 0;
  while (i < n && a[i] == b[i]) ++i;
  return u32(i);
}

Generation::State::State(Session::State& s, const GenerateOptions& o)
    : session(s),
      arena(s.platform),
      options(o),
      adapter(o.adapter ? *o.adapter : s.options.adapter),
      decoder(s.model.tokenizer()) {
  options.adapter = &adapter;
  handle.state_ = this;
  start_cycles = cycles(s.platform);
}

Status Generation::State::make_room(Span<const Token> prompt) {
  // The last token produced is never fed, so an answer may be one longer than the room left in the context.
  capacity = min(options.max_tokens, session.options.context - n_prompt + 1);
  history = arena.allocate<Token>(u64(n_prompt) + capacity);
  logprobs = arena.allocate<f32>(capacity);
  hashes = arena.allocate<Hash128>(capacity);
  options.top_logprobs = min(options.top_logprobs, session.model.config().n_vocab);
  top = arena.allocate<runtime::TokenLogprob>(u64(capacity) * options.top_logprobs);
  u64 longest_stop = 0;
  for (u64 i = 0; i < options.stops.size; ++i) {
    stops[i] = arena.copy(options.stops[i]);
    if (stops[i].size != options.stops[i].size)
      return fail(Code::out_of_memory, "stop") << "no memory for the stop strings";
    longest_stop = max(longest_stop, stops[i].size);
  }
  options.stops = {stops, options.stops.size};
  FLYBALL_TRY(keep(arena, "logit_bias", &options.sampler.bias));
  FLYBALL_TRY(keep(arena, "stop_token_ids", &options.stop_tokens));
  FLYBALL_TRY(keep(arena, "known", &options.known));
  // Pending at most: the beginning of a stop string or of a character, and one token's text.
  pending_ = arena.allocate<char>(longest_stop + 4 + 2 * u64(session.model.state().longest_piece) + 16);
  if (history.empty() || logprobs.empty() || hashes.empty() || pending_.empty() ||
      top.size != u64(capacity) * options.top_logprobs) {
    return fail(Code::out_of_memory, "generation") << "no memory for " << capacity << " tokens";
  }
  if (options.speculation.lookup && options.speculation.expected.empty())
    FLYBALL_TRY(lookup.make_room(arena, n_prompt + capacity));
  memcpy(history.data, prompt.data, prompt.size * sizeof(Token));
  decoder = tokenizer::Decoder(session.model.tokenizer(), false, prompt[prompt.size - 1]);
  tokens = history.subspan(n_prompt, capacity);
  return {};
}

void Generation::State::reuse_prefix(Span<const Token> prompt) {
  session.compute_with(adapter);
  session.share_under(options.prefix_root);
  if (options.speculation.draft) options.speculation.draft->state().share_under(options.prefix_root);
  options.prefix_root = {};
  // The last token is always computed, for its logits.
  const Span<const Token> reusable = prompt.subspan(0, prompt.size - 1);
  const u32 own = common_prefix({session.tokens.data, session.n_tokens}, reusable);
  session.truncate(own);
  const u32 cached =
      session.model.state().prefixes.restore(session.prefix_kind, reusable, own, session.cache, session.recurrent);
  memcpy(session.tokens.data, prompt.data, cached * sizeof(Token));
  session.n_tokens = cached;
  epoch = session.epoch;
  metrics.prompt_tokens = prompt.size;
  metrics.cached_tokens = cached;
  metrics.shared_tokens = cached - min(own, cached);
}

Status Generation::State::check_session() const {
  if (epoch == session.epoch) return {};
  return fail(Code::invalid_argument, "session")
         << "was used by other work during this generation; finish one before the next";
}

Status Generation::State::compute(u32 batch, CancelToken cancel) {
  cancel.deadline_ns = earlier(cancel.deadline_ns, governor.deadline_ns());
  Batch call(session.model, cancel);
  Status status;
  n_granted = in_prompt() ? batch : n_checkable();  // nobody else waits
  if (call.add(*this, true, &status) == 0)
    return fail(Code::invalid_argument, "answer") << "has failed before and cannot go on; begin another";
  FLYBALL_TRY(call.run());
  return status;
}

u32 Generation::State::draft_room() const {
  const u32 room = min(capacity - n_sampled, session.options.context - session.n_tokens) - 1;
  // That may be taken back.
  return session.recurrent.exists() ? min(room, runtime::RecurrentState::period - 1) : room;
}

u32 Generation::State::n_checkable() const {
  if (in_prompt() || n_sampled >= options.known.size) return 0;
  const u64 left = options.known.size - n_sampled;
  // After a whole answer's last token a processor must not be called: that token is chosen, and not fed.
  return u32(min<u64>(options.processor.apply ? left - 1 : left, draft_room()));
}

u32 Generation::State::draft(u32 n_checked, bool guess, const CancelToken& cancel) {
  const SpeculationOptions& how = options.speculation;
  n_offered = 0;
  const auto take = [&](Span<const Token> from, u64 n) {
    memcpy(drafts, from.data + n_sampled, n * sizeof(Token));
    return u32(n);
  };
  if (n_checked != 0) return take(options.known, n_checked);
  if (!guess || options.processor.apply || n_sampled < options.known.size) return 0;
  const u32 room = draft_room();
  if (!how.expected.empty()) {
    const u64 left = how.expected.size - min(how.expected.size, u64(n_sampled));
    return take(how.expected, min(left, min<u64>(room, max_step_rows - 1)));
  }
  const u32 most = min(room, min(how.max_drafts, governor::DraftPolicy::max_drafts));
  const Span<const Token> known = history.subspan(0, n_known());
  const auto allowed = [&](u32 n) {
    if (how.always) return n;
    n_offered = n;
    return governor.draft_count(n);
  };
  if (how.draft) return draft_by_model(how.draft->state(), known, {drafts, allowed(most)}, cancel);
  return allowed(lookup.propose(known, {drafts, most}));
}

Result<Token> Generation::State::choose(runtime::Sampler& sampler, Span<const f32> logits) {
  const Platform& platform = session.platform;
  const u64 start = cycles(platform);
  const u64 position = n_known();
  FLYBALL_TRY(check_finite(logits, position));
  hashes[n_sampled] = logits_hash(logits);
  const Span<const Token> known = history.subspan(0, position);
  Span<const f32> processed = logits;
  if (options.processor.apply) FLYBALL_ASSIGN(processed, sampler.process(options.processor, logits, known));
  if (options.constraint.allowed)
    FLYBALL_ASSIGN(processed, sampler.mask(options.constraint, processed, tokens.subspan(0, n_sampled)));
  const runtime::Sample sample = sampler.sample(session.model.table(), logits, processed, known, n_prompt,
                                                options.sampler, session.options.sequence, position);
  tokens[n_sampled] = sample.token;
  logprobs[n_sampled] = sample.logprob;
  const u64 n_top = options.top_logprobs;
  if (n_top) sampler.likeliest(logits, sample.softmax, top.subspan(n_sampled * n_top, n_top));
  ++n_sampled;
  if (options.constraint.chosen && n_sampled < capacity && !is_end(sample.token))
    options.constraint.chosen(options.constraint.context, sample.token);
  const u64 end = cycles(platform);
  metrics.sample_cycles += end - start;
  session.metrics.sample_cycles += end - start;
  if (n_sampled == 1) session.metrics.last_first_token_cycles = metrics.first_token_cycles = end - start_cycles;
  return sample.token;
}

void Generation::State::drop_shown() {
  memmove(pending_.data, pending_.data + n_shown_, n_pending_ - n_shown_);
  n_pending_ -= n_shown_;
  n_shown_ = 0;
}

void Generation::State::append_text(Token token) {
  const Str piece = decoder.next(token);
  const u64 n = min(piece.size, pending_.size - n_pending_);
  memcpy(pending_.data + n_pending_, piece.data, n);
  n_pending_ += n;
}

void Generation::State::decide_stop(Token token) {
  drop_shown();
  if (is_end(token)) {
    stop_reason = is_eos(token) ? StopReason::eos : StopReason::stop_token;
    return;
  }
  append_text(token);
  u64 first = n_pending_;  // where the earliest stop string begins
  for (const Str& stop : options.stops) {
    for (u64 i = 0; i + stop.size <= n_pending_ && i < first; ++i) {
      if (Str(pending_.data + i, stop.size) == stop) first = i;
    }
  }
  if (first < n_pending_) {
    n_pending_ = first;
    stop_reason = StopReason::stop_string;
  } else if (n_tokens == options.max_tokens) {
    stop_reason = StopReason::max_tokens;
  } else if (n_tokens == capacity) {
    stop_reason = StopReason::context_full;
  } else {
    // A loop ends the answer here; a call's cost ends it after all of the call's tokens have been shown.
    governor.showed({tokens.data, n_tokens});
    if (governor.stop() == StopReason::loop_guard || !has_ready()) stop_reason = governor.stop();
  }
}

Status Generation::State::stop_early(const Error& error) {
  if (error.code != Code::interrupted) return error;
  stop_reason = error.where.str() == "deadline" ? StopReason::deadline : StopReason::interrupted;
  if (stop_reason == StopReason::deadline) governor.cut_short();
  complete();
  return {};
}

bool Generation::State::ended_by_guard() {
  if (governor.stop() == StopReason::none) return false;
  stop_reason = governor.stop();
  complete();
  return true;
}

void Generation::State::complete() {
  metrics.total_cycles = cycles(session.platform) - start_cycles;
  n_sampled = n_tokens;
  if (epoch == session.epoch) {  // else other work has the session
    // Accepted draft tokens beyond the answer's end leave the session as plain decoding would.
    if (n_tokens > 0) session.go_back(n_prompt + n_tokens - 1);
    if (!session.recurrent.exists()) session.remember(session.n_tokens);
  }
  if (!cut_short(stop_reason)) ++session.metrics.generations_completed;
  file_status = session.model.check_file(Reliance::stating);
  governor.end();
}

// Bytes of the pending text that can be shown: whole characters that cannot be the beginning of a stop string. Half a
// character is never shown, even where the answer was cut inside it.
u64 Generation::State::ready_bytes() const {
  const u64 whole = utf8_complete_prefix({pending_.data, n_pending_});
  if (stop_reason != StopReason::none) return whole;
  for (u64 i = 0; i < whole; ++i) {
    const Str tail(pending_.data + i, n_pending_ - i);
    for (const Str& stop : options.stops) {
      if (stop.size > tail.size && stop.starts_with(tail)) return i;
    }
  }
  return whole;
}

// Ends an answer that is not the known one.
Error Generation::State::contradicted(Str why) {
  if (stop_reason == StopReason::none) {
    stop_reason = StopReason::interrupted;
    complete();
  }
  Text<40> where;
  Writer out(where.data, sizeof where.data);
  out.put("known[").put_u64(n_tokens).put("]");
  return fail(Code::mismatch, out.text()) << "is " << options.known[n_tokens] << ", but " << why;
}

Result<Step> Generation::State::show() {
  const u32 i = n_tokens;
  if (i < options.known.size && tokens[i] != options.known[i]) {
    Text<60> why;
    Writer out(why.data, sizeof why.data);
    return contradicted(out.put("the answer has ").put_i64(tokens[i]).put(" there").text());
  }
  ++n_tokens;
  metrics.generated_tokens = n_tokens;
  metrics.total_cycles = cycles(session.platform) - start_cycles;
  decide_stop(tokens[i]);
  if (stop_reason != StopReason::none) complete();
  if (stop_reason != StopReason::none && !cut_short(stop_reason) && n_tokens < options.known.size) {
    Text<60> why;
    Writer out(why.data, sizeof why.data);
    return contradicted(out.put("the answer ends before it: ").put(stop_reason_name(stop_reason)).text());
  }
  n_shown_ = ready_bytes();
  Step step;
  step.token = tokens[i];
  step.logprob = logprobs[i];
  step.text = {pending_.data, n_shown_};
  step.done = stop_reason != StopReason::none;
  step.stop_reason = stop_reason;
  return step;
}

Step Generation::State::finished() {
  // Shows what was pending at an early stop, once.
  drop_shown();
  n_shown_ = ready_bytes();
  Step step;
  step.text = {pending_.data, n_shown_};
  step.done = true;
  step.stop_reason = stop_reason;
  return step;
}

}  // namespace flyball::engine
