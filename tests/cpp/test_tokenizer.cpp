#include "tokenizer/tokenizer.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>
#include <set>

#include "../fuzz/tokenizer_target.h"
#include "corpus.h"
#include "opened_gguf.h"
#include "tokenizer/pretokenizer.h"
#include "vocabularies.h"

using namespace flyball;
using namespace flyball::tokenizer;
using test::GgufWriter;
using test::Vocabulary;
using Ids = std::vector<Token>;

namespace {

const std::string spm_space = "\xe2\x96\x81";

// A tokenizer with everything that it borrows from.
class Loaded {
 public:
  explicit Loaded(const std::string& bytes)
      : gguf_(bytes), arena_(memory.platform), result_(fail(Code::internal, "test")) {
    if (gguf_.ok()) result_ = Tokenizer::load(arena_, gguf_.file());
  }
  explicit Loaded(const Vocabulary& v) : Loaded(v.bytes()) { CHECK_EQ(gguf_.text(), std::string("ok")); }

  bool ok() const { return result_.ok(); }
  const Tokenizer& operator*() const { return *result_.value(); }
  const Tokenizer* operator->() const { return result_.value(); }
  std::string error() const {
    char buffer[1024];
    Writer out(buffer, sizeof(buffer));
    if (ok()) return "ok";
    result_.error().describe(out);
    return {out.text().data, out.text().size};
  }

  Ids encode(const std::string& text, bool add_special = false, bool parse_special = false) {
    Ids ids(text.size() + 2);
    const auto n = (*this)->encode(memory.platform, {text.data(), text.size()}, {add_special, parse_special},
                                   {ids.data(), ids.size()});
    if (!n.ok()) return {-1};
    CHECK(n.value() <= ids.size());
    ids.resize(std::min<size_t>(n.value(), ids.size()));
    return ids;
  }
  std::string decode(const Ids& ids, bool special = false) const {
    std::string text((*this)->decode({ids.data(), ids.size()}, special, {}), '\0');
    (*this)->decode({ids.data(), ids.size()}, special, {text.data(), text.size()});
    return text;
  }
  std::string stream(const Ids& ids, bool special = false) const {
    Decoder decoder(**this, special);
    std::string text;
    for (Token id : ids) {
      const Str piece = decoder.next(id);
      text.append(piece.data, piece.size);
    }
    return text;
  }
  std::vector<std::string> pieces(const Ids& ids) const {
    std::vector<std::string> out;
    for (Token id : ids) {
      const Str piece = (*this)->piece(id, true);
      out.emplace_back(piece.data, piece.size);
    }
    return out;
  }

  test::CountingPlatform memory;

 private:
  test::OpenedGguf gguf_;
  Arena arena_;
  Result<Tokenizer*> result_;
};

std::string shown(const Ids& ids) {
  std::string out;
  for (Token id : ids) out += std::to_string(id) + " ";
  return out;
}

// Encoding by its definition, as slow and as plain as possible: merge the best pair until none is left.
void merge_by_rank(const Vocabulary& v, std::vector<std::string>& parts) {
  for (;;) {
    size_t best = v.merges.size();
    size_t at = 0;
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const size_t rank =
          size_t(std::find(v.merges.begin(), v.merges.end(), parts[i] + " " + parts[i + 1]) - v.merges.begin());
      if (rank < best) best = rank, at = i;
    }
    if (best == v.merges.size()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + long(at) + 1);
  }
}

Ids slow_bpe(const Vocabulary& v, const std::string& word) {
  std::vector<std::string> parts;
  for (char c : word) parts.push_back(test::mapped(std::string(1, c)));
  merge_by_rank(v, parts);
  Ids ids;
  for (const auto& part : parts) ids.push_back(v.id(part));
  return ids;
}

std::string escaped(std::string text) {
  for (size_t at = 0; (at = text.find(' ', at)) != std::string::npos;) text.replace(at, 1, spm_space);
  return text;
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < text.size();) {
    const unsigned char lead = static_cast<unsigned char>(text[i]);
    const size_t n = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    parts.push_back(text.substr(i, n));
    i += n;
  }
  return parts;
}

