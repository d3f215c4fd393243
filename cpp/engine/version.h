#pragma once

#include "base/span.h"

namespace flyball::engine {

constexpr Str version = "0.1.0";  // the same as in pyproject.toml; a test compares them

}  // namespace flyball::engine
