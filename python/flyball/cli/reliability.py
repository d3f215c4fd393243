"""`flyball reliability`: measure a build, judge it against its history, and manage the policy's quarantine."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, NotFound
from . import common

if TYPE_CHECKING:
    from ..reliability.results import Record, StageResult
    from ..reliability.runner import Options

_MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "????"}


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
    one.set_defaults(run=run)

    one = actions.add_parser(
        "status", help="show the last run and the state of the policy's quarantine", parents=[place, common.JSON]
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

    one = actions.add_parser("reset", help="set the state of the quarantine manually", parents=[place])
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--latch", action="store_true", help="keep the policy in quarantine whatever the runs show")
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
    )


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
    verdicts = [result.verdict for result in record.stages.values()]
    if any(verdict.outcome == "fail" for verdict in verdicts):
        return common.FAILURE
    unknown = [verdict for verdict in verdicts if verdict.outcome == "inconclusive"]
    if allow_insufficient_data:
        unknown = [verdict for verdict in unknown if not verdict.reason_id.endswith("_INSUFFICIENT_DATA")]
    return common.ERROR if unknown else common.SUCCESS


def _line(result: StageResult) -> str:
    verdict = result.verdict
    message = common.printable(verdict.message)
    return f"{_MARKS[verdict.outcome]}  {result.stage:14} {verdict.reason_id:22} {message}  ({result.seconds:.1f} s)\n"


def _sum(record: Record) -> str:
    counts = {"pass": 0, "fail": 0, "inconclusive": 0}
    for result in record.stages.values():
        counts[result.verdict.outcome] += 1
    words = {"pass": "passed", "fail": "failed", "inconclusive": "inconclusive"}
    return ", ".join(f"{n} {words[name]}" for name, n in counts.items() if n)


def _records(args: argparse.Namespace) -> list[Record]:
    records = _options(args).store.history()
    if not records:
        raise NotFound(args.artifacts, "has no runs; flyball reliability run makes one")
    return records


def status(args: argparse.Namespace) -> int:
    """Print the last run and the quarantine's state."""
    records = _records(args)
    runs = [record for record in records if not record.act]
    state = {key: value for key, value in records[-1].heal.items() if key != "baseline"}
    if args.json:
        common.write_json({"runs": len(runs), "last": runs[-1].as_dict() if runs else None, "state": state})
        return common.SUCCESS
    if runs:
        common.write(f"{len(runs)} runs, the last {runs[-1].run} ({_when(runs[-1].time)}): {_sum(runs[-1])}\n")
        for result in runs[-1].stages.values():
            common.write(_line(result))
    about = ", ".join(f"{key} {value}" for key, value in state.items() if key != "mode" and value)
    common.write(f"policy: {state.get('mode', 'active')}{f' ({about})' if about else ''}\n")
    return common.SUCCESS


def explain(args: argparse.Namespace) -> int:
    """Print the verdicts with their evidence."""
    records = [record for record in _records(args) if not record.act]
    record = next((r for r in records if r.run == args.of), None) if args.of else records[-1]
    if record is None:
        raise NotFound(args.of, "is not a run; flyball reliability history lists them")
    results = [result for result in record.stages.values() if args.stage in (None, result.stage)]
    if not results:
        raise InvalidArgument("STAGE", f"is {args.stage!r}, must be one of: {', '.join(record.stages)}")
    if args.json:
        common.write_json({"run": record.run, "stages": [result.as_dict() for result in results]})
        return common.SUCCESS
    common.write(f"{record.run}, {_when(record.time)}, {record.target}, profile {record.profile}\n")
    for result in results:
        common.write("\n" + _line(result))
        common.write("".join(f"    {line}\n" for line in _details(result)))
    return common.SUCCESS


def _details(result: StageResult) -> Iterable[str]:
    from ..journal.events import REASONS

    verdict = result.verdict
    yield f"{REASONS[verdict.reason_id].meaning}"
    if verdict.evidence:
        yield "evidence: " + ", ".join(f"{key} {_short(value)}" for key, value in verdict.evidence.items())
    for limit in result.values.get("limits", []):
        yield f"limit: {limit['name']} = {_short(limit['value'])} ({common.printable(str(limit['source']))})"
    for term in result.values.get("provenance", []):
        yield f"term: {term['value']:+} ({common.printable(str(term['source']))})"
    if verdict.hint:
        yield "hint: " + common.printable(verdict.hint)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} {_short(inner)}" for key, inner in value.items()) + "}"
    return common.printable(str(value))


def history(args: argparse.Namespace) -> int:
    """Print one line per run or manual action, oldest first."""
    for record in _records(args)[-args.n :] if args.n > 0 else []:
        if args.json:
            common.write_json(record.as_dict())
        elif record.act:
            mode = record.heal.get("mode", "active")
            common.write(f"{record.run}  {_when(record.time)}  manual action: {record.act}, {mode}\n")
        else:
            broken = [r.verdict.reason_id for r in record.stages.values() if r.verdict.outcome == "fail"]
            failures = f"  {', '.join(broken)}" if broken else ""
            where = f"{record.target} {record.profile} {record.machine}"
            common.write(f"{record.run}  {_when(record.time)}  {where}  {_sum(record)}{failures}\n")
    return common.SUCCESS


def reset(args: argparse.Namespace) -> int:
    """Set the quarantine's state and print it."""
    from ..reliability.acts import reset as set_state

    state = set_state(_options(args), latch=True if args.latch else False if args.unlatch else None, active=args.active)
    common.write(f"policy: {state.mode}{', latched' if state.latched else ''}\n")
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
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
