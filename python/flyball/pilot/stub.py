"""The stub: answers from a live record, in no time, in the recorded time, or with a delay for each agent."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .. import files
from ..engine.receipt import Receipt
from ..errors import FormatError, InvalidArgument, NotFound
from ..scorecard.subjects import About
from .agents import NAMES
from .models import Clock, Question, Reply
from .record import Call, Record, receipt_file
from .scene import SCENE
from .split import Split

_MOST_MS = 600_000


@dataclass(frozen=True)
class Times:
    """How long the stub waits. `recorded`: as long as the live model took; `added_ms`: by agent, beside that."""

    recorded: bool = False
    added_ms: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, recorded: bool, added: str) -> Times:
        """From `event=250,judge=3000`, or one number for all agents."""
        if not added:
            return cls(recorded)
        pairs = [part.strip().partition("=") for part in added.split(",")]
        if len(pairs) == 1 and not pairs[0][1]:
            return cls(recorded, dict.fromkeys(NAMES, _delay(pairs[0][0])))
        for name, _, _ in pairs:
            if name not in NAMES:
                raise InvalidArgument("--delay", f"has {name[:40]!r}, must be agents: {', '.join(NAMES)}")
        if len({name for name, _, _ in pairs}) != len(pairs):
            raise InvalidArgument("--delay", "has an agent twice")
        return cls(recorded, {name: _delay(value) for name, _, value in pairs})


class Stub:
    """One agent's answers. `about`: of the model that gave them."""

    def __init__(
        self,
        about: About,
        calls: Mapping[int, Call],
        wait: Times,
        clock: Clock = time.perf_counter,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.about = about
        self._calls, self._wait, self._clock, self._sleep = calls, wait, clock, sleep

    def ask(self, question: Question) -> Reply:
        """The recorded answer, if the question is the recorded one."""
        start = self._clock()
        where = f"turn {question.turn}, {question.agent}"
        call = self._calls.get(question.turn)
        if call is None:
            raise InvalidArgument(where, "is not in the record; --turns asks for more than it has")
        if call.question != question.sha256:
            raise FormatError(where, "asks what the record was not asked; record the live model again")
        split = call.split if self._wait.recorded else Split()
        added = self._wait.added_ms.get(question.agent, 0.0)
        if waited := split.model + split.io + split.queue + added:
            self._sleep(waited / 1e3)
        total = 1e3 * (self._clock() - start)
        took = Split.within(total, split.model + added, split.io, split.queue)
        return Reply(call.text, call.tokens, took, call.digest)


def read(path: Path) -> tuple[Record, str]:
    """The record of a live run and its SHA-256. Its answers are those of the receipts beside it, which are checked."""
    record = Record.load(path)
    if record.mode != "live":
        raise InvalidArgument(str(path), "is a stub's record; the stub replays the record of a live run")
    if record.scene != SCENE:
        raise FormatError(str(path), "is of another scene than this version's; record the live model again")
    for (turn, agent), call in record.calls.items():
        if call.digest is not None:
            _check(path.parent / receipt_file(call.digest), call, record.models[agent], f"{path}: turn {turn}, {agent}")
    return record, hashlib.sha256(files.read(path, 64 << 20)).hexdigest()


def newest(folder: Path) -> Path:
    """The newest live record of a folder."""
    read_all = [(Record.load(path), path) for path in folder.glob("perf_report_*.json")]
    found = [(record.time, path) for record, path in read_all if record.mode == "live"]
    if found:
        return max(found)[1]
    raise NotFound(
        str(folder), "has no record of a live run; flyball pilot run --live makes one for the stub to replay"
    )


def stubs(
    record: Record,
    wait: Times,
    clock: Clock = time.perf_counter,
    sleep: Callable[[float], object] = time.sleep,
) -> dict[str, Stub]:
    """A stub for each agent."""
    of_agent: dict[str, dict[int, Call]] = {name: {} for name in NAMES}
    for (turn, agent), call in record.calls.items():
        of_agent[agent][turn] = call
    return {name: Stub(record.models[name], calls, wait, clock, sleep) for name, calls in of_agent.items()}


def _check(path: Path, call: Call, about: About, where: str) -> None:
    receipt = Receipt.load(path)
    if receipt.digest != call.digest:
        raise FormatError(str(path), "is the receipt of another answer")
    if call.text.strip() not in str(receipt.get("text", "")):
        raise FormatError(where, "has another text than its receipt")
    if about.fingerprint not in ("", receipt.fingerprint):
        raise FormatError(where, "has the receipt of another model")


def _delay(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= _MOST_MS:
        raise InvalidArgument("--delay", f"has {text[:40]!r}, must be milliseconds up to {_MOST_MS}")
    return value
