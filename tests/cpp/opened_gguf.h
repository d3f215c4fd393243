// Opens bytes as GGUF the way tests want it: each part in memory of exactly its size, so sanitizers see every overrun.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "counting_platform.h"
#include "gguf/file.h"

namespace test {

class OpenedGguf {
 public:
  explicit OpenedGguf(const std::vector<std::string>& parts, flyball::u64 memory_limit = ~flyball::u64(0))
      : arena_(memory.platform), result_(flyball::Status().error()) {
    memory.limit = memory_limit;
    for (const auto& part : parts) {
      // Aligned like a mapping; one spare byte keeps an empty part's pointer valid without making it readable.
      auto& copy = copies_.emplace_back(new (std::align_val_t(64)) flyball::u8[part.size() + (part.empty() ? 1 : 0)]);
      if (!part.empty()) std::memcpy(copy.get(), part.data(), part.size());
      spans_.push_back({copy.get(), part.size()});
    }
    result_ = flyball::gguf::File::open(arena_, {spans_.data(), spans_.size()});
  }
  explicit OpenedGguf(const std::string& bytes) : OpenedGguf(std::vector<std::string>{bytes}) {}

  bool ok() const { return result_.ok(); }
  const flyball::gguf::File& file() const { return *result_.value(); }
  const flyball::Error& error() const { return result_.error(); }
  flyball::Span<const flyball::u8> part(size_t i = 0) const { return spans_[i]; }
  std::string text() const {
    char buffer[1024];
    flyball::Writer out(buffer, sizeof(buffer));
    if (ok()) return "ok";
    error().describe(out);
    return {out.text().data, out.text().size};
  }

  CountingPlatform memory;

 private:
  struct Free {
    void operator()(flyball::u8* bytes) const { ::operator delete[](bytes, std::align_val_t(64)); }
  };
  std::vector<std::unique_ptr<flyball::u8[], Free>> copies_;
  std::vector<flyball::Span<const flyball::u8>> spans_;
  flyball::Arena arena_;
  flyball::Result<flyball::gguf::File*> result_;
};

}  // namespace test
