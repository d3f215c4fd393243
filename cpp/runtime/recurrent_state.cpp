#include "runtime/recurrent_state.h"

namespace flyball::runtime {
namespace {

void copy(Span<const f32> from, Span<f32> to) { memcpy(to.data, from.data, to.size * sizeof(f32)); }

}  // namespace

Result<RecurrentState> RecurrentState::create(Arena& arena, const model::Config& config) {
  RecurrentState state;
  const u64 n = config.state_floats(), n_inputs = config.input_floats() * period;
  if (n == 0) return state;
  state.now_ = arena.allocate<f32>(n);
  state.base_ = arena.allocate<f32>(n);
  state.next_base_ = arena.allocate<f32>(n);
  state.inputs_ = arena.allocate<f32>(n_inputs);
  if (state.now_.empty() || state.base_.empty() || state.next_base_.empty() || state.inputs_.empty())
    return fail(Code::out_of_memory, "state") << "no memory for " << bytes_for(config) << " bytes of recurrent state";
  return state;
}

model::SequenceState* RecurrentState::begin(u32 n_sure, u32 n_drafts) {
  if (!exists()) return nullptr;
  const u32 end = position_ + n_sure, snapshot = end - end % period;
  const bool leaves_snapshot = snapshot > position_;
  if (!has_base_ || leaves_snapshot || n_inputs_ + n_sure + n_drafts > period) {
    copy(now_, base_);  // a stopped call goes back to it
    base_position_ = position_;
    n_inputs_ = 0;
    has_base_ = true;
  }
  call_ = {now_.data, inputs_.data, period, n_inputs_, nullptr, 0};
  if (leaves_snapshot) {
    call_.snapshot = next_base_.data;
    call_.snapshot_after = snapshot - position_;
  }
  computing_ = true;
  return &call_;
}

void RecurrentState::advance(u32 n) {
  if (!exists()) return;
  snapshot_position_ = 0;
  if (call_.snapshot) {
    const Span<f32> older = base_;
    base_ = next_base_;
    next_base_ = older;
    snapshot_position_ = base_position_ = position_ + call_.snapshot_after;
  }
  position_ += n;
  n_inputs_ = position_ - base_position_;
  computing_ = false;
}

bool RecurrentState::go_back(u32 position, const model::Engine& engine, const model::Config& config,
                             const model::Weights& weights, model::Scratch& scratch, Span<model::BatchToken> batch) {
  if (is_at(position)) return true;
  if (position == 0 || !reaches(position)) {
    clear();
    return position == 0;
  }
  copy(base_, now_);
  n_inputs_ = position - base_position_;
  model::advance_again(engine, config, weights, scratch, batch,
                       {now_.data, inputs_.data, period, n_inputs_, nullptr, 0});
  position_ = position;
  computing_ = false;
  return true;
}

void RecurrentState::clear() {
  for (f32& x : now_) x = 0;
  taken_up(0);
}

void RecurrentState::taken_up(u32 position) {
  position_ = position;
  n_inputs_ = 0;
  has_base_ = computing_ = false;
}

}  // namespace flyball::runtime