Ids slow_spm(const Vocabulary& v, const std::string& text) {
  std::vector<std::string> parts = characters(escaped(text));
  const auto find = [&](const std::string& piece) {
    const Token id = v.id(piece);
    return id >= 0 && v.types[size_t(id)] == test::normal_token ? id : no_token;
  };
  for (;;) {
    float best = -1e30f;
    size_t at = parts.size();
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
      const Token id = find(parts[i] + parts[i + 1]);
      if (id != no_token && v.scores[size_t(id)] > best) best = v.scores[size_t(id)], at = i;
    }
    if (at == parts.size()) break;
    parts[at] += parts[at + 1];
    parts.erase(parts.begin() + long(at) + 1);
  }
  Ids ids;
  for (const auto& part : parts) {
    if (find(part) != no_token) {
      ids.push_back(find(part));
    } else {
      for (char c : part) ids.push_back(3 + static_cast<unsigned char>(c));
    }
  }
  return ids;
}

Ids slow_gemma(const Vocabulary& v, const std::string& text) {
  Ids ids;
  for (size_t at = 0, end; at < text.size(); at = end) {
    const bool newlines = text[at] == '\n';
    end = std::min(newlines ? text.find_first_not_of('\n', at) : text.find('\n', at), text.size());
    const std::string line = escaped(text.substr(at, end - at));
    std::vector<std::string> parts = {line};
    if (!newlines || v.id(line) < 0) merge_by_rank(v, parts = characters(line));
    for (const auto& part : parts) {
      if (v.id(part) >= 0) {
        ids.push_back(v.id(part));
      } else {
        for (char c : part) ids.push_back(4 + static_cast<unsigned char>(c));
      }
    }
  }
  return ids;
}

std::string random_text(std::mt19937& random, const std::vector<std::string>& alphabet, size_t n) {
  std::string text;
  for (size_t i = 0; i < n; ++i) text += alphabet[random() % alphabet.size()];
  return text;
}

}  // namespace

TEST(bpe_merges_by_rank_within_words) {
  Loaded t(test::bpe_vocabulary());
  REQUIRE(t.ok());
  CHECK(t.pieces(t.encode("hello world")) == (std::vector<std::string>{"hello", " wor", "ld"}));
  CHECK(t.encode("").empty());
  CHECK_EQ(t->size(), u32(test::bpe_vocabulary().tokens.size()));
  CHECK(t->model() == "gpt2");
  CHECK(t->pre() == "gpt-2");
}

TEST(bpe_equals_its_definition_for_short_and_long_words) {
  // One word whatever the text: the merges are tested, not the splitting. 32 bytes is where the heap takes over.
  Vocabulary v = test::bpe_vocabulary("bloom");
  Loaded t(v);
  REQUIRE(t.ok());
  std::mt19937 random(7);
  for (int i = 0; i < 600; ++i) {
    const std::string word =
        random_text(random, {"a", "b", "h", "e", "l", "o", "\xc3\xa9", "1", "2", "3"}, 1 + random() % 90);
    CHECK_EQ(shown(t.encode(word)), shown(slow_bpe(v, word)));
  }
}

TEST(bpe_keeps_whole_words_where_the_pre_tokenizer_says_so) {
  Vocabulary v = test::bpe_vocabulary("llama-bpe");
  v.add("abba");  // a token that no merge forms
  v.merges.push_back("ab b");
  v.add("abb");
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK(t.pieces(t.encode("abba")) == (std::vector<std::string>{"abba"}));
  v.pre = "qwen2";
  Loaded q(v);
  REQUIRE(q.ok());
  CHECK(q.pieces(q.encode("abba")) == (std::vector<std::string>{"abb", "a"}));
}

TEST(bpe_round_trips_any_bytes) {
  std::mt19937 random(3);
  for (const char* pre : {"gpt-2", "llama-bpe", "deepseek-llm", "gpt-4o"}) {
    Loaded t(test::bpe_vocabulary(pre));
    REQUIRE(t.ok());
    for (int i = 0; i < 300; ++i) {
      std::string bytes(random() % 60, '\0');
      for (char& c : bytes) c = char(random());
      CHECK_EQ(t.decode(t.encode(bytes)), bytes);
      CHECK_EQ(t.stream(t.encode(bytes)), bytes);
    }
  }
}

