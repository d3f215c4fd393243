// A sequence with its cache: computing tokens, reading logits and hidden states, saving and restoring.
#include "base/math.h"
#include "engine/events.h"

namespace flyball::engine {

Str cache_type_name(CacheType type) {
  switch (type) {
    case CacheType::f16: return "f16";
    case CacheType::f32: return "f32";
    case CacheType::q8_0: return "q8_0";
  }
  return "unknown";
}

Result<CacheType> parse_cache_type(Str name) {
  if (name == "f16") return CacheType::f16;
  if (name == "f32") return CacheType::f32;
  if (name == "q8_0") return CacheType::q8_0;
  return fail(Code::invalid_argument, "cache type") << "is '" << name << "'; choose f16, f32 or q8_0";
}

Status check_tokens(Span<const Token> ids, u32 n_vocab, Str what) {
  if (ids.empty()) return fail(Code::invalid_argument, what) << "is empty; give at least one token";
  for (u64 i = 0; i < ids.size; ++i) {
    if (ids[i] < 0 || u32(ids[i]) >= n_vocab) {
      return fail(Code::invalid_argument, what)
             << "token " << i << " is " << ids[i] << "; the vocabulary has ids 0 to " << n_vocab - 1;
    }
  }
  return {};
}

Status check_finite(Span<const f32> logits, u64 position) {
  u32 bad = 0;
  for (const f32& x : logits) bad |= u32((bit_cast<u32>(x) & 0x7f800000u) == 0x7f800000u);
  if (!bad) return {};
  return fail(Code::non_finite, "logits") << "the model computed NaN or infinity at position " << position
                                          << "; the file's weights are damaged or overflow";
}

namespace {

constexpr u32 max_context = 1 << 22;

// Sessions of one kind share keys and values: these then depend on the tokens alone.
u64 prefix_kind(const Session::State& state) {
  u64 mixed = u64(state.options.cache) + 1;
  const auto mix = [&mixed](u64 bits) { mixed = (mixed ^ bits) * 0x9e3779b97f4a7c15u; };
  const auto mix_digest = [&mix](const Digest& digest) {
    u64 words[4];
    memcpy(words, digest.bytes, sizeof words);
    for (const u64 word : words) mix(word);
  };
  for (const f64 frequency : state.rope.frequencies) mix(bit_cast<u64>(frequency));
  for (const f64 frequency : state.rope.frequencies_sliding) mix(bit_cast<u64>(frequency));
  mix(bit_cast<u64>(state.rope.magnitude));
  if (state.adapter.adapter) {
    mix_digest(state.adapter.adapter->fingerprint());
    mix(bit_cast<u32>(state.adapter.scale));
  }
  if (state.prefix_root.size != 0) {
    Sha256 hash;  // nobody can choose a root that looks like another
    hash.update(state.prefix_root.str());
    mix_digest(hash.finish());
  }
  return mixed;
}

}  // namespace

Result<Session*> Session::create(Model& model, const SessionOptions& options) {
  const FloatMode standard;
  if (model.vocab_only())
    return fail(Code::invalid_argument, "session")
           << "the model was loaded with vocab_only: it has a tokenizer, but no weights to run";
  const model::Config& config = model.config();
  SessionOptions chosen = options;
  if (chosen.context == 0) chosen.context = min(config.n_ctx_train, default_context);
  if (chosen.context > max_context)
    return fail(Code::invalid_argument, "context") << "is " << chosen.context << ", must be at most " << max_context;
  if (chosen.decode_threads == 0) chosen.decode_threads = chosen.threads ? chosen.threads : model.decode_threads();
  if (chosen.threads == 0) chosen.threads = model.threads();

  FLYBALL_TRY(governor::check(chosen.governor));
  FLYBALL_TRY(check_adapter(model, chosen.adapter));

  const Platform& platform = model.platform();
  State* state = create_object<State>(platform, platform, model);
  if (!state) return fail(Code::out_of_memory, "session") << "no memory for a session";
  state->handle.state_ = state;
  state->options = chosen;
  const auto fill = [&]() -> Status {
    FLYBALL_ASSIGN(state->cache, runtime::KvCache::create(state->arena, config, chosen.cache, chosen.context));
    FLYBALL_ASSIGN(state->recurrent, runtime::RecurrentState::create(state->arena, config));
    FLYBALL_ASSIGN(state->rope, model::make_rope(state->arena, config, model.state().weights, chosen.context));
    state->prefix_kind = prefix_kind(*state);
    state->compute_with(chosen.adapter);
    state->tokens = state->arena.allocate<Token>(chosen.context);
    if (state->tokens.empty()) {
      return fail(Code::out_of_memory, "session") << "no memory for a context of " << chosen.context << " tokens";
    }
    return {};
  };
  const Status status = fill();
  if (!status.ok()) {
    destroy_object(platform, state);
    return status.error();
  }
  state->governor = governor::begin(chosen.governor, model.state().known_cost.of(chosen), chosen.decode_threads);
  record_opened(*state);
  return &state->handle;
}

void Session::release(Session* session) {
  if (!session) return;
  record_closed(*session->state_);
  destroy_object(session->state_->platform, session->state_);
}

Model& Session::model() const { return state_->model; }
u32 Session::context() const { return state_->options.context; }
CacheType Session::cache_type() const { return state_->options.cache; }
u32 Session::threads() const { return state_->options.threads; }
u32 Session::decode_threads() const { return state_->options.decode_threads; }
Span<const Token> Session::tokens() const { return {state_->tokens.data, state_->n_tokens}; }
const runtime::SessionMetrics& Session::metrics() const { return state_->metrics; }
u64 Session::cache_bytes() const { return state_->cache.bytes() + state_->recurrent.bytes(); }
u64 Session::sequence() const { return state_->options.sequence; }
u64 Session::number() const { return state_->number; }

void Session::State::go_back(u32 n) {
  n_tokens = min(n_tokens, n);
  if (recurrent.is_at(n_tokens)) return;
  const Model::State& about = model.state();
  WorkspaceLease workspace(model.state().workspaces);
  if (!workspace.take(about.config, about.weights, runtime::RecurrentState::period).ok() ||
      !recurrent.go_back(n_tokens, engine(options.threads), about.config, about.weights, workspace->scratch,
                         workspace->batch)) {
    recurrent.clear();
    n_tokens = 0;
  }
}

void Session::State::remember(u32 n) {
  model.state().prefixes.remember(prefix_kind, {tokens.data, n}, cache, recurrent.snapshot());
}

void Session::State::truncate(u32 n) {
  go_back(n);
  ++epoch;
}

void Session::State::compute_with(const AdapterSetting& setting) {
  if (adapter == setting) return;
  truncate(0);
  adapter = setting;
  use = {adapter.adapter ? &adapter.adapter->weights() : nullptr, adapter.scale};
  prefix_kind = engine::prefix_kind(*this);
}

void Session::State::share_under(Str root) {
  if (has_root && prefix_root.str() == root) return;
  if (has_root) truncate(0);
  has_root = true;
  prefix_root.assign(root);
  prefix_kind = engine::prefix_kind(*this);
}

const AdapterSetting& Session::adapter() const { return state_->options.adapter; }

Status Session::set_adapter(const AdapterSetting& setting) {
  FLYBALL_TRY(check_adapter(state_->model, setting));
  state_->options.adapter = setting;
  return {};
}

void Session::reset() {
  state_->truncate(0);
  state_->compute_with(state_->options.adapter);  // lets an answer's own adapter go
  ++state_->metrics.cache_resets;
  record_reset(*state_);
}

const GovernorSettings& Session::governor_settings() const { return state_->options.governor; }
const GovernorState& Session::governor() const { return state_->governor; }
const LastDecision& Session::last_guard_stop() const { return state_->last_guard_stop; }
const LastDecision& Session::last_autotune() const { return state_->last_autotune; }

Status Session::govern(const GovernorSettings& settings) {
  FLYBALL_TRY(governor::check(settings));
  state_->options.governor = settings;
  state_->governed_turn = 0;
  record_settings(*state_);
  return {};
}

Error interrupted_error(const Platform& platform, const CancelToken& cancel, u64 done, u64 total) {
  return fail(Code::interrupted, CancelCheck(platform, cancel).late() ? "deadline" : "stop")
         << "stopped after " << done << " of " << total << " tokens; the session holds the tokens computed so far";
}

Status Session::State::compute(Span<const Token> ids, u32 batch_tokens, Want want, f32* out, Rows rows,
                               CancelToken cancel, Progress progress) {
  if (ids.size > options.context - n_tokens) {
    return fail(Code::context_full, "context")
           << "holds " << options.context << " tokens, " << n_tokens << " are used and " << ids.size
           << " more are needed; choose a larger context or a shorter text";
  }
  if (batch_tokens == 0) return fail(Code::invalid_argument, "batch") << "is 0, expected at least 1";
  FLYBALL_TRY(model.check_file(Reliance::computing));
  const model::Config& config = model.config();
  const model::Weights& weights = model.state().weights;
  const u32 step = min(batch_tokens, max_batch);
  WorkspaceLease workspace(model.state().workspaces);
  FLYBALL_TRY(workspace.take(config, weights, u32(min(u64(step), ids.size))));
  if (use.adapter) FLYBALL_TRY(workspace->need_adapters(config));
  if (rows.logits) FLYBALL_TRY(workspace->need_rows(u32(min(u64(step), ids.size)), config.n_vocab));
  const model::Engine engine = this->engine(ids.size == 1 ? options.decode_threads : options.threads);
  const CancelCheck canceled(platform, cancel);
  for (u64 done = 0; done < ids.size;) {
    const u32 n = u32(min(u64(step), ids.size - done));
    model::SequenceState* const state = recurrent.begin(n, 0);
    for (u32 i = 0; i < n; ++i) {
      const bool wanted = want == Want::all || done + i + 1 == ids.size;
      workspace->batch[i] = {ids[done + i], n_tokens + i, cache.heads(), state, wanted, adapter_use()};
      tokens[n_tokens + i] = ids[done + i];
    }
    const u64 start = cycles(platform);
    model::ForwardCycles spent;
    const bool finished =
        model::forward(engine, config, weights, rope, workspace->scratch, workspace->batch.subspan(0, n),
                       rows.logits ? workspace->logits.data : out, canceled.check(), &spent);
    metrics.prefill.add({finished, finished ? n : 0, cycles(platform) - start, spent.matrices, spent.attention});
    if (!finished) {
      go_back(n_tokens);
      return interrupted_error(platform, cancel, done, ids.size);
    }
    recurrent.advance(n);
    n_tokens += n;
    done += n;
    if (rows.take) FLYBALL_TRY(rows.take(rows.context, *workspace, n));
    if (out && want == Want::all) out += u64(n) * config.n_vocab;
    if (progress.report && !progress.report(progress.context, "prefill", done, ids.size))
      return interrupted_error(platform, {}, done, ids.size);
  }
  return model.check_file(Reliance::reading);
}

Status Session::logits(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> out) {
  const FloatMode standard;
  const u32 n_vocab = state_->model.config().n_vocab;
  FLYBALL_TRY(check_tokens(ids, n_vocab, "ids"));
  if (out.size != ids.size * n_vocab)
    return fail(Code::internal, "logits") << "the output has room for " << out.size << " values";
  state_->compute_with(state_->options.adapter);
  state_->truncate(0);
  return state_->compute(ids, batch, State::Want::all, out.data, {}, cancel, progress);
}

Status Session::last_logits(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> out) {
  const FloatMode standard;
  const u32 n_vocab = state_->model.config().n_vocab;
  FLYBALL_TRY(check_tokens(ids, n_vocab, "ids"));
  if (out.size != n_vocab)
    return fail(Code::internal, "last_logits") << "the output has room for " << out.size << " values";
  state_->compute_with(state_->options.adapter);
  state_->truncate(0);
  return state_->compute(ids, batch, State::Want::last, out.data, {}, cancel, progress);
}

Status Session::score(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> logprobs,
                      u32 n_top, Span<runtime::TokenLogprob> top) {
  const FloatMode standard;
  const u32 n_vocab = state_->model.config().n_vocab;
  FLYBALL_TRY(check_tokens(ids, n_vocab, "ids"));
  if (n_top > min(max_top_logprobs, n_vocab)) {
    return fail(Code::invalid_argument, "top_logprobs")
           << "is " << n_top << ", must be at most " << min(max_top_logprobs, n_vocab);
  }
  if (logprobs.size != ids.size - 1 || top.size != logprobs.size * n_top)
    return fail(Code::internal, "score") << "the output has room for " << logprobs.size << " values";
  state_->compute_with(state_->options.adapter);
  state_->truncate(0);
  struct Scores {
    const kernels::Table& table;
    Span<const Token> ids;
    Span<f32> logprobs;
    u32 n_top;
    Span<runtime::TokenLogprob> top;
    u64 n_vocab;
    u64 done;
  } scores{state_->model.table(), ids, logprobs, n_top, top, n_vocab, 0};
  State::Rows rows;
  rows.context = &scores;
  rows.logits = true;
  rows.take = [](void* context, Workspace& workspace, u32 n_rows) -> Status {
    Scores& to = *static_cast<Scores*>(context);
    for (u32 r = 0; r < n_rows; ++r, ++to.done) {
      const Span<const f32> row = workspace.logits.subspan(r * to.n_vocab, to.n_vocab);
      FLYBALL_TRY(check_finite(row, to.done));
      const runtime::LogSoftmax softmax(to.table, row);
      to.logprobs[to.done] = softmax.logprob(row[u64(to.ids[to.done + 1])]);
      workspace.sampler.likeliest(row, softmax, to.top.subspan(to.done * to.n_top, to.n_top));
    }
    return {};
  };
  // The last token's logits are of a token that is not there.
  const Span<const Token> fed = ids.subspan(0, ids.size - 1);
  return state_->compute(fed, min(batch, max_step_rows), State::Want::all, nullptr, rows, cancel, progress);
}

Status Session::embed(Span<const Token> ids, Pooling pooling, bool normalize, u32 batch, CancelToken cancel,
                      Span<f32> out) {
  const FloatMode standard;
  const model::Config& config = state_->model.config();
  FLYBALL_TRY(check_tokens(ids, config.n_vocab, "ids"));
  if (out.size != config.n_embd)
    return fail(Code::internal, "embed") << "the output has room for " << out.size << " values";
  state_->compute_with(state_->options.adapter);
  state_->truncate(0);
  // Positions are added in ascending order, one by one, so the batch split cannot change a bit.
  struct Pool {
    Span<f32> out;
    Pooling pooling;
    u64 n_rows;
  } pool{out, pooling, 0};
  for (f32& x : out) x = 0;
  State::Rows rows;
  rows.context = &pool;
  rows.take = [](void* context, Workspace& workspace, u32 n_rows) -> Status {
    Pool& to = *static_cast<Pool*>(context);
    const f32* hidden = workspace.scratch.normed;
    for (u32 r = 0; r < n_rows; ++r, hidden += to.out.size) {
      const bool replaces = to.pooling == Pooling::last || (to.pooling == Pooling::first && to.n_rows == 0);
      for (u64 i = 0; i < to.out.size; ++i) {
        if (replaces) to.out[i] = hidden[i];
        if (to.pooling == Pooling::mean) to.out[i] += hidden[i];
      }
      ++to.n_rows;
    }
    return {};
  };
  FLYBALL_TRY(state_->compute(ids, batch, State::Want::all, nullptr, rows, cancel, {}));
  f64 squares = 0;
  for (f32& x : out) {
    if (pooling == Pooling::mean) x /= f32(ids.size);
    squares += f64(x) * x;
  }
  if (normalize && squares > 0) {
    const f64 length = __builtin_sqrt(squares);
    for (f32& x : out) x = f32(x / length);
  }
  return {};
}

}  // namespace flyball::engine
