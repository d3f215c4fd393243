"""Signed notes of a journal's head, in the formats of C2SP: signed-note, tlog-checkpoint's body, tlog-cosignature v1.

A head is a hash chain's, not a Merkle tree's root: a witness follows it by the journal's lines, not by tree proofs.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..errors import FormatError, InvalidArgument, VerificationError
from ..journal.chain import Head
from .keys import Keys, PublicKeys
from .primitives import (
    PUBLIC_BYTES,
    SEED_BYTES,
    SIGNATURE_BYTES,
    decode64,
    encode64,
    is_signed,
    new_seed,
    public_of,
    sign_bytes,
)

ED25519, COSIGNATURE = 0x01, 0x04
_HASH_BYTES = 4
_MOST_BYTES = 64 << 10
_MOST_SIGNATURES = 100
_MOST_TIME = 2**63 - 1
_DASH = "\u2014 "
_PRIVATE = "PRIVATE+KEY+"


class Checkpoint(NamedTuple):
    """What a note says: the journal `origin` has `n_lines` lines, and the last one's hash is `hash` (hexadecimal)."""

    origin: str
    n_lines: int
    hash: str

    @property
    def text(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.n_lines}\n{encode64(bytes.fromhex(self.hash))}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """From a note's text; raises FormatError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise FormatError("note", f"has {len(lines) - 1} lines of text, not 3: origin, number of lines, hash")
        origin, size, hash = lines[:3]
        if not is_name(origin):
            raise FormatError("note", "has an origin that is empty, or has spaces or '+'")
        if re.fullmatch("0|[1-9][0-9]{0,18}", size) is None:
            raise FormatError("note", "has no number of lines in its second line")
        try:
            return cls(origin, int(size), decode64(hash, 32).hex())
        except ValueError as error:
            raise FormatError("note", f"has a hash in its third line that {error}") from None


class Signature(NamedTuple):
    """A signature line: the key's name and 4-byte hash, and the signature, after the time of a cosignature."""

    name: str
    key_hash: bytes
    signature: bytes

    def __str__(self) -> str:
        return f"{_DASH}{self.name} {encode64(self.key_hash + self.signature)}\n"


class Note(NamedTuple):
    """A text, which ends in a newline, and its signatures."""

    text: str
    signatures: tuple[Signature, ...]

    def __str__(self) -> str:
        return f"{self.text}\n{''.join(map(str, self.signatures))}"

    @classmethod
    def parse(cls, raw: str | bytes) -> Note:
        """From untrusted bytes; raises FormatError."""
        try:
            text = raw.decode() if isinstance(raw, bytes) else raw
            n_bytes = len(text.encode())
        except UnicodeError:
            raise FormatError("note", "is not UTF-8") from None
        if n_bytes > _MOST_BYTES:
            raise FormatError("note", f"is longer than {_MOST_BYTES >> 10} KiB")
        if any(sign < " " and sign != "\n" for sign in text):
            raise FormatError("note", "has a control character")
        body, blank, lines = text.rpartition("\n\n")
        if not blank or not body or not lines.endswith("\n"):
            raise FormatError("note", "is no text, a blank line and signature lines, each with a newline at its end")
        signatures = tuple(_signature(line) for line in lines[:-1].split("\n"))
        if len(signatures) > _MOST_SIGNATURES:
            raise FormatError("note", f"has more than {_MOST_SIGNATURES} signatures")
        return cls(body + "\n", signatures)


def _signature(line: str) -> Signature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not is_name(name):
        raise FormatError("note", f"has a signature line that is not '{_DASH}NAME BASE64'")
    try:
        raw = decode64(encoded)
    except ValueError as error:
        raise FormatError("note", f"has a signature that {error}") from None
    if len(raw) <= _HASH_BYTES:
        raise FormatError("note", "has a signature that is too short")
    return Signature(name, raw[:_HASH_BYTES], raw[_HASH_BYTES:])


def is_name(name: str) -> bool:
    """Whether it can name a key: not empty, printable, without spaces and '+'."""
    return bool(name) and name.isprintable() and "+" not in name and not any(map(str.isspace, name))


class VerifierKey(NamedTuple):
    """A name, a type and a public key; its text, NAME+HASH+BASE64, is how witnesses publish theirs."""

    name: str
    type: int
    public: bytes

    @property
    def hash(self) -> bytes:
        """The 4 bytes that signature lines have."""
        message = self.name.encode() + b"\n" + bytes([self.type]) + self.public
        return hashlib.sha256(message).digest()[:_HASH_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.hash.hex()}+{encode64(bytes([self.type]) + self.public)}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """From its text; raises FormatError."""
        name, hash, key = _key_parts(text, "verifier key", PUBLIC_BYTES)
        found = cls(name, key[0], key[1:])
        if found.hash.hex() != hash:
            raise FormatError("verifier key", "has a hash that is not of its name and key")
        return found


