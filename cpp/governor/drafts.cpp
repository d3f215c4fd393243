// Draft tokens: another free knob at run time. The journal gets at most one event an answer on whether they pay.
#include "base/types.h"
#include "governor/governor.h"
#include "journal/event_data.h"

namespace flyball::governor {

using journal::EventData;

void observe_drafts(State& state, const Call& call) {
  if (call.kind != Call::plain && call.kind != Call::speculative) return;
  if (call.rows == 0 || call.rows - 1 > DraftPolicy::max_drafts) return;  // no session makes such a call
  (void)state.drafts.choose(call.drafts);
  const u32 drafted = call.rows - 1, accepted = min(call.gained - min(call.gained, 1u), drafted);
  state.drafts.observe(drafted, accepted, call.cycles);
  state.turn.drafted += drafted;
  state.turn.accepted += accepted;
}

void record_drafts(State& state, Record record) {
  const bool pay = state.drafts.best() != 0;
  if (state.turn.drafted == 0 || pay == state.drafts_pay) return;
  state.drafts_pay = pay;
  EventData<> data;
  data.json.field("drafted", state.turn.drafted).field("accepted", state.turn.accepted);
  record(pay ? Reason::SPECULATION_PAYS : Reason::SPECULATION_PAUSED, data.done());
}

}  // namespace flyball::governor
