// Tile registers (AMX) are 8 KiB that Linux neither saves nor permits before the process requests them. The permission
// is for all threads of the process, later ones too; the kernel allocates a thread's larger state when it first uses a
// tile. It refuses while a thread has an alternate signal stack that is too small for them.
#include <sys/syscall.h>
#include <unistd.h>

#include "host/parts.h"

namespace flyball::host {

bool request_tiles() {
  constexpr long get_permission = 0x1022, request_permission = 0x1023;  // ARCH_GET_XCOMP_PERM, ARCH_REQ_XCOMP_PERM
  constexpr u64 tile_data = 18;                                         // the bit of XCR0
  u64 granted = 0;
  return syscall(SYS_arch_prctl, request_permission, tile_data) == 0 &&
         syscall(SYS_arch_prctl, get_permission, &granted) == 0 && (granted >> tile_data & 1) != 0;
}

}  // namespace flyball::host
