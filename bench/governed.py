"""Measure the governor's benefit on a machine that is sometimes busy: the same answers in turn without it, with all of
it, and with its free knob (threads) only.

    python -m bench.governed [MODEL] [--turns 300] [--tokens 100] [--journal FILE]

A second process keeps a processor busy during every second block of turns. The budget is 1.5 times a turn's time on
the quiet machine; the guard's limit is 0.9 times the budget, since a preempted process checks no clock. Prints the
share of turns within the budget, their tokens, and the journal's decisions. Exit code 0: the journal's replay is
verified, and it has the whole sequence ARC, from the baseline over tightening and safe mode back to the requested
settings.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import flyball
from flyball import journal
from flyball.journal.events import Event
from flyball.journal.replay import replay

ARC = (
    "AUTOTUNE_CALIBRATED",
    "AUTOTUNE_TIGHTEN",
    r"GUARD_\w+_STOP",
    "GUARD_SAFE_ENTERED",
    "GUARD_SAFE_EXITED",
    "AUTOTUNE_RELAX",
)
BLOCK = 25  # turns in a row with or without the busy process


@dataclass
class Turns:
    """One kind of session, with seconds and tokens of its turns, by whether the machine was busy."""

    session: flyball.Session
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    tokens: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})

    def take(self, n: int, busy: bool) -> None:
        """Generate and time one answer."""
        begin = time.perf_counter()
        result = self.session.generate("Once upon a time", n, ignore_eos=True, speculate="off")
        self.seconds[busy].append(time.perf_counter() - begin)
        self.tokens[busy].append(len(result.tokens))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default=flyball.demo_model_path())
    parser.add_argument("--turns", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--journal", type=Path)
    args = parser.parse_args()
    file = args.journal or Path(tempfile.mkdtemp()) / "governed.jsonl"
    with flyball.Journal(file) as kept, flyball.Model.load(args.model, journal=kept) as model:
        plain = Turns(model.session())
        for _ in range(20):
            plain.take(args.tokens, False)
        budget = 1.5 * statistics.median(plain.seconds[False])
        plain.seconds[False].clear()
        plain.tokens[False].clear()
        threads = {"autotune.threads": "on"}
        limits = {"guard.mode": "on", "guard.turn_ms": max(1, round(900 * budget)), "autotune.mode": "on"}
        governed = Turns(model.session(governor=limits | threads))
        free = Turns(model.session(governor=threads))
        for turn in range(args.turns):
            if turn % BLOCK == 0:
                hog = _hog(turn // BLOCK % 2 == 1)
            for kind in (plain, governed, free) if turn % 2 else (free, governed, plain):
                kind.take(args.tokens, hog is not None)
            if hog is not None and turn % BLOCK == BLOCK - 1:
                hog.kill()
    print(f"budget {1e3 * budget:.1f} ms for {args.tokens} tokens; {args.turns} turns each, blocks of {BLOCK}")
    for name, kind in (("ungoverned", plain), ("governed", governed), ("threads", free)):
        for busy in (False, True):
            print(f"{name:10} {'busy' if busy else 'quiet':5}", _row(kind, busy, budget))
    events = list(journal.read(file))
    report = replay(events)
    opened = (event for event in events if event.reason_id == "SESSION_OPENED")
    guarded = next(event.session for event in opened if event.data["governor"]["guard.mode"] == "on")
    arc = _arc(event for event in events if event.session == guarded)
    print(f"journal {file}: {report.n_decisions} decisions, replay {'verified' if report.verified else 'MISMATCH'}")
    print("arc" if len(arc) == len(ARC) else f"arc, of which {len(ARC) - len(arc)} are missing:")
    for event in arc:
        print(f"{event.turn:6} {event.reason_id}")
    for reason, n in Counter(event.reason_id for event in events if event.is_decision).most_common():
        print(f"{n:6} {reason}")
    sys.exit(0 if report.verified and len(arc) == len(ARC) else 1)


def _arc(events: Iterable[Event]) -> list[Event]:
    """The first event of each item of ARC after the event of the previous item."""
    found: list[Event] = []
    for event in events:
        if len(found) < len(ARC) and re.fullmatch(ARC[len(found)], event.reason_id):
            found.append(event)
    return found


def _hog(wanted: bool) -> subprocess.Popen[bytes] | None:
    return subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None


def _row(turns: Turns, busy: bool, budget: float) -> str:
    seconds, tokens = turns.seconds[busy], turns.tokens[busy]
    if not seconds:
        return "no turns"
    within = sum(s <= budget for s in seconds)
    return (
        f"within budget {within} of {len(seconds)} ({100 * within / len(seconds):.1f} %),"
        f" median {1e3 * statistics.median(seconds):.1f} ms, longest {1e3 * max(seconds):.1f} ms,"
        f" tokens {statistics.mean(tokens):.1f}"
    )


if __name__ == "__main__":
    main()
