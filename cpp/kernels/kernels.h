// The kernel table: every operation that has instruction-set code. Each table computes the same bits; the scalar one is
// the reference and its loops are the definition. Contract 1 in docs/contracts.md; orders of operation:
// docs/numerics.md.
#pragma once

#include "base/platform.h"
#include "gguf/types.h"

namespace flyball::kernels {

constexpr u32 group_rows = 16;  // rows of a weight matrix that are interleaved: one AVX-512 register of f32 results

// How activations are quantized for a weight type.
enum class ActivationKind : u8 {
  none,    // f32 activations: F32, F16, BF16 weights
  q8_32,   // int8, one f32 scale per 32 values: Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 IQ4_NL MXFP4
  q8_256,  // int8, one f32 scale per 256 values: Q2_K .. Q6_K, IQ4_XS
};
ActivationKind activation_kind(gguf::Type type);

// A weight matrix, rows interleaved by 16 (layout per type in kernels/pack.h), padded with zero rows to a multiple
// of 16. y[token][row] = sum over cols of w[row][col] * x[token][col].
struct Matrix {
  gguf::Type type = gguf::Type::f32;
  u32 rows = 0;
  u32 cols = 0;
  u64 group_bytes = 0;       // distance between groups of 16 rows
  const u8* data = nullptr;  // (groups, group_bytes), aligned to 64
  f32 scale = 1;             // of the product: not part of a kernel, which computes W x alone
  bool in_file = false;      // `data` has rows as the file has them, whole groups of 16, for tables that take them
  u32 groups() const { return (rows + group_rows - 1) / group_rows; }
};

constexpr u64 type_bit(gguf::Type type) { return u64(1) << u32(type); }

// Activations of a batch: f32 and, where a matrix that follows wants them, quantized. All borrowed, 64-byte aligned.
// Rounding: amax over the block by comparing |x| as integers; d = amax / 127; id = 127 / amax (0 where it overflows);
// q = round_even(x * id). A block with a NaN or infinity: d = NaN, every q = 0. So bits never depend on the table.
struct Activations {
  u32 n_tokens = 0;
  u32 cols = 0;
  const f32* x = nullptr;  // (n_tokens, cols)
  i8* q32 = nullptr;       // (n_tokens, cols)
  f32* d32 = nullptr;      // (n_tokens, cols / 32)
  i32* sum32 = nullptr;    // (n_tokens, cols / 32)     sum of the block's q
  i8* q256 = nullptr;      // (n_tokens, cols)
  f32* d256 = nullptr;     // (n_tokens, cols / 256)
  i32* sum16 = nullptr;    // (n_tokens, cols / 16)     sums of 16 of the q256
};

enum class CacheType : u8 { f16, f32, q8_0 };

// One key/value head of one layer. Capacity is a multiple of 16 positions; unused positions are zero.
//   keys:   (capacity / 16, head_dim, 16)        positions interleaved, so that a lane is a position
//   values: (capacity, value_dim)
// q8_0: int8 as above and f16 scales beside them: key_scales (capacity / 16, head_dim / 32, 16), value_scales
// (capacity, value_dim / 32); d = amax / 127 rounded to f16, q = round_even(x / f32(d)) clamped to +-127, 0 where d is
// 0. Dims are multiples of 32.
struct CacheHead {
  CacheType type = CacheType::f16;
  u32 head_dim = 0;
  u32 value_dim = 0;
  void* keys = nullptr;
  void* values = nullptr;
  u16* key_scales = nullptr;
  u16* value_scales = nullptr;
};

// Positions reduced together; fixed, so that results depend on nothing but the contents. Chunks start at its multiples.
constexpr u32 attention_chunk = 256;

// A tile's rows after some chunks: sums of weight * value, relative to the largest score. Rows and the elements of each
// are padded, because kernels compute whole vectors of either.
struct AttentionSums {
  f32* values;   // (rows + 8, value_dim), each row of a multiple of 16
  f32* largest;  // (rows + 16)
  f32* weights;  // (rows + 16) sums of the weights
};
constexpr u64 attention_sums_floats(u32 n_rows, u32 value_dim) {
  return (n_rows + 8) * round_up(value_dim, 16) + 2 * round_up(n_rows + 16, 16);
}

// A tile whose chunks are divided among several tasks: each stores its chunks' sums and counts itself done, and the last
// one adds them up in ascending order.
struct AttentionSplit {
  f32* sums = nullptr;  // (chunks, attention_sums_floats())
  u32 n_left = 0;       // tasks that have not finished
};

// Attention of consecutive tokens of one sequence with the query heads that share one key/value head. A row is one
// token's one head. The token at position p sees positions from `least` up to p, the last `window` of them if that is
// not 0.
struct AttentionTask {
  const CacheHead* cache = nullptr;
  const f32* queries = nullptr;  // (n_tokens, query_stride), of which (n_heads, head_dim) are read
  f32* out = nullptr;            // (n_tokens, out_stride), of which (n_heads, value_dim) are written
  u64 query_stride = 0;
  u64 out_stride = 0;
  u32 n_tokens = 1;
  u32 n_heads = 0;
  u32 position = 0;  // of the first token
  u32 window = 0;
  u32 least = 0;
  f32 scale = 1;                    // score = (q . k) * scale
  f32 softcap = 0;                  // > 0: score = softcap * tanh(score / softcap)
  const f32* sinks = nullptr;       // (n_heads) or null: each head's score of no key, which only takes weight
  f32* scratch = nullptr;           // attention_scratch_floats(), aligned to 64 bytes, the task's own
  AttentionSplit* split = nullptr;  // null: the task computes all chunks, else its part of them
  u32 part = 0;
  u32 n_parts = 1;

