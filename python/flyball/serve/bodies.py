"""The JSON body of a request: each member with its type and range; an error names the parameter."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from starlette.requests import Request

from .failures import Failure

_MAX_DEPTH = 64


class Body:
    """A JSON object. null counts as absent. `unread()`: what nobody has asked for."""

    def __init__(self, members: Mapping[str, Any], place: str = "") -> None:
        self.members = members
        self._place = place
        self._read: set[str] = set()
        self.honored: set[str] = set()  # members that mostly have no effect, and here have one

    @classmethod
    async def of(cls, request: Request) -> Body:
        """The body of a request; Failure 400 if it is no JSON object."""
        return cls(parse(await request.body()))

    def get(self, name: str, default: Any = None) -> Any:
        """A member as it is; null and absent are `default`."""
        self._read.add(name)
        value = self.members.get(name)
        return default if value is None else value

    def has(self, name: str) -> bool:
        """Whether a member is there and not null."""
        return self.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str | None:
        """Text, or `default`."""
        value = self.get(name, default)
        if value is not None and not isinstance(value, str):
            self.refuse(name, f"must be text, is {kind(value)}")
        return value

    def number(self, name: str, least: float, most: float, default: float | None = None) -> float | None:
        """A number in a range, or `default`."""
        value = self.get(name, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, f"must be a number, is {kind(value)}")
        if not (math.isfinite(value) and least <= value <= most):
            self.refuse(name, f"is {value}, must be from {least:g} to {most:g}")
        return float(value)

    def integer(self, name: str, least: int, most: int, default: int | None = None) -> int | None:
        """An integer in a range, or `default`. 3.0 is one: some clients have only doubles."""
        value = self.get(name, default)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(name, f"must be an integer, is {kind(value)}")
        if not least <= value <= most:
            self.refuse(name, f"is {value}, must be from {least} to {most}")
        return int(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """true or false."""
        value = self.get(name, default)
        if not isinstance(value, bool):
            self.refuse(name, f"must be true or false, is {kind(value)}")
        return bool(value)

    def choice(self, name: str, choices: Sequence[str], default: str) -> str:
        """One of some words."""
        value = self.get(name, default)
        if value not in choices:
            self.refuse(name, f"is {value!r}, must be one of {', '.join(choices)}")
        return str(value)

    def items(self, name: str) -> list[Any]:
        """A list; absent: an empty one."""
        value = self.get(name, [])
        if not isinstance(value, list):
            self.refuse(name, f"must be a list, is {kind(value)}")
        return list(value)

    def texts(self, name: str) -> list[str]:
        """Text or a list of texts, as a list."""
        value = self.get(name, [])
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(text, str) for text in listed):
            self.refuse(name, "must be text or a list of texts")
        return list(listed)

    def inside(self, name: str) -> Body | None:
        """An object, with its own members."""
        value = self.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            self.refuse(name, f"must be an object, is {kind(value)}")
        return Body(value, f"{self._place}{name}.")

    def refuse(self, name: str, what: str) -> NoReturn:
        """Raise the Failure of a member."""
        where = self._place + name
        raise Failure(400, f"{where}: {what}", param=where, code="invalid_value")

    def refuse_all(self, reasons: Mapping[str, str]) -> None:
        """Raise the Failure of the first member that is there and that nothing here can honor."""
        for name, why in reasons.items():
            if self.get(name) not in (None, False, [], {}, ""):
                self.refuse(name, why)

    def unread(self) -> list[str]:
        """The names of members that nothing has asked for, and that are not null."""
        names = sorted(name for name, value in self.members.items() if name not in self._read and value is not None)
        return [self._place + name for name in names]


def kind(value: object) -> str:
    """What JSON calls a value."""
    names = {bool: "a boolean", str: "text", list: "a list", dict: "an object", type(None): "null"}
    return names.get(type(value), "a number")


def parse(raw: bytes | str) -> dict[str, Any]:
    """A JSON object from untrusted bytes; Failure 400 otherwise."""
    try:
        value = json.loads(raw, parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise Failure(400, f"the body is not UTF-8 at byte {error.start}", code="invalid_json") from None
    except (ValueError, RecursionError) as error:
        raise Failure(400, f"the body is not JSON: {error}", code="invalid_json") from None
    if not isinstance(value, dict):
        raise Failure(400, f"the body must be a JSON object, is {kind(value)}", code="invalid_json")
    if too_deep(value):
        raise Failure(400, f"the body is nested deeper than {_MAX_DEPTH}", code="invalid_json")
    return value


def too_deep(value: object) -> bool:
    """Whether a JSON value is nested deeper than anything here reads."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
