"""`flyball route`: which model and adapter a text goes to, and why; whether a registry can be used, and pays."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.model import Model
from ..errors import InvalidArgument, NotFound
from . import common

if TYPE_CHECKING:
    from ..route.choice import Question
    from ..route.history import History
    from ..route.intents import Intents
    from ..route.registry import Registry
    from ..serve.models import Entry
    from ..store import Project, Store

_FILE = "routes.toml"
_FLOORS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_HALF_LIVES = 10
_SIMULATED, _SEEDS = 100, 20  # requests of each task, runs


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
    correcting = actions.add_parser("correct", help="say whose a text should have been", parents=[common.JSON])
    correcting.add_argument("text", metavar="TEXT")
    correcting.add_argument("intent", metavar="INTENT")
    correcting.add_argument("--remove", action="store_true", help="forget what was said of this text")
    for each in (explaining, checking, proving, correcting):
        each.add_argument("--routes", metavar="FILE", help=f"the registry (default: serve.routes, else {_FILE})")
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

    with ExitStack() as stack:
        registry = _registry(args)
        project = _project(args, stack)
        intents = _intents(args, registry, project, stack)
        question = _question(registry, intents, _history(registry, project), args.text)
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
            f" - cost {registry.cost:g} x {score.cost:.2f}\n"
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
    with ExitStack() as stack:
        registry = _registry(args)
        intents = _intents(args, registry, _project(args, stack), stack)
    floors = intents.floors
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
        f" at most {100 * whole.upper:.1f} % at 95 %\n"
    )
    common.write(_suggestion(registry, floors.suggested))
    return common.SUCCESS


def _suggestion(registry: Registry, floor: float | None) -> str:
    wanted = f"{100 * registry.error:g} % wrong"
    if floor is None:
        return f"no floor for all intents can be certified for at most {wanted}: give more examples\n"
    return f"floor {floor:g} for all intents would be certified for at most {wanted}\n"


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


def evidence(args: argparse.Namespace) -> int:
    """Accuracy on texts that were not seen, floors, and models beside the best single one and chance."""
    from ..route import evidence as evidences

    with ExitStack() as stack:
        registry = _registry(args)
        project = _project(args, stack)
        intents = _intents(args, registry, project, stack)
        history = _history(registry, project)
    whole = evidences.accuracy(intents)
    rows = evidences.floor_table(intents, _FLOORS)
    models = {intent.task: intent.models for intent in registry.intents.values()}
    found = evidences.recorded(history, models, registry.cost)
    simulated = evidences.simulated(_SIMULATED, _SEEDS, registry.cost, registry.explore, registry.explored_share)
    if args.json:
        policies = None if found is None else found.as_dict()
        floors = [vars(row) for row in rows]
        about = {"accuracy": whole.as_dict(), "floors": floors, "recorded": policies}
        common.write_json(about | {"simulated": vars(simulated)})
        return common.SUCCESS
    common.write(
        f"right intents    {100 * whole.share:.1f} % of {whole.n} texts that were not seen"
        f" ({100 * whole.lower:.1f} to {100 * whole.upper:.1f} % at 95 %)\n\n"
    )
    table: list[Sequence[object]] = [("FLOOR", "TAKEN", "SHARE", "WRONG", "AT MOST")]
    for row in rows:
        share, upper = f"{100 * row.n_accepted / whole.n:.1f} %", f"{100 * row.upper:.1f} %"
        table.append((f"{row.floor:g}", row.n_accepted, share, row.n_wrong, upper))
    common.write_table(table, right=(0, 1, 2, 3, 4))
    common.write(f"\nsimulated: {_SEEDS} runs of {_SIMULATED} simple and {_SIMULATED} complex requests, all judged\n")
    each_of = [("POLICY", "GOOD", "MS")]
    each_of += [(name, f"{100 * simulated.good[name]:.1f} %", f"{simulated.ms[name]:.0f}") for name in simulated.good]
    common.write_table(each_of, right=(1, 2))
    if found is None:
        common.write("\nrecorded: nobody has rated an answer of two models yet\n")
        return common.SUCCESS
    common.write(
        f"\nrecorded, by what users said: routed {100 * found.routed:.1f} % good, all by {found.best_model}"
        f" {100 * found.best_single:.1f} %, by chance {100 * found.by_chance:.1f} %\n"
    )
    return common.SUCCESS


def correct(args: argparse.Namespace) -> int:
    """Store a correction."""
    with ExitStack() as stack:
        project = _project(args, stack)
        if project is None:
            raise InvalidArgument("serve.store", "is none, or is not there yet: corrections are kept in a store")
        registry = _registry(args, check=False)
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


def _registry(args: argparse.Namespace, check: bool = True) -> Registry:
    from ..route.registry import load

    settings = common.read_settings(args)
    path = args.routes or settings["serve.routes"].value or _FILE
    if not Path(path).expanduser().exists():
        raise NotFound(str(path), "does not exist; --routes names a registry, docs/routing.md shows one")
    registry = load(path)
    if check:
        registry.check(_served(args), _is_there)
    return registry


def _served(args: argparse.Namespace) -> list[str]:
    """The names that a server with these words and this configuration would have."""
    return [name for entry in _entries(args) for name in (entry.name, *entry.aliases)]


def _entries(args: argparse.Namespace) -> list[Entry]:
    from .serve import entries_of

    try:
        return entries_of(args)
    except ModuleNotFoundError as error:
        what = f"is missing, which servers need: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None


def _is_there(_model: str, digest: str) -> bool:
    from ..learn.folders import file_of

    return file_of(digest) is not None


def _project(args: argparse.Namespace, stack: ExitStack) -> Project | None:
    """The project in the servers' store; None where there is no store."""
    from .serve import store_url

    url = store_url(common.read_settings(args))
    if url is None or ("://" not in url and not Path(url).expanduser().exists() and args.action != "correct"):
        return None
    store: Store = stack.enter_context(_open(url))
    return store.project(args.project)


def _open(url: str) -> Store:
    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which the store needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    return Store.open(url)


def _intents(args: argparse.Namespace, registry: Registry, project: Project | None, stack: ExitStack) -> Intents:
    from ..route.intents import Intents

    said = [] if project is None else [(each.text, each.intent) for each in project.route_corrections.all()]
    judge = None
    if registry.judge:
        judge = stack.enter_context(_judge(args, registry.judge))
    return Intents.learn(registry, said, judge)


def _judge(args: argparse.Namespace, name: str) -> Model:
    return next(entry for entry in _entries(args) if name in (entry.name, *entry.aliases)).load()


def _history(registry: Registry, project: Project | None) -> History:
    from ..route.history import History

    today = datetime.datetime.now(datetime.UTC).date()
    start = today - datetime.timedelta(days=int(_HALF_LIVES * registry.half_life_days))
    rows = [] if project is None else project.tasks.since(start)
    return History.read(rows, today, registry.half_life_days)


def _question(registry: Registry, intents: Intents, history: History, text: str) -> Question:
    """As a server asks it where all models are well and nothing is too long."""
    from ..route.question import question_of

    return question_of(registry, intents.floors, intents.probabilities(text), history)
