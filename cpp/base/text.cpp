#include "base/text.h"

namespace flyball {
namespace {

constexpr char hex_digits[] = "0123456789abcdef";

bool is_continuation(u8 byte) { return (byte & 0xc0) == 0x80; }

struct Utf8Step {
  u64 size;      // bytes of this character, or of the ill-formed part that one U+FFFD stands for
  bool valid;    // a whole, shortest-form character that is no surrogate
  bool cut_off;  // ill-formed only because the text ends inside it
};

// Ill-formed input is divided as the Unicode standard recommends ("maximal subparts"), which is also what Python does.
Utf8Step utf8_step(const char* text, u64 left) {
  const u8 lead = u8(text[0]);
  if (lead < 0x80) return {1, true, false};
  if (lead < 0xc2 || lead > 0xf4) return {1, false, false};
  const u64 need = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  const u8 low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const u8 high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  for (u64 i = 1; i < need; ++i) {
    if (i == left) return {i, false, true};
    const u8 byte = u8(text[i]);
    const bool fits = i == 1 ? byte >= low && byte <= high : is_continuation(byte);
    if (!fits) return {i, false, false};
  }
  return {need, true, false};
}

// A magnitude as 1088 bits of integer and 1088 of fraction: every finite f64 fits exactly, so its digits are exact too.
struct FixedPoint {
  static constexpr u32 n_integer = 34;
  static constexpr u32 n_fraction = 34;
  u32 integer[n_integer] = {};    // least significant word first
  u32 fraction[n_fraction] = {};  // most significant word first

  explicit FixedPoint(f64 magnitude) {
    const u64 bits = bit_cast<u64>(magnitude);
    const u32 exponent = u32(bits >> 52);
    const u64 mantissa = (bits & 0xfffffffffffffu) | (exponent ? u64(1) << 52 : 0);
    // The value is mantissa * 2^(shift - 1088) with the fraction's last bit as unit.
    const u32 shift = (exponent ? exponent : 1) - 1075 + 32 * n_fraction;
    for (u32 i = 0; i < 53; ++i) {
      if (!(mantissa >> i & 1)) continue;
      const u32 bit = shift + i;
      const u32 word = bit / 32;
      if (word < n_fraction)
        fraction[n_fraction - 1 - word] |= u32(1) << bit % 32;
      else
        integer[word - n_fraction] |= u32(1) << bit % 32;
    }
  }

  u32 next_decimal() {  // takes the first digit after the point
    u64 carry = 0;
    for (u32 i = n_fraction; i-- > 0;) {
      carry += u64(fraction[i]) * 10;
      fraction[i] = u32(carry);
      carry >>= 32;
    }
    return u32(carry);
  }

  u32 next_digit() {  // takes the last digit before the point
    u64 rest = 0;
    for (u32 i = n_integer; i-- > 0;) {
      rest = rest << 32 | integer[i];
      integer[i] = u32(rest / 10);
      rest %= 10;
    }
    return u32(rest);
  }

  bool integer_is_zero() const {
    for (u32 word : integer)
      if (word) return false;
    return true;
  }
  bool fraction_at_least_half() const { return fraction[0] >> 31; }
};

// decimal * 10^exponent in binary, with every bit that a correct rounding needs.
class BigDecimal {
 public:
  BigDecimal(u64 decimal, i32 exponent) {
    // 1216 bits on the left keep 64 significant ones after a division by 10^364.
    const u32 shift = exponent < 0 ? 38 : 0;
    words_[shift] = u32(decimal);
    words_[shift + 1] = u32(decimal >> 32);
    scale_ = -i32(shift) * 32;
    for (i32 left = exponent; left > 0; left -= min(left, 9)) multiply(power(min(left, 9)));
    for (i32 left = -exponent; left > 0; left -= min(left, 9)) divide(power(min(left, 9)));
  }

  // Rounded to nearest even; infinity on overflow.
  f64 to_f64() const {
    i32 top = n_words * 32 - 1;
    while (top >= 0 && !bit(top)) --top;
    if (top < 0) return 0;
    i32 exponent = top + scale_;  // of the leading bit
    const i32 digits = exponent < -1022 ? 53 - (-1022 - exponent) : 53;
    if (digits < 0) return 0;
    u64 mantissa = 0;
    for (i32 i = 0; i < digits; ++i) mantissa = mantissa << 1 | bit(top - i);
    bool sticky = inexact_;
    for (i32 i = top - digits - 1; i >= 0 && !sticky; --i) sticky = bit(i);
    if (bit(top - digits) && (sticky || (mantissa & 1))) ++mantissa;
    if (exponent < -1022) return bit_cast<f64>(mantissa);  // subnormal, or carried into the smallest normal
    if (exponent > 1023) return __builtin_inf();
    // Adding lets a carry out of the mantissa raise the exponent, up to infinity.
    return bit_cast<f64>((u64(exponent + 1022) << 52) + mantissa);
  }

