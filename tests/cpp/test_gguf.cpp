// What the reader reads. What it refuses is in test_gguf_refusals.cpp.
#include <limits>

#include "gguf/file.h"
#include "gguf/split.h"
#include "gguf_writer.h"
#include "opened_gguf.h"
#include "test.h"

using namespace flyball;
using gguf::Type;
using gguf::ValueType;
using test::bytes_of;
using test::GgufWriter;
using test::OpenedGguf;

namespace {

GgufWriter all_kinds(u32 version) {
  GgufWriter writer(version, 64);
  writer.key("a.u8", 0, bytes_of(u8(200))).key("a.i8", 1, bytes_of(i8(-5))).key("a.u16", 2, bytes_of(u16(60000)));
  writer.key("a.i16", 3, bytes_of(i16(300))).u32_key("a.u32", 4000000000u).i32_key("a.i32", -7);
  writer.f32_key("a.f32", 0.5f).bool_key("a.bool", 1).string_key("a.string", std::string("text\0\xff", 6));
  writer.key("a.u64", 10, bytes_of(~u64(0))).key("a.i64", 11, bytes_of(i64(1) << 40)).key("a.f64", 12, bytes_of(0.1));
  writer.strings_key("a.strings", {"", "one", std::string(1000, 'x')}).array_key("a.empty", 8, 0, "");
  writer.array_key("a.floats", 6, 2, bytes_of(1.5f) + bytes_of(-2.0f))
      .array_key("a.bools", 7, 2, std::string("\0\1", 2));
  return writer;
}

}  // namespace

TEST(reads_every_kind_of_value) {
  for (u32 version : {2u, 3u}) {
    const auto bytes = all_kinds(version).build();
    const OpenedGguf opened(bytes.bytes);
    REQUIRE(opened.ok());
    const gguf::File& file = opened.file();
    CHECK_EQ(file.version(), version);
    CHECK_EQ(file.entries().size, 17);
    CHECK_EQ(file.get_u64("a.u8").value(), 200);
    CHECK_EQ(file.get_u64("a.u16").value(), 60000);
    CHECK_EQ(file.get_u64("a.i16").value(), 300);
    CHECK_EQ(file.get_u64("a.u32").value(), 4000000000u);
    CHECK_EQ(file.get_u64("a.u64").value(), ~u64(0));
    CHECK_EQ(file.get_u64("a.i64").value(), u64(1) << 40);
    CHECK_EQ(file.get_f64("a.f32").value(), 0.5);
    CHECK_EQ(file.get_f64("a.f64").value(), 0.1);
    CHECK_EQ(file.get_f64("a.i16").value(), 300.0);
    CHECK(file.get_bool("a.bool").value());
    CHECK(file.get_str("a.string").value() == Str("text\0\xff", 6));
    CHECK_EQ(file.find("a.f32")->offset, bytes.at("a.f32/value"));
    CHECK_EQ(file.find("a.string")->offset, bytes.at("a.string/value") + 8);

    const auto strings = file.get_array("a.strings", ValueType::string);
    REQUIRE(strings.ok());
    CHECK_EQ(strings.value().offset, bytes.at("a.strings/value"));
    gguf::StringArray walk(strings.value());
    Str text;
    CHECK(walk.next(&text) && text.empty());
    CHECK(walk.next(&text) && text == "one");
    CHECK(walk.next(&text) && text.size == 1000);
    CHECK(!walk.next(&text));
    CHECK_EQ(walk.left(), 0);
    CHECK(!gguf::StringArray(file.get_array("a.empty", ValueType::string).value()).next(&text));
    CHECK_EQ(file.get_array("a.floats", ValueType::f32).value().raw.size, 8);
    CHECK_EQ(file.get_array("a.bools", ValueType::boolean).value().count, 2);
  }
}

