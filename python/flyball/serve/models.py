"""The models that a server answers with, by name."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from ..engine.chat_format import ChatFormat
from ..engine.model import Model
from ..errors import InvalidArgument
from .failures import Failure


@dataclass(frozen=True)
class Served:
    """A model under the name that requests give."""

    name: str
    model: Model
    aliases: tuple[str, ...] = ()
    created: int = field(default_factory=lambda: int(time.time()))

    @cached_property
    def context(self) -> int:
        """Tokens that a prompt and its answer may have."""
        return self.model.session().context

    @cached_property
    def cache_type(self) -> str:
        """Type of the cached keys and values."""
        return self.model.session().cache_type

    @cached_property
    def cache_bytes_per_token(self) -> float:
        """Of keys and values, about."""
        return self.model.info.cache_bytes(self.context, self.cache_type) / self.context

    @cached_property
    def chat(self) -> ChatFormat:
        """The model's own chat template; Failure 400 if the file has none."""
        try:
            return self.model.chat_format()
        except InvalidArgument as error:
            raise Failure(400, f"model {self.name!r} cannot chat: {error}", param="model") from None

    @cached_property
    def uses_thinking(self) -> bool:
        """Whether the model's template says that it thinks before it answers."""
        source = self.model.info.chat_template
        return "enable_thinking" in source or "<think>" in source or "reasoning_effort" in source


def file_name(path: str) -> str:
    """A model's name from its file's: without folder, ending and number of a split part."""
    stem = Path(path).name.removesuffix(".gguf")
    head, split, tail = stem.rpartition("-of-")
    return head.rpartition("-")[0] if split and tail.isdigit() else stem


class Models:
    """All models of a server. The first one answers requests that name none."""

    def __init__(self, served: Iterable[Served]) -> None:
        self._served: dict[str, Served] = {}
        self._aliases: dict[str, Served] = {}
        for each in served:
            self.add(each)

    def add(self, served: Served) -> None:
        """Serve one more; InvalidArgument if its name is taken."""
        for name in (served.name, *served.aliases):
            if name in self._aliases:
                raise InvalidArgument("model", f"{name!r} is served twice; give another name: NAME=FILE")
            self._aliases[name] = served
        self._served[served.name] = served

    def __iter__(self) -> Iterator[Served]:
        return iter(self._served.values())

    @property
    def default(self) -> Served:
        """The first one."""
        return next(iter(self._served.values()))

    def get(self, name: str | None) -> Served:
        """The model of that name; Failure 404."""
        if not name:
            return self.default
        if (found := self._aliases.get(name) or self._aliases.get(name.removesuffix(":latest"))) is None:
            known = ", ".join(self._served)
            raise Failure(
                404, f"model {name!r} is not served; there are: {known}", param="model", code="model_not_found"
            )
        return found
