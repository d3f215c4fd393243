// A model's file after it was loaded: whether it is still the same, and its fingerprint.
#include "engine/fingerprint.h"
#include "engine/state.h"

namespace flyball::engine {
namespace {

constexpr u32 the_packed_copy = ~0u;

ErrorBuilder about(const Model::State& state, u32 part) {
  ErrorBuilder error = fail(Code::io, state.path);
  if (part == the_packed_copy)
    error << "its packed copy ";
  else if (state.n_parts > 1)
    error << "part " << part + 1 << " of " << state.n_parts << " ";
  return error;
}

Status check_part(const Model::State& state, u32 i, Span<const u8> part, const FileInfo& then, Reliance reliance) {
  const Result<FileInfo> found = state.platform.mapped(state.platform.self, part);
  if (!found.ok()) return about(state, i) << found.error().what.str() << " since it was loaded; load the model again";
  const FileInfo& now = found.value();
  if (now.bytes < part.size)
    return about(state, i) << "was cut from " << then.bytes << " to " << now.bytes
                           << " bytes since it was loaded; load the model again";
  if (reliance == Reliance::reading) return {};
  if (now.bytes != then.bytes || now.modified_ns != then.modified_ns)
    return about(state, i)
           << "was written since it was loaded: its answers would be of two models and have no receipt; "
              "load it again";
  // A file that is replaced or deleted loses a name, which changes no byte of it.
  if (reliance == Reliance::stating && now.changed_ns != then.changed_ns && now.n_links == then.n_links)
    return about(state, i)
           << "may have been written since it was loaded (its change time differs): no receipt can name "
              "it; load the model again";
  return {};
}

Result<Digest> hash_model(const Model& model, Progress progress) {
  struct Hashing {
    const Model& model;
    Progress progress;
  } hashing = {model, progress};
  HashProgress watched;
  watched.context = &hashing;
  watched.report = [](void* context, u64 done) -> Status {
    const Hashing& at = *static_cast<Hashing*>(context);
    FLYBALL_TRY(at.model.check_file(Reliance::reading));
    const u64 total = at.model.file_bytes();
    if (at.progress.report && !at.progress.report(at.progress.context, "hash", done, total) && done < total)
      return fail(Code::interrupted, "hash") << "stopped after " << done << " of " << total << " bytes";
    return {};
  };
  const Model::State& state = model.state();
  return hash_parts(state.platform, state.threads, {state.parts, state.n_parts}, watched);
}

Result<Digest> find_fingerprint(const Model& model, Progress progress, bool anew) {
  const Model::State& state = model.state();
  FingerprintCache cache(state.platform, state.fingerprint_cache);
  Digest key, found;
  const bool remembers = model.file_bytes() >= state.fingerprint_cache_least &&
                         identity_of({state.loaded, state.n_parts}, state.loaded_at_ns, &key);
  if (remembers && !anew && cache.find(key, &found)) return found;
  FLYBALL_TRY(model.check_file(Reliance::stating));
  FLYBALL_ASSIGN(found, hash_model(model, progress));
  FLYBALL_TRY(model.check_file(Reliance::stating));
  if (remembers) cache.keep(key, found);
  return found;
}

}  // namespace

Status Model::check_file(Reliance reliance) const {
  if (!state_->platform.mapped) return {};
  for (u32 i = 0; i < state_->n_parts; ++i)
    FLYBALL_TRY(check_part(*state_, i, state_->parts[i], state_->loaded[i], reliance));
  const PackedCopy& copy = state_->packed;
  if (copy.is_kept()) FLYBALL_TRY(check_part(*state_, the_packed_copy, copy.file(), copy.info(), reliance));
  return {};
}

Result<Digest> Model::fingerprint(Progress progress, bool anew) const {
  State& state = *state_;
  // Where parts of the file are forgotten it cannot be read again, and is in memory, where nothing changes it.
  if (anew && !state.platform.forget) return find_fingerprint(*this, progress, anew);
  // One thread computes it while others wait; after an error or a stop the next one tries.
  for (u32 seen = 0;
       !__atomic_compare_exchange_n(&state.fingerprint_state, &seen, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE);
       seen = 0) {
    if (seen == 2) return state.fingerprint;
    if (progress.report && !progress.report(progress.context, "hash", 0, 0))
      return fail(Code::interrupted, "hash") << "stopped while another thread hashes the file";
    __builtin_ia32_pause();
  }
  const Result<Digest> found = find_fingerprint(*this, progress, anew);
  if (found.ok()) state.fingerprint = found.value();
  __atomic_store_n(&state.fingerprint_state, found.ok() ? 2 : 0, __ATOMIC_RELEASE);
  return found;
}

}  // namespace flyball::engine
