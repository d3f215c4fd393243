#include "model/metadata.h"

namespace flyball::model {

u32 Reader::bounded(Str key, const Result<u64>& value, u64 low, u64 high) {
  if (!value) {
    keep(value.error());
    return u32(low);
  }
  const u64 x = value.value();
  if (x < low || x > high) {
    keep(fail(Code::corrupt, full(key), offset(key)) << "is " << x << ", expected " << low << " to " << high);
    return u32(low);
  }
  return u32(x);
}

u32 Reader::of_layer(Str key, u64 otherwise, u64 low, u64 high, u32 layer, u32 n_blocks) {
  const gguf::Value* value = find(key);
  if (!value && otherwise == missing) return required(key, low, high);
  if (!value || value->type != gguf::ValueType::array) return optional(key, otherwise, low, high);
  if (value->count != n_blocks) {
    keep(fail(Code::corrupt, full(key), value->offset)
         << "has " << value->count << " entries; the model has " << n_blocks << " layers");
    return u32(low);
  }
  return bounded(key, gguf::integer(full(key), gguf::element(*value, layer)), low, high);
}

u32 Reader::rotated(Str key, u32 head_dim) {
  const u32 n = optional(key, head_dim, 2, head_dim);
  if (n % 2 != 0)
    keep(fail(Code::corrupt, full(key), offset(key))
         << "is " << n << "; pairs of dimensions rotate, so it must be even");
  return n;
}

f64 Reader::real(Str key, f64 otherwise, f64 low, f64 high) {
  Result<f64> value = file_.get_f64_or(full(key), otherwise);
  if (!value) {
    keep(value.error());
    return otherwise;
  }
  const f64 x = value.value();
  if (!(x >= low && x <= high) && !has(key))
    keep(fail(Code::not_found, full(key)) << "is missing from the file's metadata");
  if (!(x >= low && x <= high))
    keep(fail(Code::corrupt, full(key), offset(key)) << "is " << x << ", expected " << low << " to " << high);
  return x;
}

Str Reader::text(Str key) {
  Result<Str> value = file_.get_str_or(full(key), "");
  if (!value) keep(value.error());
  return value ? value.value() : Str();
}

bool Reader::boolean(Str key, bool otherwise) {
  const gguf::Value* value = find(key);
  if (!value) return otherwise;
  const Result<bool> found = gguf::flag(full(key), *value);
  if (!found) keep(found.error());
  return found ? found.value() : otherwise;
}

void Reader::demand(Str key, f64 neutral, Str what) {
  const gguf::Value* value = find(key);
  if (!value) return;
  const bool is_bool = value->type == gguf::ValueType::boolean;
  const Result<f64> number = is_bool ? f64(value->raw[0]) : file_.get_f64(full(key));
  if (!number) return keep(number.error());
  if (number.value() == neutral) return;
  ErrorBuilder error = fail(Code::unsupported, full(key), value->offset);
  if (is_bool) {
    error << "is " << (value->raw[0] ? "true" : "false");
  } else {
    error << "is " << number.value();
  }
  keep(error << "; Flyball does not run " << what);
}

}  // namespace flyball::model
