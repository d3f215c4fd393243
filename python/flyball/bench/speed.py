"""Measure the speed of prefill and decode in cycles."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path

from .. import _core
from ..engine.handle import Progress
from ..engine.model import Model
from ..engine.options import GenerateKeywords
from ..engine.results import Metrics, ModelInfo, Phase
from ..engine.session import Request, Session
from ..errors import ContextFull

_PROBE_BYTES = 512 << 20  # larger than common servers' caches, so that it measures memory
_SMALLEST_PROBE = 64 << 20


@dataclass(frozen=True)
class Part:
    """Cycles of one part of a phase. Bytes that it must read; operations that it must do, two per multiply-add."""

    phase: str
    part: str
    cycles: int
    share: float  # of its phase
    gb_s: float | None = None
    of_bandwidth: float | None = None
    tops: float | None = None
    of_peak: float | None = None  # of the integer unit, measured in the same run


@dataclass(frozen=True)
class Row:
    """Results of one thread count. Speeds are medians of the repeats, `_min` and `_max` the extremes."""

    isa: str
    threads: int
    prompt: int
    gen: int
    depth: int
    repeat: int
    prefill_tok_s: float
    prefill_tok_s_min: float
    prefill_tok_s_max: float
    decode_tok_s: float
    decode_tok_s_min: float
    decode_tok_s_max: float
    prefill_cycles_per_token: float
    decode_cycles_per_token: float
    load_ms: float
    rss_mb: float
    decode_bytes_per_token: int
    read_bandwidth_gb_s: float | None  # None: not measured
    decode_bandwidth_share: float | None  # None also if the weights fit in the caches
    sequences: int
    sequences_tok_s: float | None  # total of all sequences; None for one
    breakdown: list[Part] | None


@dataclass(frozen=True)
class Plan:
    """What to measure: prompt tokens, tokens to decode, tokens in the cache before; each `repeat` times."""

    model: str
    prompt: int = 512
    gen: int = 128
    depth: int = 0
    isa: str = "auto"
    cache_type: str = "f16"
    batch: int = 192
    repeat: int = 5
    sequences: int = 1  # also decode this many at once
    breakdown: bool = False
    bandwidth: bool = True


def measure(plan: Plan, threads: int, progress: Progress | None = None) -> Row:
    """Measure one thread count."""
    context = max(plan.prompt, max(plan.depth, 1) + plan.gen)  # the last token is never computed
    with Model.load(
        plan.model,
        plan.isa,
        threads,
        context,
        cache_type=plan.cache_type,
        progress=progress,
        prefix_cache_mb=0,  # so that every prompt is computed
    ) as model:
        info = model.info
        if context > info.context_length:
            raise ContextFull(
                "--prompt, --gen, --depth", f"need {context} positions, the model has {info.context_length}"
            )
        session = model.session()
        cached = _ids(info.n_vocab, max(plan.depth, 1))
        prefills = _prefills(session, _ids(info.n_vocab, plan.prompt), plan)
        decodes, bandwidth = _decodes(session, cached, info, plan)
        together = _together(model, len(cached), plan) if plan.sequences > 1 else None
        n_bytes = _token_bytes(model) + info.cache_bytes(len(cached) + plan.gen // 2, plan.cache_type)
        decode_rates, prefill_rates = _rates([d.decode for d in decodes]), _rates([p.prefill for p in prefills])
        decode_rate = statistics.median(decode_rates)
        from_memory = bandwidth > 0 and n_bytes >= _SMALLEST_PROBE
        return Row(
            isa=info.isa,
            threads=threads,
            prompt=plan.prompt,
            gen=plan.gen,
            depth=plan.depth,
            repeat=plan.repeat,
            prefill_tok_s=statistics.median(prefill_rates),
            prefill_tok_s_min=min(prefill_rates),
            prefill_tok_s_max=max(prefill_rates),
            decode_tok_s=decode_rate,
            decode_tok_s_min=min(decode_rates),
            decode_tok_s_max=max(decode_rates),
            prefill_cycles_per_token=statistics.median(p.prefill.cycles / p.prefill.tokens for p in prefills),
            decode_cycles_per_token=statistics.median(d.decode.cycles / d.decode.tokens for d in decodes),
            load_ms=info.model_select_ms + info.model_prepare_ms,
            rss_mb=_resident_bytes() / 1e6,
            decode_bytes_per_token=n_bytes,
            read_bandwidth_gb_s=bandwidth / 1e9 if bandwidth else None,
            decode_bandwidth_share=n_bytes * decode_rate / bandwidth if from_memory else None,
            sequences=plan.sequences,
            sequences_tok_s=together,
            breakdown=_breakdown(model, prefills, decodes, n_bytes, bandwidth * from_memory)
            if plan.breakdown
            else None,
        )


def _token_bytes(model: Model) -> int:
    """Of weights, of a mixture of experts those of the chosen ones, and of the state of recurrent layers."""
    needs = model.needs()
    return (needs[1] if needs else model.info.weight_bytes) + model.info.state_bytes


def _plain(plan: Plan) -> GenerateKeywords:
    """Options without draft tokens, which would make decode depend on the text."""
    return {"temperature": 0, "batch": plan.batch, "ignore_eos": True, "speculate": "off"}


def _prefills(session: Session, prompt: list[int], plan: Plan) -> list[Metrics]:
    found = []
    for _ in range(plan.repeat + 1):
        session.reset()
        found.append(session.generate(prompt, 1, **_plain(plan)).metrics)
    return found[1:]  # the first is the warm-up


def _decodes(session: Session, cached: list[int], info: ModelInfo, plan: Plan) -> tuple[list[Metrics], float]:
    """Measure decode in turn with memory bandwidth, as machines vary. The session keeps the earlier tokens."""
    found, bandwidth = [], 0.0
    n_probe = max(_SMALLEST_PROBE, min(_PROBE_BYTES, 2 * info.weight_bytes))
    session.reset()
    for _ in range(plan.repeat + 1):
        found.append(session.generate(cached, plan.gen + 1, **_plain(plan)).metrics)
        if plan.bandwidth:
            bandwidth = max(bandwidth, _core.read_bandwidth(n_probe, info.threads, 2))
    return found[1:], bandwidth


def _together(model: Model, depth: int, plan: Plan) -> float:
    """Decode tokens per second of all sequences together, each with its own prompt."""
    ids = _ids(model.info.n_vocab, depth * plan.sequences)
    prompts = [ids[i * depth : (i + 1) * depth] for i in range(plan.sequences)]
    sessions = [model.session() for _ in prompts]
    rates = []
    for _ in range(plan.repeat + 1):
        cores = [
            session._begin(Request.of(model._handle, prompt, plan.gen + 1, _plain(plan)))
            for session, prompt in zip(sessions, prompts, strict=True)
        ]
        for _ in range(plan.gen + 1):
            for step in _core.step_many(cores, 0):
                if isinstance(step, Exception):
                    raise step
        counts = [core.metrics()["decode"] for core in cores]
        cycles = sum(count["cycles"] for count in counts)
        rates.append(sum(count["tokens"] for count in counts) * _core.cycles_per_second() / cycles)
    return statistics.median(rates[1:])


def _breakdown(
    model: Model, prefills: list[Metrics], decodes: list[Metrics], decode_bytes: int, bandwidth: float
) -> list[Part]:
    """Parts of the repeat with the median cycles, with rates where there is a limit to compare with."""
    info = model.info
    second = _core.cycles_per_second()
    peak = _core.integer_peak(info.isa, info.threads)
    shapes = {name: shape for name, _, shape, _ in model.tensors() if len(shape) > 1}
    n_output = math.prod(shapes.get("output.weight", shapes["token_embd.weight"]))
    chosen = info.n_expert_used / max(info.n_expert, 1)
    n_layers = round(
        sum(
            math.prod(shape) * (chosen if "_exps." in name else 1)
            for name, shape in shapes.items()
            if name.startswith("blk.")
        )
    )
    token_bytes = _token_bytes(model)

    def part(phase: str, name: str, cycles: int, of: int, n_bytes: int = 0, n_products: int = 0) -> Part:
        rate = n_bytes * second / cycles if n_bytes and cycles else None
        return Part(
            phase=phase,
            part=name,
            cycles=cycles,
            share=cycles / of if of else 0.0,
            gb_s=rate / 1e9 if rate else None,
            of_bandwidth=rate / bandwidth if rate and bandwidth else None,
            tops=2e-12 * n_products * second / cycles if n_products and cycles else None,
            of_peak=n_products * second / cycles / peak if n_products and cycles else None,
        )

    def parts(name: str, phase: Phase, sampling: int, n_products: int, weights: int, cache: int) -> list[Part]:
        of = phase.cycles + sampling
        rest = phase.cycles - phase.matrix_cycles - phase.attention_cycles
        return [
            part(name, "matrices", phase.matrix_cycles, of, weights * phase.calls, n_products),
            part(name, "attention", phase.attention_cycles, of, cache * phase.calls),
            part(name, "norms, rotations, activations", rest, of),
            part(name, "sampling", sampling, of),
        ]

    prefill = statistics.median_low([(m.prefill.cycles, i) for i, m in enumerate(prefills)])[1]
    decode = statistics.median_low([(m.decode.cycles, i) for i, m in enumerate(decodes)])[1]
    first, then = prefills[prefill], decodes[decode]
    load = [round(ms * second / 1e3) for ms in (info.model_select_ms, info.model_prepare_ms)]
    n_first = n_layers * first.prefill.tokens + n_output
    n_then = (n_layers + n_output) * then.decode.tokens
    return [
        part("load", "map and check", load[0], sum(load)),
        part("load", "prepare weights", load[1], sum(load), info.weight_bytes - info.in_file_bytes),
        *parts("prefill", first.prefill, first.sample_cycles, n_first, info.weight_bytes, 0),
        *parts("decode", then.decode, then.sample_cycles, n_then, token_bytes, decode_bytes - token_bytes),
    ]


def _rates(phases: list[Phase]) -> list[float]:
    return [phase.tokens_per_second or 0.0 for phase in phases]


def _ids(n_vocab: int, n: int) -> list[int]:
    """Ids from all over the vocabulary, the same on every machine."""
    return [(2654435761 * (i + 1) >> 7) % n_vocab for i in range(n)]


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def machine() -> dict[str, object]:
    """The processor, the number of processors, and the counter's frequency."""
    name = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return {"processor": name, "n_processors": _core.n_processors(), "cycles_per_second": _core.cycles_per_second()}
