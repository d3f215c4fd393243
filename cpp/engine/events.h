// What the engine records in the journal. Private to engine/.
#pragma once

#include "engine/generation_state.h"

namespace flyball::engine {

void record_loaded(const Model& model);
void record_adapter(const Adapter& adapter);
void record_opened(Session::State& session);  // gives the session its number in the journal
void record_closed(const Session::State& session);
void record_settings(const Session::State& session);
void record_reset(const Session::State& session);
void record_turn(const Generation::State& generation);

// An event of an answer: a decision's data as the governor wrote it, or what it observed.
void record_event(const Session::State& session, u64 turn, journal::Reason reason, Str data = "{}");
void record_event(const Session::State& session, u64 turn, journal::Reason reason, Span<const governor::Call> calls);
template <class Seen>
void record_event(const Session::State& session, u64 turn, journal::Reason reason, const Seen& seen) {
  if (!session.model.state().events.record) return;
  char buffer[512];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  governor::write(json, seen);
  record_event(session, turn, reason, out.text());
}

}  // namespace flyball::engine
