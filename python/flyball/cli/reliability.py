"""`flyball reliability`: measure a build, judge it against its history, and manage the policy's quarantine."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InvalidArgument, NotFound
from . import common

if TYPE_CHECKING:
    from ..reliability.history import Damage, History
    from ..reliability.results import Limits, Record, StageResult
    from ..reliability.runner import Options
    from ..reliability.store import Store

_MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "????", "warn": "warn", "off": "off "}


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "reliability", help="check a build against its history, bound a harmful policy", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    place = _place()

    one = actions.add_parser(
        "run",
        help="run all stages: measure, judge, heal",
        epilog="Exit codes: 0 every stage passed, 1 one failed, 2 one is inconclusive.",
        parents=[place, common.JSON],
    )
    one.add_argument(
        "--target",
        default="host",
        metavar="NAME",
        help="host, or qemu to run the scenario in a boot image (default: host)",
    )
    one.add_argument(
        "--profile",
        default="quick",
        metavar="NAME",
        help="amount of measurement: quick, ci, nightly or release (default: quick)",
    )
    one.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="STAGE",
        help="only this stage and those it needs, without a history entry; may be repeated",
    )
    one.add_argument(
        "--allow-insufficient-data",
        action="store_true",
        help="exit with 0 instead of 2 if the history is too short to judge",
    )
    one.add_argument(
        "--journal",
        action="append",
        default=[],
        metavar="FILE",
        help="also judge a journal of real use: its changes, reasons and loading count, each event once;"
        " may be repeated",
    )
    one.add_argument(
        "--stage",
        action="append",
        default=[],
        dest="modes",
        metavar="NAME=MODE",
        help="fail (default): a stage's verdict counts; warn: it is shown, but does not count; off: it does not run;"
        " may be repeated",
    )
    one.set_defaults(run=run)

    one = actions.add_parser(
        "status",
        help="show the last run, the state of the policy's quarantine, and damage",
        epilog="Exit codes: 0 every file of the runs is whole, 1 some are missing or were altered, 2 error.",
        parents=[place, common.JSON],
    )
    one.set_defaults(run=status)

    one = actions.add_parser(
        "explain", help="show a run's verdicts with evidence, limits and hints", parents=[place, common.JSON]
    )
    one.add_argument("stage", nargs="?", metavar="STAGE", help="only this stage")
    one.add_argument("--of", metavar="RUN", help="which run (default: the last one)")
    one.set_defaults(run=explain)

    one = actions.add_parser(
        "history", help="list all runs and manual actions, one per line", parents=[place, common.JSON]
    )
    one.add_argument("-n", type=int, default=20, metavar="N", help="only the newest N (default: 20)")
    one.set_defaults(run=history)

    one = actions.add_parser(
        "accept",
        help="accept a run: later ones are compared with its answers, counters and slower costs",
        parents=[place],
    )
    one.add_argument("--run", dest="of", metavar="RUN", help="which run (default: the last one)")
    one.add_argument("--damage", action="store_true", help="accept what status says is damaged, instead of a run")
    one.add_argument("--why", required=True, metavar="TEXT", help="what was intended")
    one.add_argument("--who", default="", metavar="NAME", help="who accepts (default: the user's name)")
    one.set_defaults(run=accept)

    one = actions.add_parser("reset", help="set the state of the quarantine manually", parents=[place])
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--latch", action="store_true", help="keep the policy in quarantine whatever runs show; at once")
    what.add_argument("--unlatch", action="store_true", help="return to automatic quarantine")
    what.add_argument("--active", action="store_true", help="end the quarantine")
    one.set_defaults(run=reset)

    one = actions.add_parser("baseline", help="make the newest runs the baseline of later costs", parents=[place])
    one.add_argument("--runs", type=int, default=10, metavar="N", help="number of runs (default: 10)")
    one.add_argument("--target", default="host", metavar="NAME", help="target of these runs (default: host)")
    one.set_defaults(run=baseline)


def _place() -> argparse.ArgumentParser:
    """The parent parser with the arguments of all actions."""
    parser = argparse.ArgumentParser(add_help=False, parents=[common.MODEL_FLAG])
    parser.add_argument(
        "--artifacts",
        default="artifacts/reliability",
        metavar="DIR",
        help="folder of the runs (default: artifacts/reliability)",
    )
    parser.add_argument("--config", metavar="FILE", help="configuration to check and to record with the run")
    parser.add_argument("--policy-file", metavar="FILE", help="file of the policy to bound by FILE.limits")
    parser.add_argument("--limits", metavar="FILE", help="TOML file with limits that replace the defaults")
    return parser


def _options(args: argparse.Namespace) -> Options:
    from ..reliability.runner import Options

    given = vars(args)
    return Options(
        args.artifacts,
        target=given.get("target", "host"),
        profile=given.get("profile", "quick"),
        only=given.get("only", ()),
        model=args.model,
        config=args.config,
        policy_file=args.policy_file,
        limits=args.limits,
        modes=_modes(given.get("modes", ())),
        journals=given.get("journal", ()),
    )


def _modes(words: Iterable[str]) -> dict[str, str]:
    """Modes of stages, from words NAME=MODE."""
    found = {}
    for word in words:
        name, equals, mode = word.partition("=")
        if not equals:
            raise InvalidArgument("--stage", f"is {word!r}, must be NAME=MODE, such as metrics=warn")
        found[name] = mode
    return found


def run(args: argparse.Namespace) -> int:
    """Run all stages and print each result as it ends."""
    from ..reliability.runner import run as run_stages

    options = _options(args)
    progress = common.Progress()
    stages = options.stages()

    def show(result: StageResult) -> None:
        progress.clear()
        if not args.json:
            common.write(_line(result))
        following = stages.index(result.stage) + 1
        if following < len(stages):
            progress(stages[following], following, len(stages))

    record = run_stages(options, show)
    progress.clear()
    for damage in record.damage:
        common.say_error(f"{options.store.root}: {damage}")
    if args.json:
        common.write_json(record.as_dict() | {"outcome": str(record.outcome)})
    else:
        folder = options.store.run_folder(record.run)
        common.write(f"\n{record.run}: {_sum(record)}; {folder}\n")
        for result in record.stages.values():
            if result.verdict.outcome != "pass" and result.verdict.hint:
                common.write(f"  {result.stage}: {common.printable(result.verdict.hint)}\n")
    return _code(record, args.allow_insufficient_data)


def _code(record: Record, allow_insufficient_data: bool) -> int:
    verdicts = [result.verdict for result in record.stages.values() if result.counts]
    if any(verdict.outcome == "fail" for verdict in verdicts):
        return common.FAILURE
    unknown = [verdict for verdict in verdicts if verdict.outcome == "inconclusive"]
    if allow_insufficient_data:
        unknown = [verdict for verdict in unknown if not verdict.reason_id.endswith("_INSUFFICIENT_DATA")]
    return common.ERROR if unknown else common.SUCCESS


def _line(result: StageResult) -> str:
    verdict = result.verdict
    message = common.printable(verdict.message)
    stage, reason = common.printable(result.stage), common.printable(verdict.reason_id)
    mark = _MARKS[verdict.outcome if result.counts or verdict.outcome == "pass" else result.mode]
    return f"{mark}  {stage:14} {reason:25} {message}  ({result.seconds:.1f} s)\n"


def _sum(record: Record) -> str:
    words = {"pass": "passed", "fail": "failed"}
    counts = Counter(words.get(result.label, result.label) for result in record.stages.values())
    order = dict.fromkeys(["passed", "failed", "inconclusive", *sorted(counts)])
    return ", ".join(f"{counts[word]} {word}" for word in order if counts[word])


class _Folder(NamedTuple):
    """What acts need; runner.Options has more, and its imports."""

    store: Store
    limits: Limits
    policy_file: Path | None


def _folder(args: argparse.Namespace) -> _Folder:
    from ..reliability.results import Limits
    from ..reliability.store import Store

    policy, limits = (None if name is None else Path(name).expanduser() for name in (args.policy_file, args.limits))
    return _Folder(Store(args.artifacts), Limits.read(limits), policy)


def _read(args: argparse.Namespace) -> tuple[History, list[Damage], list[str]]:
    """The history, damage and notes. Raises NotFound if there is nothing."""
    from ..reliability import integrity

    store = _folder(args).store
    found = store.read()
    damage, notes = integrity.check(store, found)
    if not found.records and not damage:
        raise NotFound(args.artifacts, "has no runs; flyball reliability run makes one")
    return found, damage, notes


def _records(args: argparse.Namespace) -> list[Record]:
    """The records; damage is told on standard error."""
    found, damage, _ = _read(args)
    for each in damage:
        common.say_error(f"{args.artifacts}: {each}")
    return found.records


def status(args: argparse.Namespace) -> int:
    """Print the last run, the quarantine's state, and what is damaged."""
    from ..reliability import latch

    found, damage, notes = _read(args)
    runs = [record for record in found.records if not record.act]
    last = runs[-1] if runs else None
    place = _folder(args)
    state = latch.state(place)
    code = common.FAILURE if damage else common.SUCCESS
    if place.store.latch_path.exists():
        notes.append("a latch is in force, which the next run records")
    if args.json:
        told = {"damage": [each._asdict() for each in damage], "notes": notes}
        common.write_json({"runs": len(runs), "last": last and last.as_dict(), "state": state, **told})
        return code
    if last:
        common.write(f"{len(runs)} runs, the last {common.printable(last.run)} ({_when(last.time)}): {_sum(last)}\n")
        for result in last.stages.values():
            common.write(_line(result))
    about = state.pop("about", None)
    words = [f"{key} {_short(value)}" for key, value in state.items() if key != "mode" and value]
    if isinstance(about, Mapping):
        words += [f"about {key} {_short(value)}" for key, value in about.items() if value]
    mode = common.printable(str(state.get("mode", "active")))
    about = ", ".join(words)
    common.write(f"policy: {mode}{f' ({about})' if about else ''}\n")
    for each in damage:
        common.write(f"damaged: {common.printable(str(each))}\n")
    for note in notes:
        common.write(f"note: {common.printable(note)}\n")
    return code