TEST(typed_access_says_what_is_wrong) {
  const auto bytes = all_kinds(3).build();
  const OpenedGguf opened(bytes.bytes);
  REQUIRE(opened.ok());
  const gguf::File& file = opened.file();

  CHECK(file.get_u64("none").error().code == Code::not_found);
  CHECK(file.get_u64("none").error().where.str() == Str("none"));
  CHECK(file.get_u64("a.i32").error().code == Code::corrupt);  // negative
  CHECK_EQ(file.get_u64("a.i32").error().offset, bytes.at("a.i32/value"));
  CHECK(file.get_u64("a.i8").error().code == Code::corrupt);
  CHECK(file.get_f64("a.i32").error().code == Code::corrupt);
  CHECK(file.get_f64("a.u64").error().code == Code::corrupt);  // no float represents it
  for (Str key : {Str("a.f32"), Str("a.bool"), Str("a.string"), Str("a.floats")}) {
    const auto result = file.get_u64(key);
    CHECK(result.error().code == Code::corrupt);
    CHECK_EQ(result.error().offset, file.find(key)->offset);
  }
  CHECK(file.get_bool("a.u8").error().what.str() == Str("must be a bool, is of type u8"));
  CHECK(file.get_str("a.strings").error().what.str() == Str("must be a string, is an array of string"));
  CHECK(file.get_array("a.floats", ValueType::i32).error().what.str() ==
        Str("must be an array of i32, is an array of f32"));
  CHECK(file.get_array("a.u32", ValueType::u32).error().code == Code::corrupt);

  CHECK_EQ(file.get_u64_or("none", 7).value(), 7);
  CHECK_EQ(file.get_f64_or("none", 0.5).value(), 0.5);
  CHECK(file.get_bool_or("none", true).value());
  CHECK(file.get_str_or("none", "x").value() == Str("x"));
  CHECK(!file.get_u64_or("a.string", 7).ok());  // a default does not hide a wrong type
  CHECK(!file.get_str_or("a.u32", "x").ok());
}

TEST(a_string_walk_over_another_value_stays_inside) {
  const OpenedGguf opened(all_kinds(3).build().bytes);
  REQUIRE(opened.ok());
  for (const auto& entry : opened.file().entries()) {
    gguf::StringArray walk(entry.value);
    Str text;
    u64 n = 0;
    while (walk.next(&text)) ++n;
    CHECK(n <= entry.value.count);
  }
}

TEST(reads_tensors_of_every_type) {
  for (u64 alignment : {8, 32, 4096, 65536}) {
    GgufWriter writer(3, alignment);
    for (const auto& info : gguf::supported_types())
      writer.tensor(std::string(info.name.data, info.name.size), {512, 3}, info.type);
    writer.tensor("one", {1}, Type::f32).tensor("four", {2, 3, 4, 5}, Type::f16);
    const auto bytes = writer.build();
    const OpenedGguf opened(bytes.bytes);
    REQUIRE(opened.ok());
    CHECK_EQ(opened.file().tensors().size, gguf::supported_types().size + 2);
    for (const auto& info : gguf::supported_types()) {
      const gguf::Tensor* tensor = opened.file().tensor(info.name);
      REQUIRE(tensor != nullptr);
      CHECK(tensor->type == info.type);
      CHECK_EQ(tensor->cols(), 512);
      CHECK_EQ(tensor->rows(), 3);
      CHECK_EQ(tensor->data.size, 3 * 512 / info.block_values * info.block_bytes);
      CHECK_EQ(tensor->offset, bytes.at(std::string(info.name.data, info.name.size) + "/data"));
      CHECK(tensor->data.data == opened.part().data + tensor->offset);
    }
    const gguf::Tensor* four = opened.file().tensor("four");
    REQUIRE(four != nullptr);
    CHECK_EQ(four->n_dims, 4);
    CHECK_EQ(four->rows(), 60);
    CHECK_EQ(four->data.size, 240);
    CHECK(opened.file().tensor("five") == nullptr);
  }
}

TEST(type_sizes) {  // against the sizes of the structs in ggml's ggml-common.h
  const struct {
    Type type;
    u32 values, bytes;
  } sizes[] = {{Type::f32, 1, 4},        {Type::f16, 1, 2},       {Type::bf16, 1, 2},       {Type::q4_0, 32, 18},
               {Type::q4_1, 32, 20},     {Type::q5_0, 32, 22},    {Type::q5_1, 32, 24},     {Type::q8_0, 32, 34},
               {Type::q2_k, 256, 84},    {Type::q3_k, 256, 110},  {Type::q4_k, 256, 144},   {Type::q5_k, 256, 176},
               {Type::q6_k, 256, 210},   {Type::iq4_nl, 32, 18},  {Type::iq4_xs, 256, 136}, {Type::mxfp4, 32, 17},
               {Type::iq3_xxs, 256, 98}, {Type::iq3_s, 256, 110}, {Type::iq2_xxs, 256, 66}, {Type::iq2_xs, 256, 74},
               {Type::iq2_s, 256, 82},   {Type::iq1_s, 256, 50},  {Type::iq1_m, 256, 56},   {Type::tq1_0, 256, 54},
               {Type::tq2_0, 256, 66},   {Type::nvfp4, 64, 36},   {Type::q1_0, 128, 18},    {Type::q2_0, 64, 18}};
  for (const auto& size : sizes) {
    const auto* info = gguf::type_info(u32(size.type));
    REQUIRE(info != nullptr);
    CHECK_EQ(info->block_values, size.values);
    CHECK_EQ(info->block_bytes, size.bytes);
    CHECK(gguf::type_name(u32(size.type)) == info->name);
  }
  CHECK_EQ(gguf::supported_types().size, 28);
  CHECK(gguf::type_name(15) == Str("Q8_K"));
  CHECK(gguf::type_name(31) == Str("Q4_0_4_4 (removed)"));
  CHECK(gguf::type_name(43) == Str("unknown"));
  CHECK(gguf::type_info(43) == nullptr);
}

