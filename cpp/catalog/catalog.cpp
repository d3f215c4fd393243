#include "catalog/catalog.h"

#include "base/json.h"
#include "engine/version.h"
#include "gguf/split.h"
#include "model/weights.h"
#include "tokenizer/tokenizer.h"

namespace flyball::catalog {

namespace {

constexpr u64 cache_schema = 2;  // 1: verdicts from before tensors and vocabularies were looked at
constexpr u64 max_cache_bytes = u64(16) << 20;

bool before(Str a, Str b) {
  const int order = memcmp(a.data, b.data, min(a.size, b.size));
  return order != 0 ? order < 0 : a.size < b.size;
}

struct Found {  // what listing a directory gathers
  Arena& arena;
  Span<FileInfo> files;
  u64 n = 0;
  u64 n_hidden = 0;
  bool complete = true;

  void take(const FileInfo& file) {
    if (!gguf::is_gguf_path(file.path)) return;
    if (file_name(file.path).starts_with(".")) return void(++n_hidden);
    if (n == files.size) {
      complete = false;
      return;
    }
    FileInfo kept = file;
    kept.path = arena.copy(file.path);
    if (kept.path.size != file.path.size) return;
    u64 i = n++;
    for (; i > 0 && before(kept.path, files[i - 1].path); --i) files[i] = files[i - 1];
    files[i] = kept;
  }
};

// All parts of a model, mapped while they are looked at.
class MappedModel {
 public:
  explicit MappedModel(const Platform& platform) : platform_(platform) {}
  ~MappedModel() {
    for (u64 i = 0; i < n_; ++i) platform_.unmap(platform_.self, parts_[i]);
  }
  MappedModel(const MappedModel&) = delete;
  MappedModel& operator=(const MappedModel&) = delete;

  Status map(Str path) {
    const gguf::SplitName name = gguf::split_name(path);
    FLYBALL_TRY(map_part(path));
    if (name.count <= 1 || gguf::is_whole(platform_, parts_[0])) return {};
    if (name.index != 0) return fail(Code::invalid_argument, path) << "is not the first part of a split model";
    if (name.count > max_parts)
      return fail(Code::unsupported, path) << "has " << name.count << " parts, at most " << max_parts;
    for (u32 i = 1; i < name.count; ++i) {
      char buffer[1024];
      Writer part(buffer, sizeof buffer);
      if (!gguf::split_part_path(path, i, name.count, part) || part.truncated())
        return fail(Code::invalid_argument, "path") << "is longer than " << u64(sizeof buffer) << " bytes";
      FLYBALL_TRY(map_part(part.text()));
    }
    return {};
  }
  Span<const Span<const u8>> parts() const { return {parts_, n_}; }
  u64 bytes() const {
    u64 sum = 0;
    for (u64 i = 0; i < n_; ++i) sum += parts_[i].size;
    return sum;
  }

 private:
  Status map_part(Str path) {
    FLYBALL_ASSIGN(parts_[n_], platform_.map(platform_.self, path));
    ++n_;
    return {};
  }

