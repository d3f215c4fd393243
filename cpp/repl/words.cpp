#include "repl/words.h"

namespace flyball::repl {

Error not_a_number(Str name, Str argument, Str wanted) {
  return fail(Code::invalid_argument, name)
         << "'" << argument.substr(0, min(argument.size, u64(40))) << "' is not " << wanted;
}

Status read_integer(Str name, Str argument, u64 low, u64 high, u64* out) {
  u64 value = 0;
  if (parse_u64(argument, &value) && value >= low && value <= high) return *out = value, Status();
  char range[64];
  Writer text(range, sizeof range);
  text.put("an integer from ").put_u64(low).put(" to ").put_u64(high);
  return not_a_number(name, argument, text.text());
}

Status read_real(Str name, Str argument, Str range, f32* out) {
  f64 value = 0;
  char wanted[64];
  Writer text(wanted, sizeof wanted);
  if (!parse_f64(argument, &value)) return not_a_number(name, argument, text.put("a number ").put(range).text());
  *out = f32(value);
  return {};
}

Status read_switch(Str name, Str argument, bool* out) {
  if (argument.empty()) return *out = !*out, Status();
  if (argument != "on" && argument != "off") return not_a_number(name, argument, "on or off");
  *out = argument == "on";
  return {};
}

}  // namespace flyball::repl
