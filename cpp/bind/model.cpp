// ModelCore: an engine::Model for Python.
#include "bind/cores.h"

#include "catalog/tune.h"
#include "host/host.h"
#include "model/weights.h"
#include "receipt/receipt.h"
#include "runtime/kv_cache.h"
#include "runtime/recurrent_state.h"

namespace flyball::bind {
namespace {

using engine::Reliance;
using tokenizer::Tokenizer;

std::shared_ptr<ModelCore> load(const std::string& path, const std::string& isa, u32 threads, u32 decode_threads,
                                u64 prefix_cache_bytes, bool vocab_only, py::object progress,
                                const JournalCore* journal, const std::string& fingerprint_cache,
                                const std::string& packed_folder, const std::string& packed_copy,
                                u64 packed_copies_bytes) {
  auto owner = std::make_shared<ModelOwner>();
  engine::ModelOptions options;
  options.isa = str(isa);
  options.threads = threads;
  options.decode_threads = decode_threads;
  options.prefix_cache_bytes = prefix_cache_bytes;
  options.vocab_only = vocab_only;
  options.fingerprint_cache = str(fingerprint_cache);
  options.packed.folder = str(packed_folder);
  options.packed.use = unwrap(engine::parse_packed_use(str(packed_copy)));
  options.packed.most_bytes = packed_copies_bytes;
  if (journal) {
    owner->journal = journal->journal;
    options.events = owner->journal->sink();
    if (journal->content) options.receipt = receipt::write_receipt;
  }
  Call call(host::host_platform(), std::move(progress));
  call_core(call, [&]() -> Status {
    FLYBALL_ASSIGN(owner->model, engine::Model::load(host::host_platform(), str(path), options, call.progress()));
    return {};
  });
  owner->survive_forks();
  return std::make_shared<ModelCore>(std::move(owner));
}

// The instruction set of later sessions, measured: {isa: nanoseconds of a step}
py::dict choose_isa(const ModelCore& core) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  Call call(held->model->platform());
  const catalog::IsaTimes times =
      call_core(call, [&] { return catalog::choose_isa(*held->model, call.cancel_token()); });
  py::dict d;
  for (u32 i = 0; i < times.n; ++i) d[text(times.tables[i]->name)] = times.ns[i];
  return d;
}

// Threads of later sessions, measured or cached.
py::dict tune(const ModelCore& core, const std::string& objective, const std::string& cache_file, bool refresh) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  Call call(host::host_platform());
  catalog::TuneOptions options;
  options.objective = unwrap(catalog::parse_objective(str(objective)));
  options.cache_file = str(cache_file);
  options.refresh = refresh;
  options.cancel = call.cancel_token();
  const catalog::Tuned tuned = call_core(call, [&] { return catalog::tune(*held->model, options); });
  py::list candidates;
  for (u32 i = 0; i < tuned.n_candidates; ++i) {
    const catalog::Tuned::Candidate& c = tuned.candidates[i];
    candidates.append(py::make_tuple(c.threads, c.prefill_ns, c.decode_ns));
  }
  py::dict d;
  d["threads"] = tuned.threads;
  d["decode_threads"] = tuned.decode_threads;
  d["cached"] = tuned.cached;
  d["seconds"] = static_cast<f64>(tuned.spent_ns) / 1e9;
  d["probes"] = tuned.n_probes;
  d["candidates"] = candidates;
  return d;
}

py::object scalar(const gguf::Value& value, gguf::ValueType type, const u8* raw) {
  using enum gguf::ValueType;
  const auto read = [raw]<class T>(T) {
    T number;
    memcpy(&number, raw, sizeof number);
    return number;
  };
  switch (type) {
    case u8: return py::int_(read(flyball::u8()));
    case i8: return py::int_(read(flyball::i8()));
    case u16: return py::int_(read(flyball::u16()));
    case i16: return py::int_(read(flyball::i16()));
    case u32: return py::int_(read(flyball::u32()));
    case i32: return py::int_(read(flyball::i32()));
    case u64: return py::int_(read(flyball::u64()));
    case i64: return py::int_(read(flyball::i64()));
    case f32: return py::float_(read(flyball::f32()));
    case f64: return py::float_(read(flyball::f64()));
    case boolean: return py::bool_(read(flyball::u8()) != 0);
    case string: return text({reinterpret_cast<const char*>(value.raw.data), value.raw.size});
    case array: break;
  }
  return py::none();
}

