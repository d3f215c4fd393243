"""`flyball bench`: speed of prefill and decode, counted in cycles, one row per thread count.

`flyball bench pack|run|compare` runs frozen cases and compares builds; each has its own --help.
"""

from __future__ import annotations

import argparse
import math
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import _core
from ..errors import ContextFull, InvalidArgument
from ..model import Model, demo_model_path
from ..options import GenerateKeywords
from ..results import Metrics, ModelInfo, Phase
from ..session import Session
from . import bench_pack, common

_PROBE_BYTES = 512 << 20  # larger than the caches of common servers' cores, so that it measures memory
_SMALLEST_PROBE = 64 << 20


@dataclass(frozen=True)
class Part:
    """Where cycles went. Bytes are what the part must read, operations what it must do: two for a multiply-add."""

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
    """One thread count. Speeds are medians of the repeats; `_min` and `_max` their spread."""

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
    decode_bandwidth_share: float | None  # None also where weights fit in the caches and are not read from memory
    sequences: int
    sequences_tok_s: float | None  # of all together; None for one
    profile: list[Part] | None


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("bench", help="measure prefill and decode", description=__doc__)
    parser.add_argument(
        "model", nargs="?", metavar="MODEL", help="GGUF file (default: the bundled demonstration model)"
    )
    parser.add_argument("--prompt", type=int, default=512, metavar="N", help="tokens of the prompt (default: 512)")
    parser.add_argument("--gen", type=int, default=128, metavar="N", help="tokens to decode (default: 128)")
    parser.add_argument("--depth", type=int, default=0, metavar="N", help="tokens in the cache before decoding starts")
    parser.add_argument("--threads", metavar="N,N", help="thread counts (default: one per processor)")
    parser.add_argument("--isa", default="auto", metavar="NAME", help="instruction set (default: the best)")
    parser.add_argument("--kv", default="f16", metavar="TYPE", help="type of cached keys and values: f16, f32, q8_0")
    parser.add_argument("--batch", type=int, default=192, metavar="N", help="prompt tokens per transformer call")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="measurements of each (default: 5)")
    parser.add_argument("--sequences", type=int, default=1, metavar="N", help="decode so many at once as well")
    parser.add_argument(
        "--profile", action="store_true", help="where the time goes, and how far that is from the limits"
    )
    parser.add_argument("--no-bandwidth", action="store_true", help="leave out the measurement of memory")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)
    _give_way(parser)


def _give_way(parser: argparse.ArgumentParser) -> None:
    """Have what follows pack, run or compare read by a parser of its own; any other first word is a model's file."""
    own = parser.parse_known_args

    def parse(words: Any = None, namespace: Any = None) -> Any:
        if words and words[0] in bench_pack.ACTIONS:
            return bench_pack.make_parser(parser.prog).parse_known_args(words, namespace)
        return own(words, namespace)

    parser.parse_known_args = parse  # type: ignore[assignment, method-assign]


def run(args: argparse.Namespace) -> int:
    """Measure every thread count and print the rows."""
    for name, least in (("prompt", 1), ("gen", 1), ("depth", 0), ("repeat", 1), ("batch", 1), ("sequences", 1)):
        if getattr(args, name) < least:
            raise InvalidArgument(f"--{name}", f"is {getattr(args, name)}, must be at least {least}")
    path = args.model or str(demo_model_path())
    rows = [_measure(path, threads, args) for threads in _thread_counts(args.threads)]
    if args.json:
        common.write_json({"schema_version": 1, "model": path, "rows": [asdict(row) for row in rows]} | _machine())
    else:
        _show(rows)
    return common.HOLDS


def _thread_counts(text: str | None) -> list[int]:
    if text is None:
        return [_core.n_processors()]
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= 1024 for word in words):
        raise InvalidArgument("--threads", f"is {text!r}, must be numbers from 1 to 1024 with commas between")
    return [int(word) for word in words]


