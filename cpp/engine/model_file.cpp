// A model's file after it was loaded: whether it is still the same, and its fingerprint.
#include "base/parallel.h"
#include "engine/fingerprint_cache.h"
#include "engine/state.h"

namespace flyball::engine {
namespace {

ErrorBuilder about(const Model::State& state, u32 part) {
  ErrorBuilder error = fail(Code::io, state.path);
  if (state.n_parts > 1) error << "part " << part + 1 << " of " << state.n_parts << " ";
  return error;
}

Status check_part(const Model::State& state, u32 i, Reliance reliance) {
  const FileInfo& then = state.loaded[i];
  const Result<FileInfo> found = state.platform.mapped(state.platform.self, state.parts[i]);
  if (!found.ok()) return about(state, i) << found.error().what.str() << " since it was loaded; load the model again";
  const FileInfo& now = found.value();
  if (now.bytes < state.parts[i].size)
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

// A name for the file without reading it: what a file system cannot repeat. False where that is not known, or where the
// file was changed so shortly before that a second change may have had the same time.
bool identity(const Model::State& state, Digest* out) {
  constexpr u64 settled_ns = 2'000'000'000;  // FAT's clock ticks that slowly
  Sha256 hash;
  hash.update(Str("flyball file identity 1"));
  hash.update_u64(state.n_parts);
  for (u32 i = 0; i < state.n_parts; ++i) {
    const FileInfo& file = state.loaded[i];
    const u64 latest = max(file.modified_ns, file.changed_ns);
    if (file.inode == 0 || file.changed_ns == 0 || state.loaded_at_ns < latest + settled_ns) return false;
    const u64 fields[] = {file.device, file.inode, file.bytes, file.modified_ns, file.changed_ns};
    for (const u64 field : fields) hash.update_u64(field);
  }
  *out = hash.finish();
  return true;
}

Result<Digest> hash_parts(const Model& model, Progress progress) {
  const Model::State& state = model.state();
  constexpr u64 chunk = u64(1) << 20;
  constexpr u32 batch = 16;  // chunks hashed side by side
  const u64 total = model.file_bytes();
  u64 done = 0;
  Sha256 whole;
  for (u32 part = 0; part < state.n_parts; ++part) {
    const Span<const u8> bytes = state.parts[part];
    Digest digests[batch];
    for (u64 first = 0; first < bytes.size; first += batch * chunk) {
      const u32 n = u32(min(u64(batch), divide_up(bytes.size - first, chunk)));
      parallel(state.platform, state.threads, n, [&](u32 i) {
        const u64 begin = first + i * chunk;
        Sha256 hash;
        hash.update(bytes.subspan(begin, min(chunk, bytes.size - begin)));
        digests[i] = hash.finish();
      });
      for (u32 i = 0; i < n; ++i) whole.update({digests[i].bytes, 32});
      const u64 read = min(n * chunk, bytes.size - first);
      // Reading the file for its name must not double what the model holds in memory.
      if (state.platform.discard) state.platform.discard(state.platform.self, bytes.subspan(first, read));
      FLYBALL_TRY(model.check_file(Reliance::reading));
      done += read;
      if (progress.report && !progress.report(progress.context, "hash", done, total) && done < total)
        return fail(Code::interrupted, "hash") << "stopped after " << done << " of " << total << " bytes";
    }
  }
  return whole.finish();
}

Result<Digest> find_fingerprint(const Model& model, Progress progress, bool anew) {
  const Model::State& state = model.state();
  FingerprintCache cache(state.platform, state.fingerprint_cache);
  Digest key, found;
  const bool remembers = model.file_bytes() >= state.fingerprint_cache_least && identity(state, &key);
  if (remembers && !anew && cache.find(key, &found)) return found;
  FLYBALL_TRY(model.check_file(Reliance::stating));
  FLYBALL_ASSIGN(found, hash_parts(model, progress));
  FLYBALL_TRY(model.check_file(Reliance::stating));
  if (remembers) cache.keep(key, found);
  return found;
}

}  // namespace

Status Model::check_file(Reliance reliance) const {
  if (!state_->platform.mapped) return {};
  for (u32 i = 0; i < state_->n_parts; ++i) FLYBALL_TRY(check_part(*state_, i, reliance));
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
