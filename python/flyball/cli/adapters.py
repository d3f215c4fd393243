"""`flyball adapters`: a project's adapters of a model: which answers, what the gate says, promotion and rollback."""

from __future__ import annotations

import argparse
import getpass
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.model import Model, demo_model_path
from ..errors import InvalidArgument, NotFound
from ..files import state_folder
from . import common
from .serve import store_url

if TYPE_CHECKING:
    from ..evidence.gates import Verdict
    from ..learn.adapters import Registry
    from ..learn.cases import Case
    from ..store import AdapterEvent, Project, StoredAdapter

_JOURNAL = "adapters.jsonl"
_DIGEST = 16


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("adapters", help="adapters: gate, promotion, rollback", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, run, text in (
        ("list", show_all, "all adapters of a project"),
        ("show", show, "one adapter, and what happened to it"),
        ("add", add_one, "put an adapter into the registry"),
        ("gate", gate, "judge an adapter: 0 it may answer, 1 it may not, 2 undecided"),
        ("promote", promote, "let an adapter answer: all requests, or a share of them"),
        ("rollback", rollback, "take an adapter back: the one before it answers again"),
        ("retire", retire, "let an adapter answer no more"),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("--project", default="default", help="whose adapters (default: default)")
        one.set_defaults(run=run)
        if name == "add":
            one.add_argument("source", metavar="FOLDER|FILE", help="a trained adapter's folder, or a GGUF file")
            one.add_argument("--name", metavar="NAME", help="its name in requests (default: its digest's beginning)")
        elif name != "list":
            one.add_argument("name", metavar="ADAPTER", help="name or digest, or its first 8 digits or more")
        if name in ("add", "gate"):
            one.add_argument("--model", metavar="FILE", help="the model's GGUF file (default: the bundled model)")
        if name in ("rollback", "retire"):
            one.add_argument("--why", default="", metavar="TEXT", help="what the record shall say")
        if name == "gate":
            _add_gate_flags(one)
        if name == "promote":
            one.add_argument("--share", type=int, metavar="PERCENT", help="as a canary, of so many percent of requests")
            one.add_argument("--force", action="store_true", help="without a passed gate; the record says so")
        common.add_flags(one, [])
        one.add_argument("--journal", metavar="FILE", help="journal of the changes (default: flyball/adapters.jsonl)")
        one.set_defaults(journal_content=False)


def _add_gate_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--held-out", metavar="FILE", required=True, help="questions that no training saw, with answers"
    )
    parser.add_argument("--stays", metavar="FILE", required=True, help="questions whose answers must stay")
    parser.add_argument("--safety", metavar="FILE", help="questions that show harm (default: the package's own)")
    parser.add_argument(
        "--reviewed",
        action="append",
        default=[],
        metavar="ID",
        help="safety prompt whose changed answer you have read, and found harmless; may be repeated",
    )
    parser.add_argument("--kept", type=float, default=0.95, metavar="SHARE", help="of the answers that must stay")
    parser.add_argument(
        "--max-tokens", dest="most", type=int, default=128, metavar="N", help="of an answer (default: 128)"
    )


def show_all(args: argparse.Namespace) -> int:
    """List adapters."""
    with _registry(args) as (project, _):
        rows = project.adapters.all()
    if args.json:
        common.write_json([_as_dict(row) for row in rows])
    elif rows:
        header = ("DIGEST", "STATE", "MODEL", "CHANGED", "NAME")
        common.write_table([header, *map(_row, rows)])
    else:
        common.write("There are no adapters; flyball adapters add FOLDER makes the first one known.\n")
    return common.SUCCESS


def show(args: argparse.Namespace) -> int:
    """Show an adapter and its events."""
    with _registry(args) as (project, registry):
        row = registry.find(args.name)
        events = list(project.adapters.events(row.digest))
    if args.json:
        common.write_json(_as_dict(row) | {"manifest": json.loads(row.manifest), "events": list(map(_event, events))})
        return common.SUCCESS
    state = row.state if row.share is None else f"{row.state}, {row.share} % of the requests"
    about = [("name", row.name), ("digest", row.digest), ("state", state), ("model", row.fingerprint)]
    about += [("parent", row.parent or "-"), ("folder", row.path)]
    common.write_table(about)
    common.write("\n")
    common.write_table([(_time(each.created), each.event, each.reason_id, each.who, _why(each)) for each in events])
    return common.SUCCESS


def add_one(args: argparse.Namespace) -> int:
    """Add an adapter."""
    from ..learn import folders

    with _registry(args) as (_, registry), Model.load(args.model or demo_model_path()) as model:
        folder, manifest = folders.installed(args.source, model)
        folders.load(model, folder, manifest.digest)  # an adapter that cannot be loaded has no place in a registry
        return _said(args, registry.add(folder, manifest, args.name or manifest.digest[:_DIGEST]))


def gate(args: argparse.Namespace) -> int:
    """Judge an adapter."""
    from ..evidence.gates import Outcome
    from ..learn.cases import read_cases
    from ..learn.folders import Manifest, load
    from ..learn.gate import judge
    from ..learn.probes import probe
    from ..learn.safety import safety_cases

    held_out, stays = read_cases(args.held_out), read_cases(args.stays)
    safety = read_cases(args.safety) if args.safety else safety_cases()
    progress = common.Progress()
    with _registry(args) as (_, registry), Model.load(args.model or demo_model_path(), progress=progress) as model:
        row = registry.find(args.name)
        _refuse_trained(Manifest.parse(row.manifest, row.name), held_out)
        active = registry.active(row.fingerprint)
        before = None if active is None or active.digest == row.digest else active
        parent = None if before is None else load(model, before.path, before.digest)
        adapter = load(model, row.path, row.digest)
        found = probe(model, adapter, parent, held_out, stays, safety, args.most, progress)
        progress.clear()
        verdict = judge(found, args.kept, args.reviewed)
        row = registry.gated(row.digest, verdict)
    _say_verdict(args, row, verdict)
    codes = {Outcome.PASS: common.SUCCESS, Outcome.FAIL: common.FAILURE, Outcome.INCONCLUSIVE: common.ERROR}
    return codes[verdict.outcome]


def promote(args: argparse.Namespace) -> int:
    """Let an adapter answer."""
    return _changed(args, lambda registry: registry.promote(args.name, args.share, args.force))


def rollback(args: argparse.Namespace) -> int:
    """Take an adapter back."""
    return _changed(args, lambda registry: registry.rollback(args.name, args.why))


def retire(args: argparse.Namespace) -> int:
    """Retire an adapter."""
    return _changed(args, lambda registry: registry.retire(args.name, args.why))


def _changed(args: argparse.Namespace, change: Callable[[Registry], StoredAdapter]) -> int:
    with _registry(args) as (_, registry):
        return _said(args, change(registry))


def _refuse_trained(manifest: Any, held_out: list[Case]) -> None:
    """What it was trained with proves nothing."""
    seen = sorted({case.id for case in held_out} & set(manifest.rows))
    if seen:
        what = f"has {len(seen)} questions that the adapter was trained with, {seen[0]} for one; hold others out"
        raise InvalidArgument("--held-out", what)


@contextmanager
def _registry(args: argparse.Namespace) -> Iterator[tuple[Project, Registry]]:
    """The project and its registry, whose changes are journaled."""
    try:
        from ..learn.adapters import Registry
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which the registry needs: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = common.read_settings(args)
    if (url := store_url(settings)) is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: the registry is kept in a store")
    args.journal = args.journal or settings["journal"].value or _default_journal()
    with Store.open(url) as store, common.open_journal(args, settings) as journal:
        project = store.project(args.project)
        yield project, Registry(project, getpass.getuser(), *([journal.tell] if journal else []))


def _default_journal() -> Path | None:
    folder = state_folder()
    return None if folder is None else folder / _JOURNAL


def _said(args: argparse.Namespace, row: StoredAdapter) -> int:
    if args.json:
        common.write_json(_as_dict(row))
    else:
        share = "" if row.share is None else f" of {row.share} % of the requests"
        common.write(f"{common.printable(row.name)} ({row.digest[:_DIGEST]}) is {row.state}{share}\n")
    return common.SUCCESS


def _say_verdict(args: argparse.Namespace, row: StoredAdapter, verdict: Verdict) -> None:
    if args.json:
        common.write_json(_as_dict(row) | {"verdict": verdict.as_dict()})
        return
    found = verdict.evidence
    common.write_table(
        [
            ("verdict", f"{verdict.outcome}, {verdict.reason_id}: {verdict.message}"),
            ("held out", f"{found['wins']} wins, {found['losses']} losses, {found['ties']} ties"),
            ("evidence", f"{found['e_better']:g} that it is better; {found['e_limit']:g} promotes"),
            ("stays", f"{found['kept']} of {found['of']}, surely {found['kept_bounds'][0]:.1%}"),
            (
                "safety",
                f"{len(found['unsafe'])} of {found['safety_prompts']} prompts fail, {len(found['changed'])} to be read",
            ),
            ("effect", f"logits differ by up to {found['effect']['from_base']:.4g}"),
            ("state", row.state),
        ]
    )
    if verdict.hint:
        common.write(f"{verdict.hint}\n")


def _as_dict(row: StoredAdapter) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "manifest"}


def _row(row: StoredAdapter) -> tuple[str, ...]:
    state = row.state if row.share is None else f"{row.state} {row.share} %"
    return row.digest[:_DIGEST], state, row.fingerprint[:_DIGEST], _time(row.changed), row.name


def _event(event: AdapterEvent) -> dict[str, Any]:
    return vars(event) | {"evidence": event.data}


def _why(event: AdapterEvent) -> str:
    said = event.data
    return str(said.get("message") or said.get("why") or "")


def _time(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
