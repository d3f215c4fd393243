#include "model/linear.h"

namespace flyball::model {

// All products of one input share parallel sections. Threads divide the rows, so no sum is ever split.
bool Linear::multiply(Span<const Product> products, const f32* x, u32 n_rows) {
  kernels::Activations activations = scratch_.activations;
  activations.x = x;
  activations.n_tokens = n_rows;
  u32 n_groups = 0;
  for (const Product& product : products) n_groups += product.matrix->groups();
  const u64 group_work = u64(kernels::group_rows) * products[0].matrix->cols * n_rows;
  for (u32 begin = 0, end; begin < n_groups; begin = end) {
    if (check_.stop && check_.stop(check_.context)) return false;
    const u64 n = min(max(slice_work_ / group_work, u64(1)), u64(n_groups - begin));
    end = begin + u32(n);
    const u64 start = cycles(platform_);
    multiply_groups(products, activations, begin, end);
    const u64 elapsed = cycles(platform_) - start;
    matrix_cycles_ += elapsed;
    if (elapsed < slice_cycles && n * group_work > slice_work_ / 2) slice_work_ *= 2;
  }
  return true;
}

// Groups are counted through all products.
void Linear::multiply_groups(Span<const Product> products, const kernels::Activations& activations, u32 begin,
                             u32 end) {
  const u64 work = u64(end - begin) * kernels::group_rows * products[0].matrix->cols * activations.n_tokens;
  const u32 n_pairs = divide_up(end - begin, 2);  // kernels take two groups at a time
  parallel_parts(platform_, threads_for(work, threads_), n_pairs, 1, [&](u32 first_pair, u32 end_pair) {
    const u32 task_begin = begin + 2 * first_pair, task_end = min(begin + 2 * end_pair, end);
    u32 first = 0;  // group at which this product starts
    for (const Product& product : products) {
      const Matrix& matrix = *product.matrix;
      const u32 from = max(task_begin, first), to = min(task_end, first + matrix.groups());
      if (from < to) {
        table_.matmul(matrix, activations, from - first, to - first, product.y, product.stride);
        if (product.bias) {
          const u32 row = (from - first) * kernels::group_rows;
          const u32 n = min(matrix.rows, (to - first) * kernels::group_rows) - row;
          for (u32 t = 0; t < activations.n_tokens; ++t)
            table_.add(product.y + t * product.stride + row, product.bias + row, n);
        }
      }
      first += matrix.groups();
    }
  });
}

}  // namespace flyball::model
