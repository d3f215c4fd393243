// A loaded vocabulary: per-token arrays and the hash tables that encoding looks things up in. loader.cpp fills it.
#pragma once

#include "base/arena.h"
#include "tokenizer/pretokenizer.h"
#include "tokenizer/tokenizer.h"

namespace flyball::tokenizer {

enum Attribute : u16 {
  is_control_token = 1,  // text becomes it only with parse_special
  is_unknown_token = 2,  // likewise; also what encoding falls back to
  is_user_defined = 4,   // found in text as a whole, before anything else
  is_byte_token = 8,
  is_mergeable = 16,  // may come out of merging
  is_end_token = 32,
  strips_left = 64,  // swallows white space next to it, as its tokenizer.json says (phi-3, jina, modern-bert)
  strips_right = 128,
  is_shown = 256,  // a control token, but decoded as its text: a program reads the answer's parts by it
};

constexpr u64 hash_start = 0xcbf29ce484222325u;
constexpr u64 hash_more(u64 h, Str s) {  // FNV-1a, continued
  for (u64 i = 0; i < s.size; ++i) h = (h ^ u8(s.data[i])) * 0x100000001b3u;
  return h;
}
constexpr u64 mix(u64 h) {
  h = (h ^ h >> 32) * 0x9e3779b97f4a7c15u;
  return h ^ h >> 29;
}

// A hash table may need this many probes and no more: a vocabulary made to collide is an error, not a hang.
constexpr u32 max_probes = 512;

class TextTable {  // text -> token; open addressing, load at most one half
 public:
  [[nodiscard]] bool create(Arena& arena, u64 n, const Str* texts);
  enum class Added : u8 { yes, duplicate, crowded };
  Added add(Token token, Token* same);
  Token find(Str text) const { return find(text, Str()); }
  Token find(Str first, Str second) const;  // of the two joined
  void prefetch(Str text) const { __builtin_prefetch(&slots_[first_slot(mix(hash_more(hash_start, text)))]); }

 private:
  u64 first_slot(u64 hash) const { return hash & (slots_.size - 1); }
  static u64 slot_value(u64 hash, Token token) { return (hash & 0xffffffff00000000u) | (u32(token) + 1); }
  Span<u64> slots_;  // high half: hash, low half: token + 1, 0: free
  const Str* texts_ = nullptr;
};

class MergeTable {  // (left, right) -> rank and merged token
 public:
  struct Slot {
    u64 pair = 0;  // + 1; 0: free
    u32 rank = 0;
    Token token = no_token;
  };
  [[nodiscard]] bool create(Arena& arena, u64 n);
  [[nodiscard]] bool add(Token left, Token right, u32 rank, Token merged);  // the first rank of a pair stays
  const Slot* find(Token left, Token right) const;
  void prefetch(Token left, Token right) const {
    __builtin_prefetch(&slots_[hash_of(pair_of(left, right)) & (slots_.size - 1)], 1);
  }

 private:
  static u64 hash_of(u64 pair) { return mix(pair * 0xff51afd7ed558ccdu); }
  static u64 pair_of(Token left, Token right) { return (u64(u32(left)) << 32 | u32(right)) + 1; }
  Span<Slot> slots_;
};

// Special tokens of one length, for a search with a rolling hash.
struct SpecialLength {
  u32 bytes = 0;
  bool plain = false;       // some are found without parse_special (user-defined)
  u64 first_bytes[4] = {};  // bit set of the bytes they start with
};

constexpr u64 rolling_base = 0x9e3779b97f4a7c15u;
constexpr u32 max_special_bytes = 4096;

struct Tokenizer::State {
  Str model;
  Str chat_template;
  const PreTokenizer* pre = nullptr;  // of BPE; null for `llama`
  bool composes = false;              // text is put into NFC first
  bool add_space_prefix = false;
  bool add_bos = false;
  bool add_eos = false;
  Token bos = no_token;
  Token eos = no_token;
  Token eot = no_token;
  Token unknown = no_token;  // never a control token

  Span<Str> texts;       // (n_vocab) as in the file
  Span<Str> pieces;      // (n_vocab) as decoded
  Span<u16> attributes;  // (n_vocab) Attribute bits
  TextTable table;
  Token byte_tokens[256];  // no_token where there is none

  MergeTable merges;          // BPE
  Span<u32> keys;             // llama: (n_vocab) the score, turned so that the smallest merges first
  u32 longest_mergeable = 4;  // bytes; a character at least
  bool words_start_with_space =
      false;  // llama: no mergeable token has U+2581 after anything else, so text splits there

  Span<SpecialLength> special_lengths;  // longest first
  Span<u64> special_slots;              // high half: rolling hash, low half: token + 1

  bool is_byte_level() const { return pre && !pre->characters; }
  bool is_special(Token token) const {
    return attributes[u64(token)] & (is_control_token | is_unknown_token | is_user_defined);
  }
};

inline constexpr Str spm_space = "\xe2\x96\x81";  // U+2581

// Byte-level BPE writes each byte as one printable character: a byte's code point, and back (~0u: not one of them).
u32 byte_to_code_point(u8 byte);
u32 code_point_to_byte(u32 code_point);

}  // namespace flyball::tokenizer
