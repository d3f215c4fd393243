// The registry of architectures: a row each.
#pragma once

#include "model/config.h"

namespace flyball::model {

// What follows from an architecture's name alone; read_architecture() reads the rest from the file.
struct Traits {
  Str name;
  Architecture architecture;
  bool rope_neox = true;
  bool query_key_norms = false;
  bool optional_norms = false;
  bool tied_output = false;
  bool plain_local_rope = false;
  bool pre_norms = true;
  bool whole_norms = false;
  bool norms_after_rotation = false;
  bool layer_norms = false;
  bool parallel = false;
  bool experts = false;
  bool may_have_experts = false;  // and one of them that every token has, as the file says
  bool wide_experts = false;      // each is as wide as a dense feed-forward would be
  bool shared_expert = false;     // as wide as feed_forward_length where the file does not say
  bool equal_shared = false;      // as wide as the others
  bool may_share = false;         // an expert that every token has, where the file gives its width
  bool leading_dense = false;     // the first layers may be dense
  bool interleaved = false;       // of the layers, every N-th alone has experts
  bool shares = false;            // deepseek's mixture: leading layers may be dense, and some experts serve every token
  bool query_gate = false;
  bool latent = false;
  bool single_blocks = false;
  bool hybrid = false;  // layers without key/value heads are recurrent, or have none of both
  Str ffn_norm = "ffn_norm.weight";
};

const Traits* find_architecture(Str name);  // null: Flyball does not run it

}  // namespace flyball::model
