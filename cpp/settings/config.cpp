#include "settings/config.h"

namespace flyball::settings {
namespace {

#define FLYBALL_TEXT(key, missing, meaning) {key, ConfigType::text, missing, 0, 0, 0, 0, "", meaning},
#define FLYBALL_CHOICE(key, missing, choices, meaning) {key, ConfigType::choice, missing, 0, 0, 0, 0, choices, meaning},
#define FLYBALL_INTEGER(key, missing, least, most, meaning) \
  {key, ConfigType::integer, missing, least, most, 0, 0, "", meaning},
#define FLYBALL_REAL(key, missing, least, most, meaning) \
  {key, ConfigType::real, missing, 0, 0, least, most, "", meaning},
#define FLYBALL_GOVERNOR_CHOICE(field, key, choices, meaning) \
  FLYBALL_CHOICE(key, governor::choice(choices, 0), choices, meaning)
#define FLYBALL_GOVERNOR_INTEGER(field, key, missing, least, most, meaning) \
  FLYBALL_INTEGER(key, #missing, least, most, meaning)
constexpr ConfigKey keys[] = {FLYBALL_CONFIG(FLYBALL_TEXT, FLYBALL_CHOICE, FLYBALL_INTEGER, FLYBALL_REAL)
                                  FLYBALL_GOVERNOR_SETTINGS(FLYBALL_GOVERNOR_CHOICE, FLYBALL_GOVERNOR_INTEGER)};
#undef FLYBALL_GOVERNOR_CHOICE
#undef FLYBALL_GOVERNOR_INTEGER
#undef FLYBALL_TEXT
#undef FLYBALL_CHOICE
#undef FLYBALL_INTEGER
#undef FLYBALL_REAL
constexpr u32 n_keys = sizeof keys / sizeof keys[0];

#define FLYBALL_KEY(before, now) {"", before, now},
#define FLYBALL_WORD(key, before, now) {key, before, now},
constexpr Renamed renamed[] = {FLYBALL_RENAMED_CONFIG(FLYBALL_KEY, FLYBALL_WORD)};
#undef FLYBALL_KEY
#undef FLYBALL_WORD

// Null: `before` is not a former name of one of the key's choices, or of a key where `key` is empty.
const Renamed* find_renamed(Str key, Str before) {
  for (const Renamed& name : renamed) {
    if (name.key == key && name.before == before) return &name;
  }
  return nullptr;
}

bool is_space(char c) { return c == ' ' || c == '\t'; }

bool is_key_char(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.';
}

Str trim(Str s) {
  while (!s.empty() && is_space(s[0])) s = s.from(1);
  while (!s.empty() && is_space(s[s.size - 1])) s.size -= 1;
  return s;
}

bool has_word(Str words, Str word) {
  while (!words.empty()) {
    u64 end = 0;
    while (end < words.size && words[end] != ' ') ++end;
    if (words.substr(0, end) == word) return true;
    words = words.from(end < words.size ? end + 1 : end);
  }
  return false;
}

// Bytes in common at the start and the end: enough to guess which key was meant.
u64 likeness(Str a, Str b) {
  const u64 shorter = min(a.size, b.size);
  u64 head = 0;
  while (head < shorter && a[head] == b[head]) ++head;
  u64 tail = 0;
  while (tail < shorter - head && a[a.size - 1 - tail] == b[b.size - 1 - tail]) ++tail;
  return head + tail;
}

Error out_of_range(const ConfigKey& key, Str word) {
  ErrorBuilder error = fail(Code::invalid_argument, key.key);
  error << "is " << word.substr(0, min<u64>(word.size, 64)) << ", must be ";
  if (key.type == ConfigType::integer) {
    error << "an integer from " << key.least << " to " << key.most;
  } else if (key.type == ConfigType::real) {
    error << "a number from " << key.least_real << " to " << key.most_real;
  } else {
    error << "one of: " << key.choices;
  }
  return error;
}

Error too_long(const ConfigKey& key) {
  return fail(Code::invalid_argument, key.key) << "is longer than " << u64(sizeof ConfigValue::text.data) << " bytes";
}

// A TOML string: 'literal', or "basic" with the escapes \" \\ \t \n. False: not one string and nothing else.
bool read_quoted(Str s, Text<1024>* out, bool* fits) {
  const char quote = s[0];
  u64 i = 1;
  out->size = 0;
  *fits = true;
  for (; i < s.size && s[i] != quote; ++i) {
    char c = s[i];
    if (quote == '"' && c == '\\') {
      if (++i == s.size) return false;
      c = s[i];
      if (c == 't' || c == 'n') {
        c = c == 't' ? '\t' : '\n';
      } else if (c != '"' && c != '\\') {
        return false;
      }
    }
    if (out->size == sizeof out->data) {
      *fits = false;
      continue;
    }
    out->data[out->size++] = c;
  }
  return i + 1 == s.size;
}

// The value of a line without the comment after it; a '#' inside quotes does not begin one.
Str without_comment(Str s) {
  char quote = 0;
  for (u64 i = 0; i < s.size; ++i) {
    const char c = s[i];
    if (quote == '"' && c == '\\') {
      ++i;
    } else if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      return trim(s.substr(0, i));
    }
  }
  return trim(s);
}

Status read_literal(const ConfigKey& key, Str literal, ConfigValue* out) {
  const bool quoted = !literal.empty() && (literal[0] == '"' || literal[0] == '\'');
  const bool wants_text = key.type == ConfigType::text || key.type == ConfigType::choice;
  if (quoted != wants_text) {
    return fail(Code::invalid_argument, key.key)
           << (wants_text ? "must be text in quotes" : "must be a number without quotes");
  }
  if (!quoted) return read_config_word(key, literal, out);
  ConfigValue& value = *out;
  bool fits = false;
  if (!read_quoted(literal, &value.text, &fits)) {
    return fail(Code::invalid_argument, key.key) << "is not one string in quotes (escapes: \\\" \\\\ \\t \\n)";
  }
  if (!fits) return too_long(key);
  return key.type == ConfigType::choice ? read_config_word(key, value.text.str(), out) : Status();
}

// Takes `models.NAME.` off a line and gives NAME; empty: the line is no model's.
Result<Str> take_model(Str* line) {
  constexpr Str prefix = "models.";
  if (!line->starts_with(prefix)) return Str();
  Str rest = line->from(prefix.size);
  const char quote = !rest.empty() && (rest[0] == '"' || rest[0] == '\'') ? rest[0] : 0;
  if (quote) rest = rest.from(1);
  u64 end = 0;
  while (end < rest.size && (quote ? rest[end] != quote : rest[end] != '.' && is_key_char(rest[end]))) ++end;
  const Str name = rest.substr(0, end);
  if (quote) ++end;
  if (name.empty() || end >= rest.size || rest[end] != '.') {
    return fail(Code::invalid_argument, "models")
           << "must be followed by .NAME.KEY, with quotes around a name that has a dot";
  }
  *line = rest.from(end + 1);
  return name;
}

Status read_line(Str line, u32 number, Span<ConfigValue> values, const ModelConfig& models) {
  if (line[0] == '[') {
    return fail(Code::invalid_argument, "table") << "is not used here; write dotted keys, as in: sampling.top_k = 40";
  }
  Str model;
  FLYBALL_ASSIGN(model, take_model(&line));
  u64 end = 0;
  while (end < line.size && is_key_char(line[end])) ++end;
  const Str name = line.substr(0, end);
  const Str rest = trim(line.from(end));
  if (name.empty() || rest.empty() || rest[0] != '=') {
    return fail(Code::invalid_argument, "line") << "must be: key = value";
  }
  u32 index = 0;
  const Renamed* former = nullptr;
  FLYBALL_ASSIGN(index, find_config_key(name, &former));
  if (!model.empty()) {
    ConfigValue value;
    FLYBALL_TRY(read_literal(keys[index], without_comment(rest.from(1)), &value));
    value.line = number;
    return models.take ? models.take(models.context, model, keys[index], value) : Status();
  }
  ConfigValue& value = values[index];
  if (value.set) return fail(Code::invalid_argument, name) << "is already set in line " << value.line;
  FLYBALL_TRY(read_literal(keys[index], without_comment(rest.from(1)), &value));
  value.set = true;
  value.line = number;
  if (former) value.renamed = former;
  return {};
}

// The same error, with file and line put before the key.
Error at_line(const Error& error, Str file, u32 line) {
  Error placed = error;
  Writer where(placed.where.data, sizeof placed.where.data);
  where.put(file).put(':').put_u64(line).put(": ").put(error.where.str());
  placed.where.size = u32(where.text().size);
  return placed;
}

}  // namespace

Str config_type_name(ConfigType type) {
  switch (type) {
    case ConfigType::text: return "text";
    case ConfigType::choice: return "choice";
    case ConfigType::integer: return "integer";
    case ConfigType::real: return "real";
  }
  return "";
}

Span<const ConfigKey> config_keys() { return {keys, n_keys}; }

Span<const Renamed> renamed_config() { return renamed; }

Result<u32> find_config_key(Str key, const Renamed** former) {
  if (const Renamed* name = find_renamed("", key)) {
    if (former) *former = name;
    key = name->now;
  }
  u32 nearest = 0;
  for (u32 i = 0; i < n_keys; ++i) {
    if (keys[i].key == key) return i;
    if (likeness(keys[i].key, key) > likeness(keys[nearest].key, key)) nearest = i;
  }
  ErrorBuilder error = fail(Code::invalid_argument, key.substr(0, min<u64>(key.size, 64)));
  error << "is not a configuration key; ";
  if (2 * likeness(keys[nearest].key, key) >= max(keys[nearest].key.size, key.size))
    return error << "did you mean " << keys[nearest].key << "?";
  return error << "flyball config lists them";
}

Status read_config_word(const ConfigKey& key, Str word, ConfigValue* out) {
  ConfigValue& value = *out;
  switch (key.type) {
    case ConfigType::text:
      if (word.size > sizeof value.text.data) return too_long(key);
      break;
    case ConfigType::choice:
      value.renamed = find_renamed(key.key, word);
      if (value.renamed) word = value.renamed->now;
      if (!has_word(key.choices, word)) return out_of_range(key, word);
      break;
    case ConfigType::integer:
      if (!parse_u64(word, &value.integer) || value.integer < key.least || value.integer > key.most)
        return out_of_range(key, word);
      break;
    case ConfigType::real:
      if (!parse_f64(word, &value.real) || !(value.real >= key.least_real && value.real <= key.most_real))
        return out_of_range(key, word);
      break;
  }
  if (word.size <= sizeof value.text.data) value.text.assign(word);
  value.set = true;
  return {};
}

Status read_config(Str file, Str text, Span<ConfigValue> values, const ModelConfig& models) {
  if (values.size != n_keys) return fail(Code::internal, "values") << "must be " << n_keys;
  if (text.starts_with("\xef\xbb\xbf")) text = text.from(3);
  for (u32 number = 1; !text.empty(); ++number) {
    u64 end = 0;
    while (end < text.size && text[end] != '\n') ++end;
    Str line = text.substr(0, end);
    text = text.from(end < text.size ? end + 1 : end);
    if (line.ends_with("\r")) line.size -= 1;
    line = trim(line);
    if (line.empty() || line[0] == '#') continue;
    if (const Status status = read_line(line, number, values, models); !status.ok())
      return at_line(status.error(), file, number);
  }
  return {};
}

}  // namespace flyball::settings
