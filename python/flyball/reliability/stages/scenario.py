"""Scenario: run the frozen script of turns, consults and faults, on the host or in QEMU.

The REPL program runs it, with the policy limits of earlier runs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from ... import image
from ...engine.model import demo_model_path
from ...evidence.gates import Verdict, failed, passed
from ...journal.events import REASONS, Event
from ...journal.journal import read
from .. import measure
from ..context import Context
from ..results import StageResult

POLICY = "policy.toml"
BROKEN = "broken.gguf"
_LEFT = ("journal.jsonl", "log.txt", "metrics.json", "receipt.json")
_LAST = "SESSION_CLOSED"
_TIMEOUT = {"host": 300.0, "qemu": 960.0}
_MARKER = re.compile(r"^\[([a-z_]+)\] (\S+)(?: reason_id=(\S+))?", re.MULTILINE)


def script() -> list[str]:
    """The lines of the script without comments."""
    text = files("flyball").joinpath("data/scenario.txt").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def run(context: Context) -> StageResult:
    """Run the script and evaluate its files."""
    folder = context.folder / "scenario"
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that was killed in this stage
    folder.mkdir(parents=True)
    model = context.model or demo_model_path()
    (folder / BROKEN).write_bytes(model.read_bytes()[:5000])
    limits = limits_file(context.root)
    if limits.exists():
        shutil.copy(limits, folder / f"{POLICY}.limits")
    left, output, why = (_in_qemu if context.target == "qemu" else _on_host)(context, model, folder)
    (folder / "output.txt").write_text(output)
    missing = [name for name in _LEFT if not (left / name).exists()]
    events = list(read(left / "journal.jsonl")) if "journal.jsonl" not in missing else []
    wrong = [why] if why else []
    wrong += [f"{name} is missing" for name in missing]
    wrong += _faults(output, events)
    values = observed(events, crashed=bool(events) and events[-1].reason_id != _LAST)
    if wrong:
        return StageResult("scenario", judge(wrong), {"folder": str(left), **values})
    second = json.loads((left / "metrics.json").read_text())["session"]["cycles_per_second"]
    values["startup"]["first_token_ms"] = values["startup"].pop("first_token_cycles") * 1e3 / second
    measured = measure.guest_costs(values) if context.target == "qemu" else measure.costs(model, context.profile.pairs)
    return StageResult("scenario", judge(wrong), {"folder": str(left), **values, **measured})


def limits_file(root: Path) -> Path:
    """The file with the limits of the next scenario's policy."""
    return root / f"{POLICY}.limits"


def judge(wrong: list[str]) -> Verdict:
    """Pass without errors, else fail."""
    if wrong:
        hint = "see scenario/output.txt in the run's folder"
        return failed("SCENARIO_BROKEN", "; ".join(wrong), hint, wrong=wrong)
    return passed("SCENARIO_COMPLETE", "the script ran to its end and its faults were handled")


def _on_host(context: Context, model: Path, folder: Path) -> tuple[Path, str, str]:
    (folder / "script.txt").write_text("\n".join(script()) + "\n")
    command = [image.beside_python("flyball-repl"), str(model.resolve()), "--tune", "off"]
    command += ["--journal", "journal.jsonl", "--log", "log.txt", "--policy-file", POLICY, "--script", "script.txt"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT["host"], check=False, errors="replace"
        )
    except subprocess.TimeoutExpired:
        return folder, "", f"it did not end within {_TIMEOUT['host']:g} s"
    # Exit code 1: the REPL counts the broken model as an error, the only expected one.
    why = (
        ""
        if done.returncode == 1
        else f"the REPL's exit code is {done.returncode} instead of 1 for the one expected error"
    )
    return folder, done.stdout + done.stderr, why


def _in_qemu(context: Context, model: Path, folder: Path) -> tuple[Path, str, str]:
    path, config = folder / "flyball.img", folder / "flyball.toml"
    config.write_text(f'tune = "off"\nmodel = "models/{model.name}"\n')
    beside = [folder / BROKEN, *folder.glob(f"{POLICY}.limits")]
    image.build(path, [model], config, beside)
    machine = image.Machine(processors=min(os.cpu_count() or 1, 4))
    ended = image.run(path, script(), machine, timeout=_TIMEOUT["qemu"])
    left = folder / "volume"
    image.extract(path, left)
    path.unlink()  # its files are extracted; images of many runs would fill the disk
    return (
        left,
        ended.output,
        "" if ended.why == image.WENT_WRONG else f"the machine: {ended.why or 'no fault occurred'}",
    )


def _faults(output: str, events: list[Event]) -> list[str]:
    """Expected faults that did not occur, and unexpected errors."""
    reasons = {event.reason_id for event in events}
    wrong = [f"unexpected {line}" for line in output.splitlines() if line.startswith("error:")]
    if f"The model {BROKEN} cannot be used." not in output:
        wrong.append("a broken model was not refused")
    if "GUARD_TURN_STOP" not in reasons:
        wrong.append("the guard did not end the answer that passed its limit")
    if "verified:" not in output:
        wrong.append("the receipt of an answer did not verify")
    if not any(reason in reasons for reason in ("POLICY_CHOICE", "POLICY_STAY")):
        wrong.append("the model was not asked")
    if events and events[-1].reason_id != _LAST:
        wrong.append("the journal does not end with the session")
    return wrong


def observed(events: Iterable[Event], crashed: bool = False) -> dict[str, Any]:
    """Values for later stages: counts of reasons, outcomes of applied changes, chosen actions, token costs.

    A change that was still on trial at the end is inconclusive, but for one after which the program `crashed`.
    """
    reasons: Counter[str] = Counter()
    chosen: Counter[str] = Counter()
    applied: list[dict[str, Any]] = []
    costs: dict[str, list[float]] = {"prefill": [], "decode": []}
    startup: dict[str, float] = {}
    for event in events:
        reasons[event.reason_id] += 1
        data = event.data
        if event.reason_id == "PLAN_STEP":
            applied.append({"action": data["action"], "outcome": ""})
        elif event.reason_id == "APPLY_NOT_VERIFIED" and applied:
            applied[-1]["outcome"] = "failed"
        elif event.reason_id.startswith("OUTCOME_") and applied:
            applied[-1]["outcome"] = event.reason_id.removeprefix("OUTCOME_").lower()
            applied[-1]["pairs"] = data.get("could_worsen", 0)
        elif event.reason_id == "POLICY_CHOICE":
            chosen[data["action"]] += 1
        elif event.reason_id == "SESSION_TURN_ENDED":
            startup.setdefault("first_token_cycles", data["first_token_cycles"])
            for phase, found in costs.items():
                if data[phase]["tokens"]:
                    found.append(data[phase]["cycles"] / data[phase]["tokens"])
        elif event.reason_id == "MODEL_LOADED":
            startup.setdefault("model_select_ms", data["select_ns"] / 1e6)
            startup.setdefault("model_prepare_ms", data["prepare_ns"] / 1e6)
    if crashed and applied and not applied[-1]["outcome"]:
        applied[-1]["outcome"] = "failed"
    for change in applied:
        change["outcome"] = change["outcome"] or "inconclusive"
    return {"reasons": dict(reasons), "chosen": dict(chosen), "applied": applied, "startup": startup, **costs}


def markers(text: str) -> list[tuple[str, str | None]]:
    """(marker, reason or None) of each marked line of a log."""
    families = {row.family.lower() for row in REASONS.values()} | {"startup", "policy"}
    return [(found[1], found[3]) for found in _MARKER.finditer(text) if found[1] in families]
