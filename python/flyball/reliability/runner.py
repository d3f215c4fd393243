"""Runs: the stages in order; each result is on the disk before the next stage begins.

An interrupted run is continued if the same run is requested again, else abandoned.
"""

from __future__ import annotations

import errno
import hashlib
import os
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _core, files
from ..bench.pack import machine
from ..engine.model import Model, demo_model_path
from ..errors import Error, FileError, InvalidArgument, NotFound
from ..evidence.gates import Outcome, inconclusive
from ..paths import expanded
from . import integrity, latch, subject
from .context import PROFILES, Context
from .events import tell
from .history import History, strictness
from .pages import dashboard, report
from .results import Limits, Record, StageResult
from .stages import (
    benchmark,
    coverage,
    curriculum,
    explainability,
    history,
    journals,
    metrics,
    preflight,
    quality,
    reason_drift,
    release,
    scenario,
    self_heal,
    startup,
)
from .store import Store

Stage = Callable[[Context], StageResult]

STAGES: dict[str, Stage] = {
    "preflight": preflight.run,
    "history": history.run,
    "scenario": scenario.run,
    "journals": journals.run,
    "startup": startup.run,
    "metrics": metrics.run,
    "coverage": coverage.run,
    "reason_drift": reason_drift.run,
    "quality": quality.run,
    "self_heal": self_heal.run,
    "curriculum": curriculum.run,
    "benchmark": benchmark.run,
    "explainability": explainability.run,
    "release": release.run,
    "dashboard": dashboard.run,
    "report": report.run,
}
_NEEDED = ("preflight", "scenario")  # all others depend on them
TARGETS = ("host", "qemu")
_TOO_FEW = "_INSUFFICIENT_DATA"
_DISK_FULL = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


class Options:
    """The options of a run."""

    def __init__(
        self,
        artifacts: str | os.PathLike[str] = "artifacts/reliability",
        *,
        target: str = "host",
        profile: str = "quick",
        only: Sequence[str] = (),
        model: str | os.PathLike[str] | None = None,
        config: str | os.PathLike[str] | None = None,
        policy_file: str | os.PathLike[str] | None = None,
        limits: str | os.PathLike[str] | None = None,
        modes: Mapping[str, str] | None = None,
        journals: Sequence[str | os.PathLike[str]] = (),
    ) -> None:
        if target not in TARGETS:
            raise InvalidArgument("target", f"is {target!r}, must be one of: {', '.join(TARGETS)}")
        if profile not in PROFILES:
            raise InvalidArgument("profile", f"is {profile!r}, must be one of: {', '.join(PROFILES)}")
        for stage in only:
            if stage not in STAGES:
                raise InvalidArgument("only", f"is {stage!r}, must be one of: {', '.join(STAGES)}")
        self.store = Store(artifacts)
        self.target = target
        self.profile = PROFILES[profile]
        self.only = tuple(only)
        self.model = _path(model)
        self.config = _path(config)
        self.policy_file = _path(policy_file)
        self.journals = tuple(Path(expanded(journal, "journals")) for journal in journals)
        for journal in self.journals:
            if not journal.is_file():
                raise NotFound(str(journal), "is not a file; --journal takes a journal of flyball")
        self.limits = Limits.read(_path(limits)).with_modes(modes or {}, "--stage")
        for stage, mode in self.limits.stages.items():
            source = self.limits.sources[f"stages.{stage}"]
            if stage not in STAGES:
                raise InvalidArgument(source, f"names {stage!r}, must be one of: {', '.join(STAGES)}")
            if stage in (*_NEEDED, "history") and mode != "fail":
                raise InvalidArgument(source, f"has {mode!r} for {stage}, which all other stages rest on")

    def stages(self) -> list[str]:
        """The stages to run, in order."""
        if self.only:
            return [name for name in STAGES if name in (*_NEEDED, *self.only)]
        wanted = {"release": self.profile.release, "journals": bool(self.journals)}
        return [name for name in STAGES if wanted.get(name, True)]