u64 scalar_bytes(gguf::ValueType type) {
  using enum gguf::ValueType;
  switch (type) {
    case u8:
    case i8:
    case boolean: return 1;
    case u16:
    case i16: return 2;
    case u32:
    case i32:
    case f32: return 4;
    case u64:
    case i64:
    case f64: return 8;
    case string:
    case array: break;
  }
  return 0;
}

// Arrays: at most `limit` elements, then None in place of the rest, so that a vocabulary does not become a list by accident.
py::object value_of(const gguf::Value& value, u64 limit) {
  if (value.type != gguf::ValueType::array) return scalar(value, value.type, value.raw.data);
  py::list list;
  const u64 shown = min(value.count, limit);
  if (value.element == gguf::ValueType::string) {
    gguf::StringArray strings(value);
    Str element;
    for (u64 i = 0; i < shown && strings.next(&element); ++i) list.append(text(element));
  } else if (const u64 bytes = scalar_bytes(value.element)) {
    for (u64 i = 0; i < shown; ++i) list.append(scalar(value, value.element, value.raw.data + i * bytes));
  }
  if (shown < value.count) list.append(py::none());
  return list;
}

py::dict metadata(const ModelCore& core, u64 limit) {
  py::dict dict;
  for (const gguf::Entry& entry : core.model().file().entries()) dict[text(entry.key)] = value_of(entry.value, limit);
  check(core.model().check_file(Reliance::reading));
  return dict;
}

// Keys that nothing asked for so far: they change nothing.
py::list keys_not_read(const ModelCore& core) {
  py::list list;
  const gguf::File& file = core.model().file();
  for (const gguf::Entry& entry : file.entries()) {
    if (!file.was_read(entry)) list.append(text(entry.key));
  }
  return list;
}

// (bytes of packed weights, bytes of them that a token reads); None: the file cannot be run
py::object needs(const ModelCore& core) {
  const engine::Model& model = core.model();
  const Result<model::Needs> found = model::needs_of(model.platform(), model.file(), model.config());
  check(model.check_file(Reliance::reading));
  if (!found) return py::none();
  return py::make_tuple(found.value().weight_bytes, found.value().token_bytes);
}

// Runs of layers whose cache is alike: (key/value heads of all of them, head size of keys, of values).
py::tuple cache_heads(const model::Config& config) {
  py::list runs;
  for (u32 begin = 0, end; begin < config.n_layer(); begin = end) {
    const model::LayerShape& first = config.layers[begin];
    u32 n_heads = 0;
    for (end = begin; end < config.n_layer(); ++end) {
      const model::LayerShape& layer = config.layers[end];
      if (layer.head_dim != first.head_dim || layer.value_dim != first.value_dim) break;
      n_heads += layer.shares_kv ? 0 : layer.n_head_kv;
    }
    runs.append(py::make_tuple(n_heads, first.head_dim, first.value_dim));
  }
  return py::tuple(runs);
}

// Why the file cannot be run, or None; a vocabulary alone may be loaded all the same.
py::object problem(const ModelCore& core) {
  const engine::Model& model = core.model();
  const Status status = model::check_model(model.platform(), model.file(), model.tokenizer().size());
  if (status.ok()) return py::none();
  char buffer[1024];
  Writer out(buffer, sizeof buffer);
  status.error().describe(out);
  return text(out.text());
}

py::list tensors(const ModelCore& core) {
  py::list list;
  for (const gguf::Tensor& tensor : core.model().file().tensors()) {
    py::list shape;
    for (u32 i = tensor.n_dims; i > 0; --i) shape.append(tensor.shape[i - 1]);
    list.append(py::make_tuple(text(tensor.name), text(gguf::type_name(flyball::u32(tensor.type))), py::tuple(shape),
                               tensor.data.size));
  }
  check(core.model().check_file(Reliance::reading));
  return list;
}

