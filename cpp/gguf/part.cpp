#include "gguf/part.h"

#include "gguf/names.h"

namespace flyball::gguf {
namespace {

constexpr u64 header_bytes = 24;                        // magic, version, two counts
constexpr u64 smallest_key = 8 + 1 + 4 + 1;             // length, one character, type, one byte
constexpr u64 smallest_tensor = 8 + 1 + 4 + 8 + 4 + 8;  // length, one character, n_dims, one of them, type, offset
constexpr u32 n_value_types = 13;

constexpr u8 scalar_bytes[n_value_types] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
constexpr Str value_type_names[n_value_types] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                 "bool", "string", "array", "u64", "i64", "f64"};

template <class T>
T load(const u8* from) {
  T value;
  memcpy(&value, from, sizeof(value));
  return value;
}

Str text_of(Span<const u8> bytes) { return {reinterpret_cast<const char*>(bytes.data), bytes.size}; }

bool has_nul(Str s) {
  for (char c : s)
    if (c == 0) return true;
  return false;
}

// Files often renamed or downloaded by mistake, known by their first bytes.
constexpr struct {
  Str magic;
  Str name;
} known_formats[] = {
    {"lmgg", "the GGML format, which GGUF replaced"},
    {"fmgg", "the GGMF format, which GGUF replaced"},
    {"tjgg", "the GGJT format, which GGUF replaced"},
    {"algg", "the GGLA format, which GGUF replaced"},
    {"version https://git-lfs", "a Git LFS pointer: fetch the file that it stands for"},
    {"<", "a web page: the download went wrong"},
    {"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint"},
    {"\x1f\x8b", "compressed with gzip"},
};

Str known_format(Str head) {
  for (const auto& format : known_formats)
    if (head.starts_with(format.magic)) return format.name;
  return {};
}

}  // namespace

Str value_type_name(ValueType type) { return u32(type) < n_value_types ? value_type_names[u32(type)] : Str("unknown"); }

ErrorBuilder Part::error(Code code, u64 offset, Str field, Str name) const {
  char buffer[160];
  Writer where(buffer, sizeof(buffer));
  if (n_parts_ > 1) where.put("part ").put_u64(u64(number_) + 1).put(" of ").put_u64(n_parts_).put(", ");
  where.put(field);
  if (!name.empty()) where.put(" '").put_printable(name, 80).put("'");
  return fail(code, where.text(), offset);
}

ErrorBuilder Part::ends(Str field, u64 needed, Str name) const {
  return error(Code::corrupt, at_, field, name)
         << "the file ends too early: " << needed << " bytes are needed here, " << left() << " remain";
}

ErrorBuilder Part::crowded(u64 offset, Str field, Str name) const {
  return error(Code::unsupported, offset, field, name) << "too many names of this file have the same hash value";
}

bool Part::take_u32(u32* out) {
  if (left() < 4) return false;
  *out = load<u32>(bytes_.data + at_);
  at_ += 4;
  return true;
}

bool Part::take_u64(u64* out) {
  if (left() < 8) return false;
  *out = load<u64>(bytes_.data + at_);
  at_ += 8;
  return true;
}

Status Part::refuse_format() {
  const Str head = text_of(bytes_.subspan(0, min(bytes_.size, u64(32))));
  const Str name = known_format(head);
  if (!name.empty()) return error(Code::unsupported, 0, "magic") << "not a GGUF file; this looks like " << name;
  char buffer[32];
  const Str shown = Writer(buffer, sizeof(buffer)).put_printable(head.substr(0, min(head.size, u64(4)))).text();
  return error(Code::corrupt, 0, "magic") << "not a GGUF file: it begins with '" << shown << "' instead of 'GGUF'";
}

Status Part::read_header() {
  at_ = 0;
  if (!text_of(bytes_).starts_with("GGUF")) return refuse_format();
  at_ = 4;
  if (bytes_.size < header_bytes) return ends("header", header_bytes - 4);
  (void)take_u32(&version_);
  const u32 swapped = __builtin_bswap32(version_);
  if (swapped >= 1 && swapped <= 3)
    return error(Code::unsupported, 4, "version") << "a big-endian GGUF file; Flyball reads little-endian ones";
  if (version_ != 2 && version_ != 3)
    return error(Code::unsupported, 4, "version") << "GGUF version " << version_ << "; Flyball reads versions 2 and 3";
  (void)take_u64(&n_tensors_);
  (void)take_u64(&n_keys_);

  if (n_tensors_ > left() / smallest_tensor)
    return error(Code::corrupt, 8, "n_tensors")
           << "says " << n_tensors_ << ", but the " << left() << " bytes that remain cannot describe so many";
  const u64 for_keys = left() - n_tensors_ * smallest_tensor;
  if (n_keys_ > for_keys / smallest_key)
    return error(Code::corrupt, 16, "n_kv")
           << "says " << n_keys_ << ", but the " << for_keys << " bytes that remain for them cannot hold so many";
  if (n_tensors_ > most_tensors)
    return error(Code::unsupported, 8, "n_tensors") << "says " << n_tensors_ << "; the limit is " << most_tensors;
  if (n_keys_ > most_keys)
    return error(Code::unsupported, 16, "n_kv") << "says " << n_keys_ << "; the limit is " << most_keys;
  return {};
}

