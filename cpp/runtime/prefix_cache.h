// Keys and values of token sequences that were computed before, shared by all sessions of a model: a tree of blocks of
// 64 tokens, bounded in bytes, the least recently used leaf evicted first. Thread-safe; copies outside the lock. The
// rows have the bits that computing would write, so using them only changes the time.
#pragma once

#include "base/lock.h"
#include "runtime/kv_cache.h"
#include "runtime/recurrent_state.h"
#include "tokenizer/tokenizer.h"

namespace flyball::runtime {

using tokenizer::Token;

class PrefixCache {
 public:
  static constexpr u32 block_tokens = 64;

  PrefixCache(const Platform& platform, u64 capacity_bytes) : platform_(platform), capacity_(capacity_bytes) {}
  ~PrefixCache();
  PrefixCache(const PrefixCache&) = delete;
  PrefixCache& operator=(const PrefixCache&) = delete;

  // `kind` separates settings under which the same tokens have other keys: cache type, rotary frequencies.
  // Fills `cache` with the longest known prefix of `tokens`, of which it holds the first `n_held` already. Returns how
  // many it holds then: n_held, or a larger multiple of 64. A model with recurrent layers can go on only where their
  // state is known: then `state`, which is as of n_held tokens or fewer, is taken to the last such place, and its
  // position returned.
  u32 restore(u64 kind, Span<const Token> tokens, u32 n_held, const KvCache& cache, RecurrentState& state);

  // Keeps the whole blocks of `tokens`, all of which `cache` holds, and the snapshot. Without room or memory it keeps
  // fewer.
  void remember(u64 kind, Span<const Token> tokens, const KvCache& cache, const StateSnapshot& snapshot);

  u64 bytes() const { return bytes_; }
  u64 capacity() const { return capacity_; }
  SpinLock& lock() { return lock_; }

 private:
  struct Node;
  struct State;
  struct GivenUp {
    Node* nodes = nullptr;
    State* states = nullptr;
  };
  static constexpr u32 n_buckets = 1024;

  static u64 hash(u64 kind, const Node* parent, const Token* tokens);
  Node* find(u64 kind, const Node* parent, const Token* tokens) const;
  Node* create(u64 kind, const Token* tokens, u64 data_bytes) const;
  void destroy(Node* node) const;
  void touch(Node* leaf);  // leaf and its ancestors become the most recently used
  void destroy(GivenUp given_up) const;
  // Unlinks unused leaves and states, which the caller destroys outside the lock; false: all others are in use.
  bool make_room(u64 bytes, GivenUp& given_up);
  void attach(Node* node, const StateSnapshot& snapshot);  // to a node that the caller has pinned
  void unlink(Node* node);
  void insert(Node* node, Node* parent);

  const Platform& platform_;
  u64 capacity_;
  SpinLock lock_;
  u64 bytes_ = 0;
  Node* newest_ = nullptr;
  Node* oldest_ = nullptr;
  Node* buckets_[n_buckets] = {};
};

}  // namespace flyball::runtime
