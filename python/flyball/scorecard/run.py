"""A run: warm up, time real prompts, ask every check with every seed, and make the card."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Protocol
from urllib.parse import urlsplit

from ..bench.speed import machine
from ..engine.receipt import Receipt
from ..errors import Unavailable
from .card import Answered, Card, Timed
from .checks import MOST_CHARACTERS, Check, digest_of
from .subjects import Answer, Subject, Usage

_REPEATS = 3
_WARM = "Say 'ready' once."
_ASK_REAL = "Summarize this product pitch in 3 bullet benefits and 1 risk. Keep it under 70 words."
# One for each repeat, as the same one again would be in a prefix cache.
_PITCHES = (
    "Loomlight is a lamp that learns when you read and dims itself when you fall asleep. It runs for nine nights on"
    " one charge, and its shade is woven from flax. It needs no app and no account.",
    "Crumb is a lunch box that tells by its color how long the food stays fresh. A sensor in the lid needs no battery,"
    " and the box may go into the dishwasher. Schools can order it with names on it.",
    "Heron is a folding bicycle trailer for two crates of vegetables. It weighs six kilograms, fits behind a door and"
    " is repaired with one key. Farmers lend it to their customers for a day.",
)
_LONG = (
    "Write a story of about 120 words about a sailor who finds a locked chest.",
    "Write a description of about 120 words of a busy harbor in the morning.",
    "Write a letter of about 120 words from a teacher to her former class.",
)
_TIMED_SEED = 300_000
_WARM_TOKENS, _REAL_TOKENS, _LONG_TOKENS = 16, 128, 192

Keep = Callable[[str, Receipt], object]


class Shown(Protocol):
    """Shows how far a run is."""

    def __call__(self, phase: str, done: int, total: int, /) -> object: ...


def run(
    subject: Subject,
    checks: Sequence[Check],
    n_seeds: int,
    version: str,
    shown: Shown = lambda *_: None,
    keep: Keep = lambda *_: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Card:
    """Ask a subject everything. `keep` gets each receipt with a name that is good for a file."""
    timed = _timed(subject, shown, keep)
    before, start = subject.usage(), clock()
    answers: list[Answered] = []
    total = n_seeds * len(checks)
    for i, check in enumerate(checks):
        for seed in range(check.seed, check.seed + n_seeds):
            shown("checks", len(answers), total)
            answers.append(_answered(check, seed, subject.answer(check.prompt, seed, check.max_tokens), keep))
        if i % 8 == 0:
            subject.usage()  # a server's memory is seen only when it is looked at
    shown("checks", total, total)
    after, seconds = subject.usage(), clock() - start
    about = subject.about
    here = not about.place or urlsplit(about.place).hostname in ("127.0.0.1", "localhost", "::1")
    return Card(
        version=version,
        checks=digest_of(checks),
        n_seeds=n_seeds,
        subject=about,
        hardware=_hardware() if here else "",
        timed=tuple(timed),
        answers=tuple(answers),
        peak_bytes=after.peak_bytes,
        processor_percent=_percent(before, after, seconds),
    )


def _timed(subject: Subject, shown: Shown, keep: Keep) -> list[Timed]:
    real = [f"{pitch}\n\n{_ASK_REAL}" for pitch in _PITCHES]
    plan = [
        *[("cold", _WARM, _WARM_TOKENS)],
        *[("warm", _WARM, _WARM_TOKENS)] * _REPEATS,
        *[("real", prompt, _REAL_TOKENS) for prompt in real],
        *[("long", prompt, _LONG_TOKENS) for prompt in _LONG],
    ]
    found = []
    for i, (kind, prompt, max_tokens) in enumerate(plan):
        shown("timing", i, len(plan))
        answer = subject.answer(prompt, _TIMED_SEED + i, max_tokens)
        if not answer.failure:  # a prompt that does not fit has no time
            digest = _kept(f"timing-{i}-{kind}", answer, keep)
            found.append(Timed(kind, answer.first_s, answer.seconds, answer.tokens, digest))
    return found


def _answered(check: Check, seed: int, answer: Answer, keep: Keep) -> Answered:
    why = answer.failure or check.judge(answer.text).why
    text = answer.text[: MOST_CHARACTERS + 1].encode(errors="replace").decode()
    digest = _kept(f"{check.id}-{seed}", answer, keep)
    return Answered(check.id, check.group, seed, why, text, answer.tokens, digest)


def _kept(name: str, answer: Answer, keep: Keep) -> str | None:
    if answer.receipt is None:
        return None
    keep(name, answer.receipt)
    return answer.receipt.digest


def _percent(before: Usage, after: Usage, seconds: float) -> float | None:
    if before.processor_s is None or after.processor_s is None or seconds <= 0:
        return None
    if after.processor_s < before.processor_s:
        raise Unavailable("server", "began again during the run; its answers are not of one process")
    return 100 * (after.processor_s - before.processor_s) / seconds


def _hardware() -> str:
    found = machine()
    return f"{found['processor']}, {found['n_processors']} processors"
