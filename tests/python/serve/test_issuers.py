"""Tokens of an issuer: signed by its keys, for this audience, now; whatever else they are, they let nobody in."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import flyball
from flyball.errors import FileError, FormatError, InvalidArgument
from flyball.serve import issuers, keyring
from flyball.serve.app import create_app
from flyball.serve.issuers import Claims, Issuer, keys_of
from flyball.serve.keyring import Holder, Keyring, client_of
from flyball.serve.models import Entry, Models
from flyball.serve.records import Records
from flyball.serve.server import Server
from flyball.serve.settings import ServeSettings
from flyball.store import Store
from flyball.store.roles import ROLES

from .worlds import World

PRIVATE: dict[str, Any] = {
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "RS256": rsa.generate_private_key(65537, 2048),
}
NOW = int(time.time())
CLAIMS: dict[str, Any] = {
    "iss": "https://issuer.example",
    "aud": "flyball",
    "sub": "ada",
    "project": "lab",
    "role": "member",
    "exp": NOW + 3600,
}


def pem(private: Any) -> bytes:
    return bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def jwk(private: Any, **more: Any) -> dict[str, Any]:
    kind = {"EdDSA": jwt.algorithms.OKPAlgorithm, "ES256": jwt.algorithms.ECAlgorithm}
    name = next(name for name, each in PRIVATE.items() if each is private)
    to: Any = kind.get(name, jwt.algorithms.RSAAlgorithm)
    return {**to.to_jwk(private.public_key(), as_dict=True), **more}


def signed(algorithm: str = "EdDSA", headers: dict[str, Any] | None = None, **changes: Any) -> str:
    claims = {name: value for name, value in (CLAIMS | changes).items() if value is not None}
    return jwt.encode(claims, PRIVATE[algorithm], algorithm, headers=headers)


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer(keys_of(b"".join(map(pem, PRIVATE.values())), "keys"), CLAIMS["iss"], "flyball")


@pytest.mark.parametrize("algorithm", list(PRIVATE))
def test_good_tokens(issuer: Issuer, algorithm: str) -> None:
    assert issuer.claims(signed(algorithm)) == Claims("ada", "lab", "member", CLAIMS["exp"])
    assert issuer.claims(signed(algorithm, aud=["other", "flyball"], nbf=NOW - 5, iat=NOW)) is not None


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": NOW - 60},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"nbf": NOW + 86_400},
        {"iat": NOW + 86_400},
        {"iss": "https://issuer.example.evil"},
        {"iss": None},
        {"iss": [CLAIMS["iss"]]},
        {"aud": "other"},
        {"aud": None},
        {"aud": ["other"]},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
        {"sub": "x" * 256},
        {"project": None},
        {"project": ""},
        {"project": ["lab"]},
        {"project": {"lab": 1}},
        {"role": None},
        {"role": "king"},
        {"role": ["owner"]},
        {"role": True},
        {"padding": "x" * 10_000},
    ],
)
def test_claims_that_let_nobody_in(issuer: Issuer, changes: dict[str, Any]) -> None:
    try:
        token = signed(**changes)
    except TypeError:  # PyJWT signs no such claim
        token = raw({"alg": "EdDSA"}, CLAIMS | changes, lambda text: PRIVATE["EdDSA"].sign(text))
    assert issuer.claims(token) is None


def raw(header: Any, claims: Any, sign: Callable[[bytes], bytes]) -> str:
    """A token with anything in it."""
    parts = [base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=") for each in (header, claims)]
    text = b".".join(parts)
    return (text + b"." + base64.urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


def test_algorithms_that_let_nobody_in(issuer: Issuer) -> None:
    """What the header names is never what decides: "none", and the public key taken for a secret."""
    for name in ("none", "None", "nOnE", "", None, ["EdDSA"], 7):
        assert issuer.claims(raw({"alg": name, "typ": "JWT"}, CLAIMS, lambda text: b"")) is None
    for secret in (*map(pem, PRIVATE.values()), json.dumps(jwk(PRIVATE["RS256"])).encode(), b""):
        for name, kind in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
            token = raw({"alg": name}, CLAIMS, lambda text, s=secret, k=kind: hmac.digest(s, text, k))  # type: ignore[misc]
            assert issuer.claims(token) is None
    other = ed25519.Ed25519PrivateKey.generate()
    for header in (
        {"alg": "EdDSA"},
        {"alg": "EdDSA", "jwk": jwk(PRIVATE["EdDSA"])},
        {"alg": "EdDSA", "jku": "http://x"},
    ):
        assert issuer.claims(raw(header, CLAIMS, other.sign)) is None
    good = PRIVATE["EdDSA"].sign
    assert issuer.claims(raw({"alg": "EdDSA"}, CLAIMS, good)) is not None
    assert issuer.claims(raw({"alg": "ES256"}, CLAIMS, good)) is None
    assert issuer.claims(raw({"alg": "EdDSA", "crit": ["exp"]}, CLAIMS, good)) is None
    assert issuer.claims(raw({"alg": "EdDSA", "crit": []}, CLAIMS, good)) is None
    others: list[Any] = [[CLAIMS], "x", None, 7, {}]
    for claims in others:
        assert issuer.claims(raw({"alg": "EdDSA"}, claims, good)) is None
    heads: list[Any] = [[], "EdDSA", None, {}]
    for head in heads:
        assert issuer.claims(raw(head, CLAIMS, good)) is None


def test_what_is_no_token(issuer: Issuer) -> None:
    good = signed()
    head, body, signature = good.split(".")
    changed = base64.urlsafe_b64encode(json.dumps(CLAIMS | {"role": "owner"}).encode()).rstrip(b"=").decode()
    deep = base64.urlsafe_b64encode(b"[" * 3000).rstrip(b"=").decode()
    for token in (
        *("", ".", "..", "...", "a.b.c", good[:-4], good + "A", good + ".", f"{head}.{body}.", f"{head}..{signature}"),
        *(f"{head}.{changed}.{signature}", f"{deep}.{body}.{signature}", f"{head}.{deep}.{signature}", "\ud800.\0.é"),
        *("x" * 60_000, "." * 60_000, good + " " * 9000, f"{head}.{'A' * 100_000}.{signature}"),
    ):
        assert issuer.claims(token) is None, token[:40]


def test_keys_in_jwks() -> None:
    keys = {"keys": [jwk(each, kid=name) for name, each in PRIVATE.items()]}
    issuer = Issuer(keys_of(json.dumps(keys).encode(), "keys"), CLAIMS["iss"], "flyball")
    for name in PRIVATE:
        assert issuer.claims(signed(name)) is not None
        assert issuer.claims(signed(name, {"kid": name})) is not None
        assert issuer.claims(signed(name, {"kid": "other"})) is None
    one = Issuer(keys_of(json.dumps(jwk(PRIVATE["ES256"])).encode(), "keys"), CLAIMS["iss"], "flyball")
    assert one.claims(signed("ES256")) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"{",
        b'{"keys": []}',
        b'{"keys": 7}',
        b'{"keys": [7]}',
        b'{"keys": [{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA"}]}',
        b'{"keys": [{"kty": "RSA"}]}',
        json.dumps({"keys": [jwk(PRIVATE["EdDSA"])] * 17}).encode(),
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        pem(rsa.generate_private_key(65537, 1024)),
        pem(ec.generate_private_key(ec.SECP384R1())),
        PRIVATE["EdDSA"].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        json.dumps(jwt.algorithms.OKPAlgorithm.to_jwk(PRIVATE["EdDSA"], as_dict=True)).encode(),
        b"x" * (2 << 20),
    ],
)
def test_files_without_usable_keys(content: bytes) -> None:
    with pytest.raises(FormatError, match="keys"):
        keys_of(content, "keys")


def test_the_settings(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"serve\.jwt_issuer"):
        ServeSettings(jwt_keys="keys.pem")
    settings = ServeSettings(host="0.0.0.0", jwt_keys=str(tmp_path / "keys.pem"), jwt_issuer=CLAIMS["iss"])
    assert settings.needs_key
    with pytest.raises(FileError, match="cannot be read"):
        Issuer.of(settings)
    (tmp_path / "keys.pem").write_bytes(pem(PRIVATE["EdDSA"]))
    made = Issuer.of(settings)
    assert made is not None
    assert made.claims(signed()) is not None
    assert Issuer.of(ServeSettings()) is None


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.sqlite") as opened:
        opened.create_project("lab")
        yield opened


def test_whose_a_token_is(store: Store, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Keyring(("static-key",), store, issuer=issuer)

    def holder(token: str, of: Keyring = ring) -> Holder | None:
        return asyncio.run(of.holder(token))

    mine = holder(signed())
    assert mine == Holder(client_of("lab", "ada"), "lab", ROLES["member"], "ada (issuer)")
    assert holder(signed(project="nobody")) is None
    assert holder(signed(exp=NOW - 60)) is None
    other = holder(signed(project="default"))
    assert other is not None
    assert other.client != mine.client  # the same name in two projects is two users
    assert holder(signed(), Keyring((), None, issuer=issuer)) is None  # without a store there is one project
    assert holder(signed(project="default"), Keyring((), None, issuer=issuer)) is not None
    assert holder(signed(), Keyring((), store)) is None
    key = store.project("lab").keys.create("laptop", user="ada", role="auditor")
    same = holder(key.secret)
    assert same is not None
    assert (same.client, same.scopes) == (mine.client, ROLES["auditor"])
    ring._clock = lambda: 1e12
    store.delete_project("lab")
    assert holder(signed()) is None
    assert signed() not in repr(vars(ring))


def test_what_is_remembered_ends_with_the_token(store: Store, issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    """An expired token is refused as soon as it would be checked again."""
    monkeypatch.setattr(issuers, "_LEEWAY_SECONDS", 86_400)
    now, token = 0.0, signed(exp=NOW - 3600)
    ring = Keyring((), store, lambda: now, issuer)
    assert asyncio.run(ring.holder(token)) is not None
    now = keyring.REMEMBERED_SECONDS + 0.01
    monkeypatch.undo()
    assert asyncio.run(ring.holder(token)) is None


def test_a_server_takes_them_and_nothing_else(tmp_path: Path, store: Store) -> None:
    (tmp_path / "keys.pem").write_bytes(pem(PRIVATE["ES256"]))
    settings = ServeSettings(jwt_keys=str(tmp_path / "keys.pem"), jwt_issuer=CLAIMS["iss"])
    entry = Entry("demo", flyball.demo_model_path(), lambda: flyball.Model.load(flyball.demo_model_path()))
    server = Server(settings, Models([entry]), Records(store))
    world = World(store, create_app(server))
    auditor = signed("ES256", role="auditor")
    cases = [
        (auditor, "/v1/status", 200),
        (auditor, "/v1/memory", 403),
        (signed("ES256"), "/v1/memory", 200),
        (signed("ES256"), "/v1/status", 403),
        (signed("ES256", project="nobody"), "/v1/memory", 401),
        (signed("EdDSA"), "/v1/memory", 401),
        (signed("ES256") + "x", "/v1/memory", 401),
        ("", "/v1/memory", 401),
        ("", "/health", 200),
    ]

    async def work() -> None:
        for token, path, status in cases:
            async with world.client(token) as client:
                assert (await client.get(path)).status_code == status, (token, path)

    world.run(work)
    server.records.close()
