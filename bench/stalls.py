"""Measure how long running streams wait for each token while a long prompt is computed beside them.

    .venv/bin/python -m bench.stalls MODEL.gguf [--streams 4] [--prompt 16384] [--threads 0] [--alone 0] [--cpu]

Streams run alone for a while, and then beside the prompt until it has its first token. Of both the gaps between two
tokens of a stream are given, and the prompt's time beside the streams against its time alone. All tokens must be those
of the answers alone.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence

import flyball

clock = time.perf_counter
_SHARES = 0.5, 0.99
_GAPS = 100  # of each stream, before the prompt comes and after it


def at(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Streams:
    """Streams that run until they are stopped; `gaps` are those since the last clear()."""

    def __init__(self, model: flyball.Model, n: int) -> None:
        self.gaps: list[float] = []
        self.tokens: list[list[int]] = [[] for _ in range(n)]
        self._tasks = [asyncio.create_task(self._run(model, i)) for i in range(n)]

    async def _run(self, model: flyball.Model, i: int) -> None:
        last = 0.0
        async with model.astream([i + 1], 1 << 20, seed=i, ignore_eos=True) as stream:
            async for piece in stream:
                now = clock()
                if last:
                    self.gaps.append(now - last)
                last = now
                assert piece.token is not None
                self.tokens[i].append(piece.token)

    async def wait_for(self, n_gaps: int) -> list[float]:
        """The next gaps, so many of each stream."""
        self.gaps.clear()
        while len(self.gaps) < n_gaps * len(self._tasks):
            await asyncio.sleep(0.05)
        return list(self.gaps)

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()


async def measure(model: flyball.Model, args: argparse.Namespace) -> None:
    ids = [(7919 * i * i + 31 * i) % model.info.n_vocab for i in range(args.prompt)]
    streams = Streams(model, args.streams)
    await streams.wait_for(20)
    quiet = await streams.wait_for(_GAPS)
    streams.gaps.clear()
    start = clock()
    beside = await model.agenerate(ids, 1, ignore_eos=True)
    prompt_seconds = clock() - start
    busy = list(streams.gaps)
    afterwards = await streams.wait_for(_GAPS)
    streams.stop()
    # The streams grow deeper meanwhile, so what they would do alone lies between before and afterwards.
    usual = [(at(quiet, share) + at(afterwards, share)) / 2 for share in _SHARES]
    for name, gaps in (("before", quiet), ("beside", busy), ("afterwards", afterwards)):
        found = [at(gaps, share) for share in _SHARES]
        times = ", ".join(f"p{100 * share:.0f} {1e3 * gap:.1f} ms" for share, gap in zip(_SHARES, found, strict=True))
        ratios = " and ".join(f"{gap / mean:.2f}" for gap, mean in zip(found, usual, strict=True))
        print(
            f"{name:>10}: {len(gaps)} gaps, {times}, most {1e3 * max(gaps):.1f} ms; {ratios} times those alone",
            flush=True,
        )
    alone_seconds = args.alone
    if not alone_seconds:
        start = clock()
        alone = model.generate(ids, 1, ignore_eos=True, prefix_root=b"alone")
        alone_seconds = clock() - start
        if alone.digest != beside.digest:
            sys.exit(f"the digests differ: {beside.digest}, {alone.digest}")
    print(
        f"prompt of {args.prompt}: {prompt_seconds:.1f} s beside, {alone_seconds:.1f} s alone, "
        f"{prompt_seconds / alone_seconds:.2f} times as long",
        flush=True,
    )
    for i, tokens in enumerate(streams.tokens):
        if model.generate([i + 1], len(tokens), seed=i, ignore_eos=True, known=tokens).tokens != tuple(tokens):
            sys.exit(f"stream {i} is another answer than alone")


def main() -> None:
    global clock
    parser = argparse.ArgumentParser(description="running streams while a long prompt is computed")
    parser.add_argument("model")
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--prompt", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=0, help="0: one per processor")
    parser.add_argument("--alone", type=float, default=0, help="seconds of the prompt alone, if they are known")
    parser.add_argument("--cpu", action="store_true", help="processor time, for a busy machine; with --threads 1")
    args = parser.parse_args()
    if args.cpu:
        clock = time.process_time
    context = args.prompt + 4096
    with flyball.Model.load(args.model, threads=args.threads, prefix_cache_mb=0, context=context) as model:
        asyncio.run(measure(model, args))


if __name__ == "__main__":
    main()
