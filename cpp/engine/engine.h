// The engine: Model (immutable, shared by threads), Session (owns its cache), Generation (one answer, step by step).
// bind, repl, cli and the boot image use nothing below this header but plain data types.
#pragma once

#include "base/hash.h"
#include "engine/adapter.h"
#include "engine/packed_copy.h"
#include "governor/governor.h"
#include "journal/journal.h"
#include "kernels/kernels.h"
#include "model/config.h"
#include "runtime/metrics.h"
#include "runtime/sampler.h"

namespace flyball::engine {

using kernels::CacheType;
using GovernorSettings = governor::Settings;
using GovernorState = governor::State;
using tokenizer::Token;

Str cache_type_name(CacheType type);  // "f16", "f32", "q8_0"
Result<CacheType> parse_cache_type(Str name);

class Generation;

// Called now and then during long work, on the calling thread. Returning false stops the work (Code::interrupted).
struct Progress {
  void* context = nullptr;
  bool (*report)(void* context, Str phase, u64 done, u64 total) = nullptr;  // phase: "load", "hash", "prefill"
};

struct ModelOptions {
  Str isa = "auto";
  u32 threads = 0;                         // 0: one per processor
  u32 decode_threads = 0;                  // of steps that compute no prompt; 0: as many as threads
  u64 prefix_cache_bytes = u64(64) << 20;  // keys and values kept for prompts that begin alike; 0: none
  bool vocab_only = false;                 // tokenizer and metadata alone; sessions are refused
  journal::EventSink events;               // of the model and its sessions; outlives them
  // Writes an answer's receipt for the journal; null: the journal gets neither prompts nor answers.
  Result<Str> (*receipt)(Arena& arena, const Generation& generation) = nullptr;
  // A file that remembers the fingerprints of models of at least so many bytes; empty: none. It need not be writable.
  Str fingerprint_cache;
  u64 fingerprint_cache_least = u64(64) << 20;  // less is hashed in no time
  PackedOptions packed;
};

// What relies on a model's file being as it was when it was loaded: to read it, to compute with it, or to state what was
// computed. Each asks for more: bytes that are there; that nobody has written; that nobody can have written unseen.
enum class Reliance : u8 { reading, computing, stating };

class Model {
 public:
  // Maps the file (or its split parts), checks it, and interleaves the weights once. `path` is the first part.
  static Result<Model*> load(const Platform& platform, Str path, const ModelOptions& options, Progress progress = {});
  static void release(Model* model);  // no session may be left

  const Platform& platform() const;
  const gguf::File& file() const;
  const model::Config& config() const;
  const tokenizer::Tokenizer& tokenizer() const;
  const kernels::Table& table() const;
  u32 threads() const;
  u32 decode_threads() const;
  u64 prefix_cache_bytes() const;  // in use
  bool vocab_only() const;
  Str quantization()
      const;               // the type that holds most weights: "Q4_K"; with mixed types the file's own name if it says
  u64 file_bytes() const;  // all parts
  u64 weight_bytes() const;   // of matrices, in memory, in the packed copy or in the file
  u64 in_file_bytes() const;  // of those: in the file
  const PackedCopy& packed_copy() const;
  u64 n_parameters() const;
  const runtime::StartupMetrics& startup() const;

  // An error if the file has changed since it was loaded, so much that `reliance` does not hold.
  Status check_file(Reliance reliance) const;

  // SHA-256 over the SHA-256 of each MiB of the file (all parts in order), as it was when loaded. Computed when first
  // asked for, or remembered from an earlier run; thread-safe. `anew`: whatever is remembered.
  Result<Digest> fingerprint(Progress progress = {}, bool anew = false) const;

  // Around a fork(): no other thread holds the model's locks between the two, so the child finds them free.
  void before_fork();
  void after_fork(bool in_child);

  struct State;
  State& state() const { return *state_; }

