"""Signed receipts: what a signature covers, redaction, and what is said of one that does not hold."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flyball import audit
from flyball.audit import primitives, statements
from flyball.errors import FormatError, InvalidArgument, NotFound, VerificationError
from tests.python.audit.world import GOLDEN, SERVER, Clock, golden


@pytest.fixture
def keys(tmp_path: Path, clock: Clock) -> audit.Keys:
    return audit.Keys(tmp_path / "keys", clock)


@pytest.mark.parametrize("name", sorted(path.stem for path in GOLDEN.glob("*.json")))
def test_a_receipt_is_signed_and_verified_whole_and_redacted(keys: audit.Keys, name: str) -> None:
    text = golden(name)
    signed = audit.sign(keys, SERVER, "id-1", text)
    audit.verify(signed, keys.public, text)
    audit.verify(audit.Signed.parse(signed.json), keys.public, text)
    redacted = statements.redact(text)
    audit.verify(signed.redacted(), keys.public, redacted)
    audit.verify(signed, keys.public, redacted)
    hidden = set(json.loads(text)) - set(json.loads(redacted))
    assert hidden == {"limits", "prompt_tokens", "tokens", "logits_hashes", "text", "digest"}
    assert "salt" not in signed.redacted().json


def test_numbers_keep_every_digit(keys: audit.Keys) -> None:
    """18446744073709551615 and 18446744073709551614 are one double, which RFC 8785 would write for both."""
    text = '{"sampler":{"seed":18446744073709551615,"temperature":0.8},"text":"x"}'
    signed = audit.sign(keys, SERVER, "a", text)
    audit.verify(signed, keys.public, text)
    for other in (text.replace("615", "614"), text.replace("0.8", "0.80000000000000001"), text.replace("0.8", "0.80")):
        with pytest.raises(VerificationError, match="differs from the signed one in 'sampler'"):
            audit.verify(signed, keys.public, other)


def test_the_statement_tells_nothing_of_prompt_and_answer(keys: audit.Keys) -> None:
    """Neither hashes that a guess could be compared with, nor the digest, nor the same hash twice."""
    text = golden()
    one, two = (audit.sign(keys, SERVER, "a", text) for _ in range(2))
    assert one.statement["shown"] == two.statement["shown"]
    assert not set(one.statement["hidden"].values()) & set(two.statement["hidden"].values())
    assert json.loads(text)["digest"] not in one.redacted().json + statements.redact(text)
    twins = audit.sign(keys, SERVER, "a", '{"text":[],"tokens":[]}').statement["hidden"]
    assert twins["text"] != twins["tokens"]


def test_members_of_later_versions_are_hidden(keys: audit.Keys) -> None:
    text = '{"model":{},"constraint":"(yes|no)"}'
    signed = audit.sign(keys, SERVER, "a", text)
    assert set(signed.statement["hidden"]) == {"constraint"}
    assert statements.redact(text) == '{"model":{}}'


def changed(signed: audit.Signed, **members: object) -> audit.Signed:
    return replace(signed, statement={**signed.statement, **members})


def test_what_is_wrong_is_named(keys: audit.Keys, tmp_path: Path, clock: Clock) -> None:
    text = golden()
    signed = audit.sign(keys, SERVER, "a", text)
    public = keys.public

    def refused(wrong: audit.Signed, match: str, receipt: str | None = text, known: audit.PublicKeys = public) -> None:
        with pytest.raises(VerificationError, match=match):
            audit.verify(wrong, known, receipt)

    refused(signed, "key: '[0-9a-f]{16}' is unknown", known=audit.Keys(tmp_path / "other").public)
    refused(changed(signed, server="other"), "signature: is not of this statement")
    refused(changed(signed, issued="2027-01-15T08:00:00.001Z"), "signature: is not of this statement")
    refused(changed(signed, id="b"), "signature: is not of this statement")
    refused(replace(signed, signature=bytes(64)), "signature: is not of this statement")
    refused(replace(signed, signature=b"short"), "signature: is not of this statement")
    refused(changed(signed, version=2), "statement: is not a 'flyball receipt' of version 1")
    refused(changed(signed, type="flyball bundle"), "statement: is not a 'flyball receipt'")
    refused(changed(signed, more=1), "lacks members or has unknown ones: 'more'")
    refused(changed(signed, key=1), "no valid issued, server or key")
    refused(changed(signed, issued="2027"), "no valid issued, server or key")
    refused(changed(signed, server="\ud800"), "no canonical form")
    refused(changed(signed, shown={"n": 2**53}), "no canonical form")
    refused(replace(signed, salt=bytes(32)), "receipt: is another one: 6 of its members")
    refused(signed.redacted(), "no salt to check them")
    refused(signed, "differs from the signed one in 'text'", text.replace("stubborn fox", "stubborn dog"))
    refused(signed, "differs from the signed one in 'model'", text.replace("Flyball Demo", "Flyball Demi"))
    refused(signed, "differs from the signed one in 'more'", text[:-1] + ',"more":1}')
    refused(
        signed, "differs from the signed one in 'stop'", text.replace('"stop":', '"Stop":').replace("Stop", "stopp")
    )
    refused(signed, "receipt: is another one", golden("sampled"))
    refused(signed, "receipt: is no JSON object", text[:-1])
    start, end = text.index('"tokens":[7'), text.index('"logits_hashes"')
    refused(signed, "differs from the signed one in 'tokens'", text[:start] + text[end:])


def test_a_key_signs_while_it_is_in_use(keys: audit.Keys, clock: Clock) -> None:
    text = golden()
    signed = audit.sign(keys, SERVER, "a", text)
    (key,) = keys.public
    clock.tick()
    keys.rotate()
    audit.verify(signed, keys.public, text)

    def with_times(created: str, retired: str | None) -> audit.PublicKeys:
        return audit.PublicKeys([audit.PublicKey(key.public, created, retired)])

    audit.verify(signed, with_times(key.created, key.created), text)
    early = "2001-01-01T00:00:00.000Z"
    with pytest.raises(VerificationError, match=f"was retired {early}, before the statement was issued"):
        audit.verify(signed, with_times(early, early), text)
    with pytest.raises(VerificationError, match=r"was made 2028.*, after the statement was issued"):
        audit.verify(signed, with_times("2028-01-01T00:00:00.000Z", None), text)


def test_every_changed_byte_of_a_signed_receipt_is_found(keys: audit.Keys) -> None:
    text = golden("ended")
    signed = audit.sign(keys, SERVER, "a", text)
    raw = text.encode()
    for i in range(0, len(raw), 17):
        for byte in {raw[i] ^ 1, 0x20}:
            if raw[i] == byte:
                continue
            wrong = raw[:i] + bytes([byte]) + raw[i + 1 :]
            with pytest.raises(VerificationError):
                audit.verify(signed, keys.public, wrong.decode())


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "1", '{"a":1,"a":2}', '{"a":1}x', '{"a":1,}', "{a:1}", "{1:1}", '{"a":}', '{,"a":1}', "{]",
     '{"a" 1}', '{"a":' + "[" * 100_000, '{"a":"\ud800"}', '{"a":' + "9" * 5000 + "}"],
)  # fmt: skip
def test_what_is_no_receipt_is_not_signed(keys: audit.Keys, text: str) -> None:
    with pytest.raises(FormatError, match=r"^receipt"):
        audit.sign(keys, SERVER, "a", text)


def test_members_are_cut_as_they_are_written() -> None:
    assert statements.split('\n{ "a" : 1.50 ,\t"b":[ 1, 2 ] }\r\n') == {"a": "1.50", "b": "[ 1, 2 ]"}
    assert statements.split("{ }") == {}


@pytest.mark.parametrize("id", ["", "a/b", "../a", "a.b", "é", "a" * 129, "a\n"])
def test_an_id_that_could_not_be_a_file_name_is_refused(keys: audit.Keys, id: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^id"):
        audit.sign(keys, SERVER, id, "{}")


HOSTILE: list[Any] = [
    1,
    [],
    {},
    {"statement": {}},
    {"statement": 1, "signature": "A" * 86 + "=="},
    {"statement": {}, "signature": 1},
    {"statement": {}, "signature": "AAAA"},
    {"statement": {}, "signature": "B" * 86 + "=="},  # spare bits are set
    {"statement": {}, "signature": "A" * 86 + "==", "salt": "00"},
    {"statement": {}, "signature": "A" * 86 + "==", "salt": None},
    {"statement": {}, "signature": "A" * 86 + "==", "more": 1},
]


@pytest.mark.parametrize("found", HOSTILE)
def test_hostile_signatures_are_refused(found: object) -> None:
    with pytest.raises(FormatError, match=r"^signature"):
        audit.Signed.parse(json.dumps(found))


@pytest.mark.parametrize(
    "text", ["", "{", "[" * 100_000, "\xff", '{"statement":{"a":1,"a":2},"signature":""}', " " * (5 << 20)]
)
def test_signatures_that_are_no_json_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^signature"):
        audit.Signed.parse(text)


def test_the_vectors_of_rfc_8032_and_rfc_8785() -> None:
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    assert primitives.public_of(seed).hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature = (
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24"
        "655141438e7a100b"
    )
    assert primitives.sign_bytes(seed, b"").hex() == signature
    assert primitives.is_signed(primitives.public_of(seed), b"", bytes.fromhex(signature))
    assert not primitives.is_signed(primitives.public_of(seed), b" ", bytes.fromhex(signature))
    found = primitives.canonical(
        {"\u20ac": "Euro", "\r": "CR", "1": 1, "\u0080": "C1", "\ufb33": "H", "\U0001f600": "S"}
    )
    assert found.decode() == '{"\\r":"CR","1":1,"\u0080":"C1","€":"Euro","\U0001f600":"S","\ufb33":"H"}'


@pytest.mark.parametrize("module", ["rfc8785", "cryptography.hazmat.primitives.asymmetric.ed25519"])
def test_a_missing_library_is_named(keys: audit.Keys, monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NotFound, match=r"pip install 'flyball\[serve\]'"):
        audit.sign(keys, SERVER, "a", "{}")


def test_times_are_cut_to_milliseconds() -> None:
    assert primitives.time_text(1_800_000_000_001_999_999) == "2027-01-15T08:00:00.001Z"
    assert primitives.read_time("2027-01-15", "--from") == "2027-01-15T00:00:00.000Z"
    assert primitives.read_time("2027-01-15T09:00:00.5+01:00", "--from") == "2027-01-15T08:00:00.500Z"
    with pytest.raises(InvalidArgument, match="--from"):
        primitives.read_time("tomorrow", "--from")
