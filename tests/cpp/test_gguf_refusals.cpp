// Each class of flaw that real loaders had, with a crafted file: code, offset and field of the refusal are checked.
// (A block_count beyond the limit is a matter of the model's description: tests of model/.)
#include <chrono>
#include <limits>

#include "gguf/file.h"
#include "gguf/names.h"
#include "gguf/part.h"
#include "gguf_writer.h"
#include "opened_gguf.h"
#include "test.h"

using namespace flyball;
using gguf::Type;
using test::bytes_of;
using test::GgufBytes;
using test::GgufWriter;
using test::OpenedGguf;

namespace {

constexpr u64 huge[] = {u64(1) << 63, ~u64(0),      ~u64(0) - 7, (u64(1) << 63) - 1,
                        u64(1) << 62, u64(1) << 61, u64(1) << 32};

std::string refusal(const std::string& bytes, Code code, u64 offset, Str where) {
  const OpenedGguf opened(bytes);
  CHECK(opened.error().code == code);
  CHECK_EQ(opened.error().offset, offset);
  CHECK_EQ(opened.error().where.str(), where);
  CHECK(opened.error().what.size > 0);
  CHECK(opened.memory.peak <= 16 * bytes.size() + (u64(1) << 20));
  return opened.text();
}

bool says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

GgufWriter small() {
  return GgufWriter()
      .string_key("general.architecture", "llama")
      .strings_key("words", {"a", "bc", "def"})
      .array_key("numbers", 5, 3, bytes_of(1) + bytes_of(2) + bytes_of(3))
      .bool_key("flag", 1)
      .tensor("one", {64, 2}, Type::f32)
      .tensor("two", {256, 3}, Type::q4_k)
      .tensor("three", {32}, Type::q8_0);
}

}  // namespace

TEST(other_formats_are_named) {
  CHECK(says(refusal("", Code::corrupt, 0, "magic"), "not a GGUF file"));
  CHECK(says(refusal("GGU", Code::corrupt, 0, "magic"), "begins with 'GGU'"));
  CHECK(says(refusal("tjgg........................", Code::unsupported, 0, "magic"), "GGJT"));
  CHECK(
      says(refusal("version https://git-lfs.github.com/spec/v1\n", Code::unsupported, 0, "magic"), "Git LFS pointer"));
  CHECK(says(refusal("<!DOCTYPE html>", Code::unsupported, 0, "magic"), "web page"));
  CHECK(says(refusal(std::string("\x7f"
                                 "ELF\0\0\0\0\0\0\0",
                                 11),
                     Code::corrupt, 0, "magic"),
             "'\\x7fELF'"));
  refusal("GGUF", Code::corrupt, 4, "header");
}

TEST(versions_that_are_not_read) {
  const auto file = small().build();
  CHECK(says(refusal(file.with("version", u32(1)).bytes, Code::unsupported, 4, "version"), "GGUF version 1"));
  for (u32 version : {0u, 4u, 0xffffffffu})
    CHECK(says(refusal(file.with("version", version).bytes, Code::unsupported, 4, "version"), "versions 2 and 3"));
  for (u32 version : {0x01000000u, 0x02000000u, 0x03000000u})
    CHECK(says(refusal(file.with("version", version).bytes, Code::unsupported, 4, "version"), "big-endian"));
}

// CVE-2024-23605, CVE-2024-21836: counts that multiply into small allocations or endless loops.
TEST(counts_that_lie) {
  const auto file = small().build();
  for (u64 count : huge) {
    refusal(file.with("n_kv", count).bytes, Code::corrupt, 16, "n_kv");
    refusal(file.with("n_tensors", count).bytes, Code::corrupt, 8, "n_tensors");
  }
  // The largest counts whose smallest encoding would just fit, and the first that does not.
  const u64 left = file.bytes.size() - 24;
  const auto most = OpenedGguf(file.with("n_tensors", left / 33).bytes);
  CHECK(most.error().where.str() != Str("n_tensors"));
  refusal(file.with("n_tensors", left / 33 + 1).bytes, Code::corrupt, 8, "n_tensors");
  const u64 for_keys = left - 3 * 33;
  CHECK(OpenedGguf(file.with("n_kv", for_keys / 14).bytes).error().where.str() != Str("n_kv"));
  refusal(file.with("n_kv", for_keys / 14 + 1).bytes, Code::corrupt, 16, "n_kv");
  // One more or one less than there are: whatever is read next is no key and no tensor.
  for (u64 n : {3, 5}) CHECK(!OpenedGguf(file.with("n_kv", n).bytes).ok());
  CHECK(!OpenedGguf(file.with("n_tensors", u64(4)).bytes).ok());
}

