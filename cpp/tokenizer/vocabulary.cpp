#include "tokenizer/vocabulary.h"

namespace flyball::tokenizer {
namespace {

u64 table_size(u64 n) {
  u64 size = 16;
  while (size < n * 2) size *= 2;
  return size;
}

struct ByteMap {
  u16 code_point[256];
  u16 byte[0x144];  // of the 256 code points; 0xffff: not one of them
};

constexpr ByteMap make_byte_map() {
  ByteMap map{};
  for (u16& byte : map.byte) byte = 0xffff;
  u16 next = 256;
  for (u32 byte = 0; byte < 256; ++byte) {
    const bool printable = (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte != 0xad);
    map.code_point[byte] = printable ? u16(byte) : next++;
    map.byte[map.code_point[byte]] = u16(byte);
  }
  return map;
}

constexpr ByteMap byte_map = make_byte_map();

}  // namespace

u32 byte_to_code_point(u8 byte) { return byte_map.code_point[byte]; }

u32 code_point_to_byte(u32 code_point) {
  if (code_point >= 0x144 || byte_map.byte[code_point] == 0xffff) return ~0u;
  return byte_map.byte[code_point];
}

bool TextTable::create(Arena& arena, u64 n, const Str* texts) {
  slots_ = arena.allocate<u64>(table_size(n));
  texts_ = texts;
  return !slots_.empty();
}

TextTable::Added TextTable::add(Token token, Token* same) {
  const Str text = texts_[token];
  const u64 hash = mix(hash_more(hash_start, text));
  for (u32 probe = 0; probe < max_probes; ++probe) {
    u64& slot = slots_[(hash + probe) & (slots_.size - 1)];
    if (slot == 0) {
      slot = slot_value(hash, token);
      return Added::yes;
    }
    const Token other = Token(u32(slot)) - 1;
    if ((slot ^ hash) >> 32 == 0 && texts_[other] == text) {
      *same = other;
      return Added::duplicate;
    }
  }
  return Added::crowded;
}

Token TextTable::find(Str first, Str second) const {
  const u64 hash = mix(hash_more(hash_more(hash_start, first), second));
  for (u32 probe = 0; probe < max_probes; ++probe) {
    const u64 slot = slots_[(hash + probe) & (slots_.size - 1)];
    if (slot == 0) return no_token;
    if ((slot ^ hash) >> 32) continue;
    const Token token = Token(u32(slot)) - 1;
    const Str text = texts_[token];
    if (text.size == first.size + second.size && text.starts_with(first) && text.ends_with(second)) return token;
  }
  return no_token;
}

bool MergeTable::create(Arena& arena, u64 n) {
  slots_ = arena.allocate<Slot>(table_size(n));
  return !slots_.empty();
}

bool MergeTable::add(Token left, Token right, u32 rank, Token merged) {
  const u64 pair = pair_of(left, right);
  const u64 hash = hash_of(pair);
  for (u32 probe = 0; probe < max_probes; ++probe) {
    Slot& slot = slots_[(hash + probe) & (slots_.size - 1)];
    if (slot.pair == pair) return true;
    if (slot.pair) continue;
    slot = {pair, rank, merged};
    return true;
  }
  return false;
}

const MergeTable::Slot* MergeTable::find(Token left, Token right) const {
  const u64 pair = pair_of(left, right);
  const u64 hash = hash_of(pair);
  for (u32 probe = 0; probe < max_probes; ++probe) {
    const Slot& slot = slots_[(hash + probe) & (slots_.size - 1)];
    if (slot.pair == pair) return &slot;
    if (slot.pair == 0) return nullptr;
  }
  return nullptr;
}

}  // namespace flyball::tokenizer