TEST(spm_equals_its_definition) {
  const Vocabulary v = test::spm_vocabulary();
  Loaded t(v);
  REQUIRE(t.ok());
  std::mt19937 random(5);
  for (int i = 0; i < 600; ++i) {
    const std::string text = random_text(
        random, {"a", "b", "h", "e", "l", "o", "w", "r", "d", " ", " ", "\xc3\xa9", "\xe4\xb8\xad"}, 1 + random() % 40);
    CHECK_EQ(shown(t.encode(text)), shown(slow_spm(v, " " + text)));
  }
}

TEST(gemma_equals_its_definition) {
  const Vocabulary v = test::gemma_vocabulary();
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK(t->model() == "gemma4");
  std::mt19937 random(9);
  for (int i = 0; i < 600; ++i) {
    const std::string text = random_text(
        random, {"a", "b", "h", "e", "l", "o", "w", "r", "d", " ", " ", "\n", "\xc3\xa9", "\xe4\xb8\xad", "z", "<|"},
        1 + random() % 60);
    CHECK_EQ(shown(t.encode(text)), shown(slow_gemma(v, text)));
    CHECK_EQ(t.decode(t.encode(text)), text);
  }
  CHECK(t.pieces(t.encode("\n\n\n")) == (std::vector<std::string>{"\n\n\n"}));
  CHECK(t.pieces(t.encode("hello  a\n")) == (std::vector<std::string>{"hello", "  a", "\n"}));
  CHECK_EQ(t.decode(t.encode("a\xff\xe4\xb8")), std::string("a\xff\xe4\xb8"));
}

TEST(gemma_begins_with_bos_and_shows_the_marks_of_an_answer) {
  Vocabulary v = test::gemma_vocabulary();
  v.flags = {{"add_bos_token", false}, {"add_space_prefix", true}};
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("a", true)), shown({v.id("<bos>"), v.id("a")}));
  for (const char* text : {"<|channel>", "<|tool_response>", "<|\"|>"}) {
    const Token mark = v.id(text);
    CHECK(t->is_control(mark));
    const Ids plain = t.encode(text);
    CHECK(std::find(plain.begin(), plain.end(), mark) == plain.end());
    CHECK_EQ(t.decode(plain), std::string(text));
    CHECK_EQ(shown(t.encode(text, false, true)), shown({mark}));
    CHECK_EQ(t.decode({mark}), std::string(text));
  }
  CHECK_EQ(t.decode({v.id("<|think|>")}), std::string());
  CHECK_EQ(shown(t.encode("<tool>")), shown({v.id("<tool>")}));
  CHECK(t->is_end_of_generation(v.id("<turn|>")) && t->is_end_of_generation(v.id("<|tool_response>")));
  // A mark is one to Gemma alone.
  Vocabulary other = test::bpe_vocabulary();
  other.add("<|channel>", test::user_defined_token);
  Loaded o(other);
  REQUIRE(o.ok());
  CHECK_EQ(shown(o.encode("<|channel>")), shown({other.id("<|channel>")}));
}

TEST(characters_that_others_merge) {
  Vocabulary v = test::gemma_vocabulary();
  v.model = "gpt2";
  v.flags.clear();
  for (const char* pre : {"gemma4", "granite-embed-multi-311m", "sarvam-moe"}) {
    v.pre = pre;
    Loaded t(v);
    REQUIRE(t.ok());
    const bool gemma = v.pre != "sarvam-moe";
    CHECK_EQ(t->add_bos(), gemma);
    CHECK_EQ(t.encode("\n\n\n").size(), gemma ? 1 : 2);
    CHECK(t.pieces(t.encode("hello a")) == (std::vector<std::string>{"hello", " ", "a"}));
  }
}

TEST(spm_splits_at_spaces_only_where_no_token_has_one_inside) {
  Vocabulary v = test::spm_vocabulary();
  v.add("o" + spm_space + "w", test::normal_token, -0.5f);
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("hello world")), shown(slow_spm(v, " hello world")));
  CHECK(t.pieces(t.encode("o w")) == (std::vector<std::string>{" ", "o w"}));
}