  [[gnu::always_inline]] u32 first_seen(u32 token) const {
    const u32 end = position + token + 1;
    return max(least, window != 0 && end > window ? end - window : 0);
  }
  // The chunks that any of the tokens sees are [first_chunk(), chunk_end()).
  [[gnu::always_inline]] u32 first_chunk() const { return first_seen(0) / attention_chunk; }
  [[gnu::always_inline]] u32 chunk_end() const { return (position + n_tokens - 1) / attention_chunk + 1; }
  [[gnu::always_inline]] u32 part_begin(u32 number) const {
    return first_chunk() + u32(u64(chunk_end() - first_chunk()) * number / n_parts);
  }
};

constexpr u32 attention_positions = 64;  // converted to f32 together, where many rows share them
constexpr u64 attention_scratch_floats(u32 n_rows, u32 head_dim, u32 value_dim) {
  return (n_rows + 16) * (round_up(head_dim, attention_chunk) + attention_chunk) +
         2 * attention_sums_floats(n_rows, value_dim) +
         attention_positions * max(u64(head_dim), round_up(value_dim, 16));
}

// One head's matrix, token by token: S = decay * S + k r^T;  out = S^T q, where r = beta * v, or by the gated delta rule
// (Yang et al. 2024, "Gated Delta Networks") r = beta * (v - decay * S^T k).
// Columns of S do not see each other: a task has some blocks of 16 of them, each (key_dim, 16) in `state`.
constexpr u32 state_columns = 16;
struct DeltaTask {
  f32* state = nullptr;          // (n_columns / 16 rounded up, key_dim, 16)
  const f32* keys = nullptr;     // (n_tokens, stride), of which (key_dim) are read
  const f32* queries = nullptr;  // the same
  const f32* values = nullptr;   // (n_tokens, stride), of which (n_columns) are read
  const f32* decays = nullptr;   // (n_tokens, factor_stride), of which one is read
  const f32* betas = nullptr;    // the same
  f32* out = nullptr;            // (n_tokens, out_stride), of which (n_columns) are written; null: the state alone
  u64 stride = 0;
  u64 factor_stride = 0;
  u64 out_stride = 0;
  u32 key_dim = 0;
  u32 n_columns = 0;
  u32 n_tokens = 0;
  bool corrects = true;  // the delta rule
};

// What sums of weight * value are multiplied by at the end, from their largest score and sum of weights: a sink joins
// those as one more score.
f32 result_factor(f32 largest, f32 weights, const f32* sink);

struct Table {
  const char* name;  // "amx", "avx512", "avx_vnni", "avx2", "sse41", "swar", "scalar"
  u64 features;      // kernels/cpu.h bits it needs
  u64 in_file = 0;   // type_bit()s of the matrices that it takes as the file has them, too

