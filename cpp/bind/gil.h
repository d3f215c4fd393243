// Python's lock (GIL). Until Python 3.14 a thread that asks for it while the interpreter ends is ended by
// pthread_exit(), which unwinds its stack: a destructor on the way aborts the process, or gives back objects without the
// lock. Here such a thread stays where it is instead, as from 3.14 on everywhere, and ends with the process.
#pragma once

#include <Python.h>
#include <cxxabi.h>
#include <unistd.h>

namespace flyball::bind {

// Whether other threads that ask for the lock stay where they are.
inline bool interpreter_ends() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

[[noreturn]] inline void stay() {
  for (;;) pause();
}

// Runs `function`, a call of Python's C interface that may run Python code and so give the lock away for a while. There
// must be no objects on the way that unwinding would give back.
template <class Function>
auto run_python(Function&& function) {
  try {
    return function();
  } catch (abi::__forced_unwind&) {
    stay();  // inside the handler: to leave it would go on unwinding
  }
}

// Without the lock, for the time of its life.
class GilReleased {
 public:
  GilReleased() : state_(PyEval_SaveThread()) {}
  ~GilReleased() {
    run_python([this] { PyEval_RestoreThread(state_); });
  }
  GilReleased(const GilReleased&) = delete;
  GilReleased& operator=(const GilReleased&) = delete;

 private:
  PyThreadState* state_;
};

// With the lock, for the time of its life, on a thread that may have given it away.
class GilHeld {
 public:
  GilHeld() : state_(run_python(PyGILState_Ensure)) {}
  ~GilHeld() { PyGILState_Release(state_); }
  GilHeld(const GilHeld&) = delete;
  GilHeld& operator=(const GilHeld&) = delete;

 private:
  PyGILState_STATE state_;
};

}  // namespace flyball::bind
