// SessionCore and GenerationCore: an engine::Session and an engine::Generation for Python.
#include "bind/cores.h"

#include <algorithm>
#include <deque>

#include "receipt/receipt.h"

namespace flyball::bind {
namespace {

const Platform& platform_of(const SessionOwner& owner) { return owner.session->model().platform(); }

std::shared_ptr<SessionCore> create(const ModelCore& model, u32 context, const std::string& cache, u32 threads,
                                    u32 decode_threads, u64 sequence, const Words& governor, py::handle adapter,
                                    f32 adapter_scale) {
  auto owner = std::make_shared<SessionOwner>();
  owner->model = model.acquire();
  engine::SessionOptions options;
  options.context = context;
  options.cache = unwrap(engine::parse_cache_type(str(cache)));
  options.threads = threads;
  options.decode_threads = decode_threads;
  options.sequence = sequence;
  options.governor = read_governor(governor);
  options.adapter = read_adapter(adapter, adapter_scale);
  owner->session = call_core([&] { return engine::Session::create(*owner->model->model, options); });
  return std::make_shared<SessionCore>(std::move(owner));
}

py::object logits(const SessionCore& core, py::handle ids, u32 batch, py::object progress) {
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  const u32 n_vocab = held->session->model().tokenizer().size();
  const std::vector<Token> tokens = tokens_from(ids, n_vocab, "ids");
  const FloatArray out = float_array(py::make_tuple(tokens.size(), n_vocab));
  Call call(platform_of(*held), std::move(progress));
  call_core(call, [&] {
    return held->session->logits({tokens.data(), tokens.size()}, batch, call.cancel_token(), call.progress(),
                                 {out.values, tokens.size() * n_vocab});
  });
  return out.array;
}

py::object last_logits(const SessionCore& core, py::handle ids, u32 batch, py::object progress) {
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  const u32 n_vocab = held->session->model().tokenizer().size();
  const std::vector<Token> tokens = tokens_from(ids, n_vocab, "ids");
  const FloatArray out = float_array(py::make_tuple(n_vocab));
  Call call(platform_of(*held), std::move(progress));
  call_core(call, [&] {
    return held->session->last_logits({tokens.data(), tokens.size()}, batch, call.cancel_token(), call.progress(),
                                      {out.values, n_vocab});
  });
  return out.array;
}

// [(token, text, logprob)]
py::list top_list(const engine::Model& model, Span<const runtime::TokenLogprob> top) {
  py::list list;
  for (const runtime::TokenLogprob& entry : top)
    list.append(py::make_tuple(entry.token, text(model.tokenizer().piece(entry.token, true)), entry.logprob));
  return list;
}

// (ids, logprobs of all but the first, for each of these the likeliest tokens)
py::tuple score(const SessionCore& core, py::handle ids, u32 n_top, u32 batch, py::object progress) {
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  const engine::Model& model = held->session->model();
  const u32 n_vocab = model.tokenizer().size();
  const std::vector<Token> tokens = tokens_from(ids, n_vocab, "ids");
  const size_t n = tokens.empty() ? 0 : tokens.size() - 1;
  n_top = min(n_top, n_vocab);
  std::vector<f32> logprobs(n);
  std::vector<runtime::TokenLogprob> top(n * n_top);
  Call call(platform_of(*held), std::move(progress));
  call_core(call, [&] {
    return held->session->score({tokens.data(), tokens.size()}, batch, call.cancel_token(), call.progress(),
                                {logprobs.data(), n}, n_top, {top.data(), top.size()});
  });
  py::list tops;
  for (size_t i = 0; i < n; ++i) tops.append(top_list(model, {top.data() + i * n_top, n_top}));
  return py::make_tuple(py::cast(tokens), py::cast(logprobs), tops);
}

py::object embed(const SessionCore& core, py::handle ids, const std::string& pooling, bool normalise, u32 batch) {
  using Pooling = engine::Session::Pooling;
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  Pooling how = Pooling::mean;
  if (pooling == "auto") {
    const model::Pooling file = held->session->model().config().pooling;
    if (file == model::Pooling::last) how = Pooling::last;
    if (file == model::Pooling::first) how = Pooling::first;
  } else if (pooling == "last") {
    how = Pooling::last;
  } else if (pooling == "first") {
    how = Pooling::first;
  } else if (pooling != "mean") {
    raise("invalid_argument", "pooling", "is '" + pooling + "'; use auto, mean, last or first");
  }
  const engine::Model& model = held->session->model();
  const std::vector<Token> tokens = tokens_from(ids, model.tokenizer().size(), "ids");
  const FloatArray out = float_array(py::make_tuple(model.config().n_embd));
  Call call(platform_of(*held));
  call_core(call, [&] {
    return held->session->embed({tokens.data(), tokens.size()}, how, normalise, batch, call.cancel_token(),
                                {out.values, model.config().n_embd});
  });
  return out.array;
}

py::dict phase_dict(const runtime::PhaseMetrics& phase) {
  py::dict d;
  d["calls"] = phase.calls;
  d["tokens"] = phase.tokens;
  d["cycles"] = phase.cycles;
  d["matrix_cycles"] = phase.matrix_cycles;
  d["attention_cycles"] = phase.attention_cycles;
  return d;
}

py::dict speculation_dict(const runtime::SpeculationMetrics& metrics) {
  py::dict d;
  d["calls"] = metrics.calls;
  d["drafted"] = metrics.drafted;
  d["accepted"] = metrics.accepted;
  return d;
}

std::string json_of(const auto& write) {
  char buffer[4096];
  Writer out(buffer, sizeof buffer);
  JsonWriter json(out);
  write(json);
  return string(out.text());
}

py::dict session_metrics(const SessionCore& core) {
  const Use use(*core.owner, Use::For::looking);
  const runtime::SessionMetrics& metrics = core.owner->session->metrics();
  py::dict d;
  d["prefill"] = phase_dict(metrics.prefill);
  d["decode"] = phase_dict(metrics.decode);
  d["speculation"] = speculation_dict(metrics.speculation);
  d["sample_cycles"] = metrics.sample_cycles;
  d["cache_resets"] = metrics.cache_resets;
  d["generations_started"] = metrics.generations_started;
  d["generations_completed"] = metrics.generations_completed;
  d["last_first_token_cycles"] = metrics.last_first_token_cycles;
  d["guard_trips"] = metrics.governor.guard_trips();
  d["governor_decisions"] = json_of([&](JsonWriter& json) { metrics.governor.write(json); });
  return d;
}

void reset(const SessionCore& core) {
  const Use use(*core.owner);
  core.owner->session->reset();
}

void set_adapter(const SessionCore& core, py::handle adapter, f32 scale) {
  const Use use(*core.owner);
  check(core.owner->session->set_adapter(read_adapter(adapter, scale)));
}

void govern(const SessionCore& core, const Words& words) {
  const Use use(*core.owner);
  check(core.owner->session->govern(read_governor(words)));
}

// (turn, reason_id, data), or None
py::object last_decision(const engine::LastDecision& last) {
  if (last.turn == 0) return py::none();
  return py::make_tuple(last.turn, text(journal::info(last.decision.reason).id), text(last.decision.data.str()));
}

py::dict governor(const SessionCore& core) {
  const Use use(*core.owner, Use::For::looking);
  const engine::Session& session = *core.owner->session;
  const governor::State& state = session.governor();
  py::dict d;
  d["settings"] = json_of([&](JsonWriter& json) { governor::write_settings(json, session.governor_settings()); });
  d["calibrated"] = governor::calibrated(session.governor_settings(), state);
  d["rest_cycles"] = state.baseline.rest_cycles;
  d["attention_cycles"] = state.baseline.attention_cycles;
  d["tightness"] = state.tightness;
  d["safe_turns_left"] = state.safe_turns_left;
  d["last_guard_stop"] = last_decision(session.last_guard_stop());
  d["last_autotune"] = last_decision(session.last_autotune());
  return d;
}

// (position, reason_id, data)
py::list decisions(const GenerationCore& core) {
  py::list list;
  for (const engine::Decision& decision : core.generation->decisions())
    list.append(py::make_tuple(decision.position, text(journal::info(decision.reason).id), text(decision.data.str())));
  return list;
}

void save(const SessionCore& core, const std::string& path) {
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  call_core([&] { return held->session->save(str(path)); });
}

void restore(const SessionCore& core, const std::string& path) {
  const std::shared_ptr<SessionOwner> held = core.owner;
  const Use use(*held);
  call_core([&] { return held->session->restore(str(path)); });
}

void read_bias(const py::dict& bias, u32 n_vocab, std::vector<runtime::LogitBias>& out) {
  for (const auto& [id, value] : bias) {
    py::list one;
    one.append(id);
    out.push_back({tokens_from(one, n_vocab, "logit_bias")[0], value.cast<float>()});
  }
}

// `options` has every key: flyball.GenerateOptions checks types and ranges first.
engine::GenerateOptions read_options(const py::dict& options, u32 n_vocab, GenerationCore& keep) {
  engine::GenerateOptions o;
  o.sampler.temperature = options["temperature"].cast<float>();
  o.sampler.top_k = options["top_k"].cast<u32>();
  o.sampler.top_p = options["top_p"].cast<float>();
  o.sampler.min_p = options["min_p"].cast<float>();
  o.sampler.repeat_penalty = options["repeat_penalty"].cast<float>();
  o.sampler.repeat_window = options["repeat_window"].cast<u32>();
  o.sampler.presence_penalty = options["presence_penalty"].cast<float>();
  o.sampler.frequency_penalty = options["frequency_penalty"].cast<float>();
  o.sampler.no_repeat_ngram = options["no_repeat_ngram"].cast<u32>();
  o.sampler.seed = options["seed"].cast<u64>();
  read_bias(options["logit_bias"].cast<py::dict>(), n_vocab, keep.bias);
  o.sampler.bias = {keep.bias.data(), keep.bias.size()};
  if (const py::object function = options["logits_processor"]; !function.is_none()) {
    keep.processor.function = function;
    keep.processor.name = options["logits_processor_name"].cast<std::string>();
    o.processor = keep.processor.processor();
  }
  if (const py::object constraint = options["constraint"]; !constraint.is_none()) {
    keep.constraint.read(constraint);
    o.constraint = keep.constraint.constraint();
  }
  o.max_tokens = options["max_tokens"].cast<u32>();
  keep.stop_texts = options["stop"].cast<std::vector<std::string>>();
  for (const std::string& stop : keep.stop_texts) keep.stops.push_back(str(stop));
  o.stops = {keep.stops.data(), keep.stops.size()};
  keep.stop_tokens = tokens_from(options["stop_token_ids"], n_vocab, "stop_token_ids");
  o.stop_tokens = {keep.stop_tokens.data(), keep.stop_tokens.size()};
  o.batch = options["batch"].cast<u32>();
  o.top_logprobs = options["top_logprobs"].cast<u32>();
  o.ignore_eos = options["ignore_eos"].cast<bool>();
  o.deadline_ns = options["deadline_ns"].cast<u64>();
  const std::string template_time = options["template_time"].cast<std::string>();
  o.template_time.assign(str(template_time));
  keep.known = tokens_from(options["known"], n_vocab, "known");
  o.known = {keep.known.data(), keep.known.size()};
  keep.prefix_root = options["prefix_root"].cast<std::string>();
  o.prefix_root = str(keep.prefix_root);
  const std::string speculate = options["speculate"].cast<std::string>();
  o.speculation.lookup = speculate != "off";
  o.speculation.always = speculate == "always";
  if (!options["draft"].is_none()) {
    keep.draft = options["draft"].cast<const SessionCore&>().owner;
    o.speculation.draft = keep.draft->session;
  }
  if (const py::object adapter = options["adapter"]; !py::isinstance<py::str>(adapter)) {  // else the session's
    keep.adapter = read_adapter(adapter, options["adapter_scale"].cast<float>());
    o.adapter = &keep.adapter;
  }
  return o;
}

// Raises what begin() would, for answers that begin later, and before any of them is computed.
void check_request(const SessionCore& core, py::handle prompt, const py::dict& options) {
  GenerationCore keep;
  const engine::Session& session = *core.owner->session;
  const u32 n_vocab = session.model().tokenizer().size();
  const std::vector<Token> ids = tokens_from(prompt, n_vocab, "prompt");
  check(engine::Generation::check(session, {ids.data(), ids.size()}, read_options(options, n_vocab, keep)));
}

// Of the answer that begin() would give.
py::str request_key(const SessionCore& core, py::handle prompt, const py::dict& options,
                    const std::string& fingerprint) {
  GenerationCore keep;
  const engine::Session& session = *core.owner->session;
  const u32 n_vocab = session.model().tokenizer().size();
  const std::vector<Token> ids = tokens_from(prompt, n_vocab, "prompt");
  const Span<const Token> span{ids.data(), ids.size()};
  const engine::GenerateOptions o = read_options(options, n_vocab, keep);
  check(engine::Generation::check(session, span, o));
  Digest digest;
  if (!parse_hex(str(fingerprint), &digest)) raise("invalid_argument", "fingerprint", "must be 64 hexadecimal digits");
  return hex(receipt::request_key(session, span, o, digest));
}

void reserve(const SessionCore& core) {
  const Use use(*core.owner);
  core.owner->reserved.store(true);
}

// Of a step. Known tokens are wrong in the place after the last one shown.
py::object exception_of(const GenerationCore& core, const Error& error) {
  const py::object raised = exception(error);
  if (error.code == Code::mismatch) raised.attr("position") = core.generation->tokens().size;
  return raised;
}

// What made a call fail, if it was Python's. Not asked where none failed: the mask after a good token may have raised
// already, and that belongs to the next step.
void rethrow(GenerationCore& core) {
  core.processor.rethrow();
  core.constraint.rethrow();
}

// `compute`: the prompt is computed at once; otherwise the batch's steps do it.
std::shared_ptr<GenerationCore> begin(const SessionCore& core, py::handle prompt, const py::dict& options,
                                      py::object progress, bool compute) {
  auto generation = std::make_shared<GenerationCore>();
  generation->session = core.owner;
  SessionOwner& owner = *generation->session;
  const Use use(owner, compute ? Use::For::work : Use::For::batch);
  const u32 n_vocab = owner.session->model().tokenizer().size();
  const std::vector<Token> tokens = tokens_from(prompt, n_vocab, "prompt");
  engine::GenerateOptions o = read_options(options, n_vocab, *generation);
  if (const py::object policy = options["policy"]; !policy.is_none()) give(policy, *owner.session, &o);
  const UseDraft draft(*generation);
  generation->constraint.start();
  const Span<const Token> ids{tokens.data(), tokens.size()};
  Call call(platform_of(owner), std::move(progress));
  const auto start = [&]() -> Status {
    const GilReleased unlocked;
    FLYBALL_ASSIGN(generation->generation, engine::Generation::begin(*owner.session, ids, o));
    return compute ? generation->generation->prefill(call.cancel_token(), call.progress()) : Status();
  };
  const Status status = start();
  call.rethrow();
  if (!status.ok()) rethrow(*generation);
  check(status);
  return generation;
}

// Takes steps until the generation is done, or only one. The GIL is released for all of them together.
// The text is a copy: the core's own lives until the next step.
struct StepText {
  engine::Step step;
  std::string text;
};

// A result must not keep what functions of the caller hold.
void let_go(GenerationCore& core) {
  core.processor.function = {};
  core.constraint.end();
}

StepText advance(GenerationCore& core, bool to_the_end) {
  SessionOwner& owner = *core.session;
  const Use use(owner);
  const UseDraft draft(core);
  Call call(platform_of(owner), py::none(), &core.cancelled);
  StepText stepped;
  const auto steps = [&]() -> Status {
    const GilReleased unlocked;
    do {
      Result<engine::Step> step = core.generation->step(call.cancel_token());
      if (!step.ok()) return step.error();
      stepped.step = step.value();
      stepped.text.append(stepped.step.text.data, stepped.step.text.size);
    } while (to_the_end && !stepped.step.done);
    return {};
  };
  const Status status = steps();
  core.text += stepped.text;
  call.rethrow();
  if (!status.ok()) {
    rethrow(core);
    raise(exception_of(core, status.error()));
  }
  if (stepped.step.done) let_go(core);
  return stepped;
}

// (token or None, logprob, text, done): None where the generation ended without another token, or computed its prompt.
py::tuple step_tuple(const engine::Step& step, Str shown) {
  const py::object token =
      step.token == tokenizer::no_token ? py::object(py::none()) : py::object(py::int_(step.token));
  return py::make_tuple(token, step.logprob, text(shown), step.done);
}

py::tuple step(GenerationCore& core) {
  const StepText s = advance(core, false);
  return step_tuple(s.step, str(s.text));
}

void run(GenerationCore& core) { advance(core, true); }

// Ends it without computing, even where other work has used the session meanwhile. Gives the text that was held back.
py::str end(GenerationCore& core) {
  const Use use(*core.session, Use::For::looking);
  const engine::Step last = call_core([&] {
    core.generation->interrupt();
    return core.generation->step();
  });
  core.text.append(last.text.data, last.text.size);
  let_go(core);
  return text(last.text);
}

// Stops a call of the batch that nobody waits for any more.
struct BatchCancel {
  Call& call;
  const std::vector<std::shared_ptr<GenerationCore>>& cores;

