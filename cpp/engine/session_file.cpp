// A session in a file: header, tokens, cache, recurrent state, SHA-256 of all before it. Hostile until every field and the sum are
// checked.
#include "engine/state.h"

namespace flyball::engine {
namespace {

// 1: first format; 2: an adapter's record after the header. Sessions without an adapter are still written as 1.
constexpr u32 newest_version = 2;

struct Header {  // little-endian, as in memory on x86-64
  char magic[8] = {'F', 'L', 'Y', 'B', 'S', 'E', 'S', 'S'};
  u32 version = 1;
  u32 context = 0;
  u32 cache_type = 0;
  u32 n_layer = 0;
  u32 n_head_kv = 0;
  u32 head_dim = 0;
  u32 value_dim = 0;
  u32 n_tokens = 0;
  Digest fingerprint;
};
static_assert(sizeof(Header) == 72);

struct AdapterRecord {
  Digest fingerprint;
  f32 scale = 1;
  u32 reserved = 0;
};
static_assert(sizeof(AdapterRecord) == 40);

u64 record_bytes(const AdapterSetting& setting) { return setting.adapter ? sizeof(AdapterRecord) : 0; }
AdapterRecord record_of(const AdapterSetting& setting) { return {setting.adapter->fingerprint(), setting.scale, 0}; }

Result<Header> describe(const Session::State& state, const AdapterSetting& adapter) {
  FLYBALL_TRY(state.model.check_file(Reliance::stating));
  const model::Config& config = state.model.config();
  Header header;
  if (adapter.adapter) header.version = 2;
  header.context = state.options.context;
  header.cache_type = u32(state.options.cache);
  header.n_layer = config.n_layer();
  header.n_head_kv = config.widest.n_head_kv;
  header.head_dim = config.widest.head_dim;
  header.value_dim = config.widest.value_dim;
  header.n_tokens = state.n_tokens;
  FLYBALL_ASSIGN(header.fingerprint, state.model.fingerprint());
  return header;
}

u64 file_bytes(const Session::State& state, const AdapterSetting& adapter, u32 n_tokens) {
  const u64 held = state.cache.part_bytes(0, n_tokens) + state.recurrent.floats().size * sizeof(f32);
  return sizeof(Header) + record_bytes(adapter) + u64(n_tokens) * sizeof(Token) + (n_tokens ? held : 0) +
         sizeof(Digest);
}

Status check_adapter(const AdapterSetting& adapter, Str path, u32 version, Span<const u8> record) {
  if (version == 1 && !adapter.adapter) return {};
  if (version == 1) return fail(Code::mismatch, path, 8) << "was saved without an adapter, this session has one";
  if (!adapter.adapter) return fail(Code::mismatch, path, 8) << "was saved with an adapter, this session has none";
  const AdapterRecord wanted = record_of(adapter);
  if (record.size < sizeof wanted) return fail(Code::corrupt, path, 0) << "is too short for a session with an adapter";
  if (memcmp(record.data, &wanted, sizeof wanted) == 0) return {};
  return fail(Code::mismatch, path, sizeof(Header)) << "was saved with another adapter, or another scale of it";
}

Status check(const Session::State& state, Str path, Span<const u8> file) {
  const AdapterSetting& adapter = state.options.adapter;
  Header header;
  if (file.size < sizeof header + sizeof(Digest))
    return fail(Code::corrupt, path, 0) << "has " << file.size << " bytes, too few for a session";
  memcpy(&header, file.data, sizeof header);
  Header expected;
  FLYBALL_ASSIGN(expected, describe(state, adapter));
  if (memcmp(header.magic, expected.magic, sizeof header.magic) != 0)
    return fail(Code::corrupt, path, 0) << "is not a Flyball session";
  if (header.version < 1 || header.version > newest_version)
    return fail(Code::unsupported, path, 8)
           << "has session version " << header.version << "; this build reads 1 to " << newest_version;
  if (header.fingerprint != expected.fingerprint) return fail(Code::mismatch, path, 40) << "belongs to another model";
  FLYBALL_TRY(check_adapter(adapter, path, header.version, file.subspan(sizeof header, file.size - sizeof header)));
  const struct {
    Str name;
    u64 offset;
    u32 found, wanted;
  } fields[] = {{"context", 12, header.context, expected.context},
                {"cache type", 16, header.cache_type, expected.cache_type},
                {"layers", 20, header.n_layer, expected.n_layer},
                {"key/value heads", 24, header.n_head_kv, expected.n_head_kv},
                {"head size", 28, header.head_dim, expected.head_dim},
                {"value size", 32, header.value_dim, expected.value_dim}};
  for (const auto& field : fields) {
    if (field.found != field.wanted)
      return fail(Code::mismatch, path, field.offset)
             << "has " << field.name << " " << field.found << ", this session has " << field.wanted;
  }
  if (header.n_tokens > expected.context)
    return fail(Code::corrupt, path, 36) << "claims " << header.n_tokens << " tokens in a context of "
                                         << expected.context;
  const u64 bytes = file_bytes(state, adapter, header.n_tokens);
  if (file.size != bytes)
    return fail(Code::corrupt, path, file.size)
           << "has " << file.size << " bytes, expected " << bytes << " for " << header.n_tokens << " tokens";
  Sha256 hash;
  hash.update(file.subspan(0, bytes - sizeof(Digest)));
  const Digest sum = hash.finish();
  if (memcmp(sum.bytes, file.data + bytes - sizeof(Digest), sizeof(Digest)) != 0)
    return fail(Code::corrupt, path, bytes - sizeof(Digest))
           << "the checksum does not match: the file was changed or cut; save the session again";
  const u64 first_token = sizeof header + record_bytes(adapter);
  for (u32 i = 0; i < header.n_tokens; ++i) {
    Token token = 0;
    memcpy(&token, file.data + first_token + i * sizeof token, sizeof token);
    if (token < 0 || u32(token) >= state.model.config().n_vocab)
      return fail(Code::corrupt, path, first_token + i * sizeof token)
             << "token " << i << " is " << token << ", outside the vocabulary";
  }
  return {};
}

}  // namespace

Status Session::save(Str path) const {
  const State& state = *state_;
  Header header;
  FLYBALL_ASSIGN(header, describe(state, state.adapter));
  const u64 bytes = file_bytes(state, state.adapter, state.n_tokens);
  u8* memory = static_cast<u8*>(state.platform.allocate(state.platform.self, bytes));
  if (!memory) return fail(Code::out_of_memory, path) << "no memory for " << bytes << " bytes of session";
  u8* to = memory;
  const auto put = [&to](const void* from, u64 size) {
    memcpy(to, from, size);
    to += size;
  };
  put(&header, sizeof header);
  if (state.adapter.adapter) {
    const AdapterRecord record = record_of(state.adapter);
    put(&record, sizeof record);
  }
  put(state.tokens.data, state.n_tokens * sizeof(Token));
  const Span<f32> recurrent = state.recurrent.floats();
  if (state.n_tokens) {
    state.cache.each_part(0, state.n_tokens, [&](Span<u8> part) { put(part.data, part.size); });
    put(recurrent.data, recurrent.size * sizeof(f32));
  }
  Sha256 hash;
  hash.update({memory, bytes - sizeof(Digest)});
  const Digest sum = hash.finish();
  put(sum.bytes, sizeof sum);
  const Status written = state.platform.write_file(state.platform.self, path, {memory, bytes});
  state.platform.release(state.platform.self, memory, bytes);
  return written;
}

Status Session::restore(Str path) {
  State& state = *state_;
  Span<const u8> file;
  FLYBALL_ASSIGN(file, state.platform.map(state.platform.self, path));
  const Status checked = check(state, path, file);
  if (checked.ok()) {
    Header header;
    memcpy(&header, file.data, sizeof header);
    state.compute_with(state.options.adapter);
    const u8* from = file.data + sizeof header + record_bytes(state.adapter);
    const auto take = [&from](void* to, u64 size) {
      memcpy(to, from, size);
      from += size;
    };
    state.truncate(0);  // other work on this session ends here
    take(state.tokens.data, header.n_tokens * sizeof(Token));
    if (header.n_tokens) {
      state.cache.each_part(0, header.n_tokens, [&](Span<u8> part) { take(part.data, part.size); });
      take(state.recurrent.floats().data, state.recurrent.floats().size * sizeof(f32));
      state.recurrent.taken_up(header.n_tokens);
    }
    state.n_tokens = header.n_tokens;
    state.has_root = false;
  }
  state.platform.unmap(state.platform.self, file);
  return checked;
}

}  // namespace flyball::engine
