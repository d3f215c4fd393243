// LFM2's short convolution between two gates: its state is its last inputs alone.
#include "model/recurrence.h"

namespace flyball::model {
namespace {

void load(Loader& loader, const Config& config, u32 i, Recurrent& weights) {
  const Recurrence& shape = config.layers[i].recurrence;
  const u32 n = shape.n_channel;
  const gguf::Tensor* const fused =
      loader.find(LayerName(i, "shortconv.in_proj.weight"), config.n_embd, 3 * u64(n), true);
  weights.beta = loader.pack(fused, 0, n);
  weights.gate = loader.pack(fused, n, n);
  weights.input = loader.pack(fused, 2 * n, n);
  weights.convolution = loader.transposed(LayerName(i, "shortconv.conv.weight"), shape.n_tap, n);
  weights.output = loader.matrix(LayerName(i, "shortconv.out_proj.weight"), n, config.n_embd);
}

void begin(Pass& pass, u32 layer, u32 t) {
  const u32 n = pass.config.layers[layer].recurrence.n_channel;
  const RecurrenceScratch& own = pass.scratch.recurrence;
  pass.table.mul(own.out + u64(t) * n, own.inputs + u64(t) * n, n);
}

void prepare(Pass&, u32, const f32*, f32*, f32*) {}

void finish(Pass& pass, u32 layer, u32 t) {
  const u32 n = pass.config.layers[layer].recurrence.n_channel;
  const RecurrenceScratch& own = pass.scratch.recurrence;
  f32* const out = own.out + u64(t) * n;
  memcpy(out, own.convolved + u64(t) * n, n * sizeof(f32));
  pass.table.mul(own.gate + u64(t) * n, out, n);
}

}  // namespace

const RecurrentKind short_convolution = {load, begin, prepare, finish};

}  // namespace flyball::model
