#include "policy/policy.h"

#include "engine/state.h"
#include "journal/event_data.h"
#include "settings/config.h"

namespace flyball::policy {

using governor::policy::Applied;
using governor::policy::Consulted;
using governor::policy::History;
using governor::policy::PlannedChange;
using governor::policy::Restored;
using governor::policy::TunableLimits;
using governor::policy::TurnSeen;
using journal::Reason;
using settings::config_keys;
using settings::ConfigValue;
using settings::find_config_key;

namespace {

constexpr u64 most_file_bytes = u64(1) << 16;
constexpr u64 name_bytes = 600;

constexpr u32 cache_bits(CacheType type) { return type == CacheType::f32 ? 32 : type == CacheType::f16 ? 16 : 8; }

// FILE, or FILE with another ending.
struct Name {
  Text<name_bytes> text;
  Name(Str file, Str ending) {
    Writer out(text.data, sizeof text.data);
    text.size = u32(out.put(file).put(ending).text().size);
  }
  Str str() const { return text.str(); }
};

Status write_text(const Platform& platform, Str path, Str text) {
  return platform.write_file(platform.self, path, {reinterpret_cast<const u8*>(text.data), text.size});
}

// The whole file, or empty text with the reason.
Result<Str> read_text(const Platform& platform, Arena& arena, Str path) {
  Span<const u8> file;
  FLYBALL_ASSIGN(file, platform.map(platform.self, path));
  const bool fits = file.size <= most_file_bytes;
  const Str text = fits ? arena.copy({reinterpret_cast<const char*>(file.data), file.size}) : Str();
  platform.unmap(platform.self, file);
  if (!fits) return fail(Code::corrupt, path) << "is longer than " << most_file_bytes << " bytes";
  return text;
}

void write_file_text(Writer& out, const TunableLimits& c) {
  out.put("# What Flyball's policy has changed (docs/policy.md); without this file it begins anew.\n");
  out.put("context = ").put_u64(c.context).put("\nmax_tokens = ").put_u64(c.max_tokens);
  out.put("\ncache_type = \"").put(engine::cache_type_name(cache_of(c.cache_bits))).put("\"\n");
}

// The three keys of a configuration's text; another or a missing key is an error.
Status read_file_text(Arena& arena, Str path, Str text, TunableLimits* out) {
  const Span<ConfigValue> values = arena.allocate<ConfigValue>(config_keys().size);
  if (values.empty()) return fail(Code::out_of_memory, path) << "no memory to read it";
  FLYBALL_TRY(settings::read_config(path, text, values));
  u64 n_set = 0;
  for (const ConfigValue& value : values) n_set += value.set;
  const auto value = [&](Str key) -> const ConfigValue& { return values[find_config_key(key).value()]; };
  const ConfigValue &context = value("context"), &max_tokens = value("max_tokens"), &cache_type = value("cache_type");
  if (n_set != 3 || !context.set || !max_tokens.set || !cache_type.set)
    return fail(Code::corrupt, path) << "must have context, max_tokens and cache_type, and nothing else";
  CacheType type = CacheType::f16;
  FLYBALL_ASSIGN(type, engine::parse_cache_type(cache_type.text.str()));
  *out = {u32(context.integer), u32(max_tokens.integer), cache_bits(type)};
  return {};
}

// At most these three keys; each may be absent.
Status read_limits(const Platform& platform, Str path, GovernorSettings* out) {
  Arena arena(platform);
  const Span<ConfigValue> values = arena.allocate<ConfigValue>(config_keys().size);
  Str text;
  if (values.empty()) return fail(Code::out_of_memory, path) << "no memory to read it";
  FLYBALL_ASSIGN(text, read_text(platform, arena, path));
  FLYBALL_TRY(settings::read_config(path, text, values));
  for (u64 i = 0; i < values.size; ++i) {
    if (!values[i].set) continue;
    const Str key = config_keys()[i].key;
    if (key != "policy.auto_apply" && key != "policy.gate" && key != "policy.threshold")
      return fail(Code::corrupt, path) << "has " << key
                                       << "; allowed: policy.auto_apply, policy.gate, policy.threshold";
    FLYBALL_TRY(governor::set(out, key, values[i].text.str()));
  }
  return {};
}

Digest digest_of(Str text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

// Cycles of a plain step without attention: as many with every cache.
u64 step_cycles(const GovernorSettings& settings, const engine::GovernorState::Turn& turn) {
  if (turn.plain_calls < settings.min_tokens) return 0;
  return (turn.plain_cycles - min(turn.plain_cycles, turn.plain_attention_cycles)) / turn.plain_calls;
}

TunableLimits asked(const Model& model, u32 context, CacheType cache, u32 max_tokens) {
  return {context ? context : min(model.config().n_ctx_train, engine::default_context), max_tokens, cache_bits(cache)};
}

governor::policy::Possible possible(const Model& model) {
  const model::Config& config = model.config();
  return {config.n_ctx_train, cache_bits(runtime::holds(CacheType::q8_0, config) ? CacheType::q8_0 : CacheType::f16)};
}

u64 available_mb(const Platform& platform) {
  return (platform.available_memory ? platform.available_memory(platform.self) : ~u64(0)) >> 20;
}

TurnSeen seen_of(const Generation& generation) {
  const Session& session = generation.session();
  const Platform& platform = session.model().platform();
  const runtime::PhaseMetrics& decode = generation.metrics().decode;
  const engine::StopReason stop = generation.stop_reason();
  TurnSeen seen;
  seen.step_cycles = step_cycles(session.governor_settings(), session.governor().turn);
  seen.cycles_per_token = decode.tokens ? decode.cycles / decode.tokens : 0;
  seen.resident_kb = platform.resident_memory ? platform.resident_memory(platform.self) >> 10 : 0;
  seen.available_mb = available_mb(platform);
  seen.depth = u32(session.tokens().size);
  seen.stopped = session.governor().turn.stopped;
  seen.cut = stop == engine::StopReason::max_tokens || stop == engine::StopReason::context_full;
  seen.interrupted = !seen.stopped && (stop == engine::StopReason::interrupted || stop == engine::StopReason::deadline);
  return seen;
}

}  // namespace

CacheType cache_of(u32 bits) { return bits == 32 ? CacheType::f32 : bits == 16 ? CacheType::f16 : CacheType::q8_0; }

Result<Policy*> Policy::create(Model& model, const PolicyOptions& options) {
  FLYBALL_TRY(governor::check(options.settings));
  if (model.vocab_only())
    return fail(Code::invalid_argument, "policy") << "the model was loaded with vocab_only: it has no weights to run";
  if (options.file.size > sizeof file_.data) return fail(Code::invalid_argument, "policy") << "the path is too long";
  Policy* policy = create_object<Policy>(model.platform(), model, options.settings);
  if (!policy) return fail(Code::out_of_memory, "policy") << "no memory for a policy";
  if (const Status status = policy->open(options); !status.ok()) {
    destroy_object(model.platform(), policy);
    return status.error();
  }
  return policy;
}

void Policy::release(Policy* policy) {
  if (!policy) return;
  governor::policy::History::Starts& starts = policy->state_.history.starts;
  if (starts.running) {
    starts.running = false;
    policy->keep_history();
  }
  destroy_object(policy->model_.platform(), policy);
}

Status Policy::open(const PolicyOptions& options) {
  file_.assign(options.file);
  FLYBALL_TRY(check_file(settings_));
  settings_ = limit(settings_);
  const TunableLimits base = asked(model_, options.context, options.cache, options.max_tokens);
  TunableLimits now = base;
  const Str source = read_now(base, &now);
  begin(base, now, source, read_history());
  if (options.counts_starts && file_.size != 0) start(base);
  return {};
}

void Policy::begin(const TunableLimits& base, const TunableLimits& now, Str source, const History& history) {
  state_ = governor::policy::begin(base, possible(model_), now, history);
  const journal::EventSink& events = model_.state().events;
  if (events.new_session) number_ = events.new_session(events.context);
  journal::EventData<> data;
  data.json.field("configuration_from", source).field("limited", limited_);
  governor::policy::write_opening(data.json, settings_, state_);
  record(Reason::SESSION_POLICY_OPENED, data.done());
}

Status Policy::read_file(Str path, const TunableLimits& base, TunableLimits* out) const {
  Arena arena(model_.platform());
  Str text;
  TunableLimits found;
  FLYBALL_ASSIGN(text, read_text(model_.platform(), arena, path));
  FLYBALL_TRY(read_file_text(arena, path, text, &found));
  if (!governor::policy::in_range(settings_, governor::policy::begin(base, possible(model_), base, {}), found))
    return fail(Code::corrupt, path) << "is out of range";
  *out = found;
  return {};
}

// The configuration of the file or of its checkpoint; returns which.
Str Policy::read_now(const TunableLimits& base, TunableLimits* now) const {
  const Platform& platform = model_.platform();
  if (settings_.auto_apply == GovernorSettings::nothing || !platform.stat(platform.self, file_.str()).ok())
    return "requested";
  if (read_file(file_.str(), base, now).ok()) return "file";
  return read_file(Name(file_.str(), ".before").str(), base, now).ok() ? "checkpoint" : "nothing_valid";
}

// The bounds of a reliability run, which only make the settings stricter. No file: no bounds. An unreadable one allows
// no change.
GovernorSettings Policy::limit(const GovernorSettings& settings) {
  GovernorSettings bounds = settings;
  const Name path(file_.str(), ".limits");
  limited_ = file_.size != 0 && model_.platform().stat(model_.platform().self, path.str()).ok();
  if (!limited_) return settings;
  if (!read_limits(model_.platform(), path.str(), &bounds).ok()) bounds.auto_apply = GovernorSettings::nothing;
  GovernorSettings out = settings;
  out.auto_apply = min(settings.auto_apply, bounds.auto_apply);
  out.gate = min(settings.gate, bounds.gate);
  out.threshold = max(settings.threshold, bounds.threshold);
  return out;
}

void Policy::start(const TunableLimits& base) {
  governor::policy::StartSeen seen;
  (void)read_file(Name(file_.str(), ".before").str(), base, &seen.checkpoint);
  observe(Reason::SESSION_START_SEEN, seen);
}

// An unreadable history starts again from nothing.
History Policy::read_history() const {
  const Platform& platform = model_.platform();
  Arena arena(platform);
  History history;
  if (file_.size == 0) return history;
  Result<Str> text = read_text(platform, arena, Name(file_.str(), ".history").str());
  if (!text.ok()) text = read_text(platform, arena, Name(file_.str(), ".learnt").str());  // its name in version 0.1
  if (!text.ok()) return history;
  const Result<Json> json = Json::parse(text.value());
  return json.ok() && governor::policy::read(json.value(), &history).ok() ? history : History();
}

Status Policy::ask_for(u32 context, CacheType cache, u32 max_tokens) {
  const TunableLimits base = asked(model_, context, cache, max_tokens);
  if (base == state_.base && base == state_.now) return {};
  begin(base, base, "requested", state_.history);
  if (settings_.auto_apply == GovernorSettings::nothing || apply(base, false).same_bytes) return {};
  return fail(Code::io, file_.str()) << "cannot be written; the next start uses its old values";
}

Status Policy::check_file(const GovernorSettings& settings) const {
  FLYBALL_TRY(governor::check(settings));
  if (settings.auto_apply == GovernorSettings::nothing || file_.size != 0) return {};
  return fail(Code::invalid_argument, "policy.auto_apply") << "needs a file for the changes; set policy_file";
}

Status Policy::govern(const GovernorSettings& settings) {
  FLYBALL_TRY(check_file(settings));
  const GovernorSettings bounded = limit(settings);
  if (bounded == settings_) return {};
  settings_ = bounded;
  journal::EventData<> data;
  governor::write_settings(data.json.key("governor"), settings_);
  record(Reason::SESSION_SETTINGS, data.done());
  return {};
}

// A request equal to the base gets the policy's value, even a larger one; other requests get at most that.
void Policy::give(const Session& session, GenerateOptions* options) const {
  const TunableLimits &base = state_.base, &now = state_.now;
  const u32 asked = options->max_tokens;
  options->max_tokens = asked == base.max_tokens ? now.max_tokens : min(asked, now.max_tokens);
  options->policy_change = {{base.context, asked, base.cache_bits},
                            {session.context(), options->max_tokens, cache_bits(session.cache_type())}};
}

CacheType Policy::cache() const { return cache_of(state_.now.cache_bits); }

void Policy::record(Reason reason, Str data) const { model_.state().events(number_, n_turns_, reason, data); }

void Policy::decided(Reason reason, Str data) {
  record(reason, data);
  if (n_decisions_ < max_decisions) decisions_[n_decisions_++] = reason;
}

// Records an observation, decides, acts, and observes the result of the action in turn.
template <class Seen>
void Policy::observe(Reason reason, const Seen& seen) {
  char buffer[1024];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  governor::policy::write(json, seen);
  record(reason, out.text());
  const governor::Record say{this,
                             [](void* self, Reason why, Str what) { static_cast<Policy*>(self)->decided(why, what); }};
  const History before = state_.history;
  const PlannedChange planned = governor::policy::observe(settings_, state_, seen, say);
  if (before != state_.history) keep_history();
  if (planned.what == PlannedChange::apply)
    observe(Reason::SESSION_APPLIED, apply(planned.limits, planned.checkpoint));
  else if (planned.what == PlannedChange::restore)
    observe(Reason::SESSION_RESTORED, Restored{apply(planned.limits, false).same_bytes});
}

// Writes the configuration, and returns what the file has then.
Applied Policy::apply(const TunableLimits& wanted, bool checkpoint) const {
  const Platform& platform = model_.platform();
  Arena arena(platform);
  const auto write = [&](Str path, const TunableLimits& limits) -> Applied {
    char buffer[512];
    Writer text(buffer, sizeof buffer);
    write_file_text(text, limits);
    Applied applied;
    if (!write_text(platform, path, text.text()).ok()) return applied;
    const Result<Str> found = read_text(platform, arena, path);
    if (!found.ok() || !read_file_text(arena, path, found.value(), &applied.found).ok()) return applied;
    applied.same_bytes = digest_of(found.value()) == digest_of(text.text());
    return applied;
  };
  if (checkpoint && !write(Name(file_.str(), ".before").str(), state_.checkpoint).same_bytes) return {};
  return write(file_.str(), wanted);
}

// Ignores errors: a history that is not written starts again.
void Policy::keep_history() const {
  if (file_.size == 0) return;
  char buffer[2048];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  governor::policy::write(json, state_.history);
  (void)write_text(model_.platform(), Name(file_.str(), ".history").str(), out.put('\n').text());
}

Status Policy::turn_ended(const Generation& generation, CancelToken cancel) {
  ++n_turns_;
  n_decisions_ = 0;
  observe(Reason::SESSION_TURN_SEEN, seen_of(generation));
  if (settings_.consult != GovernorSettings::each_turn) return {};
  return ask(generation.session(), cancel);
}

Status Policy::session_ended(const Session& session, CancelToken cancel) {
  n_decisions_ = 0;
  if (settings_.consult != GovernorSettings::at_end) return {};
  return ask(session, cancel);
}

Consulted Policy::consulted(const Session& session) const {
  Consulted seen;
  seen.available_mb = available_mb(model_.platform());
  seen.cache_mb = session.cache_bytes() >> 20;
  seen.depth = session.tokens().size;
  return seen;
}

Status Policy::consult(const Session& session, CancelToken cancel) {
  n_decisions_ = 0;
  return ask(session, cancel);
}

// The newest answers as a line like those of logs; rounded to steps, so that noise does not change the prompt.
void Policy::describe(const Consulted& seen, Writer& text) const {
  const governor::policy::Answers& answers = state_.trial == Action::stay ? state_.before : state_.after;
  u64 stopped = 0, cut = 0;
  for (u32 i = 0; i < answers.n; ++i) stopped += answers.seen[i].stopped, cut += answers.seen[i].cut;
  text.put("state: mode=").put(governor::policy::mode_name(state_.history.mode));
  if (answers.n != 0) {
    const u64 percent = governor::policy::speed_percent(state_, answers.seen[answers.n - 1]);
    text.put(" decode_percent=").put_u64((percent + 5) / 10 * 10);
  }
  text.put(" stopped=").put_u64(stopped).put(" cut=").put_u64(cut).put(" of=").put_u64(answers.n);
  const u64 headroom = settings_.headroom_mb;
  text.put(" memory=")
      .put(seen.available_mb < headroom       ? "low"
           : seen.available_mb < 4 * headroom ? "enough"
                                              : "plenty");
  text.put(" context=").put_u64(state_.now.context).put(" used=").put_u64(seen.depth);
  text.put(" max_tokens=").put_u64(state_.now.max_tokens).put(" kv=").put(engine::cache_type_name(cache()));
}

Status Policy::ask_model(Str situation, CancelToken cancel, Span<f32> scores) {
  return scorer_.ask(situation, cancel, scores);
}

Status Policy::ask(const Session& session, CancelToken cancel) {
  Consulted seen = consulted(session);
  char buffer[512];
  Writer text(buffer, sizeof buffer);
  describe(seen, text);
  seen.situation = text.text();
  FLYBALL_TRY(ask_model(seen.situation, cancel, {seen.scores, governor::policy::n_actions}));
  observe(Reason::SESSION_CONSULTED, seen);
  return {};
}

Status Policy::consult_mock(const Session& session, Action action) {
  constexpr f32 certain = 10;
  n_decisions_ = 0;
  Consulted seen = consulted(session);
  seen.mock = true;
  seen.scores[u64(action)] = certain;
  observe(Reason::SESSION_CONSULTED, seen);
  return {};
}

}  // namespace flyball::policy