 private:
  static constexpr i32 n_words = 44;

  static u32 power(i32 n) {
    u32 result = 1;
    for (; n > 0; --n) result *= 10;
    return result;
  }
  bool bit(i32 i) const { return i >= 0 && (words_[i / 32] >> i % 32 & 1); }
  void multiply(u32 factor) {
    u64 carry = 0;
    for (u32& word : words_) {
      carry += u64(word) * factor;
      word = u32(carry);
      carry >>= 32;
    }
  }
  void divide(u32 divisor) {
    u64 rest = 0;
    for (i32 i = n_words; i-- > 0;) {
      rest = rest << 32 | words_[i];
      words_[i] = u32(rest / divisor);
      rest %= divisor;
    }
    inexact_ = inexact_ || rest != 0;
  }

  u32 words_[n_words] = {};  // least significant first
  i32 scale_ = 0;            // the value is words * 2^scale
  bool inexact_ = false;
};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

Writer& Writer::put(char c) { return put(Str(&c, 1)); }

Writer& Writer::put(Str s) {
  const u64 fits = min(s.size, capacity_ - size_);
  if (fits < s.size) truncated_ = true;
  if (fits) memcpy(data_ + size_, s.data, fits);
  size_ += fits;
  return *this;
}

Writer& Writer::put_u64(u64 value) {
  char digits[20];
  u32 first = 20;
  do {
    digits[--first] = char('0' + value % 10);
    value /= 10;
  } while (value);
  return put(Str(digits + first, 20 - first));
}

Writer& Writer::put_i64(i64 value) {
  if (value < 0) put('-');
  return put_u64(value < 0 ? u64(0) - u64(value) : u64(value));
}

Writer& Writer::put_hex(u64 value, u32 digits) {
  char text[16];
  u32 first = 16;
  do {
    text[--first] = hex_digits[value & 15];
    value >>= 4;
  } while (value);
  for (u32 n = 16 - first; n < digits; ++n) put('0');
  return put(Str(text + first, 16 - first));
}

Writer& Writer::put_fixed(f64 value, u32 decimals) {
  const u64 bits = bit_cast<u64>(value);
  const u64 magnitude = bits & 0x7fffffffffffffffu;
  if (magnitude > 0x7ff0000000000000u) return put("nan");
  const bool negative = bits >> 63;
  if (magnitude == 0x7ff0000000000000u) return put(negative ? Str("-inf") : Str("inf"));

  constexpr u32 most_decimals = 60;
  constexpr u32 point = 320;  // the place of the decimal point in `digits`
  decimals = min(decimals, most_decimals);
  FixedPoint number(bit_cast<f64>(magnitude));
  char digits[point + most_decimals];
  u32 first = point;
  do digits[--first] = char('0' + number.next_digit());
  while (!number.integer_is_zero());
  const u32 end = point + decimals;
  for (u32 i = point; i < end; ++i) digits[i] = char('0' + number.next_decimal());
  if (number.fraction_at_least_half()) {
    u32 i = end;
    while (i > first && digits[i - 1] == '9') digits[--i] = '0';
    if (i > first)
      ++digits[i - 1];
    else
      digits[--first] = '1';
  }
  bool zero = true;
  for (u32 i = first; i < end; ++i) zero = zero && digits[i] == '0';
  if (negative && !zero) put('-');
  put(Str(digits + first, point - first));
  if (decimals) put('.').put(Str(digits + point, decimals));
  return *this;
}

Writer& Writer::put_printable(Str s, u64 limit) {
  for (u64 i = 0; i < min(s.size, limit); ++i) {
    const u8 byte = u8(s[i]);
    if (byte >= 0x20 && byte <= 0x7e)
      put(char(byte));
    else
      put("\\x").put_hex(byte, 2);
  }
  if (s.size > limit) put("...");
  return *this;
}

Writer& Writer::put_safe(Str s) {
  for (u64 i = 0; i < s.size;) {
    const Utf8Step step = utf8_step(s.data + i, s.size - i);
    const u8 byte = u8(s[i]);
    const bool control = byte < 0x20 || byte == 0x7f || (byte == 0xc2 && step.valid && u8(s[i + 1]) < 0xa0);
    if (step.valid && !control) {
      if (step.size > capacity_ - size_) {
        truncated_ = true;
        return *this;
      }
      put(s.substr(i, step.size));
    } else {
      for (u64 j = 0; j < step.size; ++j) put("\\x").put_hex(u8(s[i + j]), 2);
    }
    i += step.size;
  }
  return *this;
}

Writer& Writer::put_json_string(Str s) {
  put('"');
  for (u64 i = 0; i < s.size;) {
    const Utf8Step step = utf8_step(s.data + i, s.size - i);
    const char c = s[i];
    if (!step.valid)
      put("\xef\xbf\xbd");
    else if (c == '"' || c == '\\')
      put('\\').put(c);
    else if (c == '\n')
      put("\\n");
    else if (c == '\r')
      put("\\r");
    else if (c == '\t')
      put("\\t");
    else if (c == '\b')
      put("\\b");
    else if (c == '\f')
      put("\\f");
    else if (u8(c) < 0x20)
      put("\\u").put_hex(u8(c), 4);
    else
      put(s.substr(i, step.size));
    i += step.size;
  }
  return put('"');
}

bool parse_u64(Str s, u64* out) {
  if (s.empty()) return false;
  u64 value = 0;
  for (char c : s) {
    if (!is_digit(c) || !checked_mul(value, 10, &value) || !checked_add(value, u64(c - '0'), &value)) return false;
  }
  *out = value;
  return true;
}

bool parse_i64(Str s, i64* out) {
  const bool negative = s.starts_with("-");
  u64 magnitude = 0;
  if (!parse_u64(negative ? s.from(1) : s, &magnitude)) return false;
  if (magnitude > (u64(1) << 63) - (negative ? 0 : 1)) return false;
  *out = i64(negative ? u64(0) - magnitude : magnitude);
  return true;
}

bool parse_f64(Str s, f64* out) {
  u64 i = 0;
  const bool negative = s.starts_with("-");
  if (negative) ++i;

  // 19 digits always fit; more only move the exponent (the result is then within one unit in the last place).
  u64 decimal = 0;
  u32 n_kept = 0;
  i32 exponent = 0;
  u64 n_digits = 0;
  const auto take = [&](char c, bool after_point) {
    ++n_digits;
    if (n_kept < 19) {
      decimal = decimal * 10 + u64(c - '0');
      if (decimal) ++n_kept;
      if (after_point) --exponent;
    } else if (!after_point) {
      ++exponent;
    }
  };
  if (s.size > 4096) return false;  // keeps the exponent's arithmetic far from overflow
  for (; i < s.size && is_digit(s[i]); ++i) take(s[i], false);
  if (n_digits == 0) return false;
  if (i < s.size && s[i] == '.') {
    const u64 before = n_digits;
    for (++i; i < s.size && is_digit(s[i]); ++i) take(s[i], true);
    if (n_digits == before) return false;
  }
  if (i < s.size && (s[i] == 'e' || s[i] == 'E')) {
    ++i;
    const bool minus = i < s.size && s[i] == '-';
    if (i < s.size && (s[i] == '-' || s[i] == '+')) ++i;
    if (i == s.size) return false;
    i32 written = 0;
    for (; i < s.size && is_digit(s[i]); ++i) written = min(written * 10 + (s[i] - '0'), 100000);
    exponent += minus ? -written : written;
  }
  if (i != s.size) return false;

  f64 value = 0;
  if (decimal && exponent > 330) return false;
  if (decimal && exponent >= -364) value = BigDecimal(decimal, exponent).to_f64();
  if (value > 1.7976931348623157e308) return false;
  *out = negative ? -value : value;
  return true;
}

u64 utf8_complete_prefix(Str s) {
  const u64 first = s.size - min(s.size, u64(3));
  for (u64 i = s.size; i-- > first;) {
    if (is_continuation(u8(s[i]))) continue;
    return utf8_step(s.data + i, s.size - i).cut_off ? i : s.size;
  }
  return s.size;
}

Str directory_of(Str path) {
  u64 n = path.size;
  while (n > 0 && path[n - 1] != '/' && path[n - 1] != '\\') --n;
  return path.substr(0, n);
}

Str file_name(Str path) { return path.from(directory_of(path).size); }

}  // namespace flyball
