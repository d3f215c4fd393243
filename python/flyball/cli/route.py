"""`flyball route`: which model and adapter a text goes to, and why; whether a registry can be used, and pays."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidArgument, NotFound
from . import common, route_inputs
from .route_evidence import evidence
from .route_inputs import FILE


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("route", help="routes of requests to models and adapters", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    explaining = actions.add_parser("explain", help="where a text would go, and why", parents=[common.JSON])
    explaining.add_argument("text", metavar="TEXT")
    checking = actions.add_parser(
        "check",
        help="whether a registry can be used; with --journal, make recorded choices again",
        parents=[common.JSON],
    )
    checking.add_argument("--journal", metavar="FILE", help="newest file of a server's journal")
    proving = actions.add_parser(
        "evidence", help="how often routes are right, and whether they pay", parents=[common.JSON]
    )
    proving.add_argument("--curve", action="store_true", help="what fewer examples would give, too; takes longer")
    correcting = actions.add_parser("correct", help="say whose a text should have been", parents=[common.JSON])
    correcting.add_argument("text", metavar="TEXT")
    correcting.add_argument("intent", metavar="INTENT")
    correcting.add_argument("--remove", action="store_true", help="forget what was said of this text")
    for each in (explaining, checking, proving, correcting):
        each.add_argument("--routes", metavar="FILE", help=f"the registry (default: serve.routes, else {FILE})")
        each.add_argument("--project", default="default", help="whose corrections and records (default: default)")
        each.add_argument(
            "--serve",
            dest="models",
            action="append",
            default=[],
            metavar="[NAME=]MODEL",
            help="a model that the server is started with; may be repeated (default: those of the configuration)",
        )
    for each, run in ((explaining, explain), (checking, check), (proving, evidence), (correcting, correct)):
        common.add_flags(each, [])
        each.set_defaults(run=run)


def explain(args: argparse.Namespace) -> int:
    """Where a text would go."""
    from ..route.choice import choose

    with route_inputs.opened(args) as given:
        question = given.question(args.text)
    choice = choose(question)
    if args.json:
        common.write_json({"choice": choice.as_dict(), "question": question.as_dict()})
        return common.SUCCESS
    for name, p in list(question.p.items())[:3]:
        common.write(f"{name:16} {p:.3f}\n")
    if question.p:
        worth = "certified" if question.certified else "not certified: too few examples, or too many wrong"
        common.write(f"floor            {question.floor:.3f}, {worth}\n")
    for model, score in choice.scores.items():
        common.write(
            f"{common.printable(model):16} {score.total:.3f} = quality {score.quality:.3f}"
            f" - cost {question.cost:g} x {score.cost:.2f}\n"
        )
    for model, why in choice.left_out.items():
        common.write(f"{common.printable(model):16} left out: {why}\n")
    adapter = f" with adapter {choice.adapter[:12]}" if choice.adapter else ""
    common.write(f"goes to          {common.printable(choice.model or 'nobody')}{adapter}, {choice.reason}\n")
    return common.SUCCESS


def check(args: argparse.Namespace) -> int:
    """Check a registry, or the choices of a journal."""
    if args.journal:
        return _check_journal(args)
    with route_inputs.opened(args) as given:
        registry, floors = given.registry, given.intents.floors
    if args.json:
        of = {name: floor.as_dict() for name, floor in floors.of.items()}
        together = floors.together.as_dict()
        common.write_json(
            {"registry": registry.digest, "floors": of, "together": together, "suggested": floors.suggested}
        )
        return common.SUCCESS
    table: list[Sequence[object]] = [
        ("INTENT", "MODELS", "FLOOR", "FALLBACK", "TAKEN", "WRONG", "AT MOST", "CERTIFIED")
    ]
    for name, intent in registry.intents.items():
        floor = floors.of[name]
        said = "yes" if floor.certified else "no" if intent.floor else "-"
        upper = f"{100 * floor.upper:.1f} %"
        models = common.printable(" ".join(intent.models))
        table.append((name, models, f"{intent.floor:g}", intent.fallback, floor.n_accepted, floor.n_wrong, upper, said))
    common.write_table(table, right=(2, 4, 5, 6))
    whole = floors.together
    common.write(
        f"floors take {whole.n_accepted} of {floors.n} texts that were not seen, {whole.n_wrong} of them wrong;"
        f" at most {100 * whole.upper:.1f} % at 95 %: {'' if whole.certified else 'not '}certified\n"
    )
    common.write(route_inputs.suggestion(registry, floors.suggested))
    return common.SUCCESS


def _check_journal(args: argparse.Namespace) -> int:
    from .. import journal
    from ..route.replay import replay

    if not journal.files_of(args.journal):
        raise NotFound(args.journal, "does not exist")
    faults: list[journal.Fault] = []
    report = replay(journal.read(args.journal, faults))
    if not report.n_choices:
        raise NotFound(args.journal, "has no choice of a route")
    is_whole = not report.differences and not faults
    if args.json:
        differences = [vars(each) for each in report.differences]
        about: dict[str, Any] = {"choices": report.n_choices, "repeated": report.repeated, "differences": differences}
        common.write_json(about | {"verified": is_whole, "faults": [str(fault) for fault in faults]})
    else:
        for fault in faults:
            common.write(f"skipped: {common.printable(str(fault))}\n")
        for each in report.differences:
            recorded, chosen = each.recorded.get("model"), each.chosen["model"]
            common.write(f"event {each.number}: recorded {recorded}, chosen again {chosen} ({each.chosen['reason']})\n")
        verdict = "verified" if is_whole else "mismatch" if report.differences else "no mismatch in what can be read"
        common.write(f"{verdict}: {report.n_choices} choices, {report.repeated} of them of repeated requests\n")
    return common.SUCCESS if is_whole else common.FAILURE


def correct(args: argparse.Namespace) -> int:
    """Store a correction."""
    with route_inputs.project_of(args, create=True) as project:
        if project is None:
            raise InvalidArgument("serve.store", "is none, or is not there yet: corrections are kept in a store")
        registry = route_inputs.registry_of(args)
        if args.intent not in registry.intents:
            raise NotFound(args.intent, f"is no intent; there are: {', '.join(registry.intents)}")
        if args.remove:
            project.route_corrections.remove(args.text)
        else:
            project.route_corrections.put(args.text, args.intent)
    if args.json:
        common.write_json({"text": args.text, "intent": args.intent, "removed": args.remove})
    else:
        what = "forgotten" if args.remove else f"{common.printable(args.text)}: {args.intent}"
        common.write(f"{what}; servers know it with the next request\n")
    return common.SUCCESS
