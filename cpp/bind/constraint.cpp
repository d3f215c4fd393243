// A constraint whose masks Python computes. What was chosen is told to one thread of the process at once, which computes
// the next mask beside the forward pass. Whoever needs a mask that no one has begun computes it itself, so an answer never
// depends on that thread: it may be busy, or gone with a fork.
#include <pthread.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "bind/cores.h"

namespace flyball::bind {

// The masks of one answer. Python's lock is never asked for with this one held.
struct MaskWork {
  enum class State : u8 { wanted, running, ready, failed };
  std::mutex lock;
  std::condition_variable changed;
  State state = State::ready;
  i64 position = -1;  // of the answer, whose mask this is
  Token token = tokenizer::no_token;
  pid_t process = 0;   // that is running it
  bool ended = false;  // nobody waits any more
  // With Python's lock:
  py::object masks;  // has advance(token or None) and the bit mask that it fills
  py::object buffer;
  py::object raised;
  Span<const u32> mask;

  void want(i64 at, Token chosen) {
    const std::scoped_lock locked(lock);
    if (state == State::failed || ended || position == at) return;
    state = State::wanted;
    position = at;
    token = chosen;
  }

  // Computes what is wanted, unless someone has begun; with Python's lock.
  void compute() {
    const py::object using_masks = masks;
    {
      const std::scoped_lock locked(lock);
      if (state != State::wanted || ended) return;
      state = State::running;
      process = getpid();
    }
    State now = State::ready;
    try {
      const py::object argument = token == tokenizer::no_token ? py::object(py::none()) : py::object(py::int_(token));
      call_python(py::object(using_masks.attr("advance")), py::make_tuple(argument));
    } catch (py::error_already_set& error) {
      now = State::failed;
      raised = error.value();
      if (error.trace()) PyException_SetTraceback(raised.ptr(), error.trace().ptr());
    }
    const std::scoped_lock locked(lock);
    state = now;
    changed.notify_all();
  }
};

namespace {

// The thread, and what it is told.
struct Helper {
  std::mutex lock;
  std::condition_variable told;
  std::deque<std::shared_ptr<MaskWork>> waiting;
  bool started = false;

  void run() {
    for (;;) {
      std::unique_lock locked(lock);
      told.wait(locked, [this] { return !waiting.empty(); });
      std::shared_ptr<MaskWork> work = std::move(waiting.front());
      waiting.pop_front();
      locked.unlock();
      const GilHeld with_python;
      work->compute();
      work.reset();  // it may hold the last reference to objects
    }
  }
};

Helper* helper() {
  static Helper* only = nullptr;
  if (only) return only;
  only = new Helper;  // never destroyed: its thread does not end
  pthread_atfork([] { only->lock.lock(); }, [] { only->lock.unlock(); }, [] { only = new Helper; });
  return only;
}

void tell(std::shared_ptr<MaskWork> work) {
  Helper& to = *helper();
  const std::scoped_lock locked(to.lock);
  if (!to.started) {
    try {
      std::thread([&to] { to.run(); }).detach();
    } catch (const std::system_error&) {
      return;  // no thread to be had: who needs the mask computes it
    }
    to.started = true;
  }
  to.waiting.push_back(std::move(work));
  to.told.notify_one();
}

void chosen(void* context, Token token) {
  const std::shared_ptr<MaskWork>& work = static_cast<PythonConstraint*>(context)->work;
  work->want(work->position + 1, token);
  tell(work);
}

Result<Span<const u32>> allowed(void* context, Span<const Token> answer) {
  using State = MaskWork::State;
  MaskWork& work = *static_cast<PythonConstraint*>(context)->work;
  work.want(i64(answer.size), answer.empty() ? tokenizer::no_token : answer[answer.size - 1]);
  std::unique_lock locked(work.lock);
  if (work.state == State::wanted) {
    locked.unlock();
    {
      const GilHeld with_python;
      work.compute();
    }
    locked.lock();
  }
  if (work.state == State::running && work.process != getpid())
    return fail(Code::internal, "constraint") << "was computing its mask when the process was forked; ask again";
  work.changed.wait(locked, [&work] { return work.state == State::ready || work.state == State::failed; });
  if (work.state == State::failed) return fail(Code::invalid_argument, "constraint") << "raised an exception";
  return work.mask;
}

}  // namespace

PythonConstraint::~PythonConstraint() { end(); }

void PythonConstraint::read(const py::object& from) {
  source = from;
  kind = from.attr("kind").cast<std::string>();
  library = from.attr("library").cast<std::string>();
  text = from.attr("text").cast<std::string>();
}

runtime::Constraint PythonConstraint::constraint() {
  if (!source) return {};
  return {this, &allowed, &chosen, str(kind), str(library), str(text)};
}

void PythonConstraint::start() {
  if (!source) return;
  work = std::make_shared<MaskWork>();
  work->masks = call_python(py::object(source.attr("start")), py::tuple());
  work->buffer = work->masks.attr("mask");
  const py::buffer_info view = py::buffer(work->buffer).request();
  if (view.itemsize != 4 || view.ndim != 1 || (view.size > 0 && view.strides[0] != 4))
    raise("internal", "constraint", "has no mask of 32-bit words");
  work->mask = {static_cast<const u32*>(view.ptr), static_cast<u64>(view.size)};
  work->want(0, tokenizer::no_token);
  tell(work);  // beside the prompt
}

void PythonConstraint::end() {
  source = {};
  if (!work) return;
  {
    const std::scoped_lock locked(work->lock);
    work->ended = true;
  }
  work->masks = {};
}

py::object PythonConstraint::raised() const { return work && work->raised ? work->raised : py::object(); }

void PythonConstraint::rethrow() {
  const py::object error = raised();
  if (!error) return;
  work->raised = {};
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(error.ptr())), error.ptr());
  throw py::error_already_set();
}

}  // namespace flyball::bind
