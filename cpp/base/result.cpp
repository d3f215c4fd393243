#include "base/result.h"

namespace flyball {
namespace {

// Names and texts from files may carry anything, terminal escapes too: what goes to a user goes through put_safe.
template <u64 N>
void append(Text<N>& text, Str s) {
  Writer out(text.data + text.size, N - text.size);
  out.put_safe(s);
  text.size += u32(out.text().size);
}

}  // namespace

Str code_name(Code code) {
  switch (code) {
    case Code::ok: return "ok";
    case Code::invalid_argument: return "invalid argument";
    case Code::not_found: return "not found";
    case Code::io: return "input/output";
    case Code::corrupt: return "corrupt";
    case Code::unsupported: return "unsupported";
    case Code::out_of_memory: return "out of memory";
    case Code::context_full: return "context full";
    case Code::interrupted: return "interrupted";
    case Code::non_finite: return "non-finite";
    case Code::mismatch: return "mismatch";
    case Code::internal: return "internal";
  }
  return "unknown";
}

void Error::describe(Writer& out) const {
  out.put(code_name(code));
  if (where.size) out.put(": ").put(where.str());
  if (offset != no_offset) out.put(" at byte ").put_u64(offset);
  if (what.size) out.put(": ").put(what.str());
}

ErrorBuilder::ErrorBuilder(Code code, Str where, u64 offset) {
  error_.code = code;
  error_.offset = offset;
  append(error_.where, where);
}

ErrorBuilder& ErrorBuilder::operator<<(Str s) {
  append(error_.what, s);
  return *this;
}

ErrorBuilder& ErrorBuilder::operator<<(u64 value) {
  char digits[20];
  return *this << Writer(digits, sizeof(digits)).put_u64(value).text();
}

ErrorBuilder& ErrorBuilder::operator<<(i64 value) {
  char digits[20];
  return *this << Writer(digits, sizeof(digits)).put_i64(value).text();
}

ErrorBuilder& ErrorBuilder::operator<<(f64 value) {
  char digits[400];
  Str text = Writer(digits, sizeof(digits)).put_fixed(value, 6).text();
  bool point = false;
  for (char c : text) point = point || c == '.';
  while (point && text.ends_with("0")) text.size--;
  if (point && text.ends_with(".")) text.size--;
  return *this << text;
}

}  // namespace flyball
