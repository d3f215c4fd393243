"""`flyball journal`: read what was decided and done, and check that nothing was changed."""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from .. import journal
from ..config.configuration import defaults
from ..errors import NotFound
from ..journal.events import REASONS, Event
from . import common


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "journal",
        help="read and check a journal",
        description=__doc__,
        epilog="Exit codes: 0 every line read is intact (verify reads the head as well), 1 some are damaged, 2 error.",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action, text in (
        ("explain", explain, "what was observed, decided and done, in sentences"),
        ("verify", verify, "every line's hash, their order, and the exported head"),
        ("show", show, "all events, one a line"),
        ("tail", tail, "the last events"),
        ("stats", stats, "how often each reason was given"),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("file", metavar="FILE", help="the newest file; FILE.1, FILE.2 ... belong to it")
        if action is explain:
            one.add_argument("--session", type=int, metavar="N", help="only this one")
            one.add_argument("--turn", type=int, metavar="N", help="only this answer of each session")
        if action is verify:
            one.add_argument("--log", metavar="FILE", help="also whether this log has the same events")
        if action is tail:
            one.add_argument("-n", type=int, default=10, metavar="EVENTS", help="how many (default: 10)")
            one.add_argument(
                "-f", "--follow", action="store_true", help="and those that are written later, until Ctrl-C"
            )
        one.set_defaults(run=action)


def explain(args: argparse.Namespace) -> int:
    """Tell it to a person."""
    from ..journal.explain import tell

    events = _Events(args.file)
    for told in tell(events, args.session, args.turn):
        if args.json:
            common.write(json.dumps(told._asdict()) + "\n")
        else:
            common.write(common.printable(str(told)) + "\n")
    return events.end()


def verify(args: argparse.Namespace) -> int:
    """Check the whole chain, and the log where one is named."""
    _must_exist(args.file)
    report = journal.check(args.file, args.log)
    if args.json:
        common.write_json(
            {
                "verified": report.verified,
                "lines": report.n_lines,
                "files": [str(file) for file in report.files],
                "head": report.head._asdict(),
                "torn_bytes": report.torn,
                "faults": [{"file": str(f.file), "line": f.line, "what": f.what} for f in report.faults],
            }
        )
        return common.SUCCESS if report.verified else common.FAILURE
    for fault in report.faults:
        common.write(f"mismatch: {common.printable(str(fault))}\n")
    if report.torn:
        common.write(f"torn last line of {report.torn} bytes, as a crash leaves it; the next writer cuts it off\n")
    if report.verified:
        files = f" in {len(report.files)} files" if len(report.files) > 1 else ""
        common.write(f"verified: {report.n_lines} lines{files}\nhead {report.head.n_lines} {report.head.hash}\n")
    return common.SUCCESS if report.verified else common.FAILURE


def show(args: argparse.Namespace) -> int:
    """All events."""
    events = _Events(args.file)
    for event in events:
        _write(event, args.json)
    return events.end()


def tail(args: argparse.Namespace) -> int:
    """The last ones, and where that is asked for those to come."""
    events = _Events(args.file)
    for event in deque(events, maxlen=max(args.n, 0)):
        _write(event, args.json)
    if args.follow:
        with suppress(KeyboardInterrupt):
            for event in events.later():
                _write(event, args.json)
    return events.end()


def stats(args: argparse.Namespace) -> int:
    """Counts by reason."""
    events = _Events(args.file)
    counts = Counter(event.reason_id for event in events)
    if args.json:
        common.write_json(dict(counts))
        return events.end()
    for reason, n in counts.most_common():
        common.write(f"{n:8,}  {reason:28} {REASONS[reason].meaning}\n")
    return events.end()


class _Events:
    """The events of a journal. Damaged lines are left out and reported; they decide the exit code."""

    def __init__(self, file: str) -> None:
        _must_exist(file)
        self._found = journal.follow(file)
        self._n_faults = 0

    def __iter__(self) -> Iterator[Event]:
        """Those that there are and were not yet given."""
        for found in self._found:
            if found is None:
                return
            if isinstance(found, Event):
                yield found
            else:
                self._n_faults += 1
                common.say_error(f"left out: {common.printable(str(found))}")

    def later(self) -> Iterator[Event]:
        """Those that are written from now on."""
        while True:
            yield from self
            time.sleep(0.2)

    def end(self) -> int:
        """The exit code."""
        return common.FAILURE if self._n_faults else common.SUCCESS


def _must_exist(file: str) -> None:
    if not journal.files_of(file):
        raise NotFound(file, "does not exist")


def _write(event: Event, as_json: bool) -> None:
    if as_json:
        common.write(json.dumps(event.__dict__) + "\n")
        return
    time = datetime.fromtimestamp(event.time_ns / 1e9, tz=UTC).isoformat(timespec="milliseconds")
    place = f"session {event.session}" + (f" turn {event.turn}" if event.turn else "") if event.session else ""
    data = common.printable(" ".join(_words("", event.data)))
    common.write(f"{event.number:6} {time} {event.reason_id:24} {place:18} {data}\n")


def _words(prefix: str, data: Mapping[str, object]) -> Iterator[str]:
    """key=value, key.key=value; of a governor's 49 settings those that are not the default."""
    for key, value in data.items():
        if isinstance(value, dict):
            if key == "governor":
                known = defaults()
                value = {name: v for name, v in value.items() if name not in known or v != known[name].default}
            yield from _words(f"{prefix}{key}.", value)
        elif isinstance(value, list):
            yield f"{prefix}{key}={len(value)}"
        else:
            yield f"{prefix}{key}={value}"
