"""The machine's constant properties, and its current load."""

from __future__ import annotations

import hashlib
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from .process import run

_FEATURES = ["avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"]
_PROBE = "from flyball import _core; print(_core.read_bandwidth(1 << 30, {threads}, 5))"
QUIET_LOAD = 0.5
# Cores by vendor, family, and models from and to, for hypervisors that tell no more than "AMD EPYC". Libraries go by
# features, of which hypervisors hide some: archspec 0.2.7 takes a Zen 3 for a Zen 2.
_CORES = [
    ("Zen 1", "AuthenticAMD", 23, 0x00, 0x2F),
    ("Zen 2", "AuthenticAMD", 23, 0x30, 0xFF),
    ("Zen 4", "AuthenticAMD", 25, 0x10, 0x1F),
    ("Zen 4", "AuthenticAMD", 25, 0x60, 0xFF),
    ("Zen 3", "AuthenticAMD", 25, 0x00, 0x5F),
    ("Zen 5", "AuthenticAMD", 26, 0x00, 0xFF),
    ("Haswell", "GenuineIntel", 6, 0x3C, 0x3C),
    ("Haswell", "GenuineIntel", 6, 0x3F, 0x3F),
    ("Broadwell", "GenuineIntel", 6, 0x4F, 0x4F),
    ("Skylake with AVX-512", "GenuineIntel", 6, 0x55, 0x55),
    ("Skylake", "GenuineIntel", 6, 0x4E, 0x5E),
    ("Skylake", "GenuineIntel", 6, 0x8E, 0x8E),
    ("Skylake", "GenuineIntel", 6, 0x9E, 0x9E),
    ("Ice Lake", "GenuineIntel", 6, 0x6A, 0x6C),
    ("Alder Lake", "GenuineIntel", 6, 0x97, 0x9A),
    ("Sapphire Rapids", "GenuineIntel", 6, 0x8F, 0x8F),
    ("Emerald Rapids", "GenuineIntel", 6, 0xCF, 0xCF),
    ("Granite Rapids", "GenuineIntel", 6, 0xAD, 0xAE),
]
_BUFFER = bytes(1 << 20)


def facts() -> dict[str, Any]:
    """Processor, memory, kernel."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processor": fields.get("model name", platform.machine()),
        "core": core(fields.get("vendor_id", ""), fields.get("cpu family", ""), fields.get("model", "")),
        "features": [name for name in _FEATURES if name in fields.get("flags", "").split()],
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) * 1024 / 1e9),
        "kernel": platform.release().split("-")[0],
        "hypervisor": "hypervisor" in fields.get("flags", "").split(),
        "python": platform.python_version(),
    }


def core(vendor: str, family: str, model: str) -> str:
    """The name of a processor's cores by the words of /proc/cpuinfo; empty if it is not known."""
    if not family.isdecimal() or not model.isdecimal():
        return ""
    return next(
        (
            name
            for name, maker, number, first, last in _CORES
            if (vendor, int(family)) == (maker, number) and first <= int(model) <= last
        ),
        "",
    )


def bandwidth(threads: int) -> float:
    """Read bandwidth of `threads` threads in GB/s, measured in a separate process."""
    return float(run([sys.executable, "-c", _PROBE.format(threads=threads)]).stdout) / 1e9


def calibration_ms() -> float:
    """Milliseconds of a fixed workload in one thread; they grow when the processor is slower or shared."""
    times = []
    for _ in range(25):
        start = time.perf_counter()
        hashlib.sha256(_BUFFER).digest()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)
