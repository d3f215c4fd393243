#include "journal/journal.h"

namespace flyball::journal {
namespace {

// A line ends with its own hash, over all bytes before this comma:  ,"hash":"<64 digits>"}
constexpr char hash_key[] = ",\"hash\":\"";
constexpr u64 hash_key_bytes = sizeof hash_key - 1;
constexpr u64 tail_bytes = hash_key_bytes + 64 + 2;

Digest hash_of(Str text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish();
}

JsonWriter& field(JsonWriter& json, Str name, const Digest& digest) {
  char digits[64];
  hex(digest, digits);
  return json.key(name).value(Str(digits, sizeof digits));
}

bool on_one_line(Str text) {
  for (const char c : text) {
    if (u8(c) < 0x20) return false;
  }
  return true;
}

Error bad_line(Str what) { return fail(Code::corrupt, "journal line") << what; }

// Members in their fixed order, each named once.
class Members {
 public:
  explicit Members(const Json& object) : items_(object) {}

  Result<Json> next(Str name) {
    if (!items_.next() || !items_.key_is(name))
      return fail(Code::corrupt, "journal line") << "has no \"" << name << "\" where one must be";
    return items_.value();
  }
  Status number(Str name, u64* out) {
    Json value;
    FLYBALL_ASSIGN(value, next(name));
    FLYBALL_ASSIGN(*out, value.as_u64(name, 0, ~u64(0)));
    return {};
  }
  // A string without escapes, as the writer never needs any.
  Status word(Str name, Str* out) {
    Json value;
    FLYBALL_ASSIGN(value, next(name));
    FLYBALL_ASSIGN(value, value.expect(name, JsonType::string));
    *out = value.raw().substr(1, value.raw().size - 2);
    return {};
  }
  Status digest(Str name, Digest* out) {
    Str text;
    FLYBALL_TRY(word(name, &text));
    if (!parse_hex(text, out)) return fail(Code::corrupt, name) << "is not 64 hexadecimal digits";
    return {};
  }
  bool more() { return items_.next(); }

