#include "catalog/tune.h"

#include "base/math.h"
#include "engine/state.h"
#include "engine/version.h"
#include "governor/race.h"
#include "journal/event_data.h"
#include "kernels/cpu.h"

namespace flyball::catalog {

using engine::Session;
using engine::SessionOptions;
using engine::Token;
using journal::Reason;

namespace {

constexpr u64 slack_percent(Objective objective) { return objective == Objective::quiet ? 25 : 2; }
constexpr u32 rows_of_step(Objective objective) { return objective == Objective::throughput ? 8 : 1; }

// One, powers of two and one and a half times these, half of the processors, all of them.
void list_candidates(u32 n_processors, Tuned* tuned) {
  const auto is_candidate = [&](u32 n) {
    u32 odd = n;
    while (odd % 2 == 0) odd /= 2;
    return n == n_processors || 2 * n == n_processors || odd == 1 || odd == 3;
  };
  for (u32 n = 1; n <= n_processors && tuned->n_candidates < Tuned::max_candidates; ++n) {
    if (is_candidate(n)) tuned->candidates[tuned->n_candidates++].threads = n;
  }
}

// What the cost depends on: processor, instruction set, the model's shape and types. Weights of the same shape cost the
// same, and hashing a file would take longer than measuring.
Digest key_of(const Model& model, Objective objective) {
  const model::Config& c = model.config();
  char processor[kernels::processor_name_bytes];
  kernels::processor_name(processor);
  Sha256 hash;
  const auto text = [&](Str s) {
    hash.update_u64(s.size);
    hash.update(s);
  };
  text(engine::version);
  text({processor, sizeof processor});
  text(model.table().name);
  text(objective_name(objective));
  text(c.architecture_name);
  text(model.quantization());
  const u64 sizes[] = {model.platform().n_processors,
                       c.n_embd,
                       c.n_layer(),
                       c.widest.n_ff,
                       c.widest.n_head,
                       c.widest.n_head_kv,
                       c.n_vocab,
                       model.file_bytes()};
  for (const u64 n : sizes) hash.update_u64(n);
  return hash.finish();
}

// The memory: a line for each key, "<64 digits> <threads> <decode threads>", the newest last.
class Memory {
 public:
  Memory(const Platform& platform, Str path) : platform_(platform), path_(path), arena_(platform) {
    if (path.empty() || !platform.stat(platform.self, path).ok()) return;
    const Result<Span<const u8>> file = platform.map(platform.self, path);
    if (!file.ok()) return;
    const Span<const u8> bytes = file.value();
    if (bytes.size <= max_bytes) text_ = arena_.copy({reinterpret_cast<const char*>(bytes.data), bytes.size});
    platform.unmap(platform.self, bytes);
  }

  // Skips other lines, such as those of other machines.
  bool find(const Digest& key, Tuned* tuned) const {
    bool found = false;
    each_line([&](Str line) {
      u64 threads = 0, decode_threads = 0;
      if (!is_of(key, line) || !read_two(line.from(64), &threads, &decode_threads)) return;
      const u32 most = platform_.n_processors;
      if (threads == 0 || threads > most || decode_threads == 0 || decode_threads > most) return;
      tuned->threads = u32(threads), tuned->decode_threads = u32(decode_threads);
      found = true;
    });
    return found;
  }

  void keep(const Digest& key, const Tuned& tuned) {
    if (path_.empty()) return;
    const Span<char> room = arena_.allocate<char>(text_.size + 128);
    if (room.empty()) return;
    Writer out(room.data, room.size);
    u64 n_lines = 0;
    each_line([&](Str) { ++n_lines; });
    each_line([&](Str line) {
      if (n_lines-- <= max_lines - 1 && !is_of(key, line)) out.put(line).put('\n');
    });
    char digits[64];
    hex(key, digits);
    out.put({digits, sizeof digits}).put(' ').put_u64(tuned.threads).put(' ').put_u64(tuned.decode_threads).put('\n');
    const Str text = out.text();
    // Where the file cannot be written, the next load measures again.
    (void)platform_.write_file(platform_.self, path_, {reinterpret_cast<const u8*>(text.data), text.size});
  }

 private:
  static constexpr u64 max_bytes = u64(1) << 20;
  static constexpr u64 max_lines = 1000;

  static bool is_of(const Digest& key, Str line) {
    char digits[64];
    hex(key, digits);
    return line.starts_with({digits, sizeof digits});
  }
  static bool read_two(Str text, u64* a, u64* b) {
    if (!text.starts_with(" ")) return false;
    text = text.from(1);
    u64 n = 0;
    while (n < text.size && text[n] != ' ') ++n;
    return n < text.size && parse_u64(text.substr(0, n), a) && parse_u64(text.from(n + 1), b);
  }
  template <class Each>
  void each_line(Each&& each) const {
    for (Str text = text_; !text.empty();) {
      u64 n = 0;
      while (n < text.size && text[n] != '\n') ++n;
      each(text.substr(0, n));
      text = text.from(min(n + 1, text.size));
    }
  }