TEST(tensors_may_lie_in_any_order_with_gaps) {
  auto bytes = GgufWriter().tensor("a", {8}, Type::f32).tensor("b", {8}, Type::f32).tensor("c", {8}, Type::f32).build();
  bytes.bytes.resize(bytes.bytes.size() + 64);
  bytes = bytes.with("a/offset", u64(128)).with("b/offset", u64(0)).with("c/offset", u64(64));
  const OpenedGguf opened(bytes.bytes);
  REQUIRE(opened.ok());
  CHECK_EQ(opened.file().tensor("a")->offset, bytes.at("a/data") + 128);
  CHECK_EQ(opened.file().tensors()[0].name, Str("a"));  // the order of the descriptions stays
}

TEST(a_file_without_tensors_needs_no_padding) {
  const OpenedGguf opened(GgufWriter().u32_key("k", 1).build().bytes);
  CHECK(opened.ok());
  CHECK_EQ(opened.file().tensors().size, 0);
  CHECK(opened.file().tensor("x") == nullptr);
  const OpenedGguf nothing(GgufWriter().build().bytes);
  CHECK(nothing.ok());
  CHECK(nothing.file().find("x") == nullptr);
}

TEST(many_names_are_found) {
  GgufWriter writer;
  for (u32 i = 0; i < 3000; ++i) {
    writer.u32_key("key." + std::to_string(i), i);
    writer.tensor("blk." + std::to_string(i) + ".weight", {1}, Type::f32);
  }
  const OpenedGguf opened(writer.build().bytes);
  REQUIRE(opened.ok());
  for (u32 i = 0; i < 3000; ++i) {
    const std::string key = "key." + std::to_string(i), name = "blk." + std::to_string(i) + ".weight";
    CHECK_EQ(opened.file().get_u64({key.data(), key.size()}).value(), i);
    CHECK(opened.file().tensor({name.data(), name.size()}) == &opened.file().tensors()[i]);
  }
  CHECK(opened.file().find("key.3000") == nullptr);
}

namespace {

std::vector<test::GgufBytes> three_parts(u16 count = 3, i32 n_tensors = 4) {
  std::vector<test::GgufBytes> parts;
  for (u16 i = 0; i < 3; ++i) {
    GgufWriter writer(3, i == 1 ? 64 : 32);  // each part has an alignment of its own
    if (i == 0) writer.string_key("general.architecture", "llama");
    writer.u16_key("split.no", i).u16_key("split.count", count).i32_key("split.tensors.count", n_tensors);
    if (i == 0) writer.tensor("a", {8}, Type::f32).tensor("b", {32}, Type::q8_0);
    if (i == 1) writer.tensor("c", {4}, Type::f16);
    if (i == 2) writer.tensor("d", {256}, Type::q4_k);
    parts.push_back(writer.build());
  }
  return parts;
}

std::vector<std::string> bytes_of_parts(const std::vector<test::GgufBytes>& parts) {
  std::vector<std::string> bytes;
  for (const auto& part : parts) bytes.push_back(part.bytes);
  return bytes;
}

}  // namespace

TEST(split_files_are_one_model) {
  const auto parts = three_parts();
  const OpenedGguf opened(bytes_of_parts(parts));
  REQUIRE(opened.ok());
  CHECK_EQ(opened.file().tensors().size, 4);
  CHECK(opened.file().get_str("general.architecture").value() == Str("llama"));
  const char* names[] = {"a", "b", "c", "d"};
  const u32 part_of[] = {0, 0, 1, 2};
  for (u32 i = 0; i < 4; ++i) {
    const gguf::Tensor* tensor = opened.file().tensor(names[i]);
    REQUIRE(tensor != nullptr);
    CHECK_EQ(tensor->offset, parts[part_of[i]].at(std::string(names[i]) + "/data"));
    CHECK(tensor->data.data == opened.part(part_of[i]).data + tensor->offset);
  }
}

TEST(a_merged_file_keeps_its_split_keys) {
  const auto bytes =
      GgufWriter().u16_key("split.no", 0).u16_key("split.count", 0).i32_key("split.tensors.count", 9).build();
  CHECK(OpenedGguf(bytes.bytes).ok());
  CHECK(OpenedGguf(bytes.with("split.count/value", u16(1)).bytes).ok());
}

