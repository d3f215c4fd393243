"""Costs over runs and their baseline: the one that was set manually, else the first quiet runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from ..errors import InvalidArgument
from ..evidence.drift import LEAST_RUNS, Baseline, Cost, Drift, drift, learn
from ..evidence.gates import Verdict, failed, inconclusive, passed
from .context import Context
from .results import Limits, Record

COSTS = ("prefill", "decode", "load")
_WINDOW = 200  # newest runs to evaluate


def cost(values: Mapping[str, Any], name: str) -> Cost | None:
    """A cost among the values of a scenario or a stage; None if it has none that is a positive number."""
    value = _number(values.get("cost"), name)
    if value is None or value <= 0:
        return None
    # Earlier versions measured neither noise nor contention.
    raised = _number(values.get("contention"), "inflation")
    return Cost(value, _number(values.get("noise"), name), max(1.0, raised or 1.0))


def _number(values: object, name: str) -> float | None:
    """A member that is a finite number, neither negative nor absurd; else None."""
    found = values.get(name) if isinstance(values, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1e12:
        return None
    return float(found)


def costs(history: Sequence[Record], name: str, measurement: object) -> list[Cost]:
    """The costs of the runs that measured one in this way; a second measurement replaces the first."""
    stage = "startup" if name == "load" else "metrics"
    found = []
    for record in history:
        again = record.values(stage).get("again")
        values = again if isinstance(again, dict) else record.values("scenario")
        if values.get("measurement") == measurement and (one := cost(values, name)):
            found.append(one)
    return found


def instructions(values: Mapping[str, Any]) -> dict[str, int]:
    """Instructions by phase among the values of a scenario; empty if they were not counted."""
    counts = values.get("instructions")
    found = {name: _number(counts, name) for name in COSTS}
    return {name: int(count) for name, count in found.items() if count}


def first_instructions(history: Sequence[Record]) -> tuple[str, dict[str, int]] | None:
    """The first run since the last manual baseline that counted instructions, and its counts."""
    acts = _baselines(history)
    counted = ((r.run, instructions(r.values("scenario"))) for r in history[acts[-1] if acts else 0 :])
    return next(((run, counts) for run, counts in counted if counts), None)


def _baselines(history: Sequence[Record]) -> list[int]:
    """Where acts set a baseline: one that was chosen, or a slower run that was accepted."""
    return [i for i, record in enumerate(history) if record.act and "baseline" in record.heal]


class Known(NamedTuple):
    """The baseline in force, None while it is learned; the costs after it; where it is from; whether an act set it."""

    baseline: Baseline | None
    after: list[Cost]
    against: str
    is_set: bool


def baseline_of(history: Sequence[Record], name: str, limits: Limits, measurement: object) -> Known:
    """The baseline that a cost of this measurement is compared with."""
    acts = _baselines(history)
    chosen: dict[str, Any] = history[acts[-1]].heal["baseline"][name] if acts else {}
    if chosen and chosen.get("measurement") == measurement:
        found = Baseline(chosen["center"], chosen["spread"], chosen["n"])
        after = costs(history[acts[-1] :][-_WINDOW:], name, measurement)
        return Known(found, after, f"the baseline of {history[acts[-1]].run}", True)
    measured = costs(history[-_WINDOW:], name, measurement)
    learned, after = learn(measured, visible_limit(limits, name))
    return Known(learned, after, f"the first {learned.n} quiet runs" if learned else f"{len(measured)} runs", False)


def choose_baseline(history: Sequence[Record], n_runs: int, limits: Limits | None = None) -> dict[str, Any]:
    """The baseline of the newest quiet runs, as values of a manual action; refused if it could not show a slow-down."""
    if n_runs < LEAST_RUNS:
        raise InvalidArgument("baseline", f"needs at least {LEAST_RUNS} runs, as fewer do not show the spread")
    measurement = next((r.values("scenario").get("measurement") for r in reversed(history) if not r.act), None)
    chosen = {}
    for name in COSTS:
        most = visible_limit(limits or Limits(), name)
        measured = costs(history, name, measurement)
        values = [one.value for one in measured if one.visible() <= most][-n_runs:]
        if len(values) < n_runs:
            told = f"there are {len(values)}"
            if len(measured) > len(values):
                told += f", and {len(measured) - len(values)} in which other load hid a slow-down of {percent(most)}"
            raise InvalidArgument("baseline", f"needs {n_runs} runs of this machine and model, {told}; run again")
        found = Baseline.of(values)
        if found.visible > most:
            raise InvalidArgument(
                "baseline",
                f"{name} varied by {100 * found.spread:.1f} % over these runs, which hides slow-downs below"
                f" {percent(found.visible)}; {percent(most)} must show: let the machine rest and run {n_runs} times"
                " again, with --profile ci or nightly to measure more",
            )
        chosen[name] = {**asdict(found), "measurement": measurement}
    return chosen


def visible_limit(limits: Limits, name: str) -> float:
    """The slow-down that a run must be able to show; of loading, which is judged from a larger one, that one."""
    return max(limits.visible_slow_down, limits.startup_slow_down) if name == "load" else limits.visible_slow_down


def percent(ratio: float) -> str:
    """A ratio as its change in percent."""
    return f"{100 * (ratio - 1):.0f} %" if ratio < 100 else f"a factor of {ratio:.3g}"


@dataclass(frozen=True)
class Judged:
    """One cost of a run. `against`: the baseline in words. `drift` is None before there are three runs."""

    name: str
    drift: Drift | None
    against: str
    learning: bool
    blind: float | None  # the slow-down that the baseline could show, if that is too large


def judge(history: Sequence[Record], now: Cost, name: str, limits: Limits, measurement: object = None) -> Judged:
    """Judge a cost after those of the history. Only costs of the same `measurement` are compared."""
    least = limits.startup_slow_down if name == "load" else limits.least_slow_down
    visible = visible_limit(limits, name)
    known, after, against, is_set = baseline_of(history, name, limits, measurement)
    if known is None:
        return Judged(name, None, against, True, None)
    found = drift(known, after, now, least, visible)
    learning = known.n < LEAST_RUNS and not is_set  # an accepted run may have few before it on its level
    blind = known.visible if known.visible > visible and not learning else None
    return Judged(name, found, against, learning, blind)


HINT = "flyball bench compare can find the cause; flyball reliability baseline accepts the new cost"


def verdict(context: Context, family: str, names: Sequence[str], values: dict[str, Any]) -> Verdict:
    """The verdict on some costs of the scenario; a step is measured again before it counts.

    `family`: of the reasons. Adds to `values`: "drift", this run, window and tests of each cost; "again", the second
    measurement, and "first", what the first one showed.
    """
    judged = _judged(context, names, context.values("scenario"))
    if any(one.drift and one.drift.step for one in judged):
        again = context.measure_again()
        values["first"] = {one.name: one.drift._asdict() for one in judged if one.drift}
        values["again"] = {key: again[key] for key in ("cost", "noise", "contention", "measurement") if key in again}
        judged = _judged(context, names, again)
    values["drift"] = {one.name: one.drift._asdict() for one in judged if one.drift}
    if len(judged) < len(names):
        message = (
            "the second measurement to confirm a step failed" if "first" in values else "the scenario measured no costs"
        )
        return inconclusive(f"{family}_INSUFFICIENT_DATA", message, "see scenario in the run's folder")
    return _verdict(family, judged, values)


def _judged(context: Context, names: Sequence[str], measured: Mapping[str, Any]) -> list[Judged]:
    found = [(name, cost(measured, name)) for name in names]
    measurement = measured.get("measurement")
    return [judge(context.history, one, name, context.limits, measurement) for name, one in found if one]


def _verdict(family: str, judged: Sequence[Judged], values: Mapping[str, Any]) -> Verdict:
    first = values.get("first", {})
    evidence = values["drift"] | ({"first": first} if first else {})
    runs = ", ".join(
        f"{one.name} {one.drift.run:.2f}" + (f" (first {first[one.name]['run']:.2f})" if one.name in first else "")
        for one in judged
        if one.drift
    )
    this_run = f"this run: {runs} times {judged[0].against}"

    def unsure(why: str, hint: str) -> Verdict:
        return inconclusive(f"{family}_CONTENDED", f"{this_run}; {why}", hint, **evidence)

    drifts = [(one, one.drift) for one in judged if one.drift]
    for one, d in drifts:
        if d.step and first[one.name]["step"]:
            message = f"{this_run}; {one.name} is a step, measured twice, from {d.step_from:.2f} on"
            return failed(f"{family}_SLOWER", message, HINT, **evidence)
    for one, d in drifts:
        if d.slower and not one.learning and not one.blind:
            message = (
                f"newest {d.n_window} runs: {one.name} {d.window:.2f}, CUSUM {d.sum:.1f} of {d.alarm:g}; {this_run}"
            )
            return failed(f"{family}_SLOWER", message, HINT, **evidence)
    if any(one.learning for one in judged):
        message = f"too few runs to detect a drift: {judged[0].against}, {LEAST_RUNS} are needed"
        hint = "run again on this machine with this model"
        return inconclusive(f"{family}_INSUFFICIENT_DATA", message, hint, **evidence)
    for one, d in drifts:
        if one.blind:
            return unsure(
                f"{one.name} varies so much in the baseline that slow-downs show only from {percent(one.blind)} on",
                "let the machine rest, run ten times, then flyball reliability baseline",
            )
        if d.contended:
            return unsure(
                f"other load hides slow-downs of {one.name} below {percent(d.visible)}",
                "run again when the machine is less busy, or with --profile ci or nightly to measure more",
            )
        if d.step:
            return unsure(f"two measurements of {one.name} differ by a step", "run again")
    seen = max(d.visible for _, d in drifts)
    return passed(f"{family}_PASSED", f"{this_run}; slow-downs show from {percent(seen)} on", **evidence)
