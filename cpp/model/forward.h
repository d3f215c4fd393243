// ids -> logits: one transformer call over a batch of tokens, each with its own sequence and position. No
// instruction-set code and no input or output here; every float operation is a kernel of the table, in the order the
// contract fixes.
#pragma once

#include "model/adapter.h"
#include "model/rope.h"
#include "tokenizer/tokenizer.h"

namespace flyball::model {

using tokenizer::Token;

// The state of a sequence's recurrent layers, borrowed for one call, whose tokens advance it. A token's inputs to all
// states are enough to advance them again, so those after the last snapshot are kept.
struct SequenceState {
  f32* now = nullptr;     // (Config::state_floats())
  f32* inputs = nullptr;  // of each layer (max_inputs, Recurrence::input_floats()); null: none are kept
  u32 max_inputs = 0;
  u32 n_inputs = 0;         // tokens that are kept already
  f32* snapshot = nullptr;  // gets the state after this call's first `snapshot_after` tokens; may be null
  u32 snapshot_after = 0;
};

struct BatchToken {
  Token token = 0;
  u32 position = 0;
  const kernels::CacheHead* cache = nullptr;  // of its sequence, for all layers; positions < position are filled
  SequenceState* state = nullptr;             // of its sequence, after the token before; null if no layer has one
  bool wanted = false;                  // compute its hidden state after the last norm, and logits if the call has them
  const AdapterUse* adapter = nullptr;  // null: none
};

struct AttentionTile {  // consecutive tokens of one sequence
  u32 token;            // the first one's place in the batch
  u32 n_tokens;
  u32 n_parts;  // tasks that its chunks are divided among, for each key/value head
  u32 part;     // parts of the tiles before it
  u32 split;    // of the first key/value head, if there are several parts
};

struct AttentionScratch {
  f32* task_floats = nullptr;  // (tasks, floats_per_task)
  u64 floats_per_task = 0;     // a multiple of 16, so tasks do not share cache lines
  Span<AttentionTile> tiles;   // (max_tokens)
  Span<kernels::AttentionSplit> splits;
  Span<f32> sums;  // of divided tiles
};

struct LatentScratch {
  f32* reduced = nullptr;  // (max_tokens, query_rank)
  f32* query = nullptr;    // (max_tokens, n_head, key_dim), later (max_tokens, n_head, value_dim)
  f32* by_head = nullptr;  // (n_head, max_tokens, rank or what of a key does not rotate)
};

// A row is one token's place at one of its experts; rows are in order of the experts, then of the tokens.
struct ExpertScratch {
  f32* logits = nullptr;        // (max_tokens, n_expert), the router's
  f32* weights = nullptr;       // (max_tokens, n_expert_used), largest first
  u32* chosen = nullptr;        // (max_tokens, n_expert_used)
  u32* row = nullptr;           // (max_tokens, n_expert_used)
  u32* first = nullptr;         // (n_expert + 1), rows
  f32* gathered = nullptr;      // (rows, n_embd), where experts' weights are floats
  f32* outputs = nullptr;       // (rows, n_embd)
  f32* shared = nullptr;        // (max_tokens, n_embd), of the expert that every token has
  f32* beside = nullptr;        // the same of a feed-forward beside the experts
  kernels::Activations inputs;  // (rows)
};

struct StreamScratch {
  f32* rows = nullptr;    // (n_streams, max_tokens, n_embd)
  f32* routed = nullptr;  // (max_tokens, n_streams)
};

struct LaurelScratch {
  f32* hidden = nullptr;  // (max_tokens, laurel_rank)
  f32* out = nullptr;     // (max_tokens, n_embd)
};

struct Sequence {  // a batch's consecutive tokens that advance one state
  SequenceState* state;
  u32 first;
  u32 n_tokens;
};

struct RecurrenceScratch {
  Span<Sequence> sequences;  // (max_tokens)
  f32* inputs = nullptr;     // (max_tokens, input_floats())
  f32* gate = nullptr;       // (max_tokens, out_dim)
  f32* convolved = nullptr;  // (max_tokens, n_channel)
  f32* factors = nullptr;    // (max_tokens, 2 n_head)
  f32* out = nullptr;        // (max_tokens, out_dim)
};

// Of batches with adapters. The uses are null where a token has none.
struct AdapterScratch {
  static constexpr u32 n_hidden = 1 << 16;
  const AdapterUse** tokens = nullptr;  // (max_tokens)
  const AdapterUse** rows = nullptr;    // (rows of experts)
  f32* hidden = nullptr;                // (n_hidden), A x of some rows
};

// Scratch of one caller, for at most `max_tokens` tokens a call. Borrowed by forward(), never allocated in it.
struct Scratch {
  u32 max_tokens = 0;
  u32 n_embedded = 0;       // rows of the embedding read so far
  f32* residual = nullptr;  // (max_tokens, n_embd)
  f32* parallel = nullptr;  // (max_tokens, n_embd), attention's output where the feed-forward does not read it
  f32* normed = nullptr;    // (max_tokens, n_embd); after the call: hidden states of the wanted tokens, in order
  // The blocks share memory, as they are never alive together; widths are those of the layer.
  f32* query = nullptr;           // (max_tokens, q_dim)
  f32* gated = nullptr;           // (max_tokens, 2 q_dim): queries and gates as their product gives them
  f32* key = nullptr;             // (max_tokens, k_dim)
  f32* value = nullptr;           // (max_tokens, v_dim)
  f32* attended = nullptr;        // (max_tokens, attended_dim)
  f32* attention_gate = nullptr;  // the same
  f32* gate = nullptr;            // (max_tokens or rows of experts, n_ff)
  f32* up = nullptr;              // the same
  f32* layer_inputs = nullptr;    // (max_tokens, n_layer, n_embd_per_layer)
  f32* cosines = nullptr;         // (2, max_tokens, most_pairs()): full layers, then sliding ones
  f32* sines = nullptr;           // the same
  AttentionScratch attention;
  LatentScratch latent;
  StreamScratch streams;
  LaurelScratch laurel;
  RecurrenceScratch recurrence;
  ExpertScratch experts;
  AdapterScratch adapters;
  kernels::Activations activations;  // quantized copies, wide enough for every matrix
};

Result<Scratch> make_scratch(Arena& arena, const Config& config, const Weights& weights, u32 max_tokens);

// Before the first batch with adapters.
Status make_adapter_scratch(Arena& arena, const Config& config, Scratch& scratch);

struct Engine {  // what forward() runs on
  const Platform* platform = nullptr;
  const kernels::Table* table = nullptr;
  u32 threads = 1;
};

struct StopCheck {
  void* context = nullptr;
  bool (*stop)(void* context) = nullptr;  // called before each matrix, and inside long ones
};

struct ForwardCycles {  // of one call; what is in neither is norms, rotations, activations
  u64 matrices = 0;
  u64 attention = 0;
};

// logits: (wanted tokens, n_vocab) or null when only hidden states are needed. False: stopped; the cache rows of these
// tokens are then undefined and must be written again before they are read, and so are their sequences' states.
[[nodiscard]] bool forward(const Engine& engine, const Config& config, const Weights& weights, const Rope& rope,
                           Scratch& scratch, Span<const BatchToken> batch, f32* logits, StopCheck check,
                           ForwardCycles* spent);

// Advances the state before the kept inputs by all of them. `batch` has room for as many tokens.
void advance_again(const Engine& engine, const Config& config, const Weights& weights, Scratch& scratch,
                   Span<BatchToken> batch, const SequenceState& kept);

}  // namespace flyball::model