 private:
  JsonItems items_;
};

// Version 1 had other names for two events.
bool is_event(Str name, Str event, u64 version) {
  if (name == event) return true;
  return version == 1 && ((name == "guesses" && event == "speculation") || (name == "give_back" && event == "revert"));
}

Status read_reason(Members& members, Line* line) {
  FLYBALL_TRY(members.word("event", &line->event_name));
  FLYBALL_TRY(members.word("reason_id", &line->reason_id));
  const Str id = line->reason_id;
  Reason& reason = line->event.reason;
  if (!find_reason(id, &reason) || (line->version > 1 && info(reason).id != id))
    return fail(Code::corrupt, "reason_id")
           << "is '" << id.substr(0, min<u64>(id.size, 64)) << "', not in the registry";
  if (!is_event(line->event_name, info(reason).event, line->version))
    return fail(Code::corrupt, "event") << "is not the event of " << id;
  return {};
}

// Words of a log hold no space: a reader may split there.
void put_word(Writer& out, const Json& value) {
  const bool text = value.type() == JsonType::string;
  const Str raw = text ? value.raw().substr(1, value.raw().size - 2) : value.raw();
  for (const char c : raw) out.put(c == ' ' ? '_' : c);
}

void put_members(Writer& out, const Json& object, Str prefix) {
  for (JsonItems items(object); items.next();) {
    char name[128];
    Writer key(name, sizeof name);
    key.put(prefix).put(items.raw_key());
    const Json& value = items.value();
    if (value.type() == JsonType::object) {
      put_members(out, value, key.put('.').text());
      continue;
    }
    out.put(' ').put(key.text()).put('=');
    if (value.type() == JsonType::array)
      out.put_u64(value.count());
    else
      put_word(out, value);
  }
}

}  // namespace

Status write_event(Writer& out, Head* head, const Event& event) {
  const ReasonInfo& reason = info(event.reason);
  const Result<Json> data = Json::parse(event.data);
  if (!data.ok() || data.value().type() != JsonType::object || !on_one_line(event.data))
    return fail(Code::internal, reason.id) << "has data that is not a JSON object on one line";
  const u64 begin = out.text().size;
  JsonWriter json(out);
  json.begin_object().field("v", journal_version).field("seq", head->n_lines).field("time_ns", event.time_ns);
  json.field("cycles", event.cycles).field("session", event.session).field("turn", event.turn);
  json.field("event", reason.event).field("reason_id", reason.id).key("data").raw(event.data);
  const Digest prev_hash = head->hash;
  field(json, "prev_hash", prev_hash);
  const Digest hash = hash_of(out.text().from(begin));
  field(json, "hash", hash).end_object();
  out.put('\n');
  if (out.truncated() || out.text().size - begin > max_line_bytes)
    return fail(Code::invalid_argument, reason.id) << "makes a line of more than " << max_line_bytes << " bytes";
  *head = {hash, head->n_lines + 1};
  return {};
}

Result<Line> read_line(Str text) {
  if (text.size >= max_line_bytes) return bad_line("is too long");
  if (text.size < tail_bytes || !on_one_line(text)) return bad_line("is torn, or not of a journal");
  const u64 covered = text.size - tail_bytes;
  if (text.substr(covered, hash_key_bytes) != Str(hash_key) || !text.ends_with("\"}"))
    return bad_line("is torn, or not of a journal: it does not end with its hash");
  Line line;
  line.hash = hash_of(text.substr(0, covered));
  char digits[64];
  hex(line.hash, digits);
  if (text.substr(covered + hash_key_bytes, 64) != Str(digits, 64)) return bad_line("was changed: its hash is another");

  Json root;
  FLYBALL_ASSIGN(root, Json::parse(text));
  FLYBALL_ASSIGN(root, root.expect("journal line", JsonType::object));
  Members members(root);
  FLYBALL_TRY(members.number("v", &line.version));
  if (line.version == 0 || line.version > journal_version)
    return fail(Code::unsupported, "v") << "is " << line.version << "; this program reads versions 1 to "
                                        << journal_version;
  FLYBALL_TRY(members.number("seq", &line.number));
  FLYBALL_TRY(members.number("time_ns", &line.event.time_ns));
  FLYBALL_TRY(members.number("cycles", &line.event.cycles));
  FLYBALL_TRY(members.number("session", &line.event.session));
  FLYBALL_TRY(members.number("turn", &line.event.turn));
  FLYBALL_TRY(read_reason(members, &line));
  Json data;
  FLYBALL_ASSIGN(data, members.next("data"));
  FLYBALL_ASSIGN(data, data.expect("data", JsonType::object));
  line.event.data = data.raw();
  FLYBALL_TRY(members.digest(line.version == 1 ? "before" : "prev_hash", &line.prev_hash));
  FLYBALL_ASSIGN(data, members.next("hash"));
  if (members.more()) return bad_line("has unknown members");
  return line;
}

namespace {

// The families of the policy have one marker.
void put_marker(Writer& out, Str family) {
  constexpr Str of_policy[] = {"CONFIDENCE", "PLAN", "APPLY", "BLOCK", "OUTCOME"};
  if (family == "MODEL") family = "STARTUP";
  for (const Str name : of_policy) {
    if (family == name) family = "POLICY";
  }
  for (const char c : family) out.put(char(c | 0x20));
}

}  // namespace

void write_log_line(Writer& out, const Line& line) {
  out.put('[');
  put_marker(out, info(line.event.reason).family);
  out.put("] ").put(line.event_name).put(" reason_id=").put(line.reason_id).put(" seq=").put_u64(line.number);
  out.put(" session=").put_u64(line.event.session).put(" turn=").put_u64(line.event.turn);
  const Result<Json> data = Json::parse(line.event.data);
  if (data.ok()) put_members(out, data.value(), "");
  out.put('\n');
}

Status ChainCheck::next(Str text, Line* out, bool* intact) {
  const Head expected = head_;
  const bool number_known = number_known_, hash_known = hash_known_;
  ++head_.n_lines;
  hash_known_ = false;
  const Result<Line> read = read_line(text);
  if (!read.ok()) return read.error();
  *out = read.value();
  if (intact != nullptr) *intact = true;
  head_ = {out->hash, out->number + 1};
  number_known_ = hash_known_ = true;
  if (number_known && out->number > expected.n_lines)
    return fail(Code::mismatch, "journal line") << "follows a gap: " << out->number - expected.n_lines << " missing";
  if (number_known && out->number < expected.n_lines)
    return fail(Code::mismatch, "journal line")
           << "is out of order: number " << out->number << " after " << expected.n_lines << " lines";
  if (hash_known && out->prev_hash != expected.hash)
    return fail(Code::mismatch, "journal line") << "does not follow the line before it: one of them was rewritten";
  return {};
}

Head Journal::head() {
  const Locked locked(lock_);
  return head_;
}

void Journal::record(u64 session, u64 turn, Reason reason, Str data) {
  const Locked locked(lock_);
  const u64 begin = pending_.size();
  if (begin + max_line_bytes > max_pending_bytes || !pending_.reserve(begin + max_line_bytes)) {
    ++n_lost_;
    return;
  }
  const Span<char> space = pending_.space();
  Writer out(space.data, min(space.size, max_line_bytes));
  const u64 time = platform_.wall_ns ? platform_.wall_ns(platform_.self) : 0;
  const Event event{time, cycles(platform_), session, turn, reason, data};
  if (!write_event(out, &head_, event).ok()) {
    ++n_lost_;
    return;
  }
  pending_.resize_within(begin + out.text().size);
}

}  // namespace flyball::journal