TEST(spm_spaces_and_bytes_round_trip) {
  Loaded t(test::spm_vocabulary());
  REQUIRE(t.ok());
  CHECK(t.pieces(t.encode("hello")) == (std::vector<std::string>{" hello"}));
  for (const std::string text :
       {"hello world", " hello", "  a  ", " ", "\n", "\xe4\xb8\xad\xe6\x96\x87", "a\xffz", "\xf0\x9f\x98\x80"}) {
    CHECK_EQ(t.decode(t.encode(text)), text);
    CHECK_EQ(t.decode(t.encode(text, true)), text);
    CHECK_EQ(t.stream(t.encode(text, true)), text);
  }
  // Text after a special token gets its space and loses it again; text after text keeps it.
  const Ids ids = t.encode("<|user|>hello<tool> world", true, true);
  CHECK_EQ(t.decode(ids, true), std::string("<s><|user|>hello<tool> world"));
  CHECK_EQ(t.stream(ids, true), t.decode(ids, true));
  const Token world = t->find({"\xe2\x96\x81world", 8});
  Decoder after_text(*t, false, t->find("he"));
  CHECK(after_text.next(world) == " world");
  Decoder after_control(*t, false, 1);
  CHECK(after_control.next(world) == "world");
}

TEST(spm_without_space_prefix) {
  Vocabulary v = test::spm_vocabulary();
  v.flags.push_back({"add_space_prefix", false});
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK(t.pieces(t.encode("he")) == (std::vector<std::string>{"he"}));
  CHECK_EQ(t.decode(t.encode(" hello")), std::string(" hello"));
}

TEST(special_tokens_only_when_asked_for) {
  for (const Vocabulary& v : {test::bpe_vocabulary(), test::bpe_vocabulary("llama-bpe"), test::spm_vocabulary()}) {
    Loaded t(v);
    REQUIRE(t.ok());
    for (size_t id = 0; id < v.tokens.size(); ++id) {
      const bool special = v.types[id] == test::control_token || v.types[id] == test::unknown_token;
      if (!special) continue;
      for (const std::string& text : {v.tokens[id], "a" + v.tokens[id], v.tokens[id] + " b"}) {
        for (Token token : t.encode(text)) CHECK(!t->is_control(token) && token != Token(id));
        CHECK_EQ(t.decode(t.encode(text)), text);
      }
      CHECK_EQ(shown(t.encode(v.tokens[id], false, true)), shown({Token(id)}));
    }
  }
}

TEST(special_tokens_longest_first) {
  const Vocabulary v = test::bpe_vocabulary();
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("<|im_end|>\n", false, true)), shown({v.id("<|im_end|>\n")}));
  CHECK_EQ(shown(t.encode("<tool>>a<tool>")), shown({v.id("<tool>>"), v.id("a"), v.id("<tool>")}));  // user-defined
  CHECK_EQ(shown(t.encode("a", true, false)), shown({v.id("<|begin|>"), v.id("a")}));
  CHECK(t->is_end_of_generation(v.id("<|im_end|>")));
  CHECK(!t->is_end_of_generation(v.id("<|begin|>")));
  CHECK_EQ(t->eot(), v.id("<|im_end|>"));
  CHECK_EQ(t->bos(), v.id("<|begin|>"));
  CHECK(t->piece(v.id("<|im_end|>")).empty());
  CHECK(t->piece(v.id("<|im_end|>"), true) == "<|im_end|>");
  CHECK(t->piece(-1).empty() && t->piece(1 << 30).empty());
}

TEST(special_tokens_strip_where_the_vocabulary_says_so) {
  // Phi-3's tokens make Phi-3's vocabulary, whatever the file's name.
  for (const char* name : {"Phi3", "Phi 3.5 Mini Instruct", "NuExtract v1.5", ""}) {
    Vocabulary v = test::spm_vocabulary();
    v.name = name;
    for (const char* text : {"<|placeholder1|>", "<|assistant|>", "<|end|>", "<|added|>"})
      v.add(text, test::control_token);
    Loaded t(v);
    REQUIRE(t.ok());
    CHECK_EQ(shown(t.encode("<|user|> \n he", false, true)), shown({v.id("<|user|>"), v.id(spm_space + "he")}));
    const Ids text = {v.id(spm_space + spm_space), v.id("<0x0A>"), v.id("he")};
    for (const char* keeps : {"<s>", "<|added|>"}) {
      const Ids kept = {v.id(keeps), text[0], text[1], text[2]};
      CHECK_EQ(shown(t.encode(std::string(keeps) + " \nhe", false, true)), shown(kept));
    }
  }
  Vocabulary other = test::spm_vocabulary();
  other.name = "Phi-3 by name alone";
  Loaded t(other);
  REQUIRE(t.ok());
  CHECK_EQ(t.encode("<|user|>\nhe", false, true).size(), 4);
}

