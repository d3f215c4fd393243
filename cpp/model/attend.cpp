#include "model/attend.h"

#include "base/parallel.h"

namespace flyball::model {
namespace {

using kernels::AttentionSplit;
using kernels::AttentionTask;

constexpr u32 tile_rows = 64;      // rows (a token's head each) that share keys and values: enough to hide reading them
constexpr u32 max_tasks = 64;      // at once; each has scratch of its own
constexpr u32 max_splits = 1024;   // tiles of one head whose chunks are divided
constexpr u32 kept_chunks = 256;   // divided chunks of each key/value head whose sums find room
constexpr u32 items_a_thread = 4;  // small, so that a descheduled thread delays the others little

u32 heads_per_kv(const LayerShape& shape) { return shape.n_head / shape.n_head_kv; }
u32 max_tile_tokens(const LayerShape& shape) { return max(1u, tile_rows / heads_per_kv(shape)); }

// One layer's attention. An item is a part of a tile for one key/value head.
class TiledAttention {
 public:
  TiledAttention(const Engine& engine, const Config& config, u32 layer, const f32* sinks, Span<const BatchToken> batch,
                 Scratch& scratch)
      : engine_(engine),
        config_(config),
        shape_(config.layers[layer]),
        sinks_(sinks),
        batch_(batch),
        scratch_(scratch),
        own_(scratch.attention) {}

  void run() {
    make_tiles();
    if (engine_.threads > 1) divide_tiles();
    const u32 n_items = n_parts_ * shape_.n_head_kv;
    const u32 n_tasks = min(min(threads_for(work_, engine_.threads), n_items), max_tasks);
    // A thread takes the next item when it has done one: their lengths differ.
    u32 next = 0;
    parallel(*engine_.platform, engine_.threads, n_tasks, [&](u32 task) {
      f32* floats = own_.task_floats + u64(task) * own_.floats_per_task;
      for (u32 item; (item = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED)) < n_items;) run_item(item, floats);
    });
  }

 private:
  void make_tiles();
  void divide_tiles();
  AttentionTask task_of(const AttentionTile& tile) const;
  u32 chunk() const { return shape_.sliding && config_.chunked ? config_.sliding_window : 0; }
  void run_item(u32 item, f32* floats) const;

