#include "journal/head_file.h"

namespace flyball::journal {
namespace {

void put_digest(JsonWriter& json, Str name, const Digest& digest) {
  char digits[64];
  hex(digest, digits);
  json.key(name).value(Str(digits, sizeof digits));
}

Status read_number(const Json& object, Str name, u64* out) {
  Json value;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(*out, value.as_u64(name, 0, ~u64(0)));
  return {};
}

Status read_digest(const Json& object, Str name, Digest* out) {
  Json value;
  FLYBALL_ASSIGN(value, object.member(name));
  FLYBALL_ASSIGN(value, value.expect(name, JsonType::string));
  if (!parse_hex(value.raw().substr(1, value.raw().size - 2), out))
    return fail(Code::corrupt, name) << "is not 64 hexadecimal digits";
  return {};
}

}  // namespace

void write_head_file(Writer& out, const Head& head, const Begin& begin) {
  JsonWriter json(out);
  json.begin_object().field("version", head_file_version);
  put_digest(json, "hash", head.hash);
  json.field("n_lines", head.n_lines).field("first", begin.number);
  put_digest(json, "first_prev_hash", begin.prev_hash);
  json.end_object();
  out.put('\n');
}

Result<HeadFile> read_head_file(Str text) {
  if (text.size > max_head_file_bytes) return fail(Code::corrupt, "head") << "is too long";
  Json root;
  FLYBALL_ASSIGN(root, Json::parse(text));
  FLYBALL_ASSIGN(root, root.expect("head", JsonType::object));
  u64 version = 0;
  FLYBALL_TRY(read_number(root, "version", &version));
  if (version != 1 && version != head_file_version)
    return fail(Code::unsupported, "version") << "is " << version << "; this program reads 1 and " << head_file_version;
  HeadFile file;
  FLYBALL_TRY(read_digest(root, "hash", &file.head.hash));
  FLYBALL_TRY(read_number(root, "n_lines", &file.head.n_lines));
  file.has_begin = version > 1;
  if (!file.has_begin) return file;
  FLYBALL_TRY(read_number(root, "first", &file.begin.number));
  FLYBALL_TRY(read_digest(root, "first_prev_hash", &file.begin.prev_hash));
  return file;
}

}  // namespace flyball::journal
