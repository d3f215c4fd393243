#include <string>
#include <vector>

#include "test.h"

#include "runtime/digest.h"

using namespace flyball;
using namespace flyball::runtime;

namespace {

struct Bytes {  // the layout of docs/receipts.md, written by hand
  std::string out;
  Bytes& number(u64 value) {
    for (u32 i = 0; i < 8; ++i) out += char(value >> 8 * i);
    return *this;
  }
  Bytes& real(f32 value) { return number(bit_cast<u32>(value)); }
  Bytes& text(const std::string& value) {
    number(value.size());
    out += value;
    return *this;
  }
};

const Token prompt[] = {1, 2, 300};
const Token answer[] = {7, 0};
const Hash128 hashes[] = {{1, 2}, {0xffffffffffffffffu, 5}};
const LogitBias bias[] = {{4, -1.5f}, {5, -__builtin_inff()}};
const Str stops[] = {"\n\n", "END"};

DigestInput input() {
  DigestInput in;
  for (u32 i = 0; i < 32; ++i) in.fingerprint.bytes[i] = u8(i);
  in.context = 4096;
  in.cache_type = "f16";
  in.sequence = 3;
  in.sampler.seed = 42;
  in.sampler.bias = bias;
  in.max_tokens = 128;
  in.stops = stops;
  in.prompt = prompt;
  in.tokens = answer;
  in.logits_hashes = hashes;
  in.stop_reason = "eos";
  return in;
}

}  // namespace

TEST(digest_is_the_documented_layout) {
  Bytes expected;
  expected.text("flyball answer 1");
  for (u32 i = 0; i < 32; ++i) expected.out += char(i);
  expected.number(4096).text("f16").number(0);
  expected.real(0.8f).number(40).real(0.95f).real(0.05f).real(1).number(64).number(0).number(42).number(3);
  expected.number(2).number(4).real(-1.5f).number(5).real(-__builtin_inff());
  expected.number(128).number(0).number(2).text("\n\n").text("END").number(0);
  expected.number(3).number(1).number(2).number(300);
  expected.number(2).number(7).number(1).number(2).number(0).number(0xffffffffffffffffu).number(5);
  expected.text("eos");
  Sha256 hash;
  hash.update(Str(expected.out.data(), expected.out.size()));
  CHECK(answer_digest(input()) == hash.finish());
}

TEST(newer_settings_have_the_second_layout) {
  DigestInput in = input();
  CHECK_EQ(layout_version(in), 1);
  const Token stop_tokens[] = {300, 2};
  in.sampler.presence_penalty = 0.5f, in.sampler.frequency_penalty = -0.25f, in.stop_tokens = stop_tokens;
  in.processor = "f";
  CHECK_EQ(layout_version(in), 2);
  Bytes expected;
  expected.text("flyball answer 2");
  for (u32 i = 0; i < 32; ++i) expected.out += char(i);
  expected.number(4096).text("f16").number(0);
  expected.real(0.8f).number(40).real(0.95f).real(0.05f).real(1).number(64).number(0).number(42).number(3);
  expected.number(2).number(4).real(-1.5f).number(5).real(-__builtin_inff()).real(0.5f).real(-0.25f).text("f");
  expected.number(128).number(0).number(2).text("\n\n").text("END").number(2).number(300).number(2).number(0);
  expected.number(3).number(1).number(2).number(300);
  expected.number(2).number(7).number(1).number(2).number(0).number(0xffffffffffffffffu).number(5);
  expected.text("eos");
  Sha256 hash;
  hash.update(Str(expected.out.data(), expected.out.size()));
  CHECK(answer_digest(in) == hash.finish());
}

TEST(request_key_is_the_documented_layout) {
  DigestInput in = input();
  Bytes expected;
  expected.text("flyball request 1");
  for (u32 i = 0; i < 32; ++i) expected.out += char(i);
  expected.number(4096).text("f16").number(0);
  expected.real(0.8f).number(40).real(0.95f).real(0.05f).real(1).number(64).number(0).number(42).number(3);
  expected.number(2).number(4).real(-1.5f).number(5).real(-__builtin_inff());
  expected.number(128).number(0).number(2).text("\n\n").text("END");
  expected.number(3).number(1).number(2).number(300);
  Sha256 hash;
  hash.update(Str(expected.out.data(), expected.out.size()));
  const Digest key = request_key(in);
  CHECK(key == hash.finish());
  const Decided decided[] = {{1, "GUARD_BUDGET_STOP", "{}"}};
  in.tokens = {}, in.logits_hashes = {}, in.stop_reason = "", in.decisions = decided;
  CHECK(request_key(in) == key);
}

