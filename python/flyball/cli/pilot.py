"""`flyball pilot`: a scene of several agents against live models or a stub, judged; and where the time went."""

from __future__ import annotations

import argparse
import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.configuration import named_models
from ..errors import InvalidArgument
from ..paths import expanded
from . import common

if TYPE_CHECKING:
    from ..engine.model import Model
    from ..pilot.difference import Difference
    from ..pilot.record import Record
    from ..pilot.run import Plan

FOLDER = "runs/perf_reports"
_MOST_TURNS = 10_000
_LIVE_FLAGS = ("model", "ollama", "name", "key_env", "profile", "variants", "skip_prefetch", "prefetch_bytes")


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command."""
    parser = commands.add_parser("pilot", help="what live models cost a turn of several agents", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    one = actions.add_parser(
        "run",
        help="play turns and judge them",
        description="Play turns of the frozen scene, write a report and a record, and judge them.",
        epilog="Exit codes: 0 GO, 1 NO-GO, 2 WATCH or error.",
        parents=[common.JSON],
    )
    one.add_argument(
        "model", nargs="?", metavar="MODEL|URL", help="with --live: GGUF file (default: the bundled model) or address"
    )
    kind = one.add_mutually_exclusive_group()
    kind.add_argument("--live", action="store_true", help="ask live models")
    kind.add_argument("--stub", action="store_true", help="replay the record of a live run (the default)")
    one.add_argument("--turns", type=int, default=3, metavar="N", help="turns to play (default: 3; a GO takes 59)")
    one.add_argument("--ollama", action="store_true", help="with --live: ask Ollama at OLLAMA_HOST and OLLAMA_PORT")
    one.add_argument("--model", dest="name", metavar="NAME", help="which model of a server")
    one.add_argument("--key-env", metavar="NAME", help="environment variable with a server's API key")
    one.add_argument("--profile", metavar="NAME", help="default or latency (or FLYBALL_LLM_PROFILE)")
    one.add_argument("--variants", metavar="LIST", help="event=NAME,judge=default (or FLYBALL_MODEL_VARIANTS)")
    one.add_argument(
        "--skip-prefetch", action="store_true", help="read no file ahead (or FLYBALL_SKIP_MODEL_PREFETCH=1)"
    )
    one.add_argument(
        "--prefetch-bytes", type=int, metavar="N", help="of each file (default: 65536, or FLYBALL_MODEL_PREFETCH_BYTES)"
    )
    one.add_argument(
        "--record", metavar="FILE", help="with --stub: the live record (default: the newest of the folder)"
    )
    one.add_argument("--recorded-times", action="store_true", help="with --stub: wait as long as the live model took")
    one.add_argument(
        "--delay", default="", metavar="MS", help="with --stub: wait more; event=250,judge=3000, or a number"
    )
    one.add_argument("--random-choice", action="store_true", help="the players choose by a seeded random generator")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="of choices and answers (default: 0)")
    one.add_argument("--reset-state", action="store_true", help="begin anew, not after the last turn of this tag")
    one.add_argument("--tag", default="pilot", metavar="NAME", help="names the run and its state (default: pilot)")
    one.add_argument("--report-dir", default=FOLDER, metavar="DIR", help=f"folder of the reports (default: {FOLDER})")
    common.add_flags(one, common.MODEL_FLAGS)
    one.set_defaults(run=run)
    two = actions.add_parser(
        "diff",
        help="explain where the time went, agent by agent",
        description="What the second record took more than the first, paired by turn and agent.",
        parents=[common.JSON],
    )
    two.add_argument("a", metavar="A", help="a record, such as the stub's")
    two.add_argument("b", metavar="B", help="another, such as the live one")
    two.set_defaults(run=diff)


def run(args: argparse.Namespace) -> int:
    """Play, write and judge."""
    from ..pilot import report
    from ..pilot.run import Plan
    from ..pilot.verdict import Verdict

    _check(args)
    folder = Path(expanded(args.report_dir))
    plan = Plan(folder, args.tag, args.turns, args.seed, args.random_choice)
    record = _live(args, plan) if args.live else _stub(args, plan)
    path, page = report.write(folder, record)
    if args.json:
        common.write_json(record.as_dict() | {"file": str(path)})
    else:
        common.write(f"{report.text(record)}{path}, {page}\n")
    codes = {Verdict.GO: common.SUCCESS, Verdict.NO_GO: common.FAILURE, Verdict.WATCH: common.ERROR}
    return codes[record.decision.verdict]


def diff(args: argparse.Namespace) -> int:
    """Compare two records."""
    from ..pilot.difference import difference
    from ..pilot.record import Record

    found = difference(Record.load(args.a), Record.load(args.b))
    if args.json:
        common.write_json(found.as_dict())
    else:
        _show(found)
    return common.SUCCESS


def _check(args: argparse.Namespace) -> None:
    if not 1 <= args.turns <= _MOST_TURNS:
        raise InvalidArgument("--turns", f"is {args.turns}, must be from 1 to {_MOST_TURNS}")
    if not 0 <= args.seed < 1 << 53:
        raise InvalidArgument("--seed", f"is {args.seed}, must be from 0 to 2^53 - 1")
    if not args.tag.isascii() or not all(c.isalnum() or c in "_-" for c in args.tag) or not 1 <= len(args.tag) <= 80:
        raise InvalidArgument("--tag", f"is {args.tag[:80]!r}, must be letters, digits, _ and -")
    given = vars(args)
    for flag in _LIVE_FLAGS if not args.live else ("record", "recorded_times", "delay"):
        if given[flag]:
            kind = "a stub, which replays a record" if args.live else "live models; give --live"
            raise InvalidArgument(flag.replace("_", "-"), f"is for {kind}")


def _live(args: argparse.Namespace, plan: Plan) -> Record:
    from ..pilot import live, run
    from ..pilot.profiles import DEFAULT, prefetch_bytes, variants_of
    from ..pilot.record import Profile

    name = args.profile or os.environ.get("FLYBALL_LLM_PROFILE") or DEFAULT
    variants = variants_of(name, _variants(args))
    n_bytes = prefetch_bytes(args.prefetch_bytes, args.skip_prefetch, os.environ)
    if url := _url(args):
        models = live.on_server(variants, args.name or "", url, common.key_of(args.key_env))
        return run.live(plan, models, Profile(name, variants, {}), args.reset_state)
    with ExitStack() as opened:
        models, read = live.in_process(variants, lambda variant: _open(args, variant, opened), n_bytes)
        return run.live(plan, models, Profile(name, variants, read), args.reset_state)


def _stub(args: argparse.Namespace, plan: Plan) -> Record:
    from ..pilot import run, stub

    times = stub.Times.of(args.recorded_times, args.delay)
    return run.replay(plan, Path(expanded(args.record)) if args.record else stub.newest(plan.folder), times)


def _variants(args: argparse.Namespace) -> str:
    """The overrides; those of the command line replace those of the environment."""
    given: str | None = args.variants
    return os.environ.get("FLYBALL_MODEL_VARIANTS", "") if given is None else given


def _url(args: argparse.Namespace) -> str:
    """The address of the server, or "" for models in this process."""
    from ..pilot.models import ollama_url

    is_address = (args.model or "").startswith(("http://", "https://"))
    if args.ollama and args.model:
        raise InvalidArgument("--ollama", "takes its address from OLLAMA_HOST; leave out the model, --model names it")
    if not args.ollama and not is_address:
        for flag, value in (("--model", args.name), ("--key-env", args.key_env)):
            if value is not None:
                raise InvalidArgument(flag, "is for a server; give its address, or --ollama")
        return ""
    loading = ("isa", "threads", "decode_threads", "context", "cache_type", "prefix_cache_mb", "config")
    for name in [name for name in loading if vars(args)[name] is not None] + ["set"] * bool(args.set):
        raise InvalidArgument(name, "is set for a model that this command loads; the server has its own settings")
    return ollama_url(os.environ) if args.ollama else str(args.model)


def _open(args: argparse.Namespace, variant: str, opened: ExitStack) -> Model:
    """A variant: of the command line, or of the models that the configuration names."""
    if variant == "default":
        settings = common.read_settings(args)
    elif variant in named_models(args.config):
        settings = common.read_settings(argparse.Namespace(**vars(args) | {"model": None}), variant)
    else:
        what = f"has {variant!r}, which the configuration does not name; write models.{variant}.model = 'FILE' there"
        raise InvalidArgument("variants", f"{what}, or give its agent the variant default")
    if settings["adapter"].value:
        raise InvalidArgument("adapter", f"of {variant} is not asked by the pilot; merge it into a model file")
    progress = common.Progress()
    try:
        model = opened.enter_context(common.open_model(settings, progress))
        model.fingerprint(progress)  # receipts need it, and no turn should wait for it
    finally:
        progress.clear()
    return model


def _show(found: Difference) -> None:
    from ..pilot.split import PARTS

    rows = [
        ["", "BEFORE ms", "AFTER ms", "ADDED ms", *(f"{part.upper()} ms" for part in PARTS), "P50 ADDED (95 %)", ""]
    ]
    for each in found.added:
        bounds = " to ".join("-" if bound is None else f"{bound:.1f}" for bound in (each.low_ms, each.high_ms))
        times = [f"{value:.1f}" for value in (each.before_ms, each.after_ms)]
        added = [f"{value:+.1f}" for value in (each.added_ms, *(each.parts[part] for part in PARTS))]
        rows.append([each.name, *times, *added, f"{each.p50_ms:+.1f} ({bounds})", each.beyond_chance or "-"])
    common.write_table(rows, right=range(1, 8))
    cards = " and ".join(map(str, found.share_cards))
    conflicts = f"{found.n_equal_conflicts} of {found.n_turns}"
    common.write(
        f"{found.n_turns} turns, averages of each; {found.n_equal_answers} of {found.n_answers} answers are equal,"
        f" {found.n_equal_digests} of {found.n_digests} digests, {conflicts} conflicts;"
        f" share cards {cards}; verdicts {' and '.join(found.verdicts)}\n"
    )
    for note in found.notes:
        common.write(f"note: {common.printable(note)}\n")
