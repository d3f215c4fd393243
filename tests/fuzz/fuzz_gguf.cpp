// Coverage-guided fuzzing of the GGUF reader. Without CMake, from the repository's root:
//   clang++-19 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icpp
//     tests/fuzz/fuzz_gguf.cpp cpp/gguf/*.cpp cpp/base/{text,result,arena}.cpp -o fuzz_gguf          (one line)
//   ./fuzz_gguf -rss_limit_mb=2048 -malloc_limit_mb=64 -timeout=5 -dict=tests/fuzz/gguf.dict new/
//   tests/fuzz/corpus/gguf/
#include "gguf_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::check_gguf(data, size);
  return 0;
}
