"""`--perf` after any command: what the command took, on standard error."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from .. import _core
from .common import size, write_error

FLAG = "--perf"


def taken(words: Sequence[str]) -> tuple[list[str], bool]:
    """The words without the flag, and whether it was there; after -- it is a word like any other."""
    end = words.index("--") if "--" in words else len(words)
    before = [word for word in words[:end] if word != FLAG]
    return [*before, *words[end:]], len(before) < end


@contextmanager
def footer() -> Iterator[None]:
    """Print the footer in the end, after an error as well."""
    start, cycles, before = time.perf_counter(), _core.cycles(), _usage()
    try:
        yield
    finally:
        wall, cycles, after = time.perf_counter() - start, _core.cycles() - cycles, _usage()
        write_error(line(wall, after[0] - before[0], cycles, after[1], after[2] - before[2], after[3] - before[3]))


def line(wall: float, processor: float, cycles: int, peak: int, minor: int, major: int) -> str:
    """The footer. `cycles`: of the time-stamp counter, in the wall time."""
    return (
        f"perf: wall {wall:.3f} s, processor {processor:.3f} s, {cycles:,} cycles,"
        f" peak memory {size(peak)}, page faults {minor:,} minor, {major:,} major\n"
    )


def _usage() -> tuple[float, int, int, int]:
    """Seconds of all processors, peak memory in bytes, page faults: of this process; seconds of its children, too."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return seconds, own.ru_maxrss << 10, own.ru_minflt, own.ru_majflt