def _measure(path: str, threads: int, args: argparse.Namespace) -> Row:
    progress = common.Progress()
    context = max(args.prompt, max(args.depth, 1) + args.gen)  # the last token is never fed
    load = Model.load  # no prefix is kept: every prompt is to be computed
    with load(path, args.isa, threads, context, cache=args.kv, progress=progress, prefix_cache_mb=0) as model:
        progress.clear()
        info = model.info
        if context > info.context_length:
            raise ContextFull(
                "--prompt, --gen, --depth", f"need {context} positions, the model has {info.context_length}"
            )
        session = model.session()
        cached = _ids(info.n_vocab, max(args.depth, 1))
        prefills = _prefills(session, _ids(info.n_vocab, args.prompt), args)
        decodes, bandwidth = _decodes(session, cached, info, args)
        together = _together(model, len(cached), args) if args.sequences > 1 else None
        n_bytes = info.weight_bytes + info.cache_bytes(len(cached) + args.gen // 2, args.kv)
        decode_rates, prefill_rates = _rates([d.decode for d in decodes]), _rates([p.prefill for p in prefills])
        decode_rate = statistics.median(decode_rates)
        from_memory = bandwidth > 0 and n_bytes >= _SMALLEST_PROBE
        return Row(
            isa=info.isa,
            threads=threads,
            prompt=args.prompt,
            gen=args.gen,
            depth=args.depth,
            repeat=args.repeat,
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
            sequences=args.sequences,
            sequences_tok_s=together,
            profile=_profile(model, prefills, decodes, n_bytes, bandwidth * from_memory) if args.profile else None,
        )


def _plain(args: argparse.Namespace) -> GenerateKeywords:
    """Every token computed once and alone: guesses would make decode depend on the text."""
    return {"temperature": 0, "batch": args.batch, "ignore_eos": True, "speculate": "off"}


def _prefills(session: Session, prompt: list[int], args: argparse.Namespace) -> list[Metrics]:
    found = []
    for _ in range(args.repeat + 1):
        session.reset()
        found.append(session.generate(prompt, 1, **_plain(args)).metrics)
    return found[1:]  # the first only warms up


def _decodes(
    session: Session, cached: list[int], info: ModelInfo, args: argparse.Namespace
) -> tuple[list[Metrics], float]:
    """Decode, and the memory's speed measured in between: machines vary. The session keeps the tokens before."""
    found, bandwidth = [], 0.0
    n_probe = max(_SMALLEST_PROBE, min(_PROBE_BYTES, 2 * info.weight_bytes))
    session.reset()
    for _ in range(args.repeat + 1):
        found.append(session.generate(cached, args.gen + 1, **_plain(args)).metrics)
        if not args.no_bandwidth:
            bandwidth = max(bandwidth, _core.read_bandwidth(n_probe, info.threads, 2))
    return found[1:], bandwidth


def _together(model: Model, depth: int, args: argparse.Namespace) -> float:
    """Tokens per second of all sequences, each with a prompt of its own that is computed before."""
    ids = _ids(model.info.n_vocab, depth * args.sequences)
    prompts = [ids[i * depth : (i + 1) * depth] for i in range(args.sequences)]
    sessions = [model.session() for _ in prompts]
    rates = []
    for _ in range(args.repeat + 1):
        cores = [
            session.prepare(prompt, args.gen + 1, _plain(args), compute=True)
            for session, prompt in zip(sessions, prompts, strict=True)
        ]
        for _ in range(args.gen + 1):
            for step in _core.step_many(cores, 0):
                if isinstance(step, Exception):
                    raise step
        counts = [core.metrics()["decode"] for core in cores]
        cycles = sum(count["cycles"] for count in counts)
        rates.append(sum(count["tokens"] for count in counts) * _core.cycles_per_second() / cycles)
    return statistics.median(rates[1:])


def _profile(
    model: Model, prefills: list[Metrics], decodes: list[Metrics], decode_bytes: int, bandwidth: float
) -> list[Part]:
    """The repeat with the median cycles, part by part; a rate where the part has one that a limit stands against."""
    info = model.info
    second = _core.cycles_per_second()
    peak = _core.integer_peak(info.isa, info.threads)
    shapes = {name: shape for name, _, shape, _ in model.tensors() if len(shape) > 1}
    n_output = math.prod(shapes.get("output.weight", shapes["token_embd.weight"]))
    n_layers = sum(math.prod(shape) for name, shape in shapes.items() if name.startswith("blk."))

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

    def parts(name: str, phase: Phase, sampling: int, n_products: int, cache_bytes: int) -> list[Part]:
        of = phase.cycles + sampling
        rest = phase.cycles - phase.matrix_cycles - phase.attention_cycles
        return [
            part(name, "matrices", phase.matrix_cycles, of, info.weight_bytes * phase.calls, n_products),
            part(name, "attention", phase.attention_cycles, of, cache_bytes),
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
        part("load", "prepare weights", load[1], sum(load), info.weight_bytes),
        *parts("prefill", first.prefill, first.sample_cycles, n_first, 0),
        *parts(
            "decode", then.decode, then.sample_cycles, n_then, (decode_bytes - info.weight_bytes) * then.decode.calls
        ),
    ]


def _rates(phases: list[Phase]) -> list[float]:
    return [phase.tokens_per_second or 0.0 for phase in phases]


def _ids(n_vocab: int, n: int) -> list[int]:
    """Ids all over the vocabulary, the same on every machine."""
    return [(2654435761 * (i + 1) >> 7) % n_vocab for i in range(n)]


def _resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * 4096


def _machine() -> dict[str, object]:
    name = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            name = line.partition(":")[2].strip()
            break
    return {"processor": name, "n_processors": _core.n_processors(), "cycles_per_second": _core.cycles_per_second()}


def _show(rows: list[Row]) -> None:
    header = [
        "ISA",
        "THREADS",
        "PREFILL TOK/S",
        "DECODE TOK/S",
        "PREFILL CYC/TOK",
        "DECODE CYC/TOK",
        "LOAD MS",
        "RSS MB",
    ]
    table: list[list[str]] = [[*header, "OF MEMORY BANDWIDTH"]]
    for row in rows:
        share = "not measured" if row.read_bandwidth_gb_s is None else "fits in the cache"
        if row.decode_bandwidth_share is not None:
            share = f"{100 * row.decode_bandwidth_share:.0f} % of {row.read_bandwidth_gb_s:.1f} GB/s"
        numbers = (row.prefill_cycles_per_token, row.decode_cycles_per_token, row.load_ms, row.rss_mb)
        speeds = [f"{row.prefill_tok_s:,.1f}", f"{row.decode_tok_s:,.1f}"]
        table.append([row.isa, str(row.threads), *speeds, *(common.rate(n) for n in numbers), share])
    common.write_table(table, right=range(1, 8))
    for row in rows:
        if row.sequences_tok_s is not None:
            rate, gain = row.sequences_tok_s, row.sequences_tok_s / row.decode_tok_s
            common.write(f"\n{row.sequences} sequences, {row.threads} threads: {rate:,.1f} tok/s, {gain:.2f} x one\n")
        if row.profile is not None:
            common.write(f"\nWhere the time goes, {row.threads} threads, {row.isa}:\n")
            _show_profile(row.profile)


def _show_profile(parts: list[Part]) -> None:
    table = [["PHASE", "PART", "CYCLES", "SHARE", "GB/S", "OF BANDWIDTH", "TOPS", "OF PEAK"]]
    for part in parts:
        percent = "-" if part.of_bandwidth is None else f"{100 * part.of_bandwidth:.0f} %"
        peak = "-" if part.of_peak is None else f"{100 * part.of_peak:.0f} %"
        rates = [common.rate(part.gb_s, 1), percent, common.rate(part.tops, 3), peak]
        table.append([part.phase, part.part, f"{part.cycles:,}", f"{100 * part.share:.1f} %", *rates])
    common.write_table(table, right=range(2, 8))
