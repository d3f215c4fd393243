"""The offline check of a bundle: manifest, signatures, chain, heads, cosignatures, and the answers with a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import files
from ..errors import Error, FormatError, VerificationError
from ..paths import AnyPath, expanded
from . import archive, segment
from .bundle import BUNDLE, HEAD, JOURNAL, KEYS, MANIFEST, check_note
from .keys import PublicKeys
from .notes import Note, VerifierKey
from .primitives import is_time
from .statements import ID, Signed, check_seal, verify

if TYPE_CHECKING:
    from ..engine.adapter import Adapter
    from ..engine.model import Model

_MANIFEST_MEMBERS = {"from", "to", "prompts", "missing", "journal", "members"}
Progress = Callable[[str, int, int], None]
FindAdapter = Callable[[str], "AnyPath | None"]  # by its digest


@dataclass
class Verdict:
    """Faults: it does not hold. Doubts: what could not be told. `cosignatures`: witness and seconds since 1970."""

    faults: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    manifest: dict[str, Any] = field(default_factory=dict)
    n_receipts: int = 0
    n_lines: int = 0
    n_notes: int = 0
    n_repeated: int = 0
    cosignatures: list[tuple[str, int]] = field(default_factory=list)

    @property
    def verified(self) -> bool:
        """Whether everything was checked, and holds."""
        return not self.faults and not self.doubts


def verify_bundle(
    path: AnyPath,
    keys: PublicKeys | None = None,
    witnesses: Iterable[VerifierKey] = (),
    model: Model | None = None,
    progress: Progress | None = None,
    find_adapter: FindAdapter = lambda digest: None,
) -> Verdict:
    """Check a bundle. `keys`: the server's, from elsewhere; without them the bundle's own are used, which is a doubt.

    `model`: repeats the answers of receipts that have their prompts; `find_adapter`: the file of an adapter that one
    was made with. Raises only if the file cannot be read.
    """
    name = expanded(path)
    raw = files.read(name, archive.MOST_BYTES)  # what is too large is no fault of it
    verdict = Verdict()
    check = _Check(verdict, list(witnesses))
    try:
        check.manifest(archive.unpack(raw, name), keys)
        if not verdict.faults:
            check.contents()
    except (VerificationError, FormatError) as error:
        verdict.faults.append(str(error))
    if model is not None and not verdict.faults:
        check.repeat(model, progress, find_adapter)
    return verdict


class _Check:
    def __init__(self, verdict: Verdict, witnesses: list[VerifierKey]) -> None:
        self._verdict = verdict
        self._witnesses = witnesses
        self._members: dict[str, bytes] = {}
        self._signed: dict[str, Signed] = {}

    def manifest(self, members: dict[str, bytes], keys: PublicKeys | None) -> None:
        """Who signed it, and whether the members are those that it lists."""
        for name in (MANIFEST, KEYS, JOURNAL):
            if name not in members:
                raise VerificationError(name, "is missing")
        self._keys = keys if keys is not None else PublicKeys.parse(members[KEYS], KEYS)
        if keys is None:
            ids = ", ".join(key.id for key in self._keys)
            self._doubt(f"whose keys these are ({ids}): they are the bundle's own; give the server's published ones")
        signed = Signed.parse(members[MANIFEST], MANIFEST)
        if signed.json.encode() != members[MANIFEST] or signed.salt is not None:
            raise VerificationError(MANIFEST, "is not in canonical form")
        try:
            check_seal(signed, self._keys, BUNDLE, _MANIFEST_MEMBERS)
        except VerificationError as error:
            raise error.in_file(MANIFEST) from None
        about = dict(signed.statement)
        _check_shape(about)
        self._verdict.manifest = about
        listed = about["members"]
        for name in sorted(listed.keys() ^ (members.keys() - {MANIFEST})):
            self._fault(name, "is missing" if name in listed else "is not in the manifest")
        for name in sorted(listed.keys() & members.keys()):
            if hashlib.sha256(members[name]).hexdigest() != listed[name]:
                self._fault(name, "was changed: its SHA-256 is not the manifest's")
        self._members = members

    def contents(self) -> None:
        """Receipts, the journal's lines, heads, and whether they agree."""
        PublicKeys.parse(self._members[KEYS], KEYS)
        for name in sorted(self._members):
            kind, _, rest = name.rpartition("/")
            try:
                if kind == "receipts":
                    self._receipt(rest.removesuffix(".json"), self._members[name])
                elif kind == "signatures":
                    if f"receipts/{rest}" not in self._members:
                        raise VerificationError("signature", "has no receipt")
                elif kind != "notes" and name not in (MANIFEST, KEYS, JOURNAL):
                    raise VerificationError("member", "is none that a bundle has")
            except (VerificationError, FormatError) as error:
                self._fault(name, str(error))
        self._chain()

    def _receipt(self, id: str, raw: bytes) -> None:
        manifest = self._verdict.manifest
        name = f"signatures/{id}.json"
        if name not in self._members:
            raise VerificationError("receipt", "has no signature")
        signed = Signed.parse(self._members[name], name)
        if (signed.salt is not None) != manifest["prompts"]:
            raise VerificationError("signature", "has a salt, or none, against what the manifest says of prompts")
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            raise VerificationError("receipt", "is not UTF-8") from None
        verify(signed, self._keys, text)
        if signed.statement["id"] != id:
            raise VerificationError("signature", f"is of receipt {signed.statement['id']!a}")
        if not manifest["from"] <= signed.statement["issued"] < manifest["to"]:
            raise VerificationError("receipt", f"was issued {signed.statement['issued']}, outside of the bundle's time")
        self._signed[id] = signed
        self._verdict.n_receipts += 1

    def _chain(self) -> None:
        manifest = self._verdict.manifest
        part = segment.parse(self._members[JOURNAL].splitlines(keepends=True))
        for fault in part.faults:
            self._fault(JOURNAL, fault)
        if part.as_dict() != manifest["journal"]:
            self._fault(JOURNAL, "does not begin or end where the manifest says")
        self._verdict.n_lines = len(part.lines)
        self._agree(part)
        if part.lines and HEAD not in self._members:
            self._fault(HEAD, "is missing")
        for name in sorted(each for each in self._members if each.startswith("notes/")):
            try:
                note = Note.parse(self._members[name])
                found = check_note(note, part, manifest["server"], self._keys, self._witnesses)
                if name == HEAD and note.text.split("\n")[1] != str(part.head.n_lines):
                    raise VerificationError("note", "is not of the last line")
            except (VerificationError, FormatError) as error:
                self._fault(name, str(error))
                continue
            self._verdict.n_notes += 1
            self._verdict.cosignatures += found
        for witness in self._witnesses:
            if not any(name == witness.name for name, _ in self._verdict.cosignatures):
                self._doubt(f"whether witness {witness.name!a} has seen this journal: no note has its cosignature")

    def _agree(self, part: segment.Segment) -> None:
        """The journal has a line for each receipt, and the bundle a receipt for each line that records one."""
        manifest = self._verdict.manifest
        missing = set(manifest["missing"])
        for id, signed in self._signed.items():
            if id not in part.signed:
                self._doubt(f"when receipt {id} was signed: this part of the journal does not record it")
            elif part.signed[id] != (signed.statement["issued"], signed.sha256):
                self._fault(JOURNAL, f"records another statement of receipt {id}")
        for id, recorded in part.signed.items():
            if id in self._signed or not manifest["from"] <= recorded.issued < manifest["to"]:
                continue
            if id in missing:
                self._doubt(f"what receipt {id!a} said: the journal records it, and the server has not kept it")
            else:
                self._fault(JOURNAL, f"records receipt {id!a}, which the bundle does not have")
        for id in sorted(missing & self._signed.keys() | missing - part.signed.keys()):
            self._fault(MANIFEST, f"says that receipt {id!a} is missing, which is not so")

    def repeat(self, model: Model, progress: Progress | None, find_adapter: FindAdapter) -> None:
        """Repeat the answers with the model."""
        from ..engine.receipt import Receipt
        from ..engine.verify import adapters_of, report_of

        if not self._verdict.manifest["prompts"]:
            self._doubt("whether the model gives these answers: the bundle has no prompts")
            return
        loaded: dict[str, Adapter] = {}
        for i, id in enumerate(sorted(self._signed)):
            if progress is not None:
                progress("answers", i, len(self._signed))
            try:
                receipt = Receipt(self._members[f"receipts/{id}.json"])
                if receipt.fingerprint != model.fingerprint():
                    self._doubt(f"whether the answer of receipt {id} is right: it is of another model")
                    continue
                report = report_of(receipt, model, adapters=adapters_of(receipt, model, find_adapter, loaded))
            except Error as error:
                self._doubt(f"whether the answer of receipt {id} is right: {error}")
                continue
            if report["verified"]:
                self._verdict.n_repeated += 1
            else:
                self._fault(f"receipts/{id}.json", str(report["message"]))
        if progress is not None:
            progress("answers", len(self._signed), len(self._signed))

    def _fault(self, name: str, what: str) -> None:
        self._verdict.faults.append(f"{name}: {what}")

    def _doubt(self, what: str) -> None:
        self._verdict.doubts.append(what)


def _check_shape(about: dict[str, Any]) -> None:
    missing, members = about["missing"], about["members"]
    if not is_time(about["from"]) or not is_time(about["to"]) or not isinstance(about["prompts"], bool):
        raise VerificationError(MANIFEST, "has no valid from, to or prompts")
    if not isinstance(missing, list) or not all(isinstance(id, str) and ID.fullmatch(id) for id in missing):
        raise VerificationError(MANIFEST, "has no valid list of missing receipts")
    if not isinstance(members, dict) or not all(isinstance(hash, str) for hash in members.values()):
        raise VerificationError(MANIFEST, "has no valid members")
