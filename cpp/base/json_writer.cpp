#include "base/json.h"

namespace flyball {

JsonWriter& JsonWriter::open(char bracket) {
  element().put(bracket);
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::close(char bracket) {
  out_->put(bracket);
  comma_ = true;
  return *this;
}

Writer& JsonWriter::element() {
  if (comma_) out_->put(',');
  comma_ = true;
  return *out_;
}

JsonWriter& JsonWriter::key(Str name) {
  element().put_json_string(name).put(':');
  comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::value(Str text) { return element().put_json_string(text), *this; }
JsonWriter& JsonWriter::value(u64 number) { return element().put_u64(number), *this; }
JsonWriter& JsonWriter::value(i64 number) { return element().put_i64(number), *this; }
JsonWriter& JsonWriter::value(bool boolean) { return element().put(boolean ? "true" : "false"), *this; }
JsonWriter& JsonWriter::null() { return element().put("null"), *this; }
JsonWriter& JsonWriter::raw(Str json) { return element().put(json), *this; }

JsonWriter& JsonWriter::value(f32 number) {
  const bool finite = number - number == 0;
  Writer& out = element();
  if (!finite) out.put('"');
  write_f32(out, number);
  if (!finite) out.put('"');
  return *this;
}

JsonWriter& JsonWriter::fixed(f64 number, u32 decimals) {
  if (number - number != 0) return null();
  return element().put_fixed(number, decimals), *this;
}

JsonWriter& JsonWriter::hex(u64 high, u64 low) {
  element().put('"').put_hex(high, 16).put_hex(low, 16).put('"');
  return *this;
}

namespace {

// `digits` significant decimal digits of a positive finite value: digits d and exponent e with value ~ 0.d * 10^e.
// The scaling's error is far below what could turn nine digits into a neighboring f32, and the caller checks.
u64 significant(f64 value, u32 digits, i32* exponent) {
  i32 e = 0;
  f64 scaled = value;
  while (scaled >= 1) scaled /= 10, ++e;
  while (scaled < 0.1) scaled *= 10, --e;
  u64 limit = 1;
  for (u32 i = 0; i < digits; ++i) limit *= 10;
  u64 rounded = u64(scaled * f64(limit) + 0.5);
  if (rounded >= limit) rounded /= 10, ++e;
  *exponent = e;
  return rounded;
}

void put_decimal(Writer& out, u64 digits, u32 n_digits, i32 exponent) {
  char text[20];
  Writer all(text, sizeof text);
  all.put_u64(digits);
  const Str d = all.text();
  if (exponent > 0 && exponent <= 9) {
    const u64 whole = min(u64(exponent), u64(n_digits));
    out.put(d.substr(0, whole));
    for (u64 i = whole; i < u64(exponent); ++i) out.put('0');
    if (n_digits > whole) out.put('.').put(d.from(whole));
  } else if (exponent <= 0 && exponent > -5) {
    out.put("0.");
    for (i32 i = exponent; i < 0; ++i) out.put('0');
    out.put(d);
  } else {
    out.put(d[0]);
    if (n_digits > 1) out.put('.').put(d.from(1));
    out.put('e').put_i64(exponent - 1);
  }
}

}  // namespace

void write_f32(Writer& out, f32 value) {
  if (value != value) return void(out.put("nan"));
  if (bit_cast<u32>(value) >> 31 != 0) {
    out.put('-');
    value = -value;
  }
  if (value == 0) return void(out.put('0'));
  if (value - value != 0) return void(out.put("inf"));
  for (u32 n_digits = 1;; ++n_digits) {
    i32 exponent = 0;
    const u64 digits = significant(value, n_digits, &exponent);
    char text[32];
    Writer candidate(text, sizeof text);
    put_decimal(candidate, digits, n_digits, exponent);
    f64 back = 0;
    if (n_digits == 9 || (parse_f64(candidate.text(), &back) && f32(back) == value))
      return void(out.put(candidate.text()));
  }
}

}  // namespace flyball
