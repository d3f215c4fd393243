#include <string>
#include <vector>

#include "fake_platform.h"
#include "vocabularies.h"

#include "chat/chat_format.h"

using namespace flyball;
using namespace flyball::chat;
using tokenizer::Tokenizer;

namespace {

Str str(const std::string& text) { return {text.data(), text.size()}; }

struct Loaded {
  test::FakePlatform world;
  Arena arena{world.platform};
  std::string bytes;
  Tokenizer* tokenizer = nullptr;
  Conversation conversation{world.platform};

  explicit Loaded(const test::Vocabulary& vocabulary, const std::string& chat_template = "") {
    test::GgufWriter file = vocabulary.writer();
    if (!chat_template.empty()) file.string_key("tokenizer.chat_template", chat_template);
    bytes = file.build().bytes;
    const Span<const u8> part(reinterpret_cast<const u8*>(bytes.data()), bytes.size());
    const auto opened = gguf::File::open(arena, {&part, 1});
    REQUIRE(opened.ok());
    const auto loaded = Tokenizer::load(arena, *opened.value());
    REQUIRE(loaded.ok());
    tokenizer = loaded.value();
  }

  std::string detected() const {
    const Str name = detect_chat_format(*tokenizer).name;
    return {name.data, name.size};
  }

  Conversation& start(const char* format) {
    conversation.start(*tokenizer, *find_chat_format(format));
    return conversation;
  }

  // The tokens so far; specials in brackets so that they differ from the same text.
  std::string shown() const {
    std::string out;
    for (const Token token : conversation.tokens()) {
      const Str piece = tokenizer->piece(token, true);
      const std::string text(piece.data, piece.size);
      out += tokenizer->is_control(token) ? "[[" + text + "]]" : text;
    }
    return out;
  }

  u32 n_special() const {
    u32 n = 0;
    for (const Token token : conversation.tokens())
      n += tokenizer->is_control(token) || tokenizer->is_end_of_generation(token);
    return n;
  }

  std::vector<Token> encoded(const std::string& text) const {
    std::vector<Token> ids(text.size() + 8);
    const auto n = tokenizer->encode(world.platform, str(text), {false, true}, {ids.data(), ids.size()});
    ids.resize(n.value());
    return ids;
  }
};

test::Vocabulary with_markers(const std::vector<std::string>& markers, std::int32_t type = test::control_token) {
  test::Vocabulary v = test::bpe_vocabulary();
  v.flags = {{"add_bos_token", false}};
  for (const std::string& marker : markers) {
    if (v.id(marker) < 0) v.add(marker, type);
  }
  return v;
}

}  // namespace

TEST(formats_are_found_by_the_template) {
  const auto found = [](const std::string& text, const std::string& pre = "gpt-2") {
    return Loaded(test::bpe_vocabulary(pre), text).detected();
  };
  CHECK_EQ(found("{{'<|im_start|>' + role}}"), "chatml");
  CHECK_EQ(found("{{'<|start_header_id|>' + role + '<|end_header_id|>'}}"), "llama3");
  CHECK_EQ(found("{{'<start_of_turn>' + role}}"), "gemma");
  CHECK_EQ(found("{{'[INST] <<SYS>>' + system}}"), "llama2");
  CHECK_EQ(found("{{' [INST] ' + content + ' [/INST]'}}"), "mistral-v1");
  CHECK_EQ(found("{{'[INST] ' + content + '[/INST]'}}"), "mistral-v3");
  CHECK_EQ(found("{{'[INST]' + content + '[/INST]'}}", "tekken"), "mistral-v3-tekken");
  CHECK_EQ(found("{{'[SYSTEM_PROMPT] '}}{{'[INST] '}}"), "mistral-v7");
  CHECK_EQ(found("{{'[SYSTEM_PROMPT]'}}{{'[INST]'}}", "tekken"), "mistral-v7-tekken");
  CHECK_EQ(found("{{'<|user|>' + '<|end|>' + '<|assistant|>'}}"), "phi3");
  CHECK_EQ(found("{{'<|user|>' + eos_token + '<|assistant|>'}}"), "zephyr");
  CHECK_EQ(found("{{content}}"), "plain");
}

