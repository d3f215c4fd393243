// AdapterCore: an engine::Adapter for Python.
#include "model/adapter.h"
#include "bind/cores.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

std::shared_ptr<AdapterCore> load_adapter(const ModelCore& core, const std::string& path) {
  auto adapter = std::make_shared<AdapterCore>();
  adapter->owner = core.acquire();
  Call call(adapter->owner->model->platform());
  adapter->adapter =
      call_core(call, [&] { return engine::Adapter::load(*adapter->owner->model, str(path), call.cancel_token()); });
  return adapter;
}

py::dict adapter_info(const AdapterCore& core) {
  const engine::Adapter& adapter = *core.adapter;
  py::dict d;
  d["name"] = text(adapter.name());
  d["fingerprint"] = hex(adapter.fingerprint());
  d["alpha"] = adapter.alpha();
  d["rank"] = adapter.rank();
  d["n_pairs"] = adapter.n_pairs();
  d["file_bytes"] = adapter.file_bytes();
  d["weight_bytes"] = adapter.weight_bytes();
  d["changes_logits"] = adapter.changes_logits();
  return d;
}

// What an adapter's file says without its model; None where the file is no adapter.
py::object describe_adapter(const std::string& path) {
  const Platform& platform = host::host_platform();
  const Span<const u8> bytes = unwrap(platform.map(platform.self, str(path)));
  py::object described = py::none();
  const Status status = [&]() -> Status {
    Arena arena(platform);
    const Result<gguf::File*> opened = gguf::File::open(arena, {&bytes, 1});
    if (!opened.ok() || !model::is_adapter(*opened.value())) return {};  // who loads it as a model tells what is wrong
    const gguf::File* const file = opened.value();
    model::AdapterDescription about;
    FLYBALL_ASSIGN(about, model::describe_adapter(*file));
    py::dict d;
    d["name"] = text(about.name);
    d["architecture"] = text(about.architecture);
    d["quantization"] = text(engine::quantization_of(*file));
    d["alpha"] = about.alpha;
    d["rank"] = about.largest_rank;
    d["n_pairs"] = about.n_pairs;
    d["file_bytes"] = bytes.size;
    d["fingerprint"] = hex(engine::file_fingerprint(bytes));
    described = d;
    return {};
  }();
  platform.unmap(platform.self, bytes);
  check(status);
  return described;
}

}  // namespace

engine::AdapterSetting read_adapter(py::handle adapter, f32 scale) {
  if (adapter.is_none()) return {};
  return {adapter.cast<const AdapterCore&>().adapter, scale};
}

void bind_adapter(py::module_& module) {
  using namespace py::literals;
  module.def("describe_adapter", &describe_adapter, "path"_a);
  module.def(
      "adapter_argument",
      [](const std::string& argument) {
        const engine::AdapterArgument parsed = engine::parse_adapter_argument(str(argument));
        return py::make_tuple(py::bytes(string(parsed.path)), parsed.scale);
      },
      "argument"_a);
  py::class_<AdapterCore, std::shared_ptr<AdapterCore>>(module, "AdapterCore")
      .def_static("load", &load_adapter, "model"_a, "path"_a)
      .def("info", &adapter_info);
}

}  // namespace flyball::bind
