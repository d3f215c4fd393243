// The REPL's options from a configuration file (contract 4), for programs that have no command line.
#pragma once

#include "repl/repl.h"

namespace flyball::repl {

// Keys that the file sets become options; a file that is not there sets none. Texts live in the arena. After an error the
// options are as they were.
Status read_options(const Platform& platform, Arena& arena, Str path, Options* options);

}  // namespace flyball::repl
