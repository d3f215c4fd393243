"""Run scenarios in this process: warm-up, iterations, and what each of them took."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .. import _core
from ..bench.results import CaseResult
from ..bench.worker import COUNTERS
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.results import Result
from ..errors import InternalError
from ..reliability.measure import Contention, reference_workload
from .scenarios import Prepared, Scenario, prepare

Progress = Callable[[str, int, int], object]
_BATCH = 192  # prompt tokens per transformer call, as in the benchmark pack


@dataclass(frozen=True)
class Sample:
    """One iteration of a scenario: from the first question to the end of the last answer.

    `first_token_ms`: the slowest of its answers. `cached_tokens` of the prompts were not computed. `cycles`: of the
    time-stamp counter. `waited_ms`: in which the asking thread waited for a processor; 0 where that is unknown.
    `reference_ms`: the reference workload right before it.
    """

    ms: float
    first_token_ms: float
    generated_tokens: int
    cached_tokens: int
    cycles: int
    waited_ms: float
    peak_memory_mb: float
    reference_ms: float
    digests: tuple[str, ...]

    @property
    def digest(self) -> str:
        """Of all answers: that of the answer where there is one."""
        return self.digests[0] if len(self.digests) == 1 else hashlib.sha256("".join(self.digests).encode()).hexdigest()

    @property
    def busy_ms(self) -> float:
        """Its time without that in which the asking thread waited for a processor."""
        return self.ms - self.waited_ms


@dataclass
class Measured:
    """The samples of one scenario, the answers that all of them gave, and what else ran meanwhile."""

    scenario: Scenario
    samples: list[Sample] = field(default_factory=list)
    answers: list[Result] = field(default_factory=list)
    contention: dict[str, float | None] = field(default_factory=dict)

    def case(self) -> CaseResult:
        """In the one results schema."""
        metrics = [answer.metrics for answer in self.answers]
        counters = dict.fromkeys(COUNTERS, 0)
        for one in metrics:
            counters["prompt_tokens"] += one.prompt_tokens
            counters["generated_tokens"] += one.generated_tokens
            if not self.scenario.clients:  # which clients share a call depends on the moment at which they come
                counters["prefill_calls"] += one.prefill.calls
                counters["prefill_tokens"] += one.prefill.tokens
                counters["decode_calls"] += one.decode.calls
                counters["decode_tokens"] += one.decode.tokens
                counters["transformer_calls"] += one.prefill.calls + one.decode.calls
        n = len(self.samples)
        return CaseResult(
            digest=self.samples[0].digest,
            counters=counters,
            ms=tuple(sample.ms for sample in self.samples),
            prefill_cycles_per_token=(None,) * n,
            decode_cycles_per_token=(None,) * n,
        )

    def take(self, sample: Sample, answers: Sequence[Result]) -> None:
        """Keep a sample; refuses one whose answers are not those of the others."""
        if self.samples and sample.digests != self.samples[0].digests:
            raise InternalError(self.scenario.name, "gives another answer in a repeated run: report it")
        self.samples.append(sample)
        self.answers = list(answers)


def measure(model: Model, scenario: Scenario, iterations: int, warmup: int, progress: Progress) -> Measured:
    """Run a scenario `warmup` times uncounted, then `iterations` times."""
    prepared = prepare(scenario, model)
    for done in range(warmup):
        progress("warm up", done, warmup)
        once(model, prepared)
    contention = Contention()
    found = Measured(scenario)
    for done in range(iterations):
        progress("measure", done, iterations)
        found.take(*once(model, prepared))
    progress("measure", iterations, iterations)
    found.contention = contention.values()
    return found


def once(model: Model, prepared: Prepared, root: bytes = b"") -> tuple[Sample, list[Result]]:
    """One iteration. `root`: of the cached prefixes that it shares."""
    return sampled(lambda: _answers(model, prepared, root))


def sampled(work: Callable[[], list[Result]]) -> tuple[Sample, list[Result]]:
    """The answers that `work` gives, and what they took."""
    reference = 1e3 * reference_workload()
    _forget_peak()
    start = time.perf_counter_ns()
    answers, cycles, waited = Contention().timed(work)
    ms = (time.perf_counter_ns() - start) / 1e6
    sample = Sample(
        ms=ms,
        first_token_ms=max(answer.metrics.first_token_ms for answer in answers),
        generated_tokens=sum(answer.metrics.generated_tokens for answer in answers),
        cached_tokens=sum(answer.metrics.shared_tokens for answer in answers),
        cycles=cycles,
        waited_ms=min(1e3 * waited / _core.cycles_per_second(), 0.999 * ms),
        peak_memory_mb=peak_bytes() / 1e6,
        reference_ms=reference,
        digests=tuple(answer.digest for answer in answers),
    )
    return sample, answers


def options_of(prepared: Prepared) -> GenerateKeywords:
    """Of each of a scenario's answers."""
    scenario = prepared.scenario
    return {
        "temperature": scenario.temperature,
        "seed": scenario.seed,
        "batch": _BATCH,
        "speculate": "off",  # drafts of "auto" depend on measured time
        "constraint": prepared.constraint,
    }


def _answers(model: Model, prepared: Prepared, root: bytes) -> list[Result]:
    scenario = prepared.scenario
    options: GenerateKeywords = {**options_of(prepared), "prefix_root": root}
    if scenario.clients:
        return model.generate_many(prepared.prompts, scenario.max_tokens, parallel=len(scenario.clients), **options)
    if len(scenario.turns) == 1:
        return [model.generate(prepared.prompts[0], scenario.max_tokens, **options)]
    chat = model.chat()
    said = (prepared.first, *scenario.turns[1:])
    return [chat.send(text, scenario.max_tokens, **options) for text in said]


def _forget_peak() -> None:
    """Begin a new peak of the resident set; where that is not allowed, the peak is that of the process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes() -> int:
    """The largest resident set since the last _forget_peak()."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return 0
