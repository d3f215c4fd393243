"""Receipts: all that is needed to repeat an answer elsewhere and compare it. Format: docs/receipts.md."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .. import _core, files
from .._cached import cached
from ..errors import FormatError
from ..paths import AnyPath, expanded

_MAX_BYTES = 256 << 20


class Receipt(Mapping[str, Any]):
    """A valid receipt; a read-only mapping of its JSON members.

    `digest`, `fingerprint` (of the model) and `request_key` are SHA-256 in hexadecimal; the last is not a member.
    """

    def __init__(self, text: str | bytes) -> None:
        """From JSON text; raises FormatError with the field and the byte offset of the fault."""
        self._text = text if isinstance(text, str) else _decode(text)
        self.digest, self.fingerprint, self.request_key = _core.receipt_parse(self._text)

    @cached
    def _members(self) -> dict[str, Any]:  # many times as large as the text
        members: dict[str, Any] = json.loads(self._text)
        return members

    @classmethod
    def load(cls, path: AnyPath) -> Receipt:
        """Read a receipt from a file."""
        name = expanded(path)
        try:
            return cls(files.read(name, _MAX_BYTES))
        except FormatError as error:
            raise error.in_file(name) from None

    def save(self, path: AnyPath) -> Path:
        """Write it atomically: to a temporary file that is flushed and renamed."""
        return files.write(path, self._text + ("" if self._text.endswith("\n") else "\n"))

    @property
    def adapters(self) -> list[str]:
        """The fingerprints of the adapters that the answer was made with."""
        return [str(each["fingerprint"]) for each in self["settings"].get("adapters", ())]

    @property
    def json(self) -> str:
        """The JSON text as created or read."""
        return self._text

    def __getitem__(self, key: str) -> Any:
        return self._members[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"Receipt(digest={self.digest[:16]}..., tokens={len(self['tokens'])})"


def _decode(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise FormatError("receipt", "is not UTF-8", error.start) from None
