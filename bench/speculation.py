"""Decoding with guesses from the text so far beside plain decoding, in turn, with equal digests or not at all.

    .venv/bin/python bench/speculation.py [MODEL.gguf] [--threads 2] [--gen 256] [--pairs 7]

Greedy decoding that may not end falls into a text that repeats itself; drawn at a high temperature it does not, and
guessing can only cost. A figure is the ratio of the medians, with the extremes of the single pairs in brackets.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import flyball

TEXTS = {"a text that repeats itself": 0.0, "a text that does not": 2.0}  # temperatures


def decode(model: flyball.Model, speculate: str, args: argparse.Namespace, temperature: float) -> flyball.Result:
    return model.generate(
        "Once upon a time", args.gen, temperature=temperature, seed=1, ignore_eos=True, speculate=speculate
    )


def seconds(result: flyball.Result) -> float:
    return result.metrics.decode.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="guessed tokens beside plain decoding")
    parser.add_argument("model", nargs="?", default=str(flyball.demo_model_path()))
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--gen", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=7)
    args = parser.parse_args()
    model = flyball.Model.load(args.model, threads=args.threads, prefix_cache_mb=0)
    for name, temperature in TEXTS.items():
        plain, guessed = [], []
        for pair in range(args.pairs):
            order = ["off", "auto"] if pair % 2 == 0 else ["auto", "off"]
            results = {how: decode(model, how, args, temperature) for how in order}
            if results["off"].digest != results["auto"].digest:
                sys.exit(f"{name}: the digests differ: {results['off'].digest}, {results['auto'].digest}")
            plain.append(seconds(results["off"]))
            guessed.append(seconds(results["auto"]))
        gain = statistics.median(plain) / statistics.median(guessed)
        single = [p / g for p, g in zip(plain, guessed, strict=True)]
        found = results["auto"].metrics.speculation
        print(
            f"{name}: {gain:.2f} x plain ({min(single):.2f} to {max(single):.2f}), "
            f"{args.gen / statistics.median(guessed):,.1f} tok/s; {found.accepted} of {found.drafted} guesses right, "
            f"digest {results['auto'].digest[:12]} both ways",
            flush=True,
        )


if __name__ == "__main__":
    main()
