// Replays the corpus of the model fuzz target: each file is refused, or loads and generates.
#include "../fuzz/model_target.h"
#include "corpus.h"
#include "opened_gguf.h"
#include "test.h"

TEST(the_fuzz_corpus) {
  const auto corpus = test::fuzz_corpus("model");
  flyball::u64 n_valid = 0;
  for (const auto& file : corpus) {
    const test::OpenedGguf copy(file.bytes);  // in memory of exactly its size
    n_valid += fuzz::check_model(copy.part().data, copy.part().size);
  }
  CHECK(corpus.size() > 100 && n_valid > 10);
  test::note(std::to_string(corpus.size()) + " files of the corpus, " + std::to_string(n_valid) +
             " of them load and generate");
}
