// GGUF metadata -> vocabulary. Everything that encoding and decoding rely on is checked, and errors name the key.
// loader.cpp reads tokens and what they decode to, loader_merges.cpp what merges, loader_special.cpp what is special.
#pragma once

#include "tokenizer/vocabulary.h"

#define KEY "tokenizer.ggml."

namespace flyball::tokenizer {

enum Type : i32 { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

template <class T>
T element(const gguf::Value& array, u64 i) {
  T value;
  memcpy(&value, array.raw.data + i * sizeof(T), sizeof(T));
  return value;
}

class Loader {
 public:
  Loader(Arena& arena, const gguf::File& file, Tokenizer::State& state) : arena_(arena), file_(file), s_(state) {}

  static Result<Tokenizer*> load(Arena& arena, const gguf::File& file);

 private:
  Status run();

  Status read_model();
  Status refuse_normalizer();
  Status read_tokens();
  u64 n_embedded(u64 n_listed) const;
  Status read_types();
  bool stands_for_itself(Str text) const;
  Status same_count(const gguf::Value& array, Str key) const;
  Status index_texts();
  Status make_pieces();
  static u64 decode_bytes(Str text, char* to);
  static u64 unescape_spaces(Str text, char* to);
  void find_byte_tokens();
  Token find_mapped_byte(u32 value) const;
  Token find_byte(u32 value) const;

  // loader_merges.cpp
  Status read_merges();
  Status read_merge_block(gguf::StringArray& strings, u64 first_rank, u64 offset);
  bool find_merge(Str left, Str right, Token* left_token, Token* right_token, Token* merged);
  Status read_scores();
  void measure_mergeable(Str text);

  // loader_special.cpp
  Status read_special_ids();
  static Error missing_id(Str key, Str name);
  Token default_id(u64 token, u16 attribute) const;
  Status read_id(Str key, Token* token) const;
  Status read_id(Str key, const gguf::Value& value, Token* token) const;
  Status read_eos_list();
  Status read_eos(const gguf::Value& id);
  void make_control(Token token);
  void make_final(Token token);
  void mark_known_texts();
  Token mark_known(Str text, bool ends);
  void mark_stripping();
  void mark_stripping(Str text, u8 side);
  Status index_special_tokens();
  bool add_special(Token token);

  static Error out_of_memory() { return fail(Code::out_of_memory, KEY "tokens") << "no memory for the vocabulary"; }
  i32 type(u64 token) const { return types_.count ? element<i32>(types_, token) : i32(normal); }
  // A token that merging forms from text is text, whatever it looks like ("</s>" is plain HTML to qwen2).
  bool is_text(Token token) const { return !formed_.empty() && formed_[u64(token)]; }
  bool has(Str text) const { return s_.table.find(text) != no_token; }

  Arena& arena_;
  const gguf::File& file_;
  Tokenizer::State& s_;
  gguf::Value types_;
  Span<u8> formed_;  // BPE: tokens that a merge forms
  u64 tokens_offset_ = 0;
  u64 n_listed_ = 0;
  u64 text_bytes_ = 0;
  Token last_merged_ = no_token;
};

}  // namespace flyball::tokenizer
