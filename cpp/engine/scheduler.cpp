#include "engine/scheduler.h"

#include "base/math.h"

namespace flyball::engine {

namespace {

// Of an answer, where others may go on from the state of recurrent layers. Of a prompt they may at every snapshot.
constexpr u32 answer_snapshots = 256;

}  // namespace

Batch::Batch(Model& model, const CancelToken& cancel)
    : model_(model), cancel_(cancel), start_cycles_(cycles(model.platform())) {}

u32 Batch::add(Generation::State& generation, bool alone, Status* status) {
  const bool in_prompt = generation.in_prompt();
  const u32 pending = generation.n_known() - generation.session.n_tokens;
  const u32 n_fed = min(min(pending, in_prompt ? generation.n_granted : 1), max_batch - n_tokens_);
  if (n_fed == 0 || n_rows_ == max_step_rows || n_parts_ == max_step_rows) return 0;
  Part& part = parts_[place_for(generation.session.adapter)];
  part = {&generation, status, n_fed, 0, in_prompt, n_fed == pending, false, 0};
  if (!in_prompt) {
    const u32 n_checked = min(generation.n_granted, max_step_rows - 1 - n_rows_);
    part.checks = n_checked != 0;
    part.n_drafts = generation.draft(n_checked, alone, cancel_);
    part.n_offered = generation.n_offered;
  }
  count(part);
  n_tokens_ += n_fed + part.n_drafts;
  n_rows_ += part.n_rows();
  prompts_ = prompts_ || part.in_prompt;
  return n_fed;
}

void Batch::count(const Part& part) {
  const u64 before = part.generation->session.n_tokens;
  const u32 n_beside = part.in_prompt ? part.n_fed : part.checks ? part.n_drafts : 0;
  costs_.n_next += !part.in_prompt;
  costs_.n_beside += n_beside;
  costs_.positions += n_beside * (before + n_beside / 2);
  guesses_ = guesses_ || (part.n_drafts != 0 && !part.checks);
}

void Batch::tell_costs(Turns& turns) const {
  if (costs_.n_next == 0 || guesses_) return;
  const Locked locked(turns.lock);
  turns.pace.observe(costs_);
}

// Behind the last part with the same adapter, so that one product serves them all; the others move up.
u32 Batch::place_for(const AdapterSetting& adapter) {
  u32 place = n_parts_;
  while (place > 0 && !(parts_[place - 1].generation->session.adapter == adapter)) --place;
  if (place == 0) place = n_parts_;
  for (u32 i = n_parts_++; i > place; --i) parts_[i] = parts_[i - 1];
  return place;
}

void Batch::fill(Part& part, model::BatchToken* to) const {
  Generation::State& g = *part.generation;
  const u32 position = g.session.n_tokens;
  model::SequenceState* const state = g.session.recurrent.begin(part.n_fed, part.n_drafts);
  for (u32 i = 0; i < part.n_fed + part.n_drafts; ++i) {
    const Token token = i < part.n_fed ? g.history[position + i] : g.drafts[i - part.n_fed];
    to[i] = {token,
             position + i,
             g.session.cache.heads(),
             state,
             part.chooses && i + 1 >= part.n_fed,
             g.session.adapter_use()};
  }
}

Status Batch::run() {
  const Platform& platform = model_.platform();
  const model::Config& config = model_.config();
  const model::Weights& weights = model_.state().weights;
  WorkspaceLease workspace(model_.state().workspaces);
  FLYBALL_TRY(workspace.take(config, weights, n_tokens_));
  FLYBALL_TRY(workspace->need_rows(n_rows_, config.n_vocab));
  for (u32 i = 0; i < n_parts_; ++i) {
    if (parts_[i].generation->session.use.adapter) FLYBALL_TRY(workspace->need_adapters(config));
  }
  u32 n = 0;
  for (u32 i = 0; i < n_parts_; ++i) {
    fill(parts_[i], workspace->batch.data + n);
    n += parts_[i].n_fed + parts_[i].n_drafts;
  }

  Session::State& session = parts_[0].generation->session;
  const model::Engine engine = session.engine(n_threads());
  const CancelCheck canceled(platform, cancel_);
  model::ForwardCycles spent;
  const bool finished =
      model::forward(engine, config, weights, session.rope, workspace->scratch, workspace->batch.subspan(0, n),
                     workspace->logits.data, canceled.check(), &spent);
  const u64 total = cycles(platform) - start_cycles_;
  if (!finished) {
    for (u32 i = 0; i < n_parts_; ++i) parts_[i].generation->session.go_back(parts_[i].generation->session.n_tokens);
    return interrupted_error(platform, cancel_, 0, n);
  }
  costs_.cycles = total;
  costs_.attention_cycles = spent.attention;
  for (u32 i = 0, row = 0; i < n_parts_; row += parts_[i++].n_rows()) {
    // Each sequence bears its share of the call by tokens.
    const f64 share = f64(parts_[i].n_fed + parts_[i].n_drafts) / n;
    settle(parts_[i], *workspace, row,
           {1, parts_[i].n_fed, u64(f64(total) * share), u64(f64(spent.matrices) * share),
            u64(f64(spent.attention) * share)});
  }
  return {};
}

u32 Batch::choose(const Part& part, Workspace& workspace, u32 row) const {
  Generation::State& g = *part.generation;
  const u32 n_vocab = model_.config().n_vocab;
  for (u32 i = 0;; ++i) {
    const Result<Token> chosen = g.choose(workspace.sampler, workspace.logits.subspan(u64(row + i) * n_vocab, n_vocab));
    if (!chosen.ok()) {
      *part.status = chosen.error();
      return i;
    }
    if (i == part.n_drafts || chosen.value() != g.drafts[i] || g.is_end(chosen.value())) return i;
    // Accepted: the draft token's keys and values are in the cache, and the next row follows it.
    g.session.tokens[g.session.n_tokens++] = chosen.value();
  }
}

void Batch::settle(const Part& part, Workspace& workspace, u32 row, const runtime::PhaseMetrics& call) {
  Generation::State& g = *part.generation;
  Session::State& session = g.session;
  memcpy(session.tokens.data + session.n_tokens, g.history.data + session.n_tokens, part.n_fed * sizeof(Token));
  session.n_tokens += part.n_fed;
  session.recurrent.advance(part.n_fed + part.n_drafts);
  const u32 n_before = g.n_sampled;
  const u32 n_right = part.chooses ? choose(part, workspace, row) : 0;
  if (n_right < part.n_drafts) session.go_back(session.n_tokens);

  runtime::PhaseMetrics counted = call;
  counted.tokens += n_right;
  (part.in_prompt ? g.metrics.prefill : g.metrics.decode).add(counted);
  (part.in_prompt ? session.metrics.prefill : session.metrics.decode).add(counted);
  using Call = governor::Call;
  const bool alone = n_parts_ == 1 && g.options.speculation.expected.empty() && !part.checks;
  const Call::Kind kind = part.in_prompt  ? Call::prompt
                          : !alone        ? Call::shared
                          : part.n_drafts ? Call::speculative
                                          : Call::plain;
  g.governor.called({kind, part.n_fed + part.n_drafts, g.n_sampled - n_before, call.cycles, call.attention_cycles, 0,
                     n_threads(), part.n_offered});
  if (part.n_drafts && !part.checks) {
    const runtime::SpeculationMetrics drafts{1, part.n_drafts, n_right};
    g.metrics.speculation.add(drafts);
    session.metrics.speculation.add(drafts);
  }
  const u32 snapshot = session.recurrent.snapshot().position;
  if (!session.recurrent.exists()) {
    if (part.in_prompt && part.chooses) session.remember(g.n_prompt);
  } else if (snapshot != 0 && (part.in_prompt || snapshot % answer_snapshots == 0)) {
    session.remember(snapshot);
  }
}

namespace {

// The generations of a step that wait for its next call.
class Waiting {
 public:
  Waiting(Span<Generation* const> generations, Span<const Generation::StepResult> out)
      : generations_(generations), out_(out) {}

