"""Paths of files as users give them."""

from __future__ import annotations

import os
from typing import TypeAlias

from .errors import InvalidArgument

AnyPath: TypeAlias = "str | bytes | os.PathLike[str] | os.PathLike[bytes]"


def expanded(path: AnyPath, name: str = "path") -> str:
    """`path` as text, with a leading ~ or ~user as the home folder; `name` is the argument's.

    A home folder that cannot be found leaves the path as it is. Raises InvalidArgument for what is not a path.
    """
    try:
        text = os.path.expanduser(os.fsdecode(path))
    except TypeError:
        raise InvalidArgument(name, f"is {path!r}, must be a path") from None
    if not text or "\0" in text:
        raise InvalidArgument(name, f"is {text!r}, must be a path: not empty, without a NUL character")
    return text
