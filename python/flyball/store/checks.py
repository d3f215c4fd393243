"""Arguments at the door: both databases then store them alike."""

from __future__ import annotations

from collections.abc import Collection

from ..errors import InvalidArgument

MOST_NAME = 255  # characters
MOST_TEXT_BYTES = 64 << 20
_MOST_INTEGER = (1 << 63) - 1


def storable(value: str) -> bool:
    """PostgreSQL has no NUL in texts, and UTF-8 no half of a surrogate pair."""
    return "\0" not in value and (value.isascii() or not any("\ud800" <= each <= "\udfff" for each in value))


def text(name: str, value: str, most: int = MOST_NAME, least: int = 1) -> str:
    """A text that both databases take as it is. Raises InvalidArgument."""
    if not isinstance(value, str):
        raise InvalidArgument(name, f"is {type(value).__name__}, must be text")
    if not least <= len(value) <= most:
        raise InvalidArgument(name, f"has {len(value)} characters, must have {least} to {most}")
    if not storable(value):
        raise InvalidArgument(name, "has a NUL or half of a surrogate pair, which no database stores")
    return value


def optional(name: str, value: str | None, most: int = MOST_NAME) -> str | None:
    return None if value is None else text(name, value, most)


def user_text(name: str, value: str | None) -> str | None:
    """What a user wrote, with any character. Raises InvalidArgument where it is too long."""
    if value is not None and not isinstance(value, str):
        raise InvalidArgument(name, f"is {type(value).__name__}, must be text")
    if value is not None and len(value) > MOST_TEXT_BYTES // 4:
        raise InvalidArgument(name, f"has {len(value)} characters, may have {MOST_TEXT_BYTES // 4}")
    return value


def integer(name: str, value: int, least: int = 0, most: int = _MOST_INTEGER) -> int:
    """A whole number in its range. Raises InvalidArgument."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidArgument(name, f"is {value!r}, must be a whole number")
    if not least <= value <= most:
        raise InvalidArgument(name, f"is {value}, must be {least} to {most}")
    return value


def time(name: str, value: int | None) -> int | None:
    """Milliseconds since 1970, or None. Raises InvalidArgument."""
    return None if value is None else integer(name, value)


def span(start: int, end: int) -> tuple[int, int]:
    """Two such times. Raises InvalidArgument."""
    return integer("start", start), integer("end", end)


def one_of(name: str, value: str, allowed: Collection[str]) -> str:
    if value not in allowed:
        raise InvalidArgument(name, f"is {value!r}, must be one of {', '.join(allowed)}")
    return value
