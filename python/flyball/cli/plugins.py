"""`flyball plugins`: code of others that answers may use, each plugin off until a project allows it."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InvalidArgument, NotFound
from ..files import state_folder
from . import common

if TYPE_CHECKING:
    from ..journal.journal import Journal
    from ..plugins.found import Found, Plugin
    from ..plugins.manifest import Manifest
    from ..store import Project, StoredPlugin

_JOURNAL = "plugins.jsonl"
_DIGEST = 16


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Declare the command and its actions."""
    parser = commands.add_parser("plugins", help="plugins: which there are, and who may use them", description=__doc__)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, run, text in (
        ("list", show_all, "all plugins, and what the project decided on each"),
        ("show", show, "what one plugin declares: its tools and permissions"),
        ("allow", allow, "let a project use a plugin, as it is now"),
        ("forbid", forbid, "let a project use a plugin no more"),
        ("run", run_one, "call a tool of an allowed plugin"),
    ):
        one = actions.add_parser(name, help=text, description=text, parents=[common.JSON])
        one.add_argument("--project", default="default", help="whose decision (default: default)")
        one.add_argument("--dev-plugins", metavar="DIR", default="", help="also the plugins of this folder")
        one.set_defaults(run=run)
        if name != "list":
            one.add_argument("name", metavar="PLUGIN", help="its name, as flyball plugins list has it")
        if name == "allow":
            _add_allow_flags(one)
        if name == "run":
            one.add_argument("tool", metavar="TOOL", help="the tool's name")
            one.add_argument("arguments", metavar="JSON", nargs="?", default="{}", help="its arguments (default: {})")
        common.add_flags(one, [])
        one.add_argument("--journal", metavar="FILE", help="journal of the decisions (default: flyball/plugins.jsonl)")
        one.set_defaults(journal_content=False)


