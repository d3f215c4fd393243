"""`flyball journal`: read recorded events, and verify that the file is complete and unchanged."""

from __future__ import annotations

import argparse
import os
import re
import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from .. import journal
from ..config.configuration import defaults
from ..errors import InvalidArgument, NotFound
from ..journal.events import REASONS, Event
from ..paths import expanded
from . import common

_MOST_SHOWN = 20  # faults


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "journal",
        help="read and verify a journal",
        description=__doc__,
        epilog="Exit codes: 0 all lines are intact (verify: none is missing, as the head says), 1 some are damaged or"
        " missing, 2 error (verify: inconclusive, such as without FILE.head).",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, action, text in (
        ("explain", explain, "explain events, decisions and changes in sentences"),
        ("verify", verify, "verify every line's hash, the order and the exported head"),
        ("show", show, "print all events, one per line"),
        ("tail", tail, "print the last events"),
        ("stats", stats, "count the events of each reason"),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("file", metavar="FILE", help="newest file of the journal; FILE.1, FILE.2 ... are read too")
        if action is explain:
            one.add_argument("--session", type=int, metavar="N", help="only this session")
            one.add_argument("--turn", type=int, metavar="N", help="only the N-th answer of each session")
        if action is verify:
            one.add_argument("--log", metavar="FILE", help="also verify that this log has the same events")
            one.add_argument(
                "--head",
                nargs=2,
                metavar=("N", "HASH"),
                help="verify against a head kept elsewhere, as an earlier verify printed it",
            )
        if action is tail:
            one.add_argument("-n", type=int, default=10, metavar="EVENTS", help="number of events (default: 10)")
            one.add_argument("-f", "--follow", action="store_true", help="keep printing new events until Ctrl-C")
        one.set_defaults(run=action)


def explain(args: argparse.Namespace) -> int:
    """Print the events as sentences."""
    from ..journal.explain import tell

    events = _Events(args.file)
    for sentence in tell(events, args.session, args.turn):
        if args.json:
            common.write_json(sentence._asdict(), indent=None)
        else:
            common.write(common.printable(str(sentence)) + "\n")
    return events.end()


def verify(args: argparse.Namespace) -> int:
    """Verify the whole chain, and the log if one is given."""
    _must_exist(args.file)
    report = journal.check(args.file, args.log, _head(args.head))
    code = common.FAILURE if report.faults else common.ERROR if report.doubts else common.SUCCESS
    if args.json:
        common.write_json(
            {
                "verified": report.verified,
                "lines": report.n_lines,
                "files": [str(file) for file in report.files],
                "head": report.head._asdict(),
                "torn_bytes": report.torn,
                "newer_than_head": report.newer,
                "faults": [{"file": str(f.file), "line": f.line, "what": f.what} for f in report.faults],
                "doubts": report.doubts,
            }
        )
        return code
    for fault in report.faults[:_MOST_SHOWN]:
        common.write(f"mismatch: {common.printable(str(fault))}\n")
    if len(report.faults) > _MOST_SHOWN:
        common.write(f"mismatch: {len(report.faults) - _MOST_SHOWN} more; --json has them\n")
    for doubt in report.doubts:
        common.write(f"inconclusive: {common.printable(doubt)}\n")
    if report.torn:
        common.write(f"incomplete last line of {report.torn} bytes, as after a crash; the next writer truncates it\n")
    if report.newer:
        common.write(f"the last {report.newer} lines are newer than FILE.head, as after a crash\n")
    files = f" in {len(report.files)} files" if len(report.files) > 1 else ""
    if report.verified:
        common.write(f"verified: {report.n_lines} lines{files}\nhead {report.head.n_lines} {report.head.hash}\n")
    elif not report.faults:
        common.write(f"every line is intact: {report.n_lines} lines{files}\n")
    return code


def _head(words: Sequence[str] | None) -> journal.Head | None:
    if words is None:
        return None
    number, hash = words
    if not number.isascii() or not number.isdecimal() or re.fullmatch("[0-9a-f]{64}", hash) is None:
        raise InvalidArgument("--head", "must be the number and the hash of a line: head N HASH, as verify prints it")
    return journal.Head(hash, int(number))


def show(args: argparse.Namespace) -> int:
    """Print all events."""
    events = _Events(args.file)
    for event in events:
        _write(event, args.json)
    return events.end()


def tail(args: argparse.Namespace) -> int:
    """Print the last events, and with --follow the new ones."""
    events = _Events(args.file, args.follow)
    for event in deque(events, maxlen=max(args.n, 0)):
        _write(event, args.json)
    if args.follow:
        with suppress(KeyboardInterrupt):
            for event in events.later():
                _write(event, args.json)
    return events.end()


def stats(args: argparse.Namespace) -> int:
    """Print the number of events of each reason."""
    events = _Events(args.file)
    counts = Counter(event.reason_id for event in events)
    if args.json:
        common.write_json(dict(counts))
        return events.end()
    for reason, n in counts.most_common():
        common.write(f"{n:8,}  {reason:28} {REASONS[reason].meaning}\n")
    return events.end()


class _Events:
    """The events of a journal. Faults are told, and set the exit code; damaged lines are skipped."""

    def __init__(self, file: str, follow: bool = False) -> None:
        _must_exist(file)
        self._found = journal.follow(file) if follow else _read(file)
        self._n_faults = 0

    def __iter__(self) -> Iterator[Event]:
        """The events that are there and not yet yielded."""
        for found in self._found:
            if found is None:
                return
            if isinstance(found, Event):
                yield found
            else:
                self._n_faults += 1
                if self._n_faults <= _MOST_SHOWN:
                    common.say_error(f"skipped: {common.printable(str(found))}")

    def later(self) -> Iterator[Event]:
        """The events that are appended from now on."""
        while True:
            yield from self
            time.sleep(0.2)

    def end(self) -> int:
        """The exit code."""
        if self._n_faults > _MOST_SHOWN:
            common.say_error(f"skipped: {self._n_faults - _MOST_SHOWN} more")
        return common.FAILURE if self._n_faults else common.SUCCESS


def _read(file: str) -> Iterator[Event | journal.Fault]:
    faults: list[journal.Fault] = []
    for event in journal.read(file, faults):
        yield from faults
        faults.clear()
        yield event
    yield from faults


def _must_exist(file: str) -> None:
    if not journal.files_of(file) and not os.path.lexists(f"{expanded(file)}.head"):
        raise NotFound(file, "does not exist")


def _write(event: Event, as_json: bool) -> None:
    if as_json:
        common.write_json(event.__dict__, indent=None)
        return
    time = datetime.fromtimestamp(event.time_ns / 1e9, tz=UTC).isoformat(timespec="milliseconds")
    place = f"session {event.session}" + (f" turn {event.turn}" if event.turn else "") if event.session else ""
    data = common.printable(" ".join(_words("", event.data)))
    common.write(f"{event.number:6} {time} {event.reason_id:24} {place:18} {data}\n")


def _words(prefix: str, data: Mapping[str, object]) -> Iterator[str]:
    """key=value, key.key=value; of a governor's settings only those that differ from the default."""
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
