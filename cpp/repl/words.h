// What the arguments of commands are read as.
#pragma once

#include "base/result.h"

namespace flyball::repl {

Error not_a_number(Str name, Str argument, Str wanted);
Status read_integer(Str name, Str argument, u64 low, u64 high, u64* out);
Status read_real(Str name, Str argument, Str range, f32* out);  // the range is for the message; check() knows it too
Status read_switch(Str name, Str argument, bool* out);          // empty: the other way round

}  // namespace flyball::repl