py::dict info(const ModelCore& core) {
  const engine::Model& model = core.model();
  const model::Config& config = model.config();
  const Tokenizer& tokenizer = model.tokenizer();
  py::dict d;
  d["name"] = text(config.name);
  d["architecture"] = text(config.architecture_name);
  d["quantization"] = text(model.quantization());
  d["n_parameters"] = model.n_parameters();
  d["file_bytes"] = model.file_bytes();
  d["weight_bytes"] = model.weight_bytes();
  d["in_file_bytes"] = model.in_file_bytes();
  d["packed_copy"] = text(model.packed_copy().is_kept() ? model.packed_copy().path() : Str());
  d["no_packed_copy"] = text(model.packed_copy().problem());
  d["n_vocab"] = tokenizer.size();
  d["n_embd"] = config.n_embd;
  d["n_layer"] = config.n_layer();
  d["n_head"] = config.widest.n_head;
  d["n_head_kv"] = config.widest.n_head_kv;
  d["head_dim"] = config.widest.head_dim;
  d["value_dim"] = config.widest.value_dim;
  d["n_ff"] = config.widest.n_ff;
  d["n_expert"] = config.widest.n_expert;
  d["n_expert_used"] = config.widest.n_expert_used;
  d["context_length"] = config.n_ctx_train;
  d["sliding_window"] = config.sliding_window;
  d["cache_heads"] = cache_heads(config);
  d["state_bytes"] = config.state_floats() * sizeof(f32);
  d["state_memory"] = runtime::RecurrentState::bytes_for(config);
  d["tokenizer"] = text(tokenizer.model());
  d["pre_tokenizer"] = text(tokenizer.pre());
  d["bos"] = tokenizer.bos();
  d["eos"] = tokenizer.eos();
  d["eot"] = tokenizer.eot();
  d["add_bos"] = tokenizer.add_bos();
  d["add_eos"] = tokenizer.add_eos();
  d["chat_template"] = text(tokenizer.chat_template());
  d["gguf_version"] = model.file().version();
  d["isa"] = model.vocab_only() ? "" : model.table().name;
  d["threads"] = model.threads();
  d["decode_threads"] = model.decode_threads();
  d["vocab_only"] = model.vocab_only();
  check(model.check_file(Reliance::reading));
  return d;
}

py::dict startup(const ModelCore& core) {
  const runtime::StartupMetrics& metrics = core.model().startup();
  py::dict d;
  d["model_select_ms"] = static_cast<double>(metrics.model_select_ns) / 1e6;
  d["model_prepare_ms"] = static_cast<double>(metrics.model_prepare_ns) / 1e6;
  return d;
}

py::list tokenize(const ModelCore& core, const std::string& utf8, bool add_special, bool parse_special) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  const engine::Model& model = *held->model;
  const Tokenizer::Options options{add_special, parse_special};
  std::vector<Token> ids(utf8.size() / 2 + 16);
  const u64 count = call_core([&] {
    Result<u64> needed = model.tokenizer().encode(model.platform(), str(utf8), options, {ids.data(), ids.size()});
    if (needed.ok() && needed.value() > ids.size()) {
      ids.resize(needed.value());
      needed = model.tokenizer().encode(model.platform(), str(utf8), options, {ids.data(), ids.size()});
    }
    const Status readable = model.check_file(Reliance::reading);
    return readable.ok() ? needed : readable.error();
  });
  return list_of({ids.data(), min<u64>(count, ids.size())});
}

py::bytes detokenize(const ModelCore& core, py::handle ids, bool special) {
  const Tokenizer& tokenizer = core.model().tokenizer();
  const std::vector<Token> tokens = tokens_from(ids, tokenizer.size(), "ids");
  const Span<const Token> span{tokens.data(), tokens.size()};
  std::string bytes(tokenizer.decode(span, special, {}), '\0');
  tokenizer.decode(span, special, {bytes.data(), bytes.size()});
  check(core.model().check_file(Reliance::reading));
  return py::bytes(bytes);
}

py::bytes piece(const ModelCore& core, i64 token, bool special) {
  const Tokenizer& tokenizer = core.model().tokenizer();
  if (token < 0 || token >= i64(tokenizer.size()))
    raise("invalid_argument", "token",
          "is " + std::to_string(token) + "; token ids go from 0 to " + std::to_string(tokenizer.size() - 1));
  const py::bytes piece(string(tokenizer.piece(static_cast<Token>(token), special)));
  check(core.model().check_file(Reliance::reading));
  return piece;
}

// What text could be mistaken for if special tokens were parsed in it: every control token with its text.
py::list control_tokens(const ModelCore& core) {
  const Tokenizer& tokenizer = core.model().tokenizer();
  py::list list;
  for (u32 id = 0; id < tokenizer.size(); ++id) {
    const Token token = static_cast<Token>(id);
    if (!tokenizer.is_control(token)) continue;
    const Str piece = tokenizer.piece(token, true);
    if (!piece.empty()) list.append(py::make_tuple(token, py::bytes(string(piece))));
  }
  check(core.model().check_file(Reliance::reading));
  return list;
}

