// An adapter from its file: read into memory, checked, packed, and tried.
#include "engine/adapter.h"

#include "base/math.h"
#include "engine/events.h"

namespace flyball::engine {

struct Adapter::State : InPlace {
  State(const Platform& p, Model& m) : platform(p), model(m), arena(p) { handle.state_ = this; }

  const Platform platform;  // not the model's: an adapter may be freed by whoever held it last
  Model& model;
  Arena arena;
  Adapter handle;
  u32 n_users = 0;
  Str name;
  Digest fingerprint;
  u64 file_bytes = 0;
  model::Adapter weights;
  bool changes_logits = false;
};

namespace {

constexpr u64 most_name = 200;  // bytes; receipts and events have it

// The bytes as they are now: later writes to the file change nothing, so that the fingerprint is that of what computes.
Result<Span<const u8>> read_file(Arena& arena, const Platform& platform, Str path) {
  Span<const u8> mapped;
  FLYBALL_ASSIGN(mapped, platform.map(platform.self, path));
  const Span<u8> copy = arena.allocate<u8>(mapped.size);
  if (!copy.empty()) memcpy(copy.data, mapped.data, mapped.size);
  const u64 bytes = mapped.size;
  const Result<FileInfo> after =
      platform.mapped ? platform.mapped(platform.self, mapped) : Result<FileInfo>(FileInfo());
  platform.unmap(platform.self, mapped);
  if (!after.ok()) return fail(Code::io, path) << after.error().what.str() << " while it was read";
  if (bytes != 0 && copy.empty()) return fail(Code::out_of_memory, path) << "no memory for " << bytes << " bytes";
  return Span<const u8>(copy);
}

// Logits after a few tokens from all over the vocabulary, bit by bit.
Result<bool> probe(const AdapterRef& adapter, const CancelToken& cancel) {
  constexpr u32 n_tokens = 4;
  Model& model = adapter->model();
  const u32 n_vocab = model.config().n_vocab;
  Token tokens[n_tokens];
  for (u32 i = 0; i < n_tokens; ++i) tokens[i] = Token(u64(n_vocab) * (2 * i + 1) / (2 * n_tokens));
  Arena arena(model.platform());
  const Span<f32> logits = arena.allocate<f32>(2 * u64(n_vocab));
  if (logits.empty()) return fail(Code::out_of_memory, "adapter") << "no memory to try it";
  for (u32 with = 0; with < 2; ++with) {
    SessionOptions options;
    options.context = n_tokens;
    options.journaled = false;
    if (with) options.adapter = {adapter, 1};
    Session* session = nullptr;
    FLYBALL_ASSIGN(session, Session::create(model, options));
    const Span<f32> out = logits.subspan(u64(with) * n_vocab, n_vocab);
    Status status = session->last_logits(tokens, n_tokens, cancel, {}, out);
    if (status.ok()) status = check_finite(out, n_tokens - 1);
    Session::release(session);
    if (!status.ok() && with && status.error().code == Code::non_finite)
      return fail(Code::non_finite, "adapter") << "makes the model compute NaN or infinity: it is damaged";
    FLYBALL_TRY(status);
  }
  return memcmp(logits.data, logits.data + n_vocab, n_vocab * sizeof(f32)) != 0;
}

}  // namespace

Digest file_fingerprint(Span<const u8> bytes) {
  constexpr u64 chunk = u64(1) << 20;
  Sha256 whole;
  for (u64 at = 0; at < bytes.size; at += chunk) {
    Sha256 part;
    part.update(bytes.subspan(at, min(chunk, bytes.size - at)));
    whole.update({part.finish().bytes, 32});
  }
  return whole.finish();
}

Result<AdapterRef> Adapter::load(Model& model, Str path, const CancelToken& cancel) {
  const FloatMode standard;
  if (model.vocab_only())
    return fail(Code::invalid_argument, "adapter") << "needs the model's weights, but it was loaded with vocab_only";
  FLYBALL_TRY(model.check_file(Reliance::reading));
  State* const state = create_object<State>(model.platform(), model.platform(), model);
  if (!state) return fail(Code::out_of_memory, path) << "no memory to load an adapter";
  const AdapterRef adapter(&state->handle);  // frees it after an error
  Arena scratch(state->platform);
  Span<const u8> bytes;
  FLYBALL_ASSIGN(bytes, read_file(scratch, state->platform, path));
  gguf::File* file = nullptr;
  FLYBALL_ASSIGN(file, gguf::File::open(scratch, {&bytes, 1}));
  FLYBALL_ASSIGN(state->weights,
                 model::load_adapter(state->arena, state->platform, model.file(), model.config(), *file));
  state->fingerprint = file_fingerprint(bytes);
  state->file_bytes = bytes.size;
  Str name = file->get_str_or("general.name", "").value();
  if (name.empty()) name = file_name(path);
  state->name = state->arena.copy(name.substr(0, utf8_complete_prefix(name.substr(0, min(name.size, most_name)))));
  FLYBALL_ASSIGN(state->changes_logits, probe(adapter, cancel));
  record_adapter(*adapter);
  return adapter;
}

Model& Adapter::model() const { return state_->model; }
Str Adapter::name() const { return state_->name; }
const Digest& Adapter::fingerprint() const { return state_->fingerprint; }
u64 Adapter::file_bytes() const { return state_->file_bytes; }
u64 Adapter::weight_bytes() const { return state_->weights.packed_bytes; }
f32 Adapter::alpha() const { return state_->weights.alpha; }
u32 Adapter::rank() const { return state_->weights.largest_rank; }
u32 Adapter::n_pairs() const { return state_->weights.n_pairs; }
bool Adapter::changes_logits() const { return state_->changes_logits; }
const model::Adapter& Adapter::weights() const { return state_->weights; }

AdapterRef::AdapterRef(const Adapter* adapter) : adapter_(adapter) {
  if (adapter) __atomic_add_fetch(&adapter->state_->n_users, 1, __ATOMIC_RELAXED);
}

AdapterRef::~AdapterRef() {
  if (!adapter_ || __atomic_sub_fetch(&adapter_->state_->n_users, 1, __ATOMIC_ACQ_REL) != 0) return;
  const Platform platform = adapter_->state_->platform;
  destroy_object(platform, adapter_->state_);
}

AdapterRef& AdapterRef::operator=(const AdapterRef& other) {
  if (adapter_ == other.adapter_) return *this;
  AdapterRef before(other);
  const Adapter* const mine = adapter_;
  adapter_ = before.adapter_;
  before.adapter_ = mine;
  return *this;
}

bool operator==(const AdapterSetting& a, const AdapterSetting& b) {
  if (!a.adapter || !b.adapter) return !a.adapter && !b.adapter;
  return a.adapter->fingerprint() == b.adapter->fingerprint() && bit_cast<u32>(a.scale) == bit_cast<u32>(b.scale);
}

Status check_adapter(const Model& model, const AdapterSetting& setting) {
  if (!setting.adapter) return {};
  if (&setting.adapter->model() != &model)
    return fail(Code::invalid_argument, "adapter") << "was loaded for another model; load it for this one";
  if (!(setting.scale >= -1e6f && setting.scale <= 1e6f))
    return fail(Code::invalid_argument, "adapter_scale") << "is " << f64(setting.scale) << ", expected -1e6 to 1e6";
  return {};
}

AdapterArgument parse_adapter_argument(Str text) {
  for (u64 i = text.size; i > 1; --i) {
    if (text[i - 1] != ':') continue;
    f64 scale = 0;
    if (!parse_f64(text.from(i), &scale)) break;
    return {text.substr(0, i - 1), f32(scale)};
  }
  return {text, 1};
}

}  // namespace flyball::engine
