// Coverage-guided fuzzing of vocabularies and texts: see tokenizer_target.h. Without CMake, from the repository's root:
//   clang++-19 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icpp
//     tests/fuzz/fuzz_tokenizer.cpp cpp/{gguf,tokenizer}/*.cpp cpp/base/{text,result,arena}.cpp -o fuzz_tokenizer
//   ./fuzz_tokenizer -timeout=5 -max_len=2048 new/ tests/fuzz/corpus/tokenizer/
#include "tokenizer_target.h"

// vocabularies.h is a test header; its checks have nothing to report to here.
namespace test {
void failed(const char*, int, const std::string& message) { throw std::logic_error(message); }
void passed() {}
}  // namespace test

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::check_tokenizer(data, size);
  return 0;
}
