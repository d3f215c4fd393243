// What read_config() reads of a file and has a file of its own.
#pragma once

#include "model/config.h"
#include "model/metadata.h"

namespace flyball::model {

f32 read_scale(Reader& reader, Str key, bool optional = true);  // a factor; 0 means that there is none
f64 yarn_magnitude(f64 factor, f64 multiplier);
void read_rope(Reader& reader, Config& config, bool from_ollama);
void read_alpha(Reader& reader, Config& config);  // NTK-aware scaling: a larger base in place of longer positions
void read_one_base(Reader& reader, Config& config, u32 window);  // layers that slide turn by the base of the others

// What the file says of a router; `otherwise`: where it names no gating.
void read_routing(Reader& reader, Config& config, Gating otherwise);
void read_groups(Reader& reader, Config& config);  // of experts, in any architecture that has some

// Latent attention: its shape, and what multiplies its scores.
void read_latent(Reader& reader, LayerShape& shape, Latent& latent);
void read_latent_scales(Reader& reader, Config& config);

// Layers that slide: `window` keys each, 0: none does.
void read_sliding(Reader& reader, Config& config, u32 window, u32 period, bool full_first = false);
// Layers whose positions are mixed by a gated delta net; every P-th, or those that the file says, have attention.
void read_delta_net(Reader& reader, Config& config);
// Layers without key/value heads are recurrent: by Mamba-2, or by a short convolution.
void read_mamba2(Reader& reader, Config& config);
void read_short_convolution(Reader& reader, Config& config);

}  // namespace flyball::model