TEST(text_is_composed_where_the_vocabulary_composes) {
  const std::string apart = "e\xcc\x81", whole = "\xc3\xa9";
  for (const char* pre : {"qwen2", "deepseek-r1-qwen", "qwen35", "command-r", "mpt", "olmo", "f2llmv2"}) {
    Vocabulary v = test::bpe_vocabulary(pre);
    Loaded t(v);
    REQUIRE(t.ok());
    CHECK_EQ(shown(t.encode(apart)), shown({v.id(test::mapped(whole))}));
    CHECK_EQ(t.decode(t.encode("a" + apart + "\xff" + apart)), "a" + whole + "\xff" + whole);
    // What a special token cuts off stays apart: its last letter does not join the mark behind it.
    CHECK_EQ(t.decode(t.encode("<tool>\xcc\xb8")), "<tool>\xcc\xb8");
  }
  for (const char* pre : {"gpt-2", "llama-bpe", "default"}) {
    Loaded t(test::bpe_vocabulary(pre));
    REQUIRE(t.ok());
    CHECK_EQ(t.decode(t.encode(apart)), apart);
  }
  GgufWriter neox = test::bpe_vocabulary("").writer();  // from before pre-tokenizers were named
  neox.string_key("general.architecture", "gptneox");
  Loaded t(neox.build().bytes);
  REQUIRE(t.ok());
  CHECK_EQ(t.decode(t.encode(apart)), whole);
}

TEST(special_ids_may_be_none) {
  Vocabulary v = test::bpe_vocabulary();
  v.ids = {{"bos_token_id", ~0u}, {"eos_token_id", ~0u}, {"eot_token_id", ~0u}, {"unknown_token_id", ~0u}};
  v.flags.clear();
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(t->bos(), no_token);
  CHECK_EQ(t->eos(), no_token);
  Vocabulary s = test::spm_vocabulary();
  s.ids = {{"bos_token_id", ~0u}};
  s.flags.clear();  // SentencePiece adds BOS where the file says nothing
  Loaded u(s);
  REQUIRE(u.ok());
  CHECK_EQ(u->bos(), no_token);
  CHECK(!u->add_bos());
  CHECK_EQ(u->eos(), 2);
  GgufWriter negative = test::bpe_vocabulary().writer();
  negative.key("tokenizer.ggml.eom_token_id", 5, test::bytes_of(-1));
  CHECK(Loaded(negative.build().bytes).ok());
}

TEST(all_of_a_list_of_ends_are_ends) {
  Vocabulary v = test::bpe_vocabulary();
  v.ids.pop_back();  // no eos_token_id
  const auto with = [&](const std::vector<flyball::i32>& ids) {
    GgufWriter file = v.writer();
    std::string raw;
    for (const auto id : ids) raw += test::bytes_of(id);
    file.array_key("tokenizer.ggml.eos_token_ids", 5, ids.size(), raw);
    return file.build().bytes;
  };
  const Token tool = v.id("<tool>"), end = v.id("<|im_end|>\n");
  Loaded t(with({-1, end, tool}));
  REQUIRE(t.ok());
  CHECK_EQ(t->eos(), end);
  CHECK(t->is_end_of_generation(end) && t->is_end_of_generation(tool));
  CHECK(!t->is_end_of_generation(v.id("<|begin|>")));
  Loaded bad(with({flyball::i32(v.tokens.size())}));
  CHECK(!bad.ok() && bad.error().find("tokenizer.ggml.eos_token_ids") != std::string::npos);
}

TEST(types_and_scores_as_other_exporters_write_them) {
  Vocabulary v = test::bpe_vocabulary();
  v.type_element = 4;
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK(t->is_control(v.id("<|begin|>")));
  Vocabulary s = test::spm_vocabulary();
  const std::vector<float> scores = s.scores;
  const Ids expected = Loaded(s).encode("hello world");
  s.scores.clear();
  Loaded without(s);
  REQUIRE(without.ok());
  CHECK_EQ(without.decode(without.encode("hello world")), "hello world");
  GgufWriter whole = s.writer();
  std::string raw;
  for (const float score : scores) raw += test::bytes_of(flyball::i32(score));
  whole.array_key("tokenizer.ggml.scores", 5, scores.size(), raw);
  Loaded numbers(whole.build().bytes);
  REQUIRE(numbers.ok());
  CHECK_EQ(shown(numbers.encode("hello world")), shown(expected));
}

