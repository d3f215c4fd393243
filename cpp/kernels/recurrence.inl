// Recurrences over sixteen lanes, in the order of scalar_recurrence.cpp.

namespace flyball::kernels {
namespace {

void convolve(const f32* const* rows, const f32* weights, u32 n_taps, u64 n, f32* y) {
  each_lane(n, [&](u64 i, auto get, auto put) FLYBALL_LAMBDA {
    F sum = zero();
    for (u32 tap = 0; tap < n_taps; ++tap) sum = fma(get(weights + tap * n + i), get(rows[tap] + i), sum);
    put(y + i, sum);
  });
}

struct Chains {  // of the sums over keys, for 16 columns
  F of[4] = {zero(), zero(), zero(), zero()};
  FLYBALL_INLINE F sum() const { return add(add(of[0], of[1]), add(of[2], of[3])); }
};

// All tokens on `blocks` blocks of columns, whose state then stays in the processor's nearest cache.
template <u32 blocks>
FLYBALL_INLINE void delta_blocks(const DeltaTask& task, u32 first, const u32 (&n_columns)[blocks]) {
  f32* state[blocks];
  for (u32 b = 0; b < blocks; ++b) state[b] = task.state + u64(first + b) * task.key_dim * state_columns;
  const u32 whole = task.key_dim / 4 * 4;
  for (u32 t = 0; t < task.n_tokens; ++t) {
    const f32* const key = task.keys + t * task.stride;
    const f32* const query = task.queries + t * task.stride;
    const f32* const value = task.values + t * task.stride + first * state_columns;
    const F decay = set(task.decays[t * task.factor_stride]), beta = set(task.betas[t * task.factor_stride]);
    Chains dots[blocks];
    const auto dot = [&](u32 i, u32 c) FLYBALL_LAMBDA {
      const F k = set(key[i]);
      for (u32 b = 0; b < blocks; ++b) dots[b].of[c] = fma(k, load(state[b] + u64(i) * state_columns), dots[b].of[c]);
    };
    for (u32 i = 0; i < whole && task.corrects; i += 4) unroll<4>([&](u32 c) FLYBALL_LAMBDA { dot(i + c, c); });
    for (u32 i = whole; i < task.key_dim && task.corrects; ++i) dot(i, i - whole);
    F r[blocks];
    for (u32 b = 0; b < blocks; ++b) {
      const F v = load_n(value + b * state_columns, n_columns[b]);
      r[b] = mul(beta, task.corrects ? sub(v, mul(decay, dots[b].sum())) : v);
    }
    Chains outs[blocks];
    const auto step = [&](u32 i, u32 c) FLYBALL_LAMBDA {
      const F k = set(key[i]), q = set(query[i]);
      for (u32 b = 0; b < blocks; ++b) {
        f32* const row = state[b] + u64(i) * state_columns;
        const F s = fma(k, r[b], mul(decay, load(row)));
        store(row, s);
        outs[b].of[c] = fma(q, s, outs[b].of[c]);
      }
    };
    for (u32 i = 0; i < whole; i += 4) unroll<4>([&](u32 c) FLYBALL_LAMBDA { step(i + c, c); });
    for (u32 i = whole; i < task.key_dim; ++i) step(i, i - whole);
    f32* const out = task.out ? task.out + t * task.out_stride + first * state_columns : nullptr;
    for (u32 b = 0; out && b < blocks; ++b) store_n(out + b * state_columns, outs[b].sum(), n_columns[b]);
  }
}

void delta_rule(const DeltaTask& task) {
  const u32 n_blocks = u32(divide_up(task.n_columns, state_columns));
  const auto columns = [&](u32 block) { return min(state_columns, task.n_columns - block * state_columns); };
  u32 block = 0;
  for (; block + 2 <= n_blocks && delta_pairs; block += 2)
    delta_blocks<2>(task, block, {columns(block), columns(block + 1)});
  for (; block < n_blocks; ++block) delta_blocks<1>(task, block, {columns(block)});
}

}  // namespace
}  // namespace flyball::kernels