  engine::CancelToken token() {
    return {this, [](void* self) { return static_cast<BatchCancel*>(self)->stop(); }, 0};
  }
  bool stop() const {
    const engine::CancelToken token = call.cancel_token();
    return token.stop(token.context) ||
           std::ranges::all_of(cores, [](const auto& core) { return core->cancelled.load(std::memory_order_relaxed); });
  }
};

py::object raised_by(const GenerationCore& core) {
  return core.processor.raised ? core.processor.raised : core.constraint.raised();
}

// Steps of several generations of one model, computed together: for each the last step as step() gives it, its text the
// whole call's, or the exception that step() would raise. Goes on for `most_ns` unless one of them ends. No session may be
// there twice.
py::list step_many(const std::vector<std::shared_ptr<GenerationCore>>& cores, u64 most_ns) {
  if (cores.empty()) return py::list();
  std::deque<Use> uses;
  std::deque<UseDraft> drafts;
  std::vector<engine::Generation*> generations;
  for (const auto& core : cores) {
    for (size_t i = 0; i < generations.size(); ++i) {  // it would wait for itself
      if (cores[i]->session == core->session) raise("busy", "generations", "are of one session");
    }
    uses.emplace_back(*core->session, Use::For::batch);
    drafts.emplace_back(*core);
    if (core->cancelled.load()) core->generation->interrupt();
    generations.push_back(core->generation);
  }
  const Platform& platform = platform_of(*cores[0]->session);
  std::vector<engine::Generation::StepResult> stepped(cores.size());
  std::vector<std::string> texts(cores.size());
  Call call(platform);
  BatchCancel cancel{call, cores};
  {
    const GilReleased unlocked;
    const u64 end = now_ns(platform) + most_ns;
    for (bool more = true; more;) {
      engine::Generation::step_many({generations.data(), generations.size()}, {stepped.data(), stepped.size()},
                                    cancel.token());
      more = now_ns(platform) < end;
      for (size_t i = 0; i < cores.size(); ++i) {
        const engine::Step& step = stepped[i].step;
        texts[i].append(step.text.data, step.text.size);
        more = more && !step.done && stepped[i].status.ok() && !cores[i]->cancelled.load();
      }
    }
  }
  py::list list;
  for (size_t i = 0; i < cores.size(); ++i) {
    cores[i]->text += texts[i];
    if (stepped[i].step.done) let_go(*cores[i]);
    if (stepped[i].status.ok())
      list.append(step_tuple(stepped[i].step, str(texts[i])));
    else if (const py::object raised = raised_by(*cores[i]); raised && PyExceptionInstance_Check(raised.ptr()))
      list.append(raised);
    else
      list.append(exception_of(*cores[i], stepped[i].status.error()));
  }
  call.rethrow();
  return list;
}

py::dict generation_metrics(const GenerationCore& core) {
  const runtime::GenerationMetrics& metrics = core.generation->metrics();
  py::dict d;
  d["prefill"] = phase_dict(metrics.prefill);
  d["decode"] = phase_dict(metrics.decode);
  d["speculation"] = speculation_dict(metrics.speculation);
  d["sample_cycles"] = metrics.sample_cycles;
  d["prompt_tokens"] = metrics.prompt_tokens;
  d["cached_tokens"] = metrics.cached_tokens;
  d["shared_tokens"] = metrics.shared_tokens;
  d["generated_tokens"] = metrics.generated_tokens;
  d["first_token_cycles"] = metrics.first_token_cycles;
  d["total_cycles"] = metrics.total_cycles;
  return d;
}

py::list hashes(const GenerationCore& core) {
  py::list list;
  for (const Hash128& hash : core.generation->logits_hashes()) {
    char digits[32];
    Writer writer(digits, sizeof digits);
    writer.put_hex(hash.high, 16).put_hex(hash.low, 16);
    list.append(text(writer.text()));
  }
  return list;
}

}  // namespace

governor::Settings read_governor(const Words& words) {
  governor::Settings settings;
  for (const auto& [key, word] : words) check(governor::set(&settings, str(key), str(word)));
  return settings;
}

void bind_session(py::module_& module) {
  using namespace py::literals;
  py::class_<SessionCore, std::shared_ptr<SessionCore>>(module, "SessionCore")
      .def_static("create", &create, "model"_a, "context"_a, "cache"_a, "threads"_a, "decode_threads"_a, "sequence"_a,
                  "governor"_a, "adapter"_a, "adapter_scale"_a)
      .def("set_adapter", &set_adapter, "adapter"_a, "scale"_a)
      .def_property_readonly("context", [](const SessionCore& core) { return core.owner->session->context(); })
      .def_property_readonly(
          "cache_type",
          [](const SessionCore& core) { return text(engine::cache_type_name(core.owner->session->cache_type())); })
      .def_property_readonly("threads", [](const SessionCore& core) { return core.owner->session->threads(); })
      .def_property_readonly("decode_threads",
                             [](const SessionCore& core) { return core.owner->session->decode_threads(); })
      .def_property_readonly("cache_bytes", [](const SessionCore& core) { return core.owner->session->cache_bytes(); })
      .def("tokens",
           [](const SessionCore& core) {
             const Use use(*core.owner, Use::For::looking);
             return list_of(core.owner->session->tokens());
           })
      .def("metrics", &session_metrics)
      .def("reset", &reset)
      .def("govern", &govern, "governor"_a)
      .def("governor", &governor)
      .def("logits", &logits, "ids"_a, "batch"_a, "progress"_a)
      .def("last_logits", &last_logits, "ids"_a, "batch"_a, "progress"_a)
      .def("score", &score, "ids"_a, "top_logprobs"_a, "batch"_a, "progress"_a)
      .def("embed", &embed, "ids"_a, "pooling"_a, "normalise"_a, "batch"_a)
      .def("save", &save, "path"_a)
      .def("restore", &restore, "path"_a)
      .def("check", &check_request, "prompt"_a, "options"_a)
      .def("request_key", &request_key, "prompt"_a, "options"_a, "fingerprint"_a)
      .def("reserve", &reserve)
      .def("release", [](const SessionCore& core) { core.owner->reserved.store(false); })
      .def("begin", &begin, "prompt"_a, "options"_a, "progress"_a, "compute"_a);

  module.def("governor_check", [](const Words& words) { check(governor::check(read_governor(words))); }, "governor"_a);
  module.def("step_many", &step_many, "generations"_a, "most_ns"_a);
  py::class_<GenerationCore, std::shared_ptr<GenerationCore>>(module, "GenerationCore")
      .def("step", &step)
      .def("run", &run)
      .def("end", &end)
      .def("cancel", [](GenerationCore& core) { core.cancelled.store(true); })
      .def_property_readonly("prompt", [](const GenerationCore& core) { return list_of(core.generation->prompt()); })
      .def_property_readonly("tokens", [](const GenerationCore& core) { return list_of(core.generation->tokens()); })
      .def_property_readonly("logprobs",
                             [](const GenerationCore& core) {
                               py::list list;
                               for (const f32 logprob : core.generation->logprobs()) list.append(logprob);
                               return list;
                             })
      .def_property_readonly("n_tokens", [](const GenerationCore& core) { return core.generation->tokens().size; })
      .def_property_readonly("n_top_logprobs",
                             [](const GenerationCore& core) { return core.generation->options().top_logprobs; })
      .def(
          "top_logprobs",
          [](const GenerationCore& core, u64 i) {
            if (i >= core.generation->tokens().size) throw py::index_error();
            return top_list(core.generation->session().model(), core.generation->top_logprobs(i));
          },
          "i"_a)
      .def_property_readonly("seed", [](const GenerationCore& core) { return core.generation->options().sampler.seed; })
      .def_property_readonly("logits_hashes", &hashes)
      .def_property_readonly("text", [](const GenerationCore& core) { return text(str(core.text)); })
      .def_property_readonly(
          "stop_reason",
          [](const GenerationCore& core) { return text(engine::stop_reason_name(core.generation->stop_reason())); })
      .def("decisions", &decisions)
      .def("metrics", &generation_metrics);
}

}  // namespace flyball::bind
