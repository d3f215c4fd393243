"""What a plugin declares: its name, what it can do, and what it needs. A TOML file beside its code."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NoReturn

from ..errors import FormatError, InvalidArgument, Unsupported
from .fetching import Origin
from .hooks import API, KINDS

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
_MOST_BYTES = 64 << 10
_MOST_DEPTH = 16
_MOST = {"tools": 32, "hosts": 64, "read": 16}
_SECONDS, _MEMORY_MB = (0.1, 120), (64, 4096)


@dataclass(frozen=True)
class Permissions:
    """What a plugin needs, and gets once a project allows it.

    hosts      origins that the host fetches from for it: http(s)://NAME[:PORT]
    read       absolute paths that it may read beside Python and its own code
    seconds    for one call, the host's fetches among it
    memory_mb  of address space
    text       an exporter gets questions and answers, not figures alone
    """

    hosts: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    seconds: float = 10
    memory_mb: int = 256
    text: bool = False

    def __post_init__(self) -> None:
        for host in self.hosts:
            Origin.of(host)


@dataclass(frozen=True)
class Tool:
    """A function that models may call; `parameters` is a JSON schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def as_openai(self) -> dict[str, Any]:
        """As a chat's request has it."""
        function = {"name": self.name, "description": self.description, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True)
class Manifest:
    """`config`: defaults of what a project may set."""

    name: str
    version: str
    about: str
    capabilities: tuple[str, ...]
    permissions: Permissions = field(default_factory=Permissions)
    tools: tuple[Tool, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, raw: bytes, where: str) -> Manifest:
        """From a file's bytes. Raises FormatError, or Unsupported for another version of the hooks."""
        if len(raw) > _MOST_BYTES:
            raise FormatError(where, f"has {len(raw)} bytes, a manifest has at most {_MOST_BYTES}")
        try:
            values = tomllib.loads(raw.decode())
        except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
            raise FormatError(where, f"is not TOML: {error}") from None
        return _Reader(where).manifest(values)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def with_hosts(self, hosts: Sequence[str]) -> Manifest:
        """The same with more origins, which a project's owner has added."""
        more = tuple(dict.fromkeys((*self.permissions.hosts, *hosts)))
        return replace(self, permissions=replace(self.permissions, hosts=more))


class _Reader:
    """Checks each value; an error names the file and the key."""

    def __init__(self, where: str) -> None:
        self._where = where

    def manifest(self, values: dict[str, Any]) -> Manifest:
        known = ("name", "api", "version", "about", "capabilities", "permissions", "tools", "config")
        self._known("", values, known)
        if (api := values.get("api")) != API:
            raise Unsupported(self._where, f"api is {api!r}, this Flyball has {API}")
        name = self._text("name", values)
        if not _NAME.fullmatch(name):
            self._refuse("name", f"is {name!r}, must be a-z, 0-9, - and _, at most 63, a letter first")
        capabilities = tuple(self._texts("capabilities", values.get("capabilities", [])))
        if not capabilities or not set(capabilities) <= set(KINDS):
            self._refuse("capabilities", f"must be some of {', '.join(KINDS)}")
        tools = tuple(self._tools(values.get("tools", [])))
        if bool(tools) != ("tools" in capabilities):
            self._refuse("tools", "must be there where the capabilities have tools, and only there")
        config = self._table("config", values)
        self._bounded("config", config)
        about = self._text("about", values, 500)
        permissions = self._permissions(self._table("permissions", values))
        return Manifest(name, self._text("version", values), about, capabilities, permissions, tools, config)

    def _permissions(self, values: dict[str, Any]) -> Permissions:
        self._known("permissions.", values, tuple(Permissions.__dataclass_fields__))
        lists = {name: tuple(self._texts(f"permissions.{name}", values.get(name, []))) for name in ("hosts", "read")}
        for name, texts in lists.items():
            if len(texts) > _MOST[name]:
                self._refuse(f"permissions.{name}", f"are {len(texts)}, at most {_MOST[name]}")
        for path in lists["read"]:
            if not path.startswith("/") or ".." in path.split("/") or "\0" in path:
                self._refuse("permissions.read", f"has {path!r}, must have absolute paths without ..")
        text = values.get("text", False)
        if not isinstance(text, bool):
            self._refuse("permissions.text", "must be true or false")
        seconds = self._number("permissions.seconds", values.get("seconds", Permissions.seconds), *_SECONDS)
        memory = self._number("permissions.memory_mb", values.get("memory_mb", Permissions.memory_mb), *_MEMORY_MB)
        try:
            return Permissions(lists["hosts"], lists["read"], seconds, int(memory), text)
        except InvalidArgument as error:
            self._refuse("permissions.hosts", error.what)

    def _tools(self, values: object) -> list[Tool]:
        if not isinstance(values, list) or len(values) > _MOST["tools"]:
            self._refuse("tools", f"must be a list of at most {_MOST['tools']} tables")
        found = [self._tool(f"tools[{number}]", value) for number, value in enumerate(values)]
        if len({tool.name for tool in found}) < len(found):
            self._refuse("tools", "has two of one name")
        return found

    def _tool(self, place: str, value: object) -> Tool:
        if not isinstance(value, dict):
            self._refuse(place, "must be a table")
        self._known(f"{place}.", value, ("name", "description", "parameters"))
        name = self._text("name", value, place=f"{place}.")
        if not _TOOL_NAME.fullmatch(name):
            self._refuse(f"{place}.name", f"is {name!r}, must be letters, digits, _ and -, at most 64")
        parameters = value.get("parameters", {"type": "object", "properties": {}})
        if not isinstance(parameters, dict) or parameters.get("type") != "object":
            self._refuse(f"{place}.parameters", 'must be a JSON schema of type "object"')
        self._bounded(f"{place}.parameters", parameters)
        return Tool(name, self._text("description", value, 2000, f"{place}."), parameters)

    def _bounded(self, place: str, value: object) -> None:
        if too_deep(value, _MOST_DEPTH):
            self._refuse(place, f"is nested deeper than {_MOST_DEPTH}")
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            self._refuse(place, "has what JSON has not: times, infinities")

    def _number(self, place: str, value: object, least: float, most: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self._refuse(place, f"is {value!r}, must be a number from {least:g} to {most:g}")
        return value

    def _table(self, name: str, values: dict[str, Any]) -> dict[str, Any]:
        value = values.get(name, {})
        if not isinstance(value, dict):
            self._refuse(name, "must be a table")
        return value

    def _text(self, name: str, values: dict[str, Any], most: int = 64, place: str = "") -> str:
        value = values.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= most or not value.isprintable():
            self._refuse(place + name, f"must be a line of text with at most {most} characters")
        return value

    def _texts(self, place: str, value: object) -> list[str]:
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            self._refuse(place, "must be a list of texts")
        return value

    def _known(self, place: str, values: dict[str, Any], known: Sequence[str]) -> None:
        if strange := sorted(set(values) - set(known)):
            self._refuse(f"{place}{strange[0]}", f"is unknown; the keys here are: {', '.join(sorted(known))}")

    def _refuse(self, place: str, what: str) -> NoReturn:
        raise FormatError(self._where, f"{place} {what}")


def too_deep(value: object, most: int) -> bool:
    """Whether a JSON value is nested deeper than so many levels. Not recursive: values of plugins are as they like."""
    level = [value]
    for _ in range(most + 1):
        lists = [each.values() if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        level = [inner for each in lists for inner in each]
        if not level:
            return False
    return True
