#include "base/json.h"

namespace flyball {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

i32 hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool parse_hex4(Str text, u64 position, u32* out) {
  if (text.size < 4 || position > text.size - 4) return false;
  u32 value = 0;
  for (u64 i = position; i < position + 4; ++i) {
    const i32 digit = hex_value(text[i]);
    if (digit < 0) return false;
    value = value << 4 | u32(digit);
  }
  *out = value;
  return true;
}

bool is_high_surrogate(u32 code) { return code >= 0xd800 && code < 0xdc00; }
bool is_low_surrogate(u32 code) { return code >= 0xdc00 && code < 0xe000; }

u32 encode_utf8(u32 code, char out[4]) {
  if (code < 0x80) return out[0] = char(code), 1;
  const u32 n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  constexpr u8 lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (u32 i = n; i-- > 1;) {
    out[i] = char(0x80 | (code & 0x3f));
    code >>= 6;
  }
  out[0] = char(lead[n] | code);
  return n;
}

// Length of the well-formed character at text[position], 0 where there is none.
u64 utf8_length(Str text, u64 position) {
  const u8 lead = u8(text[position]);
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  const u64 n = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  if (text.size - position < n) return 0;
  const u8 low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const u8 high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  const u8 second = u8(text[position + 1]);
  if (second < low || second > high) return 0;
  for (u64 i = 2; i < n; ++i) {
    if ((u8(text[position + i]) & 0xc0) != 0x80) return 0;
  }
  return n;
}

// Unescapes the inside of a validated string piece by piece.
class StringPieces {
 public:
  explicit StringPieces(Str inside) : rest_(inside) {}

  bool next(Str* piece) {
    if (rest_.empty()) return false;
    if (rest_[0] != '\\') {
      u64 n = 1;
      while (n < rest_.size && rest_[n] != '\\') ++n;
      *piece = rest_.substr(0, n);
      rest_ = rest_.from(n);
      return true;
    }
    *piece = Str(buffer_, unescape());
    return true;
  }

 private:
  u32 unescape() {
    const char c = rest_[1];
    if (c != 'u') {
      rest_ = rest_.from(2);
      buffer_[0] = c == 'b' ? '\b' : c == 'f' ? '\f' : c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
      return 1;
    }
    u32 code = 0;
    (void)parse_hex4(rest_, 2, &code);
    rest_ = rest_.from(6);
    if (is_high_surrogate(code)) {
      u32 low = 0;
      (void)parse_hex4(rest_, 2, &low);
      rest_ = rest_.from(6);
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    return encode_utf8(code, buffer_);
  }

  Str rest_;
  char buffer_[4] = {};
};

u64 unescaped_hash(Str inside) {
  u64 h = 0xcbf29ce484222325u;
  Str piece;
  for (StringPieces pieces(inside); pieces.next(&piece);) {
    for (const char c : piece) h = (h ^ u8(c)) * 0x100000001b3u;
  }
  return h;
}

bool unescaped_equal(Str inside, Str text) {
  Str piece;
  for (StringPieces pieces(inside); pieces.next(&piece);) {
    if (!text.starts_with(piece)) return false;
    text = text.from(piece.size);
  }
  return text.empty();
}

// The three below run over validated text only: they look for ends, not for errors.
u64 skip_space(Str text, u64 position) {
  while (position < text.size && is_space(text[position])) ++position;
  return position;
}

u64 skip_string(Str text, u64 position) {
  for (++position; text[position] != '"'; ++position) {
    if (text[position] == '\\') ++position;
  }
  return position + 1;
}

u64 skip_value(Str text, u64 position) {
  const char first = text[position];
  if (first == '"') return skip_string(text, position);
  if (first != '[' && first != '{') {
    const auto ends = [](char c) { return c == ',' || c == ']' || c == '}' || is_space(c); };
    while (position < text.size && !ends(text[position])) ++position;
    return position;
  }
  for (u32 depth = 0;;) {
    const char c = text[position];
    if (c == '"') {
      position = skip_string(text, position);
      continue;
    }
    ++position;
    if (c == '[' || c == '{') ++depth;
    if ((c == ']' || c == '}') && --depth == 0) return position;
  }
}

}  // namespace

Str json_type_name(JsonType type) {
  constexpr const char* names[] = {"null", "a boolean", "a number", "a string", "an array", "an object"};
  return names[u32(type)];
}

class JsonParser {
 public:
  explicit JsonParser(Str text) : text_(text) {}

  // One loop, no recursion: a stack bit says whether each open container is an object.
  Status run() {
    for (;;) {
      FLYBALL_TRY(open_containers());
      FLYBALL_TRY(scalar());
      for (;;) {
        skip_space_here();
        if (depth_ == 0) return position_ == text_.size ? Status() : Status(wrong("text after the value's end"));
        if (position_ == text_.size) return wrong("the text ends inside an array or object");
        if (text_[position_] == ',') {
          ++position_;
          if (in_object()) FLYBALL_TRY(name());
          break;
        }
        if (text_[position_] != (in_object() ? '}' : ']')) return wrong("expected a comma or the closing bracket");
        close();
      }
    }
  }

