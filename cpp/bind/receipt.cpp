// Digests, receipts and their verification for Python. A receipt crosses the border as its JSON text.
#include "receipt/receipt.h"

#include "bind/cores.h"
#include "engine/version.h"
#include "host/host.h"

namespace flyball::bind {
namespace {

// The receipt of an answer that is done, without fingerprint and digest: text that needs neither session nor model. The
// session may serve another answer by now: nothing of that is read.
py::str draft(const GenerationCore& core) {
  std::optional<Use> use;
  if (core.generation->stop_reason() == engine::StopReason::none) use.emplace(*core.session);
  Arena arena(core.session->session->model().platform());
  return text(unwrap(receipt::write_receipt(arena, unwrap(receipt::draft_receipt(arena, *core.generation)))));
}

// (digest, receipt) of a draft, with the model's fingerprint.
py::tuple seal(const std::string& draft, const std::string& fingerprint) {
  Arena arena(host::host_platform());
  Digest digest;
  if (!parse_hex(str(fingerprint), &digest)) raise("invalid_argument", "fingerprint", "must be 64 hexadecimal digits");
  receipt::Receipt receipt = unwrap(receipt::parse_receipt(arena, str(draft)));
  receipt::seal(&receipt, digest);
  return py::make_tuple(hex(receipt.digest), text(unwrap(receipt::write_receipt(arena, receipt))));
}

// Raises unless the text is a receipt that the core can read; gives the digest and the model's fingerprint in it, and the
// request's key.
py::tuple parse_receipt(const std::string& json) {
  Arena arena(host::host_platform());
  const receipt::Receipt receipt = unwrap(receipt::parse_receipt(arena, str(json)));
  return py::make_tuple(hex(receipt.digest), hex(receipt.content.fingerprint),
                        hex(runtime::request_key(receipt.content)));
}

py::dict verify(const std::string& json, const ModelCore& core, py::object progress, py::object processor,
                const std::vector<std::shared_ptr<AdapterCore>>& adapters, const py::object& constraint) {
  const std::shared_ptr<ModelOwner> held = core.acquire();
  Arena arena(host::host_platform());
  const receipt::Receipt receipt = unwrap(receipt::parse_receipt(arena, str(json)));
  Call call(host::host_platform(), std::move(progress));
  PythonProcessor with;
  if (!processor.is_none()) with.function = std::move(processor);
  PythonConstraint masks;
  if (!constraint.is_none()) masks.read(constraint);
  masks.start();
  std::vector<engine::AdapterRef> at_hand;
  for (const auto& adapter : adapters) at_hand.push_back(adapter->adapter);
  const auto repeat = [&] {
    const GilReleased unlocked;
    return receipt::verify_receipt(receipt, *held->model, call.cancel_token(), call.progress(), with.processor(),
                                   {at_hand.data(), at_hand.size()}, masks.constraint());
  };
  Result<receipt::VerifyReport> repeated = repeat();
  call.rethrow();
  // Not of an answer that was repeated: the mask after its last token, which nobody needs, may have raised.
  if (!repeated.ok() || repeated.value().difference == receipt::Difference::settings) {
    with.rethrow();
    masks.rethrow();
  }
  const receipt::VerifyReport report = unwrap(std::move(repeated));
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
  module.def("receipt_draft", &draft, "generation"_a);
  module.def("receipt_seal", &seal, "draft"_a, "fingerprint"_a);
  module.def("receipt_parse", &parse_receipt, "json"_a);
  module.def("receipt_verify", &verify, "json"_a, "model"_a, "progress"_a, "logits_processor"_a, "adapters"_a,
             "constraint"_a);
}

}  // namespace flyball::bind
