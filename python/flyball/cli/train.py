"""`flyball train`: an adapter from examples, for the very weights that are served."""

from __future__ import annotations

import argparse
import math
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FormatError, InvalidArgument, NotFound
from ..paths import expanded
from ..train import curve, examples
from ..train.examples import Example
from ..train.recipe import METHODS, Recipe
from . import common, feedback_examples
from .terminal import is_terminal

if TYPE_CHECKING:
    from ..train.run import Run, Trained

_FLAGS = {  # flag -> (field of the recipe, help)
    "--rank": ("rank", "of the adapter"),
    "--alpha": ("alpha", "alpha / rank scales the adapter"),
    "--lr": ("rate", "learning rate"),
    "--steps": ("steps", "of the optimizer"),
    "--batch": ("batch", "examples of a step"),
    "--seed": ("seed", "of the first weights, the order and the replay"),
    "--replay": ("replay", "answers of the base to other questions, which it is to keep"),
    "--beta": ("beta", "of dpo and kto: how far answers may move from the base's"),
    "--longest": ("longest", "tokens of an example, its prompt included"),
}
_SHOWN_SECONDS = 0.2


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "train", help="train a LoRA adapter from examples", description=__doc__,
        parents=[common.MODEL_FLAG, common.JSON],
    )  # fmt: skip
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--data", metavar="FILE", help="examples to train on, as JSON lines")
    data.add_argument("--store", action="store_true", help="the approved examples of the project in the store")
    parser.add_argument("--held-out", metavar="FILE", help="examples that are measured and never trained on")
    parser.add_argument("--method", choices=METHODS, default=Recipe.method, help=f"default: {Recipe.method}")
    for flag, (field, text) in _FLAGS.items():
        default = getattr(Recipe, field)
        parser.add_argument(
            flag,
            dest=f"recipe_{field}",
            type=type(default),
            default=default,
            metavar="N",
            help=f"{text} (default: {default:g})",
        )
    parser.add_argument("--epochs", type=float, metavar="N", help="passes over examples and replay, instead of --steps")
    parser.add_argument(
        "--train-threads", type=int, default=1, metavar="N", help="threads of training (default: 1; more may wait)"
    )
    parser.add_argument(
        "--low-memory", action="store_true", help="keep weights quantized (default: if they do not fit)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of adapters (default: that of flyball adapters)")
    parser.add_argument("--parent", metavar="DIR", help="folder of an adapter to begin with")
    parser.add_argument("--resume", action="store_true", help="go on with this same run, which was stopped")
    feedback_examples.of_project(parser, "--isa", "--threads", "--ctx")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, or keep a checkpoint where Ctrl-C stopped it."""
    from ..learn.folders import home

    if args.train_threads < 1:
        raise InvalidArgument("--train-threads", f"is {args.train_threads}, must be at least 1")
    data, held_out = _examples(args)
    recipe = _recipe(args, len(data))
    out = Path(expanded(args.out)) if args.out else home()
    try:
        from ..train.run import Run
    except ModuleNotFoundError as error:
        what = f"is missing, which training needs: pip install 'flyball[train]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    progress = common.Progress()
    with common.open_model(common.read_settings(args), progress) as model:
        prepared = Run(
            model, data, held_out, recipe, out,
            parent=Path(expanded(args.parent)) if args.parent else None, threads=args.train_threads,
            low_memory=args.low_memory or None, progress=progress,
        )  # fmt: skip
        progress.clear()
        return _train(prepared, args)


def _train(prepared: Run, args: argparse.Namespace) -> int:
    steps = prepared.recipe.steps
    if args.resume:
        common.say_error(f"{prepared.resume()} of {steps} steps are done")
    if prepared.unused:
        common.say_error(f"{len(prepared.unused)} bad answers are not used: --method kto learns from them")
    line = _Line(prepared)
    with _stoppable() as stopped:
        whole = prepared.train(line, stopped)
    line.clear()
    if not whole:
        done = len(prepared.trainer.losses)
        common.say_error(f"stopped after {done} of {steps} steps; the same command with --resume goes on")
        return common.ERROR
    trained = prepared.finish()
    if args.json:
        common.write_json({"folder": str(trained.folder), "new": trained.new, "manifest": trained.manifest})
    else:
        _show(prepared, trained)
    return common.SUCCESS


def _recipe(args: argparse.Namespace, n_examples: int) -> Recipe:
    given: dict[str, Any] = {field: getattr(args, f"recipe_{field}") for field, _ in _FLAGS.values()}
    if args.epochs is not None:
        if not 0 < args.epochs <= 10_000:
            raise InvalidArgument("--epochs", f"is {args.epochs:g}, must be above 0 and at most 10000")
        given["steps"] = math.ceil(args.epochs * (n_examples + given["replay"]) / max(given["batch"], 1))
    return Recipe(method=args.method, **given)


def _examples(args: argparse.Namespace) -> tuple[list[Example], list[Example]]:
    """Those to train on and those held out."""
    held_out = examples.read(args.held_out) if args.held_out else []
    if args.data:
        return examples.read(args.data), held_out
    from ..learn.dataset import build, line_of

    with feedback_examples.opened(args) as (_, project):
        found = build(project.examples.all())
    sides = (found.train, found.held_out)
    train, own = ([Example.of(line_of(one), f"example {one.id}") for one in rows] for rows in sides)
    if not train:
        raise FormatError("store", "has no approved examples to train on; flyball feedback examples lists what it has")
    return train, [*own, *held_out]


@contextmanager
def _stoppable() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM asked for an end; a second one does not wait for the step."""
    asked: list[int] = []
    numbers: tuple[int, ...] = (signal.SIGINT, signal.SIGTERM)
    usual = {number: signal.getsignal(number) for number in numbers}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, usual[number])

    for number in usual:
        signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)


