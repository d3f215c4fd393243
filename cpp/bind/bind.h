// What the binding's files share: errors become exceptions here and nowhere else, and Ctrl-C reaches the core here.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bind/gil.h"
#include "engine/engine.h"

namespace flyball::bind {

namespace py = pybind11;
using tokenizer::Token;

py::object exception(const Error& error);  // what raise() would raise
// Raises the exception that flyball.errors has for the code. The GIL must be held.
[[noreturn]] void raise(const char* code, const std::string& where, const std::string& what,
                        py::object offset = py::none());
[[noreturn]] void raise(const Error& error);
[[noreturn]] void raise(const py::object& raised);
inline void check(const Status& status) {
  if (!status.ok()) raise(status.error());
}
template <class T>
T&& unwrap(Result<T>&& result) {
  if (!result.ok()) raise(result.error());
  return static_cast<T&&>(result.value());
}

// Python code, called from here.
py::object import(const char* module);
py::object call_python(py::handle function, const py::tuple& arguments);

// A new numpy array of float32, and where its values are.
struct FloatArray {
  py::object array;
  float* values;
};
FloatArray float_array(const py::tuple& shape);

inline Str str(const std::string& s) { return {s.data(), s.size()}; }
inline std::string string(Str s) { return {s.data, s.size}; }
py::str text(Str s);  // invalid UTF-8 becomes U+FFFD
py::str hex(const Digest& digest);

// Any iterable of integers, or an integer array; every id is checked against the vocabulary.
std::vector<Token> tokens_from(py::handle ids, u32 n_vocab, const char* where);
py::list list_of(Span<const Token> tokens);

// One call into the core: a Control and a Progress that look for signals (on the main thread alone, and every 20 ms by the
// clock, because each look takes the GIL), for a stop flag, and report progress. What Python raises meanwhile is kept
// and the core asked to stop; rethrow() raises it once the core has returned and the GIL is held again.
class Call {
 public:
  explicit Call(const Platform& platform, py::object progress = py::none(), const std::atomic<bool>* stop = nullptr);
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  engine::CancelToken cancel_token() { return {this, &Call::stop, 0}; }
  engine::Progress progress() { return {this, &Call::report}; }
  void rethrow();

 private:
  static bool stop(void* self);
  static bool report(void* self, Str phase, u64 done, u64 total);
  bool due();
  bool signalled();

  const Platform& platform_;
  py::object progress_;
  const std::atomic<bool>* stop_;
  bool main_thread_;
  bool reported_ = false;
  u64 next_ns_;
  std::unique_ptr<py::error_already_set> raised_;
};

inline void value_of(Status&& status) { check(status); }
template <class T>
T value_of(Result<T>&& result) {
  return unwrap(std::move(result));
}

// Runs `function` (-> Status or Result) without the GIL, and gives the Result's value or raises its error.
template <class Function>
auto call_core(Function&& function) {
  auto outcome = [&] {
    const GilReleased unlocked;
    return function();
  }();
  return value_of(std::move(outcome));
}

// The same; what Python has raised in `call` meanwhile goes first.
template <class Function>
auto call_core(Call& call, Function&& function) {
  auto outcome = [&] {
    const GilReleased unlocked;
    return function();
  }();
  call.rethrow();
  return value_of(std::move(outcome));
}

// Owners keep what they depend on alive: a session its model, a generation its session, whatever order Python forgets them in.
struct ModelOwner {
  std::shared_ptr<journal::Journal> journal;  // null: no journal
  engine::Model* model = nullptr;
  ModelOwner() = default;
  ModelOwner(const ModelOwner&) = delete;
  ModelOwner& operator=(const ModelOwner&) = delete;
  ~ModelOwner();
  void survive_forks() const;  // once the model is loaded
};

struct SessionOwner {
  std::shared_ptr<ModelOwner> model;
  engine::Session* session = nullptr;
  std::atomic<bool> busy = false;      // in a call
  std::atomic<bool> reserved = false;  // for an answer of the model's batch, from its request to its end
  std::atomic<u32> n_looking = 0;      // calls that wait to look: the batch, which comes back at once, lets them in

  SessionOwner() = default;
  SessionOwner(const SessionOwner&) = delete;
  SessionOwner& operator=(const SessionOwner&) = delete;
  ~SessionOwner() {
    if (session) engine::Session::release(session);
  }
};

// Exclusive use of a session for one call; a second thread gets a clear error instead of a data race. The batch must
// never get that error, which would be for another's mistake: it waits for calls that look at its sessions, and those
// wait for its step. Other calls are refused while a session is reserved.
class Use {
 public:
  enum class For : u8 { work, looking, batch };
  explicit Use(SessionOwner& owner, For purpose = For::work);
  ~Use() { owner_.busy.store(false); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;

 private:
  SessionOwner& owner_;
};

// The part of each file in the module.
void bind_model(py::module_& module);
void bind_session(py::module_& module);
void bind_adapter(py::module_& module);
void bind_receipt(py::module_& module);
void bind_config(py::module_& module);
void bind_bandwidth(py::module_& module);
void bind_catalog(py::module_& module);
void bind_journal(py::module_& module);
void bind_policy(py::module_& module);

}  // namespace flyball::bind