def explain(args: argparse.Namespace) -> int:
    """Print the verdicts with their evidence."""
    known = _records(args)
    records = [record for record in known if not record.act]
    record = next((r for r in reversed(records) if args.of in (None, r.run)), None)
    if record is None:
        raise NotFound(args.of or args.artifacts, "is not a run; flyball reliability history lists them")
    results = [result for result in record.stages.values() if args.stage in (None, result.stage)]
    if not results:
        raise InvalidArgument("STAGE", f"is {args.stage!r}, must be one of: {', '.join(record.stages)}")
    acts = [act for act in known if act.act == "accept" and act.by.get("run") == record.run]
    if args.json:
        stages = [result.as_dict() for result in results]
        common.write_json({"run": record.run, "stages": stages, "accepted": [act.by for act in acts]})
        return common.SUCCESS
    where = f"{record.target}, profile {record.profile}"
    common.write(f"{common.printable(record.run)}, {_when(record.time)}, {common.printable(where)}\n")
    for act in acts:
        common.write(f"{common.printable(_act(act))}, {_when(act.time)}\n")
    for result in results:
        common.write("\n" + _line(result))
        common.write("".join(f"    {line}\n" for line in _details(result)))
    return common.SUCCESS


def _details(result: StageResult) -> Iterable[str]:
    verdict = result.verdict
    yield verdict.meaning
    if verdict.evidence:
        yield "evidence: " + ", ".join(f"{_short(key)} {_short(value)}" for key, value in verdict.evidence.items())
    for limit in _rows(result, "limits"):
        name, value, source = (_short(limit.get(key)) for key in ("name", "value", "source"))
        yield f"limit: {name} = {value} ({source})"
    for term in _rows(result, "provenance"):
        change = term.get("value")
        shown = f"{change:+}" if isinstance(change, int) else _short(change)
        yield f"term: {shown} ({_short(term.get('source'))})"
    if verdict.hint:
        yield "hint: " + common.printable(verdict.hint)


