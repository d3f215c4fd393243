"""Run cases and count: in this process, or in a worker process that reads requests from standard input.

    python -m flyball.bench.worker

Each request and each answer is a JSON object on one line. {"open": FILE, "context": N, "threads": N} loads a model,
{"case": {...}, "seed": N} runs a case. The answer to a failed request is {"error": TEXT}.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from .. import _core
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.results import Metrics
from ..errors import Error
from ..paths import AnyPath
from .fields import Fields, parse
from .pack import Build, Case

COUNTERS = (
    "prompt_tokens",
    "generated_tokens",
    "prefill_calls",
    "prefill_tokens",
    "decode_calls",
    "decode_tokens",
    "drafted_tokens",
    "transformer_calls",
    "allocations",
)
_BATCH = 192  # prompt tokens per transformer call, which the counters depend on


@dataclass(frozen=True)
class Sample:
    """One run of a case. `counters` are exact, the rest is measured; cycles are None if no token was computed."""

    digest: str
    counters: dict[str, int]
    ms: float
    prefill_cycles_per_token: float | None
    decode_cycles_per_token: float | None

    @classmethod
    def of(cls, found: Fields) -> Sample:
        """From JSON."""
        counts = found.sub("counters")
        return cls(
            digest=found.text("digest"),
            counters={name: counts.integer(name) for name in COUNTERS},
            ms=found.number("ms"),
            prefill_cycles_per_token=found.number_or_none("prefill_cycles_per_token"),
            decode_cycles_per_token=found.number_or_none("decode_cycles_per_token"),
        )


class Runner:
    """A model with one session that is reset before each run."""

    def __init__(self, model: Model, context: int) -> None:
        self.model = model
        self._session = model.session(min(context, model.info.context_length))
        self._known: set[str] = set()

    @classmethod
    def open(cls, path: AnyPath, context: int, threads: int) -> Runner:
        """Load a model, without a prefix cache so that every prompt is computed."""
        return cls(Model.load(path, threads=threads, prefix_cache_mb=0), context)

    def measure(self, case: Case, seed: int) -> Sample:
        """Run a case. Cuts the prompt if it does not fit in the context together with the answer.

        A case's first run is preceded by an uncounted one, whose growing buffers would count as allocations.
        """
        if case.id not in self._known:
            self._known.add(case.id)
            self.measure(case, seed)
        session = self._session
        session.reset()
        ids = self.model.tokenize(case.prompt)[: max(1, session.context - case.max_tokens)]
        how: GenerateKeywords = {**case.sampling}
        how["seed"] = case.seed(seed)
        how["speculate"], how["ignore_eos"], how["batch"] = case.speculate, True, _BATCH
        before = _core.n_allocations()
        start = time.perf_counter_ns()
        result = session.generate(ids, case.max_tokens, **how)
        ms = (time.perf_counter_ns() - start) / 1e6
        metrics = result.metrics
        return Sample(
            result.digest,
            _counters(metrics) | {"allocations": _core.n_allocations() - before},
            ms,
            metrics.prefill.cycles_per_token,
            metrics.decode.cycles_per_token,
        )


def _counters(metrics: Metrics) -> dict[str, int]:
    prefill, decode = metrics.prefill, metrics.decode
    return {
        "prompt_tokens": metrics.prompt_tokens,
        "generated_tokens": metrics.generated_tokens,
        "prefill_calls": prefill.calls,
        "prefill_tokens": prefill.tokens,
        "decode_calls": decode.calls,
        "decode_tokens": decode.tokens,
        "drafted_tokens": metrics.speculation.drafted,
        "transformer_calls": prefill.calls + decode.calls,
    }


def serve() -> None:
    """Answer requests until the input ends."""
    runner: Runner | None = None
    for line in sys.stdin.buffer:
        answer: dict[str, Any]
        try:
            asked = Fields("request", parse("request", line))
            if asked.has("open"):
                runner = Runner.open(asked.text("open"), asked.integer("context"), asked.integer("threads"))
                info = runner.model.info
                answer = {"build": asdict(Build.here()), "fingerprint": info.fingerprint, "isa": info.isa}
            elif runner is None:
                answer = {"error": "no model is open"}
            else:
                answer = asdict(runner.measure(Case.of(asked.sub("case")), asked.integer("seed")))
        except Error as error:
            answer = {"error": str(error)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
