"""A bundle's file: a ZIP archive in one spelling, so that the same members always are the same bytes.

Members are stored uncompressed, sorted by name, dated 1980-01-01. Reading writes the archive again and compares: a byte
that differs is found wherever it is.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping

from .. import files
from ..errors import VerificationError
from ..paths import AnyPath, expanded

MOST_BYTES = 1 << 30
_NAME = re.compile(r"(?:[a-z]+/)?[A-Za-z0-9_-]{1,128}\.[a-z]+", re.ASCII)


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive of these members."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.create_system = 3  # Unix, wherever it is written
            info.external_attr = 0o100644 << 16
            archive.writestr(info, members[name])
    return out.getvalue()


def load(path: AnyPath) -> dict[str, bytes]:
    """The members of a bundle's file; raises VerificationError unless its bytes are those of pack()."""
    name = expanded(path)
    return unpack(files.read(name, MOST_BYTES), name)


def unpack(raw: bytes, name: str) -> dict[str, bytes]:
    """As load(), from bytes."""
    try:
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            listed = archive.infolist()
            for each in listed:
                if _NAME.fullmatch(each.filename) is None or each.compress_type != zipfile.ZIP_STORED:
                    raise VerificationError(name, f"has a member that no bundle has: {each.filename!a}")
            if sum(each.file_size for each in listed) > len(raw):
                raise VerificationError(name, "has members that are larger than the file")
            members = {each.filename: archive.read(each) for each in listed}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, ValueError, OSError, EOFError, RuntimeError) as error:
        raise VerificationError(name, f"is no bundle, or damaged: {error}") from None
    if pack(members) != raw:
        raise VerificationError(name, "is not as it was written: what is around its members was changed")
    return members
