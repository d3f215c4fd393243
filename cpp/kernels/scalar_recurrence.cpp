// Recurrences of the scalar table: these loops define the order of operations.
#include "base/math.h"
#include "kernels/scalar.h"

namespace flyball::kernels::scalar {
namespace {

constexpr u32 chains = 4;  // that a column's sums over keys are divided into, so that they need not wait for each other

f32 add_chains(const f32* chain) { return (chain[0] + chain[1]) + (chain[2] + chain[3]); }

}  // namespace

void convolve(const f32* const* rows, const f32* weights, u32 n_taps, u64 n, f32* y) {
  for (u64 c = 0; c < n; ++c) {
    f32 sum = 0;
    for (u32 tap = 0; tap < n_taps; ++tap) sum = fma32(weights[tap * n + c], rows[tap][c], sum);
    y[c] = sum;
  }
}

void delta_rule(const DeltaTask& task) {
  for (u32 t = 0; t < task.n_tokens; ++t) {
    const f32* const key = task.keys + t * task.stride;
    const f32* const query = task.queries + t * task.stride;
    const f32 decay = task.decays[t * task.factor_stride], beta = task.betas[t * task.factor_stride];
    for (u32 column = 0; column < task.n_columns; ++column) {
      const u32 block = column / state_columns;
      f32* const state = task.state + u64(block) * task.key_dim * state_columns + column % state_columns;
      f32 chain[chains] = {};
      for (u32 i = 0; i < task.key_dim && task.corrects; ++i)
        chain[i % chains] = fma32(key[i], state[u64(i) * state_columns], chain[i % chains]);
      const f32 value = task.values[t * task.stride + column];
      const f32 r = beta * (task.corrects ? value - decay * add_chains(chain) : value);
      f32 out[chains] = {};
      for (u32 i = 0; i < task.key_dim; ++i) {
        f32& s = state[u64(i) * state_columns];
        s = fma32(key[i], r, decay * s);
        out[i % chains] = fma32(query[i], s, out[i % chains]);
      }
      if (task.out) task.out[t * task.out_stride + column] = add_chains(out);
    }
  }
}

}  // namespace flyball::kernels::scalar