def _add_allow_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sha256", metavar="DIGEST", default="", help="only if its code has this digest, or beginning")
    for flag, metavar, text in (
        ("--host", "URL", "http(s)://NAME[:PORT] to fetch from, too"),
        ("--value", "KEY=VALUE", "a value of its configuration"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=f"{text}; may be repeated")


def show_all(args: argparse.Namespace) -> int:
    """List plugins."""
    found = _found(args)
    with _project(args) as (project, _):
        rows = {row.name: row for row in project.plugins.all()}
    names = sorted({*found.plugins, *rows})
    if args.json:
        listed = [_as_dict(name, found.plugins.get(name), rows.get(name)) for name in names]
        common.write_json({"plugins": listed, "faults": [str(each) for each in found.faults], "wall": _wall()})
        return common.SUCCESS
    if names:
        header = ("PLUGIN", "STATE", "SHA256", "CAN", "FROM")
        common.write_table([header, *(_row(name, found.plugins.get(name), rows.get(name)) for name in names)])
    else:
        common.write("There are no plugins; pip installs some, and --dev-plugins DIR names a folder of your own.\n")
    _say_faults(found)
    common.write(f"wall: {_wall()}\n")
    return common.SUCCESS


def show(args: argparse.Namespace) -> int:
    """Show a plugin."""
    plugin = _one(_found(args), args.name)
    with _project(args) as (project, _):
        row = project.plugins.get(args.name)
    if args.json:
        common.write_json(_as_dict(args.name, plugin, row) | {"manifest": plugin.manifest.as_dict()})
        return common.SUCCESS
    about = [("name", plugin.name), ("version", plugin.manifest.version), ("about", plugin.manifest.about)]
    about += [("from", plugin.origin), ("sha256", plugin.sha256), ("state", _state(plugin, row))]
    about += [("files", ", ".join(sorted(plugin.code)))]
    added = tuple(row.added.get("hosts", ())) if row is not None else ()
    common.write_table(about + _permissions(plugin.manifest, added))
    for tool in plugin.manifest.tools:
        common.write(f"\ntool {tool.name}: {common.printable(tool.description)}\n")
        common.write(common.printable(json.dumps(tool.parameters)) + "\n")
    return common.SUCCESS


def allow(args: argparse.Namespace) -> int:
    """Allow a plugin."""
    from ..plugins.fetching import Origin

    plugin = _one(_found(args), args.name)
    if not plugin.sha256.startswith(args.sha256.lower()):
        raise InvalidArgument("--sha256", f"is {args.sha256}, the plugin's code has {plugin.sha256}")
    for host in args.host:
        Origin.of(host)
    settings = {"hosts": args.host, "config": dict(_value(plugin, each) for each in args.value)}
    with _project(args) as (project, journal):
        row = project.plugins.allow(plugin.name, plugin.sha256, plugin.manifest.as_dict(), settings, getpass.getuser())
        if journal is not None:
            data = {"plugin": plugin.name, "sha256": plugin.sha256, "project": args.project, "who": row.who}
            journal.tell("PLUGIN_ALLOWED", data)
    if args.json:
        common.write_json(_as_dict(plugin.name, plugin, row))
        return common.SUCCESS
    common.write(f"{plugin.name} {plugin.sha256[:_DIGEST]} is allowed in project {common.printable(args.project)}:\n")
    common.write_table(_permissions(plugin.manifest, args.host))
    return common.SUCCESS


def forbid(args: argparse.Namespace) -> int:
    """Forbid a plugin."""
    with _project(args) as (project, _):
        row = project.plugins.forbid(args.name, getpass.getuser())
    if args.json:
        common.write_json(_as_dict(args.name, None, row))
    else:
        common.write(f"{common.printable(args.name)} is off in project {common.printable(args.project)}\n")
    return common.SUCCESS


def run_one(args: argparse.Namespace) -> int:
    """Call a tool."""
    from ..plugins.permission import permitted
    from ..plugins.pool import Pool

    found = _found(args)
    with _project(args) as (project, _):
        plugin = permitted(args.name, found, project.plugins.get(args.name))
    tool = next((each for each in plugin.manifest.tools if each.name == args.tool), None)
    if tool is None:
        names = ", ".join(each.name for each in plugin.manifest.tools) or "none"
        raise NotFound(args.tool, f"is no tool of {plugin.name}; it has {names}")
    try:
        arguments = json.loads(args.arguments)
    except (ValueError, RecursionError) as error:
        raise InvalidArgument("arguments", f"are not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise InvalidArgument("arguments", "must be a JSON object")

    async def call() -> str:
        pool = Pool()
        try:
            value = {"tool": tool.name, "arguments": arguments}
            return str(await pool.call(args.project, plugin, "tools", value, tool.parameters))
        finally:
            await pool.close()

    text = asyncio.run(call())
    if args.json:
        common.write_json({"plugin": plugin.name, "tool": tool.name, "result": text})
    else:
        common.write(text + "\n")
    return common.SUCCESS


def say_found(found: Found, dev_folder: str) -> None:
    """What a server says of its plugins when it starts."""
    if dev_folder:
        common.say_error(f"warning: plugins of {dev_folder} are for development; whoever writes there can change them")
    _say_faults(found)
    if found.plugins:
        names = ", ".join(f"{plugin.name} {plugin.sha256[:_DIGEST]}" for plugin in found.plugins.values())
        common.write(f"plugins {names}; {_wall()}\n")


def _say_faults(found: Found) -> None:
    for fault in found.faults:
        common.say_error(f"warning: {fault}")


def _found(args: argparse.Namespace) -> Found:
    from ..plugins.found import find

    return find(args.dev_plugins or None)


def _one(found: Found, name: str) -> Plugin:
    if (plugin := found.plugins.get(name)) is None:
        faults = "".join(f"; {fault}" for fault in found.faults)
        raise NotFound(name, f"no plugin has this name; flyball plugins list shows all{faults}")
    return plugin


@contextmanager
def _project(args: argparse.Namespace) -> Iterator[tuple[Project, Journal | None]]:
    """The project, and the journal of decisions."""
    from .serve import store_url

    try:
        from ..store import Store
    except ModuleNotFoundError as error:
        what = f"is missing, which plugins need: pip install 'flyball[serve]' (Python module {error.name})"
        raise NotFound(str(error.name), what) from None
    settings = common.read_settings(args)
    if (url := store_url(settings)) is None:
        raise InvalidArgument("serve.store", "is none, or there is no home folder: decisions are kept in a store")
    args.journal = args.journal or settings["journal"].value or _default_journal()
    with Store.open(url) as store, common.open_journal(args, settings) as journal:
        yield store.project(args.project), journal


def _default_journal() -> Path | None:
    folder = state_folder()
    return None if folder is None else folder / _JOURNAL


def _wall() -> str:
    from ..plugins.walls import best, described, own_seal

    return described(best(), own_seal())


def _value(plugin: Plugin, assignment: str) -> tuple[str, Any]:
    """One value of a plugin's configuration, of the kind that its default has."""
    key, equals, word = assignment.partition("=")
    if not equals or key not in plugin.manifest.config:
        known = ", ".join(sorted(plugin.manifest.config)) or "none"
        raise InvalidArgument("--value", f"is {assignment!r}, must be KEY=VALUE; the keys of {plugin.name}: {known}")
    default = plugin.manifest.config[key]
    if isinstance(default, str):
        return key, word
    try:
        value = json.loads(word)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not type(default) and not (isinstance(default, float) and type(value) is int):
        raise InvalidArgument("--value", f"{key} is {word!r}, must be JSON of the kind {json.dumps(default)}")
    return key, value


def _permissions(manifest: Manifest, hosts: Sequence[str]) -> list[tuple[str, str]]:
    """What is granted with a plugin, in words."""
    needs = manifest.with_hosts(hosts).permissions
    return [
        ("can", ", ".join(manifest.capabilities)),
        ("fetches from", ", ".join(needs.hosts) or "nowhere"),
        ("reads", ", ".join(needs.read) or "its own code alone"),
        ("texts of answers", "yes" if needs.text or "guardian" in manifest.capabilities else "no"),
        ("for one call", f"{needs.seconds:g} seconds, {needs.memory_mb} MiB"),
    ]


def _state(plugin: Plugin | None, row: StoredPlugin | None) -> str:
    if row is None:
        return "off"
    if row.state == "allowed":
        return "not here" if plugin is None else "allowed" if plugin.sha256 == row.sha256 else "changed"
    return row.state if row.why is None else f"{row.state}: {row.why}"


def _row(name: str, plugin: Plugin | None, row: StoredPlugin | None) -> Sequence[str]:
    if plugin is None:
        return name, _state(plugin, row), (row.sha256 if row is not None else "")[:_DIGEST], "-", "-"
    can = ", ".join(plugin.manifest.capabilities)
    return name, _state(plugin, row), plugin.sha256[:_DIGEST], can, plugin.origin


def _as_dict(name: str, plugin: Plugin | None, row: StoredPlugin | None) -> dict[str, Any]:
    decided = {each: getattr(row, each) for each in ("sha256", "who", "why", "created", "changed")} if row else None
    return {
        "name": name,
        "state": _state(plugin, row).partition(":")[0],
        "sha256": None if plugin is None else plugin.sha256,
        "origin": None if plugin is None else plugin.origin,
        "capabilities": [] if plugin is None else list(plugin.manifest.capabilities),
        "decided": decided if row is None else {**(decided or {}), "settings": row.added},
    }
