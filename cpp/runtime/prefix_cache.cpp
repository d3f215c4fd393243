#include "runtime/prefix_cache.h"

namespace flyball::runtime {

struct PrefixCache::State {
  u64 bytes = 0;  // as allocated
  State* next = nullptr;
  f32* floats() { return reinterpret_cast<f32*>(reinterpret_cast<u8*>(this) + 64); }
};

struct PrefixCache::Node {
  u64 kind = 0;
  u64 hash = 0;
  u64 bytes = 0;  // of node and data, as allocated
  Node* parent = nullptr;
  u32 n_children = 0;
  u32 pins = 0;  // being copied from
  Node* newer = nullptr;
  Node* older = nullptr;
  Node* next_in_bucket = nullptr;
  State* state = nullptr;  // after the node's tokens, where it is known
  Token tokens[block_tokens];

  u8* data() { return reinterpret_cast<u8*>(this) + round_up(sizeof(Node), 64); }
};

PrefixCache::~PrefixCache() {
  while (newest_) {
    Node* const node = newest_;
    newest_ = node->older;
    destroy(node);
  }
}

u64 PrefixCache::hash(u64 kind, const Node* parent, const Token* tokens) {
  u64 mixed = (parent ? parent->hash : 0) ^ kind;
  for (u32 i = 0; i < block_tokens; ++i) {
    mixed = (mixed ^ u32(tokens[i])) * 0x9e3779b97f4a7c15u;
    mixed ^= mixed >> 29;
  }
  return mixed;
}

// A hash finds candidates; the tokens themselves decide.
PrefixCache::Node* PrefixCache::find(u64 kind, const Node* parent, const Token* tokens) const {
  const u64 wanted = hash(kind, parent, tokens);
  for (Node* node = buckets_[wanted % n_buckets]; node; node = node->next_in_bucket) {
    if (node->hash == wanted && node->kind == kind && node->parent == parent &&
        memcmp(node->tokens, tokens, sizeof node->tokens) == 0)
      return node;
  }
  return nullptr;
}

PrefixCache::Node* PrefixCache::create(u64 kind, const Token* tokens, u64 data_bytes) const {
  const u64 bytes = round_up(sizeof(Node), 64) + data_bytes;
  Node* const node = static_cast<Node*>(platform_.allocate(platform_.self, bytes));
  if (!node) return nullptr;
  node->kind = kind;
  node->bytes = bytes;
  memcpy(node->tokens, tokens, sizeof node->tokens);
  return node;
}

void PrefixCache::destroy(Node* node) const {
  if (node->state) platform_.release(platform_.self, node->state, node->state->bytes);
  platform_.release(platform_.self, node, node->bytes);
}

void PrefixCache::destroy(GivenUp given_up) const {
  while (Node* const node = given_up.nodes) {
    given_up.nodes = node->next_in_bucket;
    destroy(node);
  }
  while (State* const state = given_up.states) {
    given_up.states = state->next;
    platform_.release(platform_.self, state, state->bytes);
  }
}

void PrefixCache::touch(Node* leaf) {
  // Towards the root, so that a parent is always more recent than its children and eviction starts at leaves.
  for (Node* node = leaf; node; node = node->parent) {
    if (!node->newer) continue;  // it is the newest
    node->newer->older = node->older;
    (node->older ? node->older->newer : oldest_) = node->newer;
    node->older = newest_;
    node->newer = nullptr;
    newest_->newer = node;
    newest_ = node;
  }
}

void PrefixCache::insert(Node* node, Node* parent) {
  node->parent = parent;
  if (parent) ++parent->n_children;
  node->hash = hash(node->kind, parent, node->tokens);
  Node*& bucket = buckets_[node->hash % n_buckets];
  node->next_in_bucket = bucket;
  bucket = node;
  node->older = newest_;
  (newest_ ? newest_->newer : oldest_) = node;
  newest_ = node;
  bytes_ += node->bytes;
}

void PrefixCache::unlink(Node* node) {
  Node** at = &buckets_[node->hash % n_buckets];
  while (*at != node) at = &(*at)->next_in_bucket;
  *at = node->next_in_bucket;
  (node->newer ? node->newer->older : newest_) = node->older;
  (node->older ? node->older->newer : oldest_) = node->newer;
  if (node->parent) --node->parent->n_children;
  bytes_ -= node->bytes + (node->state ? node->state->bytes : 0);
}

bool PrefixCache::make_room(u64 bytes, GivenUp& given_up) {
  if (bytes > capacity_) return false;
  Node* node = oldest_;
  while (node && bytes_ + bytes > capacity_) {
    Node* const newer = node->newer;
    if (node->n_children == 0 && node->pins == 0) {
      unlink(node);
      node->next_in_bucket = given_up.nodes;
      given_up.nodes = node;
    } else if (node->state && node->pins == 0) {
      bytes_ -= node->state->bytes;
      node->state->next = given_up.states;
      given_up.states = node->state;
      node->state = nullptr;
    }
    node = newer;
  }
  return bytes_ + bytes <= capacity_;
}

void PrefixCache::attach(Node* node, const StateSnapshot& snapshot) {
  const u64 bytes = 64 + snapshot.floats.size * sizeof(f32);
  {
    const Locked locked(lock_);
    if (node->state || bytes > capacity_) return;
  }
  State* const made = static_cast<State*>(platform_.allocate(platform_.self, bytes));
  if (!made) return;
  made->bytes = bytes;
  memcpy(made->floats(), snapshot.floats.data, snapshot.floats.size * sizeof(f32));
  GivenUp given_up;
  {
    const Locked locked(lock_);
    if (!node->state && make_room(bytes, given_up)) {
      node->state = made;
      bytes_ += bytes;
    } else {
      made->next = given_up.states;
      given_up.states = made;
    }
  }
  destroy(given_up);
}

u32 PrefixCache::restore(u64 kind, Span<const Token> tokens, u32 n_held, const KvCache& cache, RecurrentState& state) {
  constexpr u32 most_at_once = 64;
  Node* known = nullptr;  // pinned: the last one with a state
  u32 n_known = state.position();
  Node* parent = nullptr;
  u32 n = 0;  // tokens walked
  for (bool more = true; more;) {
    Node* found[most_at_once];
    u32 n_found = 0;
    {
      const Locked locked(lock_);
      // The round before has pinned `parent`, so it is still there.
      Node* const pinned = parent;
      while (n_found < most_at_once && n + (n_found + 1) * block_tokens <= tokens.size) {
        Node* const node = find(kind, parent, &tokens[n + n_found * block_tokens]);
        if (!node) break;
        ++node->pins;
        found[n_found++] = parent = node;
        const u32 end = n + n_found * block_tokens;
        if (!state.exists() || !node->state || end <= n_known) continue;
        if (known) --known->pins;
        ++node->pins;
        known = node;
        n_known = end;
      }
      if (n_found) touch(parent);
      if (pinned) --pinned->pins;
      more = n_found == most_at_once;
      if (more) ++parent->pins;
    }
    for (u32 i = 0; i < n_found; ++i, n += block_tokens) {
      if (n + block_tokens <= n_held) continue;
      const u8* from = found[i]->data();
      cache.each_part(n, n + block_tokens, [&](Span<u8> part) {
        memcpy(part.data, from, part.size);
        from += part.size;
      });
    }
    const Locked locked(lock_);
    for (u32 i = 0; i < n_found; ++i) --found[i]->pins;
  }
  if (!state.exists()) return max(n, n_held);
  if (known) {
    memcpy(state.floats().data, known->state->floats(), state.floats().size * sizeof(f32));
    state.taken_up(n_known);
    const Locked locked(lock_);
    --known->pins;
  }
  return n_known;
}

void PrefixCache::remember(u64 kind, Span<const Token> tokens, const KvCache& cache, const StateSnapshot& snapshot) {
  const u64 data_bytes = cache.part_bytes(0, block_tokens);
  if (data_bytes > capacity_) return;
  Node* parent = nullptr;  // pinned, but for the root
  for (u32 n = 0; n + block_tokens <= tokens.size; n += block_tokens) {
    Node* node = nullptr;
    {
      const Locked locked(lock_);
      node = find(kind, parent, &tokens[n]);
      if (node) ++node->pins;
    }
    if (!node) {
      Node* const made = create(kind, &tokens[n], data_bytes);
      if (made) {
        u8* to = made->data();
        cache.each_part(n, n + block_tokens, [&](Span<u8> part) {
          memcpy(to, part.data, part.size);
          to += part.size;
        });
      }
      GivenUp given_up;
      {
        const Locked locked(lock_);
        node = find(kind, parent, &tokens[n]);  // another session may have been faster
        if (!node && made && make_room(made->bytes, given_up)) {
          insert(made, parent);
          node = made;
        } else if (made) {
          made->next_in_bucket = given_up.nodes;
          given_up.nodes = made;
        }
        if (node) ++node->pins;
      }
      destroy(given_up);
    }
    if (node && snapshot.position == n + block_tokens) attach(node, snapshot);
    const Locked locked(lock_);
    if (parent) --parent->pins;
    parent = node;
    if (!node) return;
  }
  const Locked locked(lock_);
  if (!parent) return;
  touch(parent);
  --parent->pins;
}

}  // namespace flyball::runtime
