// Loading: path -> mapped parts -> metadata -> tokenizer -> interleaved weights.
#include "base/math.h"
#include "base/parallel.h"
#include "engine/events.h"
#include "gguf/split.h"

namespace flyball::engine {

Model::State::~State() {
  for (u32 i = 0; i < n_parts; ++i) platform.unmap(platform.self, parts[i]);
}

class Loader {
 public:
  Loader(Model::State& state, Progress progress) : state_(state), platform_(state.platform), progress_(progress) {}

  Status load(Str path, const ModelOptions& options) {
    const u64 start = now_ns(platform_);
    FLYBALL_ASSIGN(state_.table, kernels::select_table(options.isa));
    state_.threads = options.threads ? options.threads : platform_.n_processors;
    state_.decode_threads = options.decode_threads ? options.decode_threads : state_.threads;
    state_.vocab_only = options.vocab_only;
    state_.path = state_.arena.copy(path);
    if (platform_.wall_ns) state_.loaded_at_ns = platform_.wall_ns(platform_.self);
    FLYBALL_TRY(map_parts(path));
    FLYBALL_ASSIGN(state_.file, gguf::File::open(state_.arena, {state_.parts, state_.n_parts}));
    if (model::is_adapter(*state_.file))
      return fail(Code::invalid_argument, path)
             << "is an adapter: load the model that it belongs to, and then the adapter (--adapter, /adapter)";
    FLYBALL_ASSIGN(state_.tokenizer, tokenizer::Tokenizer::load(state_.arena, *state_.file));
    for (u32 i = 0; i < state_.tokenizer->size(); ++i) {
      state_.longest_piece = max(state_.longest_piece, u32(state_.tokenizer->piece(Token(i), true).size));
    }
    // A vocabulary alone may be of any architecture: only running it needs a description.
    Result<model::Config> config = model::read_config(state_.arena, *state_.file, state_.tokenizer->size());
    if (config) {
      state_.config = config.value();
    } else if (options.vocab_only) {
      state_.config.n_vocab = state_.tokenizer->size();
      state_.config.architecture_name = state_.file->get_str_or("general.architecture", "").value();
      state_.config.name = state_.file->get_str_or("general.name", "").value();
    } else {
      return config.error();
    }
    const u64 selected = now_ns(platform_);
    if (!options.vocab_only) {
      if (platform_.forget) FLYBALL_TRY(name_file());
      FLYBALL_TRY(load_weights());
    }
    state_.startup.model_select_ns = selected - start;
    state_.startup.model_prepare_ns = now_ns(platform_) - selected;
    return {};
  }

 private:
  // A name that ends in -00001-of-NNNNN.gguf is the first of several parts, unless the file says that it is whole;
  // opening them checks their metadata.
  Status map_parts(Str path) {
    const gguf::SplitName name = gguf::split_name(path);
    FLYBALL_TRY(map_part(path));
    if (name.count > 1 && gguf::is_whole(platform_, state_.parts[0])) return {};
    if (name.index != 0)
      return fail(Code::invalid_argument, path)
             << "is part " << name.index + 1 << " of " << name.count << "; give the first one";
    if (name.count > Model::State::max_parts)
      return fail(Code::unsupported, path) << "has " << name.count << " parts, at most " << Model::State::max_parts;
    for (u32 i = 1; i < name.count; ++i) {
      char buffer[4096];
      Writer part(buffer, sizeof buffer);
      if (!gguf::split_part_path(path, i, name.count, part) || part.truncated()) {
        return fail(Code::invalid_argument, path)
               << "is too long a path to find part " << i + 1 << " of " << name.count;
      }
      FLYBALL_TRY(map_part(part.text()));
    }
    return {};
  }

  Status map_part(Str path) {
    const u32 i = state_.n_parts;
    FLYBALL_ASSIGN(state_.parts[i], platform_.map(platform_.self, path));
    ++state_.n_parts;
    if (platform_.mapped) FLYBALL_ASSIGN(state_.loaded[i], platform_.mapped(platform_.self, state_.parts[i]));
    return {};
  }

  // The fingerprint needs all bytes, so it comes before some of them are forgotten.
  Status name_file() {
    const Result<Digest> named = state_.handle.fingerprint(progress_);
    return named.ok() ? Status() : Status(named.error());
  }

  Status load_weights() {
    model::LoadProgress progress;
    progress.context = &progress_;
    progress.report = [](void* context, u64 done, u64 total) {
      const Progress& to = *static_cast<Progress*>(context);
      return !to.report || to.report(to.context, "load", done, total);
    };
    FLYBALL_TRY(place_weights());
    PackedCopy& copy = state_.packed;
    FLYBALL_ASSIGN(state_.weights,
                   model::load_weights(state_.weight_arena, platform_, *state_.file, state_.config,
                                       {copy.room(), copy.is_kept(), kept_in_file()}, state_.threads, progress));
    if (copy.room().empty() || copy.is_kept()) return {};
    Hashing hashing = {progress_, copy.room().size};
    return copy.keep(state_.config.name, state_.threads, hashing.watched());
  }

  // Firmware has the file in memory, whose parts it takes back when they are packed: there packing costs no room, and any
  // table may be chosen later.
  u64 kept_in_file() const { return platform_.forget ? 0 : kernels::kept_in_file(*state_.table); }