 private:
  ErrorBuilder wrong(Str what) const { return fail(Code::corrupt, "JSON", position_) << what; }
  bool in_object() const { return (object_bits_ >> (depth_ - 1) & 1) != 0; }
  void skip_space_here() { position_ = skip_space(text_, position_); }

  void close() {
    if (in_object()) n_keys_ = first_key_[depth_ - 1];
    --depth_, ++position_;
    empty_ = true;  // what closes is a whole value: scalar() has nothing left to read
  }

  // Opens containers until a scalar stands here, or until an empty container has been closed.
  Status open_containers() {
    for (empty_ = false; !empty_;) {
      skip_space_here();
      if (position_ == text_.size) return wrong("the text ends where a value should be");
      const char c = text_[position_];
      if (c != '{' && c != '[') return {};
      if (depth_ == Json::max_depth) return wrong("nested too deeply");
      object_bits_ = (object_bits_ & ~(u64(1) << depth_)) | u64(c == '{') << depth_;
      first_key_[depth_++] = n_keys_;
      ++position_;
      skip_space_here();
      if (position_ < text_.size && text_[position_] == (c == '{' ? '}' : ']')) {
        close();
      } else if (c == '{') {
        FLYBALL_TRY(name());
      }
    }
    return {};
  }

  Status name() {
    skip_space_here();
    if (position_ == text_.size || text_[position_] != '"') return wrong("expected a member's name in quotes");
    const u64 start = position_;
    FLYBALL_TRY(string());
    const u64 hash = unescaped_hash(text_.substr(start + 1, position_ - start - 2));
    for (u32 i = first_key_[depth_ - 1]; i < n_keys_; ++i) {
      if (keys_[i] == hash) return fail(Code::corrupt, "JSON", start) << "duplicate member name";
    }
    if (n_keys_ == Json::max_open_keys) return fail(Code::corrupt, "JSON", start) << "too many members";
    keys_[n_keys_++] = hash;
    skip_space_here();
    if (position_ == text_.size || text_[position_] != ':') return wrong("expected a colon");
    ++position_;
    return {};
  }

  Status scalar() {
    if (empty_) return {};
    const char c = text_[position_];
    if (c == '"') return string();
    if (c == '-' || is_digit(c)) return number();
    constexpr Str words[] = {"true", "false", "null"};
    for (const Str word : words) {
      if (!text_.from(position_).starts_with(word)) continue;
      position_ += word.size;
      return {};
    }
    return wrong("expected a value");
  }

  Status string() {
    for (++position_; position_ < text_.size;) {
      const char c = text_[position_];
      if (c == '"') return ++position_, Status();
      if (u8(c) < 0x20) return wrong("control character in a string");
      if (c == '\\') {
        FLYBALL_TRY(escape());
      } else {
        const u64 n = utf8_length(text_, position_);
        if (n == 0) return wrong("invalid UTF-8");
        position_ += n;
      }
    }
    return wrong("the text ends inside a string");
  }

  Status escape() {
    const char c = position_ + 1 < text_.size ? text_[position_ + 1] : '\0';
    for (const char simple : Str("\"\\/bfnrt")) {
      if (c == simple) return position_ += 2, Status();
    }
    u32 code = 0;
    if (c != 'u' || !parse_hex4(text_, position_ + 2, &code)) return wrong("invalid escape in a string");
    if (is_low_surrogate(code)) return wrong("lone surrogate in a string");
    if (is_high_surrogate(code)) {
      u32 low = 0;
      const Str rest = text_.from(position_ + 6);
      if (!rest.starts_with("\\u") || !parse_hex4(rest, 2, &low) || !is_low_surrogate(low)) {
        return wrong("lone surrogate in a string");
      }
      position_ += 6;
    }
    position_ += 6;
    return {};
  }

  u64 digits() {
    const u64 start = position_;
    while (position_ < text_.size && is_digit(text_[position_])) ++position_;
    return position_ - start;
  }

  Status number() {
    if (text_[position_] == '-') ++position_;
    const u64 start = position_;
    const u64 whole = digits();
    if (whole == 0) return wrong("expected a digit");
    if (whole > 1 && text_[start] == '0') return fail(Code::corrupt, "JSON", start) << "a number begins with zero";
    if (position_ < text_.size && text_[position_] == '.') {
      ++position_;
      if (digits() == 0) return wrong("expected a digit");
    }
    if (position_ < text_.size && (text_[position_] == 'e' || text_[position_] == 'E')) {
      ++position_;
      if (position_ < text_.size && (text_[position_] == '+' || text_[position_] == '-')) ++position_;
      if (digits() == 0) return wrong("expected a digit");
    }
    return {};
  }

