// Reads any text as a receipt; one that is accepted is written and read again, and says the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "receipt/receipt.h"

using namespace flyball;

namespace {

u64 in_use = 0;

Platform memory() {
  Platform platform;
  platform.allocate = [](void*, u64 bytes) -> void* {
    in_use += bytes;
    if (in_use > u64(256) << 20) abort();  // a receipt asks for little more than its own size
    void* memory = aligned_alloc(64, round_up(bytes, 64));
    return memory != nullptr ? memset(memory, 0, bytes) : nullptr;
  };
  platform.release = [](void*, void* memory, u64 bytes) {
    in_use -= bytes;
    free(memory);
  };
  return platform;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const Platform platform = memory();
  char* copy = static_cast<char*>(malloc(size != 0 ? size : 1));
  if (size != 0) memcpy(copy, data, size);
  {
    Arena arena(platform);
    const auto parsed = receipt::parse_receipt(arena, {copy, size});
    if (parsed.ok()) {
      const auto written = receipt::write_receipt(arena, parsed.value());
      if (!written.ok()) abort();
      const auto again = receipt::parse_receipt(arena, written.value());
      if (!again.ok()) abort();
      const auto& a = parsed.value();
      const auto& b = again.value();
      if (runtime::answer_digest(a.content) != runtime::answer_digest(b.content)) abort();
      if (a.digest != b.digest || a.text != b.text || a.model_bytes != b.model_bytes) abort();
    } else if (parsed.error().where.size == 0) {
      abort();  // every error names its field
    }
  }
  if (in_use != 0) abort();
  free(copy);
  return 0;
}