TEST(counts_beyond_the_limit) {
  std::string bytes = "GGUF" + bytes_of(u32(3)) + bytes_of(u64(0)) + bytes_of(gguf::most_keys + 1);
  bytes.resize(24 + 14 * (gguf::most_keys + 1));
  CHECK(says(refusal(bytes, Code::unsupported, 16, "n_kv"), "the limit is"));
}

// CVE-2024-21825, CVE-2024-23496: string lengths that wrap when one is added, or that run past the file.
TEST(string_lengths_that_lie) {
  const auto file = small().build();
  for (u64 length : huge) {
    refusal(file.with("words/name", length).bytes, Code::corrupt, file.at("words/name"), "key name");
    refusal(file.with("general.architecture/value", length).bytes, Code::corrupt, file.at("general.architecture/value"),
            "string of key 'general.architecture'");
    refusal(file.with("words/value", length, 9).bytes, Code::corrupt, file.at("words/value") + 9,
            "string of array 'words'");
    refusal(file.with("one/name", length).bytes, Code::corrupt, file.at("one/name"), "tensor name");
  }
}

// ggml-org/llama.cpp#27188: arrays of 2^63 elements; the product with the element's size wraps.
TEST(array_lengths_that_lie) {
  const auto file = small().build();
  for (u64 count : huge) {
    refusal(file.with("words/count", count).bytes, Code::corrupt, file.at("words/count"), "length of array 'words'");
    refusal(file.with("numbers/count", count).bytes, Code::corrupt, file.at("numbers/count"),
            "length of array 'numbers'");
  }
  for (u64 count : {(u64(1) << 62) + 1, u64(0x4000000000000003)})  // times 4: 4 and 12 after the wrap
    refusal(file.with("numbers/count", count).bytes, Code::corrupt, file.at("numbers/count"),
            "length of array 'numbers'");
  // A count that fits the file but not the strings in it.
  CHECK(!OpenedGguf(file.with("words/count", u64(20)).bytes).ok());
}

// ggml-org/llama.cpp#26690: element types that do not exist, or that change what follows.
TEST(element_types_that_lie) {
  const auto file = small().build();
  for (u32 type : {13u, 14u, 255u, 0x80000000u, 0xffffffffu}) {
    refusal(file.with("flag/type", type).bytes, Code::corrupt, file.at("flag/type"), "type of key 'flag'");
    refusal(file.with("numbers/element", type).bytes, Code::corrupt, file.at("numbers/element"),
            "element type of array 'numbers'");
  }
  CHECK(says(refusal(file.with("numbers/element", u32(9)).bytes, Code::unsupported, file.at("numbers/element"),
                     "element type of array 'numbers'"),
             "arrays of arrays"));
  for (u32 type = 0; type < 13; ++type) {  // numbers read as strings and the like: refused, or read within bounds
    const OpenedGguf opened(file.with("numbers/element", type).bytes);
    CHECK(opened.ok() == (type == 4 || type == 5 || type == 6));
    const OpenedGguf words(file.with("words/element", type).bytes);
    CHECK(words.ok() == (type == 8));
  }
}

TEST(bools_are_0_or_1) {
  const auto file = small().array_key("flags", 7, 3, std::string("\0\1\0", 3)).build();
  refusal(file.with("flag/value", u8(2)).bytes, Code::corrupt, file.at("flag/value"), "value of key 'flag'");
  refusal(file.with("flags/value", u8(255), 2).bytes, Code::corrupt, file.at("flags/value") + 2,
          "value of key 'flags'");
}

TEST(key_names) {
  const auto file = small().u32_key("abcd", 1).u32_key("abce", 2).build();
  CHECK(says(refusal(file.with("abce/name", u8('d'), 8 + 3).bytes, Code::corrupt, file.at("abce/name"), "key 'abcd'"),
             "appears twice"));
  refusal(file.with("abce/name", u8(0), 8 + 2).bytes, Code::corrupt, file.at("abce/name"), "key name 'ab\\x00e'");
  const auto empty = GgufWriter().u32_key("", 1).u32_key("padding", 1).build();
  refusal(empty.bytes, Code::corrupt, 24, "key name");
  CHECK(OpenedGguf(GgufWriter().u32_key(std::string(65535, 'k'), 1).build().bytes).ok());
  const auto longer = GgufWriter().u32_key(std::string(65536, 'k'), 1).build();
  CHECK(says(refusal(longer.bytes, Code::corrupt, 24, "key name"), "the limit is 65535"));
  CHECK(OpenedGguf(GgufWriter().u32_key("Upper Case, \xc3\xbc and - are met in real files", 1).build().bytes).ok());
}

