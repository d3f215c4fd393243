// Repeating a recorded answer and comparing it.
#include "receipt/receipt.h"

namespace flyball::receipt {

using engine::GenerateOptions;
using engine::Session;
using engine::SessionOptions;
using engine::Step;
using engine::StopReason;
using engine::Token;

Str difference_name(Difference difference) {
  constexpr const char* names[] = {"none", "model", "settings", "logits", "tokens", "stop", "text", "digest"};
  return names[u32(difference)];
}

namespace {

class Verifier {
 public:
  Verifier(const Receipt& receipt, Model& model, CancelToken cancel, Progress progress,
           const runtime::LogitsProcessor& processor, Span<const engine::AdapterRef> adapters,
           const runtime::Constraint& constraint)
      : receipt_(receipt),
        content_(receipt.content),
        model_(model),
        cancel_(cancel),
        progress_(progress),
        processor_(processor),
        adapters_(adapters),
        constraint_(constraint) {}
  ~Verifier() {
    Generation::release(generation_);
    Session::release(session_);
  }
  Verifier(const Verifier&) = delete;
  Verifier& operator=(const Verifier&) = delete;

  Result<VerifyReport> run() {
    unaltered_ = runtime::answer_digest(content_) == receipt_.digest;
    FLYBALL_ASSIGN(fingerprint_, model_.fingerprint(progress_));
    if (fingerprint_ != content_.fingerprint) return another_model();
    FLYBALL_TRY(check_processor());
    FLYBALL_TRY(check_constraint());
    FLYBALL_TRY(find_adapter());
    if (ended_early() && content_.tokens.empty()) return compare_digest();  // nothing was produced: nothing to repeat

    Status status = begin();
    if (!status.ok()) return settings_or_error(status.error());
    for (bool done = false; !done;) {
      Step step;
      FLYBALL_ASSIGN(step, generation_->step(cancel_));
      done = step.done;
      if (interrupted()) {
        return fail(Code::interrupted, "verify")
               << "stopped after " << report_.n_compared << " of " << content_.tokens.size << " positions";
      }
      if (step.token != tokenizer::no_token && !position_agrees()) return report_;
    }
    return compare_end();
  }

 private:
  bool ended_early() const {
    for (StopReason reason = StopReason::interrupted; reason <= StopReason::memory_guard;
         reason = StopReason(u32(reason) + 1)) {
      if (content_.stop_reason == stop_reason_name(reason)) return true;
    }
    return false;
  }
  bool interrupted() const { return cut_short(generation_->stop_reason()); }

  Status check_processor() const {
    if (content_.processor.empty() == (processor_.apply == nullptr)) return {};
    if (processor_.apply) return fail(Code::invalid_argument, "logits_processor") << "is given, the answer had none";
    return fail(Code::unsupported, "logits_processor")
           << "is '" << content_.processor
           << "', a function of the program that wrote the receipt, which does not hold "
           << "it: only with the same function can the answer be repeated";
  }

  Status check_constraint() const {
    const runtime::ConstraintUsed& used = content_.constraint;
    if (used.kind.empty() && constraint_.allowed)
      return fail(Code::invalid_argument, "constraint") << "is given, the answer had none";
    if (used.kind.empty() || constraint_.allowed) return {};
    return fail(Code::unsupported, "constraint")
           << "is '" << used.kind << "', which only '" << used.library
           << "' in Python can apply: use flyball verify, where that is installed";
  }

  Status find_adapter() {
    for (const runtime::AdapterUsed& used : content_.adapters) {
      for (const engine::AdapterRef& adapter : adapters_) {
        if (adapter->fingerprint() == used.fingerprint) adapter_ = {adapter, used.scale};
      }
      if (adapter_.adapter) continue;
      char text[64];
      hex(used.fingerprint, text);
      return fail(Code::unsupported, "adapters") << "the answer was made with the adapter '" << used.name
                                                 << "', fingerprint " << Str(text, 16) << "...: give its file as well";
    }
    return {};
  }

  Status begin() {
    SessionOptions session;
    session.context = content_.context;
    session.sequence = content_.sequence;
    session.adapter = adapter_;
    FLYBALL_ASSIGN(session.cache, engine::parse_cache_type(content_.cache_type));
    FLYBALL_ASSIGN(session_, Session::create(model_, session));
    GenerateOptions options;
    options.sampler = content_.sampler;
    options.processor = processor_;
    options.processor.name = content_.processor;
    options.constraint = constraint_;
    options.constraint.kind = content_.constraint.kind;
    options.constraint.library = content_.constraint.library;
    options.constraint.text = content_.constraint.text;
    // A clock or a user does not end the repetition: the recorded length does.
    options.max_tokens = ended_early() ? u32(content_.tokens.size) : content_.max_tokens;
    options.stops = content_.stops;
    options.stop_tokens = content_.stop_tokens;
    options.ignore_eos = content_.ignore_eos;
    options.speculation.expected = content_.tokens;  // checked many at a time: repeating is faster than producing
    FLYBALL_ASSIGN(generation_, Generation::begin(*session_, content_.prompt, options));
    FLYBALL_TRY(generation_->prefill(cancel_, progress_));
    return {};
  }

  Result<VerifyReport> settings_or_error(const Error& error) {
    const bool settings = error.code == Code::invalid_argument || error.code == Code::context_full;
    if (!settings) return error;
    char text[500];
    Writer out(text, sizeof text);
    out.put("these settings cannot have given an answer: ");
    error.describe(out);
    return differs(Difference::settings, 0, out.text());
  }

