// Writing to whatever console the Platform has: pieces are gathered and go out together.
#pragma once

#include "base/platform.h"

namespace flyball::repl {

class Console {
 public:
  explicit Console(const Platform& platform) : platform_(platform) {}
  ~Console() { flush(); }
  Console(const Console&) = delete;
  Console& operator=(const Console&) = delete;

  Console& operator<<(Str text) {  // as it is: for text that a model or a person wrote, see printable()
    while (!text.empty()) {
      const u64 n = min(text.size, sizeof buffer_ - size_);
      memcpy(buffer_ + size_, text.data, n);
      size_ += n;
      text = text.from(n);
      if (size_ == sizeof buffer_) flush();
    }
    return *this;
  }
  Console& operator<<(const char* text) { return *this << Str(text); }
  Console& operator<<(char c) { return *this << Str(&c, 1); }
  Console& operator<<(u64 value) {
    char digits[20];
    return *this << Writer(digits, sizeof digits).put_u64(value).text();
  }
  Console& operator<<(u32 value) { return *this << u64(value); }
  Console& operator<<(i32 value) {
    char digits[20];
    return *this << Writer(digits, sizeof digits).put_i64(value).text();
  }
  Console& fixed(f64 value, u32 decimals) {
    char digits[64];
    return *this << Writer(digits, sizeof digits).put_fixed(value, decimals).text();
  }
  Console& padded(Str text, u64 width) {
    *this << text;
    for (u64 i = text.size; i < width; ++i) *this << ' ';
    return *this;
  }
  Console& printable(Str text) {  // control bytes cannot drive the terminal; line ends and tabs stay
    u64 first = 0;
    for (u64 i = 0; i <= text.size; ++i) {
      const bool plain = i < text.size && (text[i] == '\n' || text[i] == '\t');
      if (i < text.size && !plain) continue;
      safe(text.substr(first, i - first));
      if (plain) *this << text[i];
      first = i + 1;
    }
    return *this;
  }
  void flush() {
    if (size_ != 0) platform_.write(platform_.self, {buffer_, size_});
    size_ = 0;
  }

 private:
  void safe(Str text) {
    char buffer[256];
    while (!text.empty()) {  // a byte is at most four when escaped
      const u64 n = text.size <= sizeof buffer / 4
                        ? text.size
                        : max(utf8_complete_prefix(text.substr(0, sizeof buffer / 4)), u64(1));
      *this << Writer(buffer, sizeof buffer).put_safe(text.substr(0, n)).text();
      text = text.from(n);
    }
  }

  const Platform& platform_;
  char buffer_[1024];
  u64 size_ = 0;
};

}  // namespace flyball::repl
