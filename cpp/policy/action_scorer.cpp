#include "policy/action_scorer.h"

#include "base/math.h"
#include "chat/chat_format.h"
#include "engine/state.h"

namespace flyball::policy {
namespace {

using engine::Session;
using engine::SessionOptions;
using engine::Token;
using governor::policy::n_actions;

constexpr Str before_situation = "You look after a language model on this computer.\n";
constexpr Str no_situation = "state: unknown";
constexpr Str before_actions = "\nChoose one action: ";
constexpr Str after_actions = ". Answer with its name only.";
constexpr Str before_answer = "\nAnswer: ";  // where the model has no chat format

class Question {
 public:
  Question(Model& model, CancelToken cancel)
      : model_(model), platform_(model.platform()), cancel_(cancel), arena_(platform_), prompt_(platform_) {}
  ~Question() { Session::release(session_); }
  Question(const Question&) = delete;
  Question& operator=(const Question&) = delete;

  Status ask(Str situation, f32 (&scores)[n_actions]) {
    FLYBALL_TRY(write_prompt(situation));
    FLYBALL_TRY(encode_answers());
    SessionOptions wanted;
    wanted.journaled = false;
    wanted.context = u32(prompt_.size()) + longest_;
    if (wanted.context > model_.config().n_ctx_train)
      return fail(Code::context_full, "consult")
             << "needs " << wanted.context << " tokens; the model's context is " << model_.config().n_ctx_train;
    FLYBALL_ASSIGN(session_, Session::create(model_, wanted));
    const u64 n_vocab = model_.config().n_vocab;
    const Span<f32> first = arena_.allocate<f32>(n_vocab), rest = arena_.allocate<f32>(n_vocab * longest_);
    if (first.empty() || rest.empty()) return fail(Code::out_of_memory, "consult") << "no memory for logits";
    FLYBALL_TRY(compute({prompt_.items().data, prompt_.size()}, Session::State::Want::last, first));
    for (u32 i = 0; i < n_actions; ++i) {
      const Span<const Token> answer = answers_[i];
      f64 sum = log_probability(first, answer[0]);
      if (answer.size > 1) {
        session_->state().truncate(u32(prompt_.size()));
        FLYBALL_TRY(compute(answer.subspan(0, answer.size - 1), Session::State::Want::all, rest));
        for (u64 k = 1; k < answer.size; ++k)
          sum += log_probability(rest.subspan((k - 1) * n_vocab, n_vocab), answer[k]);
      }
      scores[i] = f32(sum);
    }
    return {};
  }

 private:
  Status write_prompt(Str situation) {
    char buffer[1024];
    Writer text(buffer, sizeof buffer);
    text.put(before_situation).put(situation).put(before_actions);
    for (u32 i = 0; i < n_actions; ++i) text.put(i ? ", " : "").put(governor::policy::actions()[i].name);
    text.put(after_actions);
    const tokenizer::Tokenizer& tokenizer = model_.tokenizer();
    if (tokenizer.chat_template().empty()) {
      text.put(before_answer);
      return encode(text.text(), true, &prompt_);
    }
    chat::Conversation conversation(platform_);
    conversation.start(tokenizer, chat::detect_chat_format(tokenizer));
    FLYBALL_TRY(conversation.add_user(text.text(), ""));
    if (prompt_.append(conversation.tokens())) return {};
    return fail(Code::out_of_memory, "consult") << "no memory for the question";
  }

  Status encode_answers() {
    for (u32 i = 0; i < n_actions; ++i) {
      Buffer<Token> ids(platform_);
      FLYBALL_TRY(encode(governor::policy::actions()[i].name, false, &ids));
      const Span<Token> kept = arena_.allocate<Token>(ids.size());
      if (kept.empty()) return fail(Code::out_of_memory, "consult") << "no memory for its answers";
      memcpy(kept.data, ids.items().data, ids.size() * sizeof(Token));
      answers_[i] = kept;
      longest_ = max(longest_, u32(kept.size));
    }
    return {};
  }

  Status encode(Str text, bool add_special, Buffer<Token>* out) {
    u64 n = 0;
    for (;;) {
      FLYBALL_ASSIGN(n, model_.tokenizer().encode(platform_, text, {add_special, false}, out->space()));
      if (n <= out->space().size) break;
      if (!out->reserve(n)) return fail(Code::out_of_memory, "consult") << "no memory for " << n << " tokens";
    }
    if (n == 0) return fail(Code::unsupported, "consult") << "the vocabulary has no tokens for its words";
    out->resize_within(n);
    return {};
  }

  Status compute(Span<const Token> ids, Session::State::Want want, Span<f32> logits) {
    return session_->state().compute(ids, engine::max_batch, want, logits.data, {}, cancel_, {});
  }

  f64 log_probability(Span<const f32> logits, Token token) const {
    f32 best = logits[0];
    for (const f32 x : logits) best = max(best, x);
    return f64(logits[u64(token)]) - f64(best) - log64(model_.table().sum_exp(logits.data, best, logits.size));
  }

  Model& model_;
  const Platform& platform_;
  CancelToken cancel_;
  Arena arena_;
  Buffer<Token> prompt_;
  Session* session_ = nullptr;
  Span<const Token> answers_[n_actions];
  u32 longest_ = 0;
};

}  // namespace

Status ActionScorer::ask(Str situation, CancelToken cancel, Span<f32> scores) {
  const FloatMode standard;
  if (!has_unasked_) {
    FLYBALL_TRY(Question(model_, cancel).ask(no_situation, unasked_));
    has_unasked_ = true;
  }
  f32 asked[n_actions] = {};
  FLYBALL_TRY(Question(model_, cancel).ask(situation, asked));
  for (u32 i = 0; i < n_actions; ++i) scores[i] = asked[i] - unasked_[i];
  return {};
}

}  // namespace flyball::policy
