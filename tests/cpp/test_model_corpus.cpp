// Replays the corpus of the model fuzz target: each file is refused, or loads and generates.
#include <filesystem>
#include <fstream>
#include <iterator>

#include "../fuzz/model_target.h"
#include "opened_gguf.h"
#include "test.h"

TEST(the_fuzz_corpus) {
  const auto corpus = std::filesystem::path(__FILE__).parent_path().parent_path() / "fuzz" / "corpus" / "model";
  flyball::u64 n_files = 0, n_valid = 0;
  for (const auto& entry : std::filesystem::directory_iterator(corpus)) {
    std::ifstream in(entry.path(), std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
    const test::OpenedGguf copy(bytes);  // in memory of exactly its size
    n_valid += fuzz::check_model(copy.part().data, copy.part().size);
    ++n_files;
  }
  CHECK(n_files > 100 && n_valid > 10);
  test::note(std::to_string(n_files) + " files of the corpus, " + std::to_string(n_valid) +
             " of them load and generate");
}
