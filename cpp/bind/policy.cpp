// PolicyCore: an policy::Policy for Python. It serves one call at a time; a second thread waits for the first.
#include "bind/cores.h"

#include <mutex>

#include "policy/policy.h"

namespace flyball::bind {
namespace {

using governor::policy::Action;
using governor::policy::TunableLimits;

class PolicyCore {
 public:
  PolicyCore(const ModelCore& model, const Words& settings, u32 context, const std::string& cache, u32 max_tokens,
             const std::string& file)
      : model_(model.acquire()) {
    policy::PolicyOptions options;
    options.settings = read_governor(settings);
    options.context = context;
    options.cache = unwrap(engine::parse_cache_type(str(cache)));
    options.max_tokens = max_tokens;
    options.file = str(file);
    policy_ = unwrap(policy::Policy::create(*model_->model, options));
  }
  ~PolicyCore() { policy::Policy::release(policy_); }
  PolicyCore(const PolicyCore&) = delete;
  PolicyCore& operator=(const PolicyCore&) = delete;

  // Runs `function(policy)` without the GIL: a thread that waits for another's question to the model must not hold what that
  // one takes when it looks for signals.
  template <class Function>
  auto hold(Function&& function) {
    const GilReleased unlocked;
    const std::scoped_lock locked(lock_);
    return function(*policy_);
  }

  // Runs `function(policy, control)`. What it raises is raised after.
  template <class Function>
  void run(SessionOwner& owner, Function&& function, Use::For purpose = Use::For::work) {
    const Use use(owner, purpose);
    Call call(model_->model->platform());
    const Status status = hold([&](policy::Policy& policy) { return function(policy, call.cancel_token()); });
    call.rethrow();
    check(status);
  }

  void turn_ended(const GenerationCore& core) {
    const std::shared_ptr<SessionOwner> session = core.session;
    run(
        *session,
        [&](policy::Policy& policy, engine::CancelToken cancel) { return policy.turn_ended(*core.generation, cancel); },
        Use::For::batch);
  }
  void session_ended(const SessionCore& core) {
    const std::shared_ptr<SessionOwner> held = core.owner;
    run(*held, [&](policy::Policy& policy, engine::CancelToken cancel) {
      return policy.session_ended(*held->session, cancel);
    });
  }
  void consult(const SessionCore& core) {
    const std::shared_ptr<SessionOwner> held = core.owner;
    run(*held,
        [&](policy::Policy& policy, engine::CancelToken cancel) { return policy.consult(*held->session, cancel); });
  }
  void consult_mock(const SessionCore& core, const std::string& action) {
    const Action chosen = unwrap(governor::policy::parse_action(str(action)));
    const std::shared_ptr<SessionOwner> held = core.owner;
    run(*held,
        [&](policy::Policy& policy, engine::CancelToken) { return policy.consult_mock(*held->session, chosen); });
  }
  // Scores of all actions, in their order.
  std::vector<float> ask_model(const std::string& situation) {
    std::vector<float> scores(governor::policy::n_actions);
    Call call(model_->model->platform());
    const Status status = hold([&](policy::Policy& policy) {
      return policy.ask_model(str(situation), call.cancel_token(), {scores.data(), scores.size()});
    });
    call.rethrow();
    check(status);
    return scores;
  }
  void give(const engine::Session& session, engine::GenerateOptions* options) {
    hold([&](policy::Policy& policy) { policy.give(session, options); });
  }
  void ask_for(u32 context, const std::string& cache, u32 max_tokens) {
    const engine::CacheType type = unwrap(engine::parse_cache_type(str(cache)));
    check(hold([&](policy::Policy& policy) { return policy.ask_for(context, type, max_tokens); }));
  }
  void govern(const Words& words) {
    const governor::Settings settings = read_governor(words);
    check(hold([&](policy::Policy& policy) { return policy.govern(settings); }));
  }

  py::dict state() {
    std::vector<journal::Reason> reasons;
    const policy::Policy::State state = hold([&](const policy::Policy& policy) {
      reasons.assign(policy.decisions().begin(), policy.decisions().end());
      return policy.state();
    });
    py::dict outcomes;
    for (u32 i = 0; i < governor::policy::n_actions; ++i) {
      const auto& o = state.history.outcomes[i];
      outcomes[text(governor::policy::info(Action(i)).name)] =
          py::make_tuple(o.improved, o.regressed, o.inconclusive, o.history, o.unchanged);
    }
    py::list decided, acted;
    for (const journal::Reason reason : reasons) {
      decided.append(text(journal::info(reason).id));
      if (governor::policy::acted(reason)) acted.append(text(journal::info(reason).id));
    }
    py::dict d;
    d["mode"] = text(governor::policy::mode_name(state.history.mode));
    d["requested"] = tuple_of(state.base);
    d["current"] = tuple_of(state.now);
    d["troubled_turns"] = state.bad;
    d["calm_turns"] = state.calm;
    d["steps"] = state.steps;
    d["hard_stopped"] = state.hard_stopped;
    d["judging"] = state.trial == Action::stay ? py::object(py::none())
                                               : py::object(text(governor::policy::info(state.trial).name));
    d["judged_answers"] = state.after.n;
    d["outcomes"] = outcomes;
    d["last_reasons"] = decided;
    d["changed"] = acted;
    return d;
  }

 private:
  static py::tuple tuple_of(const TunableLimits& c) {
    return py::make_tuple(c.context, c.max_tokens, text(engine::cache_type_name(policy::cache_of(c.cache_bits))));
  }

  std::mutex lock_;
  std::shared_ptr<ModelOwner> model_;
  policy::Policy* policy_ = nullptr;
};

// (name, metric that it should lower)
py::list policy_actions() {
  py::list list;
  for (const governor::policy::ActionInfo& action : governor::policy::actions())
    list.append(py::make_tuple(text(action.name), text(governor::policy::metric_name(action.metric))));
  return list;
}

}  // namespace

void give(py::handle policy, const engine::Session& session, engine::GenerateOptions* options) {
  policy.cast<PolicyCore&>().give(session, options);
}

void bind_policy(py::module_& module) {
  using namespace py::literals;
  module.def("policy_actions", &policy_actions);
  py::class_<PolicyCore, std::shared_ptr<PolicyCore>>(module, "PolicyCore")
      .def(py::init<const ModelCore&, const Words&, u32, const std::string&, u32, const std::string&>(), "model"_a,
           "settings"_a, "context"_a, "cache"_a, "max_tokens"_a, "file"_a)
      .def("turn_ended", &PolicyCore::turn_ended, "generation"_a)
      .def("session_ended", &PolicyCore::session_ended, "session"_a)
      .def("consult", &PolicyCore::consult, "session"_a)
      .def("consult_mock", &PolicyCore::consult_mock, "session"_a, "action"_a)
      .def("ask_model", &PolicyCore::ask_model, "situation"_a)
      .def("request", &PolicyCore::ask_for, "context"_a, "cache"_a, "max_tokens"_a)
      .def("govern", &PolicyCore::govern, "settings"_a)
      .def("state", &PolicyCore::state);
}

}  // namespace flyball::bind