def _rows(result: StageResult, name: str) -> list[Mapping[str, Any]]:
    found = result.values.get(name)
    return [row for row in found if isinstance(row, Mapping)] if isinstance(found, list) else []


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_short(key)} {_short(inner)}" for key, inner in value.items()) + "}"
    return common.printable(str(value))


def history(args: argparse.Namespace) -> int:
    """Print one line per run or act, oldest first."""
    for record in _records(args)[-args.n :] if args.n > 0 else []:
        if args.json:
            common.write_json(record.as_dict())
            continue
        if record.act:
            about = _act(record)
        else:
            broken = [r.verdict.reason_id for r in record.stages.values() if r.verdict.outcome == "fail"]
            failures = f"  {', '.join(broken)}" if broken else ""
            about = f"{record.target} {record.profile} {record.machine}  {_sum(record)}{failures}"
        common.write(f"{common.printable(record.run)}  {_when(record.time)}  {common.printable(about)}\n")
    return common.SUCCESS


def _act(record: Record) -> str:
    who, why = record.by.get("who"), record.by.get("why")
    what = f"manual action: {record.act}, {record.heal.get('mode', 'active')}"
    if record.act == "accept":
        damage = record.by.get("damage") or ()
        what = f"accepted {record.by.get('run') or f'{len(damage)} damaged places'}"
    return what + (f" by {who}" if who else "") + (f": {why}" if why else "")


def reset(args: argparse.Namespace) -> int:
    """Set the quarantine's state and print it."""
    from ..reliability.acts import reset as set_state

    latch = True if args.latch else False if args.unlatch else None
    state, recorded = set_state(_folder(args), latch_it=latch, active=args.active)
    common.write(f"policy: {state.mode}{', latched' if state.latched else ''}\n")
    if not recorded:
        common.write("a run is going on: the latch is in force, and the run records it at its end\n")
    return common.SUCCESS


def accept(args: argparse.Namespace) -> int:
    """Accept a run, or damage, and print what was recorded."""
    from ..reliability.acts import accept as accept_run

    record = accept_run(_folder(args), args.why, run=args.of, who=args.who, damage=args.damage)
    common.write(f"{common.printable(_act(record))}\n")
    for each in record.by.get("damage", []):
        common.write(f"  {common.printable(each)}\n")
    return common.SUCCESS


def baseline(args: argparse.Namespace) -> int:
    """Choose the baseline and print it."""
    import math

    from ..reliability.acts import set_baseline

    record = set_baseline(_options(args), args.runs)
    for name, about in record.heal["baseline"].items():
        cost, spread = math.exp(about["center"]), 100 * about["spread"]
        common.write(f"{name}: {cost:.3f} times the reference workload, spread {spread:.1f} %, of {about['n']} runs\n")
    return common.SUCCESS


def _when(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (ValueError, OverflowError, OSError):
        return "no date"
