"""`flyball load`: put a server under load by a plan, and judge what it did."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import secrets
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import InvalidArgument, NotFound
from . import common
from .terminal import is_terminal

if TYPE_CHECKING:
    from ..load.plan import Plan
    from ..load.record import Record, Run
    from ..load.verdicts import Judgment

_OUT, ALERTS = Path("data/load"), Path("data/aiops/alerts.jsonl")
_CODES = {"pass": common.SUCCESS, "fail": common.FAILURE, "undecided": common.ERROR}
_MOST_SEED = 2**53
_SHOWN_ERRORS = 5
_HEAD = ("FLOW", "CAME", "GOOD", "GOOD/S", "P50 MS", "P95", "P99", "TOKEN 1 P95", "PER TOKEN P95", "LATE P99")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its action."""
    parser = commands.add_parser("load", help="put a server under load, and judge it", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    running = actions.add_parser(
        "run",
        help="run a plan",
        description="Run the flows of a plan. Exit codes: 0 thresholds are met, 1 one is not, 2 undecided or an error.",
        parents=[common.JSON],
    )
    running.add_argument("plan", metavar="FILE", help="the plan, a TOML file")
    running.add_argument("--url", help="the server (default: the plan's, else one of the bundled model is started)")
    running.add_argument("--key-env", metavar="NAME", help="variable with the API key (default: the plan's key_env)")
    running.add_argument("--out", type=Path, default=_OUT, metavar="DIR", help=f"for RUN.json (default: {_OUT})")
    running.add_argument("--seed", type=int, metavar="N", help="of arrivals and prompts (default: the plan's)")
    running.add_argument(
        "--alerts", type=Path, default=ALERTS, metavar="FILE", help=f"breaches are appended to it (default: {ALERTS})"
    )
    running.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a plan, write its summary and alerts, and give its verdict."""
    try:
        from ..load import alerts, loop, plan, summary, verdicts
    except ModuleNotFoundError as error:
        what = f"is missing, which loads need: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    planned = _changed(plan.read_plan(args.plan), args)
    identity = time.strftime("%Y%m%dT%H%M%S-", time.gmtime()) + secrets.token_hex(3)
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with ended_by_sigterm(), _server(planned) as (url, key, pid):
        found = loop.run(_run(planned, url, key, pid))
    judgment = verdicts.judge(found)
    said = summary.summarize(found, judgment, identity, started)
    for alert in _alerts(judgment, identity):
        alerts.append(args.alerts, alert)
    kept = files.write(args.out / f"{identity}.json", _as_json(said))
    if args.json:
        common.write_json(said)
    else:
        _show(found, judgment, kept)
    return _CODES[judgment.verdict]


def _changed(planned: Plan, args: argparse.Namespace) -> Plan:
    from ..load.plan import server_url

    if args.seed is not None and not 0 <= args.seed <= _MOST_SEED:
        raise InvalidArgument("--seed", f"is {args.seed}, must be 0 to 2^53")
    if args.url is not None:
        planned = replace(planned, url=server_url(args.url))
    if args.key_env is not None:
        planned = replace(planned, key_env=args.key_env, key_file="")
    return planned if args.seed is None else replace(planned, seed=args.seed)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that a server that was started for it ends, too."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    usual = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, usual)


@contextmanager
def _server(planned: Plan) -> Iterator[tuple[str, str, int | None]]:
    """URL, API key and process of the server."""
    from ..load import process

    if planned.url:
        yield planned.url, _key(planned), process.listener(planned.url)
        return
    with process.Server.started(key=process.new_key()) as server:
        yield server.url, server.key, server.process.pid


def _key(planned: Plan) -> str:
    if planned.key_env:
        if not (key := os.environ.get(planned.key_env, "").strip()):
            raise InvalidArgument(
                planned.key_env, "is not set; the plan or --key-env names it as the API key's variable"
            )
    elif planned.key_file:
        lines = [line.strip() for line in common.read_text(planned.key_file).splitlines() if line.strip()]
        if not lines:
            raise InvalidArgument(planned.key_file, "has no key; give one a line")
        key = lines[0]
    else:
        return ""
    if not key.isascii() or not key.isprintable():
        raise InvalidArgument(planned.key_env or planned.key_file, "has a key that is not of printable ASCII")
    return key


async def _run(planned: Plan, url: str, key: str, pid: int | None) -> Run:
    from ..load import driver

    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    line = _Line()
    found = await driver.run(planned, url, key, pid, line.show if line.watched else None)
    line.clear()
    return found


class _Line:
    """The progress, on a terminal."""

    def __init__(self) -> None:
        self.watched = is_terminal(sys.stderr)
        self._width = 0

    def show(self, found: Run) -> None:
        """Write the line again."""
        parts = [
            f"{record.flow.name} {len(record.iteration_ms)} done, {record.running} running"
            + (f", {record.n_failed_requests} failed" if record.n_failed_requests else "")
            for record in found.records
        ]
        text = common.printable("   ".join(parts))[:150]
        common.write_error("\r" + text.ljust(self._width))
        self._width = len(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            common.write_error("\r" + " " * self._width + "\r")


def _alerts(judgment: Judgment, identity: str) -> Iterator[dict[str, Any]]:
    from ..load.summary import finite

    for each in judgment.outcomes:
        if each.verdict == "fail":
            yield {
                "schema": 1,
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "component": each.flow,
                "metric": each.threshold.metric,
                "observed": finite(each.observed),
                "observed_p95_ms": finite(each.p95),
                "threshold": str(each.threshold),
                "severity": each.threshold.severity,
                "run": identity,
                "why": each.why,
            }


def _as_json(said: dict[str, Any]) -> str:
    return json.dumps(said, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _show(found: Run, judgment: Judgment, kept: Path) -> None:
    common.write_table([_HEAD, *map(_row, found.records)], right=range(1, len(_HEAD)))
    for each in judgment.outcomes:
        common.write(f"{each.verdict:9}  {each.flow} {each.said}\n")
    for record in found.records:
        for text, n in record.errors.most_common(_SHOWN_ERRORS):
            common.write(f"{n} times    {record.flow.name}: {common.printable(text)}\n")
    if found.usage:
        cpu = found.usage[-1].cpu_seconds - found.usage[0].cpu_seconds
        most = common.size(max(each.rss_bytes for each in found.usage))
        common.write(f"server     {cpu:.1f} s of processor time in {found.seconds:.1f} s, at most {most}\n")
    for text in judgment.unfit:
        common.write(f"undecided  {text}\n")
    common.write(f"verdict    {judgment.verdict}; {kept}\n")


def _row(record: Record) -> tuple[str, ...]:
    from ..load import quantiles
    from ..load.verdicts import times_of

    def ms(metric: str, share: float) -> str:
        ordered, n_missing = times_of(record, metric)
        return f"{quantiles.at(ordered + [math.inf] * n_missing, share):,.1f}" if ordered else "-"

    return (
        record.flow.name,
        str(record.n_come),
        str(record.n_good),
        f"{record.n_good / record.seconds:.2f}" if record.seconds else "-",
        *(ms("iteration_duration", share) for share in (0.5, 0.95, 0.99)),
        ms("first_token", 0.95),
        ms("per_token", 0.95),
        f"{quantiles.at(sorted(record.late_ms), 0.99):.2f}" if record.late_ms else "-",
    )
