#include "corpus.h"

#include <filesystem>
#include <fstream>
#include <iterator>

namespace test {

std::vector<CorpusFile> fuzz_corpus(const std::string& target) {
  std::vector<CorpusFile> files;
  const auto folder = std::filesystem::path(FLYBALL_SOURCE_DIR) / "tests" / "fuzz" / "corpus" / target;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream in(entry.path(), std::ios::binary);
    files.push_back({entry.path().filename().string(), {std::istreambuf_iterator<char>(in), {}}});
  }
  return files;
}

}  // namespace test
