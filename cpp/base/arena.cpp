#include "base/arena.h"

namespace flyball {
namespace {

constexpr u64 alignment = 64;

}  // namespace

void* Arena::allocate_bytes(u64 bytes) {
  constexpr u64 header = alignment;
  static_assert(sizeof(Block) <= header);
  if (bytes > ~u64(0) - header - alignment) return nullptr;
  bytes = round_up(max(bytes, u64(1)), alignment);

  if (blocks_ && blocks_->bytes - blocks_->used >= bytes) {
    void* memory = reinterpret_cast<u8*>(blocks_) + blocks_->used;
    blocks_->used += bytes;
    bytes_used_ += bytes;
    return memory;
  }

  // A large request gets a block of its own behind the current one, which keeps the rest of that one in use.
  const bool own = bytes > block_bytes / 4;
  const u64 size = own ? header + bytes : block_bytes;
  Block* block = static_cast<Block*>(platform_->allocate(platform_->self, size));
  if (!block) return nullptr;
  block->bytes = size;
  block->used = header + bytes;
  if (own && blocks_) {
    block->next = blocks_->next;
    blocks_->next = block;
  } else {
    block->next = blocks_;
    blocks_ = block;
  }
  bytes_used_ += bytes;
  return reinterpret_cast<u8*>(block) + header;
}

Str Arena::copy(Str s) {
  if (s.empty()) return {};
  char* memory = static_cast<char*>(allocate_bytes(s.size));
  if (!memory) return {};
  memcpy(memory, s.data, s.size);
  return {memory, s.size};
}

void Arena::clear() {
  while (blocks_) {
    Block* next = blocks_->next;
    platform_->release(platform_->self, blocks_, blocks_->bytes);
    blocks_ = next;
  }
  bytes_used_ = 0;
}

}  // namespace flyball
