"""`flyball bench`: speed of prefill and decode, counted in cycles, one row per thread count."""

from __future__ import annotations

import argparse
import statistics
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import _core
from ..errors import ContextFull, InvalidArgument
from ..model import Model, demo_model_path
from ..results import Phase
from ..session import Session
from . import common

_PROBE_BYTES = 512 << 20  # larger than the caches of common servers' cores, so that it measures memory
_SMALLEST_PROBE = 64 << 20


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
    read_bandwidth_gb_s: float
    decode_bandwidth_share: float | None  # None: weights that fit in the caches are not read from memory


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
    parser.add_argument("--batch", type=int, default=512, metavar="N", help="prompt tokens per transformer call")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="measurements of each (default: 5)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Measure every thread count and print the rows."""
    for name, least in (("prompt", 1), ("gen", 1), ("depth", 0), ("repeat", 1), ("batch", 1)):
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
    with Model.load(path, isa=args.isa, threads=threads, context=context, cache=args.kv, progress=progress) as model:
        progress.clear()
        info = model.info
        if context > info.context_length:
            raise ContextFull(
                "--prompt, --gen, --depth", f"need {context} positions, the model has {info.context_length}"
            )
        session = model.session()
        prompt = _ids(info.n_vocab, args.prompt)
        cached = _ids(info.n_vocab, max(args.depth, 1))
        prefills, decodes, bandwidth = [], [], 0.0
        probe_bytes = max(_SMALLEST_PROBE, min(_PROBE_BYTES, 2 * info.weight_bytes))
        for turn in range(args.repeat + 1):  # the first of each only warms up
            prefill = _prefill(session, prompt, args.batch)
            decode = _decode(session, cached, args.gen, args.batch)
            bandwidth = max(bandwidth, _core.read_bandwidth(probe_bytes, threads, 2))  # beside it: machines vary
            if turn:
                prefills.append(prefill)
                decodes.append(decode)
        n_bytes = info.weight_bytes + info.cache_bytes(len(cached) + args.gen // 2, args.kv)
        decode_rates, prefill_rates = _rates(decodes), _rates(prefills)
        decode_rate = statistics.median(decode_rates)
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
            prefill_cycles_per_token=statistics.median(p.cycles / p.tokens for p in prefills),
            decode_cycles_per_token=statistics.median(d.cycles / d.tokens for d in decodes),
            load_ms=info.model_select_ms + info.model_prepare_ms,
            rss_mb=_resident_bytes() / 1e6,
            decode_bytes_per_token=n_bytes,
            read_bandwidth_gb_s=bandwidth / 1e9,
            decode_bandwidth_share=n_bytes * decode_rate / bandwidth if n_bytes >= _SMALLEST_PROBE else None,
        )


def _prefill(session: Session, prompt: list[int], batch: int) -> Phase:
    session.reset()
    return session.generate(prompt, 1, temperature=0, batch=batch, ignore_eos=True).metrics.prefill


def _decode(session: Session, cached: list[int], n: int, batch: int) -> Phase:
    session.reset()
    return session.generate(cached, n + 1, temperature=0, batch=batch, ignore_eos=True).metrics.decode


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
        share = "fits in the cache"
        if row.decode_bandwidth_share is not None:
            share = f"{100 * row.decode_bandwidth_share:.0f} % of {row.read_bandwidth_gb_s:.1f} GB/s"
        numbers = (row.prefill_cycles_per_token, row.decode_cycles_per_token, row.load_ms, row.rss_mb)
        speeds = [f"{row.prefill_tok_s:,.1f}", f"{row.decode_tok_s:,.1f}"]
        table.append([row.isa, str(row.threads), *speeds, *(common.rate(n) for n in numbers), share])
    common.write_table(table, right=range(1, 8))
