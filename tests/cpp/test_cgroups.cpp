// Limits of memory and processors, from trees of files as kernels lay them out.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "host/cgroups.h"
#include "host/parts.h"
#include "test.h"

using namespace flyball;

namespace {

constexpr u64 mib = u64(1) << 20;

std::string bytes(u64 n_mib) { return std::to_string(n_mib * mib) + "\n"; }

// A machine with 16 GiB available, and what a test adds below its root.
class Machine {
 public:
  Machine() {
    char pattern[] = "/tmp/flyball-test-XXXXXX";
    root = mkdtemp(pattern);
    file("/proc/meminfo", "MemTotal:       33554432 kB\nMemFree:  1024 kB\nMemAvailable:   16777216 kB\n");
  }
  ~Machine() { std::filesystem::remove_all(root); }
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  Machine& file(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(root + path).parent_path());
    std::ofstream(root + path) << text;
    return *this;
  }
  Machine& in_group(const std::string& lines) { return file("/proc/self/cgroup", lines); }
  Machine& mounted(const std::string& lines) { return file("/proc/self/mountinfo", lines); }
  Machine& version_2(const std::string& folder, const std::string& max, u64 used_mib, const std::string& stat = "") {
    return file(folder + "/memory.max", max)
        .file(folder + "/memory.current", bytes(used_mib))
        .file(folder + "/memory.stat", stat);
  }
  Machine& version_1(const std::string& folder, const std::string& limit, u64 used_mib, const std::string& stat = "") {
    return file(folder + "/memory.limit_in_bytes", limit)
        .file(folder + "/memory.usage_in_bytes", bytes(used_mib))
        .file(folder + "/memory.stat", stat);
  }
  u64 available_mib() const { return host::available_memory_below(root) / mib; }
  u64 total_mib() const { return host::total_memory_below(root) / mib; }

  std::string root;
};

const char unified_mount[] = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";

}  // namespace

TEST(memory_of_a_machine_without_control_groups) {
  CHECK_EQ(Machine().available_mib(), 16384u);
  CHECK_EQ(Machine().total_mib(), 32768u);
  Machine machine;
  machine.file("/proc/meminfo", "MemTotal: 1 kB\n");  // a kernel before 3.14
  CHECK_EQ(host::available_memory_below(machine.root), ~u64(0));
}

TEST(page_cache_of_a_container_is_available) {
  Machine machine;
  machine.in_group("0::/\n").mounted(unified_mount);
  machine.version_2("/sys/fs/cgroup", bytes(8192), 8000,
                    "anon 300000000\nfile 7864320000\nshmem 0\ninactive_file 7340032000\nactive_file 104857600\n"
                    "slab_reclaimable 52428800\nslab 62914560\nworkingset_refault_file 99999999999\n");
  CHECK_EQ(machine.available_mib(), 8192u - 8000 + 7000 + 100 + 50);
  CHECK_EQ(machine.total_mib(), 8192u);
}

TEST(memory_in_shared_files_is_not_available) {  // tmpfs counts as file, but cannot be dropped
  Machine machine;
  machine.in_group("0::/\n").mounted(unified_mount);
  machine.version_2("/sys/fs/cgroup", bytes(8192), 8000, "file 7864320000\nshmem 7864320000\nactive_file 0\n");
  CHECK_EQ(machine.available_mib(), 192u);
}

TEST(every_group_above_limits_memory) {
  const std::string slice = "/sys/fs/cgroup/user.slice", own = slice + "/user-1000.slice/run-1.scope";
  Machine machine;
  machine.in_group("0::/user.slice/user-1000.slice/run-1.scope\n").mounted(unified_mount);
  machine.version_2(own, bytes(4096), 1024);
  CHECK_EQ(machine.available_mib(), 3072u);
  machine.version_2(own, "max\n", 1024).version_2(slice + "/user-1000.slice", "max\n", 1500);
  CHECK_EQ(machine.available_mib(), 16384u);
  machine.version_2(slice, bytes(2048), 1800, "inactive_file 104857600\n");
  CHECK_EQ(machine.available_mib(), 348u);
  machine.version_2("/sys/fs/cgroup", bytes(512), 500);  // a container's own root
  CHECK_EQ(machine.available_mib(), 12u);
}

TEST(memory_high_limits_as_memory_max_does) {
  Machine machine;
  machine.in_group("0::/a\n").mounted(unified_mount);
  machine.version_2("/sys/fs/cgroup/a", "max\n", 700).file("/sys/fs/cgroup/a/memory.high", bytes(1000));
  CHECK_EQ(machine.available_mib(), 300u);
  machine.file("/sys/fs/cgroup/a/memory.high", bytes(600));  // above it: the kernel slows the group down
  CHECK_EQ(machine.available_mib(), 0u);
}

