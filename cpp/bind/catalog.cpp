// Files for Python: models listed, and any file replaced as the core replaces its own.
#include "catalog/catalog.h"

#include "bind/bind.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

py::dict dict_of(const catalog::ModelSummary& summary) {
  char buffer[512];
  Writer line(buffer, sizeof buffer);
  catalog::put_summary(line, summary);
  py::dict d;
  d["file"] = py::bytes(string(summary.path));
  d["bytes"] = summary.bytes;
  d["parts"] = summary.n_parts;
  d["name"] = text(summary.name);
  d["architecture"] = text(summary.architecture);
  d["type"] = text(summary.type);
  d["n_parameters"] = summary.n_parameters;
  d["context"] = summary.context;
  d["n_vocab"] = summary.n_vocab;
  d["problem"] = text(summary.problem);
  d["summary"] = text(line.text());
  return d;
}

py::list list(const std::string& folder, const std::string& cache) {
  catalog::Catalog catalog(host::host_platform(), str(cache));
  const Span<const catalog::ModelSummary> found = call_core([&] { return catalog.list(str(folder)); });
  py::list rows;
  for (const catalog::ModelSummary& summary : found) rows.append(dict_of(summary));
  return rows;
}

py::dict summarize(const std::string& file, const std::string& cache) {
  catalog::Catalog catalog(host::host_platform(), str(cache));
  return dict_of(call_core([&] { return catalog.summarize(str(file)); }));
}

void write_file(const std::string& path, const py::bytes& content) {
  const std::string_view bytes = content;
  const Platform& platform = host::host_platform();
  call_core([&] {
    return platform.write_file(platform.self, str(path), {reinterpret_cast<const u8*>(bytes.data()), bytes.size()});
  });
}

}  // namespace

void bind_catalog(py::module_& module) {
  using namespace py::literals;
  module.def("write_file", &write_file, "path"_a, "content"_a);
  module.def("catalog_list", &list, "folder"_a, "cache"_a);
  module.def("catalog_summarize", &summarize, "file"_a, "cache"_a);
}

}  // namespace flyball::bind
