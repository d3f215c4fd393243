"""JSON web tokens of one configured issuer, accepted as API keys: whose they are, and what they allow.

Nothing is fetched: the issuer's public keys are a file. Which algorithm verifies a token follows from the key, never
from the token. A token is good until it expires; it cannot be revoked here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from ..errors import FileError, FormatError
from ..paths import expanded
from ..store.roles import ROLES
from .settings import ServeSettings

PublicKey = Ed25519PublicKey | EllipticCurvePublicKey | RSAPublicKey
AUDIENCE = "flyball"
_MOST_TOKEN = 8192  # characters
_MOST_FILE = 1 << 20
_MOST_KEYS = 16
_LEAST_RSA_BITS = 2048
_LEEWAY_SECONDS = 10  # between two machines' clocks
_REQUIRED = ("iss", "aud", "exp", "sub", "project", "role")
_WRONG = (jwt.PyJWTError, ValueError, TypeError, AttributeError, OverflowError, RecursionError)  # of what others wrote
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True)
class Claims:
    """What a token says. `expires`: seconds since 1970."""

    user: str
    project: str
    role: str
    expires: float


@dataclass(frozen=True)
class _Key:
    key: PublicKey
    algorithm: str
    kid: str | None = None


class Issuer:
    """Checks tokens."""

    def __init__(self, keys: list[_Key], name: str, audience: str) -> None:
        self._keys = keys
        self._name = name
        self._audience = audience

    @classmethod
    def of(cls, settings: ServeSettings) -> Issuer | None:
        """The issuer of the settings; None: there is none. Raises FileError or FormatError for its file of keys."""
        if not settings.jwt_keys:
            return None
        path = Path(expanded(settings.jwt_keys))
        try:
            raw = path.read_bytes()
        except OSError as error:
            raise FileError(str(path), f"cannot be read: {error.strerror or error} (serve.jwt_keys)") from None
        return cls(keys_of(raw, str(path)), settings.jwt_issuer, settings.jwt_audience or AUDIENCE)

    def claims(self, token: str) -> Claims | None:
        """What a good token says; None for any other."""
        if len(token) > _MOST_TOKEN or token.count(".") != 2:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except _WRONG:
            return None
        if "crit" in header:  # says that the rest is not to be understood without it
            return None
        kid = header.get("kid")
        for key in self._keys:
            if kid is None or key.kid in (None, kid):
                try:
                    return _claims(self._decoded(token, key))
                except _WRONG:
                    continue
        return None

    def _decoded(self, token: str, key: _Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            issuer=self._name,
            audience=self._audience,
            leeway=_LEEWAY_SECONDS,
            options={"require": list(_REQUIRED)},
        )


def _claims(said: dict[str, Any]) -> Claims | None:
    user, project, role = (said[name] for name in ("sub", "project", "role"))
    if not all(isinstance(each, str) and 0 < len(each) <= 255 for each in (user, project, role)) or role not in ROLES:
        return None
    return Claims(user, project, role, float(said["exp"]))


def keys_of(raw: bytes, where: str) -> list[_Key]:
    """The public keys of a file: a JWKS, one JWK, or PEM blocks. Raises FormatError."""
    if len(raw) > _MOST_FILE:
        raise FormatError(where, f"has {len(raw)} bytes; a file of public keys has at most {_MOST_FILE}")
    try:
        keys = list(_jwks(raw) if raw.lstrip()[:1] == b"{" else _pem(raw))
    except (*_WRONG, KeyError, UnsupportedAlgorithm) as error:
        raise FormatError(where, f"has no public keys in JWKS or PEM: {error}") from None
    if not 0 < len(keys) <= _MOST_KEYS:
        raise FormatError(
            where, f"has {len(keys)} public keys, must have 1 to {_MOST_KEYS} (BEGIN PUBLIC KEY, or JWKS)"
        )
    return keys


def _jwks(raw: bytes) -> Iterator[_Key]:
    given = json.loads(raw)
    for each in given.get("keys", [given]):
        yield _usable(jwt.PyJWK.from_dict(each).key, each.get("kid"))


def _pem(raw: bytes) -> Iterator[_Key]:
    if b"PRIVATE KEY" in raw:
        raise ValueError("it has a private key, which belongs to the issuer alone")
    for block in _PEM.findall(raw):
        yield _usable(load_pem_public_key(block))


def _usable(key: object, kid: str | None = None) -> _Key:
    if isinstance(key, Ed25519PublicKey):
        return _Key(key, "EdDSA", kid)
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return _Key(key, "ES256", kid)
    if isinstance(key, RSAPublicKey) and key.key_size >= _LEAST_RSA_BITS:
        return _Key(key, "RS256", kid)
    what = f"{type(key).__name__} is none of Ed25519, P-256 and RSA with {_LEAST_RSA_BITS} bits, as a public key"
    raise ValueError(what)
