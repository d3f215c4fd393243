"""A plugin's process: seals itself, loads the plugin, and answers the host's calls, one line of JSON each.

Runs as `python -I child.py FD`, not as a part of Flyball: with the standard library, pluggy, jsonschema_rs, and from
beside it hooks.py and seal.py.
"""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
import types
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, BinaryIO

Line = dict[str, Any]


def main(descriptor: int) -> None:
    """Serve the host behind this descriptor until it closes it."""
    here = Path(__file__).parent
    package = types.ModuleType("flyball")  # without what the whole one imports
    package.__path__ = [str(here.parent)]
    sys.modules["flyball"] = package
    with open(descriptor, "rb", buffering=0, closefd=False) as reading, os.fdopen(descriptor, "wb", buffering=0) as out:
        _serve(Wire(reading, out))


class Wire:
    """Lines to and from the host."""

    def __init__(self, reading: BinaryIO | Any, writing: BinaryIO | Any) -> None:
        self._reading = reading
        self._writing = writing
        self._held = b""

    def get(self) -> Line:
        """The next line; EOFError where the host is gone."""
        while b"\n" not in self._held:
            more = self._reading.read(1 << 16)
            if not more:
                raise EOFError
            self._held += more
        line, _, self._held = self._held.partition(b"\n")
        return dict(json.loads(line))

    def put(self, line: Line) -> None:
        """Send a line."""
        left = memoryview(json.dumps(line, allow_nan=False).encode() + b"\n")
        while left:
            left = left[self._writing.write(left) :]


def _serve(wire: Wire) -> None:
    from flyball.plugins import hooks, seal

    start = wire.get()
    holds = seal.close(start["memory_bytes"], start["read"])
    try:
        call = _loaded(start, hooks)
    except BaseException as error:
        wire.put({"failed": _said(error)})
        return
    wire.put({"ready": holds})
    with_host = _Host(wire, start["config"], hooks)
    while True:
        asked = wire.get()
        try:
            given = call(asked, with_host)
            answer: Line = {"id": asked["id"], "result": given}
            json.dumps(answer, allow_nan=False)
        except hooks.ToolError as error:
            answer = {"id": asked["id"], "told": str(error)[:2000]}
        except BaseException as error:
            answer = {"id": asked["id"], "failed": _said(error)}
        wire.put(answer)


def _loaded(start: Line, hooks: Any) -> Callable[[Line, _Host], object]:
    """Import the plugin, and check that it implements what its manifest says. Gives what a call does."""
    import pluggy

    sys.path.insert(0, start["folder"])
    module, _, name = start["object"].partition(":")
    found: Any = importlib.import_module(module)
    for each in filter(None, name.split(".")):
        found = getattr(found, each)
    manager = pluggy.PluginManager(hooks.NAME)
    manager.add_hookspecs(hooks.Hooks)
    manager.register(found() if isinstance(found, type) else found)
    manager.check_pending()
    for kind in start["kinds"]:
        if not getattr(manager.hook, hooks.KINDS[kind].hook).get_hookimpls():
            raise TypeError(f"the manifest says {kind}, and no {hooks.KINDS[kind].hook} is there")

    def call(asked: Line, host: _Host) -> object:
        kind = hooks.KINDS[asked["kind"]]
        value: Any = [kind.takes(**each) for each in asked["value"]] if kind.many else kind.takes(**asked["value"])
        if asked.get("schema"):
            _check(value.arguments, asked["schema"], hooks)
        host.number = asked["id"]
        result = getattr(manager.hook, kind.hook)(**{kind.argument: value}, host=host)
        if kind.gives is not None and result is not None and not isinstance(result, kind.gives):
            raise TypeError(f"{kind.hook} gave {type(result).__name__}, must give {kind.gives.__name__}")
        return None if kind.many else asdict(result) if is_dataclass(result) else result  # type: ignore[arg-type]

    return call


def _check(arguments: Mapping[str, Any], schema: Mapping[str, Any], hooks: Any) -> None:
    """Here, not in the host: a schema is the plugin's, and may take forever."""
    import jsonschema_rs

    for error in jsonschema_rs.iter_errors(dict(schema), arguments):
        raise hooks.ToolError(f"the arguments do not go with the schema: {error.message}")


class _Host:
    """What a plugin may ask of the host while it is called."""

    def __init__(self, wire: Wire, config: Mapping[str, Any], hooks: Any) -> None:
        self.config = config
        self.number = 0
        self._wire = wire
        self._hooks = hooks

    def fetch(self, url: str, *, body: bytes | None = None, kind: str = "application/json") -> Any:
        """GET, or POST where there is a body."""
        sent = None if body is None else base64.b64encode(body).decode()
        self._wire.put({"id": self.number, "fetch": {"url": url, "body": sent, "kind": kind}})
        found = self._wire.get()
        if (why := found.get("refused")) is not None:
            raise self._hooks.ToolError(f"not fetched: {why}")
        return self._hooks.Fetched(found["status"], found["kind"], base64.b64decode(found["body"]))


def _said(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:2000]
    except BaseException:
        return type(error).__name__


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]))
    except EOFError:
        os._exit(0)