  Generation::State& at(u64 i) const { return Generation::State::of(*generations_[i]); }
  bool waits(u64 i, bool in_prompt) const {
    const Generation::State& g = at(i);
    return out_[i].status.ok() && g.stop_reason == StopReason::none && !g.has_ready() && g.in_prompt() == in_prompt;
  }

  // What each may compute beside its next token. Prompts and known tokens take turns, as many as the other answers' next
  // tokens can wait for; there may be none this time.
  void grant(Turns& turns, bool prompts) const {
    u32 n_next = 0, n_prompts = 0;
    bool others_wait = false;
    for (u64 i = 0; i < generations_.size; ++i) {
      at(i).n_granted = 0;
      n_prompts += prompts && waits(i, true);
      if (!waits(i, false)) continue;
      ++n_next;
      others_wait = others_wait || at(i).n_checkable() == 0;
    }
    const Locked locked(turns.lock);
    if (others_wait && turns.pace.wants_plain(n_next)) return;
    u32 rows = max_step_rows - min(n_next + n_prompts, max_step_rows);
    const u64 before = turns.n_granted;
    f64 left = 1;  // of the call's room
    while (Generation::State* const g = next_in_turn(prompts, rows != 0, before)) {
      const u32 most =
          others_wait ? turns.pace.choose(n_next, g->session.n_tokens) : max_batch - min(n_next, max_batch);
      const u32 wanted =
          g->in_prompt() ? min(g->n_known() - g->session.n_tokens, g->options.batch) : min(g->n_checkable(), rows);
      const u32 n = min(wanted, u32(left * most));
      if (n == 0) return;
      g->n_granted = n;
      g->granted_at = ++turns.n_granted;
      if (!g->in_prompt()) rows -= n;
      left -= f64(n) / most;
    }
  }

