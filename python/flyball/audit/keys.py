"""Keys: made at first use in a folder that is closed to others, rotated, and published without their private parts.

Version 1 of FOLDER/keys.json: `version` and `keys`, oldest first, each with the members of a published key; the last
one signs and also has `private_key`. Rotation deletes that of the key before.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import files
from ..errors import FileError, FormatError, NotFound
from ..paths import AnyPath, expanded
from .primitives import (
    PUBLIC_BYTES,
    SEED_BYTES,
    decode64,
    encode64,
    is_time,
    new_seed,
    public_of,
    sign_bytes,
    time_text,
)

_VERSION = 1
_MOST_BYTES = 1 << 20
_KEY_MEMBERS = {"id", "algorithm", "public_key", "created", "retired"}


@dataclass(frozen=True)
class PublicKey:
    """A key for verification. It signed from `created` to `retired`, or still does."""

    public: bytes
    created: str
    retired: str | None = None

    @property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the public key's SHA-256."""
        return hashlib.sha256(self.public).hexdigest()[:16]

    def as_dict(self) -> dict[str, Any]:
        """As published."""
        return {
            "id": self.id,
            "algorithm": "Ed25519",
            "public_key": encode64(self.public),
            "created": self.created,
            "retired": self.retired,
        }


class PublicKeys:
    """The published keys of a server, by id."""

    def __init__(self, keys: Iterable[PublicKey]) -> None:
        self._keys = {key.id: key for key in keys}

    def get(self, id: str) -> PublicKey | None:
        """The key with this id, or None."""
        return self._keys.get(id)

    def __iter__(self) -> Iterator[PublicKey]:
        return iter(self._keys.values())

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def json(self) -> str:
        """The text for /.well-known/flyball-keys.json."""
        return json.dumps({"keys": [key.as_dict() for key in self]}) + "\n"

    @classmethod
    def parse(cls, text: str | bytes, name: str = "keys") -> PublicKeys:
        """From published JSON, which is untrusted; raises FormatError with `name` and what is wrong."""
        found = _json(text, name)
        keys = found.get("keys") if isinstance(found, dict) else None
        if not isinstance(keys, list) or not keys or set(found) != {"keys"}:
            raise FormatError(name, 'must be a JSON object with one list of keys: {"keys": [...]}')
        return cls(_distinct([_public_key(each, f"{name}: key {i}") for i, each in enumerate(keys)], name))

    @classmethod
    def load(cls, path: AnyPath) -> PublicKeys:
        """From a file."""
        name = expanded(path)
        return cls.parse(files.read(name, _MOST_BYTES), name)


@dataclass(frozen=True)
class SigningKey:
    """The key that signs now; `now` is a time at which it does."""

    id: str
    now: str
    seed: bytes

    def sign(self, message: bytes) -> bytes:
        """The signature."""
        return sign_bytes(self.seed, message)


@dataclass(frozen=True)
class _Stored:
    keys: tuple[PublicKey, ...]
    seed: bytes  # of the last one
    stamp: tuple[int, int, int]  # which file this was read from