py::str fingerprint(const ModelCore& core, py::object progress, bool anew) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  Call call(held->model->platform(), std::move(progress));
  return hex(call_core(call, [&] { return held->model->fingerprint(call.progress(), anew); }));
}

py::list isas() {
  py::list names;
  for (const kernels::Table* table : kernels::usable_tables()) names.append(table->name);
  return names;
}

py::list supported_types() {
  py::list names;
  for (const gguf::TypeInfo& info : gguf::supported_types()) names.append(text(info.name));
  return names;
}

py::list supported_architectures() {
  py::list names;
  for (const Str name : model::architectures_by_name()) names.append(text(name));
  return names;
}

// Keys and values of so many positions in so many heads.
u64 cache_bytes(u64 n_heads, u32 head_dim, u32 value_dim, u32 context, const std::string& type) {
  kernels::CacheHead head;
  head.type = unwrap(engine::parse_cache_type(str(type)));
  head.head_dim = head_dim;
  head.value_dim = value_dim;
  return n_heads * runtime::cache_part_sizes(head, context).total();
}

}  // namespace

std::shared_ptr<ModelOwner> ModelCore::acquire() const {
  if (!owner) raise("invalid_argument", "model", "is closed; load it again");
  return owner;
}

void bind_model(py::module_& module) {
  using namespace py::literals;
  module.def("isas", &isas);
  module.def("supported_types", &supported_types);
  module.def("supported_architectures", &supported_architectures);
  module.def("cycles_per_second", [] { return host::host_platform().cycles_per_second(nullptr); });
  module.def("n_allocations", &host::n_allocations);
  module.def("cache_bytes", &cache_bytes, "n_heads"_a, "head_dim"_a, "value_dim"_a, "context"_a, "type"_a);
  module.def("n_processors", [] { return host::host_platform().n_processors; });
  // (available, total) in bytes, within the control groups' limits; None: not known
  module.def("memory", [] {
    const auto known = [](u64 bytes) {
      return bytes == ~u64(0) ? py::object(py::none()) : py::object(py::int_(bytes));
    };
    return py::make_tuple(known(host::host_platform().available_memory(nullptr)), known(host::total_memory()));
  });
  module.def("cycles", [] { return host::host_platform().cycles(host::host_platform().self); });
  module.def("now_ns", [] { return host::host_platform().now_ns(host::host_platform().self); });

  py::class_<ModelCore, std::shared_ptr<ModelCore>>(module, "ModelCore")
      .def_static("load", &load, "path"_a, "isa"_a, "threads"_a, "decode_threads"_a, "prefix_cache_bytes"_a,
                  "vocab_only"_a, "progress"_a, "journal"_a, "fingerprint_cache"_a, "packed_folder"_a = "",
                  "packed_copy"_a = "off", "packed_copies_bytes"_a = 0)
      .def("close", [](ModelCore& core) { core.owner.reset(); })
      .def_property_readonly("closed", [](const ModelCore& core) { return !core.owner; })
      .def("info", &info)
      .def("metadata", &metadata, "limit"_a)
      .def("tensors", &tensors)
      .def("keys_not_read", &keys_not_read)
      .def("problem", &problem)
      .def("needs", &needs)
      .def("startup", &startup)
      .def("tokenize", &tokenize, "utf8"_a, "add_special"_a, "parse_special"_a)
      .def("detokenize", &detokenize, "ids"_a, "special"_a)
      .def("piece", &piece, "token"_a, "special"_a)
      .def("control_tokens", &control_tokens)
      .def(
          "is_end_of_generation",
          [](const ModelCore& core, i64 token) {
            const Tokenizer& tokenizer = core.model().tokenizer();
            return token >= 0 && token < i64(tokenizer.size()) &&
                   tokenizer.is_end_of_generation(static_cast<Token>(token));
          },
          "token"_a)
      .def_property_readonly("prefix_cache_bytes",
                             [](const ModelCore& core) { return core.model().prefix_cache_bytes(); })
      .def("choose_isa", &choose_isa)
      .def("tune", &tune, "objective"_a, "cache_file"_a, "refresh"_a)
      .def("fingerprint", &fingerprint, "progress"_a, "anew"_a);
}

}  // namespace flyball::bind