class SignerKey(NamedTuple):
    """A witness's private key; its text is PRIVATE+KEY+NAME+HASH+BASE64."""

    name: str
    type: int
    seed: bytes

    @property
    def verifier(self) -> VerifierKey:
        """The public part."""
        return VerifierKey(self.name, self.type, public_of(self.seed))

    def __str__(self) -> str:
        return f"{_PRIVATE}{self.name}+{self.verifier.hash.hex()}+{encode64(bytes([self.type]) + self.seed)}"

    @classmethod
    def make(cls, name: str, type: int = COSIGNATURE) -> SignerKey:
        """A new key of a witness."""
        if not is_name(name):
            raise InvalidArgument("name", f"is {name!r}, must be printable, without spaces and '+'")
        return cls(name, type, new_seed())

    @classmethod
    def parse(cls, text: str) -> SignerKey:
        """From its text; raises FormatError."""
        if not text.startswith(_PRIVATE):
            raise FormatError("signer key", f"does not begin with {_PRIVATE}")
        name, hash, key = _key_parts(text.removeprefix(_PRIVATE), "signer key", SEED_BYTES)
        found = cls(name, key[0], key[1:])
        if found.verifier.hash.hex() != hash:
            raise FormatError("signer key", "has a hash that is not of its name and key")
        return found


def _key_parts(text: str, what: str, n_bytes: int) -> tuple[str, str, bytes]:
    parts = text.split("+", 2)
    if len(parts) != 3 or not is_name(parts[0]):
        raise FormatError(what, "must be NAME+HASH+BASE64")
    try:
        key = decode64(parts[2], 1 + n_bytes)
    except ValueError as error:
        raise FormatError(what, f"has a key that {error}") from None
    if key[0] not in (ED25519, COSIGNATURE):
        raise FormatError(what, f"has type {key[0]}, must be {ED25519} (Ed25519) or {COSIGNATURE} (cosignature)")
    return parts[0], parts[1], key


def sign_text(text: str, signer: SignerKey) -> Signature:
    """An Ed25519 signature of a note's text."""
    return Signature(signer.name, signer.verifier.hash, sign_bytes(signer.seed, text.encode()))


def head_note(head: Head, keys: Keys, server: str) -> Note:
    """The signed note of a journal's head; `server` is origin and key name."""
    if not is_name(server):
        raise InvalidArgument("server", f"is {server!r}, must be printable, without spaces and '+'")
    text = Checkpoint(server, head.n_lines, head.hash).text
    with keys.signing() as key:
        return Note(text, (sign_text(text, SignerKey(server, ED25519, key.seed)),))


def cosign(note: Note, witness: SignerKey, time: int) -> Note:
    """The note with the witness's cosignature of `time` (seconds since 1970) added, in place of an earlier one."""
    if witness.type != COSIGNATURE:
        raise InvalidArgument("witness", f"is a key of type {witness.type}, must be {COSIGNATURE} (cosignature)")
    if not 0 <= time <= _MOST_TIME:
        raise InvalidArgument("time", f"is {time}, must be 0 to 2^63 - 1")
    verifier = witness.verifier
    signature = struct.pack(">Q", time) + sign_bytes(witness.seed, _cosigned(note.text, time))
    kept = tuple(each for each in note.signatures if (each.name, each.key_hash) != (verifier.name, verifier.hash))
    return Note(note.text, (*kept, Signature(verifier.name, verifier.hash, signature)))


def _cosigned(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


class Verified(NamedTuple):
    """A signature that holds; `time` in seconds since 1970 if it is a cosignature."""

    key: VerifierKey
    time: int | None


def open_note(note: Note, keys: Iterable[VerifierKey]) -> list[Verified]:
    """The signatures of these keys; others are ignored. Raises VerificationError if one of them does not hold."""
    known = {(key.name, key.hash): key for key in keys}
    return [
        _verified(note.text, each, known[each.name, each.key_hash])
        for each in note.signatures
        if (each.name, each.key_hash) in known
    ]


def _verified(text: str, found: Signature, key: VerifierKey) -> Verified:
    message, signature, time = text.encode(), found.signature, None
    if key.type == COSIGNATURE:
        if len(signature) != 8 + SIGNATURE_BYTES:
            raise VerificationError("note", f"has a cosignature of {key.name!a} with a wrong length")
        time, signature = int.from_bytes(signature[:8]), signature[8:]
        message = _cosigned(text, time)
    if (time or 0) > _MOST_TIME or not is_signed(key.public, message, signature):
        raise VerificationError("note", f"the signature of {key.name!a} does not hold: text or signature was changed")
    return Verified(key, time)


class Attested(NamedTuple):
    """A verified note of a journal's head."""

    checkpoint: Checkpoint
    cosignatures: tuple[Verified, ...]
    n_unknown: int  # signatures of keys that were not given


def verify_note(note: Note, keys: PublicKeys, witnesses: Iterable[VerifierKey] = ()) -> Attested:
    """Check that the server of the note's origin signed it, and which witnesses did; raises VerificationError."""
    checkpoint = Checkpoint.parse(note.text)
    own = set(_own_keys(checkpoint.origin, keys))
    publics = {key.public for key in keys}
    others = {key for key in witnesses if key.type == COSIGNATURE and key.public not in publics}  # no witness of itself
    found = open_note(note, own | others)
    if not any(each.key in own for each in found):
        raise VerificationError("note", f"has no signature of {checkpoint.origin!a} by one of the given keys")
    times = {each.key: each for each in found if each.key in others}  # a witness counts once
    return Attested(checkpoint, tuple(times.values()), len(note.signatures) - len(found))


def _own_keys(origin: str, keys: PublicKeys) -> Iterator[VerifierKey]:
    return (VerifierKey(origin, ED25519, key.public) for key in keys)