  // Quantizes tokens [begin, end) of `a`: fills the q32 set, the q256 set, or both, as `kinds` (1 << ActivationKind)
  // says.
  void (*quantize)(const Activations& a, u32 kinds, u32 token_begin, u32 token_end);

  // y[token * y_stride + row] for all tokens of `x` and all rows of groups [group_begin, group_end), rows < w.rows.
  void (*matmul)(const Matrix& w, const Activations& x, u32 group_begin, u32 group_end, f32* y, u64 y_stride);

  // y = x * (1 / sqrt(mean(x^2) + eps)) * weight, over n values. y may be x. Sum of squares: 16 lanes of fma, fixed
  // tree.
  void (*rms_norm)(const f32* x, const f32* weight, f32 eps, u32 n, f32* y);
  void (*add)(f32* y, const f32* x, u64 n);                         // y += x
  void (*scale)(f32* y, f32 factor, u64 n);                         // y *= factor
  void (*silu_mul)(const f32* gate, const f32* up, f32* y, u64 n);  // y = silu(gate) * up
  void (*gelu_mul)(const f32* gate, const f32* up, f32* y, u64 n);
  void (*swiglu_clamped)(const f32* gate, const f32* up, f32* y, u64 n);  // gpt-oss: swiglu_clamped32
  void (*softcap)(f32* y, f32 cap, u64 n);                                // y = cap * tanh(y / cap)

  void (*mul)(const f32* x, f32* y, u64 n);             // y *= x
  void (*relu_squared)(f32* y, u64 n);                  // y = y^2 above 0, else 0
  void (*silu)(f32* y, u64 n);                          // y = silu(y)
  void (*sigmoid_mul)(const f32* gate, f32* y, u64 n);  // y = y * sigmoid(gate)

  // A causal convolution at one token: y[c] = sum over taps ascending of weights[tap][c] * rows[tap][c], n channels.
  void (*convolve)(const f32* const* rows, const f32* weights, u32 n_taps, u64 n, f32* y);
  void (*delta_rule)(const DeltaTask& task);

  // Rotates one head in place by a table of cosines and sines, (n_rot / 2) each. `neox`: pairs (i, i + n_rot/2), else
  // (2i, 2i+1).
  void (*rope)(f32* head, const f32* cosines, const f32* sines, u32 n_rot, bool neox);

  void (*store_key)(const CacheHead& cache, u32 position, const f32* key);
  void (*store_value)(const CacheHead& cache, u32 position, const f32* value);
  void (*attend)(const AttentionTask& task);

  // Over n values: sum of exp(x - shift), 16 lanes and the fixed tree.
  f32 (*sum_exp)(const f32* x, f32 shift, u64 n);

  // The peak for matrix products: the table's int8 dot-product instruction on registers alone. Returns how many
  // multiply-adds it did, in proportion to `rounds`.
  u64 (*probe)(u64 rounds);
};

// Tables in this build that this processor can run, best first. The last is always the scalar reference.
Span<const Table* const> usable_tables();
Span<const Table* const> all_tables();
// "auto" or empty: the best. An unknown name, or one this processor cannot run, is an error that lists what there is.
Result<const Table*> select_table(Str name);
// Of what a table takes as the file has it, what need not be packed for it on this processor.
u64 kept_in_file(const Table& table);

// One row of a matrix in the file's own layout to f32: for embeddings. Same values as the kernels see.
void dequantize_row(gguf::Type type, const u8* row, u32 cols, f32* out);

// Packs groups [begin, end) of a tensor in the file's layout. `to` holds packed_bytes().
u64 packed_group_bytes(gguf::Type type, u32 cols);
// One block of 16 rows that are `row_bytes` apart.
void pack_block(gguf::Type type, const u8* first, u64 row_bytes, u8* head, u8* body);
void pack_groups(gguf::Type type, const u8* rows, u32 n_rows, u32 cols, u32 group_begin, u32 group_end, u8* to);

}  // namespace flyball::kernels