  // In a packed copy, where there is one or one is wanted.
  Status place_weights() {
    if (!state_.packed.is_possible()) return {};
    model::Needs needs;
    FLYBALL_ASSIGN(needs, model::needs_of(platform_, *state_.file, state_.config, kept_in_file()));
    const u64 in_memory = needs.packed_bytes - needs.in_file_bytes;
    if (!state_.packed.concerns(needs.packed_bytes, in_memory)) return {};
    FLYBALL_TRY(name_file());
    const PackedContent content = {needs.packed_bytes, needs.packed_order, state_.fingerprint};
    Hashing hashing = {progress_, content.bytes};
    FLYBALL_TRY(state_.packed.find(content, state_.threads, hashing.watched()));
    if (!state_.packed.is_kept()) state_.packed.make(content, in_memory);
    return {};
  }

  struct Hashing {
    Progress progress;
    u64 total;
    HashProgress watched() {
      return {this, [](void* context, u64 done) -> Status {
                const Hashing& at = *static_cast<Hashing*>(context);
                if (!at.progress.report || at.progress.report(at.progress.context, "check", done, at.total)) return {};
                return fail(Code::interrupted, "load") << "stopped on request";
              }};
    }
  };

  Model::State& state_;
  const Platform& platform_;
  Progress progress_;
};

Result<Model*> Model::load(const Platform& platform, Str path, const ModelOptions& options, Progress progress) {
  const FloatMode standard;
  State* state = create_object<State>(platform, platform, options);
  if (!state) return fail(Code::out_of_memory, path) << "no memory to load a model";
  state->handle.state_ = state;
  Status status = Loader(*state, progress).load(path, options);
  // A file that changed meanwhile explains whatever else seemed wrong with it.
  if (const Status file = state->handle.check_file(Reliance::stating); !file.ok()) status = file;
  // For receipts in the journal: here it shows progress and can be stopped, at the end of an answer it cannot.
  if (status.ok() && options.receipt && !options.vocab_only) {
    if (const Result<Digest> named = state->handle.fingerprint(progress); !named.ok()) status = named.error();
  }
  if (!status.ok()) {
    release(&state->handle);
    return status.error();
  }
  record_loaded(state->handle);
  return &state->handle;
}

void Model::release(Model* model) {
  if (!model) return;
  const Platform platform = model->state_->platform;
  destroy_object(platform, model->state_);
}

const Platform& Model::platform() const { return state_->platform; }
const gguf::File& Model::file() const { return *state_->file; }
const model::Config& Model::config() const { return state_->config; }
const tokenizer::Tokenizer& Model::tokenizer() const { return *state_->tokenizer; }
const kernels::Table& Model::table() const { return *state_->table; }
u32 Model::threads() const { return state_->threads; }
u32 Model::decode_threads() const { return state_->decode_threads; }
u64 Model::prefix_cache_bytes() const { return state_->prefixes.bytes(); }
bool Model::vocab_only() const { return state_->vocab_only; }
const PackedCopy& Model::packed_copy() const { return state_->packed; }
u64 Model::weight_bytes() const { return state_->weights.matrix_bytes; }
u64 Model::in_file_bytes() const { return state_->weights.in_file_bytes; }
const runtime::StartupMetrics& Model::startup() const { return state_->startup; }

u64 Model::file_bytes() const {
  u64 bytes = 0;
  for (u32 i = 0; i < state_->n_parts; ++i) bytes += state_->parts[i].size;
  return bytes;
}

u64 Model::n_parameters() const {
  u64 n = 0;
  for (const gguf::Tensor& tensor : file().tensors()) n += tensor.rows() * tensor.cols();
  return n;
}

Str Model::quantization() const { return quantization_of(file()); }

Str quantization_of(const gguf::File& file) {
  u64 bytes[64] = {};
  const gguf::TypeInfo* most = nullptr;
  for (const gguf::Tensor& tensor : file.tensors()) {
    bytes[u32(tensor.type)] += tensor.data.size;
    if (!most || bytes[u32(tensor.type)] > bytes[u32(most->type)]) most = gguf::type_info(u32(tensor.type));
  }
  if (!most) return "none";
  // Mixed types take general.file_type's name, where it agrees with the tensors.
  static constexpr struct {
    u32 file_type;
    Str name;
  } mixtures[] = {{11, "Q3_K_S"}, {12, "Q3_K_M"}, {13, "Q3_K_L"}, {14, "Q4_K_S"},
                  {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"}};
  const Result<u64> file_type = file.get_u64_or("general.file_type", ~u64(0));
  for (const auto& mixture : mixtures) {
    if (file_type && file_type.value() == mixture.file_type && mixture.name.starts_with(most->name))
      return mixture.name;
  }
  return most->name;
}

void Model::before_fork() {
  for (SpinLock* lock : state_->locks()) lock->lock();
}

void Model::after_fork(bool in_child) {
  for (SpinLock* lock : state_->locks()) lock->unlock();
  // Another thread may have been computing it; it does not exist in the child.
  if (in_child && state_->fingerprint_state == 1) state_->fingerprint_state = 0;
}

}  // namespace flyball::engine