TEST(gemma_puts_no_space_before_a_text) {
  for (const char* architecture : {"gemma2", "gemma3", "llama"}) {
    GgufWriter file = test::spm_vocabulary().writer();
    file.string_key("general.architecture", architecture);
    Loaded t(file.build().bytes);
    REQUIRE(t.ok());
    const bool space = std::string(architecture) == "llama";
    CHECK_EQ(t.encode("a")[0], test::spm_vocabulary().id(space ? spm_space : "a"));
  }
}

TEST(text_that_looks_special_stays_text) {
  // Typed as normal and formed by merges, as "</s>" in qwen2: text, and no end of generation.
  Vocabulary v = test::bpe_vocabulary("bloom");
  for (const char* merge : {"< /", "s >", "</ s>"}) {
    v.merges.push_back(merge);
    std::string text = merge;
    v.add(text.erase(text.find(' '), 1));
  }
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("</s>")), shown({v.id("</s>")}));
  CHECK(!t->is_end_of_generation(v.id("</s>")) && !t->is_control(v.id("</s>")));
  // A merge into a control token does not take place.
  v.types[size_t(v.id("</s>"))] = test::control_token;
  Loaded c(v);
  REQUIRE(c.ok());
  CHECK_EQ(shown(c.encode("</s>")), shown({v.id("</"), v.id("s>")}));
  CHECK(c->is_end_of_generation(v.id("</s>")));
}

TEST(bytes_without_a_token_are_an_error_or_unknown) {
  Vocabulary v = test::bpe_vocabulary();
  v.tokens[size_t(v.id("z"))] = "something else";
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("az")), shown({-1}));
  v.add("[UNK]", test::unknown_token);
  v.ids.push_back({"unknown_token_id", u32(v.id("[UNK]"))});
  Loaded u(v);
  REQUIRE(u.ok());
  CHECK_EQ(shown(u.encode("az")), shown({v.id("a"), v.id("[UNK]")}));
  v.ids.back().second = u32(v.id("<|im_end|>"));  // text must not become a control token that way either
  Loaded c(v);
  REQUIRE(c.ok());
  CHECK_EQ(shown(c.encode("az")), shown({-1}));
}

TEST(user_defined_tokens_are_no_bytes) {
  Vocabulary v = test::bpe_vocabulary();
  v.types[size_t(v.id("\xc3\xb5"))] = test::user_defined_token;  // U+00F5, which is also how byte 0xf5 is written
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(shown(t.encode("\xc3\xb5")), shown({v.id("\xc3\xb5")}));
  CHECK_EQ(t.decode(t.encode("a\xc3\xb5")), std::string("a\xc3\xb5"));
  CHECK_EQ(shown(t.encode("\xf5")), shown({-1}));
}

TEST(encode_counts_beyond_the_buffer) {
  Loaded t(test::bpe_vocabulary());
  REQUIRE(t.ok());
  Token ids[2] = {-5, -5};
  const auto n = t->encode(t.memory.platform, "hello world", {true, false}, {ids, 1});
  REQUIRE(n.ok());
  CHECK_EQ(n.value(), 4);
  CHECK_EQ(ids[0], t->bos());
  CHECK_EQ(ids[1], -5);
  char text[3] = {};
  const Ids all = t.encode("hello world");
  CHECK_EQ(t->decode({all.data(), all.size()}, false, {text, 2}), 11);
  CHECK_EQ(std::string(text), std::string("he"));
}

TEST(memory_that_runs_out_is_an_error) {
  std::mt19937 random(1);
  const std::string text = random_text(random, {"hello world ", "<tool>"}, 200);
  for (const Vocabulary& v : {test::bpe_vocabulary("bloom"), test::spm_vocabulary(), test::gemma_vocabulary()}) {
    const std::string bytes = v.bytes();
    for (u64 at = 0; at < 4; ++at) {
      test::OpenedGguf gguf(bytes);
      test::CountingPlatform memory;
      memory.fail_at = at;
      Arena arena(memory.platform);
      const auto t = Tokenizer::load(arena, gguf.file());
      if (!t.ok()) CHECK(t.error().code == Code::out_of_memory);
    }
    Loaded t(v);
    REQUIRE(t.ok());
    const u64 used = t.memory.in_use;
    for (u64 at = 0; at < 4; ++at) {
      t.memory.fail_at = t.memory.n_allocations + at;
      const auto n = t->encode(t.memory.platform, {text.data(), text.size()}, {}, {});
      if (!n.ok()) CHECK(n.error().code == Code::out_of_memory);
      CHECK_EQ(t.memory.in_use, used);
    }
  }
}

