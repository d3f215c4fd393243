"""Measure decoding with prompt lookup in turn with plain decoding; the digests must be equal.

    .venv/bin/python -m bench.speculation [MODEL.gguf] [--threads 2] [--gen 256] [--pairs 7]

Greedy decoding among eight tokens makes any model repeat itself. At a high temperature over all tokens it does not, and
draft tokens can only cost time. A figure is the ratio of the medians, with the extremes of the pairs in brackets.
"""

from __future__ import annotations

import argparse
import sys

import flyball
from flyball.engine.options import GenerateKeywords

from .peers import stats

TEXTS: dict[str, GenerateKeywords] = {
    "a text that repeats itself": {"temperature": 0, "logit_bias": dict.fromkeys(range(300, 308), 100.0)},
    "a text that does not": {"temperature": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="draft tokens beside plain decoding")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--threads", type=int, default=0, help="0: one per processor")
    parser.add_argument("--gen", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    model = flyball.Model.load(args.model, threads=args.threads, prefix_cache_mb=0)
    for name, keywords in TEXTS.items():
        pairs = []  # seconds: plain, with draft tokens
        for pair in range(args.pairs):
            results = {}
            for how in ["off", "auto"] if pair % 2 == 0 else ["auto", "off"]:
                options: GenerateKeywords = {**keywords, "speculate": how, "ignore_eos": True}
                results[how] = model.generate("Once upon a time", args.gen, **options)
            if results["off"].digest != results["auto"].digest:
                sys.exit(f"{name}: the digests differ: {results['off'].digest}, {results['auto'].digest}")
            pairs.append((results["off"].metrics.decode.seconds, results["auto"].metrics.decode.seconds))
        gain = stats.ratio(pairs)
        found = results["auto"].metrics.speculation
        print(
            f"{name}: {gain.median:.2f} x plain ({gain.low:.2f} to {gain.high:.2f}), "
            f"{found.accepted} of {found.drafted} draft tokens accepted, "
            f"digest {results['auto'].digest[:12]} both ways",
            flush=True,
        )


if __name__ == "__main__":
    main()
