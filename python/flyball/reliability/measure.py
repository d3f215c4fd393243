"""Measure the costs of tokens and of loading as multiples of a reference workload, measured in turn with them.

One thread, and the 10th percentile of many short samples: on a busy machine some short samples are undisturbed, while
the mean or median of long ones mostly measures the other load. Time in which the thread waited for a processor does
not count (docs/reliability.md has the figures).
"""

from __future__ import annotations

import math
import os
import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from .. import _core
from ..bench import process
from ..bench.pack import Pack
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..evidence.drift import Cost

_PROMPT_TOKENS = 64
_DECODE_TOKENS = 4
_PROMPTS = 4  # in a row
_READ_BYTES = 4 << 20
_MOST_LOADING = 10  # seconds per run, so that a large model is loaded only a few times
_MOST_MEMORY = 64 << 20
_PLAIN: GenerateKeywords = {"temperature": 0, "ignore_eos": True, "speculate": "off"}
_MOST_ROUNDS = 3  # of samples, while they could not show _VISIBLE
_VISIBLE = 1.10
_PARTS = 8  # of a round; each loads a small model anew, as its place in memory is worth up to 7 % of decode
_LEAST_PARTS = 3  # with enough undisturbed samples; with fewer, all parts count
_LEAST_CLEAN = 3  # undisturbed samples of a part; with fewer, waiting is subtracted
_VERSION = 2  # of the costs: only those of one version are comparable
_COUNTED = {"prefill": "prefill-story", "decode": "decode-greedy"}  # cases of the bundled corpus
_MEMORY = 0.25  # weight of memory in the reference of loading: what varied least under other load

T = TypeVar("T")


def reference_workload() -> float:
    """Seconds of one thread for a million bytes read and a million integer products: the geometric mean.

    With the processor's best instruction set, whatever the model uses, so that a worse choice is a slow-down.
    """
    return 1e6 / math.sqrt(_core.read_bandwidth(_READ_BYTES, 1, 2) * _core.integer_peak("auto", 1))


def fresh_memory(n_bytes: int) -> int:
    """Cycles to allocate, touch and free memory, which dominates loading."""
    start = _core.cycles()
    np.empty(n_bytes, np.uint8).fill(1)
    return _core.cycles() - start


class Sample(NamedTuple):
    """Cycles of `n` times what is measured, of the call that did it, and of the call's waiting for a processor.

    `settled`: what this thread did just before did not wait either, so that the caches are its own.
    """

    cycles: float
    call: float
    waited: float = 0.0
    n: int = 1
    settled: bool = True


Samples = dict[str, list[Sample]]


def n_clean(samples: Sequence[Sample]) -> int:
    """How many of them are not disturbed."""
    return sum(sample.settled and not sample.waited for sample in samples)


def undisturbed(samples: Sequence[Sample]) -> list[float]:
    """Cycles of what is measured, without waiting: of the samples that are not disturbed, else of all less the waiting.

    The whole call waited, not only the part of it that is measured. So the other parts are subtracted from the call as
    well; what they cost is known from the calls together.
    """
    if n_clean(samples) >= min(_LEAST_CLEAN, len(samples)):
        return [sample.cycles / sample.n for sample in samples if sample.settled and not sample.waited]
    others = min(sample.call - sample.cycles for sample in samples)
    found = [(s.call - s.waited - others if s.waited else s.cycles) / s.n for s in samples]
    return [cycles for cycles in found if cycles > 0] or [sample.cycles / sample.n for sample in samples]


