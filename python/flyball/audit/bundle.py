"""Export: signed receipts, the journal's lines of their time, heads and public keys in one file that can be checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .. import files
from ..errors import FormatError, InvalidArgument
from ..paths import AnyPath, expanded
from . import archive, segment
from .keys import Keys, PublicKeys
from .notes import Note, VerifierKey, head_note, verify_note
from .sources import Record
from .statements import ID, Signed, redact, seal, split, verify

BUNDLE = "flyball bundle"
MANIFEST, KEYS, JOURNAL, HEAD = "manifest.json", "keys.json", "journal.jsonl", "notes/head.note"


@dataclass(frozen=True)
class Exported:
    """What a bundle has. `missing`: receipts that the journal records and the source no longer has; `adapters`: digests
    of those whose files a check with the model needs beside the bundle."""

    path: Path
    n_receipts: int
    n_lines: int
    missing: tuple[str, ...]
    unrecorded: tuple[str, ...]  # receipts that the journal's part does not record
    adapters: tuple[str, ...] = ()


def export(
    out: AnyPath,
    begin: str,
    end: str,
    records: Iterable[Record],
    journal: AnyPath,
    keys: Keys,
    server: str,
    *,
    prompts: bool = False,
    notes: Iterable[Note] = (),
) -> Exported:
    """Write a bundle of what was issued from `begin` to before `end` (texts of primitives.time_text()).

    `records`: at least those of that time. `prompts`: receipts keep prompt and answer. `notes`: of this
    journal's heads, with the cosignatures of witnesses. Raises VerificationError if a receipt is not the signed one.
    """
    if begin >= end:
        raise InvalidArgument("from", f"is {begin}, must be before the end, {end}")
    public = keys.public
    members: dict[str, bytes] = {KEYS: public.json.encode()}
    statements = {}
    adapters: set[str] = set()
    for record in records:
        if begin <= record.issued < end:
            statements[record.id] = _add(members, record, public, prompts)
            adapters.update(_adapters(record.receipt))
    part = segment.cut(journal, begin, end, statements)
    if part.has_content and not prompts:
        raise InvalidArgument("prompts", "must be asked for: this journal has prompts and answers in its lines")
    if not statements and not part.lines:
        raise InvalidArgument("from", f"{begin} to {end} has neither receipts nor lines of the journal")
    members[JOURNAL] = b"".join(part.lines)
    if part.lines:
        members[HEAD] = str(head_note(part.head, keys, server)).encode()
    for i, note in enumerate(notes, 1):
        check_note(note, part, server, public)
        members[f"notes/{i}.note"] = str(note).encode()
    expected = {id for id, recorded in part.signed.items() if begin <= recorded.issued < end}
    missing = sorted(expected - statements.keys())
    about = {"from": begin, "to": end, "prompts": prompts, "missing": missing, "journal": part.as_dict()}
    hashes = {name: hashlib.sha256(raw).hexdigest() for name, raw in members.items()}
    members[MANIFEST] = seal(keys, server, BUNDLE, about | {"members": hashes}).json.encode()
    raw = archive.pack(members)
    if len(raw) > archive.MOST_BYTES:
        raise InvalidArgument(
            "to", f"makes a bundle of more than {archive.MOST_BYTES >> 30} GiB: choose a shorter time"
        )
    path = files.write(expanded(out, "out"), raw)
    unrecorded = tuple(sorted(statements.keys() - part.signed.keys()))
    return Exported(path, len(statements), len(part.lines), tuple(missing), unrecorded, tuple(sorted(adapters)))


def _adapters(receipt: str) -> list[str]:
    """The digests of the adapters that an answer was made with, which every receipt shows."""
    used = json.loads(split(receipt).get("settings", "{}")).get("adapters", ())
    return [str(each["fingerprint"]) for each in used]


def _add(members: dict[str, bytes], record: Record, keys: PublicKeys, prompts: bool) -> Signed:
    signed = Signed.parse(record.signature, f"signature of {record.id}")
    name = f"receipts/{record.id}.json"
    if ID.fullmatch(record.id) is None or signed.statement.get("id") != record.id or name in members:
        raise FormatError("records", f"have {record.id!r} twice, or with the signature of another receipt")
    verify(signed, keys, record.receipt)
    members[name] = (record.receipt if prompts else redact(record.receipt)).encode()
    members[f"signatures/{record.id}.json"] = (signed if prompts else signed.redacted()).json.encode()
    return signed


def check_note(
    note: Note, part: segment.Segment, server: str, keys: PublicKeys, witnesses: Iterable[VerifierKey] = ()
) -> list[tuple[str, int]]:
    """Raises unless the note is of a head within this part of the journal; returns the witnesses and their times."""
    attested = verify_note(note, keys, witnesses)
    checkpoint = attested.checkpoint
    if checkpoint.origin != server:
        raise FormatError("note", f"is of {checkpoint.origin!a}, not of {server!a}")
    if checkpoint.n_lines not in part.hashes:
        raise FormatError(
            "note", f"is of a head of {checkpoint.n_lines} lines, which is outside of this part of the journal"
        )
    if part.hashes[checkpoint.n_lines] != checkpoint.hash:
        raise FormatError(
            "note", f"has another hash after {checkpoint.n_lines} lines than the journal: one was rewritten"
        )
    return [(each.key.name, each.time or 0) for each in attested.cosignatures]
