#include "host/cgroups.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/text.h"

namespace flyball::host {
namespace {

bool lists(const std::string& names, const std::string& name) {
  return ("," + names + ",").find("," + name + ",") != std::string::npos;
}

// The paths of this process's groups, as of a mount of the whole hierarchy.
struct Paths {
  std::string unified = "/", version_1 = "/";
};

Paths read_paths(const std::string& root, const std::string& controller) {
  Paths paths;
  std::istringstream lines(read_text(root + "/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {  // "0::/path" or "4:cpu,cpuacct:/path"
    const size_t first = line.find(':');
    const size_t second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) paths.unified = line.substr(second + 1);
    if (lists(controllers, controller)) paths.version_1 = line.substr(second + 1);
  }
  return paths;
}

struct Mount {
  std::string root, folder;  // which group is mounted, and where
  bool unified;
};

// mountinfo writes a space as \040.
std::string unescape(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '\\' && i + 3 < text.size();
    out += escape ? static_cast<char>(std::strtoul(text.substr(i + 1, 3).c_str(), nullptr, 8)) : text[i];
    if (escape) i += 3;
  }
  return out;
}

// Those of the mount table, and the usual places: a container may show the files without the mounts.
std::vector<Mount> find_mounts(const std::string& root, const std::string& controller) {
  std::vector<Mount> mounts;
  std::istringstream lines(read_text(root + "/proc/self/mountinfo"));
  for (std::string line; std::getline(lines, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::string skip, top, folder, kind, options;
    std::istringstream(line) >> skip >> skip >> skip >> top >> folder;
    std::istringstream(line.substr(dash + 3)) >> kind >> skip >> options;
    const bool unified = kind == "cgroup2";
    if (unified || (kind == "cgroup" && lists(options, controller)))
      mounts.push_back({unescape(top), unescape(folder), unified});
  }
  mounts.push_back({"/", "/sys/fs/cgroup", true});
  mounts.push_back({"/", "/sys/fs/cgroup/" + controller, false});
  return mounts;
}

// The group's path below the mount; "" where the mount does not show it.
std::string below(const Mount& mount, const std::string& path) {
  const std::string top = mount.root == "/" ? "" : mount.root;
  const bool shown = path.compare(0, top.size(), top) == 0 && (path.size() == top.size() || path[top.size()] == '/');
  if (!shown || path.find("/..") != std::string::npos || path == "/") return "";
  return path.substr(top.size());
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

u64 number_in(const std::string& text, const std::string& name) {
  size_t at = 0;
  while (at < text.size() &&
         (text.compare(at, name.size(), name) != 0 ||
          (!name.empty() && std::string(": \t").find(text[at + name.size()]) == std::string::npos))) {
    const size_t end = text.find('\n', at);
    at = end == std::string::npos ? text.size() : end + 1;
  }
  const size_t begin = text.find_first_not_of(": \t", std::min(at + name.size(), text.size()));
  if (begin == std::string::npos) return no_number;
  const size_t end = std::min(text.find_first_not_of("0123456789", begin), text.size());
  u64 value = 0;
  return parse_u64(Str(text.data() + begin, end - begin), &value) ? value : no_number;
}

std::vector<ControlGroup> control_groups(const std::string& root, const std::string& controller) {
  const Paths paths = read_paths(root, controller);
  std::vector<ControlGroup> groups;
  for (const Mount& mount : find_mounts(root, controller)) {
    std::string path = below(mount, mount.unified ? paths.unified : paths.version_1);
    for (;;) {
      const std::string folder = root + mount.folder + path;
      if (std::none_of(groups.begin(), groups.end(), [&](const ControlGroup& g) { return g.folder == folder; }))
        groups.push_back({folder, mount.unified});
      if (path.empty()) break;
      path.resize(path.find_last_of('/'));
    }
  }
  return groups;
}

}  // namespace flyball::host
