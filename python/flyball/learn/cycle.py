"""One round of learning: what was approved becomes an adapter that has to pass its gate.

Each step is one of our own commands, in a process of its own, and is noted when it is done: a round that was ended goes
on where it was, and a data set that went through all steps is never trained on again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from .. import files
from ..bench.markdown import plain
from ..errors import FormatError, NotFound
from ..paths import AnyPath
from ..reliability.lock import locked
from ..store import Project
from .dataset import DataSet, build

_STATE, _TRAIN, _HELD_OUT, _STAYS, _REPORT = "cycle.json", "train.jsonl", "held_out.jsonl", "stays.jsonl", "report.md"
_MOST_BYTES = 16 << 20
_NAME = 12  # digits of the data's digest in an adapter's name
_VERDICTS = {0: "pass", 1: "fail", 2: "undecided"}


class Said(NamedTuple):
    """A command's exit code, the JSON that it printed (None: none), and its last line of error."""

    code: int
    output: Any
    error: str


Command = Callable[[Sequence[str]], Said]


@dataclass(frozen=True)
class Plan:
    """What a round is told.

    least     examples that are needed to begin
    share     percent of the requests that an adapter gets as a canary once it has passed; 0: all
    common    words for each command that uses the store: project, settings
    model     words that name the model
    stays     a file of questions whose answers must stay, beside what users found good
    gate      more words for the gate
    """

    least: int = 10
    share: int = 10
    common: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    stays: AnyPath | None = None
    gate: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a round ended: `state` is waiting, pass, fail or undecided; `report` is its page, None while it waits."""

    state: str
    message: str
    adapter: str | None = None
    report: Path | None = None


def run(project: Project, home: Path, plan: Plan, command: Command, tell: Callable[[str], object]) -> Outcome:
    """Run a round in its folder `home`. Raises InUse where another one runs, and Error where a step cannot be done."""
    with locked(home / "lock", "another flyball learn cycle"):
        data = build(project.examples.all())
        if (lacking := _lacking(data, plan.least)) is not None:
            return Outcome("waiting", lacking)
        return _Round(project, home, plan, command, tell, data).run()


def _lacking(data: DataSet, least: int) -> str | None:
    if (n := len(data.train)) < least:
        return f"{n} approved examples can be trained on of {least} that are needed: see flyball feedback analyze"
    if not data.held_out:
        return "no example is held out, so that nothing could be proved: flyball feedback hold-out ID"
    return None


class _Round:
    def __init__(
        self, project: Project, home: Path, plan: Plan, command: Command, tell: Callable[[str], object], data: DataSet
    ) -> None:
        self._project = project
        self._plan = plan
        self._command = command
        self._tell = tell
        self._data = data
        self._home = home
        self._folder = home / data.digest[:16]
        self._state = self._read()

    def run(self) -> Outcome:
        known = self._state.get("verdict")
        if known in ("pass", "fail"):
            what = f"nothing new was approved since adapter {self._state['adapter'][:16]}: {known}"
            return Outcome("waiting", what, self._state["adapter"])
        self._data.save(self._folder / _TRAIN, self._folder / _HELD_OUT)
        files.write(self._folder / _STAYS, self._stays())
        folder = self._once("folder", self._train)
        adapter = self._once("adapter", lambda: self._add(folder))
        verdict, judged = self._gate(adapter)
        if verdict == "pass":
            share = () if self._plan.share == 0 else ("--share", str(self._plan.share))
            self._done("promote", ("adapters", "promote", adapter, *share))
        self._note("verdict", verdict)
        message = str(judged["verdict"]["message"])
        report = files.write(self._folder / _REPORT, self._page(adapter, verdict, judged))
        return Outcome(verdict, message, adapter, report)

    def _once(self, name: str, step: Callable[[], str]) -> str:
        """What a step gave, done now or before."""
        if name not in self._state:
            self._note(name, step())
        return str(self._state[name])

    def _train(self) -> str:
        words = ["train", "--data", str(self._folder / _TRAIN), "--held-out", str(self._folder / _HELD_OUT)]
        words += [*self._plan.model, *self._plan.common]
        was_begun = self._state.get("training", False)
        self._note("training", True)
        self._tell("training")
        said = self._command([*words, "--resume"]) if was_begun else None
        if said is None or (said.code and "does not exist" in said.error):  # it was ended before its first checkpoint
            said = self._command(words)
        return str(_output("train", said)["folder"])

    def _add(self, folder: str) -> str:
        name = f"learned-{self._data.digest[:_NAME]}"
        shown = self._command(("adapters", "show", Path(folder).name, *self._plan.common))
        if shown.code == 0:  # the round was ended before it could note that
            return str(shown.output["digest"])
        words = ("adapters", "add", folder, "--name", name, *self._plan.model)
        return str(self._done("add", words)["digest"])

    def _gate(self, adapter: str) -> tuple[str, Any]:
        self._tell("gate")
        words = ["adapters", "gate", adapter, "--held-out", str(self._folder / _HELD_OUT)]
        words += ["--stays", str(self._folder / _STAYS), *self._plan.gate, *self._plan.model, *self._plan.common]
        said = self._command(words)
        if said.output is None:
            raise FormatError("adapters gate", said.error or f"ended with exit code {said.code}")
        return _VERDICTS[said.code], said.output

    def _done(self, name: str, words: Sequence[str]) -> Any:
        self._tell(name)
        return _output(name, self._command((*words, *self._plan.common)))

    def _stays(self) -> bytes:
        """Answers that users found good, and the plan's own questions."""
        trained = {each.question_key for each in self._data.train}
        good = (each for each in self._project.examples.all(["approved", "proposed"]) if each.kind == "good")
        lines = [
            json.dumps({"id": f"good-{each.id}", **_asked(each.question), "answer": each.answer}, ensure_ascii=False)
            for each in good
            if each.answer and each.question_key not in trained
        ]
        text = "".join(line + "\n" for line in lines).encode("utf-8", "replace")
        own = b"" if self._plan.stays is None else files.read(self._plan.stays, _MOST_BYTES)
        if not text and not own.strip():
            what = "nothing says which answers must stay: rate answers good, or give --stays FILE"
            raise NotFound("stays", what)
        return text + own

    def _page(self, adapter: str, verdict: str, judged: Any) -> str:
        found = judged["verdict"]["evidence"]
        read = [
            f"| {plain(name)} | {plain(before)} | {plain(now)} |" for name, (before, now) in found["changed"].items()
        ]
        changed = ["", "| safety prompt | without | with |", "|---|---|---|", *read] if read else []
        rows = [
            f"# Adapter {adapter[:16]}: {verdict}",
            "",
            plain(str(judged["verdict"]["message"])) + ".",
            "",
            "| | |",
            "|---|---|",
            f"| data | {len(self._data.train)} examples, digest {self._data.digest[:16]} |",
            f"| held out | {found['wins']} wins, {found['losses']} losses, {found['ties']} ties |",
            f"| stay | {found['kept']} of {found['of']} |",
            f"| evidence that it is better | {found['e_better']:g}; {found['e_limit']:g} promotes |",
            f"| state | {judged['state']}, before promotion |",
            *changed,
        ]
        return "\n".join(rows) + "\n"

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(files.read(self._folder / _STATE, _MOST_BYTES))
        except NotFound:
            return {}
        except ValueError:
            raise FormatError(str(self._folder / _STATE), "is damaged; delete it, and the round begins again") from None
        return found if isinstance(found, dict) else {}

    def _note(self, name: str, value: object) -> None:
        self._state[name] = value
        files.write(self._folder / _STATE, json.dumps(self._state, indent=2) + "\n")


def _output(step: str, said: Said) -> Any:
    if said.code or said.output is None:
        raise FormatError(step, said.error or f"ended with exit code {said.code}")
    return said.output


def _asked(question: str) -> dict[str, Any]:
    asked = json.loads(question)
    return {"prompt": asked} if isinstance(asked, str) else {"messages": asked}
