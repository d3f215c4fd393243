#include "engine/scheduler.h"

#include "base/math.h"

namespace flyball::engine {

namespace {

// Prompt tokens of one call with other sequences' next tokens, which wait for them.
constexpr u32 prompt_tokens_beside = 128;

// Of an answer, where others may go on from the state of recurrent layers. Of a prompt they may at every snapshot.
constexpr u32 answer_snapshots = 256;

}  // namespace

Batch::Batch(Model& model, const CancelToken& cancel)
    : model_(model), cancel_(cancel), start_cycles_(cycles(model.platform())) {}

u32 Batch::add(Generation::State& generation, u32 most, bool alone, Status* status) {
  const u32 pending = generation.n_known() - generation.session.n_tokens;
  const u32 n_fed = min(min(pending, most), max_batch - n_tokens_);
  if (n_fed == 0 || n_rows_ == max_step_rows) return 0;
  Part& part = parts_[place_for(generation.session.adapter)];
  part = {&generation, status, n_fed, 0, generation.in_prompt(), n_fed == pending, 0};
  if (alone && !part.in_prompt) {
    part.n_drafts = generation.draft(cancel_);
    part.n_offered = generation.n_offered;
  }
  n_tokens_ += n_fed + part.n_drafts;
  n_rows_ += part.n_rows();
  prompts_ = prompts_ || part.in_prompt;
  return n_fed;
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
  const bool alone = n_parts_ == 1 && g.options.speculation.expected.empty();
  const Call::Kind kind = part.in_prompt  ? Call::prompt
                          : !alone        ? Call::shared
                          : part.n_drafts ? Call::speculative
                                          : Call::plain;
  g.governor.called({kind, part.n_fed + part.n_drafts, g.n_sampled - n_before, call.cycles, call.attention_cycles, 0,
                     n_threads(), part.n_offered});
  if (part.n_drafts) {
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

void Generation::step_many(Span<Generation* const> generations, Span<StepResult> out, CancelToken cancel) {
  const FloatMode standard;
  Model& model = generations[0]->state_->session.model;
  const Platform& platform = model.platform();
  const u64 now = now_ns(platform);
  CancelToken earliest = cancel;
  u32 n_active = 0;
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
    ++n_active;
  }

  const auto waits = [&](u64 i, bool in_prompt) {
    const State& g = *generations[i]->state_;
    return out[i].status.ok() && g.stop_reason == StopReason::none && !g.has_ready() && g.in_prompt() == in_prompt;
  };
  for (bool prompts = true;; prompts = false) {
    Batch batch(model, earliest);
    const auto add = [&](u64 i, u32 most) {
      return batch.add(*generations[i]->state_, most, n_active == 1, &out[i].status);
    };
    for (u64 i = 0; i < generations.size; ++i) {
      if (waits(i, false)) add(i, 1);
    }
    u32 budget = batch.empty() ? max_batch : prompt_tokens_beside;
    for (u64 i = 0; prompts && i < generations.size; ++i) {
      if (waits(i, true)) budget -= add(i, min(budget, generations[i]->state_->options.batch));
    }
    if (batch.empty()) break;
    const Status status = batch.run();
    if (status.ok()) {
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
    for (u64 i = 0; i < generations.size; ++i) others = others || waits(i, false);
    others = others && prompts && status.error().code == Code::out_of_memory;
    for (u64 i = 0; i < generations.size; ++i) {
      if ((others || !waits(i, false)) && !waits(i, true)) continue;
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
      out[i].step = g.show();
  }
  const Status readable = model.check_file(Reliance::reading);
  for (StepResult& result : out) {
    if (!readable.ok() && result.status.ok()) result = {{}, readable};
  }
}

}  // namespace flyball::engine