class _Line:
    """The line of progress on a terminal: steps, loss, its curve and the time that is left."""

    def __init__(self, prepared: Run) -> None:
        self._trainer = prepared.trainer
        self._steps = prepared.recipe.steps
        self._first = len(prepared.trainer.losses)
        self._start = self._shown = time.monotonic()
        self._watched = sys.stderr is not None and is_terminal(sys.stderr)

    def __call__(self, done: int, loss: float) -> None:
        now = time.monotonic()
        if self._watched and now - self._shown >= _SHOWN_SECONDS:
            self._shown = now
            left = (now - self._start) / (done - self._first) * (self._steps - done)
            text = f"step {done} of {self._steps}, loss {loss:.3f}, {left:.0f} s left "
            width = shutil.get_terminal_size().columns - len(text) - 1
            bars = curve.sparkline(self._trainer.losses, width) if width > 0 else ""
            common.write_error(f"\r\x1b[K{text}{bars}")

    def clear(self) -> None:
        """Erase the line."""
        if self._watched:
            common.write_error("\r\x1b[K")


def _show(prepared: Run, trained: Trained) -> None:
    manifest, losses = trained.manifest, prepared.trainer.losses
    n_replay = sum(row.kind == "replay" for row in prepared.rows)
    rows = [
        ("data", f"{len(prepared.rows) - n_replay} examples, {n_replay} replayed answers"),
        ("method", f"{manifest['method']}, {len(losses)} steps, rank {prepared.recipe.rank}"),
        ("loss", f"{losses[0]:.3f} to {losses[-1]:.3f}  {curve.sparkline(losses, 40)}"),
    ]
    if prepared.held_out:
        first, last = (manifest["losses"][f"held_out_{end}"] for end in ("first", "last"))
        rows.append(("held out", f"{len(prepared.held_out)} examples, loss {first:.3f} to {last:.3f}"))
    rows += [
        ("parity", f"served as trained, within {100 * manifest['parity']['adapter']:.1f} % of what it changes"),
        ("adapter", manifest["digest"]),
        ("folder", f"{trained.folder}{'' if trained.new else ', as it was there already'}"),
    ]
    common.write_table(rows)
