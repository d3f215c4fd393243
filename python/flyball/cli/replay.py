"""`flyball replay`: replay a journal's decisions and compare each of them byte for byte."""

from __future__ import annotations

import argparse
import struct
from typing import Any

from .. import journal
from ..engine.adapter import Adapter
from ..engine.model import Model
from ..engine.receipt import Receipt
from ..engine.verify import adapters_of, report_of
from ..errors import FileError, FormatError, InvalidArgument, NotFound, Unsupported
from ..governor.policy import Policy
from ..journal.events import REASONS
from ..journal.replay import Decided, Difference, Report, receipts, replay
from . import common

_MOST_SHOWN = 20  # faults


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "replay",
        help="replay a journal's decisions",
        description=__doc__,
        epilog="Exit codes: 0 verified, 1 mismatch, 2 error. With --what-if: 0 or 2.",
        parents=[common.ADAPTERS, common.JSON],
    )
    parser.add_argument("file", metavar="FILE", help="newest file of the journal")
    parser.add_argument(
        "--what-if",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting and show the decisions that would have differed; may be repeated",
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        help="also repeat the recorded answers and the policy's questions to the model, and compare all bits",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay and print the differences."""
    if not journal.files_of(args.file):
        raise NotFound(args.file, "does not exist")
    changes = dict(_change(text) for text in args.what_if)
    faults: list[journal.Fault] = []
    report = replay(journal.read(args.file, faults), changes)
    if not report.n_events:
        why = f": {faults[0].what}" if faults else ", so there is nothing to replay"
        raise FormatError(args.file, f"has no readable event{why}")
    answers, consults = _repeat(args) if args.model else ([], [])
    if args.json:
        common.write_json(_as_dict(report, faults) | {"answers": answers, "consults": consults})
    else:
        _show(report, faults, bool(changes))
        _show_repeated("answer", answers)
        _show_repeated("consult", consults)
        if args.model and not answers:
            common.write("answers: the journal has no receipts; it was written without --journal-content\n")
    if args.model and not answers and not consults:
        return common.ERROR
    verdicts = {repeated["verified"] for repeated in answers + consults}
    decided = bool(changes) or _whole(report, faults)
    if False in verdicts or not decided:
        return common.FAILURE
    return common.ERROR if None in verdicts else common.SUCCESS


def _repeat(args: argparse.Namespace) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Repeat every recorded answer and every recorded question to the model."""
    progress = common.Progress()
    answers, consults = [], []
    with Model.load(args.model, progress=progress) as model:
        find, loaded = common.adapter_finder(args.adapter), dict[str, Adapter]()
        for event, text in receipts(journal.read(args.file)):
            try:
                receipt = Receipt(text)
                report = report_of(receipt, model, progress, adapters=adapters_of(receipt, model, find, loaded))
            except (Unsupported, NotFound, FileError, FormatError) as error:
                # Its logits processor, the library of its constraint or its adapter is not here, or is damaged.
                report = {"verified": None, "message": str(error)}
            answers.append({"session": event.session, "turn": event.turn, **report})
        policy = Policy(model)
        for event in journal.read(args.file):
            if event.reason_id == "SESSION_CONSULTED" and not event.data["mock"]:
                same = _as_float32(policy.scores(event.data["situation"])) == _as_float32(event.data["scores"])
                message = "" if same else "the scores of the actions differ"
                consults.append({"session": event.session, "turn": event.turn, "verified": same, "message": message})
    progress.clear()
    return answers, consults


def _whole(report: Report, faults: list[journal.Fault]) -> bool:
    return report.verified and not faults and not report.skipped


def _as_float32(scores: dict[str, float]) -> dict[str, bytes]:
    return {action: struct.pack("<f", score) for action, score in scores.items()}


def _show_repeated(what: str, repeated: list[dict[str, Any]]) -> None:
    for one in repeated:
        if not one["verified"]:
            place = f"session {one['session']} turn {one['turn']}"
            verdict = "cannot be repeated" if one["verified"] is None else "mismatch"
            common.write(f"{what} {verdict}, {place}: {common.printable(one['message'])}\n")
    if repeated:
        n = sum(one["verified"] is True for one in repeated)
        common.write(f"{what}s: {n} of {len(repeated)} have the same bits\n")


def _change(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise InvalidArgument("--what-if", f"is {text!r}, must be KEY=VALUE")
    return key.strip(), value.strip()


def _show(report: Report, faults: list[journal.Fault], what_if: bool) -> None:
    for fault in faults[:_MOST_SHOWN]:
        common.write(f"skipped: {common.printable(str(fault))}\n")
    if len(faults) > _MOST_SHOWN:
        common.write(f"skipped: {len(faults) - _MOST_SHOWN} more\n")
    if report.skipped:
        common.write(f"skipped: {report.skipped} events of sessions that began before this journal\n")
    counts = f"{report.n_decisions} decisions in {report.n_sessions} sessions, {report.n_events} events"
    if report.verified:
        verdict = "verified" if _whole(report, faults) else "not the whole journal, but no mismatch in the rest"
        common.write(f"{'nothing would differ' if what_if else verdict}: {counts}\n")
        return
    verdict = "would differ" if what_if else "mismatch"
    common.write(f"{verdict}: {len(report.differences)} of {counts}\n")
    for difference in report.differences:
        event = difference.event
        place = f"session {event.session} turn {event.turn}, event {event.number}"
        common.write(f"{place}\n  recorded {_line(difference.recorded)}\n  replayed {_line(difference.decided)}\n")


def _line(decided: Decided | None) -> str:
    if decided is None:
        return "nothing"
    return f"{decided.reason_id}: {REASONS[decided.reason_id].meaning} {common.printable(decided.raw)}"


def _as_dict(report: Report, faults: list[journal.Fault]) -> dict[str, object]:
    def one(difference: Difference) -> dict[str, object]:
        recorded, decided = difference.recorded, difference.decided
        return {
            "event": difference.event.number,
            "session": difference.event.session,
            "turn": difference.event.turn,
            "recorded": recorded and recorded._asdict(),
            "decided": decided and decided._asdict(),
        }

    return {
        "verified": _whole(report, faults),
        "events": report.n_events,
        "decisions": report.n_decisions,
        "sessions": report.n_sessions,
        "skipped": report.skipped,
        "faults": [str(fault) for fault in faults],
        "differences": [one(difference) for difference in report.differences],
    }