  Str text_;
  u64 position_ = 0;
  u32 depth_ = 0;
  u64 object_bits_ = 0;
  bool empty_ = false;
  u32 n_keys_ = 0;
  u32 first_key_[Json::max_depth] = {};
  u64 keys_[Json::max_open_keys];
};

Result<Json> Json::parse(Str text) {
  JsonParser parser(text);
  FLYBALL_TRY(parser.run());
  return at(text, skip_space(text, 0), 0);
}

Json Json::at(Str text, u64 position, u64 base) {
  const char c = text[position];
  const JsonType type = c == '{'               ? JsonType::object
                        : c == '['             ? JsonType::array
                        : c == '"'             ? JsonType::string
                        : c == 't' || c == 'f' ? JsonType::boolean
                        : c == 'n'             ? JsonType::null
                                               : JsonType::number;
  return {type, base + position, text.substr(position, skip_value(text, position) - position)};
}

Error Json::wrong(Str field, Str wanted) const {
  ErrorBuilder error = fail(Code::corrupt, field, offset_) << "must be " << wanted << ", is ";
  if (type_ == JsonType::array || type_ == JsonType::object) return error << json_type_name(type_);
  return error << text_.substr(0, min(text_.size, u64(40))) << (text_.size > 40 ? "..." : "");
}

Result<Json> Json::expect(Str field, JsonType type) const {
  if (type_ != type) return wrong(field, json_type_name(type));
  return *this;
}

Result<bool> Json::as_bool(Str field) const {
  if (type_ != JsonType::boolean) return wrong(field, "true or false");
  return text_[0] == 't';
}

Result<u64> Json::as_u64(Str field, u64 low, u64 high) const {
  u64 value = 0;
  if (type_ == JsonType::number && parse_u64(text_, &value) && value >= low && value <= high) return value;
  char range[64];
  return wrong(field,
               Writer(range, sizeof range).put("an integer from ").put_u64(low).put(" to ").put_u64(high).text());
}

Result<i64> Json::as_i64(Str field, i64 low, i64 high) const {
  i64 value = 0;
  if (type_ == JsonType::number && parse_i64(text_, &value) && value >= low && value <= high) return value;
  char range[64];
  return wrong(field,
               Writer(range, sizeof range).put("an integer from ").put_i64(low).put(" to ").put_i64(high).text());
}

Result<f64> Json::as_f64(Str field) const {
  f64 value = 0;
  if (type_ == JsonType::number && parse_f64(text_, &value)) return value;
  return wrong(field, "a number");
}

Result<f32> Json::as_f32(Str field) const {
  f64 value = 0;
  if (type_ == JsonType::string) {
    if (text_ == "\"nan\"") return f32(__builtin_nanf(""));
    if (text_ == "\"inf\"") return f32(__builtin_inff());
    if (text_ == "\"-inf\"") return f32(-__builtin_inff());
  } else if (type_ == JsonType::number && parse_f64(text_, &value)) {
    constexpr f64 beyond = 3.4028235677973366e38;  // halfway from the largest f32 to the next power of two
    if (value > -beyond && value < beyond) return f32(value);
  }
  return wrong(field, "a 32-bit float");
}

Result<Str> Json::as_string(Arena& arena, Str field) const {
  if (type_ != JsonType::string) return wrong(field, "a string");
  const Str inside = text_.substr(1, text_.size - 2);
  bool escaped = false;
  for (const char c : inside) escaped = escaped || c == '\\';
  if (!escaped) return inside;
  const Span<char> copy = arena.allocate<char>(inside.size);  // unescaping never lengthens
  if (copy.empty()) return fail(Code::out_of_memory, field, offset_) << "no memory for " << inside.size << " bytes";
  u64 n = 0;
  Str piece;
  for (StringPieces pieces(inside); pieces.next(&piece);) {
    memcpy(copy.data + n, piece.data, piece.size);
    n += piece.size;
  }
  return Str(copy.data, n);
}

bool Json::find(Str name, Json* out) const {
  if (type_ != JsonType::object) return false;
  for (JsonItems items(*this); items.next();) {
    if (!items.key_is(name)) continue;
    *out = items.value();
    return true;
  }
  return false;
}

Result<Json> Json::member(Str name) const {
  Json value;
  if (type_ != JsonType::object) return wrong(name, "inside an object");
  if (!find(name, &value)) return fail(Code::corrupt, name, offset_) << "is missing";
  return value;
}

u64 Json::count() const {
  u64 n = 0;
  for (JsonItems items(*this); items.next();) ++n;
  return n;
}

bool JsonItems::next() {
  const bool object = container_.type_ == JsonType::object;
  if (!object && container_.type_ != JsonType::array) return false;
  const Str text = container_.text_;
  position_ = skip_space(text, position_);
  if (text[position_] == ',') position_ = skip_space(text, position_ + 1);
  if (text[position_] == ']' || text[position_] == '}') return false;
  if (object) {
    const u64 end = skip_string(text, position_);
    key_ = text.substr(position_ + 1, end - position_ - 2);
    position_ = skip_space(text, skip_space(text, end) + 1);  // behind the colon
  }
  value_ = Json::at(text, position_, container_.offset_);
  position_ += value_.text_.size;
  return true;
}

bool JsonItems::key_is(Str name) const { return unescaped_equal(key_, name); }

}  // namespace flyball