def run(options: Options, on_result: Callable[[StageResult], object] = lambda result: None) -> Record:
    """Run the stages; returns the record. With `only`, nothing is added to the history."""
    store = options.store
    with store.locked():
        damage, notes = integrity.check(store, store.read())
        tell(store, [])  # what the journal cannot take ends the run, or sets the journal aside, before the work
        latch.record_waiting(options)
        subjects, machine = subjects_of(options), machine_digest()
        plan = {
            "target": options.target,
            "profile": options.profile.name,
            "stages": options.stages(),
            "subjects": subjects,
            "machine": machine,
            "modes": options.limits.stages,
            "journals": [str(journal) for journal in options.journals],
        }
        found, given_up = store.interrupted(plan)
        known = store.read()
        _restore_bounds(options, known)
        context = _context(options, found or store.begin(plan), known, subjects, machine)
        context.damage, context.notes = [str(each) for each in damage], notes
        carry_out(context, options.stages(), store, on_result)
        record = Record(
            run=context.run,
            time=time.time(),
            target=options.target,
            profile=options.profile.name,
            machine=machine,
            subjects=subjects,
            stages=context.results,
            heal=heal_of(context),
            damage=context.damage,
        )
        if options.only:
            store.give_up(record.run)
            return record
        heal, bounds = latch.settle(options, record.heal, _threshold(record, known), context.folder)
        record = replace(record, heal=heal, bounds=bounds, files=integrity.seal(context.folder))
        add_to_journal(store, record, given_up)
        store.append(record)
        latch.record_waiting(options)  # one that was fired while this run went on
        for run in given_up:
            store.give_up(run)
    return record


def _context(options: Options, run: str, known: History, subjects: dict[str, str], machine: str) -> Context:
    model = subjects["model"]
    return Context(
        run=run,
        folder=options.store.run_folder(run),
        root=options.store.root,
        profile=options.profile,
        target=options.target,
        machine=machine,
        model=options.model,
        config=options.config,
        policy_file=options.policy_file,
        journals=options.journals,
        limits=options.limits,
        subjects=subjects,
        history=comparable(known.records, options.target, machine, model),
        of_model=[
            record for record in known.records if _is_global(record) or record.subjects.get("model", "") == model
        ],
        order={record.run: n for n, record in enumerate(known.records)},
        heal=subject.named(known.state, known.records),
    )


def _threshold(record: Record, known: History) -> int:
    """The confidence that changes need after this run: where no curriculum was set, still that of the run before."""
    found = (run.values("curriculum").get("threshold") for run in (record, *reversed(known.records)))
    return next((int(threshold) for threshold in found if isinstance(threshold, int | float)), 0)


def _restore_bounds(options: Options, known: History) -> None:
    """Bound the policy as the history says, whatever became of the file: the scenario obeys it."""
    written = [record.bounds for record in known.records if record.bounds is not None]
    last = known.records[-1].heal if known.records else {}
    if strictness(known.state) > strictness(last):
        latch.settle(options, known.state, 0)
    elif written and _text_of(options.store.limits_path) != written[-1]:
        latch.restore(options, str(written[-1]))


