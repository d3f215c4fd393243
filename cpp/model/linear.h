// Linear layers: norms and matrix products, divided over threads, in slices so that a stop does not wait for the end of
// a large matrix.
#pragma once

#include "base/parallel.h"
#include "model/forward.h"

namespace flyball::model {

using kernels::Activations;

struct Product {  // y = (matrix * activations) * the matrix's scale + bias
  const Matrix* matrix;
  const f32* bias;
  f32* y;
  u64 stride;
  u32 first = 0;                  // row of the activations
  u32 n = 0;                      // rows; 0: all
  const f32* low_rank = nullptr;  // (n, matrix->cols): in place of the activations, and the product is added to y
};

inline u32 kind_bit(const Matrix& matrix) { return 1u << u32(kernels::activation_kind(matrix.type)); }

// y = x - mean(x), a sum in 16 lanes as in the kernels: it makes a layer norm of the RMS norm that follows.
void center(const f32* x, u32 n, f32* y);

// In float64, in 16 lanes and a tree as in the kernels.
template <class Value>
f64 sum_in_lanes(u32 n, Value&& value) {
  constexpr u32 n_lanes = 16;
  f64 lanes[n_lanes] = {};
  for (u32 begin = 0; begin < n; begin += n_lanes) {
    for (u32 i = begin; i < min(n, begin + n_lanes); ++i) lanes[i - begin] += value(i);
  }
  for (u32 width = n_lanes / 2; width > 0; width /= 2) {
    for (u32 i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

// Quantized forms of `kinds` for n rows of at most `cols` elements. False: no memory.
bool allocate_activations(Arena& arena, u32 kinds, u64 n, u32 cols, Activations& activations);

class Linear {
 public:
  // `uses`: the adapter of each row of the activations; null: there are none.
  Linear(const Engine& engine, const Config& config, Scratch& scratch, StopCheck check, const AdapterUse* const* uses)
      : platform_(*engine.platform),
        table_(*engine.table),
        threads_(engine.threads),
        norm_eps_(config.norm_eps),
        layer_norms_(config.layer_norms),
        scratch_(scratch),
        check_(check),
        uses_(uses) {}

  // `width`: elements of a token that the function reads, each at the cost of some multiply-adds.
  template <class Function>
  void each_token(u32 n, u32 width, Function&& function) {
    const u64 work = u64(width) * 16;
    const u32 least = u32(divide_up(inline_work / 4, work));
    parallel_parts(platform_, threads_for(n * work, threads_), n, least, [&](u32 begin, u32 end) {
      for (u32 t = begin; t < end; ++t) function(t);
    });
  }

  // Rows of x as the inputs of products: `complete(row)` first, then normed into scratch.normed (no norm: x is read as
  // it is) and quantized. `kinds`: (1 << ActivationKind) bits.
  template <class Complete>
  const Activations& norm_and_quantize(const f32* x, Norm norm, u32 cols, u32 n_rows, u32 kinds, Complete&& complete) {
    return norm_and_quantize(scratch_.activations, x, norm, cols, n_rows, kinds, complete);
  }
  template <class Complete>
  const Activations& norm_and_quantize(Activations& activations, const f32* x, Norm norm, u32 cols, u32 n_rows,
                                       u32 kinds, Complete&& complete) {
    activations.n_tokens = n_rows;
    activations.cols = cols;
    activations.x = norm.weight ? scratch_.normed : x;
    each_token(n_rows, cols, [&](u32 t) {
      complete(t);
      const f32* row = x + u64(t) * cols;
      f32* const normed = scratch_.normed + u64(t) * cols;
      if (norm.weight && layer_norms_) center(row, cols, normed), row = normed;
      if (norm.weight) table_.rms_norm(row, norm.weight, norm_eps_, cols, normed);
      if (norm.bias) table_.add(normed, norm.bias, cols);
      table_.quantize(activations, kinds, t, t + 1);
    });
    return activations;
  }
  const Activations& norm_and_quantize(const f32* x, Norm norm, u32 cols, u32 n_rows, u32 kinds) {
    return norm_and_quantize(x, norm, cols, n_rows, kinds, [](u32) {});
  }

  // Products of rows of one input, at most `most_products`, with what the rows' adapters add. False: stopped.
  static constexpr u32 most_products = 128;
  [[nodiscard]] bool multiply(Span<const Product> products, const Activations& x) {
    return multiply(products, x, uses_);
  }
  [[nodiscard]] bool multiply(Span<const Product> products, const Activations& x, const AdapterUse* const* uses);
  [[nodiscard]] bool multiply_plain(Span<const Product> products, const Activations& x);

  u64 matrix_cycles() const { return matrix_cycles_; }

 private:
  // Between two looks at the stop check: half a second of the slowest table at first, then doubled up to tens of
  // milliseconds, since every slice ends with threads that wait for each other.
  static constexpr u64 first_slice_work = u64(1) << 29;  // multiply-adds
  static constexpr u64 slice_cycles = u64(1) << 26;

  void multiply_groups(Span<const Product> products, const Activations& x, u64 group_work, u32 begin, u32 end);
  void add_low_rank(const Product& product, u32 begin, u32 end) const;

  const Platform& platform_;
  const kernels::Table& table_;
  u32 threads_;
  f32 norm_eps_;
  bool layer_norms_;
  Scratch& scratch_;
  StopCheck check_;
  const AdapterUse* const* uses_;
  u64 slice_work_ = first_slice_work;
  u64 matrix_cycles_ = 0;
};

}  // namespace flyball::model