TEST(tensor_names) {
  const auto file = small().tensor("six", {1}, Type::f32).tensor("sip", {1}, Type::f32).build();
  CHECK(says(refusal(file.with("sip/name", u8('x'), 8 + 2).bytes, Code::corrupt, file.at("sip/name"), "tensor 'six'"),
             "appears twice"));
  CHECK(OpenedGguf(GgufWriter().tensor(std::string(64, 't'), {1}, Type::f32).build().bytes).ok());
  const auto longer = GgufWriter().tensor(std::string(65, 't'), {1}, Type::f32).build();
  refusal(longer.bytes, Code::corrupt, 24, "tensor name");
  const auto empty = GgufWriter().tensor("", {1}, Type::f32).build();
  refusal(empty.bytes + "padding", Code::corrupt, 24, "tensor name");
}

// CVE-2024-21802: info->ne. The products of dimensions, and of rows and their bytes, must not wrap.
TEST(tensor_shapes) {
  const auto file = small().build();
  const u64 dims = file.at("two/dims");
  for (u32 n : {0u, 5u, 6u, 0x80000000u, 0xffffffffu})
    refusal(file.with("two/n_dims", n).bytes, Code::corrupt, file.at("two/n_dims"), "dimensions of tensor 'two'");
  refusal(file.with("two/dims", u64(0)).bytes, Code::corrupt, dims, "shape of tensor 'two'");
  refusal(file.with("two/dims", u64(0), 8).bytes, Code::corrupt, dims + 8, "shape of tensor 'two'");
  for (u64 size : huge) {
    const auto rows = file.with("two/dims", size, 8);  // 256 * size
    CHECK(!OpenedGguf(rows.bytes).ok());
    CHECK(OpenedGguf(rows.bytes).error().code == Code::corrupt);
    CHECK(!OpenedGguf(file.with("two/dims", size).bytes).ok());
    CHECK(!OpenedGguf(file.with("one/dims", size).bytes).ok());
    CHECK(!OpenedGguf(file.with("one/dims", size, 8).bytes).ok());
  }
  // 2^32 x 2^32 values wrap to 0; 2^8 x (2^56 + 1) to 256.
  refusal(file.with("two/dims", u64(1) << 32).with("two/dims", u64(1) << 32, 8).bytes, Code::corrupt, dims + 8,
          "shape of tensor 'two'");
  refusal(file.with("two/dims", (u64(1) << 56) + 1, 8).bytes, Code::corrupt, dims + 8, "shape of tensor 'two'");
  // The values fit in 64 bits, their bytes (4 each) do not: 2^62 + 16 values would be 64 bytes.
  const u64 one = file.at("one/dims");
  refusal(file.with("one/dims", (u64(1) << 62) + 16).with("one/dims", u64(1), 8).bytes, Code::corrupt, one,
          "shape of tensor 'one'");
  CHECK(says(refusal(file.with("two/dims", u64(255)).bytes, Code::corrupt, dims, "shape of tensor 'two'"),
             "blocks of 256"));
  refusal(file.with("three/dims", u64(33)).bytes, Code::corrupt, file.at("three/dims"), "shape of tensor 'three'");
}

TEST(tensor_types_are_refused_by_name) {
  const auto file = small().build();
  const struct {
    u32 type;
    const char* name;
  } refused[] = {{4, "Q4_2 (removed)"},
                 {5, "Q4_3 (removed)"},
                 {31, "Q4_0_4_4 (removed)"},
                 {32, "Q4_0_4_8 (removed)"},
                 {33, "Q4_0_8_8 (removed)"},
                 {36, "IQ4_NL_4_4 (removed)"},
                 {37, "IQ4_NL_4_8 (removed)"},
                 {38, "IQ4_NL_8_8 (removed)"},
                 {9, "Q8_1"},
                 {24, "I8"},
                 {28, "F64"},
                 {43, "unknown"},
                 {0xffffffff, "unknown"}};
  std::string supported;
  for (const auto& info : gguf::supported_types()) supported += " " + std::string(info.name.data, info.name.size);
  for (const auto& type : refused) {
    const auto text =
        refusal(file.with("one/type", type.type).bytes, Code::unsupported, file.at("one/type"), "type of tensor 'one'");
    CHECK(says(text, type.name));
    CHECK(says(text, "supported are" + supported));
  }
}

