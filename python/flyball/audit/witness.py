"""A witness: cosigns the heads of journals, and remembers them, so that no journal can go back or fork unseen.

KEY is its private key as text. KEY.seen has the last head of each origin: {origin: [number of lines, hash]}.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from .. import files
from ..errors import FormatError, VerificationError
from ..journal.chain import Head, check
from ..paths import AnyPath, expanded
from .keys import PublicKeys, refuse_open
from .notes import COSIGNATURE, Checkpoint, Note, SignerKey, cosign, verify_note

_MOST_BYTES = 16 << 20


class Witness:
    """The witness whose key a file has; with a `name`, a missing file is made."""

    def __init__(self, path: AnyPath, name: str | None = None) -> None:
        self._path = Path(expanded(path, "key"))
        if name is not None and not os.path.lexists(self._path):
            key = SignerKey.make(name)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            files.write(self._path, f"{key}\n")
        text = files.read(self._path, 1 << 10)
        refuse_open(self._path, "file", 0o600)
        try:
            self.key = SignerKey.parse(text.decode().removesuffix("\n"))
        except (UnicodeDecodeError, FormatError) as error:
            raise FormatError(str(self._path), f"is no key of a witness: {error}") from None
        if self.key.type != COSIGNATURE:
            raise FormatError(str(self._path), f"is a key of type {self.key.type}, must be {COSIGNATURE}")

    def cosign(self, note: Note, time: int, keys: PublicKeys | None = None, journal: AnyPath | None = None) -> Note:
        """Cosign a head. Raises VerificationError if it is behind the last one of its origin, or contradicts that.

        `keys`: of the server, which must have signed the note. `journal`: must have this head, and the last one.
        """
        checkpoint = verify_note(note, keys).checkpoint if keys is not None else Checkpoint.parse(note.text)
        seen = self._seen()
        now = Head(checkpoint.hash, checkpoint.n_lines)
        last = seen.get(checkpoint.origin)
        if last is not None and now.n_lines < last.n_lines:
            raise VerificationError("note", f"has {now.n_lines} lines: this witness has seen {last.n_lines} already")
        if last is not None and now.n_lines == last.n_lines and now.hash != last.hash:
            raise VerificationError("note", f"has another hash after {now.n_lines} lines than this witness has seen")
        for head in (now, last):
            if journal is not None and head is not None:
                _must_have(journal, head)
        found = cosign(note, self.key, time)
        seen[checkpoint.origin] = now
        files.write(self._seen_path, json.dumps({origin: [h.n_lines, h.hash] for origin, h in seen.items()}) + "\n")
        return found

    @property
    def _seen_path(self) -> Path:
        return self._path.with_name(self._path.name + ".seen")

    def _seen(self) -> dict[str, Head]:
        if not os.path.lexists(self._seen_path):
            return {}
        try:
            found = json.loads(files.read(self._seen_path, _MOST_BYTES))
            seen = {origin: Head(hash, int(n_lines)) for origin, (n_lines, hash) in found.items()}
            if not all(re.fullmatch("[0-9a-f]{64}", head.hash) for head in seen.values()):
                raise ValueError("has no valid hash")
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(
                str(self._seen_path), f"is damaged ({error}): restore it, it is this witness's memory"
            ) from None
        return seen


def _must_have(journal: AnyPath, head: Head) -> None:
    report = check(journal, head=head)
    if report.faults:
        raise VerificationError(str(journal), f"is not the journal of this head: {report.faults[0]}")
    if report.head.n_lines < head.n_lines or any("of the given head" in doubt for doubt in report.doubts):
        raise VerificationError(str(journal), f"does not reach to line {head.n_lines}, where the head is")
