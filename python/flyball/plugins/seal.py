"""What a plugin's process gives up before it loads the plugin: limits, files (Landlock), new processes and sockets
(seccomp). Nothing of it can be taken back. Runs in the child: the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable, Sequence

FILE_BYTES = 1 << 20  # of each file that it writes, its output among them
_CPU_SECONDS = 900  # of a process's whole life; a call has its own time on the clock
_MOST_FILES = 64
_MOST_PROCESSES = 64

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 4, 38, 22
_SECCOMP_MODE_FILTER = 2
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # Landlock's system calls, the same on all machines
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR, _READ = 1 << 2, 1 << 3, 1 << 2 | 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # how many rights to files a version has
_NET_RIGHTS, _NET_VERSION = 3, 4  # bind and connect of TCP
_SCOPES, _SCOPE_VERSION = 3, 6  # abstract sockets and signals

# Numbers of system calls on x86_64 and aarch64; None: there is none. No plugin needs them, and each leads out.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198), "socketpair": (53, 199), "bind": (49, 200), "listen": (50, 201), "connect": (42, 203),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "kill": (62, 129), "tkill": (200, 130), "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "setpgid": (109, 154), "setsid": (112, 157),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_by_handle_at": (304, 265),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
}  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E, 56), "aarch64": (1, 0xC00000B7, 220)}  # column, audit architecture, clone
_CLONE3, _CLONE_THREAD = 435, 0x10000
_X32 = 0x40000000  # system calls of another interface of x86_64, with numbers of their own
_LOAD, _EQUAL, _LEAST, _BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _EPERM, _ENOSYS = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_AT_NUMBER, _AT_MACHINE, _AT_FIRST = 0, 4, 16  # in the filter's input; low half of the first argument

_libc = ctypes.CDLL(None, use_errno=True)


def close(memory_bytes: int, read: Iterable[str]) -> list[str]:
    """Give it all up. What holds now, of: files, network, processes. `read`: paths that stay readable."""
    _limit(memory_bytes)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_DUMPABLE, 0)
    if not _prctl(_PR_SET_NO_NEW_PRIVS, 1):
        return []
    holds = ["files"] if _landlock(list(read)) else []
    return holds + (["network", "processes"] if _seccomp() else [])


def _limit(memory_bytes: int) -> None:
    for what, value in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_NPROC, _MOST_PROCESSES),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        most = resource.getrlimit(what)[1]
        value = value if most == resource.RLIM_INFINITY else min(value, most)
        resource.setrlimit(what, (value, value))


def _prctl(option: int, value: int, pointer: object = 0) -> bool:
    return bool(_libc.prctl(option, ctypes.c_ulong(value), pointer, 0, 0) == 0)


def _landlock(read: Sequence[str]) -> bool:
    """Reading below these paths is the only use of files that is left."""
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return False
    n_rights = max(n for least, n in _FILE_RIGHTS.items() if version >= least)
    rules = [(1 << n_rights) - 1, _NET_RIGHTS * (version >= _NET_VERSION), _SCOPES * (version >= _SCOPE_VERSION)]
    packed = struct.pack("<QQQ", *rules)[: 24 if version >= _SCOPE_VERSION else 16 if version >= _NET_VERSION else 8]
    rule_set = _libc.syscall(_CREATE_RULESET, packed, ctypes.c_size_t(len(packed)), 0)
    if rule_set < 0:
        return False
    for path in read:
        _allow_reading(rule_set, path)
    done = _libc.syscall(_RESTRICT_SELF, rule_set, 0) == 0
    os.close(rule_set)
    return bool(done)


def _allow_reading(rule_set: int, path: str) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there needs no right
    rights = _READ if os.path.isdir(path) else _READ_FILE
    _libc.syscall(_ADD_RULE, rule_set, _PATH_BENEATH, struct.pack("<Qi", rights, opened), 0)
    os.close(opened)


def _seccomp() -> bool:
    """Threads are the only new processes, and there are no sockets. False on machines whose numbers are not known."""
    if platform.machine() not in _MACHINES:
        return False
    program = _filter(*_MACHINES[platform.machine()])
    steps = ctypes.create_string_buffer(b"".join(program))
    head = struct.pack("@HP", len(program), ctypes.addressof(steps))
    return _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, head)


def _filter(column: int, machine: int, clone: int) -> list[bytes]:
    """BPF: each step is an operation, how many steps to skip where it is so and where not, and a value."""

    def step(code: int, yes: int, no: int, value: int) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    def give(verdict: int) -> bytes:
        return step(_RETURN, 0, 0, verdict)

    program = [step(_LOAD, 0, 0, _AT_MACHINE), step(_EQUAL, 1, 0, machine), give(_KILL), step(_LOAD, 0, 0, _AT_NUMBER)]
    program += [step(_LEAST, 0, 1, _X32), give(_EPERM)]
    program += [step(_EQUAL, 0, 1, _CLONE3), give(_ENOSYS)]  # its flags lie in memory: the C library then takes clone
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            program += [step(_EQUAL, 0, 1, number), give(_EPERM)]
    program += [step(_EQUAL, 1, 0, clone), give(_ALLOW), step(_LOAD, 0, 0, _AT_FIRST)]
    return [*program, step(_BITS, 0, 1, _CLONE_THREAD), give(_ALLOW), give(_EPERM)]
