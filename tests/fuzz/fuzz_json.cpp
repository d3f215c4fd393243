// Reads any text as JSON, walks all of it, and reads every value as every type.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "base/json.h"

using namespace flyball;

namespace {

Platform memory() {
  Platform platform;
  platform.allocate = [](void*, u64 bytes) -> void* {
    void* memory = aligned_alloc(64, round_up(bytes, 64));
    return memory != nullptr ? memset(memory, 0, bytes) : nullptr;
  };
  platform.release = [](void*, void* memory, u64) { free(memory); };
  return platform;
}

u64 walk(Arena& arena, const Json& value, u32 depth) {
  u64 n = 1;
  if (depth > Json::max_depth) abort();
  const auto boolean = value.as_bool("field");
  const auto natural = value.as_u64("field", 0, ~u64(0));
  const auto integer = value.as_i64("field", -1000, 1000);
  const auto number = value.as_f64("field");
  const auto single = value.as_f32("field");
  const auto text = value.as_string(arena, "field");
  if (single.ok() && single.value() == single.value()) {  // what is written reads back as the same bits
    char buffer[64];
    Writer out(buffer, sizeof buffer);
    JsonWriter(out).value(single.value());
    const auto back = Json::parse(out.text());
    if (!back.ok() || bit_cast<u32>(back.value().as_f32("").value()) != bit_cast<u32>(single.value())) abort();
  }
  if (boolean.ok() + text.ok() + number.ok() > 1 || (natural.ok() && !number.ok()) || (integer.ok() && !number.ok()))
    abort();
  for (JsonItems items(value); items.next();) n += walk(arena, items.value(), depth + 1);
  return n;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Platform platform = memory();
  // A copy of the exact size, so that a sanitizer sees every read past the end.
  char* copy = static_cast<char*>(malloc(size != 0 ? size : 1));
  if (size != 0) memcpy(copy, data, size);
  const auto parsed = Json::parse({copy, size});
  if (parsed.ok()) {
    Arena arena(platform);
    walk(arena, parsed.value(), 0);
    Json member;
    (void)parsed.value().find("a", &member);
  } else if (parsed.error().offset > size) {
    abort();
  }
  free(copy);
  return 0;
}
