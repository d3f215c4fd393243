// Convolutions and the delta rule: every table against the scalar reference, bit by bit, and that against double precision.
#include <cmath>

#include "kernels/tables.h"
#include "test.h"
#include "test_kernels_util.h"

namespace {

using namespace kernel_test;
using kernels::DeltaTask;
using kernels::Table;

std::vector<f32> normals(u64 n, Random& random, f32 scale) {
  std::vector<f32> v(n);
  for (f32& x : v) x = random.normal() * scale;
  return v;
}

struct DeltaInputs {
  u32 key_dim, n_columns, n_tokens;
  u32 stride = key_dim + n_columns + 3;
  bool corrects = true;
  std::vector<f32> state, rows, queries, decays, betas;

  DeltaInputs(u32 key_dim_, u32 n_columns_, u32 n_tokens_, Random& random)
      : key_dim(key_dim_), n_columns(n_columns_), n_tokens(n_tokens_) {
    state = normals(round_up(n_columns, 16) * key_dim, random, 0.5f);
    for (u64 at = 0; at < state.size(); ++at) {
      if (at / 16 / key_dim * 16 + at % 16 >= n_columns) state[at] = 0;  // as padding is, and stays
    }
    rows = normals(u64(n_tokens) * stride, random, 1.0f / std::sqrt(f32(key_dim)));
    queries = normals(u64(n_tokens) * stride, random, 1.0f);
    decays = normals(2 * n_tokens, random, 1.0f), betas = normals(2 * n_tokens, random, 1.0f);
    for (f32& x : decays) x = std::exp(-std::fabs(x));
    for (f32& x : betas) x = 1 / (1 + std::exp(x));
  }

  // `state` and `out` are changed; tokens [begin, end).
  void run(const Table& table, f32* to, f32* out, u32 begin, u32 end) const {
    DeltaTask task;
    task.state = to;
    task.keys = rows.data() + u64(begin) * stride, task.queries = queries.data() + u64(begin) * stride;
    task.values = task.keys + key_dim;
    task.decays = decays.data() + 2 * begin, task.betas = betas.data() + 2 * begin;
    task.out = out ? out + u64(begin) * n_columns : nullptr;
    task.stride = stride, task.factor_stride = 2, task.out_stride = n_columns;
    task.corrects = corrects;
    task.key_dim = key_dim, task.n_columns = n_columns, task.n_tokens = end - begin;
    table.delta_rule(task);
  }
};

}  // namespace

TEST(kernel_convolve_tables) {
  Random random(21);
  for (const u32 n_taps : {1u, 3u, 4u, 7u}) {
    for (const u32 n : {1u, 15u, 16u, 33u, 100u}) {
      const std::vector<f32> input = normals(n_taps * n, random, 1), weights = normals(n_taps * n, random, 1);
      std::vector<const f32*> rows;
      for (u32 tap = 0; tap < n_taps; ++tap) rows.push_back(input.data() + (n_taps - 1 - tap) * n);
      std::vector<f32> expected(n + 8, 7.0f);
      kernels::scalar_table.convolve(rows.data(), weights.data(), n_taps, n, expected.data());
      for (u32 c = 0; c < n; ++c) {
        f64 sum = 0;
        for (u32 tap = 0; tap < n_taps; ++tap) sum += f64(weights[tap * n + c]) * rows[tap][c];
        CHECK(std::fabs(sum - expected[c]) <= 1e-5);
      }
      for (const Table* table : kernels::usable_tables()) {
        std::vector<f32> got(n + 8, 7.0f);
        table->convolve(rows.data(), weights.data(), n_taps, n, got.data());
        CHECK_EQ(first_difference(got.data(), expected.data(), got.size()), got.size());
      }
    }
  }
}

TEST(kernel_delta_rule_tables) {
  Random random(22);
  for (const u32 key_dim : {1u, 5u, 16u, 64u, 128u}) {
    for (const u32 n_columns : {1u, 16u, 31u, 48u, 128u}) {
      DeltaInputs in(key_dim, n_columns, 5, random);
      in.corrects = n_columns != 48;
      std::vector<f32> expected_state = in.state, expected(5 * n_columns + 8, 7.0f);
      in.run(kernels::scalar_table, expected_state.data(), expected.data(), 0, 5);
      for (const Table* table : kernels::usable_tables()) {
        for (const u32 split : {5u, 1u, 3u}) {  // tokens of the first of two calls
          std::vector<f32> state = in.state, got(expected.size(), 7.0f);
          in.run(*table, state.data(), got.data(), 0, split);
          in.run(*table, state.data(), got.data(), split, 5);
          CHECK_EQ(first_difference(got.data(), expected.data(), got.size()), got.size());
          CHECK_EQ(first_difference(state.data(), expected_state.data(), state.size()), state.size());
        }
        std::vector<f32> state = in.state;
        in.run(*table, state.data(), nullptr, 0, 5);  // the state alone
        CHECK_EQ(first_difference(state.data(), expected_state.data(), state.size()), state.size());
      }
    }
  }
}

TEST(kernel_delta_rule_values) {
  Random random(23);
  const u32 d = 32, n = 6;
  const DeltaInputs in(d, d, n, random);
  std::vector<f32> state = in.state, out(n * d);
  in.run(kernels::scalar_table, state.data(), out.data(), 0, n);
  std::vector<f64> s(d * d);  // (key, column)
  for (u32 i = 0; i < d; ++i) {
    for (u32 j = 0; j < d; ++j) s[i * d + j] = in.state[(j / 16 * d + i) * 16 + j % 16];
  }
  for (u32 t = 0; t < n; ++t) {
    const f32 *k = &in.rows[t * in.stride], *v = k + d, *q = &in.queries[t * in.stride];
    for (u32 j = 0; j < d; ++j) {
      f64 known = 0, sum = 0;
      for (u32 i = 0; i < d; ++i) known += (s[i * d + j] *= in.decays[2 * t]) * k[i];
      for (u32 i = 0; i < d; ++i) sum += (s[i * d + j] += k[i] * in.betas[2 * t] * (v[j] - known)) * q[i];
      CHECK(std::fabs(sum - out[t * d + j]) <= 1e-4);
    }
  }
}