  const Platform& platform_;
  Str path_;
  Arena arena_;
  Str text_;
};

class Probes {
 public:
  Probes(Model& model, const TuneOptions& options)
      : model_(model), options_(options), platform_(model.platform()), arena_(platform_), start_ns_(now()) {}
  ~Probes() { Session::release(session_); }
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  Status run(Tuned* tuned) {
    const FloatMode standard;
    FLYBALL_TRY(prepare());
    const u32 step = rows_of_step(options_.objective);
    u32 decode = 0, prefill = 0;
    FLYBALL_TRY(race(tuned, step, &Tuned::Candidate::decode_ns, options_.budget_ns / 2, &decode));
    FLYBALL_TRY(race(tuned, n_prompt_, &Tuned::Candidate::prefill_ns, options_.budget_ns, &prefill));
    for (u32 i = 0; i < tuned->n_candidates; ++i) tuned->candidates[i].prefill_ns /= n_prompt_;
    tuned->threads = tuned->candidates[prefill].threads;
    tuned->decode_threads = tuned->candidates[decode].threads;
    tuned->n_probes = n_probes_;
    tuned->spent_ns = now() - start_ns_;
    return {};
  }

 private:
  static constexpr u32 n_cached = 32;  // tokens before what is measured
  static constexpr u64 short_ns = 1'000'000;
  static constexpr u32 most_repeats = 8;

  u64 now() const { return now_ns(platform_); }

  Status prepare() {
    SessionOptions wanted;
    wanted.journaled = false;
    wanted.context = min(model_.config().n_ctx_train, 256u);
    FLYBALL_ASSIGN(session_, Session::create(model_, wanted));
    logits_ = arena_.allocate<f32>(model_.config().n_vocab);
    if (logits_.empty()) return fail(Code::out_of_memory, "tune") << "no memory for logits";
    for (u32 i = 0; i < max_prompt; ++i) ids_[i] = Token(i * 7 % model_.config().n_vocab);
    const u32 room = session_->context() - min(session_->context() - 1, n_cached);
    // Fills the cache, and wakes what sleeps. A prompt that takes long is probed with fewer tokens.
    FLYBALL_TRY(compute(min(n_cached, session_->context() - 1)));
    n_cached_ = u32(session_->tokens().size);
    const u64 begin = now();
    n_prompt_ = min(room, 16u);
    FLYBALL_TRY(compute(n_prompt_));
    if (now() - begin < options_.budget_ns / 200) n_prompt_ = min(room, max_prompt);
    return {};
  }

  Status compute(u32 n) {
    return session_->state().compute({ids_, n}, n, Session::State::Want::last, logits_.data, {}, options_.cancel, {});
  }

  // Each candidate's cost of `rows` tokens at once, and the one to take: at `until_ns` the best so far.
  Status race(Tuned* tuned, u32 rows, u64 Tuned::Candidate::* cost, u64 until_ns, u32* chosen) {
    governor::Race race(tuned->n_candidates);
    rows = min(rows, session_->context() - n_cached_);
    while (!race.decided() && now() - start_ns_ < until_ns) {
      SessionOptions& how = session_->state().options;
      how.threads = how.decode_threads = tuned->candidates[race.next()].threads;
      const u64 begin = now();
      u64 n = 0;
      do {
        session_->state().truncate(n_cached_);
        FLYBALL_TRY(compute(rows));
        ++n;
      } while (n < most_repeats && now() - begin < short_ns);
      race.observe((now() - begin) / n);
      ++n_probes_;
    }
    for (u32 i = 0; i < tuned->n_candidates; ++i)
      tuned->candidates[i].*cost = race.cost(i) == governor::Race::unknown ? 0 : race.cost(i);
    *chosen = race.choose(slack_percent(options_.objective));
    return {};
  }

  static constexpr u32 max_prompt = 128;

