// What linear layers compute outside the kernels.
#include "model/linear.h"

#include <cmath>
#include <vector>

#include "test.h"

using flyball::f32;
using flyball::f64;
using flyball::u32;

TEST(a_centered_row_has_no_mean_and_keeps_its_differences) {
  for (const u32 n : {1u, 2u, 15u, 16u, 17u, 33u, 256u, 341u}) {
    std::vector<f32> x(n), y(n);
    for (u32 i = 0; i < n; ++i) x[i] = 0.25f * f32((i * 37 + 5) % 101) - 3.0f;
    f64 mean = 0;
    for (const f32 value : x) mean += value / f64(n);
    flyball::model::center(x.data(), n, y.data());
    for (u32 i = 0; i < n; ++i) CHECK(std::abs(y[i] - (x[i] - mean)) < 1e-5);
    flyball::model::center(x.data(), n, x.data());  // in place
    CHECK(x == y);
  }
}