 private:
  friend class Loader;
  State* state_ = nullptr;
};

Str quantization_of(const gguf::File& file);

constexpr u32 max_top_logprobs = 128;  // at most the vocabulary
constexpr u32 max_prefix_root_bytes = 64;
constexpr u32 default_max_tokens = 512;  // of an answer, everywhere
constexpr u32 default_context = 8192;    // at most, where the model has more

struct SessionOptions {
  u32 context = 0;  // 0: the model's, at most default_context
  CacheType cache = CacheType::f16;
  u32 threads = 0;  // 0: the model's
  u32 decode_threads = 0;
  u64 sequence = 0;  // names the sequence for the counter-based random numbers
  GovernorSettings governor;
  bool journaled = true;   // false: no events, for sessions that serve the engine itself
  AdapterSetting adapter;  // of answers that choose none of their own, and of all else that it computes
};

struct CancelToken {  // checked between matrices, and inside those that take long
  void* context = nullptr;
  bool (*stop)(void* context) = nullptr;
  u64 deadline_ns = 0;  // Platform.now_ns; 0: none
};

struct LastDecision;

class Session {
 public:
  static Result<Session*> create(Model& model, const SessionOptions& options);
  static void release(Session* session);

  Model& model() const;
  u32 context() const;
  CacheType cache_type() const;
  u32 threads() const;
  u32 decode_threads() const;
  Span<const Token> tokens() const;  // whose keys and values are in the cache
  const runtime::SessionMetrics& metrics() const;
  u64 cache_bytes() const;
  u64 sequence() const;  // SessionOptions::sequence: part of what a digest covers
  u64 number() const;    // in the journal; 0: no journal

  void reset();  // forgets the cache; counted

  // Another adapter from the next answer on. What the cache holds is computed again where it was computed otherwise.
  const AdapterSetting& adapter() const;
  Status set_adapter(const AdapterSetting& setting);

  // The governor: other settings hold from the next answer on, what it has learned stays.
  const GovernorSettings& governor_settings() const;
  const GovernorState& governor() const;
  const LastDecision& last_guard_stop() const;  // or what would have been one, in the mode simulate
  const LastDecision& last_autotune() const;    // the last that changed the bounds or the threads, or was kept from it
  Status govern(const GovernorSettings& settings);

  // Teacher-forced logits of every position: out is (ids.size, n_vocab). Uses a cleared cache; `batch` tokens at a
  // time.
  Status logits(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> out);

  // The same of the last position alone: out is (n_vocab).
  Status last_logits(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> out);

  // Log-probabilities under the raw logits, teacher forced: logprobs (ids.size - 1) of each token after those before it,
  // and top (ids.size - 1, n_top) of the likeliest tokens there, best first. Keeps the logits of one call only.
  Status score(Span<const Token> ids, u32 batch, CancelToken cancel, Progress progress, Span<f32> logprobs, u32 n_top,
               Span<runtime::TokenLogprob> top);

  // Final hidden states (after the last norm) pooled over positions, L2-normalized when asked. out: (n_embd).
  enum class Pooling : u8 { mean, last, first };
  Status embed(Span<const Token> ids, Pooling pooling, bool normalize, u32 batch, CancelToken cancel, Span<f32> out);

  // One file: fingerprint, settings, tokens, cache, checksum. Restoring validates it as hostile, and refuses another
  // model or other settings; the session is then unchanged.
  Status save(Str path) const;
  Status restore(Str path);

  struct State;
  State& state() const { return *state_; }

