// A free knob at run time: threads that wait for a descheduled one are slower than fewer that run undisturbed.
#include "base/types.h"
#include "governor/governor.h"
#include "journal/event_data.h"

namespace flyball::governor {

using journal::EventData;

namespace {

constexpr u32 first_pause = 32;
constexpr u32 longest_pause = 1024;
constexpr u32 trial_steps = 8;
constexpr u64 worth_percent = 95;  // of the usual cost; a trial must be cheaper

}  // namespace

void try_threads(const Settings& settings, State& state, const Call& call, Record record) {
  State::Threads& t = state.threads;
  if (settings.threads == 0 || t.most < 2 || !calibrated(settings, state)) return;
  if (t.pause == 0) t.pause = first_pause;
  t.cycles += call.cycles;
  t.expected += state.baseline.at(state.turn.depth);
  if (++t.n < (t.trial != 0 ? trial_steps : t.pause)) return;
  const u64 percent = 100 * t.cycles / max(t.expected, u64(1));
  t.n = 0, t.cycles = t.expected = 0;
  if (t.trial == 0) {
    t.usual_percent = percent;
    if (t.now < t.most)
      t.trial = min(t.most, 2 * t.now);
    else if (percent > settings.high_percent)
      t.trial = t.now / 2;
    else
      t.pause = first_pause;
    return;
  }
  if (100 * percent < worth_percent * t.usual_percent) {
    EventData<> data;
    data.json.field("from", t.now).field("to", t.trial).field("usual_percent", t.usual_percent);
    data.json.field("trial_percent", percent);
    record(Reason::AUTOTUNE_THREADS, data.done());
    t.now = t.trial;
    t.pause = first_pause;
  } else {
    t.pause = min(2 * t.pause, longest_pause);
  }
  t.trial = 0;
}

}  // namespace flyball::governor
