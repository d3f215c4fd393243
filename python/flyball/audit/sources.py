"""Where signed receipts come from. A bundle takes any iterable of records; this one reads a folder.

FOLDER/ID.json has a receipt, FOLDER/ID.signature its signature with the salt.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import files
from ..errors import FormatError, NotFound
from ..paths import AnyPath, expanded
from .statements import Signed

_MOST_RECEIPT = 256 << 20
_MOST_SIGNATURE = 4 << 20
ENDING = ".signature"


class Record(NamedTuple):
    """A receipt as it is stored: `receipt` and `signature` are JSON texts, `issued` is the statement's."""

    id: str
    issued: str
    receipt: str
    signature: str


def save(folder: AnyPath, receipt: str, signed: Signed) -> Path:
    """Store a signed receipt in a folder; returns the receipt's path."""
    path = Path(expanded(folder, "folder")) / f"{signed.statement['id']}.json"
    files.write(path.with_suffix(ENDING), signed.json)  # first: a receipt alone would have lost its signature
    return files.write(path, receipt)


def from_folder(folder: AnyPath) -> Iterator[Record]:
    """The signed receipts of a folder, by name."""
    place = Path(expanded(folder, "folder"))
    if not place.is_dir():
        raise NotFound(str(place), "is no folder")
    for path in sorted(place.glob(f"*{ENDING}")):
        signed = Signed.parse(files.read(path, _MOST_SIGNATURE), str(path))
        id, issued = signed.statement.get("id"), signed.statement.get("issued")
        if id != path.stem or not isinstance(issued, str):
            raise FormatError(str(path), "is not the signature that its name says")
        if not path.with_suffix(".json").exists():
            continue  # the program ended between the two files, or the receipt is no longer kept
        receipt = files.read(path.with_suffix(".json"), _MOST_RECEIPT)
        try:
            yield Record(path.stem, issued, receipt.decode(), signed.json)
        except UnicodeDecodeError as error:
            raise FormatError(str(path.with_suffix(".json")), "is not UTF-8", error.start) from None