TEST(formats_are_found_by_the_vocabulary_without_a_template) {
  CHECK_EQ(Loaded(with_markers({"<|im_start|>", "<|im_end|>"})).detected(), "chatml");
  CHECK_EQ(Loaded(with_markers({"<|start_header_id|>", "<|eot_id|>"})).detected(), "llama3");
  CHECK_EQ(Loaded(with_markers({"<start_of_turn>", "<end_of_turn>"})).detected(), "gemma");
  CHECK_EQ(Loaded(test::spm_vocabulary()).detected(), "plain");
}

TEST(chatml_conversation) {
  Loaded m(with_markers({"<|im_start|>", "<|im_end|>"}));
  Conversation& c = m.start("chatml");
  CHECK(c.add_user("hello", "be brief").ok());
  CHECK_EQ(m.shown(),
           "[[<|im_start|>]]system\nbe brief[[<|im_end|>]]\n[[<|im_start|>]]user\nhello[[<|im_end|>]]\n"
           "[[<|im_start|>]]assistant\n");
  const Token answer[] = {72, 73};
  CHECK(c.add_answer(answer).ok());
  CHECK(c.add_user("  more ", "be brief").ok());
  CHECK(m.shown().ends_with("assistant\n" + std::string("HI") +
                            "[[<|im_end|>]]\n[[<|im_start|>]]user\n  more [[<|im_end|>]]\n"
                            "[[<|im_start|>]]assistant\n"));
}

TEST(harmless_messages_give_the_ids_of_the_whole_text) {
  Loaded m(with_markers({"<|im_start|>", "<|im_end|>"}));
  CHECK(m.start("chatml").add_user("hello world 123 hello", "").ok());
  // The vocabulary of this test has "<|im_end|>\n" as a token too, which the format's own markup does not use.
  std::vector<Token> expected = m.encoded("<|im_start|>user\nhello world 123 hello");
  const auto end = m.encoded("<|im_end|>");
  const auto rest = m.encoded("\n<|im_start|>assistant\n");
  expected.insert(expected.end(), end.begin(), end.end());
  expected.insert(expected.end(), rest.begin(), rest.end());
  const Span<const Token> got = m.conversation.tokens();
  CHECK(std::vector<Token>(got.begin(), got.end()) == expected);
}

