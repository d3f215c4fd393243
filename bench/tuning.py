"""Compare the thread counts that tune() chooses with an exhaustive search over the same candidates.

    python -m bench.tuning [MODEL...] [--rounds 9]

All thread counts decode and prefill in turn in every round; the choice's median is compared with the best one.
"""

from __future__ import annotations

import argparse
import statistics
import sys

import flyball

GEN, PROMPT = 48, 128


def main() -> None:
    """Measure and print; exit code 1 where a choice is more than 5 % off."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[flyball.demo_model_path()])
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    worst = 0.0
    for path in args.models:
        with flyball.Model.load(path, context=512) as model:
            tuned = model.tune()
            counts = [threads for threads, _, _ in tuned.candidates] or [1]
            costs = _costs(model, counts, args.rounds)
        for name, chosen in (("decode", tuned.decode_threads), ("prefill", tuned.threads)):
            medians = {n: statistics.median(costs[name, n]) for n in counts}
            off = 100 * (medians[chosen] / min(medians.values()) - 1)
            worst = max(worst, off)
            shown = ", ".join(f"{n}: {1e3 * seconds:.3f} ms" for n, seconds in medians.items())
            print(f"{path} {name}: chose {chosen}, {off:.1f} % off the best of {shown}")
        print(f"  {tuned.probes} probes in {tuned.seconds:.2f} s")
    sys.exit(worst > 5)


def _costs(model: flyball.Model, counts: list[int], rounds: int) -> dict[tuple[str, int], list[float]]:
    """Seconds of a decode step and of a prompt token."""
    sessions = {n: model.session(threads=n, decode_threads=n) for n in counts}
    costs: dict[tuple[str, int], list[float]] = {(name, n): [] for name in ("decode", "prefill") for n in counts}
    for turn in range(rounds + 1):
        for n, session in sessions.items():
            session.reset()
            prompt = [3 + (turn * 31 + i * 7) % 200 for i in range(PROMPT)]  # a new prompt, so that no prefix is cached
            metrics = session.generate(prompt, GEN, ignore_eos=True, speculate="off").metrics
            if turn:  # the first one is the warm-up
                costs["decode", n].append(metrics.decode.seconds / metrics.decode.tokens)
                costs["prefill", n].append(metrics.prefill.seconds / metrics.prefill.tokens)
    return costs


if __name__ == "__main__":
    main()
