"""Runs: the stages in order; each result is on the disk before the next stage begins.

An interrupted run is continued if the same run is requested again, else abandoned.
"""

from __future__ import annotations

import hashlib
import os
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import _core, files
from ..bench.pack import machine
from ..engine.model import Model, demo_model_path
from ..errors import Error, InvalidArgument
from ..evidence.gates import Outcome, inconclusive
from ..journal.journal import Journal, read
from .context import PROFILES, Context
from .pages import dashboard, report
from .results import Limits, Record, StageResult
from .stages import (
    benchmark,
    coverage,
    curriculum,
    explainability,
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
    "scenario": scenario.run,
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
        self.limits = Limits.read(_path(limits))

    def stages(self) -> list[str]:
        """The stages to run, in order."""
        if self.only:
            return [name for name in STAGES if name in (*_NEEDED, *self.only)]
        return [name for name in STAGES if name != "release" or self.profile.release]


def run(options: Options, on_result: Callable[[StageResult], object] = lambda result: None) -> Record:
    """Run the stages; returns the record. With `only`, nothing is added to the history."""
    with options.store.locked():
        subjects = subjects_of(options)
        machine_key = machine_digest()
        plan = {
            "target": options.target,
            "profile": options.profile.name,
            "stages": options.stages(),
            "subjects": subjects,
            "machine": machine_key,
        }
        store = options.store
        found, given_up = store.interrupted(plan)
        name = found or store.begin(plan)
        history = store.history()
        context = Context(
            run=name,
            folder=store.run_folder(name),
            root=store.root,
            profile=options.profile,
            target=options.target,
            machine=machine_key,
            model=options.model,
            config=options.config,
            policy_file=options.policy_file,
            limits=options.limits,
            subjects=subjects,
            history=comparable(history, options.target, machine_key, subjects["model"]),
            heal=history[-1].heal if history else {},
        )
        carry_out(context, options.stages(), store, on_result)
        record = Record(
            run=name,
            time=time.time(),
            target=options.target,
            profile=options.profile.name,
            machine=machine_key,
            subjects=subjects,
            stages=context.results,
            heal=heal_of(context),
        )
        if options.only:
            store.give_up(name)
            return record
        bound(context, record)
        add_to_journal(store, record, given_up)
        store.append(record)
        for run in given_up:
            store.give_up(run)
    return record


def carry_out(
    context: Context, stages: Sequence[str], store: Store | None, on_result: Callable[[StageResult], object]
) -> None:
    """Run the stages in order; completed ones of an interrupted run are not repeated."""
    for name in stages:
        result = store.result(context.run, name) if store else None
        if result is None:
            start = time.monotonic()
            result = _guarded(name, context)
            result = replace(result, seconds=round(time.monotonic() - start, 3))
            if store:
                store.keep(context.run, result)
        context.results[name] = result
        on_result(result)
        if name == "preflight" and result.verdict.outcome is not Outcome.PASS:
            return


def _guarded(name: str, context: Context) -> StageResult:
    try:
        return STAGES[name](context)
    except Exception as error:  # this stage is inconclusive, the others continue
        files.write(context.folder / f"{name}.error.txt", traceback.format_exc())
        message = f"{type(error).__name__}: {error}"
        return StageResult(name, inconclusive("RUN_CRASHED", message, f"see {name}.error.txt in the run's folder"))


def heal_of(context: Context) -> dict[str, Any]:
    """The state after the run; unchanged if the stage did not run."""
    return dict(context.values("self_heal").get("state", context.heal))


def bound(context: Context, record: Record) -> None:
    """Write the limits of the next scenario's policy, and of the given policy file."""
    threshold = int(context.values("curriculum").get("threshold", 0))
    state = self_heal.State.of(record.heal)
    write_limits(context.root, context.policy_file, state, threshold, int(context.limits.canary_threshold))


def write_limits(
    root: Path, policy_file: Path | None, state: self_heal.State, threshold: int, canary_threshold: int
) -> None:
    """Write the limits files; remove them if nothing is bounded."""
    text = self_heal.limits_text(state, threshold, canary_threshold)
    targets = [scenario.limits_file(root)]
    if policy_file is not None:
        targets.append(policy_file.with_name(policy_file.name + ".limits"))
    for target in targets:
        if text:
            files.write(target, text)
        else:
            target.unlink(missing_ok=True)


def add_to_journal(store: Store, record: Record, given_up: Sequence[str]) -> None:
    """Add each stage's verdict to the journal; once, even if a run killed here is continued."""
    with Journal(store.journal_path, log=store.root / "journal.log") as journal:
        known = {(event.data.get("run"), event.data.get("stage")) for event in read(store.journal_path)}
        for run in given_up:
            if (run, "run") not in known:
                journal.tell(
                    "RUN_CLEARED", {"run": run, "stage": "run", "message": f"{run} was interrupted and is abandoned"}
                )
        for name, result in record.stages.items():
            if (record.run, name) in known:
                continue
            verdict = result.verdict
            data = {
                "run": record.run,
                "stage": name,
                "outcome": str(verdict.outcome),
                "message": verdict.message[:1000],
            }
            journal.tell(verdict.reason_id, data)


def comparable(history: Sequence[Record], target: str, machine: str, model: str) -> list[Record]:
    """Runs and manual actions of the same target, machine and model."""
    return [
        record
        for record in history
        if (record.target, record.machine, record.subjects.get("model", "")) == (target, machine, model)
    ]


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
    }


def machine_digest() -> str:
    """Digest of the processor's features."""
    return str(machine()["digest"])[:12]


def _digest(path: Path | None) -> str:
    return "" if path is None or not path.is_file() else hashlib.sha256(path.read_bytes()).hexdigest()


def _path(path: str | os.PathLike[str] | None) -> Path | None:
    return None if path is None else Path(path).expanduser()