Status Part::read_string(Str field, Str name, u64 longest, Str* out) {
  const u64 start = at_;
  u64 length = 0;
  if (!take_u64(&length)) return ends(field, 8, name);
  if (length > left())
    return error(Code::corrupt, start, field, name)
           << "its length is " << length << ", but only " << left() << " bytes remain in the file";
  if (length > longest)
    return error(Code::corrupt, start, field, name) << "its length is " << length << "; the limit is " << longest;
  *out = text_of(bytes_.subspan(at_, length));
  at_ += length;
  return {};
}

Status Part::read_keys(Span<Entry> entries, Span<u32> index) {
  for (u64 i = 0; i < n_keys_; ++i) {
    Entry& entry = entries[i];
    entry = Entry();
    const u64 start = at_;
    FLYBALL_TRY(read_string("key name", {}, longest_key, &entry.key));
    if (entry.key.empty()) return error(Code::corrupt, start, "key name") << "key number " << i << " has no name";
    if (has_nul(entry.key)) return error(Code::corrupt, start, "key name", entry.key) << "contains a zero byte";
    const auto found = probe(index, entries, entry.key);
    if (found.item != no_item) return error(Code::corrupt, start, "key", entry.key) << "appears twice";
    if (!found.slot) return crowded(start, "key", entry.key);
    FLYBALL_TRY(read_value(entry.key, &entry.value));
    *found.slot = u32(i + 1);
    if (entry.key == "general.alignment") FLYBALL_TRY(read_alignment(entry.value));
  }
  return {};
}

Status Part::read_value(Str key, Value* value) {
  const u64 start = at_;
  u32 type = 0;
  if (!take_u32(&type)) return ends("type of key", 4, key);
  if (type >= n_value_types)
    return error(Code::corrupt, start, "type of key", key) << "value type " << type << " does not exist";
  value->type = ValueType(type);
  value->count = 1;
  if (value->type == ValueType::array) return read_array(key, value);
  if (value->type != ValueType::string) return read_scalar(key, value);
  Str text;
  FLYBALL_TRY(read_string("string of key", key, ~u64(0), &text));
  value->raw = {reinterpret_cast<const u8*>(text.data), text.size};
  value->offset = at_ - text.size;
  return {};
}

Status Part::read_scalar(Str key, Value* value) {
  const u64 size = scalar_bytes[u32(value->type)];
  if (left() < size) return ends("value of key", size, key);
  value->raw = bytes_.subspan(at_, size);
  value->offset = at_;
  at_ += size;
  return check_bools(key, *value);
}

Status Part::read_array(Str key, Value* value) {
  const u64 start = at_;
  u32 element = 0;
  if (!take_u32(&element)) return ends("element type of array", 4, key);
  if (element >= n_value_types)
    return error(Code::corrupt, start, "element type of array", key) << "value type " << element << " does not exist";
  value->element = ValueType(element);
  if (value->element == ValueType::array)
    return error(Code::unsupported, start, "element type of array", key) << "arrays of arrays are not read";
  const u64 count_at = at_;
  if (!take_u64(&value->count)) return ends("length of array", 8, key);
  const bool strings = value->element == ValueType::string;
  const u64 least = strings ? 8 : scalar_bytes[element];
  if (value->count > left() / least)
    return error(Code::corrupt, count_at, "length of array", key)
           << "says " << value->count << " elements of at least " << least << " bytes, but only " << left()
           << " bytes remain in the file";
  value->offset = at_;
  if (!strings) {
    at_ += value->count * least;
  } else {
    // Check all lengths once, so that later readers of the strings need no bounds checks.
    for (u64 i = 0; i < value->count; ++i) {
      u64 length = 0;
      if (!take_u64(&length)) return ends("string of array", 8, key) << " (element " << i << ")";
      if (length > left())
        return error(Code::corrupt, at_ - 8, "string of array", key)
               << "element " << i << " has length " << length << ", but only " << left() << " bytes remain in the file";
      at_ += length;
    }
  }
  value->raw = bytes_.subspan(value->offset, at_ - value->offset);
  return check_bools(key, *value);
}

Status Part::check_bools(Str key, const Value& value) {
  const ValueType type = value.type == ValueType::array ? value.element : value.type;
  if (type != ValueType::boolean) return {};
  for (u64 i = 0; i < value.raw.size; ++i)
    if (value.raw[i] > 1)
      return error(Code::corrupt, value.offset + i, "value of key", key)
             << "a bool is 0 or 1, this one is " << u64(value.raw[i]);
  return {};
}

Status Part::read_alignment(const Value& value) {
  if (value.type != ValueType::u32)
    return error(Code::corrupt, value.offset, "key", "general.alignment")
           << "must be a u32, is of type " << value_type_name(value.type);
  alignment_ = load<u32>(value.raw.data);
  const bool power_of_two = (alignment_ & (alignment_ - 1)) == 0;
  if (!power_of_two || alignment_ < smallest_alignment || alignment_ > largest_alignment)
    return error(Code::corrupt, value.offset, "key", "general.alignment")
           << "is " << alignment_ << "; must be a power of two from " << smallest_alignment << " to "
           << largest_alignment;
  return {};
}

}  // namespace flyball::gguf
