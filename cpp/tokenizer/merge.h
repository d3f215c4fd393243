// The one merge loop behind both vocabularies: of all adjacent pairs that may merge, the pair with the smallest key
// merges first, the leftmost among equals. O(n log n) by a heap over a linked list.
#pragma once

#include "tokenizer/tokenizer.h"

namespace flyball::tokenizer {

struct Symbol {
  u32 begin = 0;  // in the text
  u32 size = 0;   // 0: merged into another
  i32 previous = -1;
  i32 next = -1;
  Token token = no_token;
};

struct Candidate {
  u64 order = 0;  // key, then left symbol
  u32 size = 0;   // of both when they were paired: another size now means that one of them has changed
  Token token = no_token;
};

struct Merge {
  u32 key = 0;
  Token token = no_token;  // no_token: the pair does not merge
};

class Heap {  // smallest order first
 public:
  explicit Heap(Candidate* memory) : items_(memory) {}
  bool empty() const { return n_ == 0; }

  void push(const Candidate& candidate) {
    u64 at = n_++;
    while (at > 0 && candidate.order < items_[(at - 1) / 2].order) {
      items_[at] = items_[(at - 1) / 2];
      at = (at - 1) / 2;
    }
    items_[at] = candidate;
  }

  Candidate pop() {
    const Candidate top = items_[0];
    const Candidate last = items_[--n_];
    u64 at = 0;
    for (u64 child = 1; child < n_; child = 2 * at + 1) {
      if (child + 1 < n_ && items_[child + 1].order < items_[child].order) ++child;
      if (last.order <= items_[child].order) break;
      items_[at] = items_[child];
      at = child;
    }
    items_[at] = last;
    return top;
  }

 private:
  Candidate* items_;
  u64 n_ = 0;
};

// Each merge takes one candidate and adds at most two, and there are fewer merges than symbols.
constexpr u64 heap_capacity(u64 n_symbols) { return 2 * n_symbols; }

// `symbols` are linked in order. `find(left, right)` gives a Merge. What is left has size > 0, linked from symbol 0.
template <class Find>
void merge_symbols(Symbol* symbols, u64 n, Candidate* heap_memory, const Find& find) {
  Heap heap(heap_memory);
  const auto consider = [&](i32 left, i32 right) {
    if (left < 0 || right < 0) return;
    const Merge merge = find(symbols[left], symbols[right]);
    if (merge.token == no_token) return;
    heap.push({u64(merge.key) << 32 | u32(left), symbols[left].size + symbols[right].size, merge.token});
  };
  for (u64 i = 1; i < n; ++i) consider(i32(i - 1), i32(i));
  while (!heap.empty()) {
    const Candidate candidate = heap.pop();
    const i32 index = i32(u32(candidate.order));
    Symbol& left = symbols[index];
    if (left.size == 0 || left.next < 0 || left.size + symbols[left.next].size != candidate.size) continue;
    Symbol& right = symbols[left.next];
    left.size += right.size;
    left.token = candidate.token;
    left.next = right.next;
    right.size = 0;
    if (left.next >= 0) symbols[left.next].previous = index;
    consider(left.previous, index);
    consider(index, left.next);
  }
}

}  // namespace flyball::tokenizer