// ggml-org/llama.cpp#24997: alignment without an upper bound; #26318: padding that wraps.
TEST(alignments) {
  const auto file = GgufWriter(3, 64).u32_key("k", 1).tensor("one", {8}, Type::f32).build();
  REQUIRE(OpenedGguf(file.bytes).ok());
  const u64 at = file.at("general.alignment/value");
  for (u32 alignment : {0u, 1u, 2u, 3u, 4u, 12u, 33u, 96u, 0x20000u, 0x80000000u, 0xfffffff8u, 0xffffffffu})
    refusal(file.with("general.alignment/value", alignment).bytes, Code::corrupt, at, "key 'general.alignment'");
  for (u32 type : {0u, 2u, 5u, 6u, 10u, 11u}) {
    const OpenedGguf opened(file.with("general.alignment/type", type).bytes);
    CHECK(opened.error().where.str() == Str("key 'general.alignment'"));
    CHECK_EQ(opened.error().offset, at);
  }
  // The alignment moves the data: with a larger one this tensor ends beyond the file.
  CHECK(OpenedGguf(file.with("general.alignment/value", u32(65536)).bytes).error().where.str() ==
        Str("data of tensor 'one'"));
}

// CVE-2026-7482: data beyond the file; CVE-2025-53630, -27940, -33298: sums of sizes that wrap.
TEST(tensor_offsets) {
  const auto file = small().build();
  const u64 at = file.at("three/offset");
  for (u64 offset : {~u64(0) - 31, u64(1) << 63, (u64(1) << 63) - 32, u64(1) << 32, u64(4096)})
    refusal(file.with("three/offset", offset).bytes, Code::corrupt, at, "data of tensor 'three'");
  for (u64 offset : {u64(1), u64(16), u64(31), ~u64(0)})
    CHECK(says(refusal(file.with("three/offset", offset).bytes, Code::corrupt, at, "offset of tensor 'three'"),
               "not a multiple of the alignment 32"));
  // Offset + size wraps to a small number.
  const u64 size = 34;
  refusal(file.with("three/offset", (~u64(0) - size) / 32 * 32).bytes, Code::corrupt, at, "data of tensor 'three'");
  refusal(file.with("three/offset", ~u64(0) / 32 * 32).bytes, Code::corrupt, at, "data of tensor 'three'");
  // One aligned step too far, and the data's last byte missing.
  refusal(file.with("three/offset", u64(1024)).bytes, Code::corrupt, at, "data of tensor 'three'");
  refusal(file.bytes.substr(0, file.bytes.size() - 1), Code::corrupt, at, "data of tensor 'three'");
  CHECK(OpenedGguf(file.bytes).ok());
}

// Sizes that are each within the file, whose sum is far beyond it: a reader that allocates the sum would be lied to.
TEST(tensors_must_not_overlap) {
  const auto file = small().build();
  CHECK(says(refusal(file.with("three/offset", u64(0)).bytes, Code::corrupt, file.at("three/offset"),
                     "data of tensor 'three'"),
             "overlaps the data of tensor 'one'"));
  refusal(file.with("two/offset", u64(480)).bytes, Code::corrupt, file.at("two/offset"), "data of tensor 'two'");
  refusal(file.with("three/offset", u64(512 + 416)).bytes, Code::corrupt, file.at("three/offset"),
          "data of tensor 'three'");
  GgufWriter writer;
  for (int i = 0; i < 300; ++i) writer.tensor("t" + std::to_string(i), {8}, Type::f32);
  auto many = writer.build();
  std::string* bytes = &many.bytes;
  for (int i = 0; i < 300; ++i) {  // in reverse order: fine
    const u64 offset = u64(299 - i) * 32;
    std::memcpy(bytes->data() + many.at("t" + std::to_string(i) + "/offset"), &offset, 8);
  }
  CHECK(OpenedGguf(many.bytes).ok());
  const OpenedGguf twice(many.with("t7/offset", u64(32 * 100)).bytes);
  CHECK(twice.error().code == Code::corrupt);
  CHECK(says(twice.text(), "'t7'") && says(twice.text(), "'t199'"));
}

