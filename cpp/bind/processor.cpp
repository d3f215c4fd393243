// A logits processor in Python, called by the core without the GIL.
#include <pybind11/numpy.h>

#include "bind/cores.h"

namespace flyball::bind {
namespace {

// What the function made of `logits`: its own array or the changed one.
py::array_t<float> called(const py::object& function, Span<const Token> history, Span<const f32> logits) {
  py::array_t<i32> ids(static_cast<py::ssize_t>(history.size));
  memcpy(ids.mutable_data(), history.data, history.size * sizeof(Token));
  ids.attr("setflags")(py::arg("write") = false);
  py::array_t<float> row(static_cast<py::ssize_t>(logits.size));
  memcpy(row.mutable_data(), logits.data, logits.size * sizeof(f32));
  const py::object given = call_python(function, py::make_tuple(ids, row));
  using Row = py::array_t<float, py::array::c_style | py::array::forcecast>;
  const Row out = Row::ensure(given.is_none() ? py::object(row) : given);
  if (!out) PyErr_Clear();
  if (!out || out.ndim() != 1 || out.size() != static_cast<py::ssize_t>(logits.size)) {
    const std::string type = py::str(py::type::of(given).attr("__name__"));
    raise("invalid_argument", "logits_processor",
          "gave " + type + ", must give None or numbers of shape (" + std::to_string(logits.size) + ",)");
  }
  return out;
}

Status apply(void* context, Span<const Token> history, Span<f32> logits) {
  auto& self = *static_cast<PythonProcessor*>(context);
  const GilHeld locked;
  try {
    const py::array_t<float> out = called(self.function, history, logits);
    memcpy(logits.data, out.data(), logits.size * sizeof(f32));
    return {};
  } catch (py::error_already_set& error) {
    self.raised = error.value();
    if (error.trace()) PyException_SetTraceback(self.raised.ptr(), error.trace().ptr());
    return fail(Code::invalid_argument, "logits_processor") << "raised an exception";
  }
}

}  // namespace

runtime::LogitsProcessor PythonProcessor::processor() {
  if (!function) return {};
  return {this, &apply, str(name)};
}

void PythonProcessor::rethrow() {
  if (!raised) return;
  const py::object error = std::move(raised);
  raised = py::object();
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

}  // namespace flyball::bind
