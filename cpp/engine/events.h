// What the engine tells the journal. Private to engine/.
#pragma once

#include "engine/generation_state.h"

namespace flyball::engine {

void tell_loaded(const Model& model);
void tell_opened(Session::State& session);  // gives the session its number in the journal
void tell_closed(const Session::State& session);
void tell_settings(const Session::State& session);
void tell_reset(const Session::State& session);
void tell_turn(const Generation::State& generation);

// An event of an answer: a decision's data as the governor wrote it, or what it was told.
void tell_event(const Session::State& session, u64 turn, journal::Reason reason, Str data = "{}");
void tell_event(const Session::State& session, u64 turn, journal::Reason reason, Span<const governor::Call> calls);
template <class Seen>
void tell_event(const Session::State& session, u64 turn, journal::Reason reason, const Seen& seen) {
  if (!session.model.state().events.record) return;
  char buffer[512];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  governor::write(json, seen);
  tell_event(session, turn, reason, out.text());
}

}  // namespace flyball::engine