TEST(split_mismatches_are_refused) {
  const auto parts = three_parts();
  const auto refused = [](const std::vector<test::GgufBytes>& given, Code code, Str where, u64 offset) {
    const OpenedGguf opened(bytes_of_parts(given));
    CHECK(opened.error().code == code);
    CHECK_EQ(opened.error().where.str(), where);
    CHECK_EQ(opened.error().offset, offset);
    return opened.text();
  };
  const auto alone = refused({parts[0]}, Code::not_found, "key 'split.count'", parts[0].at("split.count/value"));
  CHECK(alone.find("part 1 of a model in 3 files") != std::string::npos);
  CHECK(alone.find("*-00002-of-00003.gguf to *-00003-of-00003.gguf") != std::string::npos);
  const auto later = refused({parts[1]}, Code::not_found, "key 'split.no'", parts[1].at("split.no/value"));
  CHECK(later.find("open part 1") != std::string::npos);
  refused({parts[0], parts[1]}, Code::corrupt, "part 1 of 2, key 'split.count'", parts[0].at("split.count/value"));
  refused({parts[0], parts[2], parts[1]}, Code::corrupt, "part 2 of 3, key 'split.no'", parts[2].at("split.no/value"));
  refused({parts[0], parts[1].with("split.count/value", u16(2)), parts[2]}, Code::corrupt,
          "part 2 of 3, key 'split.count'", parts[1].at("split.count/value"));
  refused({parts[0], parts[1].with("split.tensors.count/value", i32(5)), parts[2]}, Code::corrupt,
          "part 2 of 3, key 'split.tensors.count'", parts[1].at("split.tensors.count/value"));
  refused({parts[0].with("split.tensors.count/value", i32(-1)), parts[1], parts[2]}, Code::corrupt,
          "part 1 of 3, key 'split.tensors.count'", parts[0].at("split.tensors.count/value"));
  refused({parts[0].with("split.no/type", u32(3)), parts[1], parts[2]}, Code::corrupt, "part 1 of 3, key 'split.no'",
          parts[0].at("split.no/value"));
  const auto wrong = three_parts(3, 5);
  refused(wrong, Code::corrupt, "part 1 of 3, key 'split.tensors.count'", wrong[0].at("split.tensors.count/value"));
  // Plain models given as parts have no split keys at all.
  const auto plain = GgufWriter().u32_key("k", 1).build();
  CHECK(!OpenedGguf(bytes_of_parts({plain, plain})).ok());
  // The same tensor in two parts.
  refused({parts[0], parts[1].with("c/name", u8('a'), 8), parts[2]}, Code::corrupt, "part 2 of 3, tensor 'a'",
          parts[1].at("c/name"));
  // Data beyond its own part, though the model's other parts are long enough.
  auto longer = parts;
  longer[0].bytes.resize(4096);
  refused({longer[0], parts[1].with("c/offset", u64(64)), parts[2]}, Code::corrupt, "part 2 of 3, data of tensor 'c'",
          parts[1].at("c/offset"));
  CHECK(!OpenedGguf(std::vector<std::string>{}).ok());
}

TEST(split_paths) {
  char buffer[64];
  Writer out(buffer, sizeof(buffer));
  REQUIRE(gguf::split_part_path("dir/m-00001-of-00012.gguf", 11, 12, out));
  CHECK_EQ(out.text(), Str("dir/m-00012-of-00012.gguf"));
  out.clear();
  REQUIRE(gguf::split_part_path("dir/M-00001-of-00002.GGUF", 1, 2, out));
  CHECK_EQ(out.text(), Str("dir/M-00002-of-00002.GGUF"));
  out.clear();
  CHECK(!gguf::split_part_path("dir/m-00001-of-00012.gguf", 1, 11, out));
  CHECK(!gguf::split_part_path("dir/m-00001-of-00012.gguf", 12, 12, out));
  CHECK(!gguf::split_part_path("dir/m.gguf", 0, 1, out));
  CHECK(out.text().empty());
  const auto second = gguf::split_name("m-00002-of-00003.gguf");
  CHECK_EQ(second.index, 1);
  CHECK_EQ(second.count, 3);
  for (Str path : {Str("m.gguf"), Str(""), Str("-00001-of-00003.gguf"), Str("m-00000-of-00003.gguf"),
                   Str("m-00004-of-00003.gguf"), Str("m-00001-of-00003.GGUX"), Str("m-0x001-of-00003.gguf"),
                   Str("m-00001-of-99999.gguf"), Str("m_00001-of-00003.gguf")})
    CHECK_EQ(gguf::split_name(path).count, 0);
}
