"""Signed statements: who said what, and when. The formats are in docs/audit.md.

A receipt's statement has a hash of each member of the receipt, over the member's JSON text, so that no number is ever
read. Members that tell of prompt or answer are hashed with a salt: without it, nobody can confirm a guess.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import FormatError, InvalidArgument, VerificationError
from .keys import Keys, PublicKeys
from .primitives import SIGNATURE_BYTES, canonical, decode64, encode64, is_signed, is_time

VERSION = 1
RECEIPT = "flyball receipt"
SALT_BYTES = 32
ID = re.compile(r"[A-Za-z0-9_-]{1,128}", re.ASCII)
_COMMON = {"type", "version", "issued", "server", "key"}
_MOST_BYTES = 4 << 20
# Members of a receipt that tell nothing of prompt and answer. All others are hidden, those of later versions too.
SHOWN = (
    *("schema_version", "flyball", "model", "settings", "sampler", "decisions", "template_time", "stop"),
    *("environment", "metrics"),
)
_SPACE = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Signed:
    """A statement, its signature, and for a receipt the salt of its hidden members."""

    statement: Mapping[str, Any]
    signature: bytes
    salt: bytes | None = None

    @property
    def sha256(self) -> str:
        """The statement's hash, which the journal has."""
        return hashlib.sha256(canonical(self.statement)).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        shown = {"statement": dict(self.statement), "signature": encode64(self.signature)}
        return shown if self.salt is None else shown | {"salt": self.salt.hex()}

    @property
    def json(self) -> str:
        """Canonical JSON, and a newline."""
        return canonical(self.as_dict()).decode() + "\n"

    def redacted(self) -> Signed:
        """Without the salt."""
        return replace(self, salt=None)

    @classmethod
    def parse(cls, text: str | bytes, name: str = "signature") -> Signed:
        """From JSON, which is untrusted; raises FormatError."""
        if len(text) > _MOST_BYTES:
            raise FormatError(name, f"is longer than {_MOST_BYTES >> 20} MiB")
        try:
            found = json.loads(text, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise FormatError(name, f"is not JSON: {error}") from None
        return cls.from_dict(found, name)

    @classmethod
    def from_dict(cls, found: object, name: str = "signature") -> Signed:
        """From as_dict()'s members; raises FormatError."""
        if not isinstance(found, dict) or not {"statement", "signature"} <= set(found) <= {
            "statement",
            "signature",
            "salt",
        }:
            raise FormatError(name, "must be an object with statement, signature and perhaps salt")
        statement = found["statement"]
        if not isinstance(statement, dict):
            raise FormatError(name, "has a statement that is no object")
        try:
            signature = decode64(found["signature"], SIGNATURE_BYTES)
        except ValueError as error:
            raise FormatError(name, f"has a signature that {error}") from None
        salt = found.get("salt")
        if "salt" in found and (not isinstance(salt, str) or re.fullmatch("[0-9a-f]{64}", salt) is None):
            raise FormatError(name, f"has a salt that is not {SALT_BYTES} bytes in hexadecimal")
        return cls(statement, signature, None if salt is None else bytes.fromhex(salt))


def seal(keys: Keys, server: str, kind: str, members: Mapping[str, Any]) -> Signed:
    """Sign a statement of these members and those that every statement has."""
    with keys.signing() as key:
        statement = {**members, "type": kind, "version": VERSION, "issued": key.now, "server": server, "key": key.id}
        return Signed(statement, key.sign(canonical(statement)))


def check_seal(signed: Signed, keys: PublicKeys, kind: str, members: set[str]) -> None:
    """Raises VerificationError unless it is a statement of this kind, signed with a key while that was in use."""
    statement = signed.statement
    if statement.get("type") != kind or statement.get("version") != VERSION:
        raise VerificationError("statement", f"is not a {kind!r} of version {VERSION}")
    if set(statement) != _COMMON | members:
        odd = sorted(set(statement) ^ (_COMMON | members))
        raise VerificationError("statement", f"lacks members or has unknown ones: {', '.join(map(ascii, odd))}")
    issued, id = statement["issued"], statement["key"]
    if not is_time(issued) or not isinstance(statement["server"], str) or not isinstance(id, str):
        raise VerificationError("statement", "has no valid issued, server or key")
    key = keys.get(id)
    if key is None:
        raise VerificationError("key", f"{id!a} is unknown: it is not among the {len(keys)} given keys")
    try:
        message = canonical(statement)
    except FormatError as error:
        raise VerificationError("statement", error.what) from None
    if not is_signed(key.public, message, signed.signature):
        raise VerificationError("signature", f"is not of this statement with key {id}: one of them was changed")
    if issued < key.created:
        raise VerificationError("key", f"{id} was made {key.created}, after the statement was issued {issued}")
    if key.retired is not None and issued > key.retired:
        raise VerificationError("key", f"{id} was retired {key.retired}, before the statement was issued {issued}")


def sign(keys: Keys, server: str, id: str, receipt: str) -> Signed:
    """Sign a receipt's JSON text. `id` must not be derived from prompt or answer, since it is never hidden."""
    if ID.fullmatch(id) is None:
        raise InvalidArgument("id", f"is {id!r}, must be 1 to 128 letters, digits, '-' and '_'")
    salt = secrets.token_bytes(SALT_BYTES)
    texts = split(receipt)
    shown = {name: _shown(text) for name, text in texts.items() if name in SHOWN}
    hidden = {name: _hidden(salt, name, text) for name, text in texts.items() if name not in SHOWN}
    return replace(seal(keys, server, RECEIPT, {"id": id, "shown": shown, "hidden": hidden}), salt=salt)


def verify(signed: Signed, keys: PublicKeys, receipt: str | None = None) -> None:
    """Check a signed receipt; raises VerificationError that names what is wrong.

    `receipt`: its JSON text, whole or with all its hidden members left out, as redact() writes it.
    """
    check_seal(signed, keys, RECEIPT, {"id", "shown", "hidden"})
    statement = signed.statement
    if not isinstance(statement["id"], str) or ID.fullmatch(statement["id"]) is None:
        raise VerificationError("statement", "has no valid id")
    shown, hidden = statement["shown"], statement["hidden"]
    if not isinstance(shown, dict) or not isinstance(hidden, dict) or set(shown) & set(hidden):
        raise VerificationError("statement", "has no valid members shown and hidden")
    if receipt is None:
        return
    try:
        texts = split(receipt)
    except FormatError as error:
        raise VerificationError("receipt", error.what) from None
    is_whole = any(name in hidden for name in texts)
    if is_whole and signed.salt is None:
        raise VerificationError("receipt", "has members that were hidden, and the signature has no salt to check them")
    expected = {**shown, **hidden} if is_whole else shown
    found = {
        name: _hidden(signed.salt, name, text) if signed.salt is not None and name in hidden else _shown(text)
        for name, text in texts.items()
    }
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        if len(wrong) > 3:
            raise VerificationError(
                "receipt", f"is another one: {len(wrong)} of its members are not those that were signed"
            )
        raise VerificationError("receipt", f"differs from the signed one in {', '.join(map(ascii, wrong))}")


def redact(receipt: str) -> str:
    """The receipt without the members that tell of prompt and answer."""
    texts = split(receipt)
    return "{" + ",".join(f"{json.dumps(name)}:{text}" for name, text in texts.items() if name in SHOWN) + "}"


def split(text: str) -> dict[str, str]:
    """The members of a JSON object, each with its value's own text; raises FormatError."""
    members: dict[str, str] = {}
    try:
        place = _expect(text, _space(text, 0), "{")
        separator = "}" if text[place : place + 1] == "}" else ","
        while separator == ",":
            name, end = _DECODER.raw_decode(text, place)
            if not isinstance(name, str) or name in members:
                raise ValueError(f"has no name, or one twice, at character {place}")
            place = _expect(text, _space(text, end), ":")
            _, end = _DECODER.raw_decode(text, place)
            members[name] = text[place:end]
            place = _space(text, end)
            separator = text[place : place + 1]
            if separator == ",":
                place = _expect(text, place, ",")
        if _space(text, _expect(text, place, "}")) != len(text):
            raise ValueError("has something after its end")
    except (ValueError, RecursionError) as error:
        raise FormatError("receipt", f"is no JSON object: {error}") from None
    return members


def _space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _expect(text: str, place: int, sign: str) -> int:
    if text[place : place + 1] != sign:
        raise ValueError(f"{sign!r} is missing at character {place}")
    return _space(text, place + 1)


def _shown(text: str) -> str:
    return hashlib.sha256(_bytes(text)).hexdigest()


def _hidden(salt: bytes, name: str, text: str) -> str:
    return hashlib.sha256(salt + _bytes(name) + b"\0" + _bytes(text)).hexdigest()


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise FormatError("receipt", "has half a surrogate pair, which UTF-8 lacks") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has a member twice")
    return members