TEST(a_constraint_has_the_third_layout) {
  DigestInput in = input();
  in.constraint = {"choice", "llguidance 1.9.1", "[\"a\"]"};
  CHECK_EQ(layout_version(in), 3);
  Bytes expected;
  expected.text("flyball answer 3");
  for (u32 i = 0; i < 32; ++i) expected.out += char(i);
  expected.number(4096).text("f16").number(0);
  expected.real(0.8f).number(40).real(0.95f).real(0.05f).real(1).number(64).number(0).number(42).number(3);
  expected.number(2).number(4).real(-1.5f).number(5).real(-__builtin_inff()).real(0).real(0).text("");
  expected.number(128).number(0).number(2).text("\n\n").text("END").number(0);
  expected.text("choice").text("llguidance 1.9.1").text("[\"a\"]").number(0);
  expected.number(3).number(1).number(2).number(300);
  expected.number(2).number(7).number(1).number(2).number(0).number(0xffffffffffffffffu).number(5);
  expected.text("eos");
  Sha256 whole;
  whole.update(Str(expected.out.data(), expected.out.size()));
  CHECK(answer_digest(in) == whole.finish());
  Bytes named;
  named.text("flyball constraint 1").text("choice").text("llguidance 1.9.1").text("[\"a\"]");
  Sha256 name;
  name.update(Str(named.out.data(), named.out.size()));
  CHECK(flyball::runtime::hash(in.constraint) == name.finish());
  for (Str ConstraintUsed::* field : {&ConstraintUsed::kind, &ConstraintUsed::library, &ConstraintUsed::text}) {
    DigestInput other = in;
    other.constraint.*field = "another";
    CHECK(!(answer_digest(other) == answer_digest(in)));
    CHECK(!(flyball::runtime::hash(other.constraint) == flyball::runtime::hash(in.constraint)));
  }
}

TEST(every_field_changes_the_digest) {
  const Digest base = answer_digest(input());
  const Digest key = request_key(input());
  // What is before the answer changes the request's key as well, what is of the answer does not.
  const auto changes = [&](auto change, bool asked = true) {
    DigestInput in = input();
    change(in);
    return answer_digest(in) != base && (request_key(in) != key) == asked;
  };
  CHECK(changes([](DigestInput& in) { in.fingerprint.bytes[31] ^= 1; }));
  CHECK(changes([](DigestInput& in) { in.context = 4097; }));
  CHECK(changes([](DigestInput& in) { in.cache_type = "f32"; }));
  CHECK(changes([](DigestInput& in) { in.sequence = 4; }));
  CHECK(changes([](DigestInput& in) { in.sampler.temperature = 0.7f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.top_k = 41; }));
  CHECK(changes([](DigestInput& in) { in.sampler.top_p = 0.9f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.min_p = 0.1f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.repeat_penalty = 1.1f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.repeat_window = 65; }));
  CHECK(changes([](DigestInput& in) { in.sampler.no_repeat_ngram = 1; }));
  CHECK(changes([](DigestInput& in) { in.sampler.presence_penalty = 0.5f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.frequency_penalty = 0.5f; }));
  CHECK(changes([](DigestInput& in) { in.sampler.seed = 43; }));
  CHECK(changes([](DigestInput& in) { in.sampler.bias = in.sampler.bias.subspan(0, 1); }));
  CHECK(changes([](DigestInput& in) { in.max_tokens = 127; }));
  CHECK(changes([](DigestInput& in) { in.ignore_eos = true; }));
  CHECK(changes([](DigestInput& in) { in.stops = in.stops.subspan(0, 1); }));
  CHECK(changes([](DigestInput& in) { in.stop_tokens = in.prompt; }));
  CHECK(changes([](DigestInput& in) { in.processor = "f"; }));
  CHECK(changes([](DigestInput& in) { in.prompt = in.prompt.subspan(0, 2); }));
  const auto answered = [&](auto change) { return changes(change, false); };
  CHECK(answered([](DigestInput& in) { in.tokens = in.tokens.subspan(0, 1); }));
  CHECK(answered([](DigestInput& in) { in.logits_hashes = {hashes + 1, 1}, in.tokens = in.tokens.subspan(1, 1); }));
  CHECK(answered([](DigestInput& in) { in.stop_reason = "deadline"; }));
}
