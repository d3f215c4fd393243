"""Verification: repeat a receipt's answer and compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .. import _core
from ..constraints.constraint import Constraint
from ..errors import FormatError, InvalidArgument, Unsupported, VerificationError
from ..paths import AnyPath
from .adapter import Adapter
from .handle import Progress
from .model import Model, demo_model_path
from .options import LogitsProcessor, processor
from .receipt import Receipt


def verify(
    receipt: Receipt | Mapping[str, Any] | AnyPath,
    model: Model | AnyPath | None = None,
    *,
    isa: str = "auto",
    threads: int = 0,
    logits_processor: LogitsProcessor | None = None,
    adapters: Iterable[Adapter | AnyPath] = (),
) -> bool:
    """Repeat the answer and compare model, logits, tokens, text and digest with the receipt.

    `receipt` is a Receipt, a mapping of its members, or a path; `model` a loaded Model, a path, or None for the bundled
    model. Returns True, or raises VerificationError with the first difference and its position in the answer. Any other
    error means that the comparison was not possible: an answer with a logits processor is Unsupported without the same
    function as `logits_processor`, one with an adapter unless that is among `adapters` (loaded ones, or paths), and one
    with a constraint without the very version of the library that applied it.
    """
    checked = _as_receipt(receipt)
    if isinstance(model, Model):
        return _verify(checked, model, logits_processor, adapters)
    path = demo_model_path() if model is None else model
    with Model.load(path, isa=isa, threads=threads) as loaded:
        if model is None and loaded.info.fingerprint != checked.fingerprint:
            name = checked["model"]["name"]
            raise InvalidArgument("model", f"is not given, and the receipt is of {name!r}, not of the bundled model")
        return _verify(checked, loaded, logits_processor, adapters)


def _verify(
    receipt: Receipt,
    model: Model,
    logits_processor: LogitsProcessor | None,
    adapters: Iterable[Adapter | AnyPath],
) -> bool:
    report = report_of(receipt, model, logits_processor=logits_processor, adapters=adapters)
    if not report["verified"]:
        position = difference_position(report)
        where = "receipt" if position is None else f"receipt, generated position {position}"
        error = VerificationError(where, report["message"])
        error.position = position
        raise error
    return True


def report_of(
    receipt: Receipt,
    model: Model,
    progress: Progress | None = None,
    logits_processor: LogitsProcessor | None = None,
    adapters: Iterable[Adapter | AnyPath] = (),
) -> dict[str, Any]:
    """Repeat the answer and report: verified, difference, position, n_compared, message, digest."""
    loaded = [item if isinstance(item, Adapter) else model.load_adapter(item) for item in adapters]
    function = processor(logits_processor)
    cores = [adapter._core for adapter in loaded]
    constraint = _constraint_of(receipt)
    compiled = constraint and model._handle.constraints.compile(constraint)
    return _core.receipt_verify(receipt.json, model._handle.core, progress, function, cores, compiled)


def adapters_of(
    receipt: Receipt, model: Model, find: Callable[[str], AnyPath | None], loaded: dict[str, Adapter]
) -> list[Adapter]:
    """The adapters that an answer was made with, of the files that `find` gives for their digests; `loaded` keeps them
    for further receipts. Raises Unsupported with the digest of one that is nowhere. None of another model's receipt,
    which has a difference already."""
    if receipt.fingerprint != model.fingerprint():
        return []
    for digest in receipt.adapters:
        if digest in loaded:
            continue
        if (file := find(digest)) is None:
            what = "is not here, and the answer was made with it; --adapter FILE gives its file"
            raise Unsupported(f"adapter {digest}", what)
        adapter = model.load_adapter(file)
        if adapter.fingerprint != digest:
            raise FormatError(adapter.path, f"was changed: it is adapter {adapter.fingerprint}, not {digest}")
        loaded[digest] = adapter
    return [loaded[digest] for digest in receipt.adapters]


def _constraint_of(receipt: Receipt) -> Constraint | None:
    used = receipt.get("constraint") if receipt["schema_version"] >= 3 else None
    return used and Constraint(used["kind"], used["text"], used["library"])


def difference_position(report: Mapping[str, Any]) -> int | None:
    """The first generated position that differs, or None if the difference has no position."""
    return int(report["position"]) if report["difference"] in ("logits", "tokens", "stop") else None


def _as_receipt(receipt: Receipt | Mapping[str, Any] | AnyPath) -> Receipt:
    if isinstance(receipt, Receipt):
        return receipt
    if isinstance(receipt, Mapping):
        return Receipt(json.dumps(receipt))
    return Receipt.load(receipt)
