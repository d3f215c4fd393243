"""`flyball keys`: API keys of the server, in its store. Their secrets are shown once and kept nowhere."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ..errors import InvalidArgument, NotFound
from . import common
from .serve import store_url

if TYPE_CHECKING:
    from ..store import Key, NewKey, Project, Store

T = TypeVar("T")

_DAY_MS = 86_400_000


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("keys", help="API keys of the server", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    creating = actions.add_parser("create", help="make a key and print its secret", parents=[common.JSON])
    creating.add_argument("name", metavar="NAME", help="what the key is for")
    creating.add_argument(
        "--project", default="default", help="whose key: projects see nothing of each other (made where it is new)"
    )
    add_token_flags(creating, "owner")
    listing = actions.add_parser("list", help="all keys, revoked ones too", parents=[common.JSON])
    listing.add_argument("--project", help="of this project alone")
    revoking = actions.add_parser("revoke", help="end a key", parents=[common.JSON])
    rotating = actions.add_parser("rotate", help="make a key that takes another's place", parents=[common.JSON])
    rotating.add_argument(
        "--grace-hours", type=int, default=0, metavar="N", help="how long the old one stays good (default: 0)"
    )
    for each in (revoking, rotating):
        each.add_argument("id", metavar="ID", help="the key's id, as flyball keys list has it")
    for each, run in ((creating, create), (listing, show), (revoking, revoke), (rotating, rotate)):
        common.add_flags(each, [])
        each.set_defaults(run=run)


def add_token_flags(parser: argparse.ArgumentParser, role: str) -> None:
    """Declare whose a token is, what it may do, and for how long."""
    parser.add_argument("--user", metavar="NAME", help="who has it: tokens of one user share queue and memory")
    parser.add_argument("--role", default=role, metavar="ROLE", help=f"owner, member or auditor (default: {role})")
    parser.add_argument("--scope", action="append", metavar="SCOPE", help="of the role's scopes only this; repeatable")
    parser.add_argument("--days", type=int, metavar="N", help="how long it is good (default: until it is revoked)")


def create(args: argparse.Namespace) -> int:
    """Make a key."""
    with open_store(args) as store:
        project = store.project(args.project) if args.project in store.projects() else None
        return give(args, project or store.create_project(args.project))


def give(args: argparse.Namespace, project: Project) -> int:
    """Make a token of these flags, and say its secret."""
    if args.days is not None and not 1 <= args.days <= 36500:
        raise InvalidArgument("--days", f"is {args.days}, must be from 1 to 36500")
    expires = None if args.days is None else time.time_ns() // 1_000_000 + args.days * _DAY_MS
    new = project.keys.create(args.name, expires, user=args.user, role=args.role, scopes=args.scope)
    return _say_secret(args, new, project)


def show(args: argparse.Namespace) -> int:
    """List keys."""
    with open_store(args) as store:
        names = store.projects() if args.project is None else [args.project]
        found = [(name, key) for name in names for key in store.project(name).keys.all()]
    if args.json:
        common.write_json([_as_dict(name, key) for name, key in found])
    elif found:
        common.write_table([("ID", "PROJECT", "ROLE", "CREATED", "STATE", "NAME"), *(_row(*each) for each in found)])
    else:
        common.write("There are no keys; flyball keys create NAME makes one.\n")
    return common.SUCCESS


def revoke(args: argparse.Namespace) -> int:
    """End a key."""
    with open_store(args) as store:
        project, key = _of_any(store, args.id, lambda project: project.keys.revoke(args.id))
    if args.json:
        common.write_json(_as_dict(project.name, key))
    else:
        common.write(f"{key.id} is revoked; servers refuse it within seconds\n")
    return common.SUCCESS


def rotate(args: argparse.Namespace) -> int:
    """Make a key in the place of another."""
    if not 0 <= args.grace_hours <= 8760:
        raise InvalidArgument("--grace-hours", f"is {args.grace_hours}, must be from 0 to 8760")
    with open_store(args) as store:
        grace = args.grace_hours * _DAY_MS // 24
        project, new = _of_any(store, args.id, lambda project: project.keys.rotate(args.id, grace))
        return _say_secret(args, new, project)


def open_store(args: argparse.Namespace) -> Store:
    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which keys need: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    url = store_url(common.read_settings(args))
    if url is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: keys are kept in a store")
    return Store.open(url)


def _of_any(store: Store, id: str, work: Callable[[Project], T]) -> tuple[Project, T]:
    """The project that has this key, and what `work` gives for it."""
    for name in store.projects():
        project = store.project(name)
        with suppress(NotFound):
            return project, work(project)
    raise NotFound(id, "no key has this id; flyball keys list shows all")


def _say_secret(args: argparse.Namespace, new: NewKey, project: Project) -> int:
    if args.json:
        common.write_json({**_as_dict(project.name, new.key), "secret": new.secret})
    else:
        common.write(f"{new.secret}\n")
        about = f"{new.key.id} of project {common.printable(project.name)}: this is the only time that it is shown"
        common.say_error(about)
    return common.SUCCESS


def _as_dict(project: str, key: Key) -> dict[str, object]:
    return {"id": key.id, "project": project, "name": key.name} | {
        name: getattr(key, name) for name in ("user", "role", "scopes", "created", "expires", "revoked")
    }


def _row(project: str, key: Key) -> Sequence[str]:
    about = (key.id, common.printable(project), key.role, time_of(key.created), _state(key))
    return (*about, common.printable(key.name if key.user is None else f"{key.name} of {key.user}"))


def _state(key: Key) -> str:
    if key.revoked is not None:
        return f"revoked {time_of(key.revoked)}"
    if key.expires is None:
        return "good"
    return f"{'ended' if key.expires <= time.time_ns() // 1_000_000 else 'until'} {time_of(key.expires)}"


def time_of(milliseconds: int) -> str:
    """As tables show it."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(milliseconds / 1000))
