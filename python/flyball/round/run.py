"""A round: its parts in turn. What becomes of one of them is told on the page and does not end the round."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from ..errors import Error
from ..load.process import Server
from . import parts, process, receipts
from .parts import Part
from .plan import KEY_ENV, Round, Step
from .process import Ended
from .receipts import Answers

_LIMIT, _LEAST_LIMIT_S = 3.0, 60.0  # times the expected time, after which a command is ended


class Tell(Protocol):
    """Shows what runs, for how many seconds, and how many the round is expected to have left."""

    def __call__(self, title: str, passed: float, left: float, /) -> object: ...


class Commands:
    """Runs commands, and remembers what became of them and which answers they left."""

    def __init__(self, of: Round, tell: Tell) -> None:
        self.of, self.tell = of, tell
        self.ended: list[Ended] = []
        self.answers: list[Answers] = []
        self._share = 0.0  # of the round's time, that what has ended was expected to take

    def run(self, step: Step, key: str = "") -> Ended:
        """Run one. `key`: the API key of the server under load."""
        expected = step.share * self.of.sizes.seconds
        limit = max(_LEAST_LIMIT_S, _LIMIT * expected)
        left = (1 - self._share) * self.of.sizes.seconds * self._pace

        def shown(passed: float) -> None:
            self.tell(step.title, passed, max(0.0, left - min(passed, expected * self._pace)))

        output = self.of.folder / "output" / f"{step.name}.txt"
        ended = process.run(step, output, limit, shown, {KEY_ENV: key})
        self.ended.append(ended)
        self._share += step.share
        return ended

    def checking(self, done: float) -> None:
        """Show that receipts are computed again, of which this share is done."""
        left = (1 - self._share) * self.of.sizes.seconds * self._pace
        self.tell("receipts", done * left, (1 - done) * left)

    @property
    def _pace(self) -> float:
        """What took place over what was expected: a busy machine is slower."""
        spent = sum(each.seconds for each in self.ended)
        return spent / (self._share * self.of.sizes.seconds) if self._share else 1.0


def run(of: Round, tell: Tell) -> list[Part]:
    """Run all parts. One that fails has its reason; after Ctrl-C the others have that one."""
    commands = Commands(of, tell)
    found: list[Part] = []
    stopped = False
    for title, judge in _PARTS:
        if stopped:
            found.append(Part.without(title, "did not run: the round was stopped"))
            continue
        before, start = len(commands.ended), time.monotonic()
        try:
            part = judge(title, commands)
        except KeyboardInterrupt:
            stopped, part = True, Part.without(title, "was stopped")
        except (Error, OSError) as error:
            part = Part.without(title, _why(commands.ended[before:], str(error)))
        except Exception as error:  # a defect, which must not take the other parts' results with it
            part = Part.without(title, f"internal error, {type(error).__name__}: {error}: report it")
        found.append(part.after(commands.ended[before:], time.monotonic() - start))
    return found


def _why(ended: list[Ended], otherwise: str) -> str:
    """Why a part has no results: a command that ended without a verdict says it best."""
    return next((each.why_not for each in ended if each.code not in (0, 1)), otherwise)


def _service_levels(title: str, commands: Commands) -> Part:
    of = commands.of
    known = parts.known_runs(of)
    commands.run(of.scenarios())
    new = parts.new_run(of, known)
    commands.answers.append(receipts.of_scenarios(new, of))
    return parts.service_levels(title, of, new)


def _pilot(title: str, commands: Commands) -> Part:
    of = commands.of
    commands.run(of.live())
    stub = of.stub()
    commands.answers.append(receipts.of_pilot(of))
    commands.run(stub)
    return parts.pilot(title, of)


def _load(title: str, commands: Commands) -> Part:
    of, key = commands.of, secrets.token_urlsafe(24)
    words = (*((of.model,) if of.model else ()), "--set", f"serve.store={receipts.store_of(of)}")
    of.load.mkdir(parents=True, exist_ok=True)
    with Server.started(*words, key=key) as server:
        commands.run(of.under_load(server.url), key)
    commands.answers.append(receipts.of_load(of))
    return parts.load(title, of)


def _scorecard(title: str, commands: Commands) -> Part:
    of = commands.of
    commands.run(of.scorecard())
    commands.answers.append(receipts.of_scorecard(of))
    return parts.scorecard(title, of)


def _receipts(title: str, commands: Commands) -> Part:
    return receipts.check(title, commands.of, commands.answers, commands.checking)


_PARTS: tuple[tuple[str, Callable[[str, Commands], Part]], ...] = (
    ("Service levels", _service_levels),
    ("Pilot", _pilot),
    ("Load", _load),
    ("Scorecard", _scorecard),
    ("Receipts", _receipts),
)
