"""Actions of `flyball feedback` on examples: decisions, the data set, synthetic ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import Error, InvalidArgument, NotFound
from . import common
from .serve import store_url

if TYPE_CHECKING:
    from ..learn.synthesize import Outcome
    from ..scorecard.subjects import Subject
    from ..store import Example, Project, Store

_STATES = ("proposed", "approved", "rejected", "held_out")
_MOST_SHOWN = 50  # characters of a text in a table


def add(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the actions."""
    listing = actions.add_parser("examples", help="list examples", description="list examples", parents=[common.JSON])
    listing.add_argument("--state", choices=_STATES, help="in this state alone")
    listing.set_defaults(run=show)
    for name, text in (
        ("approve", "let examples be trained on"),
        ("reject", "keep examples out of the data set"),
        ("hold-out", "test with examples, and never train on their questions"),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("id", nargs="+", metavar="ID", help="as flyball feedback examples has it")
        one.set_defaults(run=decide, state={"approve": "approved", "reject": "rejected"}.get(name, "held_out"))
        one.add_argument("--by", default="local", metavar="NAME", help="who decides (default: local)")
        of_project(one)
    text = "write the approved examples as training reads them"
    writing = actions.add_parser("dataset", help=text, description=text, parents=[common.JSON])
    writing.add_argument("file", metavar="FILE", help="JSON lines to train on")
    writing.add_argument("--held-out", metavar="FILE", help="JSON lines to test with")
    writing.add_argument(
        "--most-per-voter", type=int, default=500, metavar="N", help="examples of one voter (default: 500)"
    )
    writing.set_defaults(run=dataset)
    text = "let a model write examples, and a checker refuse some"
    making = actions.add_parser("synthesize", help=text, description=text, parents=[common.JSON, common.MODEL])
    making.add_argument("--recipe", required=True, metavar="FILE", help="turkish-chat, python-pairs, or a TOML file")
    making.add_argument("--count", type=int, metavar="N", help="how many (default: the recipe's)")
    making.add_argument("--teacher", metavar="URL", help="a server with OpenAI's interface instead of a local model")
    making.add_argument("--teacher-model", metavar="NAME", help="which model of the server")
    making.add_argument(
        "--key-env", action="append", default=[], metavar="NAME",
        help="environment variable with a key of the server; repeated: keys are used in turn",
    )  # fmt: skip
    making.add_argument(
        "--per-minute", type=float, default=30, metavar="N", help="questions with one key a minute (default: 30)"
    )
    making.add_argument("--license", default="", metavar="TEXT", help="the teacher's license, kept with each example")
    making.set_defaults(run=synthesize)
    for one in (listing, writing):
        of_project(one)
    of_project(making, *common.MODEL_FLAGS)


def of_project(parser: argparse.ArgumentParser, *flags: str) -> None:
    """Flags that name the store and the project."""
    parser.add_argument("--project", default="default", metavar="NAME", help="whose (default: default)")
    common.add_flags(parser, flags)


@contextmanager
def opened(args: argparse.Namespace) -> Iterator[tuple[Store, Project]]:
    """The store of the settings, and the project."""
    try:
        from ..store import Store
    except (ModuleNotFoundError, InvalidArgument):
        what = "needs packages that are missing: pip install 'flyball[serve]'"
        raise NotFound("flyball feedback", what) from None
    url = store_url(common.read_settings(args))
    if url is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: feedback is kept in a store")
    with Store.open(url) as store:
        yield store, store.project(args.project)


def show(args: argparse.Namespace) -> int:
    """List them."""
    from ..store.question import plain

    with opened(args) as (_, project):
        found = list(project.examples.all([args.state] if args.state else _STATES))
    if args.json:
        common.write_json([vars(each) for each in found])
    elif found:
        rows = [(each.id, each.state, each.kind, _short(plain(each.question)), _short(each.answer)) for each in found]
        common.write_table([("ID", "STATE", "KIND", "QUESTION", "RIGHT"), *rows])
    else:
        common.write("There are no such examples; feedback with its question proposes them.\n")
    return common.SUCCESS


def decide(args: argparse.Namespace) -> int:
    """Approve, reject or hold out: all of them or none."""
    with opened(args) as (store, project), store.together():
        changed = [_decided(project, id, args.state, args.by) for id in args.id]
    if args.json:
        common.write_json([vars(each) for each in changed])
    else:
        common.write(f"{len(changed)} examples are {args.state.replace('_', ' ')}\n")
    return common.SUCCESS


def dataset(args: argparse.Namespace) -> int:
    """Write what can be trained on."""
    from ..learn.dataset import build

    if args.most_per_voter < 1:
        raise InvalidArgument("--most-per-voter", f"is {args.most_per_voter}, must be 1 or more")
    with opened(args) as (_, project):
        made = build(project.examples.all(), args.most_per_voter)
    if not made.train:
        raise InvalidArgument("data set", "is empty; flyball feedback approve ID, or /page, approves examples")
    path = made.save(args.file, args.held_out)
    if args.json:
        common.write_json({"file": str(path), **made.as_dict()})
        return common.SUCCESS
    common.write(f"{len(made.train)} examples to train on are in {path}, {len(made.held_out)} are held out\n")
    for reason, ids in made.left_out.items():
        common.write(f"  left out, {reason}: {len(ids)}\n")
    common.write(f"digest {made.digest}\n")
    return common.SUCCESS


def synthesize(args: argparse.Namespace) -> int:
    """Ask a teacher, and propose what passes."""
    from ..learn.recipe import Recipe
    from ..learn.synthesize import synthesize as make
    from ..store.question import plain

    if args.count is not None and args.count < 1:
        raise InvalidArgument("--count", f"is {args.count}, must be 1 or more")
    recipe = Recipe.load(args.recipe)
    progress = common.Progress()

    wanted = args.count or recipe.count
    n_seen = n_new = 0

    with opened(args) as (_, project), _teacher(args, progress) as teacher:

        def told(outcome: Outcome) -> None:
            """Propose at once: what a teacher has written is kept, whatever becomes of the rest."""
            nonlocal n_seen, n_new
            progress("examples", len(outcome.examples), wanted)
            n_new += sum(project.examples.propose(each) for each in outcome.examples[n_seen:])
            n_seen = len(outcome.examples)

        known = [plain(each.question) for each in project.examples.all()]
        try:
            outcome = make(recipe, teacher, known, args.count, args.license, told)
        except (Error, KeyboardInterrupt):
            progress.clear()
            common.say_error(f"{n_new} examples are proposed, and stay; of {wanted} that are wanted")
            raise
        progress.clear()
    if args.json:
        common.write_json({"proposed": n_new, "tries": outcome.n_tries, "refused": dict(outcome.refused)})
        return common.SUCCESS if n_new else common.FAILURE
    common.write(f"{n_new} examples are proposed, of {outcome.n_tries} answers\n")
    for reason, n in outcome.refused.most_common():
        common.write(f"  refused, {common.printable(reason)}: {n}\n")
    return common.SUCCESS if n_new else common.FAILURE


@contextmanager
def _teacher(args: argparse.Namespace, progress: common.Progress) -> Iterator[Subject]:
    from ..learn.teachers import Rotation
    from ..scorecard.subjects import LocalModel

    if args.teacher is None:
        if args.teacher_model or args.key_env:
            raise InvalidArgument("--key-env", "and --teacher-model are for a server; --teacher names it")
        with common.open_model(common.read_settings(args), progress) as model:
            yield LocalModel(model)
        return
    from ..learn.teachers import server_with_keys

    if args.model:
        raise InvalidArgument("MODEL", "and --teacher cannot be given together")
    if not 0 < args.per_minute <= 60_000:
        raise InvalidArgument("--per-minute", f"is {args.per_minute}, must be above 0 and at most 60000")
    keys = [common.key_of(name) for name in args.key_env] or [""]
    yield Rotation(server_with_keys(args.teacher, args.teacher_model or "", keys), args.per_minute)


def _decided(project: Project, id: str, state: str, by: str) -> Example:
    if (example := project.examples.get(id)) is None:
        raise NotFound(id, "no example of this project has this id; flyball feedback examples lists them")
    return project.examples.change(id, example.version, by=by, state=state)


def _short(text: str) -> str:
    line = common.printable(" ".join(text.split()))
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 3] + "..."
