"""LoRA adapters: what a file adds to the matrices of a model."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass

from .. import _core
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded
from ..pickling import Unpicklable


@dataclass(frozen=True)
class AdapterFile:
    """What the file of an adapter says, without its model."""

    path: str
    name: str
    architecture: str
    quantization: str
    alpha: float
    rank: int
    n_pairs: int
    file_bytes: int
    fingerprint: str


class Adapter(Unpicklable):
    """A LoRA adapter of one model, in memory. Made by Model.load_adapter(); any number of sessions and answers use it.

    It is freed when neither the program nor a session or a running answer has it any more.

    path            its file
    name            the file's own name, else that of the path
    fingerprint     SHA-256 of the file, computed as a model's
    alpha, rank     alpha / rank scales it; an alpha of 0 stands for none: no scaling. The rank is the largest
    n_pairs         matrices of the model that it changes
    file_bytes, weight_bytes   bytes of the file, and in memory
    changes_logits  whether a few tokens had other logits with it than without
    """

    _instead = "it belongs to a loaded model; load it where it is used"

    path: str
    name: str
    fingerprint: str
    alpha: float
    rank: int
    n_pairs: int
    file_bytes: int
    weight_bytes: int
    changes_logits: bool

    def __init__(self, core: _core.AdapterCore, path: str) -> None:
        self._core = core
        self.path = path
        for name, value in core.info().items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"Adapter({self.path!r})"


def load_adapter(model: _core.ModelCore, path: AnyPath) -> Adapter:
    """The adapter in a file, checked against the model. Warns of one that changes nothing."""
    name = expanded(path, "path of the adapter")
    try:
        core = _core.AdapterCore.load(model, os.fsencode(name))
    except FormatError as error:
        raise error.in_file(name) from None
    adapter = Adapter(core, name)
    if not adapter.changes_logits:
        warnings.warn(f"the adapter {name} changes no logits: {NO_CHANGE}", RuntimeWarning, stacklevel=3)
    return adapter


NO_CHANGE = "its matrices may still be untrained"


def describe_adapter(path: AnyPath) -> AdapterFile | None:
    """What the file of an adapter says; None if the file is something else."""
    name = expanded(path, "path of the adapter")
    try:
        found = _core.describe_adapter(os.fsencode(name))
    except FormatError as error:
        raise error.in_file(name) from None
    return None if found is None else AdapterFile(path=name, **found)


def adapter_core(adapter: Adapter | str | None) -> _core.AdapterCore | str | None:
    """As the core takes it; raises InvalidArgument."""
    if adapter is None or adapter == "session":
        return adapter
    if not isinstance(adapter, Adapter):
        raise InvalidArgument("adapter", f"is {adapter!r}, must be an Adapter, None or 'session'")
    return adapter._core
