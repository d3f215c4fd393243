// One transformer call for some generations of one model: pieces of their prompts and their next tokens side by side.
// Private to engine/.
#pragma once

#include "engine/generation_state.h"

namespace flyball::engine {

class Batch {
 public:
  Batch(Model& model, const CancelToken& cancel);

  // Takes the generation's next token, and of its prompt or its known tokens as many as are granted; `alone` lets it guess
  // draft tokens as well. Returns how many it feeds, 0 where the call is full. `status` gets an error of this generation
  // alone.
  u32 add(Generation::State& generation, bool alone, Status* status);
  bool empty() const { return n_parts_ == 0; }

  // Computes, and chooses a token for each generation with all its tokens fed. After an error nothing has changed.
  Status run();
  void tell_costs(Turns& turns) const;  // of a call that was run

 private:
  struct Part {
    Generation::State* generation;
    Status* status;
    u32 n_fed;
    u32 n_drafts;
    bool in_prompt;
    bool chooses;
    bool checks;    // known tokens: its drafts are no guesses
    u32 n_offered;  // draft tokens at hand
    u32 n_rows() const { return chooses ? 1 + n_drafts : 0; }
  };
  u32 n_threads() const {
    const Session::State& session = parts_[0].generation->session;
    if (prompts_) return session.options.threads;
    return n_parts_ == 1 ? governor::decode_threads(session.governor) : session.options.decode_threads;
  }
  u32 place_for(const AdapterSetting& adapter);
  void count(const Part& part);
  void fill(Part& part, model::BatchToken* to) const;
  u32 choose(const Part& part, Workspace& workspace, u32 row) const;  // how many draft tokens it accepted
  void settle(const Part& part, Workspace& workspace, u32 row, const runtime::PhaseMetrics& call);

  Model& model_;
  const CancelToken& cancel_;
  u64 start_cycles_;
  u32 n_tokens_ = 0;
  u32 n_rows_ = 0;
  bool prompts_ = false;
  bool guesses_ = false;  // some of its tokens are guessed drafts
  governor::PromptPace::Call costs_;
  u32 n_parts_ = 0;
  Part parts_[max_step_rows];
};

}  // namespace flyball::engine