  VerifyReport another_model() {
    char text[400];
    Writer out(text, sizeof text);
    out.put("the receipt is of another model: ").put_safe(receipt_.model_name).put(", ").put_u64(receipt_.model_bytes);
    out.put(" bytes, fingerprint ");
    put_fingerprint(out, content_.fingerprint);
    out.put("...; this one is ").put_safe(model_.config().name).put(", ").put_u64(model_.file_bytes());
    out.put(" bytes, fingerprint ");
    put_fingerprint(out, fingerprint_);
    return differs(Difference::model, 0, out.put("...").text());
  }
  static void put_fingerprint(Writer& out, const Digest& digest) {
    char text[64];
    hex(digest, text);
    out.put(Str(text, 16));
  }

  bool position_agrees() {
    const u64 i = generation_->tokens().size - 1;
    char text[200];
    Writer out(text, sizeof text);
    const Token token = generation_->tokens()[i];
    if (i >= content_.tokens.size) {
      out.put("the receipt ends here (")
          .put(content_.stop_reason)
          .put("), but the answer goes on with token ")
          .put_i64(token);
      differs(Difference::tokens, i, out.text());
      return false;
    }
    if (generation_->logits_hashes()[i] != content_.logits_hashes[i]) {
      const Hash128& got = generation_->logits_hashes()[i];
      out.put("the logits' hash is ").put_hex(got.high, 16).put_hex(got.low, 16).put(", the receipt has ");
      out.put_hex(content_.logits_hashes[i].high, 16).put_hex(content_.logits_hashes[i].low, 16);
      differs(Difference::logits, i, out.text());
      return false;
    }
    if (token != content_.tokens[i]) {
      out.put("the token is ").put_i64(token).put(", the receipt has ").put_i64(content_.tokens[i]);
      differs(Difference::tokens, i, out.text());
      return false;
    }
    report_.n_compared = i + 1;
    return true;
  }

  Result<VerifyReport> compare_end() {
    const u64 n = generation_->tokens().size;
    const Str reason = stop_reason_name(generation_->stop_reason());
    char text[200];
    Writer out(text, sizeof text);
    if (n < content_.tokens.size || (!ended_early() && reason != content_.stop_reason)) {
      out.put("the answer ends by ").put(reason).put(" after ").put_u64(n).put(" tokens, the receipt's by ");
      out.put(content_.stop_reason).put(" after ").put_u64(content_.tokens.size);
      return differs(Difference::stop, n, out.text());
    }
    Arena arena(model_.platform());
    Receipt repeated;
    FLYBALL_ASSIGN(repeated, make_receipt(arena, *generation_));
    u64 first = 0;
    FLYBALL_ASSIGN(first, first_difference(arena, repeated.text, receipt_.text));
    if (first != same) {
      out.put("the tokens agree, but the text differs from byte ").put_u64(first).put(" on");
      return differs(Difference::text, n, out.text());
    }
    return compare_digest();
  }

  // A receipt has U+FFFD for bytes that are not UTF-8, so compare texts in their written form.
  static constexpr u64 same = ~u64(0);
  Result<u64> first_difference(Arena& arena, Str a, Str b) {
    const Span<char> room = arena.allocate<char>(6 * (a.size + b.size) + 4);
    if (room.empty()) return fail(Code::out_of_memory, "verify") << "no memory to compare the text";
    Writer written(room.data, room.size);
    const u64 size_a = written.put_json_string(a).text().size;
    const u64 size_b = written.put_json_string(b).text().size - size_a;
    for (u64 i = 0; i < min(size_a, size_b); ++i) {
      if (room[i] != room[size_a + i]) return i;
    }
    return size_a == size_b ? same : min(size_a, size_b);
  }

  VerifyReport compare_digest() {
    if (!unaltered_) return differs(Difference::digest, 0, "everything was repeated");
    report_.verified = true;
    char text[200];
    Writer out(text, sizeof text);
    out.put("the same answer: ").put_u64(report_.n_compared).put(" positions, logits and tokens equal bit by bit");
    report_.message.assign(out.text());
    return report_;
  }

  VerifyReport differs(Difference difference, u64 position, Str message) {
    report_.difference = difference;
    report_.position = position;
    Writer out(report_.message.data, sizeof report_.message.data);
    out.put(message);
    if (!unaltered_) out.put("; the receipt's digest does not cover its contents: it was changed after it was written");
    report_.message.size = u32(out.text().size);
    return report_;
  }

  const Receipt& receipt_;
  const runtime::DigestInput& content_;
  Model& model_;
  CancelToken cancel_;
  Progress progress_;
  runtime::LogitsProcessor processor_;
  Span<const engine::AdapterRef> adapters_;
  runtime::Constraint constraint_;
  engine::AdapterSetting adapter_;
  bool unaltered_ = false;
  Digest fingerprint_;
  Session* session_ = nullptr;
  Generation* generation_ = nullptr;
  VerifyReport report_;
};

}  // namespace

Result<VerifyReport> verify_receipt(const Receipt& receipt, Model& model, CancelToken cancel, Progress progress,
                                    runtime::LogitsProcessor processor, Span<const engine::AdapterRef> adapters,
                                    runtime::Constraint constraint) {
  Result<VerifyReport> report = Verifier(receipt, model, cancel, progress, processor, adapters, constraint).run();
  // A file that was written meanwhile has no verdict: what differs may be the file.
  if (const Status file = model.check_file(engine::Reliance::stating); report.ok() && !file.ok()) return file.error();
  return report;
}

}  // namespace flyball::receipt