TEST(vocabularies_that_contradict_themselves_are_refused) {
  using Change = void (*)(Vocabulary&);
  struct Case {
    bool spm;
    Change change;
    const char* where;
    const char* what;
  };
  const Case cases[] = {
      {false, [](Vocabulary& v) { v.model = "bert"; }, "tokenizer.ggml.model", "'bert' is not supported"},
      {false, [](Vocabulary& v) { v.model = "whitespace"; }, "tokenizer.ggml.model", "'whitespace'"},
      {false, [](Vocabulary& v) { v.pre = "made-up"; }, "tokenizer.ggml.pre", "'made-up' is not known"},
      {false, [](Vocabulary& v) { v.pre = "kimi-k9"; }, "tokenizer.ggml.pre", "'kimi-k9' is not known"},
      {false, [](Vocabulary& v) { v.tokens.clear(); }, "tokenizer.ggml.tokens", "0 tokens"},
      {false, [](Vocabulary& v) { v.tokens[7] = v.tokens[9]; }, "tokenizer.ggml.tokens", "tokens 7 and 9"},
      {false, [](Vocabulary& v) { v.types.pop_back(); }, "tokenizer.ggml.token_type", "values for"},
      {false, [](Vocabulary& v) { v.merges[2] = "hell"; }, "tokenizer.ggml.merges", "merge 2 'hell' is not two"},
      {false, [](Vocabulary& v) { v.merges[2] = ""; }, "tokenizer.ggml.merges", "merge 2"},
      {false, [](Vocabulary& v) { v.merges[2] = "h "; }, "tokenizer.ggml.merges", "merge 2"},
      {false, [](Vocabulary& v) { v.merges[3] = "hell zz"; }, "tokenizer.ggml.merges", "needs a token"},
      {false, [](Vocabulary& v) { v.merges[3] = "q q"; }, "tokenizer.ggml.merges", "needs a token"},
      {false, [](Vocabulary& v) { v.ids[0].second = u32(v.tokens.size()); }, "tokenizer.ggml.bos_token_id",
       "not a token"},
      {false, [](Vocabulary& v) { v.ids[1].second = ~0u - 1; }, "tokenizer.ggml.eos_token_id", "4294967294"},
      {false, [](Vocabulary& v) { v.ids[0].second = ~0u; }, "tokenizer.ggml.bos_token_id", "is missing"},
      {false, [](Vocabulary& v) { v.ids.clear(); }, "tokenizer.ggml.bos_token_id", "is missing"},
      {false, [](Vocabulary& v) { v.add(std::string(5000, 'x'), test::control_token); }, "tokenizer.ggml.tokens",
       "5000 bytes"},
      {true, [](Vocabulary& v) { v.scores.pop_back(); }, "tokenizer.ggml.scores", "values for"},
      {true, [](Vocabulary& v) { v.scores[270] = __builtin_nanf(""); }, "tokenizer.ggml.scores", "NaN"},
      {true, [](Vocabulary& v) { v.types.clear(); }, "tokenizer.ggml.token_type", ""},
      {true, [](Vocabulary& v) { v.tokens[20] = "<0x-1>"; }, "tokenizer.ggml.tokens", "token 20 is of type byte"},
      {true, [](Vocabulary& v) { v.tokens[20] = "<0x1>"; }, "tokenizer.ggml.tokens", "token 20"},
      {true, [](Vocabulary& v) { v.tokens[20] = "<0x011>"; }, "tokenizer.ggml.tokens", "token 20"},
      {true, [](Vocabulary& v) { v.flags.push_back({"remove_extra_whitespaces", true}); },
       "tokenizer.ggml.remove_extra_whitespaces", "not supported"},
  };
  for (const Case& c : cases) {
    Vocabulary v = c.spm ? test::spm_vocabulary() : test::bpe_vocabulary();
    c.change(v);
    Loaded t(v);
    const std::string error = t.error();
    CHECK(!t.ok());
    CHECK(error.find(std::string(c.where)) != std::string::npos && error.find(c.what) != std::string::npos);
    if (t.ok() || error.find(c.what) == std::string::npos)
      test::note(std::string(c.where) + " " + c.what + ": " + error);
  }
}