 private:
  friend class Generation;
  State* state_ = nullptr;
};

enum class StopReason : u8 {
  none,
  eos,
  max_tokens,
  stop_string,
  stop_token,
  context_full,
  interrupted,
  deadline,      // the caller's or the governor's
  budget_guard,  // and the following: the governor
  loop_guard,
  memory_guard,
};
Str stop_reason_name(StopReason reason);
// Whether something outside the answer ended it, which a repetition cannot reproduce.
inline bool cut_short(StopReason reason) { return reason >= StopReason::interrupted; }

// What the governor decided in an answer.
struct Decision {
  u32 position = 0;  // tokens shown before
  journal::Reason reason = journal::Reason::GUARD_TURN_STOP;
  Text<320> data;  // a JSON object
  // Whether it changed or ended this answer; the others concern later ones.
  bool applied() const {
    const Str event = journal::info(reason).event;
    return event == "caps" || event == "in_force" ||
           (event == "stop" && reason != journal::Reason::GUARD_STOP_SIMULATED);
  }
};

struct LastDecision {
  u64 turn = 0;  // the answer's number in the session; 0: none yet
  Decision decision;
};

// Drafting tokens and checking several in one call: the answer is the same, bit by bit (docs/speculation.md).
struct SpeculationOptions {
  bool lookup = true;          // drafts by prompt lookup, where that has paid
  bool always = false;         // also where it does not pay: for measurements
  Session* draft = nullptr;    // drafts by a smaller model with the same vocabulary; not shared meanwhile
  Span<const Token> expected;  // a receipt's tokens, as drafts
  u32 max_drafts = 16;         // at most 16; expected tokens are checked in larger pieces
};
Str speculation_name(const SpeculationOptions& options);  // "auto", "off", "always"
Result<SpeculationOptions> parse_speculation(Str name);
// A draft session belongs to a model with the same vocabulary, text by text.
Status check_draft(const Session& session, const SpeculationOptions& options);

struct GenerateOptions {
  runtime::SamplerSettings sampler;
  runtime::LogitsProcessor processor;  // called once for each token of the answer, in order; no tokens are drafted
  runtime::Constraint constraint;      // the answer ends where it allows nothing else; not with ignore_eos
  // What is said to be the answer's own beginning: checked many tokens a call, also beside other answers. Then they are
  // the answer's as any others; a wrong one ends it with Code::mismatch, and tokens() are those before it.
  Span<const Token> known;
  u32 max_tokens = default_max_tokens;
  Span<const Str> stops;          // the answer ends before the first of them
  Span<const Token> stop_tokens;  // each ends the answer, like the vocabulary's own and whatever ignore_eos says
  // Prompt tokens per transformer call, 512 at most: whole panels of every kernel. Cannot change a result.
  u32 batch = 192;
  bool ignore_eos = false;
  u32 top_logprobs = 0;  // likeliest tokens to keep for each of the answer's; cannot change a result
  u64 deadline_ns = 0;
  SpeculationOptions speculation;
  const AdapterSetting* adapter = nullptr;  // of this answer; null: the session's. Read by begin() alone
  // Cached prefixes are shared only between answers with the same. Cannot change a result. Read by begin() alone.
  Str prefix_root;
  governor::Changed policy_change;  // set by Policy::give(), like max_tokens
  Text<32> template_time;  // the time that the prompt's template was given, for the receipt; cannot change a result
};

struct Step {
  Token token = tokenizer::no_token;
  f32 logprob = 0;
  Str text;  // complete characters, without those that may begin a stop string
  bool done = false;
  StopReason stop_reason = StopReason::none;
};

// One answer: check() or begin() says what is wrong with its request; begin() it, then each step() yields one token until done. prefill() computes the prompt (but for the longest
// cached prefix) at once; without it the first steps do. An interrupted session holds exactly the computed tokens, and
// can go on.
class Generation {
 public:
  static Status check(const Session& session, Span<const Token> prompt, const GenerateOptions& options);
  static Result<Generation*> begin(Session& session, Span<const Token> prompt, const GenerateOptions& options);
  Status prefill(CancelToken cancel = {}, Progress progress = {});
  static void release(Generation* generation);
  Result<Step> step(CancelToken cancel = {});  // Step::text is valid until the next call

  // One step of several generations of one model, computed together. Long prompts are computed piece by piece beside the
  // others' tokens: a Step without a token and not done says that there is more to compute. Generations may join and
  // leave between any two calls; each answer has the bits that it has alone. A failure concerns its generation only.
  struct StepResult {
    Step step;
    Status status;
  };
  static void step_many(Span<Generation* const> generations, Span<StepResult> out, CancelToken cancel = {});
  void interrupt();  // ends it with StopReason::interrupted; between steps

  Span<const Token> prompt() const;
  Span<const Token> tokens() const;                             // produced, the end-of-generation token included
  Span<const f32> logprobs() const;                             // of tokens()
  Span<const runtime::TokenLogprob> top_logprobs(u64 i) const;  // (top_logprobs) where tokens()[i] was chosen
  Span<const Hash128> logits_hashes() const;                    // of the logits each was chosen from
  StopReason stop_reason() const;
  const runtime::GenerationMetrics& metrics() const;
  const GenerateOptions& options() const;  // as the governor left them
  const Status& file_status() const;       // of an answer that is done: whether its model's file was unchanged then
  Span<const Decision> decisions() const;
  const AdapterSetting& adapter() const;  // that computes it
  Session& session() const;

  struct State;

 private:
  State* state_ = nullptr;
};

}  // namespace flyball::engine
