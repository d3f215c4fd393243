// A growable array of plain data in memory from the Platform. Growth can fail: append() says so and changes nothing.
#pragma once

#include "base/platform.h"

namespace flyball {

template <class T>
class Buffer {
 public:
  explicit Buffer(const Platform& platform) : platform_(&platform) {}
  ~Buffer() { release(); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  [[nodiscard]] bool reserve(u64 n) {
    if (n <= capacity_) return true;
    const u64 wanted = max(n, capacity_ + capacity_ / 2 + 64);
    u64 bytes = 0;
    if (!checked_mul(wanted, sizeof(T), &bytes)) return false;
    T* grown = static_cast<T*>(platform_->allocate(platform_->self, bytes));
    if (grown == nullptr) return false;
    if (size_ != 0) memcpy(grown, data_, size_ * sizeof(T));
    if (data_ != nullptr) platform_->release(platform_->self, data_, capacity_ * sizeof(T));
    data_ = grown;
    capacity_ = wanted;
    return true;
  }
  [[nodiscard]] bool append(Span<const T> items) {  // not a part of this buffer: growing moves it
    u64 wanted = 0;
    if (!checked_add(size_, items.size, &wanted) || !reserve(wanted)) return false;
    if (items.size != 0) memcpy(data_ + size_, items.data, items.size * sizeof(T));
    size_ = wanted;
    return true;
  }
  [[nodiscard]] bool append(const T& item) { return append({&item, 1}); }

  void truncate(u64 n) { size_ = min(size_, n); }
  void resize_within(u64 n) { size_ = min(n, capacity_); }  // after writing into space()
  Span<T> space() { return {data_ + size_, capacity_ - size_}; }
  void release() {
    if (data_ != nullptr) platform_->release(platform_->self, data_, capacity_ * sizeof(T));
    data_ = nullptr;
    size_ = capacity_ = 0;
  }

  u64 size() const { return size_; }
  T& operator[](u64 i) const { return data_[i]; }
  Span<T> items() const { return {data_, size_}; }

 private:
  const Platform* platform_;
  T* data_ = nullptr;
  u64 size_ = 0;
  u64 capacity_ = 0;
};

[[nodiscard]] inline bool append(Buffer<char>& buffer, Str text) { return buffer.append({text.data, text.size}); }
inline Str text_of(const Buffer<char>& buffer) {
  return buffer.size() ? Str(buffer.items().data, buffer.size()) : Str();
}

}  // namespace flyball
