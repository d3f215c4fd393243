// What the kinds of recurrent layers differ in; recurrence.cpp has what they share. Private to model/.
#pragma once

#include "model/block.h"

namespace flyball::model {

// Of a token, in turn: what precedes the convolution of any; its convolved channels as keys, queries, values and
// factors (a decay, then a step for each head); the output of its heads, ready for the last product.
struct RecurrentKind {
  void (*load)(Loader& loader, const Config& config, u32 layer, Recurrent& weights);
  void (*begin)(Pass& pass, u32 layer, u32 t);  // null: nothing
  void (*prepare)(Pass& pass, u32 layer, const f32* input, f32* convolved, f32* factors);
  void (*finish)(Pass& pass, u32 layer, u32 t);
};
extern const RecurrentKind delta_net, mamba2, short_convolution;

}  // namespace flyball::model