class Contention:
    """What else ran while this was measured. What the system does not tell is None, and shown as unknown."""

    def __init__(self) -> None:
        self._path = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._start = self._waited(), _core.now_ns(), _busy(), _stalled()

    def _waited(self) -> int | None:
        """Nanoseconds that this thread has waited for a processor."""
        with suppress(OSError, ValueError):
            ran, waited, _ = map(int, self._path.read_bytes().split())
            return waited if ran else None  # a kernel that does not count says zero
        return None

    def timed(self, call: Callable[[], T]) -> tuple[T, int, float]:
        """Result of a call, its cycles, and those in which it waited.

        The cycles are read outside of the waiting, so that waiting between the readings never makes the call too short.
        """
        start, before = _core.cycles(), self._waited()
        result = call()
        after, cycles = self._waited(), _core.cycles() - start
        waited = 0 if before is None or after is None else after - before
        return result, cycles, waited * _core.cycles_per_second() / 1e9

    def values(self, *, waiting_is_known: bool = True) -> dict[str, float | None]:
        """Shares of time since the start, as plain JSON.

        `waiting`: this thread waited for a processor; `pressure`: some thread of the machine did. `steal`: of the
        machine's busy time, taken by its host. `run_queue`: runnable threads per processor, over the last minute.
        `inflation`: the factor by which they may have raised what was measured.
        """
        waited, since, busy, stalled = self._start
        ns, now, now_stalled = max(1, _core.now_ns() - since), self._waited(), _stalled()
        waiting = None if waited is None or now is None or not waiting_is_known else round((now - waited) / ns, 4)
        pressure = None if stalled is None or now_stalled is None else round((now_stalled - stalled) * 1e3 / ns, 4)
        ticks = [after - before for before, after in zip(busy, _busy(), strict=False)]
        steal = round(ticks[0] / max(1, ticks[1]), 4) if ticks else None
        try:
            run_queue: float | None = round(os.getloadavg()[0] / (os.cpu_count() or 1), 2)
        except OSError:
            run_queue = None
        return {
            "waiting": waiting,
            "steal": steal,
            "pressure": pressure,
            "run_queue": run_queue,
            "inflation": round(_inflation(waiting, steal, run_queue), 4),
        }


def _busy() -> tuple[int, ...]:
    """Ticks that the host took from this machine's processors, and all ticks that were not idle; () where unknown."""
    with suppress(OSError, ValueError, IndexError):
        user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
        return steal, user + nice + system + irq + softirq + steal
    return ()