TEST(every_truncation_is_refused) {
  for (u32 version : {2u, 3u}) {
    const auto file = GgufWriter(version, 64)
                          .string_key("general.architecture", "llama")
                          .strings_key("words", {"a", "", "def"})
                          .array_key("numbers", 5, 2, bytes_of(1) + bytes_of(2))
                          .bool_key("flag", 1)
                          .tensor("one", {4, 2}, Type::f32)
                          .tensor("two", {32}, Type::q8_0)
                          .build();
    REQUIRE(OpenedGguf(file.bytes).ok());
    for (u64 size = 0; size < file.bytes.size(); ++size) {
      const OpenedGguf opened(file.bytes.substr(0, size));
      CHECK(!opened.ok());
      CHECK(opened.error().code == Code::corrupt);
      CHECK(opened.error().offset <= size || opened.error().offset < file.at("one/data"));
      CHECK(opened.error().where.size > 0 && opened.error().what.size > 0);
    }
  }
  // Without tensors, the file is whole once its keys are.
  const auto keys = GgufWriter().string_key("a", "text").u32_key("b", 1).build();
  for (u64 size = 0; size < keys.bytes.size(); ++size) CHECK(!OpenedGguf(keys.bytes.substr(0, size)).ok());
  CHECK(OpenedGguf(keys.bytes).ok());
}

// Every 4 and 8 bytes of the header in turn become each of the values that break naive arithmetic.
TEST(every_field_with_every_dangerous_value) {
  const auto file = small().build();
  const u64 header = file.at("one/data");
  const u64 values[] = {
      0,      1, 2, 9, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000, (u64(1) << 63) - 1, u64(1) << 63, ~u64(0) - 31,
      ~u64(0)};
  u64 n_read = 0;
  for (u64 at = 0; at + 8 <= header; ++at) {
    for (u64 value : values) {
      for (u64 width : {4, 8}) {
        std::string bytes = file.bytes;
        std::memcpy(bytes.data() + at, &value, width);
        const OpenedGguf opened(bytes);
        n_read += opened.ok();
        CHECK(opened.ok() || (opened.error().offset != Error::no_offset && opened.error().where.size > 0));
        CHECK(opened.memory.peak <= 16 * bytes.size() + (u64(1) << 20));
      }
    }
  }
  test::note(std::to_string(n_read) + " of " + std::to_string((header - 7) * 12 * 2) +
             " changed files were still valid");
}

// FNV-1a can be made to collide; a file that does so must not cost quadratic time.
TEST(colliding_names_are_refused_in_linear_time) {
  // Names with one hash value modulo the table's size, found by search.
  const u64 n = 2000;
  const u64 slots = gguf::index_size(n);
  GgufWriter writer;
  std::vector<std::string> names;
  for (u64 i = 0; names.size() < n; ++i) {
    const std::string name = std::to_string(i);
    const u64 hash = hash_bytes({name.data(), name.size()});
    if (((hash ^ hash >> 32) & (slots - 1)) == 0) names.push_back(name);
  }
  for (const auto& name : names) writer.key(name, 0, "x");
  const OpenedGguf opened(writer.build().bytes);
  CHECK(opened.error().code == Code::unsupported);
  CHECK(says(opened.text(), "hash"));
  CHECK(opened.error().offset != Error::no_offset);
}

TEST(memory_that_runs_out_is_an_error) {
  const auto file = small().build();
  for (u64 limit : {0, 1000}) {
    const OpenedGguf opened({file.bytes}, limit);
    CHECK(opened.error().code == Code::out_of_memory);
  }
  GgufWriter writer;
  for (u32 i = 0; i < 20000; ++i) writer.u32_key("key." + std::to_string(i), i);
  const std::string many = writer.build().bytes;
  const OpenedGguf whole(many);
  REQUIRE(whole.ok());
  CHECK(whole.memory.peak <= 16 * many.size() + (u64(1) << 20));
  for (u64 limit = 0; limit < whole.memory.peak; limit += 100000)
    CHECK(OpenedGguf({many}, limit).error().code == Code::out_of_memory);
}

TEST(a_large_vocabulary_opens_in_milliseconds) {
  std::vector<std::string> words;
  for (u32 i = 0; i < 128000; ++i) words.push_back("token" + std::to_string(i));
  const std::string bytes = GgufWriter()
                                .strings_key("tokenizer.ggml.tokens", words)
                                .array_key("tokenizer.ggml.token_type", 5, 128000, std::string(512000, '\1'))
                                .build()
                                .bytes;
  const auto begin = std::chrono::steady_clock::now();
  const OpenedGguf opened(bytes);
  const double ms = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
  CHECK(opened.ok());
  CHECK(opened.memory.peak == u64(1) << 20);  // strings stay in the file
  test::note("128000 tokens opened in " + std::to_string(ms) + " ms");
}
