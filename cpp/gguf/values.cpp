// Typed access to a file's keys.
#include "gguf/part.h"

namespace flyball::gguf {
namespace {

template <class T>
T load(const Value& value) {
  T result;
  memcpy(&result, value.raw.data, sizeof(result));
  return result;
}

Error missing(Str key) { return fail(Code::not_found, key) << "the model file has no such key"; }

Error wrong_type(Str key, const Value& value, Str expected) {
  ErrorBuilder error = fail(Code::corrupt, key, value.offset);
  error << "must be " << expected << ", is ";
  if (value.type == ValueType::array) return error << "an array of " << value_type_name(value.element);
  return error << "of type " << value_type_name(value.type);
}

bool is_integer(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
    case ValueType::u16:
    case ValueType::i16:
    case ValueType::u32:
    case ValueType::i32:
    case ValueType::u64:
    case ValueType::i64: return true;
    default: return false;
  }
}

}  // namespace

Result<u64> integer(Str key, const Value& value) {
  i64 number = 0;
  switch (value.type) {
    case ValueType::u8: return u64(load<u8>(value));
    case ValueType::u16: return u64(load<u16>(value));
    case ValueType::u32: return u64(load<u32>(value));
    case ValueType::u64: return load<u64>(value);
    case ValueType::i8: number = load<i8>(value); break;
    case ValueType::i16: number = load<i16>(value); break;
    case ValueType::i32: number = load<i32>(value); break;
    case ValueType::i64: number = load<i64>(value); break;
    default: return wrong_type(key, value, "an integer");
  }
  if (number < 0) return fail(Code::corrupt, key, value.offset) << "is " << number << "; must not be negative";
  return u64(number);
}

Result<bool> flag(Str key, const Value& value) {
  if (value.type == ValueType::boolean) return value.raw[0] != 0;
  if (!is_integer(value.type)) return wrong_type(key, value, "a bool, or 0 or 1");
  u64 number = 0;
  FLYBALL_ASSIGN(number, integer(key, value));
  if (number > 1) return fail(Code::corrupt, key, value.offset) << "is " << number << "; must be 0 or 1";
  return number != 0;
}

Value element(const Value& array, u64 i) {
  const u64 bytes = array.raw.size / array.count;
  return {array.element, ValueType::u8, 1, array.raw.subspan(i * bytes, bytes), array.offset + i * bytes};
}

Result<u64> File::get_u64(Str key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  return integer(key, *value);
}

Result<f64> File::get_f64(Str key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (value->type == ValueType::f32) return f64(load<f32>(*value));
  if (value->type == ValueType::f64) return load<f64>(*value);
  if (!is_integer(value->type)) return wrong_type(key, *value, "a number");
  u64 number = 0;
  FLYBALL_ASSIGN(number, integer(key, *value));
  if (number > u64(1) << 53)
    return fail(Code::corrupt, key, value->offset) << "is " << number << ", which a float does not represent";
  return f64(number);
}

Result<bool> File::get_bool(Str key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (value->type != ValueType::boolean) return wrong_type(key, *value, "a bool");
  return value->raw[0] != 0;
}

Result<Str> File::get_str(Str key) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (value->type != ValueType::string) return wrong_type(key, *value, "a string");
  return Str(reinterpret_cast<const char*>(value->raw.data), value->raw.size);
}

Result<Value> File::get_array(Str key, ValueType element) const {
  const Value* value = find(key);
  if (!value) return missing(key);
  if (value->type == ValueType::array && value->element == element) return *value;
  char buffer[32];
  Writer expected(buffer, sizeof(buffer));
  return wrong_type(key, *value, expected.put("an array of ").put(value_type_name(element)).text());
}

Result<u64> File::get_u64_or(Str key, u64 missing_value) const { return find(key) ? get_u64(key) : missing_value; }
Result<f64> File::get_f64_or(Str key, f64 missing_value) const { return find(key) ? get_f64(key) : missing_value; }
Result<bool> File::get_bool_or(Str key, bool missing_value) const { return find(key) ? get_bool(key) : missing_value; }
Result<Str> File::get_str_or(Str key, Str missing_value) const { return find(key) ? get_str(key) : missing_value; }

}  // namespace flyball::gguf
