// Control groups: where the kernel says what a container, a service or a login may use. `root` is put before every path,
// for tests; "" is the machine's own.
#pragma once

#include <string>
#include <vector>

#include "base/types.h"

namespace flyball::host {

constexpr u64 no_number = ~u64(0);

std::string read_text(const std::string& path);  // "" where it cannot be read
// The number of the line "name 12", "name: 12 kB", or, without a name, at the beginning.
u64 number_in(const std::string& text, const std::string& name = {});

struct ControlGroup {
  std::string folder;
  bool unified;  // version 2
};
// Groups of both versions that bound this process's use of `controller`: its own and every one above it that is visible.
std::vector<ControlGroup> control_groups(const std::string& root, const std::string& controller);

}  // namespace flyball::host
