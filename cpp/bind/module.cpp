// The extension module: what its files share, and the list of them.
#include "bind/bind.h"

#include <thread>

#include "host/host.h"

namespace flyball::bind {
namespace {

constexpr u64 look_every_ns = 20'000'000;

std::string shown(py::handle value) {
  const auto ascii = py::reinterpret_steal<py::object>(run_python([&] { return PyObject_ASCII(value.ptr()); }));
  if (!ascii) throw py::error_already_set();
  return ascii.cast<std::string>();
}

unsigned long main_thread_id = 0;  // of Python's main thread: signals are handled there alone

unsigned long find_main_thread() {
  return py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
}

py::object make_exception(const char* code, py::str where, py::str what, py::object offset) {
  return call_python(import("flyball.errors").attr("from_core"), py::make_tuple(code, where, what, offset));
}

// Any other error is raised as it is: the caller's own, or Ctrl-C.
void clear_type_error() {
  if (!PyErr_ExceptionMatches(PyExc_TypeError)) throw py::error_already_set();
  PyErr_Clear();
}

}  // namespace

Use::Use(SessionOwner& owner, For purpose) : owner_(owner) {
  const bool looks = purpose == For::looking && owner.reserved.load();
  const auto take = [&] {
    return (purpose != For::batch || owner.n_looking.load() == 0) && !owner.busy.exchange(true);
  };
  bool taken = take();
  // When the interpreter ends, the session's thread stays in its call for ever.
  if (!taken && (looks || purpose == For::batch) && !interpreter_ends()) {
    const GilReleased unlocked;
    owner.n_looking += looks;
    while (!take()) std::this_thread::yield();
    owner.n_looking -= looks;
    taken = true;
  }
  if (!taken)
    raise("busy", "session",
          "is in use by another thread; a session serves one call at a time, so give each thread its own");
  if (purpose == For::work && owner.reserved.load()) {
    owner.busy.store(false);
    raise("busy", "session",
          "computes an answer in the model's batch; await that one first, or use another session for this call");
  }
}

void raise(const char* code, const std::string& where, const std::string& what, py::object offset) {
  const py::object exception = make_exception(code, text(str(where)), text(str(what)), std::move(offset));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw py::error_already_set();
}

void raise(const Error& error) { raise(exception(error)); }

void raise(const py::object& raised) {
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(raised.ptr())), raised.ptr());
  throw py::error_already_set();
}

py::object exception(const Error& error) {
  const py::object offset =
      error.offset == Error::no_offset ? py::object(py::none()) : py::object(py::int_(error.offset));
  return make_exception(string(code_name(error.code)).c_str(), text(error.where.str()), text(error.what.str()), offset);
}

py::object import(const char* module) {
  PyObject* const imported = run_python([&] { return PyImport_ImportModule(module); });
  if (!imported) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(imported);
}

py::object call_python(py::handle function, const py::tuple& arguments) {
  PyObject* const result = run_python([&] { return PyObject_CallObject(function.ptr(), arguments.ptr()); });
  if (!result) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

// Not pybind11's array, whose first one imports numpy behind locks that do not stand the end of the interpreter.
FloatArray float_array(const py::tuple& shape) {
  py::object array = call_python(import("numpy").attr("empty"), py::make_tuple(shape, "float32"));
  float* const values = static_cast<float*>(py::buffer(array).request(true).ptr);
  return {std::move(array), values};
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
  const auto owned = [](PyObject* object) { return py::reinterpret_steal<py::object>(object); };
  const py::object items = owned(run_python([&] { return PyObject_GetIter(ids.ptr()); }));
  if (!items) {
    clear_type_error();
    raise("invalid_argument", where, "is " + shown(ids) + ", must be token ids");
  }
  while (const py::object item = owned(run_python([&] { return PyIter_Next(items.ptr()); }))) {
    const py::object index = owned(run_python([&] { return PyNumber_Index(item.ptr()); }));
    if (!index) {
      clear_type_error();
      raise("invalid_argument", where,
            "[" + std::to_string(tokens.size()) + "] is " + shown(item) + "; token ids are integers");
    }
    int overflow = 0;
    const long long id = PyLong_AsLongLongAndOverflow(index.ptr(), &overflow);
    add(overflow ? -1 : id);
  }
  if (PyErr_Occurred()) throw py::error_already_set();  // the iterator's own
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
      next_ns_(now_ns(platform) + look_every_ns) {
  if (!progress_.is_none() && !PyCallable_Check(progress_.ptr()))
    raise("invalid_argument", "progress", "is " + shown(progress_) + ", must be a function of (phase, done, total)");
}

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
  const GilHeld gil;
  return call.signalled();
}

bool Call::report(void* self, Str phase, u64 done, u64 total) {
  Call& call = *static_cast<Call*>(self);
  if (call.raised_) return false;
  if (call.stop_ && call.stop_->load(std::memory_order_relaxed)) return false;
  if (call.reported_ && !call.due() && done != total) return true;
  call.reported_ = true;
  const GilHeld gil;
  if (call.signalled()) return false;
  if (call.progress_.is_none()) return true;
  try {
    call_python(call.progress_, py::make_tuple(text(phase), done, total));
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
  bind_adapter(module);
  bind_session(module);
  bind_receipt(module);
  bind_config(module);
  bind_bandwidth(module);
  bind_catalog(module);
  bind_journal(module);
  bind_policy(module);
}

}  // namespace flyball::bind
