"""What the governor is worth on a machine that is sometimes busy: the same answers by turns without it, with all of it,
and with its free knob (threads) alone.

    python -m bench.governed [MODEL] [--turns 300] [--tokens 100] [--journal FILE]

A neighbour process holds a processor during every second block of turns. The budget is a turn's time on the quiet
machine and a half; the guard's limit is nine tenths of it, since a process that is put aside looks at no clock. Prints
the share of turns that kept the budget, how many tokens they gave, and what the journal says. Exit code 0: its replay
holds, and it has the whole arc, from the baseline over tightening and safe mode back to what was asked for.
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
BLOCK = 25  # turns in a row with or without a neighbour


@dataclass
class Turns:
    """One kind of session, and how its turns went: seconds and tokens, busy or not."""

    session: flyball.Session
    seconds: dict[bool, list[float]] = field(default_factory=lambda: {False: [], True: []})
    tokens: dict[bool, list[int]] = field(default_factory=lambda: {False: [], True: []})

    def take(self, n: int, busy: bool) -> None:
        """One answer."""
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
                neighbour = _neighbour(turn // BLOCK % 2 == 1)
            for kind in (plain, governed, free) if turn % 2 else (free, governed, plain):
                kind.take(args.tokens, neighbour is not None)
            if neighbour is not None and turn % BLOCK == BLOCK - 1:
                neighbour.kill()
    print(f"budget {1e3 * budget:.1f} ms for {args.tokens} tokens; {args.turns} turns each, blocks of {BLOCK}")
    for name, kind in (("ungoverned", plain), ("governed", governed), ("threads", free)):
        for busy in (False, True):
            print(f"{name:10} {'busy' if busy else 'quiet':5}", _row(kind, busy, budget))
    events = list(journal.read(file))
    report = replay(events)
    opened = (event for event in events if event.reason_id == "SESSION_OPENED")
    guarded = next(event.session for event in opened if event.data["governor"]["guard.mode"] == "on")
    arc = _arc(event for event in events if event.session == guarded)
    print(f"journal {file}: {report.n_decisions} decisions, replay {'holds' if report.verified else 'DOES NOT HOLD'}")
    print("arc" if len(arc) == len(ARC) else f"arc, of which {len(ARC) - len(arc)} are missing:")
    for event in arc:
        print(f"{event.turn:6} {event.reason_id}")
    for reason, n in Counter(event.reason_id for event in events if event.is_decision).most_common():
        print(f"{n:6} {reason}")
    sys.exit(0 if report.verified and len(arc) == len(ARC) else 1)


def _arc(events: Iterable[Event]) -> list[Event]:
    """The first event of each of ARC that comes after the one before."""
    found: list[Event] = []
    for event in events:
        if len(found) < len(ARC) and re.fullmatch(ARC[len(found)], event.reason_id):
            found.append(event)
    return found


def _neighbour(wanted: bool) -> subprocess.Popen[bytes] | None:
    return subprocess.Popen([sys.executable, "-c", "while True: pass"]) if wanted else None


def _row(turns: Turns, busy: bool, budget: float) -> str:
    seconds, tokens = turns.seconds[busy], turns.tokens[busy]
    if not seconds:
        return "no turns"
    held = sum(s <= budget for s in seconds)
    return (
        f"within budget {held} of {len(seconds)} ({100 * held / len(seconds):.1f} %),"
        f" median {1e3 * statistics.median(seconds):.1f} ms, longest {1e3 * max(seconds):.1f} ms,"
        f" tokens {statistics.mean(tokens):.1f}"
    )


if __name__ == "__main__":
    main()