def _text_of(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def carry_out(
    context: Context, stages: Sequence[str], store: Store | None, on_result: Callable[[StageResult], object]
) -> None:
    """Run the stages in order; completed ones of an interrupted run are not repeated."""
    for name in stages:
        result = store.result(context.run, name) if store else None
        if result is None:
            start = time.monotonic()
            result = _off(name, context) if context.limits.mode(name) == "off" else _guarded(name, context)
            result = _with_others(result, context)
            seconds = round(time.monotonic() - start, 3)
            result = replace(result, seconds=seconds, mode=context.limits.mode(name))
            if result.mode == "warn":
                limits = [*result.values.get("limits", []), context.limits.effective_mode(name)]
                result = replace(result, values=result.values | {"limits": limits})
            if store:
                store.keep(context.run, result)
        context.results[name] = result
        on_result(result)
        if name == "preflight" and result.verdict.outcome is not Outcome.PASS:
            return


def _guarded(name: str, context: Context) -> StageResult:
    try:
        return (name == "self_heal" and subject.apart(context)) or STAGES[name](context)
    except Exception as error:  # this stage is inconclusive, the others continue
        if isinstance(error, OSError) and any(about in str(error) for about in _DISK_FULL):
            raise FileError(
                str(context.folder), f"{name} could not write: {error}; free some space, run again"
            ) from None
        trace = files.write(context.folder / f"{name}.error.txt", traceback.format_exc())
        message = f"{type(error).__name__}: {error}"
        return StageResult(name, inconclusive("RUN_CRASHED", message, f"see {trace}"))


def _with_others(result: StageResult, context: Context) -> StageResult:
    """Where costs have too few runs, the runs that do not count."""
    n = context.elsewhere()
    if result.stage not in ("startup", "metrics") or not result.verdict.reason_id.endswith(_TOO_FEW) or not n:
        return result
    others = f"{n} run of another machine exists" if n == 1 else f"{n} runs of other machines exist"
    return replace(result, verdict=replace(result.verdict, message=f"{result.verdict.message}; {others}"))


def _off(name: str, context: Context) -> StageResult:
    source = context.limits.sources[f"stages.{name}"]
    verdict = inconclusive("RUN_SWITCHED_OFF", f"not run: switched off by {source}")
    return StageResult(name, verdict)


def heal_of(context: Context) -> dict[str, Any]:
    """The state after the run, with what a quarantine is about; unchanged if the stage did not run."""
    state = context.values("self_heal").get("state")
    return dict(context.heal) if state is None else {**state, **subject.kept(context, state)}


def add_to_journal(store: Store, record: Record, given_up: Sequence[str]) -> None:
    """Add each stage's verdict to the journal; once, even if a run killed here is continued."""
    events = []
    for run in given_up:
        message = f"{run} was interrupted and is abandoned"
        events.append(("RUN_CLEARED", {"run": run, "stage": "run", "message": message}))
    for name, result in record.stages.items():
        verdict = result.verdict
        data = {"run": record.run, "stage": name, "outcome": str(verdict.outcome), "message": verdict.message[:1000]}
        if not result.counts:
            data["mode"] = result.mode
        events.append((verdict.reason_id, data))
    tell(store, events)


def comparable(history: Sequence[Record], target: str, machine: str, model: str) -> list[Record]:
    """Runs and acts of the same target, machine and model, and acts that are about all."""
    return [
        record
        for record in history
        if _is_global(record)
        or (record.target, record.machine, record.subjects.get("model", "")) == (target, machine, model)
    ]


def _is_global(record: Record) -> bool:
    return bool(record.act) and not record.machine


def subjects_of(options: Options) -> dict[str, str]:
    """Digests of build, model, configuration and policy. `line`: builds that should decide alike."""
    path = options.model or demo_model_path()
    model = ""
    if path.is_file():
        try:
            with Model.load(path, vocab_only=True) as loaded:
                model = str(loaded.info.fingerprint)
        except Error:
            model = ""  # preflight reports the error
    script = hashlib.sha256("\n".join(scenario.script()).encode()).hexdigest()[:12]
    return {
        "build": _digest(Path(_core.__file__)),
        "line": f"{_core.version} {script}",
        "model": model,
        "configuration": _digest(options.config),
        "policy": _digest(options.policy_file),
        "policy_file": "" if options.policy_file is None else str(options.policy_file.resolve()),
    }


def machine_digest() -> str:
    """Digest of the processor's features."""
    return str(machine()["digest"])[:12]


def _digest(path: Path | None) -> str:
    return "" if path is None or not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path).expanduser()