 private:
  // Whose last turn is longest ago, and was not later than `before`.
  Generation::State* next_in_turn(bool prompts, bool rows, u64 before) const {
    Generation::State* next = nullptr;
    for (u64 i = 0; i < generations_.size; ++i) {
      Generation::State& g = at(i);
      if (g.granted_at > before || (next && g.granted_at >= next->granted_at)) continue;
      if ((prompts && waits(i, true)) || (rows && waits(i, false) && g.n_checkable() != 0)) next = &g;
    }
    return next;
  }

  Span<Generation* const> generations_;
  Span<const Generation::StepResult> out_;
};

Status show(Generation::State& g, Step* step) {
  FLYBALL_ASSIGN(*step, g.show());
  return {};
}

}  // namespace

void Generation::step_many(Span<Generation* const> generations, Span<StepResult> out, CancelToken cancel) {
  const FloatMode standard;
  Model& model = generations[0]->state_->session.model;
  const Platform& platform = model.platform();
  const u64 now = now_ns(platform);
  CancelToken earliest = cancel;
  u32 n_active = 0;
  bool catching_up = false;  // known tokens that have been checked are shown before anything is computed
  for (u64 i = 0; i < generations.size; ++i) {
    State& g = *generations[i]->state_;
    out[i] = {};
    if (g.stop_reason != StopReason::none) continue;
    out[i].status = g.check_session();
    if (&g.session.model != &model)
      out[i].status = fail(Code::invalid_argument, "generations") << "belong to several models";
    if (!out[i].status.ok()) continue;
    if (!g.has_ready() && g.ended_by_guard()) continue;
    const u64 deadline = g.governor.deadline_ns();
    if (deadline != 0 && now >= deadline) {
      out[i].status = g.stop_early(interrupted_error(platform, {nullptr, nullptr, deadline}, 0, 1));
      continue;
    }
    earliest.deadline_ns = earlier(earliest.deadline_ns, deadline);
    catching_up = catching_up || g.catches_up();
    ++n_active;
  }

  const Waiting waiting(generations, out);
  for (bool prompts = true; !catching_up; prompts = false) {
    Batch batch(model, earliest);
    waiting.grant(model.state().turns, prompts);
    for (u64 i = 0; i < generations.size; ++i) {
      if (waiting.waits(i, false)) batch.add(*generations[i]->state_, n_active == 1, &out[i].status);
    }
    for (u64 i = 0; i < generations.size; ++i) {
      if (waiting.waits(i, true)) batch.add(*generations[i]->state_, false, &out[i].status);
    }
    if (batch.empty()) break;
    const Status status = batch.run();
    if (status.ok()) {
      batch.tell_costs(model.state().turns);
      for (Generation* generation : generations) {
        State& g = *generation->state_;
        if (g.stop_reason == StopReason::none && !g.has_ready()) (void)g.ended_by_guard();
      }
      continue;
    }
    // A deadline ends its own generations, and the others go on with the next step. Where there is no memory for a call
    // with prompts, these fail, and the others go on without them. Other errors end all.
    const u64 later = now_ns(platform);
    const bool by_clock = status.error().code == Code::interrupted && status.error().where.str() == "deadline";
    bool others = false;
    for (u64 i = 0; i < generations.size; ++i) others = others || waiting.waits(i, false);
    others = others && prompts && status.error().code == Code::out_of_memory;
    for (u64 i = 0; i < generations.size; ++i) {
      if ((others || !waiting.waits(i, false)) && !waiting.waits(i, true)) continue;
      State& g = *generations[i]->state_;
      const u64 deadline = earlier(cancel.deadline_ns, g.governor.deadline_ns());
      if (!by_clock || (deadline != 0 && later >= deadline)) out[i].status = g.stop_early(status.error());
    }
    if (!others) break;
  }

  for (u64 i = 0; i < generations.size; ++i) {
    State& g = *generations[i]->state_;
    if (!out[i].status.ok()) continue;
    if (g.stop_reason != StopReason::none)
      out[i].step = g.finished();
    else if (g.has_ready())
      out[i].status = show(g, &out[i].step);
  }
  const Status readable = model.check_file(Reliance::reading);
  for (StepResult& result : out) {
    if (!readable.ok() && result.status.ok()) result = {{}, readable};
  }
}

}  // namespace flyball::engine