def _stalled() -> int | None:
    """Microseconds in which some thread of this machine waited for a processor."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path("/proc/pressure/cpu").read_text().split("\n")[0].rpartition("total=")[2])
    return None


def _inflation(waiting: float | None, steal: float | None, run_queue: float | None) -> float:
    """The factor by which contention that was not measured out may have raised costs.

    Stolen time is in every sample. Where waiting is unknown, a thread may have waited for its share of a processor.
    """
    factor = 1.0 / (1.0 - min(steal, 0.99)) if steal else 1.0
    # A quarter above the number of processors is the load average of one full machine.
    return factor * max(1.0, run_queue - 0.25) if waiting is None and run_queue else factor


def costs(path: Path, pairs: int) -> dict[str, Any]:
    """Costs of prefill and decode tokens and of loading: as multiples of the reference workload, and in cycles.

    Loading is also normalized by memory cost, as other load that fills the caches slows it by up to 15 %. `noise`: the
    standard deviations of the costs' logarithms. `contention`: as Contention.values(). `measurement`: the version.
    """
    parts: list[Samples] = []
    contention = Contention()
    small = path.stat().st_size <= _MOST_MEMORY
    with ExitStack() as models:
        model = models.enter_context(Model.load(path, threads=1))
        for _ in range(_MOST_ROUNDS):
            for _ in range(_PARTS):
                if small and parts:  # the others stay open, so that this one gets other pages
                    model = models.enter_context(Model.load(path, threads=1))
                parts.append(_measure(model, path, max(1, pairs // _PARTS), contention))
            found = _of(parts, path.stat().st_size)
            if all(noise is None or Cost(1.0, noise).visible() <= _VISIBLE for noise in found["noise"].values()):
                break
    values = contention.values()  # before other processes of this run
    return {**found, "contention": values, "measurement": _VERSION, "instructions": instructions(path)}


def instructions(path: Path) -> dict[str, int]:
    """User-mode instructions of one long prompt and of one long answer on one thread; empty where perf cannot count."""
    with Model.load(path, vocab_only=True) as model:
        pack = Pack.make(model)
    cases = tuple(case for case in pack.corpus.cases if case.id in _COUNTED.values())
    pack = replace(pack, corpus=replace(pack.corpus, cases=cases))
    found = process.instructions(None, pack, path, lambda *_: None)
    return {phase: found[case] for phase, case in _COUNTED.items() if case in found}


def _measure(model: Model, path: Path, pairs: int, contention: Contention) -> Samples:
    samples: Samples = {"prefill": [], "decode": [], "load": [], "memory": [], "reference": []}
    session = model.session()
    n_tokens = min(_PROMPT_TOKENS, session.context - _DECODE_TOKENS)
    ids = [(2654435761 * (i + 1) >> 7) % model.info.n_vocab for i in range(n_tokens)]
    touched = min(path.stat().st_size, _MOST_MEMORY)

    def generate(phase: str, n: int, settled: bool) -> bool:
        done, call, waited = contention.timed(lambda: session.generate(ids, n, **_PLAIN))
        part = done.metrics.prefill if phase == "prefill" else done.metrics.decode
        samples[phase].append(Sample(part.cycles, call, waited, max(1, part.tokens), settled))
        return not waited

    for _ in range(pairs):
        settled = False  # what follows the reference workload finds its data in the caches
        for _ in range(_PROMPTS):
            session.reset()
            settled = generate("prefill", 1, settled)
            settled = generate("decode", _DECODE_TOKENS, settled)
        if sum(sample.call for sample in samples["load"]) < _MOST_LOADING / _PARTS * _core.cycles_per_second():
            _, call, waited = contention.timed(lambda: Model.load(path, threads=1).close())
            samples["load"].append(Sample(call, call, waited))
            memory, _, waited = contention.timed(lambda: fresh_memory(touched))
            samples["memory"].append(Sample(memory, memory, waited))
        reference = reference_workload() * _core.cycles_per_second()
        samples["reference"].append(Sample(reference, reference))
    return samples


def _of(parts: Sequence[Samples], loaded_bytes: int) -> dict[str, Any]:
    """Each cost is the least of the parts, and its noise the spread of their lower half."""
    found = [_as_multiples({name: undisturbed(of) for name, of in part.items()}, loaded_bytes) for part in parts]
    cost: dict[str, float] = {}
    noise: dict[str, float] = {}
    for name in ("prefill", "decode", "load"):
        clean = [n_clean(part[name]) >= _LEAST_CLEAN for part in parts]
        # Parts whose samples all waited are less exact; with long samples there are no others.
        values = sorted(
            one["cost"][name] for one, good in zip(found, clean, strict=True) if good or sum(clean) < _LEAST_PARTS
        )
        cost[name] = values[0]
        noise[name] = statistics.stdev(map(math.log, values[: max(2, len(values) // 2)]))
    cycles = {name: min(one["cycles"][name] for one in found) for name in cost}
    return {"cycles": cycles, "cost": cost, "noise": noise}


def guest_costs(observed: Mapping[str, Any]) -> dict[str, Any]:
    """Costs of a machine emulated by QEMU, from its journal; the reference workload runs on this host.

    The noise is unknown, as the answers differ, and so is the time for which the machine waited.
    """
    second = _core.cycles_per_second()
    samples = {
        "prefill": observed["prefill"],
        "decode": observed["decode"],
        "load": [observed["startup"]["model_prepare_ms"] * second / 1e3],
        "reference": [reference_workload() * second for _ in range(10)],
    }
    return {**_as_multiples(samples), "contention": Contention().values(waiting_is_known=False)}


def _as_multiples(samples: Mapping[str, Sequence[float]], loaded_bytes: int = 0) -> dict[str, Any]:
    """Costs of cycles; `memory` among them: loading is divided by the time to touch as many bytes, too."""
    low = {name: float(np.percentile(values, 10)) for name, values in samples.items()}
    reference = low.pop("reference")
    cost = {name: value / reference for name, value in low.items()}
    if "memory" in low:
        memory = low.pop("memory") * (loaded_bytes / min(loaded_bytes, _MOST_MEMORY))
        del cost["memory"]
        cost["load"] = low["load"] / (memory**_MEMORY * (reference * loaded_bytes / 1e6) ** (1 - _MEMORY))
    return {"cycles": low, "cost": cost}
