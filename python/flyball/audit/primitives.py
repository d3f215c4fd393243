"""Ed25519, canonical JSON, strict base64 and times: what every format here is made of."""

from __future__ import annotations

import base64
import binascii
import importlib
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import FormatError, InvalidArgument, NotFound

SEED_BYTES = PUBLIC_BYTES = 32
SIGNATURE_BYTES = 64
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


def _library(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        name = module.partition(".")[0]
        raise NotFound(name, "is not installed; pip install 'flyball[serve]' installs it") from None


def new_seed() -> bytes:
    """A new private key: the 32 bytes that RFC 8032 calls the private key."""
    return secrets.token_bytes(SEED_BYTES)


def public_of(seed: bytes) -> bytes:
    """The public key of a private one."""
    return bytes(_ed25519().Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw())


def sign_bytes(seed: bytes, message: bytes) -> bytes:
    """The signature of 64 bytes."""
    return bytes(_ed25519().Ed25519PrivateKey.from_private_bytes(seed).sign(message))


def is_signed(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether the signature is of this key and message."""
    try:
        key = _ed25519().Ed25519PublicKey.from_public_bytes(public)
        key.verify(signature, message)
    except (_library("cryptography.exceptions").InvalidSignature, ValueError):
        return False
    return True


def _ed25519() -> Any:
    return _library("cryptography.hazmat.primitives.asymmetric.ed25519")


def canonical(value: Mapping[str, Any]) -> bytes:
    """Canonical JSON (RFC 8785). Raises FormatError for what it cannot hold: whole numbers from 2^53, surrogates."""
    library = _library("rfc8785")
    try:
        return bytes(library.dumps(value))
    except (library.CanonicalizationError, RecursionError) as error:
        raise FormatError("statement", f"has no canonical form: {error}") from None


def encode64(raw: bytes) -> str:
    """Base 64 of RFC 4648, section 4."""
    return base64.b64encode(raw).decode()


def decode64(text: object, n_bytes: int | None = None) -> bytes:
    """The bytes of base 64 in its only valid spelling; raises ValueError."""
    if not isinstance(text, str):
        raise ValueError("is no text in base64")
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if encode64(raw) != text:
        raise ValueError("is not base64 as an encoder writes it")
    if n_bytes is not None and len(raw) != n_bytes:
        raise ValueError(f"has {len(raw)} bytes, not {n_bytes}")
    return raw


def time_text(ns: int) -> str:
    """Nanoseconds since 1970 as statements have them: UTC, cut to milliseconds, so that texts compare as times do."""
    milliseconds = ns // 1_000_000
    whole = datetime.fromtimestamp(milliseconds // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{milliseconds % 1000:03}Z"


def is_time(text: object) -> bool:
    """Whether it is a text of time_text()."""
    if not isinstance(text, str) or _TIME.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def read_time(text: str, name: str) -> str:
    """A time as people give it, in the form of time_text(): a date or an ISO 8601 time, in UTC without a zone."""
    try:
        found = datetime.fromisoformat(text)
        since = (found if found.tzinfo else found.replace(tzinfo=UTC)) - datetime.fromtimestamp(0, tz=UTC)
        return time_text(since // timedelta(microseconds=1) * 1000)
    except (ValueError, OverflowError):
        raise InvalidArgument(name, f"is {text!r}, must be a time such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
