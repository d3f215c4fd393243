"""The state that a model shares with its sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias, TypeGuard

from .. import _core
from ..constraints.compiled import Compiler
from ..errors import ContextFull, InvalidArgument
from .adapter import Adapter, adapter_core
from .batching import Batcher
from .model_file import ModelFile
from .options import governor_words, integer, real, utf8

if TYPE_CHECKING:  # numpy takes longer to import than a small model to load
    import numpy as np
    import numpy.typing as npt

Prompt: TypeAlias = "str | Sequence[int] | npt.NDArray[np.integer[Any]]"
Progress: TypeAlias = Callable[[str, int, int], object]


def is_many(prompts: Prompt | Sequence[Prompt]) -> TypeGuard[Sequence[Prompt]]:
    """Whether this is a list of prompts; a list of integers is one prompt."""
    return isinstance(prompts, (list, tuple)) and bool(prompts) and not hasattr(prompts[0], "__index__")


def session_adapter(adapter: Adapter | None) -> _core.AdapterCore | None:
    """As the core takes it; raises InvalidArgument."""
    core = adapter_core(adapter)
    if isinstance(core, str):
        raise InvalidArgument("adapter", f"is {adapter!r}, must be an Adapter or None")
    return core


class Recorder(Protocol):
    """The part of Journal that a model uses."""

    core: _core.JournalCore

    def _keep(self) -> None: ...


class Defaults(NamedTuple):
    """Default settings of new sessions."""

    context: int
    cache_type: str
    governor: Mapping[str, object]


@dataclass(frozen=True)
class ModelHandle:
    """What a session needs of a loaded model, so that sessions do not depend on Model."""

    core: _core.ModelCore
    file: ModelFile
    batcher: Batcher
    recorder: Recorder | None
    defaults: Defaults
    constraints: Compiler  # for the model's vocabulary

    def new_session(
        self,
        context: int | None = None,
        cache_type: str | None = None,
        threads: int = 0,
        decode_threads: int = 0,
        sequence: int = 0,
        governor: Mapping[str, object] | None = None,
        adapter: Adapter | None = None,
        adapter_scale: float = 1.0,
    ) -> _core.SessionCore:
        """A new session of the core; None means the model's default."""
        return _core.SessionCore.create(
            self.core,
            integer("context", self.defaults.context if context is None else context),
            self.defaults.cache_type if cache_type is None else cache_type,
            integer("threads", threads),
            integer("decode_threads", decode_threads),
            integer("sequence", sequence, most=2**64 - 1),
            governor_words(self.defaults.governor if governor is None else governor),
            session_adapter(adapter),
            real("adapter_scale", adapter_scale),
        )

    def ids(self, prompt: Prompt) -> Iterable[int]:
        """Token ids of a prompt. Text gets the vocabulary's special tokens around it, and is never parsed for them."""
        if isinstance(prompt, str):
            return self.core.tokenize(utf8("prompt", prompt), True, False)
        if hasattr(prompt, "dtype"):
            array: Any = prompt
            if array.ndim != 1 or array.dtype.kind not in "iu":
                raise InvalidArgument(
                    "prompt", f"is {array.dtype} of shape {array.shape}; must be a one-dimensional array of integers"
                )
            return list(map(int, array))
        if isinstance(prompt, (bytes, bytearray)):
            raise InvalidArgument("prompt", "is bytes, must be text or token ids")
        if not isinstance(prompt, Iterable):
            raise InvalidArgument("prompt", f"is {prompt!r}, must be text or token ids")
        return prompt

    def ids_of_many(self, prompts: Iterable[Prompt], context: int) -> list[list[int]]:
        """Token ids of several prompts, all checked: an error names the prompt and comes before any work."""
        n_vocab = self.core.info()["n_vocab"]
        lists = []
        for i, prompt in enumerate(prompts):
            name = f"prompt {i}"
            try:
                ids = [integer(name, token, most=n_vocab - 1) for token in self.ids(prompt)]
            except InvalidArgument as error:
                raise InvalidArgument(name, error.what) from None
            except TypeError:
                raise InvalidArgument(name, f"is {prompt!r}, must be text or token ids") from None
            if not ids:
                raise InvalidArgument(name, "is empty; give at least one token")
            if len(ids) > context:
                raise ContextFull(name, f"has {len(ids)} tokens, the context holds {context}")
            lists.append(ids)
        return lists

    def keep_journal(self) -> None:
        """Write the recorded events to the journal, if there is one."""
        if self.recorder is not None:
            self.recorder._keep()
