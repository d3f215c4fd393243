// The extension module: what its files share, and the list of them.
#include "bind/bind.h"

#include "host/host.h"

namespace flyball::bind {
namespace {

constexpr u64 look_every_ns = 20'000'000;

unsigned long main_thread_id = 0;  // of Python's main thread: signals are handled there alone

unsigned long find_main_thread() {
  return py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
}

py::object make_exception(const char* code, py::str where, py::str what, py::object offset) {
  return py::module_::import("flyball.errors").attr("from_core")(code, where, what, offset);
}

}  // namespace

void raise(const char* code, const std::string& where, const std::string& what, py::object offset) {
  const py::object exception = make_exception(code, text(str(where)), text(str(what)), std::move(offset));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

void raise(const Error& error) {
  const py::object raised = exception(error);
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
  throw py::error_already_set();
}

py::object exception(const Error& error) {
  const py::object offset =
      error.offset == Error::no_offset ? py::object(py::none()) : py::object(py::int_(error.offset));
  return make_exception(string(code_name(error.code)).c_str(), text(error.where.str()), text(error.what.str()), offset);
}

py::str text(Str s) {
  PyObject* decoded = PyUnicode_DecodeUTF8(s.data, static_cast<Py_ssize_t>(s.size), "replace");
  if (!decoded) throw py::error_already_set();
  return py::reinterpret_steal<py::str>(decoded);
}

py::str hex(const Digest& digest) {
  char digits[64];
  flyball::hex(digest, digits);
  return text({digits, sizeof digits});
}

std::vector<Token> tokens_from(py::handle ids, u32 n_vocab, const char* where) {
  std::vector<Token> tokens;
  const auto add = [&](long long id) {
    if (id < 0 || id >= static_cast<long long>(n_vocab)) {
      raise("invalid_argument", where,
            "[" + std::to_string(tokens.size()) + "] is " + std::to_string(id) + "; token ids go from 0 to " +
                std::to_string(n_vocab - 1));
    }
    tokens.push_back(static_cast<Token>(id));
  };
  if (py::isinstance<py::str>(ids) || py::isinstance<py::bytes>(ids))
    raise("invalid_argument", where, "is text; token ids are expected");
  for (const py::handle item : py::iter(ids)) {
    const py::object index = py::reinterpret_steal<py::object>(PyNumber_Index(item.ptr()));
    if (!index) throw py::error_already_set();
    int overflow = 0;
    const long long id = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    add(overflow ? -1 : id);
  }
  return tokens;
}

py::list list_of(Span<const Token> tokens) {
  py::list list(tokens.size);
  for (u64 i = 0; i < tokens.size; ++i) list[i] = py::int_(tokens[i]);
  return list;
}

Call::Call(const Platform& platform, py::object progress, const std::atomic<bool>* stop)
    : platform_(platform),
      progress_(std::move(progress)),
      stop_(stop),
      main_thread_(PyThread_get_thread_ident() == main_thread_id),
      next_ns_(now_ns(platform) + look_every_ns) {}

bool Call::due() {
  const u64 now = now_ns(platform_);
  if (now < next_ns_) return false;
  next_ns_ = now + look_every_ns;
  return true;
}

bool Call::signalled() {  // the GIL is held
  if (!main_thread_ || PyErr_CheckSignals() == 0) return false;
  raised_ = std::make_unique<py::error_already_set>();
  return true;
}

bool Call::stop(void* self) {
  Call& call = *static_cast<Call*>(self);
  if (call.raised_) return true;
  if (call.stop_ && call.stop_->load(std::memory_order_relaxed)) return true;
  if (!call.main_thread_ || !call.due()) return false;
  const py::gil_scoped_acquire gil;
  return call.signalled();
}

bool Call::report(void* self, Str phase, u64 done, u64 total) {
  Call& call = *static_cast<Call*>(self);
  if (call.raised_) return false;
  if (call.stop_ && call.stop_->load(std::memory_order_relaxed)) return false;
  if (call.reported_ && !call.due() && done != total) return true;
  call.reported_ = true;
  const py::gil_scoped_acquire gil;
  if (call.signalled()) return false;
  if (call.progress_.is_none()) return true;
  try {
    call.progress_(text(phase), done, total);
  } catch (py::error_already_set& error) {
    call.raised_ = std::make_unique<py::error_already_set>(std::move(error));
    return false;
  }
  return true;
}

void Call::rethrow() {
  if (!raised_) return;
  const std::unique_ptr<py::error_already_set> raised = std::move(raised_);
  raised->restore();
  throw py::error_already_set();
}

PYBIND11_MODULE(_core, module) {
  module.doc() = "The core of Flyball. Use the flyball package: this module may change with any release.";
  main_thread_id = find_main_thread();
  host::host_platform();  // the calibration of the cycle counter starts here
  bind_model(module);
  bind_session(module);
  bind_receipt(module);
  bind_config(module);
  bind_bandwidth(module);
  bind_catalog(module);
  bind_journal(module);
  bind_policy(module);
}

}  // namespace flyball::bind
