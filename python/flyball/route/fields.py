"""A table of TOML: each key with its type and range. An error has the file and the line of the key."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn

from ..errors import FormatError
from .places import Places

_MOST_TEXT = 2000  # characters


class Table:
    """The keys below `path`. refuse_unread(): what nobody asked for is a misspelt key."""

    def __init__(self, file: str, places: Places, members: Mapping[str, Any], path: tuple[str, ...] = ()) -> None:
        self.places = places
        self._file = file
        self._members = members
        self._path = path
        self._read: set[str] = set()

    def get(self, key: str) -> object:
        """A value as it is; None where it is absent."""
        self._read.add(key)
        return self._members.get(key)

    def text(self, key: str, default: str | None = None) -> str:
        """One line of text. Without a default it must be there."""
        value = self.get(key)
        if value is None:
            if default is None:
                self.refuse(key, "is missing")
            return default
        if not isinstance(value, str) or not value.strip() or len(value) > _MOST_TEXT or "\0" in value:
            self.refuse(key, f"is {_shown(value)}, must be text of at most {_MOST_TEXT} characters")
        return value

    def choice(self, key: str, choices: Collection[str], default: str) -> str:
        """One of some words."""
        value = self.text(key, default)
        if value not in choices:
            self.refuse(key, f"is {_shown(value)}, must be one of {', '.join(choices)}")
        return value

    def number(self, key: str, least: float, most: float, default: float) -> float:
        """A number in a range."""
        value = self.get(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.refuse(key, f"is {_shown(value)}, must be a number from {least:g} to {most:g}")
        return float(value)

    def names(self, key: str, most: int = 64) -> tuple[str, ...]:
        """A list of different texts; absent: an empty one."""
        value = self.get(key)
        if value is None:
            return ()
        if not isinstance(value, list) or len(value) > most:
            self.refuse(key, f"is {_shown(value)}, must be a list of at most {most} texts")
        for number, item in enumerate(value):
            if not isinstance(item, str) or not item.strip() or len(item) > _MOST_TEXT or "\0" in item:
                self.refuse(key, f"has {_shown(item)}, must have texts of at most {_MOST_TEXT} characters", number)
            if item in value[:number]:
                self.refuse(key, f"has {_shown(item)} twice", number)
        return tuple(value)

    def tables(self, key: str, most: int) -> dict[str, Table]:
        """The tables below a key, by name."""
        value = self.get(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or len(value) > most:
            self.refuse(key, f"must be at most {most} tables [{key}.NAME]")
        found = {}
        for name, members in value.items():
            if not isinstance(members, dict):
                self.refuse(key, f"is no table; write [{key}.{name[:80]}] and its keys below", name)
            found[name] = Table(self._file, self.places, members, (*self._path, key, name))
        return found

    def refuse(self, key: str, what: str, *inside: str | int) -> NoReturn:
        """Raise the FormatError of a key, or of what is inside it."""
        path = (*self._path, *((key,) if key else ()), *inside)
        words = [str(each)[:80] for each in path if isinstance(each, str)]
        raise FormatError(f"{self._file}:{self.places.line(*path)}", f"{'.'.join(words)} {what}".strip())

    def refuse_unread(self) -> None:
        """Raise the FormatError of the first key that nobody asked for."""
        for key in self._members:
            if key not in self._read:
                self.refuse(key, f"is unknown; the keys here are: {', '.join(sorted(self._read))}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
