"""What pickle and copy may not take apart."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from .errors import InvalidArgument


class Unpicklable:
    """Refuses pickle and copy, and says what to do `_instead`."""

    _instead: ClassVar[str]

    def __reduce__(self) -> NoReturn:
        raise InvalidArgument(type(self).__name__, f"cannot be pickled or copied: {self._instead}")