TEST(memory_of_a_group_of_version_1) {
  const std::string mount = "/sys/fs/cgroup/memory", own = mount + "/docker/0123";
  Machine machine;
  machine.in_group("12:cpu,cpuacct:/docker/0123\n4:memory:/docker/0123\n1:name=systemd:/docker/0123\n0::/\n");
  machine.mounted("35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n");
  machine.version_1(mount, "9223372036854771712\n", 20000, "total_inactive_file 5\n");
  CHECK_EQ(machine.available_mib(), 16384u);
  machine.version_1(own, bytes(300), 290, "inactive_file 1\ntotal_inactive_file 209715200\ntotal_active_file 0\n");
  CHECK_EQ(machine.available_mib(), 210u);
  CHECK_EQ(machine.total_mib(), 300u);
  machine.version_1(mount + "/docker", bytes(1000), 950);
  CHECK_EQ(machine.available_mib(), 50u);
}

TEST(a_container_sees_its_group_as_the_root) {  // the paths of /proc/self/cgroup are the machine's
  Machine machine;
  machine.in_group("4:memory:/kubepods/pod1/c1\n0::/kubepods/pod1/c1\n");
  machine.mounted(
      "35 31 0:32 /kubepods/pod1/c1 /sys/fs/cgroup/memory ro master:9 - cgroup cgroup rw,memory\n"
      "36 31 0:33 /kubepods/pod1/c1 /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n");
  machine.version_1("/sys/fs/cgroup/memory", bytes(2048), 48);
  CHECK_EQ(machine.available_mib(), 2000u);
  // Groups above it, which it does not see, bound it too.
  machine.file("/sys/fs/cgroup/memory/memory.stat", "hierarchical_memory_limit 1073741824\n");
  CHECK_EQ(machine.available_mib(), 976u);
  machine.in_group("4:memory:/../other\n0::/../other\n");  // from outside of the own namespace
  CHECK_EQ(machine.available_mib(), 976u);
}

TEST(the_memory_controller_of_a_hybrid_machine_is_of_version_1) {
  Machine machine;
  machine.in_group("4:memory:/system.slice/x.service\n0::/system.slice/x.service\n");
  machine.mounted(
      "31 23 0:28 / /sys/fs/cgroup ro - tmpfs tmpfs ro,mode=755\n"
      "32 31 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n"
      "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
  machine.file("/sys/fs/cgroup/unified/system.slice/x.service/cgroup.procs", "1\n");
  machine.version_1("/sys/fs/cgroup/memory/system.slice/x.service", bytes(100), 40);
  CHECK_EQ(machine.available_mib(), 60u);
}

TEST(control_groups_that_are_mounted_elsewhere) {
  Machine machine;
  machine.in_group("5:memory:/a\n0::/a b\n");
  machine.mounted(
      "40 23 0:40 / /dev/my\\040groups rw - cgroup2 none rw\n41 23 0:41 / /mnt/m rw - cgroup none rw,memory\n");
  machine.version_2("/dev/my groups/a b", bytes(500), 100);
  CHECK_EQ(machine.available_mib(), 400u);
  machine.version_1("/mnt/m/a", bytes(300), 100);
  CHECK_EQ(machine.available_mib(), 200u);
}

TEST(files_of_control_groups_without_their_mounts) {  // some sandboxes show no mount table, or another one
  Machine machine;
  machine.version_2("/sys/fs/cgroup", bytes(100), 60);
  CHECK_EQ(machine.available_mib(), 40u);
  machine.version_1("/sys/fs/cgroup/memory", bytes(30), 10);
  CHECK_EQ(machine.available_mib(), 20u);
  std::filesystem::remove(machine.root + "/sys/fs/cgroup/memory/memory.usage_in_bytes");
  CHECK_EQ(machine.available_mib(), 30u);
  machine.in_group("garbage\n:\n4:memory\n").mounted("- -\n - cgroup\n35 31\n");
  CHECK_EQ(machine.available_mib(), 30u);
}

TEST(processors_of_every_group_above) {
  Machine machine;
  CHECK_EQ(host::quota_below(machine.root), ~0u);
  machine.in_group("2:cpu,cpuacct:/docker/1\n0::/a/b\n");
  machine.mounted(std::string(unified_mount) +
                  "33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup c rw,cpu,cpuacct\n");
  machine.file("/sys/fs/cgroup/a/b/cpu.max", "max 100000\n").file("/sys/fs/cgroup/a/cpu.max", "550000 100000\n");
  CHECK_EQ(host::quota_below(machine.root), 6u);
  const std::string version_1 = "/sys/fs/cgroup/cpu,cpuacct/docker/1";
  machine.file(version_1 + "/cpu.cfs_quota_us", "-1\n").file(version_1 + "/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(host::quota_below(machine.root), 6u);
  machine.file("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us", "150000\n");
  machine.file("/sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us", "100000\n");
  CHECK_EQ(host::quota_below(machine.root), 2u);
}
