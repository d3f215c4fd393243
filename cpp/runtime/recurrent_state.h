// The state of a sequence's recurrent layers. Unlike a cache of positions it cannot be cut at its end: so it keeps an
// earlier state and what the tokens since then brought, to go back to any of them without a copy for each token.
#pragma once

#include "base/arena.h"
#include "model/forward.h"

namespace flyball::runtime {

// A state at one position that others may take up.
struct StateSnapshot {
  u32 position = 0;  // tokens that it has seen; 0: there is none
  Span<const f32> floats;
};

class RecurrentState {
 public:
  // Snapshots are at multiples of it, and at least the tokens since the last one can be taken back one by one.
  static constexpr u32 period = 64;

  // Of a model without recurrent layers it holds nothing.
  static Result<RecurrentState> create(Arena& arena, const model::Config& config);

  bool exists() const { return !now_.empty(); }
  bool is_at(u32 position) const { return !exists() || (position == position_ && !computing_); }
  u32 position() const { return position_; }
  static u64 bytes_for(const model::Config& config) {
    return (3 * config.state_floats() + period * config.input_floats()) * sizeof(f32);
  }
  u64 bytes() const { return (3 * now_.size + inputs_.size) * sizeof(f32); }
  Span<f32> floats() const { return now_; }  // after position() tokens

  // For a call that feeds `n_sure` tokens and `n_drafts` that may be taken back; then advance(), or go_back() if it was
  // stopped. Null where no layer has a state.
  model::SequenceState* begin(u32 n_sure, u32 n_drafts);
  void advance(u32 n);
  StateSnapshot snapshot() const { return {snapshot_position_, base_}; }  // that the last call left, if it did

  // Whether it can; if not, the state is as of no tokens. `scratch` and `batch` are for `period` tokens.
  bool go_back(u32 position, const model::Engine& engine, const model::Config& config, const model::Weights& weights,
               model::Scratch& scratch, Span<model::BatchToken> batch);
  void clear();                 // as of no tokens
  void taken_up(u32 position);  // floats() have been filled with the state after so many tokens

 private:
  bool reaches(u32 position) const {
    return has_base_ && position >= base_position_ && position - base_position_ <= n_inputs_;
  }

  model::SequenceState call_;
  Span<f32> now_, base_, next_base_;
  Span<f32> inputs_;  // of the tokens after base_
  u32 position_ = 0;
  u32 base_position_ = 0;
  u32 n_inputs_ = 0;
  u32 snapshot_position_ = 0;
  bool has_base_ = false;
  bool computing_ = false;  // a call has begun, and has not been told as done: floats() are of no position
};

}  // namespace flyball::runtime