  static constexpr u32 max_parts = 256;
  const Platform& platform_;
  Span<const u8> parts_[max_parts];
  u64 n_ = 0;
};

u64 integer_of(const gguf::File& file, Str architecture, Str name) {
  char buffer[128];
  Writer key(buffer, sizeof buffer);
  key.put(architecture).put('.').put(name);
  const Result<u64> value = file.get_u64_or(key.text(), 0);
  return value.ok() ? value.value() : 0;
}

Str string_of(Arena& arena, const gguf::File& file, Str key) {
  const Result<Str> value = file.get_str_or(key, "");
  if (!value.ok()) return {};
  return arena.copy(value.value().substr(0, min(value.value().size, u64(200))));
}

}  // namespace

Result<ModelFiles> find_models(const Platform& platform, Arena& arena, Str directory) {
  Found found{arena, arena.allocate<FileInfo>(Catalog::max_files)};
  if (found.files.empty()) return fail(Code::out_of_memory, "models") << "no memory for the listing";
  FLYBALL_TRY(platform.list(platform.self, directory, &found,
                            [](void* context, const FileInfo& file) { static_cast<Found*>(context)->take(file); }));
  if (!found.complete)
    return fail(Code::unsupported, directory) << "holds more than " << Catalog::max_files << " models";
  return ModelFiles{{found.files.data, found.n}, found.n_hidden};
}

void Catalog::read(ModelSummary* summary) {
  ++n_opened_;
  const auto problem = [&](const Error& error) {
    char text[600];
    Writer out(text, sizeof text);
    error.describe(out);
    summary->problem = arena_.copy(out.text());
  };
  MappedModel mapped(platform_);
  const Status status = mapped.map(summary->path);
  if (!status.ok()) return problem(status.error());
  summary->bytes = mapped.bytes();
  summary->n_parts = mapped.parts().size;
  Arena tables(platform_);
  const Result<gguf::File*> opened = gguf::File::open(tables, mapped.parts());
  if (!opened.ok()) return problem(opened.error());
  const gguf::File& file = *opened.value();
  summary->name = string_of(arena_, file, "general.name");
  summary->architecture = string_of(arena_, file, "general.architecture");
  summary->type = engine::quantization_of(file);
  for (const gguf::Tensor& tensor : file.tensors()) summary->n_parameters += tensor.rows() * tensor.cols();
  summary->context = integer_of(file, summary->architecture, "context_length");
  const Result<gguf::Value> vocabulary = file.get_array("tokenizer.ggml.tokens", gguf::ValueType::string);
  if (!vocabulary.ok()) return problem(vocabulary.error());
  summary->n_vocab = vocabulary.value().count;
  const Result<tokenizer::Tokenizer*> tokenizer = tokenizer::Tokenizer::load(tables, file);
  if (!tokenizer.ok()) return problem(tokenizer.error());
  const Status runs = model::check_model(platform_, file, tokenizer.value()->size());
  if (!runs.ok()) return problem(runs.error());
}

Result<ModelSummary> Catalog::summary_of(const FileInfo& file) {
  for (const ModelSummary& known : cached_.subspan(0, n_cached_)) {
    // A split model's size is that of all parts, so the first part's time has to do.
    const bool same_size = known.n_parts > 1 || known.bytes == file.bytes;
    if (same_size && known.modified_ns == file.modified_ns && known.path == file.path) return known;
  }
  ModelSummary summary;
  summary.path = arena_.copy(file.path);
  if (summary.path.size != file.path.size) return fail(Code::out_of_memory, "models") << "no memory for the listing";
  summary.bytes = file.bytes;
  summary.modified_ns = file.modified_ns;
  read(&summary);
  return summary;
}

Result<Span<const ModelSummary>> Catalog::list(Str directory) {
  arena_.clear();
  n_opened_ = 0;
  load_cache();
  ModelFiles found;
  FLYBALL_ASSIGN(found, find_models(platform_, arena_, directory));
  const Span<const FileInfo> files = found.files;
  if (files.empty()) return Span<const ModelSummary>();
  const Span<ModelSummary> summaries = arena_.allocate<ModelSummary>(files.size);
  if (summaries.empty()) return fail(Code::out_of_memory, "models") << "no memory for the listing";
  for (u64 i = 0; i < files.size; ++i) FLYBALL_ASSIGN(summaries[i], summary_of(files[i]));
  if (n_opened_ != 0) save_cache(summaries, directory_of(files[0].path));
  u64 n_shown = 0;  // without later parts, which are no models; a whole file may be named like one
  for (const ModelSummary& summary : summaries) {
    if (gguf::split_name(summary.path).index == 0 || summary.problem.empty()) summaries[n_shown++] = summary;
  }
  return Span<const ModelSummary>(summaries.data, n_shown);
}

Result<ModelSummary> Catalog::summarize(Str path) {
  arena_.clear();
  n_opened_ = 0;
  load_cache();
  FileInfo file;
  FLYBALL_ASSIGN(file, platform_.stat(platform_.self, path));
  file.path = path;
  return summary_of(file);
}

namespace {

// One entry of the cache file; false where anything is missing or of the wrong type.
bool read_entry(Arena& arena, const Json& json, ModelSummary* out) {
  bool complete = true;
  const auto text = [&](Str name) {
    Json value;
    if (!json.find(name, &value)) return complete = false, Str();
    const Result<Str> read = value.as_string(arena, name);
    if (!read.ok()) return complete = false, Str();
    return arena.copy(read.value());  // the file is unmapped after reading
  };
  const auto number = [&](Str name) {
    Json value;
    if (!json.find(name, &value)) return complete = false, u64(0);
    const Result<u64> read = value.as_u64(name, 0, ~u64(0));
    return complete = complete && read.ok(), read.ok() ? read.value() : 0;
  };
  *out = {text("path"),      number("bytes"),      number("modified_ns"), number("parts"),
          text("name"),      text("architecture"), text("type"),          number("parameters"),
          number("context"), number("vocabulary"), text("problem")};
  return complete;
}

void write_entry(JsonWriter& json, const ModelSummary& s) {
  json.begin_object().field("path", s.path).field("bytes", s.bytes).field("modified_ns", s.modified_ns);
  json.field("parts", s.n_parts).field("name", s.name).field("architecture", s.architecture).field("type", s.type);
  json.field("parameters", s.n_parameters).field("context", s.context).field("vocabulary", s.n_vocab);
  json.field("problem", s.problem).end_object();
}

}  // namespace

void Catalog::load_cache() {
  cached_ = {};
  n_cached_ = 0;
  if (cache_path_.empty()) return;
  const Result<Span<const u8>> mapped = platform_.map(platform_.self, cache_path_);
  if (!mapped.ok()) return;
  const Span<const u8> bytes = mapped.value();
  const auto parse = [&] {
    if (bytes.size > max_cache_bytes) return;
    const Result<Json> root = Json::parse({reinterpret_cast<const char*>(bytes.data), bytes.size});
    Json schema, models;
    if (!root.ok() || !root.value().find("schema_version", &schema) || !root.value().find("models", &models)) return;
    if (!schema.as_u64("schema_version", cache_schema, cache_schema).ok()) return;
    // Each version decides what it can run, so entries of another version do not count.
    Json writer;
    if (!root.value().find("flyball", &writer)) return;
    const Result<Str> written_by = writer.as_string(arena_, "flyball");
    if (!written_by.ok() || written_by.value() != engine::version) return;
    cached_ = arena_.allocate<ModelSummary>(min(models.count(), u64(max_files)));
    for (JsonItems items(models); items.next() && n_cached_ < cached_.size;) {
      if (read_entry(arena_, items.value(), &cached_[n_cached_])) ++n_cached_;
    }
  };
  parse();
  platform_.unmap(platform_.self, bytes);
}

// The fresh entries replace all that the cache held of their directory; those of others stay.
void Catalog::save_cache(Span<const ModelSummary> fresh, Str directory) {
  if (cache_path_.empty()) return;
  constexpr u64 entry_bytes = 8192;  // six times the longest texts, and numbers
  u64 n_kept = 0;
  const u64 room = max_files - min(u64(max_files), fresh.size);
  const Span<char> memory = arena_.allocate<char>((fresh.size + n_cached_) * entry_bytes + 64);
  if (memory.empty()) return;
  Writer out(memory.data, memory.size);
  JsonWriter json(out);
  json.begin_object().field("schema_version", cache_schema).field("flyball", engine::version);
  json.key("models").begin_array();
  for (const ModelSummary& summary : fresh) write_entry(json, summary);
  for (const ModelSummary& summary : cached_.subspan(0, n_cached_)) {
    if (directory_of(summary.path) == directory || n_kept == room) continue;
    write_entry(json, summary);
    ++n_kept;
  }
  json.end_array().end_object();
  if (out.truncated()) return;
  (void)platform_.write_file(platform_.self, cache_path_,
                             {reinterpret_cast<const u8*>(out.text().data), out.text().size});
}

namespace {

void put_scaled(Writer& out, u64 value, const char* const units[4]) {
  f64 scaled = f64(value);
  u32 unit = 0;
  while (scaled >= 999.5 && unit < 3) scaled /= 1000, ++unit;
  out.put_fixed(scaled, unit == 0 || scaled >= 99.95 ? 0 : 1).put(' ').put(Str(units[unit]));
}

}  // namespace

void put_bytes(Writer& out, u64 bytes) {
  constexpr const char* units[] = {"B", "kB", "MB", "GB"};
  put_scaled(out, bytes, units);
}

void put_parameters(Writer& out, u64 count) {
  if (count < 1000) return void(out.put_u64(count));
  constexpr const char* units[] = {"", "k", "M", "B"};
  put_scaled(out, count, units);
}

void put_summary(Writer& out, const ModelSummary& s) {
  if (!s.problem.empty()) return void(out.put("cannot be run: ").put_safe(s.problem));
  out.put_safe(s.architecture).put(", ");
  put_parameters(out, s.n_parameters);
  out.put(" parameters, context ").put_u64(s.context);
  if (s.n_parts > 1) out.put(", ").put_u64(s.n_parts).put(" parts");
}

void put_model_problem(Writer& out, const Error& error, Str fallback) {
  out.put("cause:    ");
  error.describe(out);
  out.put("\nhint:     ");
  switch (error.code) {
    case Code::not_found: out.put("check the path; /models DIRECTORY lists what there is"); break;
    case Code::io: out.put("check the file's permissions and the disk"); break;
    case Code::corrupt:
      out.put("the file is damaged or not a GGUF model; copy or download it again and compare its checksum");
      break;
    case Code::unsupported:
      out.put("convert it or take another; architectures: ").put(model::supported_architectures()).put("; types:");
      for (const gguf::TypeInfo& type : gguf::supported_types()) out.put(' ').put(type.name);
      break;
    case Code::out_of_memory: out.put("take a smaller model or type, or a smaller context (/ctx)"); break;
    case Code::interrupted: out.put("loading was stopped; load it again"); break;
    default: out.put("correct the setting named above");
  }
  out.put("\nfallback: ").put(fallback).put('\n');
}

}  // namespace flyball::catalog