  const Engine& engine_;
  const Config& config_;
  const LayerShape& shape_;
  const f32* const sinks_;
  const Span<const BatchToken> batch_;
  Scratch& scratch_;
  AttentionScratch& own_;
  u32 n_tiles_ = 0;
  u32 n_parts_ = 0;  // of all tiles
  u64 work_ = 0;     // multiply-adds
};

AttentionTask TiledAttention::task_of(const AttentionTile& tile) const {
  AttentionTask task;
  task.n_tokens = tile.n_tokens;
  task.n_heads = heads_per_kv(shape_);
  task.position = batch_[tile.token].position;
  task.window = shape_.sliding && !config_.chunked ? config_.sliding_window : 0;
  if (chunk() != 0) task.least = task.position / chunk() * chunk();
  task.n_parts = tile.n_parts;
  return task;
}

void TiledAttention::make_tiles() {
  const u32 most = max_tile_tokens(shape_);
  u64 seen = 0;
  for (u32 t = 0; t < batch_.size;) {
    AttentionTile& tile = own_.tiles[n_tiles_] = {t, 1, 1, n_tiles_, 0};
    ++n_tiles_;
    for (++t; t < batch_.size && tile.n_tokens < most; ++t, ++tile.n_tokens) {
      if (batch_[t].cache != batch_[t - 1].cache || batch_[t].position != batch_[t - 1].position + 1) break;
      if (chunk() != 0 && batch_[t].position % chunk() == 0) break;  // a tile's tokens see the same first position
    }
    const AttentionTask task = task_of(tile);
    seen += u64(task.position + tile.n_tokens - task.first_seen(0)) * tile.n_tokens;
  }
  n_parts_ = n_tiles_;
  work_ = seen * shape_.n_head * (shape_.head_dim + shape_.value_dim);
}

// Where key/value heads are few or one sequence is long, chunks are divided too, so that every thread has work.
void TiledAttention::divide_tiles() {
  const auto cost = [&](const AttentionTile& tile, u32 n_chunks) { return u64(n_chunks) * tile.n_tokens; };
  const Span<AttentionTile> tiles(own_.tiles.data, n_tiles_);
  u64 total = 0;
  for (const AttentionTile& tile : tiles) {
    const AttentionTask task = task_of(tile);
    total += cost(tile, task.chunk_end() - task.first_chunk());
  }
  const u64 fair = max(u64(1), total * shape_.n_head_kv / (engine_.threads * items_a_thread));
  n_parts_ = 0;
  u32 n_splits = 0;
  u64 used = 0;
  for (AttentionTile& tile : tiles) {
    tile.part = n_parts_;
    const AttentionTask task = task_of(tile);
    const u32 n_chunks = task.chunk_end() - task.first_chunk();
    const u64 floats = n_chunks * kernels::attention_sums_floats(task.n_heads * tile.n_tokens, shape_.value_dim);
    const u32 n_parts = u32(min(u64(n_chunks), divide_up(cost(tile, n_chunks), fair)));
    const bool room =
        n_splits + shape_.n_head_kv <= own_.splits.size && used + floats * shape_.n_head_kv <= own_.sums.size;
    if (n_parts > 1 && room) {
      tile.n_parts = n_parts;
      tile.split = n_splits;
      for (u32 h = 0; h < shape_.n_head_kv; ++h, used += floats) {
        own_.splits[n_splits++] = {own_.sums.data + used, n_parts};
      }
    }
    n_parts_ += tile.n_parts;
  }
}

// Neighboring items share a head, so its keys and values stay in the processor's cache from one to the next.
void TiledAttention::run_item(u32 item, f32* floats) const {
  const u32 h = item / n_parts_, part = item % n_parts_;
  u32 low = 0;
  for (u32 high = n_tiles_; high - low > 1;) {
    const u32 middle = (low + high) / 2;
    (own_.tiles[middle].part <= part ? low : high) = middle;
  }
  const AttentionTile& tile = own_.tiles[low];
  AttentionTask task = task_of(tile);
  const u64 first_head = u64(h) * task.n_heads;
  task.cache = batch_[tile.token].cache + shape_.first_head_kv + h;
  task.query_stride = shape_.q_dim();
  task.out_stride = shape_.attended_dim();
  task.queries = scratch_.query + tile.token * task.query_stride + first_head * shape_.head_dim;
  task.out = scratch_.attended + tile.token * task.out_stride + first_head * shape_.value_dim;
  task.scale = config_.attention_scale;
  task.softcap = config_.attention_softcap;
  if (sinks_) task.sinks = sinks_ + first_head;
  task.scratch = floats;
  if (tile.n_parts > 1) task.split = &own_.splits[tile.split + h];
  task.part = part - tile.part;
  engine_.table->attend(task);
}

}  // namespace

bool allocate_attention(Arena& arena, const Config& config, u32 max_tokens, AttentionScratch& scratch) {
  u64 n_sums = 0;
  for (const LayerShape& shape : config.layers) {
    if (shape.n_head_kv == 0) continue;
    const u32 heads = heads_per_kv(shape), rows = heads * min(max_tokens, max_tile_tokens(shape));
    const u64 floats = kernels::attention_scratch_floats(rows, shape.head_dim, shape.value_dim);
    scratch.floats_per_task = max(scratch.floats_per_task, round_up(floats, 16));
    n_sums = max(n_sums, shape.n_head_kv * kernels::attention_sums_floats(heads, shape.value_dim));
  }
  const Span<f32> floats = arena.allocate<f32>(max_tasks * scratch.floats_per_task);
  scratch.task_floats = floats.data;
  scratch.tiles = arena.allocate<AttentionTile>(max_tokens);
  scratch.splits = arena.allocate<AttentionSplit>(max_splits);
  scratch.sums = arena.allocate<f32>(kept_chunks * n_sums);
  return !floats.empty() && !scratch.tiles.empty() && !scratch.splits.empty() && !scratch.sums.empty();
}

void attend(const Engine& engine, const Config& config, u32 layer, const f32* sinks, Span<const BatchToken> batch,
            Scratch& scratch) {
  TiledAttention(engine, config, layer, sinks, batch, scratch).run();
}

}  // namespace flyball::model