class Keys:
    """A folder's keys; `clock` gives nanoseconds since 1970. Made at first use; processes and threads may share it.

    Raises FileError for a folder or file that others may read, FormatError for a damaged file. Neither is replaced.
    """

    def __init__(self, folder: AnyPath, clock: Callable[[], int] = time.time_ns) -> None:
        self.folder = Path(expanded(folder, "folder"))
        self._clock = clock
        self._file = self.folder / "keys.json"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(str(self.folder), f"cannot be made: {error.strerror or error}") from None
        refuse_open(self.folder, "folder", 0o700)
        with self._locked(fcntl.LOCK_EX):
            if not os.path.lexists(self._file):
                self._write((), new_seed(), time_text(clock()))
            self._stored = self._read()

    @property
    def public(self) -> PublicKeys:
        """All keys, for verification."""
        with self._locked(fcntl.LOCK_SH):
            return PublicKeys(self._current().keys)

    @contextmanager
    def signing(self) -> Iterator[SigningKey]:
        """The key that signs, which no rotation retires meanwhile: what it signs is not later than its end."""
        with self._locked(fcntl.LOCK_SH):
            stored = self._current()
            key = stored.keys[-1]
            yield SigningKey(
                key.id, max(time_text(self._clock()), key.created), stored.seed
            )  # the clock may be set back

    def rotate(self) -> PublicKey:
        """A new key signs from now on; the old one's private part is deleted, its public part stays."""
        with self._locked(fcntl.LOCK_EX):
            *retired, last = self._current().keys
            now = max(time_text(self._clock()), last.created)
            self._write((*retired, PublicKey(last.public, last.created, now)), new_seed(), now)
            self._stored = self._read()
            return self._stored.keys[-1]

    @contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        name = self.folder / "lock"
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise FileError(str(name), f"cannot be opened: {error.strerror or error}") from None
        try:
            fcntl.flock(descriptor, how)
            yield
        finally:
            os.close(descriptor)

    def _current(self) -> _Stored:
        """Another process may have rotated."""
        if _stamp(self._file) != self._stored.stamp:
            self._stored = self._read()
        return self._stored

    def _write(self, retired: tuple[PublicKey, ...], seed: bytes, now: str) -> None:
        keys = [key.as_dict() for key in retired]
        keys.append(PublicKey(public_of(seed), now).as_dict() | {"private_key": encode64(seed)})
        aside = self._file.with_name("keys.json.new")
        aside.unlink(missing_ok=True)
        aside.touch(mode=0o600)  # writing keeps the mode, and no moment passes with another one
        files.write(aside, json.dumps({"version": _VERSION, "keys": keys}, indent=1) + "\n")
        aside.replace(self._file)
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self) -> _Stored:
        stamp = _stamp(self._file)
        refuse_open(self._file, "file", 0o600)
        name = str(self._file)
        found = _json(files.read(name, _MOST_BYTES), name)
        if not isinstance(found, dict) or found.get("version") != _VERSION or not isinstance(found.get("keys"), list):
            raise FormatError(name, f"is damaged, or not of version {_VERSION}: restore it from a copy")
        *old, last = found["keys"] or [None]
        if not isinstance(last, dict) or last.get("retired") is not None:
            raise FormatError(name, "is damaged: its last key is not one that signs; restore it from a copy")
        try:
            seed = decode64(last.pop("private_key", None), SEED_BYTES)
        except ValueError as error:
            raise FormatError(name, f"is damaged: the private key {error}; restore it from a copy") from None
        keys = [_public_key(each, f"{name}: key {i}") for i, each in enumerate([*old, last])]
        if keys[-1].public != public_of(seed) or any(key.retired is None for key in keys[:-1]):
            raise FormatError(name, "is damaged: the private key is of another public one; restore it from a copy")
        return _Stored(tuple(_distinct(keys, name)), seed, stamp)


def refuse_open(path: Path, kind: str, mode: int) -> None:
    """Raises FileError if others than its owner may use this file or folder."""
    found = path.stat() if kind == "folder" else path.lstat()
    if not (stat.S_ISDIR if kind == "folder" else stat.S_ISREG)(found.st_mode):
        raise FileError(str(path), f"is no {kind} of keys")
    if found.st_mode & 0o077:
        raise FileError(
            str(path),
            f"may be read or changed by others (mode {found.st_mode & 0o777:o}), and holds private keys:"
            f" chmod {mode:o}, and rotate the key if someone could have read it",
        )


def _stamp(file: Path) -> tuple[int, int, int]:
    try:
        found = file.lstat()
    except FileNotFoundError:
        raise NotFound(str(file), "does not exist any more; restore it from a copy") from None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _json(text: str | bytes, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(name, f"is not JSON: {error}") from None


def _public_key(found: object, name: str) -> PublicKey:
    if not isinstance(found, dict) or set(found) != _KEY_MEMBERS:
        raise FormatError(name, f"must have the members {', '.join(sorted(_KEY_MEMBERS))}")
    if found["algorithm"] != "Ed25519":
        raise FormatError(name, "has an algorithm other than Ed25519")
    try:
        public = decode64(found["public_key"], PUBLIC_BYTES)
    except ValueError as error:
        raise FormatError(name, f"public_key {error}") from None
    created, retired = found["created"], found["retired"]
    if not is_time(created) or not (retired is None or (is_time(retired) and created <= retired)):
        raise FormatError(name, "has no valid times: created, and retired not before it or null")
    key = PublicKey(public, created, retired)
    if not isinstance(found["id"], str) or re.fullmatch("[0-9a-f]{16}", found["id"]) is None or found["id"] != key.id:
        raise FormatError(name, "id is not that of its public key")
    return key


def _distinct(keys: list[PublicKey], name: str) -> list[PublicKey]:
    if len({key.id for key in keys}) != len(keys):
        raise FormatError(name, "has a key twice")
    return keys
