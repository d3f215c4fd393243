// Digests, receipts and their verification for Python. A receipt crosses the border as its JSON text.
#include "receipt/receipt.h"

#include "bind/cores.h"
#include "engine/version.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

// (digest, receipt) of an answer that is done, whose session may serve another by now: nothing of that is read. The
// first of a model hashes its file, hence without the GIL.
py::tuple make(const GenerationCore& core) {
  const std::shared_ptr<SessionOwner> held = core.session;
  std::optional<Use> use;
  if (core.generation->stop_reason() == engine::StopReason::none) use.emplace(*held);
  Arena arena(held->session->model().platform());
  Digest digest;
  Str json;
  call_core([&]() -> Status {
    receipt::Receipt receipt;
    FLYBALL_ASSIGN(receipt, receipt::make_receipt(arena, *core.generation));
    FLYBALL_ASSIGN(json, receipt::write_receipt(arena, receipt));
    digest = receipt.digest;
    return {};
  });
  return py::make_tuple(hex(digest), text(json));
}

// Raises unless the text is a receipt that the core can read; gives the digest and the model's fingerprint in it.
py::tuple parse_receipt(const std::string& json) {
  Arena arena(host::host_platform());
  const receipt::Receipt receipt = unwrap(receipt::parse_receipt(arena, str(json)));
  return py::make_tuple(hex(receipt.digest), hex(receipt.content.fingerprint));
}

py::dict verify(const std::string& json, const ModelCore& core, py::object progress) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  Arena arena(host::host_platform());
  const receipt::Receipt receipt = unwrap(receipt::parse_receipt(arena, str(json)));
  Call call(host::host_platform(), std::move(progress));
  const receipt::VerifyReport report = call_core(
      call, [&] { return receipt::verify_receipt(receipt, *held->model, call.cancel_token(), call.progress()); });
  py::dict d;
  d["verified"] = report.verified;
  d["difference"] = text(receipt::difference_name(report.difference));
  d["position"] = report.position;
  d["n_compared"] = report.n_compared;
  d["message"] = text(report.message.str());
  d["digest"] = hex(receipt.digest);
  return d;
}

}  // namespace

void bind_receipt(py::module_& module) {
  using namespace py::literals;
  module.attr("version") = text(engine::version);
  module.def("receipt_make", &make, "generation"_a);
  module.def("receipt_parse", &parse_receipt, "json"_a);
  module.def("receipt_verify", &verify, "json"_a, "model"_a, "progress"_a);
}

}  // namespace flyball::bind
