// What adapters need in a pass: who has one, their part of the embeddings, and their scratch.
#include "model/block.h"

namespace flyball::model {

bool mark_adapted(Span<const BatchToken> batch, Scratch& scratch) {
  bool any = false;
  for (const BatchToken& token : batch) any = any || token.adapter;
  for (u64 t = 0; t < batch.size && any; ++t) scratch.adapters.tokens[t] = batch[t].adapter;
  return any;
}

// Of each token: its row of A stands for A x.
bool add_embeddings(Pass& pass) {
  if (!pass.adapted) return true;
  f32* const hidden = pass.scratch.adapters.hidden;
  const u32 n_embd = pass.config.n_embd;
  for (u32 t = 0, n; t < pass.n_tokens; t += n) {
    n = 1;
    const AdapterUse* const use = pass.batch[t].adapter;
    if (!use || use->adapter->embedding_a.empty()) continue;
    const Adapter& adapter = *use->adapter;
    const u32 rank = adapter.embedding.b.cols, most = AdapterScratch::n_hidden / rank;
    while (t + n < pass.n_tokens && n < most && pass.batch[t + n].adapter && *pass.batch[t + n].adapter == *use) ++n;
    for (u32 i = 0; i < n; ++i) {
      const f32* const row = adapter.embedding_a.data + u64(pass.batch[t + i].token) * rank;
      memcpy(hidden + u64(i) * rank, row, rank * sizeof(f32));
    }
    pass.table.scale(hidden, adapter.embedding.scale * use->scale, u64(n) * rank);
    f32* const y = pass.scratch.residual + u64(t) * n_embd;
    const Product product[] = {{&adapter.embedding.b, nullptr, y, n_embd, 0, n, hidden}};
    if (!pass.linear.multiply_plain(product, {})) return false;
  }
  return true;
}

Status make_adapter_scratch(Arena& arena, const Config& config, Scratch& scratch) {
  const u64 n = scratch.max_tokens, n_rows = n * config.widest.n_expert_used;
  const Span<const AdapterUse*> uses = arena.allocate<const AdapterUse*>(n + n_rows);
  const Span<f32> hidden = arena.allocate<f32>(AdapterScratch::n_hidden);
  // Where experts' weights are quantized, nothing else needs their inputs as floats.
  const bool gathers = n_rows != 0 && !scratch.experts.gathered;
  const Span<f32> gathered = arena.allocate<f32>(gathers ? n_rows * config.n_embd : 0);
  if (uses.empty() || hidden.empty() || gathered.empty() == gathers)
    return fail(Code::out_of_memory, "adapter") << "no memory for a batch of " << n << " tokens";
  scratch.adapters = {uses.data, uses.data + n, hidden.data};
  if (gathers) scratch.experts.gathered = gathered.data;
  return {};
}

}  // namespace flyball::model
