// JSON (RFC 8259) without a library: a writer on the bounded Writer, and a strict reader for hostile text that
// allocates nothing.
#pragma once

#include "base/arena.h"

namespace flyball {

// Commas and nesting are the writer's business: begin_object().field("n", u64(1)).key("a").begin_array().value(...)...
class JsonWriter {
 public:
  explicit JsonWriter(Writer& out) : out_(&out) {}

  JsonWriter& begin_object() { return open('{'); }
  JsonWriter& end_object() { return close('}'); }
  JsonWriter& begin_array() { return open('['); }
  JsonWriter& end_array() { return close(']'); }
  JsonWriter& key(Str name);

  JsonWriter& value(Str text);
  JsonWriter& value(const char* text) { return value(Str(text)); }
  JsonWriter& value(u64 number);
  JsonWriter& value(i64 number);
  JsonWriter& value(u32 number) { return value(u64(number)); }
  JsonWriter& value(i32 number) { return value(i64(number)); }
  JsonWriter& value(bool boolean);
  JsonWriter& value(f32 number);    // the fewest digits that read back as the same bits; else "nan", "inf", "-inf"
  JsonWriter& value(f64) = delete;  // say how many decimals
  JsonWriter& fixed(f64 number, u32 decimals);  // NaN and infinities become null
  JsonWriter& hex(u64 high, u64 low);           // a string of 32 digits
  JsonWriter& null();
  JsonWriter& raw(Str json);  // a value that is JSON already

  template <class T>
  JsonWriter& field(Str name, T content) {
    return key(name).value(content);
  }

 private:
  JsonWriter& open(char bracket);
  JsonWriter& close(char bracket);
  Writer& element();  // after the comma that may be due

  Writer* out_;
  bool comma_ = false;  // due before the next element
};

void write_f32(Writer& out, f32 value);  // as JsonWriter::value(f32), NaN and infinities without quotes

enum class JsonType : u8 { null, boolean, number, string, array, object };
Str json_type_name(JsonType type);

// A value inside a text that parse() accepted as a whole: a view, so the text must outlive it. Reading is sequential.
class Json {
 public:
  static constexpr u32 max_depth = 32;
  static constexpr u32 max_open_keys = 512;  // members of all objects that are open at one place

  // The whole text or an error with the byte's offset: one value, no trailing bytes, valid UTF-8 and escapes, no lone
  // surrogates, no duplicate keys, nesting and members bounded as above.
  static Result<Json> parse(Str text);

  Json() = default;
  JsonType type() const { return type_; }
  u64 offset() const { return offset_; }  // in the parsed text
  Str raw() const { return text_; }
  bool is_null() const { return type_ == JsonType::null; }

  // Each error names `field` and the offset. `as_u64`: digits only, no fraction, no exponent.
  Result<bool> as_bool(Str field) const;
  Result<u64> as_u64(Str field, u64 low, u64 high) const;
  Result<i64> as_i64(Str field, i64 low, i64 high) const;
  Result<f64> as_f64(Str field) const;
  Result<f32> as_f32(Str field) const;                   // also the strings that JsonWriter::value(f32) writes
  Result<Str> as_string(Arena& arena, Str field) const;  // unescaped; copied into the arena only when it has escapes
  Result<Json> member(Str name) const;                   // of an object; a missing one is an error that names it
  bool find(Str name, Json* out) const;                  // of an object; names are compared unescaped
  Result<Json> expect(Str field, JsonType type) const;
  u64 count() const;  // elements of an array, members of an object

 private:
  friend class JsonItems;
  friend class JsonParser;
  Json(JsonType type, u64 offset, Str text) : type_(type), offset_(offset), text_(text) {}
  static Json at(Str text, u64 position, u64 base);  // the value that begins at text[position]
  Error wrong(Str field, Str wanted) const;

  JsonType type_ = JsonType::null;
  u64 offset_ = 0;
  Str text_ = "null";
};

// for (JsonItems items(array); items.next();) items.value() ...; of an object items.key() is the raw name without quotes.
class JsonItems {
 public:
  explicit JsonItems(const Json& container) : container_(container) {}  // other types have no items
  bool next();
  const Json& value() const { return value_; }
  Str raw_key() const { return key_; }
  bool key_is(Str name) const;  // unescapes

 private:
  Json container_;
  Json value_;
  Str key_;
  u64 position_ = 1;
};

}  // namespace flyball
