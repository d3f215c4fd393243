#include "model/linear.h"

namespace flyball::model {
namespace {

Activations rows_of(const Activations& x, const Product& product) {
  if (product.n == 0) return x;
  Activations rows = x;
  const u64 at = u64(product.first) * x.cols;
  rows.n_tokens = product.n;
  if (x.x) rows.x += at;  // none where an input was only quantized
  if (x.q32) rows.q32 += at, rows.d32 += at / 32, rows.sum32 += at / 32;
  if (x.q256) rows.q256 += at, rows.d256 += at / 256, rows.sum16 += at / 16;
  return rows;
}

}  // namespace

void center(const f32* x, u32 n, f32* y) {
  constexpr u32 n_lanes = 16;
  f32 lanes[n_lanes] = {};
  for (u32 i = 0; i < n; ++i) lanes[i % n_lanes] += x[i];
  for (u32 width = n_lanes / 2; width > 0; width /= 2) {
    for (u32 i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  const f32 mean = lanes[0] / f32(n);
  for (u32 i = 0; i < n; ++i) y[i] = x[i] - mean;
}

bool allocate_activations(Arena& arena, u32 kinds, u64 n, u32 cols, Activations& a) {
  const u64 width = round_up(cols, 256);
  bool enough = true;
  const auto allocate = [&](u64 block, u64 sum_block, i8** q, f32** d, i32** sums) {
    const Span<i8> codes = arena.allocate<i8>(n * width);
    const Span<f32> scales = arena.allocate<f32>(n * width / block);
    const Span<i32> sum = arena.allocate<i32>(n * width / sum_block);
    enough = enough && !codes.empty() && !scales.empty() && !sum.empty();
    *q = codes.data, *d = scales.data, *sums = sum.data;
  };
  if (kinds & 1u << u32(kernels::ActivationKind::q8_32)) allocate(32, 32, &a.q32, &a.d32, &a.sum32);
  if (kinds & 1u << u32(kernels::ActivationKind::q8_256)) allocate(256, 16, &a.q256, &a.d256, &a.sum16);
  return enough;
}

// All products of one input share parallel sections. Threads divide the matrices' rows, so no sum is ever split.
bool Linear::multiply_plain(Span<const Product> products, const Activations& x) {
  u32 n_groups = 0;
  u64 work = 0;
  for (const Product& product : products) {
    n_groups += product.matrix->groups();
    work += u64(product.matrix->groups()) * (product.n ? product.n : x.n_tokens) * product.matrix->cols;
  }
  if (n_groups == 0) return true;
  const u64 group_work = divide_up(work * kernels::group_rows, n_groups);  // on average
  for (u32 begin = 0, end; begin < n_groups; begin = end) {
    if (check_.stop && check_.stop(check_.context)) return false;
    const u64 n = min(max(slice_work_ / group_work, u64(1)), u64(n_groups - begin));
    end = begin + u32(n);
    const u64 start = cycles(platform_);
    multiply_groups(products, x, group_work, begin, end);
    const u64 elapsed = cycles(platform_) - start;
    matrix_cycles_ += elapsed;
    if (elapsed < slice_cycles && n * group_work > slice_work_ / 2) slice_work_ *= 2;
  }
  return true;
}

// Groups are counted through all products.
void Linear::multiply_groups(Span<const Product> products, const Activations& x, u64 group_work, u32 begin, u32 end) {
  const u32 n_pairs = divide_up(end - begin, 2);  // kernels take two groups at a time
  parallel_parts(platform_, threads_for((end - begin) * group_work, threads_), n_pairs, 1,
                 [&](u32 first_pair, u32 end_pair) {
                   const u32 task_begin = begin + 2 * first_pair, task_end = min(begin + 2 * end_pair, end);
                   u32 first = 0;  // group at which this product starts
                   for (const Product& product : products) {
                     const Matrix& matrix = *product.matrix;
                     const u32 from = max(task_begin, first), to = min(task_end, first + matrix.groups());
                     if (from < to && product.low_rank) {
                       add_low_rank(product, from - first, to - first);
                     } else if (from < to) {
                       const Activations rows = rows_of(x, product);
                       table_.matmul(matrix, rows, from - first, to - first, product.y, product.stride);
                       const u32 row = (from - first) * kernels::group_rows;
                       const u32 n = min(matrix.rows, (to - first) * kernels::group_rows) - row;
                       const bool scaled = matrix.scale != 1;
                       for (u32 t = 0; t < rows.n_tokens && (scaled || product.bias); ++t) {
                         f32* const y = product.y + t * product.stride + row;
                         if (scaled) table_.scale(y, matrix.scale, n);
                         if (product.bias) table_.add(y, product.bias + row, n);
                       }
                     }
                     first += matrix.groups();
                   }
                 });
}

// Groups [begin, end) of a product that is added to y, a tile at a time on the stack.
void Linear::add_low_rank(const Product& product, u32 begin, u32 end) const {
  constexpr u32 tile_tokens = 8, tile_groups = 8, tile_rows = tile_groups * kernels::group_rows;
  alignas(64) f32 sums[tile_tokens * tile_rows];
  for (u32 group = begin; group < end; group += tile_groups) {
    const u32 n_groups = min(tile_groups, end - group), row = group * kernels::group_rows;
    Matrix tile = *product.matrix;
    tile.data += group * tile.group_bytes;
    tile.rows = min(tile.rows - row, n_groups * kernels::group_rows);
    for (u32 t = 0; t < product.n; t += tile_tokens) {
      Activations x;
      x.n_tokens = min(tile_tokens, product.n - t);
      x.cols = tile.cols;
      x.x = product.low_rank + u64(t) * tile.cols;
      table_.matmul(tile, x, 0, n_groups, sums, tile_rows);
      for (u32 i = 0; i < x.n_tokens; ++i)
        table_.add(product.y + (t + i) * product.stride + row, sums + i * tile_rows, tile.rows);
    }
  }
}

// y = W x + bias; h = A x; h *= scale; y += B h. A x is computed beside W x: a parallel section of its own would make
// threads wait. Rows that follow each other with one adapter are computed together, as many as fit into the scratch.
bool Linear::multiply(Span<const Product> products, const Activations& x, const AdapterUse* const* uses) {
  if (!uses) return multiply_plain(products, x);
  constexpr u32 most_added = 64;
  Product plain[most_products + most_added], added[most_added];
  f32 scales[most_added];
  u32 n_plain = 0, n_added = 0, n_hidden = 0;
  const auto flush = [&] {
    if (!multiply_plain({plain, n_plain}, x)) return false;
    for (u32 i = 0; i < n_added; ++i) {
      const Product& low = added[i];
      table_.scale(const_cast<f32*>(low.low_rank), scales[i], u64(low.n) * low.matrix->cols);
    }
    const bool finished = multiply_plain({added, n_added}, x);
    n_plain = n_added = n_hidden = 0;
    return finished;
  };
  for (const Product& product : products) plain[n_plain++] = product;
  for (const Product& product : products) {
    const u32 end = product.n ? product.first + product.n : x.n_tokens;
    for (u32 row = product.first, last; row < end; row = last) {
      const AdapterUse* const use = uses[row];
      last = row + 1;
      while (last < end && (uses[last] == use || (use && uses[last] && *uses[last] == *use))) ++last;
      const LowRank* const pair = use ? use->adapter->of(*product.matrix) : nullptr;
      while (pair && row < last) {
        const u32 rank = pair->a.rows, fitting = (AdapterScratch::n_hidden - n_hidden) / rank;
        if (n_added == most_added || fitting == 0) {
          if (!flush()) return false;
          continue;
        }
        const u32 n = min(last - row, fitting);
        f32* const hidden = scratch_.adapters.hidden + n_hidden;
        plain[n_plain++] = {&pair->a, nullptr, hidden, rank, row, n};
        f32* const y = product.y + (row - product.first) * product.stride;
        added[n_added] = {&pair->b, nullptr, y, product.stride, 0, n, hidden};
        scales[n_added++] = pair->scale * use->scale;
        n_hidden += n * rank;
        row += n;
      }
    }
  }
  return flush();
}

}  // namespace flyball::model
