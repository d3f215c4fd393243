"""`flyball feedback`: what was said of answers, and the examples that come of it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import Error, FormatError, InvalidArgument
from . import common, feedback_examples

if TYPE_CHECKING:
    from ..learn.analysis import Analysis
    from ..store import Feedback

_EVER = (0, 1 << 62)
_MOST_BYTES = 1 << 30
_MOST_SHOWN = 60  # characters of a text in a table
_SHOWN_PAIRS = 10


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser(
        "feedback", help="what was said of answers, and training examples of it", description=__doc__
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for action, text in (
        (give, "say of an answer that it is good or bad, or what is right"),
        (stats, "count what was said"),
        (show, "list what was said, latest first"),
        (export, "write all feedback as JSON lines"),
        (read, "read feedback that export has written"),
        (analyze, "what is missing, what repeats, what contradicts"),
    ):
        name = {"give": "add", "show": "list", "read": "import"}.get(action.__name__, action.__name__)
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        feedback_examples.of_project(one)
        one.set_defaults(run=action)
        if action is give:
            _add_giving(one)
        if action is show:
            one.add_argument("-n", dest="most", type=int, default=20, metavar="N", help="at most so many (default: 20)")
        if action in (export, read):
            one.add_argument("file", metavar="FILE", help="JSON lines" + ("; -: standard output" * (action is export)))
    feedback_examples.add(actions)


def _add_giving(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "answer_id", nargs="?", metavar="DIGEST|RECEIPT", help="the answer's digest, or its receipt's file"
    )
    parser.add_argument("--rating", choices=("good", "bad"))
    parser.add_argument("--score", type=int, metavar="N", help="1 (bad) to 5 (good)")
    for name, metavar, text in (
        ("correction", "TEXT", "the right answer"),
        ("reason", "TEXT", "why"),
        ("question", "TEXT", "what the user asked"),
        ("messages", "FILE", "instead: a JSON list of {role, content}"),
        ("answer", "TEXT", "the answer's text"),
        ("model", "NAME", "the model's name"),
        ("family", "TEXT", "a label of questions that are alike"),
        ("batch", "ID", "instead: bad feedback for each failed item of this batch"),
    ):
        parser.add_argument(f"--{name}", dest=f"of_{name}", metavar=metavar, help=text)
    parser.add_argument("--voter", default="local", metavar="NAME", help="who says it (default: local)")
    parser.add_argument(
        "--source", default="api", choices=("chat", "repl", "page", "api", "python", "guardian", "task"),
        help="guardian: a program that checks answers; task: one that failed (default: api)",
    )  # fmt: skip


def give(args: argparse.Namespace) -> int:
    """Add one, or those of a batch's failed items."""
    from ..learn import giving
    from ..store.feedback import Feedback, answer_id

    if args.of_batch is not None:
        with feedback_examples.opened(args) as (_, project):
            n = giving.of_failed_items(project, args.of_batch, args.voter)
        common.write(f"{n} failed items of {common.printable(args.of_batch)} are feedback\n")
        return common.SUCCESS
    texts = {name: getattr(args, f"of_{name}") for name in ("correction", "reason", "family", "model", "answer")}
    said = {name: common.argument_text(text) for name, text in texts.items() if text is not None}
    who = {"rating": args.rating, "score": args.score, "voter": args.voter, "source": args.source}
    members: dict[str, Any] = {"question": _question(args)} | _answer(args.answer_id) | said | who
    if not members.get("answer_id"):
        if members["question"] is None and members.get("answer") is None:
            raise InvalidArgument("DIGEST", "is missing; without one, --question and --answer say what is judged")
        members["answer_id"] = answer_id(members["question"], members.get("answer"))
    new = Feedback(**members)
    if new.is_withdrawn:
        raise InvalidArgument("--rating", "is missing; give --rating, --score, --correction or --reason")
    with feedback_examples.opened(args) as (_, project):
        stored = project.feedback.put(new, merge=True)
    if args.json:
        common.write_json(vars(stored))
    else:
        common.write(f"kept for {stored.answer_id}\n")
    return common.SUCCESS


def stats(args: argparse.Namespace) -> int:
    """Count."""
    from ..learn.analysis import statistics

    with feedback_examples.opened(args) as (_, project):
        counted, states = statistics(project.feedback.between(*_EVER)), project.examples.counts()
    if args.json:
        common.write_json({**vars(counted), "examples": states})
        return common.SUCCESS
    rows = [
        ("feedback", counted.n),
        ("corrections", counted.n_corrections),
        ("without question", counted.n_without_question),
    ]
    for what in ("ratings", "sources", "models", "voters"):
        rows += [(f"{what[:-1]} {name}", n) for name, n in sorted(getattr(counted, what).items())]
    common.write_table(rows + [(f"examples {state}", n) for state, n in states.items()], right=[1])
    return common.SUCCESS


