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
_BUFFER = bytes(1 << 20)


def facts() -> dict[str, Any]:
    """Processor, memory, kernel."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in info)}
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "processor": fields.get("model name", platform.machine()),
        "features": [name for name in _FEATURES if name in fields.get("flags", "").split()],
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory) * 1024 / 1e9),
        "kernel": platform.release().split("-")[0],
        "hypervisor": "hypervisor" in fields.get("flags", "").split(),
        "python": platform.python_version(),
    }


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
