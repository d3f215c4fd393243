// Coverage-guided fuzzing of the configuration's parser. Without CMake, from the repository's root:
//   clang++-19 -std=c++20 -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -Icpp
//     tests/fuzz/fuzz_config.cpp cpp/settings/config.cpp cpp/base/{text,result}.cpp -o fuzz_config          (one line)
#include <vector>

#include "settings/config.h"

using namespace flyball;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Span<const settings::ConfigKey> keys = settings::config_keys();
  std::vector<settings::ConfigValue> values(keys.size);
  const Str text(reinterpret_cast<const char*>(data), size);
  const Status status = settings::read_config("flyball.toml", text, {values.data(), keys.size});
  // What is refused says where; what is accepted is in its range.
  if (!status.ok() && !status.error().where.str().starts_with("flyball.toml:")) __builtin_trap();
  for (u64 i = 0; i < keys.size; ++i) {
    const settings::ConfigValue& value = values[i];
    if (!value.set) continue;
    if (keys[i].type == settings::ConfigType::integer &&
        (value.integer < keys[i].least || value.integer > keys[i].most))
      __builtin_trap();
    if (keys[i].type == settings::ConfigType::real &&
        !(value.real >= keys[i].least_real && value.real <= keys[i].most_real))
      __builtin_trap();
    if (value.text.size > sizeof value.text.data) __builtin_trap();
  }
  return 0;
}