def show(args: argparse.Namespace) -> int:
    """List."""
    with feedback_examples.opened(args) as (_, project):
        votes = list(project.feedback.between(*_EVER))[-max(args.most, 0) :][::-1]
    if args.json:
        common.write_json([vars(vote) for vote in votes])
    elif votes:
        common.write_table(
            [("ANSWER", "VOTER", "SOURCE", "SAYS", "QUESTION", "CORRECTION OR REASON"), *map(_row, votes)]
        )
    else:
        common.write("There is no feedback; /good, /bad and /correct in flyball chat give some.\n")
    return common.SUCCESS


def export(args: argparse.Namespace) -> int:
    """Write all of it."""
    with feedback_examples.opened(args) as (_, project):
        lines = [json.dumps(vars(vote)) + "\n" for vote in project.feedback.between(*_EVER)]
    if args.file == "-":
        common.write("".join(lines))
        return common.SUCCESS
    path = files.write(args.file, "".join(lines))
    _say(args, {"file": str(path), "n": len(lines)}, f"{len(lines)} votes are in {path}\n")
    return common.SUCCESS


def read(args: argparse.Namespace) -> int:
    """Read what export has written: all lines or none."""
    with feedback_examples.opened(args) as (store, project):
        given = list(_parsed(args.file))
        with store.together():
            for number, vote in given:
                try:
                    project.feedback.put(vote, most_a_day=None)
                except Error as error:
                    raise error.in_file(f"{args.file}:{number}") from None
    _say(args, {"file": args.file, "n": len(given)}, f"{len(given)} votes were read\n")
    return common.SUCCESS


def analyze(args: argparse.Namespace) -> int:
    """Say what is missing and what disagrees."""
    from ..learn import analysis

    with feedback_examples.opened(args) as (_, project):
        found = analysis.analyze(project.feedback.between(*_EVER), project.examples.all())
    if args.json:
        common.write_json(found.as_dict())
    else:
        _tell(found)
    return common.SUCCESS


def _tell(found: Analysis) -> None:
    from ..learn.analysis import CORRECTIONS_NEEDED

    common.write(f"{found.n_corrections} corrections; {_until(found.n_needed, CORRECTIONS_NEEDED)}\n")
    for each in found.families:
        about = f"{each.n_bad} bad answers, {each.n_corrections} corrections"
        common.write(f"  {common.printable(each.family)}: {about}; {_until(each.n_needed, CORRECTIONS_NEEDED)}\n")
    near = [f"{a} and {b} ({100 * similarity:.0f} %)" for a, b, similarity in found.near]
    contradictions = [f"{_short(each['question'])}: {', '.join(each['ids'])}" for each in found.contradictions]
    conflicts = [
        f"{_short(each['question'] or each['answer_id'])}: good by {', '.join(each['good'])},"
        f" bad by {', '.join(each['bad'])}"
        for each in found.conflicts
    ]
    for title, rows in (
        ("nearly the same question", near),
        ("contradictory corrections", contradictions),
        ("found good and bad", conflicts),
    ):
        common.write(f"{title}: {len(rows)}\n" + "".join(f"  {common.printable(row)}\n" for row in rows[:_SHOWN_PAIRS]))


def _until(n: int, needed: int) -> str:
    return f"{n} more until {needed}" if n else f"at least {needed}"


def _say(args: argparse.Namespace, members: Mapping[str, object], text: str) -> None:
    if args.json:
        common.write_json(members)
    else:
        common.write(text)


def _row(vote: Feedback) -> tuple[str, ...]:
    from ..store.question import plain

    says = vote.rating or ("" if vote.score is None else f"{vote.score} of 5")
    question = "" if vote.question is None else _short(plain(vote.question))
    return vote.answer_id[:16], vote.voter, vote.source, says, question, _short(vote.correction or vote.reason or "")


def _short(text: str) -> str:
    line = common.printable(" ".join(text.split()))
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 3] + "..."


def _question(args: argparse.Namespace) -> str | None:
    from ..store.question import as_json

    if args.of_question is not None and args.of_messages is not None:
        raise InvalidArgument("--question", "and --messages cannot be given together")
    if args.of_question is not None:
        return as_json([{"role": "user", "content": common.argument_text(args.of_question)}])
    if args.of_messages is None:
        return None
    try:
        return as_json(json.loads(common.read_text(args.of_messages)))
    except (ValueError, RecursionError) as error:
        raise InvalidArgument(args.of_messages, f"has no messages: {error}") from None


def _answer(named: str | None) -> dict[str, Any]:
    from ..engine.receipt import Receipt
    from ..learn.giving import about

    if named is None:
        return {}
    if len(named) == 64 and set(named) <= set("0123456789abcdef"):
        return {"answer_id": named}
    return about(Receipt.load(named))


def _parsed(file: str) -> Iterator[tuple[int, Feedback]]:
    from ..store.feedback import Feedback
    from ..store.question import as_json

    known = {field.name for field in fields(Feedback)}
    for number, line in enumerate(files.read(file, _MOST_BYTES).split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            members = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{file}:{number}", f"is not JSON: {error}") from None
        if not isinstance(members, dict) or "answer_id" not in members or set(members) - known:
            raise FormatError(f"{file}:{number}", "is no line that flyball feedback export or the REPL has written")
        if isinstance(members.get("question"), list):  # the REPL's: messages
            members["question"] = as_json(members["question"])
        yield number, Feedback(**members)
