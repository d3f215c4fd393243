"""`flyball project`: projects of the server: tokens, quotas, the log of what was administered, and their deletion."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.configuration import Setting
from ..errors import FileError, InvalidArgument
from . import common, keys

if TYPE_CHECKING:
    from ..store import Act, Project, Removal, Store

_LIMITS = {
    "requests_per_minute": "requests in a minute",
    "concurrent": "answers at once",
    "tokens_per_day": "tokens of prompts and answers in a day (UTC)",
    "bytes": "bytes of files, results of batches, and memory",
}
_NO_LIMIT = "none"


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("project", help="projects, their tokens and quotas", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    creating = actions.add_parser("create", help="make a project", parents=[common.JSON])
    listing = actions.add_parser("list", help="all projects with what they have", parents=[common.JSON])
    token = actions.add_parser("token", help="make a token of a project and print its secret", parents=[common.JSON])
    quota = actions.add_parser("quota", help="what a project may use, and has", parents=[common.JSON])
    deleting = actions.add_parser("delete", help="delete a project with all that it has", parents=[common.JSON])
    log = actions.add_parser("log", help="what was administered, and whether its chain holds", parents=[common.JSON])
    for each in (creating, token, quota, deleting):
        each.add_argument("project", metavar="PROJECT")
    log.add_argument("project", metavar="PROJECT", nargs="?", default="default")
    token.add_argument("name", metavar="NAME", help="what the token is for")
    keys.add_token_flags(token, "member")
    for name, what in _LIMITS.items():
        quota.add_argument(f"--{name.replace('_', '-')}", dest=name, metavar="N", help=f"{what}; none: no limit")
    deleting.add_argument("--yes", action="store_true", help="delete it: nothing brings it back")
    runs = (create, show, make_token, set_quota, delete, show_log)
    for each, run in zip((creating, listing, token, quota, deleting, log), runs, strict=True):
        common.add_flags(each, [])
        each.set_defaults(run=run)


def create(args: argparse.Namespace) -> int:
    """Make a project."""
    with keys.open_store(args) as store:
        name = store.create_project(args.project).name
    if args.json:
        common.write_json({"name": name})
    else:
        common.write(f"{common.printable(name)} is made; flyball project token {common.printable(name)} NAME lets in\n")
    return common.SUCCESS


def show(args: argparse.Namespace) -> int:
    """List projects."""
    with keys.open_store(args) as store:
        found = [_about(store.project(name)) for name in store.projects()]
    if args.json:
        common.write_json(found)
    else:
        rows = [(common.printable(each["name"]), str(each["tokens"]), str(each["bytes_stored"])) for each in found]
        common.write_table([("PROJECT", "TOKENS", "BYTES"), *rows], right=[1, 2])
    return common.SUCCESS


def make_token(args: argparse.Namespace) -> int:
    """Make a token."""
    with keys.open_store(args) as store:
        return keys.give(args, store.project(args.project))


def set_quota(args: argparse.Namespace) -> int:
    """Set what is given, and say what holds."""
    from ..store import Quota

    given = {name: _limit(name, getattr(args, name)) for name in _LIMITS if getattr(args, name) is not None}
    with keys.open_store(args) as store:
        project = store.project(args.project)
        quota = project.quotas.get()
        if given:
            quota = project.quotas.set(Quota(**vars(quota) | given))
        n_bytes = project.quotas.n_bytes()
    if args.json:
        common.write_json({"project": args.project, **vars(quota), "bytes_stored": n_bytes})
    else:
        said = {name: _NO_LIMIT if value is None else str(value) for name, value in vars(quota).items()}
        rows = [("QUOTA", "LIMIT", ""), *((name, said[name], what) for name, what in _LIMITS.items())]
        common.write_table([*rows, ("", str(n_bytes), "bytes that are stored")], right=[1])
    return common.SUCCESS


def delete(args: argparse.Namespace) -> int:
    """Delete a project, and say what there was."""
    if not args.yes:
        raise InvalidArgument(
            "--yes", f"is missing: it deletes all that {args.project} has, and nothing brings it back"
        )
    settings = common.read_settings(args)
    with keys.open_store(args) as store:
        project = store.project(args.project)
        also = {"cached_answers": _drop_answers(settings, store, args.project)}
        also["adapter_folders"] = _drop_adapters(store, project)
        removal = store.delete_project(args.project, also=also)
        _drop_answers(settings, store, args.project)  # what a running server has put there meanwhile
    if args.json:
        common.write_json({"act": removal.act.as_dict(), "wiped": removal.wiped})
    else:
        _say_removal(args.project, removal)
    return common.SUCCESS


def show_log(args: argparse.Namespace) -> int:
    """The acts of a project; exit code 1 where the chain does not hold."""
    from ..store.chain import FIRST, first_broken

    with keys.open_store(args) as store:
        acts = store.project(args.project).log.all()
    broken, head = first_broken(acts), acts[-1].hash if acts else FIRST
    if args.json:
        common.write_json({"acts": [act.as_dict() for act in acts], "first_broken": broken, "head": head})
    else:
        common.write_table([("NUMBER", "TIME", "BY", "ACT", "SUBJECT"), *map(_row, acts)], right=[0])
        holds = "the chain holds" if broken is None else f"the chain is broken at record {broken}"
        common.write(f"{holds}; its head is {head}\n")
    return common.SUCCESS if broken is None else common.FAILURE


def _about(project: Project) -> dict[str, Any]:
    tokens = sum(key.revoked is None for key in project.keys.all())
    quota = vars(project.quotas.get())
    return {"name": project.name, "tokens": tokens, "bytes_stored": project.quotas.n_bytes(), "quota": quota}


def _limit(name: str, given: str) -> int | None:
    if given == _NO_LIMIT:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", given):
        raise InvalidArgument(f"--{name.replace('_', '-')}", f"is {given!r}, must be a whole number or none")
    return int(given)


def _drop_answers(settings: Mapping[str, Setting], store: Store, project: str) -> int:
    """Those that are kept elsewhere than in the store."""
    from ..response_cache import OFF, STORE, open_answers

    where = str(settings["serve.response_cache"].value)
    if where in (OFF, STORE):
        return 0
    answers = open_answers(where, store, 1, 1)
    assert answers is not None
    try:
        return answers.purge(project)
    finally:
        answers.close()


def _drop_adapters(store: Store, project: Project) -> int:
    """Folders of its adapters that no other project has; how many they were."""
    others = (store.project(name) for name in store.projects() if name != project.name)
    kept = {row.path for other in others for row in other.adapters.all()}
    folders = {row.path for row in project.adapters.all()} - kept
    for folder in folders:
        if (Path(folder) / "manifest.json").is_file():  # what is no adapter's folder is left alone
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise FileError(folder, f"cannot be deleted: {error.strerror or error}") from None
    return len(folders)


def _say_removal(project: str, removal: Removal) -> None:
    rows = [(table, str(n), "0") for table, n in sorted(removal.before.items()) if n]
    common.write_table([("TABLE", "ROWS BEFORE", "AFTER"), *rows], right=[1, 2])
    overwritten = {
        True: "its bytes are overwritten",
        False: "its bytes are overwritten when no other program reads the database any more",
        None: "VACUUM frees its pages",
    }
    common.write(f"{common.printable(project)} is deleted; {overwritten[removal.wiped]}\n")
    common.write(f"record {removal.act.number} of the default project's log: {removal.act.hash}\n")


def _row(act: Act) -> Sequence[str]:
    about = json.loads(act.json)
    subject, by = common.printable(act.subject), common.printable(str(about["by"]))
    return str(act.number), keys.time_of(about["time"]), by, act.act, subject