TEST(vocabularies_with_oddities_load) {
  Vocabulary v = test::bpe_vocabulary();
  v.add("");
  v.add("");
  v.merges.push_back(v.merges[0]);  // the first rank stays
  Loaded t(v);
  REQUIRE(t.ok());
  CHECK_EQ(t->find(""), no_token);
  CHECK(t->piece(Token(v.tokens.size() - 1), true).empty());
  v.types.clear();
  CHECK(Loaded(v).ok());
  v.pre = "";
  Loaded d(v);
  REQUIRE(d.ok());
  CHECK(d->pre() == "default");
  Vocabulary s = test::spm_vocabulary();
  s.scores[270] = -__builtin_inff();
  s.scores[271] = __builtin_inff();
  CHECK(Loaded(s).ok());
}

TEST(random_changes_keep_the_promises) {
  // What the fuzz target checks, on inputs made here.
  std::mt19937 random(11);
  const std::vector<std::string> words = {"hello", " world", "<|im_end|>", "<tool>",      "</s>",
                                          "\xff",  "\n",     "aab",        "\xe2\x96\x81"};
  int n_loaded = 0;
  for (int i = 0; i < 2000; ++i) {
    std::string input(2, '\0');
    for (char& c : input) c = char(random());
    const int n_edits = int(random() % 4);
    input += char(n_edits);
    for (int k = 0; k < 3 * n_edits; ++k) input += char(random());
    const int n_extra = int(random() % 3);
    input += char(n_extra);
    for (int k = 0; k < n_extra; ++k) {
      const std::string text = words[random() % words.size()] + char('a' + random() % 26);
      input += char(random());
      input += char(text.size());
      input += text;
    }
    input += random_text(random, words, random() % 20);
    try {
      n_loaded += fuzz::check_tokenizer(reinterpret_cast<const u8*>(input.data()), input.size());
    } catch (const std::logic_error& error) {
      test::failed(__FILE__, __LINE__, "input " + std::to_string(i) + ": " + error.what());
    }
  }
  test::note(std::to_string(n_loaded) + " of 2000 vocabularies loaded");
  CHECK(n_loaded > 500);
  CHECK(n_loaded < 1999);
}

TEST(the_fuzz_corpus_keeps_the_promises) {
  const auto corpus = test::fuzz_corpus("tokenizer");
  for (const auto& [name, bytes] : corpus) {
    try {
      fuzz::check_tokenizer(reinterpret_cast<const u8*>(bytes.data()), bytes.size());
    } catch (const std::logic_error& error) {
      test::failed(__FILE__, __LINE__, name + ": " + error.what());
    }
  }
  CHECK(corpus.size() > 50);
}

TEST(hostile_texts_take_linear_time) {
  const std::vector<std::string> units = {"a",        "A",         "aA",
                                          " ",        "\n",        " \n",
                                          "\t",       "1",         "'",
                                          "'s",       ".",         "\xe4\xb8\xad",
                                          "\xcc\x81", "a\xcc\x81", "\xc2\xa0",
                                          "\xff",     "<|",        "\x01",
                                          "/",        "\xc2\xb2",  "\xf0\x9f\x98\x80"};
  const u64 size = 50000;
  std::vector<Char> chars(size);
  double worst = 0;
  std::string worst_name;
  std::set<const void*> tried;  // many names share their expressions
  for (const PreTokenizer& pre : pre_tokenizers()) {
    if (!tried.insert(pre.stages.data).second) continue;
    for (const std::string& unit : units) {
      std::string text;
      while (text.size() + unit.size() <= size) text += unit;
      const std::clock_t begin = std::clock();  // processor time: other load does not count
      const u64 n = decode_text({text.data(), text.size()}, chars.data());
      split_words(pre, {chars.data(), n});
      const double ms = 1e3 * double(std::clock() - begin) / CLOCKS_PER_SEC;
      if (ms > worst) worst = ms, worst_name = std::string(pre.name.data, pre.name.size) + " on '" + unit + "'";
    }
  }
  test::note("longest split of 50 kB: " + std::to_string(worst) + " ms, " + worst_name);
  CHECK(worst < 2000);  // quadratic time would be minutes
}
