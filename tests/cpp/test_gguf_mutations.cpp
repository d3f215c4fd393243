// Replays the fuzz corpus, and mutates valid files by fixed random numbers: the same in every run, on every machine.
#include <algorithm>
#include <random>

#include "../fuzz/gguf_target.h"
#include "corpus.h"
#include "gguf_writer.h"
#include "opened_gguf.h"
#include "test.h"

using namespace flyball;
using gguf::Type;
using test::bytes_of;
using test::GgufBytes;
using test::GgufWriter;

namespace {

using Random = std::mt19937_64;

u64 below(Random& random, u64 n) { return n ? random() % n : 0; }

u64 dangerous(Random& random, u64 size) {
  const u64 values[] = {0,
                        1,
                        size,
                        size + 1,
                        size / 2,
                        0x7fffffff,
                        0x80000000,
                        0xffffffff,
                        u64(1) << 32,
                        u64(1) << 61,
                        u64(1) << 62,
                        (u64(1) << 63) - 1,
                        u64(1) << 63,
                        ~u64(0) - 31,
                        ~u64(0),
                        random() % 300,
                        random()};
  return values[below(random, std::size(values))];
}

std::vector<GgufBytes> valid_files() {
  std::vector<GgufBytes> files;
  for (u32 version : {2u, 3u}) {
    GgufWriter model(version);
    model.string_key("general.architecture", "llama")
        .u32_key("llama.block_count", 2)
        .f32_key("llama.rope.freq_base", 1e4f);
    model.strings_key("tokenizer.ggml.tokens", {"<s>", "</s>", "a", "b", "", "\xff"});
    model.array_key("tokenizer.ggml.scores", 6, 6, std::string(24, '\0')).bool_key("tokenizer.ggml.add_bos_token", 1);
    model.tensor("token_embd.weight", {32, 6}, Type::q8_0).tensor("blk.0.attn_q.weight", {256, 2}, Type::q4_k);
    model.tensor("blk.0.attn_norm.weight", {32}, Type::f32).tensor("blk.1.attn_q.weight", {32, 4}, Type::f16);
    files.push_back(model.build());
  }
  GgufWriter aligned(3, 4096);
  for (const auto& info : gguf::supported_types())
    aligned.tensor("t." + std::string(info.name.data, info.name.size), {256}, info.type);
  files.push_back(aligned.build());
  GgufWriter keys;
  for (u32 i = 0; i < 60; ++i) keys.key("key." + std::to_string(i), 0, bytes_of(u8(i)));
  keys.array_key("bools", 7, 3, std::string("\0\1\0", 3)).array_key("u64s", 10, 2, std::string(16, '\2'));
  keys.strings_key("empty", {}).string_key("s", std::string(300, 's'));
  files.push_back(keys.build());
  GgufWriter first, second;
  first.u16_key("split.no", 0).u16_key("split.count", 2).i32_key("split.tensors.count", 2).tensor("a", {8}, Type::f32);
  second.u16_key("split.no", 1).u16_key("split.count", 2).tensor("b", {8}, Type::f32);
  const std::string one = first.build().bytes, two = second.build().bytes;
  GgufBytes split{"SPLT" + bytes_of(u32(one.size())) + one + two, {{"length", 4}}};
  for (const auto& [name, at] : first.build().fields) split.fields["1/" + name] = at + 8;
  for (const auto& [name, at] : second.build().fields) split.fields["2/" + name] = at + 8 + one.size();
  files.push_back(split);
  return files;
}

void flip_bits(Random& random, std::string& bytes) {
  for (u64 n = 1 + below(random, 8); n > 0; --n) bytes[below(random, bytes.size())] ^= char(1 << below(random, 8));
}

void lie_in_fields(Random& random, const GgufBytes& file, std::string& bytes) {
  for (u64 n = 1 + below(random, 3); n > 0; --n) {
    auto field = file.fields.begin();
    std::advance(field, below(random, file.fields.size()));
    const u64 value = dangerous(random, bytes.size());
    const u64 at = field->second + (below(random, 3) ? 0 : 8);  // also the second dimension
    const u64 width = below(random, 2) ? 8 : 4;
    if (at < bytes.size()) std::memcpy(bytes.data() + at, &value, std::min<u64>(width, bytes.size() - at));
  }
}

void swap_blocks(Random& random, std::string& bytes) {
  const u64 size = 1 + below(random, std::min<u64>(64, bytes.size() / 2));
  const u64 a = below(random, bytes.size() - size + 1), b = below(random, bytes.size() - size + 1);
  for (u64 i = 0; i < size; ++i) std::swap(bytes[a + i], bytes[b + i]);
}

void insert_or_erase(Random& random, std::string& bytes) {
  const u64 at = below(random, bytes.size()), size = 1 + below(random, 16);
  if (below(random, 2))
    bytes.insert(at, size, char(random()));
  else
    bytes.erase(at, size);
}

void splice(Random& random, std::string& bytes, const std::string& other) {
  const u64 kept = below(random, bytes.size()), from = below(random, other.size());
  bytes = bytes.substr(0, kept) + other.substr(from);
}

bool survives(const std::string& bytes) {
  const test::OpenedGguf copy(std::vector<std::string>{bytes});  // in memory of exactly its size
  return fuzz::check_gguf(copy.part().data, copy.part().size);
}

}  // namespace

TEST(ten_thousand_mutations) {
  const std::vector<GgufBytes> files = valid_files();
  for (const auto& file : files) REQUIRE(survives(file.bytes));
  constexpr u64 n_mutations = 12000;
  u64 n_valid = 0;
  Random random(20240802);
  for (u64 i = 0; i < n_mutations; ++i) {
    const GgufBytes& file = files[i % files.size()];
    std::string bytes = file.bytes;
    switch (i / files.size() % 6) {
      case 0: flip_bits(random, bytes); break;
      case 1: lie_in_fields(random, file, bytes); break;
      case 2: bytes.resize(below(random, bytes.size())); break;
      case 3: swap_blocks(random, bytes); break;
      case 4: insert_or_erase(random, bytes); break;
      default: splice(random, bytes, files[below(random, files.size())].bytes); break;
    }
    n_valid += survives(bytes);
  }
  CHECK(n_valid > 0 && n_valid < n_mutations / 2);
  test::note(std::to_string(n_mutations) + " mutated files: " + std::to_string(n_mutations - n_valid) + " refused, " +
             std::to_string(n_valid) + " still valid");
}

TEST(the_fuzz_corpus) {
  const auto corpus = test::fuzz_corpus("gguf");
  u64 n_valid = 0;
  for (const auto& file : corpus) n_valid += survives(file.bytes);
  CHECK(corpus.size() > 20 && n_valid > 0);
  test::note(std::to_string(corpus.size()) + " files of the corpus, " + std::to_string(n_valid) + " of them valid");
}
