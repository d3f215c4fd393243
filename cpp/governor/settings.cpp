#include "governor/settings.h"

namespace flyball::governor {
namespace {

constexpr u64 last_of(Str choices) {
  u64 n = 0;
  for (const char c : choices) n += c == ' ';
  return n;
}

#define FLYBALL_CHOICE(field, key, choices, meaning) {key, &Settings::field, 0, last_of(choices), choices},
#define FLYBALL_INTEGER(field, key, missing, least, most, meaning) {key, &Settings::field, least, most, ""},
constexpr SettingInfo infos[] = {FLYBALL_GOVERNOR_SETTINGS(FLYBALL_CHOICE, FLYBALL_INTEGER)};
#undef FLYBALL_CHOICE
#undef FLYBALL_INTEGER

}  // namespace

Span<const SettingInfo> setting_infos() { return infos; }

Status set(Settings* settings, Str key, Str word) {
  for (const SettingInfo& info : setting_infos()) {
    if (info.key != key) continue;
    u64& value = settings->*info.field;
    if (info.choices.empty()) {
      u64 number = 0;
      if (parse_u64(word, &number) && number >= info.least && number <= info.most) return value = number, Status();
      return fail(Code::invalid_argument, key) << "is '" << word.substr(0, min<u64>(word.size, 40))
                                               << "', must be an integer from " << info.least << " to " << info.most;
    }
    for (u64 i = 0; i <= info.most; ++i) {
      if (choice(info.choices, i) == word) return value = i, Status();
    }
    return fail(Code::invalid_argument, key)
           << "is '" << word.substr(0, min<u64>(word.size, 40)) << "', must be one of: " << info.choices;
  }
  return fail(Code::invalid_argument, key.substr(0, min<u64>(key.size, 64)))
         << "is not a setting of the governor; flyball config lists autotune.*, guard.* and policy.*";
}

Status check(const Settings& s) {
  if (s.low_percent >= s.high_percent)
    return fail(Code::invalid_argument, "autotune.low_percent")
           << "is " << s.low_percent << ", must be below autotune.high_percent, " << s.high_percent;
  if ((s.high_cycles != 0 || s.low_cycles != 0) && s.low_cycles >= s.high_cycles)
    return fail(Code::invalid_argument, "autotune.low_cycles")
           << "is " << s.low_cycles << ", must be below autotune.high_cycles, " << s.high_cycles;
  return {};
}

void write_settings(JsonWriter& json, const Settings& settings) {
  json.begin_object();
  for (const SettingInfo& info : setting_infos()) {
    const u64 value = settings.*info.field;
    if (info.choices.empty())
      json.field(info.key, value);
    else
      json.field(info.key, choice(info.choices, value));
  }
  json.end_object();
}

Result<Settings> read_settings(const Json& object) {
  Settings settings;
  for (JsonItems items(object); items.next();) {
    // Numbers are bare, choices quoted; no key and no choice has escapes.
    Str word = items.value().raw();
    if (items.value().type() == JsonType::string) word = word.substr(1, word.size - 2);
    FLYBALL_TRY(set(&settings, items.raw_key(), word));
  }
  FLYBALL_TRY(check(settings));
  return settings;
}

}  // namespace flyball::governor
