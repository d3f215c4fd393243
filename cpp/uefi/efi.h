// The part of the UEFI 2.10 interface that Flyball uses, written from the specification. Every function here has the
// Microsoft calling convention: that of the target that cpp/uefi is compiled for, and to be named where it is not.
#pragma once

#include "base/types.h"

#ifdef _WIN32
#define FLYBALL_EFI
#else
#define FLYBALL_EFI __attribute__((ms_abi))
#endif

namespace flyball::efi {

using Status = u64;
using Handle = void*;
using Event = void*;
using Char = char16_t;

constexpr Status error_bit = u64(1) << 63;
constexpr Status success = 0;
constexpr Status buffer_too_small = error_bit | 5;
constexpr Status not_ready = error_bit | 6;
constexpr Status device_error = error_bit | 7;
constexpr Status write_protected = error_bit | 8;
constexpr Status volume_full = error_bit | 11;
constexpr Status not_found = error_bit | 14;
inline bool failed(Status status) { return (status & error_bit) != 0; }

struct Guid {
  u32 a;
  u16 b, c;
  u8 d[8];
};

struct TableHeader {
  u64 signature;
  u32 revision;
  u32 header_bytes;
  u32 crc32;
  u32 reserved;
};

struct Time {
  u16 year;
  u8 month, day, hour, minute, second, pad1;
  u32 nanosecond;
  i16 time_zone;  // minutes west of UTC; 2047: not known
  u8 daylight, pad2;
};
static_assert(sizeof(Time) == 16);

struct Key {
  u16 scan_code;
  Char character;
};

struct TextInput {
  Status(FLYBALL_EFI* reset)(TextInput*, bool extended);
  Status(FLYBALL_EFI* read_key)(TextInput*, Key*);
  Event wait_for_key;
};

struct TextOutput {
  Status(FLYBALL_EFI* reset)(TextOutput*, bool extended);
  Status(FLYBALL_EFI* output)(TextOutput*, const Char* text);
  void* test;
  void* query_mode;
  void* set_mode;
  void* set_attribute;
  Status(FLYBALL_EFI* clear)(TextOutput*);
};

enum AllocateType : u32 { any_pages };
enum MemoryType : u32 { loader_data = 2 };
enum TimerDelay : u32 { timer_cancel, timer_periodic, timer_relative };
constexpr u64 tpl_application = 4;

struct MemoryDescriptor {
  u32 type;
  u64 physical, virtual_start, n_pages, attributes;
};
constexpr u32 conventional_memory = 7;

enum LocateSearch : u32 { by_protocol = 2 };
constexpr Guid serial_io_guid = {0xbb25cf6f, 0xf1d4, 0x11d2, {0x9a, 0x0c, 0x00, 0x90, 0x27, 0x3f, 0xc1, 0xfd}};

struct BootServices {
  TableHeader header;
  void* raise_tpl;
  void* restore_tpl;
  Status(FLYBALL_EFI* allocate_pages)(AllocateType, MemoryType, u64 n_pages, u64* address);
  Status(FLYBALL_EFI* free_pages)(u64 address, u64 n_pages);
  Status(FLYBALL_EFI* get_memory_map)(u64* bytes, void* map, u64* key, u64* entry_bytes, u32* version);
  void* allocate_pool;
  void* free_pool;
  Status(FLYBALL_EFI* create_event)(u32 type, u64 level, void(FLYBALL_EFI* notify)(Event, void*), void* context,
                                    Event*);
  Status(FLYBALL_EFI* set_timer)(Event, TimerDelay, u64 hundred_ns);
  Status(FLYBALL_EFI* wait_for_event)(u64 n, Event*, u64* index);
  void* signal_event;
  void* close_event;
  void* check_event;
  void* install_protocol;
  void* reinstall_protocol;
  void* uninstall_protocol;
  Status(FLYBALL_EFI* handle_protocol)(Handle, const Guid*, void** interface);
  void* reserved;
  void* register_notify;
  void* locate_handle;
  void* locate_device_path;
  void* install_configuration_table;
  void* load_image;
  void* start_image;
  void* exit;
  void* unload_image;
  void* exit_boot_services;
  void* next_monotonic_count;
  Status(FLYBALL_EFI* stall)(u64 microseconds);
  Status(FLYBALL_EFI* set_watchdog)(u64 seconds, u64 code, u64 bytes, Char* data);
  Status(FLYBALL_EFI* connect_controller)(Handle controller, Handle* drivers, void* path, bool recursive);
  Status(FLYBALL_EFI* disconnect_controller)(Handle controller, Handle driver, Handle child);
  void* open_protocol;
  void* close_protocol;
  void* open_protocol_information;
  void* protocols_per_handle;
  Status(FLYBALL_EFI* locate_handle_buffer)(LocateSearch, const Guid*, void* key, u64* n, Handle** handles);
  Status(FLYBALL_EFI* locate_protocol)(const Guid*, void* registration, void** interface);
};

enum ResetType : u32 { reset_cold, reset_warm, reset_shutdown };

struct RuntimeServices {
  TableHeader header;
  Status(FLYBALL_EFI* get_time)(Time*, void* capabilities);
  void* set_time;
  void* get_wakeup_time;
  void* set_wakeup_time;
  void* set_virtual_address_map;
  void* convert_pointer;
  void* get_variable;
  void* get_next_variable_name;
  void* set_variable;
  void* next_high_monotonic_count;
  void(FLYBALL_EFI* reset_system)(ResetType, Status, u64 bytes, void* data);
};

struct SystemTable {
  TableHeader header;
  Char* firmware_vendor;
  u32 firmware_revision;
  Handle console_in_handle;
  TextInput* console_in;
  Handle console_out_handle;
  TextOutput* console_out;
  Handle standard_error_handle;
  TextOutput* standard_error;
  RuntimeServices* runtime;
  BootServices* boot;
};

constexpr Guid loaded_image_guid = {0x5b1b31a1, 0x9562, 0x11d2, {0x8e, 0x3f, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
struct LoadedImage {
  u32 revision;
  Handle parent;
  SystemTable* system;
  Handle device;
};

constexpr Guid block_io_guid = {0x964e5b21, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
constexpr Guid file_system_guid = {0x964e5b22, 0x6459, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};
constexpr u64 open_read = 1, open_write = 2, open_create = u64(1) << 63;
constexpr u64 attribute_directory = 0x10;

struct FileInfo {
  u64 struct_bytes;
  u64 bytes;
  u64 physical_bytes;
  Time created, accessed, modified;
  u64 attributes;
  Char name[1];  // and more, to a zero
};
constexpr Guid file_info_guid = {0x09576e92, 0x6d3f, 0x11d2, {0x8e, 0x39, 0x00, 0xa0, 0xc9, 0x69, 0x72, 0x3b}};

struct File {
  u64 revision;
  Status(FLYBALL_EFI* open)(File*, File** opened, const Char* name, u64 mode, u64 attributes);
  Status(FLYBALL_EFI* close)(File*);
  Status(FLYBALL_EFI* remove)(File*);  // and close
  Status(FLYBALL_EFI* read)(File*, u64* bytes, void* buffer);
  Status(FLYBALL_EFI* write)(File*, u64* bytes, const void* buffer);
  Status(FLYBALL_EFI* get_position)(File*, u64*);
  Status(FLYBALL_EFI* set_position)(File*, u64);
  Status(FLYBALL_EFI* get_info)(File*, const Guid*, u64* bytes, void* buffer);
  Status(FLYBALL_EFI* set_info)(File*, const Guid*, u64 bytes, void* buffer);
  Status(FLYBALL_EFI* flush)(File*);
};

struct FileSystem {
  u64 revision;
  Status(FLYBALL_EFI* open_volume)(FileSystem*, File**);
};

// PI 1.8, volume 2: the other processors.
constexpr Guid mp_services_guid = {0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}};
struct MpServices {
  Status(FLYBALL_EFI* get_number)(MpServices*, u64* all, u64* enabled);
  void* get_info;
  Status(FLYBALL_EFI* startup_all)(MpServices*, void(FLYBALL_EFI* procedure)(void*), bool one_by_one, Event wait,
                                   u64 timeout_us, void* argument, u64** failed);
};

// PI 1.8, volume 2: page attributes, for the guard below the stack.
constexpr Guid cpu_arch_guid = {0x26baccb1, 0x6f42, 0x11d4, {0xbc, 0xe7, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81}};
constexpr u64 memory_not_readable = 0x2000;
struct CpuArch {
  void* unused[7];
  Status(FLYBALL_EFI* set_memory_attributes)(CpuArch*, u64 address, u64 bytes, u64 attributes);
};

}  // namespace flyball::efi
