// Answers: begun, shown step by step, and summed up in a line.
#include "receipt/receipt.h"
#include "repl/context.h"

namespace flyball::repl {

using engine::Generation;
using engine::StopReason;
using engine::Token;

Result<Generation*> begin(Context& repl, Span<const Token> prompt, Str stop) {
  engine::GenerateOptions options;
  options.sampler = repl.sampler;
  options.max_tokens = repl.max_tokens;
  if (repl.policy != nullptr) repl.policy->give(*repl.session, &options);
  options.speculation = repl.options.speculation;
  if (options.speculation.lookup) options.speculation.draft = repl.draft;
  if (!stop.empty()) options.stops = {&stop, 1};
  Generation* generation = nullptr;
  FLYBALL_ASSIGN(generation, Generation::begin(*repl.session, prompt, options));
  const Status status = generation->prefill(cancel_token(repl), progress(repl));
  if (repl.progress_shown) repl.out << "\r\x1b[K";
  repl.progress_shown = false;
  if (status.ok()) return generation;
  Generation::release(generation);
  return status.error();
}

namespace {

// Without a progress line, in the middle of another one.
engine::Progress stoppable(Context& repl) {
  engine::Progress progress;
  progress.context = &repl;
  progress.report = [](void* context, Str, u64, u64) {
    const engine::CancelToken cancel = cancel_token(*static_cast<Context*>(context));
    return !cancel.stop(cancel.context);
  };
  return progress;
}

void put_logprob(Context& repl, const engine::Step& step) {
  char piece[80];
  Writer shown(piece, sizeof piece);
  shown.put_safe(repl.model->tokenizer().piece(step.token, true));
  repl.out.fixed(step.logprob, 4) << "  " << step.token << " '" << shown.text() << "'\n";
}

// One quiet line when the governor acted. What holds for answer after answer was shown when it began.
void show_decisions(Context& repl, const engine::Generation& generation) {
  u64 n = 0;
  for (const engine::Decision& decision : generation.decisions()) {
    if (decision.reason == journal::Reason::AUTOTUNE_BASELINE_LOWERED ||
        decision.reason == journal::Reason::POLICY_IN_FORCE)
      continue;
    repl.out << (n++ == 0 ? "governor: " : ", ") << journal::info(decision.reason).id;
  }
  if (n != 0) repl.out << "; /explain tells why\n";
}

// The metrics line, and the receipt for /receipt.
Status finish(Context& repl, Generation& generation) {
  const runtime::GenerationMetrics& m = generation.metrics();
  const u64 per_second = max(cycles_per_second(repl.platform), u64(1));
  dim(repl, true);
  repl.out << '[' << m.generated_tokens << (m.generated_tokens == 1 ? " token" : " tokens");
  if (m.decode.tokens != 0) {
    (repl.out << ", ").fixed(runtime::cycles_per_token(m.decode), 0) << " cycles/token, ";
    repl.out.fixed(runtime::tokens_per_second(m.decode, per_second), 1) << " tok/s";
  }
  if (m.first_token_cycles != 0) {
    const f64 seconds = f64(m.first_token_cycles) / f64(per_second);
    (repl.out << ", first after ").fixed(1e3 * seconds, 0) << " ms";
  }
  if (m.shared_tokens != 0) repl.out << ", " << m.shared_tokens << " prompt tokens shared";
  if (m.speculation.drafted != 0)
    repl.out << ", " << m.speculation.accepted << " of " << m.speculation.drafted << " draft tokens accepted";
  repl.out << ", " << engine::stop_reason_name(generation.stop_reason());
  repl.out.flush();  // the model's fingerprint may take its time when it is asked for first: Ctrl-C ends that

  repl.receipt_arena.clear();
  repl.receipt = {};
  receipt::Receipt made;
  const auto make = [&]() -> Status {
    FLYBALL_ASSIGN(made, receipt::make_receipt(repl.receipt_arena, generation, stoppable(repl)));
    FLYBALL_ASSIGN(repl.receipt, receipt::write_receipt(repl.receipt_arena, made));
    return {};
  };
  const Status status = make();
  if (status.ok()) {
    hex(made.digest, repl.digest);
    repl.out << ", digest " << Str(repl.digest, 12);
  }
  repl.out << "]\n";
  show_decisions(repl, generation);
  const Status seen = policy_saw(repl, generation);
  dim(repl, false);
  repl.metrics_arena.clear();
  repl.last_metrics = repl.metrics_arena.copy(made.metrics);
  if (generation.stop_reason() == StopReason::context_full) {
    repl.out << "The context of " << repl.session->context()
             << " tokens is full; /clear starts anew, /ctx N makes room.\n";
  }
  return status.ok() ? seen : status;
}

Status run(Context& repl, Generation& generation) {
  repl.shown.truncate(0);
  for (bool done = false; !done;) {
    engine::Step step;
    FLYBALL_ASSIGN(step, generation.step(cancel_token(repl)));
    done = step.done;
    if (!append(repl.shown, step.text)) return fail(Code::out_of_memory, "answer") << "no memory for its text";
    if (repl.show_logprobs && step.token != tokenizer::no_token)
      put_logprob(repl, step);
    else
      repl.out.printable(step.text);
    repl.out.flush();
  }
  if (!repl.show_logprobs) repl.out << '\n';
  return finish(repl, generation);
}

// For feedback, which goes without the question where there is no memory for it.
bool note(Context& repl, Str role, Str content) {
  constexpr u64 most_of_a_byte = 6, rest = 64;
  Buffer<char>& out = repl.messages;
  if (!out.reserve(out.size() + most_of_a_byte * content.size + rest)) return repl.messages_whole = false;
  Writer json(out.space().data, out.space().size);
  if (out.size() != 0) json.put(',');
  json.put("{\"role\":\"").put(role).put("\",\"content\":").put_json_string(content).put('}');
  out.resize_within(out.size() + json.text().size);
  return true;
}

Status answer_raw(Context& repl, Str line) {
  repl.question_bytes = 0;
  const tokenizer::Tokenizer& tokenizer = repl.model->tokenizer();
  u64 n = 0;
  for (;;) {
    FLYBALL_ASSIGN(n, tokenizer.encode(repl.platform, line, {true, false}, repl.raw_tokens.space()));
    if (n <= repl.raw_tokens.space().size) break;
    if (!repl.raw_tokens.reserve(n)) return fail(Code::out_of_memory, "prompt") << "no memory for " << n << " tokens";
  }
  Generation* generation = nullptr;
  FLYBALL_ASSIGN(generation, begin(repl, repl.raw_tokens.space().subspan(0, n), ""));
  repl.out.printable(line);
  const Status status = run(repl, *generation);
  Generation::release(generation);
  return status;
}

Status answer_chat(Context& repl, Str line) {
  const u64 before = repl.conversation.tokens().size, messages_before = repl.messages.size();
  if (messages_before == 0 && repl.system.size() != 0) note(repl, "system", text_of(repl.system));
  note(repl, "user", line);
  repl.question_bytes = repl.messages_whole ? repl.messages.size() : 0;
  Generation* generation = nullptr;
  const auto open = [&]() -> Status {
    FLYBALL_TRY(repl.conversation.add_user(line, text_of(repl.system)));
    FLYBALL_ASSIGN(generation, begin(repl, repl.conversation.tokens(), repl.format->stop));
    return {};
  };
  Status status = open();
  if (status.ok()) status = run(repl, *generation);
  if (status.ok() && generation->tokens().size != 0) {
    Span<const Token> tokens = generation->tokens();
    if (generation->stop_reason() == StopReason::eos) tokens.size -= 1;
    status = generation->stop_reason() == StopReason::stop_string ? repl.conversation.add_answer(text_of(repl.shown))
                                                                  : repl.conversation.add_answer(tokens);
    note(repl, "assistant", text_of(repl.shown));
  } else {
    repl.conversation.truncate(before);
    repl.messages.truncate(messages_before);
    repl.question_bytes = 0;
  }
  Generation::release(generation);
  if (status.error().code == Code::context_full) {
    return fail(Code::context_full, "conversation")
           << "fills the context of " << repl.session->context() << " tokens; /clear starts anew, /ctx N makes room";
  }
  return status;
}

}  // namespace

Status answer(Context& repl, Str line) {
  FLYBALL_TRY(need_model(repl));
  (void)cancel_token(repl).stop(
      cancel_token(repl).context);  // a stop that came too late for the answer before is not meant for this one
  FLYBALL_TRY(repl.raw ? answer_raw(repl, line) : answer_chat(repl, line));
  return obey_policy(repl);  // the answer, which needs its session, is over
}

}  // namespace flyball::repl