  Model& model_;
  const TuneOptions& options_;
  const Platform& platform_;
  Arena arena_;
  u64 start_ns_;
  Session* session_ = nullptr;
  Span<f32> logits_;
  Token ids_[max_prompt] = {};
  u32 n_cached_ = 0;
  u32 n_prompt_ = 0;
  u32 n_probes_ = 0;
};

void record_tuned(const Model& model, Objective objective, const Tuned& tuned) {
  if (!model.state().events.record) return;
  journal::EventData<> data;
  data.json.field("objective", objective_name(objective)).field("threads", tuned.threads);
  data.json.field("decode_threads", tuned.decode_threads);
  if (!tuned.cached) {
    data.json.field("probes", tuned.n_probes).field("spent_us", tuned.spent_ns / 1000).key("candidates").begin_array();
    for (const Tuned::Candidate& c : Span<const Tuned::Candidate>(tuned.candidates, tuned.n_candidates))
      data.json.begin_array().value(c.threads).value(c.prefill_ns).value(c.decode_ns).end_array();
    data.json.end_array();
  }
  model.state().events(0, 0, tuned.cached ? Reason::MODEL_TUNING_CACHED : Reason::MODEL_TUNED, data.done());
}

void record_isa(const Model& model, const IsaTimes& times) {
  if (!model.state().events.record) return;
  journal::EventData<> data;
  data.json.field("isa", times.tables[times.chosen]->name).key("step_ns").begin_object();
  for (u32 i = 0; i < times.n; ++i) data.json.field(times.tables[i]->name, times.ns[i]);
  data.json.end_object();
  model.state().events(0, 0, Reason::MODEL_ISA_CHOSEN, data.done());
}

}  // namespace

Str objective_name(Objective objective) {
  switch (objective) {
    case Objective::latency: return "latency";
    case Objective::throughput: return "throughput";
    case Objective::quiet: return "quiet";
  }
  return "unknown";
}

Result<Objective> parse_objective(Str name) {
  constexpr Objective objectives[] = {Objective::latency, Objective::throughput, Objective::quiet};
  for (const Objective objective : objectives) {
    if (name == objective_name(objective)) return objective;
  }
  return fail(Code::invalid_argument, "objective")
         << "is '" << name.substr(0, min<u64>(name.size, 40)) << "'; choose latency, throughput or quiet";
}

Result<Tuned> tune(Model& model, const TuneOptions& options) {
  if (model.vocab_only())
    return fail(Code::invalid_argument, "tune") << "the model was loaded with vocab_only: it has no weights to run";
  const Digest key = key_of(model, options.objective);
  Memory memory(model.platform(), options.cache_file);
  Tuned tuned;
  tuned.cached = !options.refresh && memory.find(key, &tuned);
  if (!tuned.cached) {
    list_candidates(model.platform().n_processors, &tuned);
    if (tuned.n_candidates == 1)  // nothing to choose
      tuned.threads = tuned.decode_threads = 1;
    else
      FLYBALL_TRY(Probes(model, options).run(&tuned));
    memory.keep(key, tuned);
  }
  model.state().threads = tuned.threads;
  model.state().decode_threads = tuned.decode_threads;
  record_tuned(model, options.objective, tuned);
  return tuned;
}

Result<IsaTimes> choose_isa(Model& model, CancelToken cancel) {
  if (model.vocab_only())
    return fail(Code::invalid_argument, "isa") << "the model was loaded with vocab_only: it has no weights to run";
  const FloatMode standard;
  const Platform& platform = model.platform();
  Arena arena(platform);
  const Span<f32> logits = arena.allocate<f32>(model.config().n_vocab);
  if (logits.empty()) return fail(Code::out_of_memory, "isa") << "no memory for logits";
  SessionOptions wanted;
  wanted.journaled = false;
  wanted.context = min(model.config().n_ctx_train, 16u);
  wanted.threads = wanted.decode_threads = 1;
  Session* session = nullptr;
  FLYBALL_ASSIGN(session, Session::create(model, wanted));
  const kernels::Table* const before = model.state().table;
  const Token tokens[4] = {};  // between decode (one token, which waits for memory) and prefill (many)
  constexpr u64 enough_ns = 30'000'000;
  IsaTimes times;
  Status status;
  for (const kernels::Table* table : kernels::usable_tables()) {
    if (times.n == IsaTimes::max_isas || !status.ok()) break;
    if (model.in_file_bytes() != 0 && (before->in_file & ~table->in_file) != 0) continue;
    model.state().table = table;
    u64& best = times.ns[times.n];
    // The first step also wakes sleeping threads. Fast ones repeat: the minimum is the least disturbed.
    const u64 start = now_ns(platform);
    for (u32 round = 0; status.ok() && (round < 2 || now_ns(platform) - start < enough_ns); ++round) {
      session->state().truncate(0);
      const u64 begin = now_ns(platform);
      status = session->state().compute({tokens, 4}, 4, Session::State::Want::last, logits.data, {}, cancel, {});
      const u64 ns = now_ns(platform) - begin;
      best = round == 0 ? ns : min(best, ns);
    }
    times.tables[times.n++] = table;
  }
  Session::release(session);
  model.state().table = before;
  FLYBALL_TRY(status);
  // Against noise: the widest stays unless another is clearly faster.
  for (u32 i = 1; i < times.n; ++i) {
    if (10 * times.ns[i] < 8 * times.ns[times.chosen]) times.chosen = i;
  }
  model.state().table = times.tables[times.chosen];
  record_isa(model, times);
  return times;
}

}  // namespace flyball::catalog
