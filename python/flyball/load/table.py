"""A table of a TOML file that is read key by key; what is wrong, or left over, is told with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..errors import InvalidArgument

_MISSING: Any = object()


class Table:
    """Keys that are read are known; end() refuses the others. Every method raises InvalidArgument."""

    def __init__(self, members: Mapping[str, Any], place: str = "") -> None:
        self._members = members
        self._place = place
        self._known: list[str] = []

    def place(self, name: str) -> str:
        """A key as errors name it."""
        return f"{self._place}.{name}" if self._place else name

    def has(self, name: str) -> bool:
        """Whether a key is given; it is known from now on."""
        self._known.append(name)
        return name in self._members

    def text(self, name: str, default: str = _MISSING) -> str:
        """A text, which may be "" only if that is the default."""
        value = self._get(name, str, "text in quotes", default)
        if not value and default != "":
            raise InvalidArgument(self.place(name), "is empty, must be text")
        return str(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        return bool(self._get(name, bool, "true or false", default))

    def integer(self, name: str, least: int, most: int, default: int = _MISSING) -> int:
        """A whole number from `least` to `most`."""
        return int(self._within(name, self._get(name, int, "a whole number", default), least, most))

    def number(self, name: str, least: float, most: float, default: float = _MISSING) -> float:
        """A number from `least` to `most`."""
        return float(self._within(name, self._get(name, (int, float), "a number", default), least, most))

    def seconds(self, name: str, most: float) -> float:
        """A length of time above 0."""
        return self.number(name, 0.001, most)

    def choice(self, name: str, allowed: Sequence[str], default: str = _MISSING) -> str:
        """One of some words."""
        value = self.text(name, default)
        if value not in allowed:
            raise InvalidArgument(self.place(name), f"is {value[:40]!r}, must be one of {', '.join(allowed)}")
        return value

    def texts(self, name: str, default: tuple[str, ...]) -> tuple[str, ...]:
        """A list of texts with at least one."""
        value = self._get(name, list, "a list of texts", list(default))
        if not value or not all(isinstance(each, str) and each for each in value):
            raise InvalidArgument(self.place(name), "must be a list of at least one text, and none that is empty")
        return tuple(value)

    def table(self, name: str) -> Table:
        """A table; an empty one where there is none."""
        return Table(self._get(name, dict, "a table", {}), self.place(name))

    def tables(self, name: str) -> Iterator[tuple[str, Table]]:
        """The tables in a table, by their names, which are letters, digits, - and _."""
        for key, value in self._get(name, dict, "a table of tables", {}).items():
            place = f"{self.place(name)}.{key}"
            if not key.isascii() or not key.replace("-", "").replace("_", "").isalnum():
                raise InvalidArgument(place[:80], "has a name that is not of letters, digits, - and _")
            if not isinstance(value, dict):
                raise InvalidArgument(place, f"is {_shown(value)}, must be a table [{place}]")
            yield key, Table(value, place)

    def list_of_tables(self, name: str) -> Iterator[tuple[str, Table]]:
        """The tables of a list, with the place of each."""
        for number, value in enumerate(self._get(name, list, "a list of tables", []), 1):
            place = f"{self.place(name)}[{number}]"
            if not isinstance(value, dict):
                raise InvalidArgument(place, f"is {_shown(value)}, must be a table")
            yield place, Table(value, place)

    def end(self) -> None:
        """Refuse the first key that nothing has read."""
        for name in self._members:
            if name not in self._known:
                known = ", ".join(sorted(self._known))
                raise InvalidArgument(self.place(name)[:80], f"is no key here; known are {known}")

    def _get(self, name: str, kind: type | tuple[type, ...], meaning: str, default: Any) -> Any:
        self._known.append(name)
        value = self._members.get(name, default)
        if value is _MISSING:
            raise InvalidArgument(self.place(name), f"is missing; give {meaning}")
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise InvalidArgument(self.place(name), f"is {_shown(value)}, must be {meaning}")
        return value

    def _within(self, name: str, value: float, least: float, most: float) -> float:
        if not least <= value <= most:
            raise InvalidArgument(self.place(name), f"is {_shown(value)}, must be {least:g} to {most:g}")
        return value


def _shown(value: object) -> str:
    return repr(value)[:40]