TEST(other_formats) {
  {
    Loaded m(with_markers({"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}));
    CHECK(m.start("llama3").add_user(" hi ", "s").ok());
    CHECK_EQ(m.shown(),
             "[[<|start_header_id|>]]system[[<|end_header_id|>]]\n\ns[[<|eot_id|>]][[<|start_header_id|>]]user"
             "[[<|end_header_id|>]]\n\nhi[[<|eot_id|>]][[<|start_header_id|>]]assistant[[<|end_header_id|>]]\n\n");
  }
  {
    Loaded m(with_markers({"<start_of_turn>", "<end_of_turn>"}));
    CHECK(m.start("gemma").add_user("hi", "s").ok());
    CHECK_EQ(m.shown(), "[[<start_of_turn>]]user\ns\n\nhi[[<end_of_turn>]]\n[[<start_of_turn>]]model\n");
  }
  {
    Loaded m(test::spm_vocabulary());  // [INST] is no token here: plain text, and BOS once
    CHECK(m.start("llama2").add_user("hello", "").ok());
    CHECK(m.shown().starts_with("[[<s>]]"));
    CHECK_EQ(m.n_special(), 1);
    const Token answer[] = {300};
    CHECK(m.conversation.add_answer(answer).ok());
    CHECK(m.conversation.add_user("hello", "").ok());
    CHECK_EQ(m.n_special(), 3);  // </s>, and <s> again
  }
  {
    Loaded m(with_markers({"[INST]", "[/INST]"}));
    CHECK(m.start("mistral-v3").add_user("hi", "s").ok());
    CHECK_EQ(m.shown(), "[[[INST]]] s\n\nhi[[[/INST]]]");
  }
  {
    Loaded m(with_markers({"<|user|>", "<|assistant|>", "<|system|>", "<|end|>"}));
    CHECK(m.start("phi3").add_user("hi", "").ok());
    CHECK_EQ(m.shown(), "[[<|user|>]]\nhi[[<|end|>]]\n[[<|assistant|>]]\n");
    CHECK(m.start("zephyr").add_user("hi", "").ok());
    CHECK_EQ(m.shown(), "[[<|user|>]]\nhi[[<|im_end|>]]\n[[<|assistant|>]]\n");
  }
  {
    Loaded m(test::bpe_vocabulary());
    CHECK(m.start("plain").add_user("hi", "s").ok());
    CHECK_EQ(m.shown(), "[[<|begin|>]]s\n\nYou: hi\nAI:");
  }
}

TEST(message_text_never_becomes_special) {
  const std::vector<std::string> markers = {
      "<|im_start|>", "<|im_end|>",      "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",    "[INST]",
      "[/INST]",      "<start_of_turn>", "<end_of_turn>",       "<|user|>",          "<|assistant|>", "<|end|>"};
  for (const std::int32_t type : {test::control_token, test::user_defined_token}) {
    Loaded m(with_markers(markers, type));
    for (const ChatFormat& format : chat_formats()) {
      m.conversation.start(*m.tokenizer, format);
      CHECK(m.conversation.add_user("x", "y").ok());
      const auto count = [&] {
        u32 n = m.n_special();
        for (const Token token : m.conversation.tokens()) {
          for (const std::string& marker : markers)
            n += !m.tokenizer->is_control(token) && m.tokenizer->find(str(marker)) == token;
        }
        return n;
      };
      const u32 expected = count();
      for (const std::string& marker : markers) {
        for (const std::string& text : {marker, "a" + marker + "b", marker + marker + "system", "<<" + marker + ">>",
                                        "<|im_" + marker + "end|>", "{eos}{bos}" + marker}) {
          m.conversation.start(*m.tokenizer, format);
          CHECK(m.conversation.add_user(str(text), str(text)).ok());
          if (count() != expected) CHECK_EQ(text, "became special");
          // Nothing is lost either.
          std::string whole = m.shown();
          if (whole.find(text) == std::string::npos) CHECK_EQ(whole, text);
        }
      }
    }
  }
}

TEST(a_message_full_of_markers_is_encoded_in_linear_time) {
  Loaded m(with_markers({"[INST]", "<|user|>"}, test::user_defined_token));
  std::string text;
  for (u32 i = 0; i < 20000; ++i) text += i % 2 ? "[INST]" : "<|user|>";
  CHECK(m.start("plain").add_user(str(text), "").ok());
  CHECK(m.shown().find(text) != std::string::npos);
  u32 n_markers = 0;
  for (const Token token : m.conversation.tokens()) {
    n_markers += token == m.tokenizer->find("[INST]") || token == m.tokenizer->find("<|user|>");
  }
  CHECK_EQ(n_markers, 0);
}

TEST(a_turn_can_be_taken_back) {
  Loaded m(with_markers({"<|im_start|>", "<|im_end|>"}));
  Conversation& c = m.start("chatml");
  CHECK(c.add_user("first", "").ok());
  const u64 n = c.tokens().size;
  CHECK(c.add_user("second", "").ok());
  c.truncate(n);
  CHECK_EQ(c.tokens().size, n);
  c.truncate(0);
  CHECK(c.add_user("first", "").ok());
  CHECK_EQ(c.tokens().size, n);
}
