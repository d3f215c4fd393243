// The whole loader and a little of the engine on a hostile model. The files are tiny (make_corpus.py), so the weights' kernels
// run, too. Most mutations keep the file's structure and change what it says: the structure is fuzz_gguf's business.
#include "model_target.h"

using namespace flyball;

namespace {

// A place in the file whose bytes may become anything without moving what follows.
Span<u8> changeable(const gguf::File& file, u8* data, u64 random) {
  const u64 n_entries = file.entries().size, n_tensors = file.tensors().size;
  if (n_entries + n_tensors == 0) return {};
  const u64 choice = random % (n_entries + n_tensors);
  const u64 more = random >> 32;
  u8* const first = data;
  const auto writable = [&](const void* at, u64 n) {
    return Span<u8>(first + (static_cast<const u8*>(at) - first), n);
  };
  if (choice < n_entries) {
    const gguf::Entry& entry = file.entries()[choice];
    if (more % 8 == 0) return writable(entry.key.data, entry.key.size);
    const Span<const u8> raw = entry.value.raw;
    const bool strings = entry.value.type == gguf::ValueType::array && entry.value.element == gguf::ValueType::string;
    if (strings) {  // the text of one of them
      gguf::StringArray walk(entry.value);
      Str text;
      for (u64 i = entry.value.count ? more % entry.value.count + 1 : 0; i > 0; --i) (void)walk.next(&text);
      return writable(text.empty() ? entry.key.data : text.data, text.size);
    }
    const u64 width = min(raw.size, u64(8));
    return width == 0 ? Span<u8>() : writable(raw.data + more % (raw.size - width + 1), width);
  }
  const gguf::Tensor& tensor = file.tensors()[choice - n_entries];
  const u64 fields = 8 * u64(tensor.n_dims) + 4;  // shape and type
  if (more % 4 == 0) return writable(tensor.name.data, tensor.name.size);
  if (more % 4 == 1) return writable(tensor.data.data, min(tensor.data.size, u64(64)));
  return writable(tensor.name.data + tensor.name.size + 4, fields);
}

}  // namespace

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  const u64 random = (u64(seed) * 0x9e3779b97f4a7c15u) ^ (u64(seed) * 0xc2b2ae3d27d4eb4fu >> 29);
  test::CountingPlatform memory;
  Arena arena(memory.platform);
  const Span<const u8> part{data, size};
  const auto file = gguf::File::open(arena, {&part, 1});
  if (random % 16 == 0 || !file.ok()) return LLVMFuzzerMutate(data, size, max_size);
  const Span<u8> place = changeable(*file.value(), data, random / 16);
  if (place.empty()) return LLVMFuzzerMutate(data, size, max_size);
  (void)LLVMFuzzerMutate(place.data, place.size, place.size);
  return size;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::check_model(data, size);
  return 0;
}
