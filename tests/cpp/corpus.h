// The files that the fuzz targets found, in tests/fuzz/corpus.
#pragma once

#include <string>
#include <vector>

namespace test {

struct CorpusFile {
  std::string name, bytes;
};

std::vector<CorpusFile> fuzz_corpus(const std::string& target);

}  // namespace test
