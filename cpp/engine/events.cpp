#include "engine/events.h"

#include "governor/replay.h"
#include "journal/event_data.h"

namespace flyball::engine {
namespace {

using journal::Reason;

using Data = journal::EventData<>;

bool journaled(const Model& model) { return model.state().events.record != nullptr; }

void phase(JsonWriter& json, Str name, const runtime::PhaseMetrics& m) {
  json.key(name).begin_object().field("calls", m.calls).field("tokens", m.tokens).field("cycles", m.cycles);
  json.end_object();
}

// Nothing where there is none: events without adapters stay as they were.
void write(JsonWriter& json, const AdapterSetting& setting) {
  if (!setting.adapter) return;
  char digits[64];
  hex(setting.adapter->fingerprint(), digits);
  json.key("adapter").begin_object().field("fingerprint", Str(digits, sizeof digits));
  json.field("scale", setting.scale).end_object();
}

}  // namespace

void record_event(const Session::State& session, u64 turn, Reason reason, Str data) {
  if (!session.options.journaled) return;
  session.model.state().events(session.number, turn, reason, data);
}

void record_event(const Session::State& session, u64 turn, Reason reason, Span<const governor::Call> calls) {
  if (!journaled(session.model)) return;
  constexpr u64 most_bytes_of_call = 96;
  char buffer[governor::max_calls_per_line * most_bytes_of_call];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  governor::write(json, calls);
  record_event(session, turn, reason, out.text());
}

void record_loaded(const Model& model) {
  if (!journaled(model)) return;
  Data data;
  data.json.field("architecture", model.config().architecture_name).field("quantization", model.quantization());
  data.json.field("file_bytes", model.file_bytes()).field("weight_bytes", model.weight_bytes());
  const PackedCopy& copy = model.packed_copy();
  if (copy.is_kept()) data.json.field("packed_copy", copy.how());
  if (!copy.problem().empty()) data.json.field("no_packed_copy", copy.problem());
  data.json.field("isa", model.table().name).field("threads", model.threads());
  data.json.field("select_ns", model.startup().model_select_ns).field("prepare_ns", model.startup().model_prepare_ns);
  model.state().events(0, 0, Reason::MODEL_LOADED, data.done());
}

void record_adapter(const Adapter& adapter) {
  if (!journaled(adapter.model())) return;
  Data data;
  char digits[64];
  hex(adapter.fingerprint(), digits);
  data.json.field("name", adapter.name()).field("fingerprint", Str(digits, sizeof digits));
  data.json.field("file_bytes", adapter.file_bytes()).field("weight_bytes", adapter.weight_bytes());
  data.json.field("rank", adapter.rank()).field("pairs", adapter.n_pairs());
  data.json.field("changes_logits", adapter.changes_logits());
  adapter.model().state().events(0, 0, Reason::MODEL_ADAPTER_LOADED, data.done());
}

void record_opened(Session::State& session) {
  if (!journaled(session.model) || !session.options.journaled) return;
  const journal::EventSink& events = session.model.state().events;
  if (events.new_session) session.number = events.new_session(events.context);
  const SessionOptions& options = session.options;
  Data data;
  data.json.field("context", options.context).field("cache_type", cache_type_name(options.cache));
  data.json.field("threads", options.threads).field("decode_threads", options.decode_threads);
  data.json.field("sequence", options.sequence);
  write(data.json, options.adapter);
  governor::write_opening(data.json, options.governor, session.governor.baseline);
  record_event(session, 0, Reason::SESSION_OPENED, data.done());
}

void record_closed(const Session::State& session) { record_event(session, 0, Reason::SESSION_CLOSED); }
void record_reset(const Session::State& session) { record_event(session, 0, Reason::SESSION_CACHE_RESET); }

void record_settings(const Session::State& session) {
  if (!journaled(session.model)) return;
  Data data;
  governor::write_settings(data.json.key("governor"), session.options.governor);
  record_event(session, 0, Reason::SESSION_SETTINGS, data.done());
}

void record_turn(const Generation::State& generation) {
  if (!journaled(generation.session.model)) return;
  const runtime::GenerationMetrics& m = generation.metrics;
  Data data;
  data.json.field("stop_reason", stop_reason_name(generation.stop_reason));
  write(data.json, generation.adapter);
  data.json.field("prompt_tokens", m.prompt_tokens).field("cached_tokens", m.cached_tokens);
  data.json.field("generated_tokens", m.generated_tokens);
  phase(data.json, "prefill", m.prefill);
  phase(data.json, "decode", m.decode);
  data.json.field("sample_cycles", m.sample_cycles).field("first_token_cycles", m.first_token_cycles);
  data.json.field("total_cycles", m.total_cycles);
  record_event(generation.session, generation.turn, Reason::SESSION_TURN_ENDED, data.done());
}

}  // namespace flyball::engine
