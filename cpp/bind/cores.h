// The classes that Python sees. ModelCore may be used from many threads; a SessionCore serves one call at a time.
#pragma once

#include <map>
#include <optional>

#include "bind/bind.h"

namespace flyball::bind {

using Words = std::map<std::string, std::string>;  // configuration key -> value as written
governor::Settings read_governor(const Words& words);

struct JournalCore {
  std::shared_ptr<journal::Journal> journal;
  bool content;  // prompts and answers are wanted, too
  JournalCore(std::shared_ptr<journal::Journal> made, bool wanted) : journal(std::move(made)), content(wanted) {}
};

struct ModelCore {
  std::shared_ptr<ModelOwner> owner;  // null once closed; sessions keep the model alive on their own
  explicit ModelCore(std::shared_ptr<ModelOwner> model) : owner(std::move(model)) {}
  std::shared_ptr<ModelOwner> acquire() const;  // to be held wherever the GIL is released: close() may come meanwhile
  engine::Model& model() const { return *acquire()->model; }
};

struct AdapterCore {
  std::shared_ptr<ModelOwner> owner;  // outlives the adapter
  engine::AdapterRef adapter;
};
// From what Python gives: an AdapterCore or None, and a scale.
engine::AdapterSetting read_adapter(py::handle adapter, f32 scale);

struct SessionCore {
  std::shared_ptr<SessionOwner> owner;
  explicit SessionCore(std::shared_ptr<SessionOwner> session) : owner(std::move(session)) {}
};

// A logits processor in Python: f(ids, logits) -> None or logits. What it raises is kept for the caller, whose call
// ends with an error.
struct PythonProcessor {
  py::object function;  // null: none
  std::string name;
  py::object raised;
  runtime::LogitsProcessor processor();
  void rethrow();  // with the GIL held
};

// A constraint in Python: an object with kind, library, text, and start(), which gives an object with `mask` (32-bit words)
// and advance(token or None), which fills it for the place after that token, and raises what ends the answer.
struct MaskWork;
struct PythonConstraint {
  py::object source;  // null: none
  std::string kind, library, text;
  std::shared_ptr<MaskWork> work;
  PythonConstraint() = default;
  PythonConstraint(const PythonConstraint&) = delete;
  PythonConstraint& operator=(const PythonConstraint&) = delete;
  ~PythonConstraint();
  void read(const py::object& from);
  runtime::Constraint constraint();
  void start();  // once, before the answer begins
  void end();    // lets go of the objects; with the GIL held, like all but the core's calls
  py::object raised() const;
  void rethrow();
};

struct GenerationCore {
  std::shared_ptr<SessionOwner> session;
  std::shared_ptr<SessionOwner> draft;  // null: drafts by prompt lookup, if at all
  // What the core borrows for the whole generation.
  std::vector<std::string> stop_texts;
  std::vector<Str> stops;
  std::vector<Token> stop_tokens;
  std::vector<runtime::LogitBias> bias;
  std::string prefix_root;
  std::vector<Token> known;
  PythonProcessor processor;
  PythonConstraint constraint;
  engine::AdapterSetting adapter;
  std::atomic<bool> cancelled = false;
  engine::Generation* generation = nullptr;
  std::string text;  // of all steps so far

  GenerationCore() = default;
  GenerationCore(const GenerationCore&) = delete;
  GenerationCore& operator=(const GenerationCore&) = delete;
  ~GenerationCore() {
    if (generation) engine::Generation::release(generation);
  }
};

// What the policy (a PolicyCore) gives to an answer.
void give(py::handle policy, const engine::Session& session, engine::GenerateOptions* options);

// Exclusive use of a generation's draft session, where it has one.
class UseDraft {
 public:
  explicit UseDraft(const GenerationCore& core) {
    if (core.draft) use_.emplace(*core.draft);
  }

 private:
  std::optional<Use> use_;
};

}  // namespace flyball::bind
