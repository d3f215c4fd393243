"""Signed notes: the published vectors, hostile text, heads of journals, witnesses."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from flyball import audit
from flyball.audit.notes import ED25519, open_note, sign_text
from flyball.audit.witness import Witness
from flyball.errors import FileError, FormatError, InvalidArgument, VerificationError
from flyball.journal import Head, Journal
from tests.python.audit.world import SERVER, Server

# golang.org/x/mod/sumdb/note
GO_SIGNER = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_VERIFIER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_OTHER = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = (
    GO_TEXT
    + "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# c2sp.org/signed-note
SPEC_VERIFIER = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
SPEC_NOTE = (
    "This is an example message.\n\n— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# c2sp.org/tlog-cosignature; the time is that of its example of a signed message
SPEC_COSIGNED = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)
COSIGNATURE_VERIFIER = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"  # a public witness
NOW = 1_800_000_000


def test_the_vectors_of_go() -> None:
    signer = audit.SignerKey.parse(GO_SIGNER)
    assert str(signer) == GO_SIGNER
    assert str(signer.verifier) == GO_VERIFIER
    note = audit.Note.parse(GO_NOTE)
    assert str(note) == GO_NOTE
    assert note.text == GO_TEXT
    assert sign_text(GO_TEXT, signer) == note.signatures[0]
    both = [audit.VerifierKey.parse(GO_VERIFIER), audit.VerifierKey.parse(GO_OTHER)]
    assert [each.key for each in open_note(note, both)] == both
    assert [each.key for each in open_note(note, both[1:])] == both[1:]
    assert open_note(note, []) == []


def test_the_vectors_of_the_specifications() -> None:
    key = audit.VerifierKey.parse(SPEC_VERIFIER)
    assert [each.key for each in open_note(audit.Note.parse(SPEC_NOTE), [key])] == [key]
    note = audit.Note.parse(SPEC_COSIGNED)
    assert str(note) == SPEC_COSIGNED
    checkpoint = audit.Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.n_lines) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text == note.text
    assert int.from_bytes(note.signatures[1].signature[:8], "big") == 1679315147
    assert str(audit.VerifierKey.parse(COSIGNATURE_VERIFIER)) == COSIGNATURE_VERIFIER


def test_a_cosignature_signs_the_time_and_the_whole_text() -> None:
    witness = audit.SignerKey.make("witness.example/w")
    note = audit.cosign(audit.Note.parse(GO_NOTE), witness, NOW)
    (found,) = open_note(note, [witness.verifier])
    assert (found.key, found.time) == (witness.verifier, NOW)
    message = f"cosignature/v1\ntime {NOW}\n{GO_TEXT}"
    plain = audit.SignerKey("x", ED25519, witness.seed)
    assert note.signatures[2].signature == NOW.to_bytes(8, "big") + sign_text(message, plain).signature
    again = audit.cosign(note, witness, NOW + 1)
    assert [each.time for each in open_note(again, [witness.verifier])] == [NOW + 1]
    assert len(again.signatures) == 3
    with pytest.raises(InvalidArgument, match="type 1"):
        audit.cosign(note, plain, NOW)
    with pytest.raises(InvalidArgument, match="time"):
        audit.cosign(note, witness, 2**63)


@pytest.mark.parametrize("key", [GO_VERIFIER, COSIGNATURE_VERIFIER])
def test_a_changed_key_is_refused(key: str) -> None:
    for i in range(len(key)):
        for wrong in (key[:i], key[i + 1 :], key[:i] + chr(ord(key[i]) + 1) + key[i + 1 :]):
            with pytest.raises(FormatError):
                audit.VerifierKey.parse(wrong)
    for wrong in (GO_SIGNER[:-1], GO_SIGNER.replace("c74f", "c75f"), GO_SIGNER.removeprefix("PRIVATE+"), ""):
        with pytest.raises(FormatError):
            audit.SignerKey.parse(wrong)
    with pytest.raises(FormatError, match="type 101"):
        audit.VerifierKey.parse("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")


LINE = "— n AAAAAAA=\n"
HOSTILE = {
    "empty": "",
    "no signature": "text\n\n",
    "no blank line": "text\n— n AAAAAAA=\n",
    "no text": "\n\n" + LINE,
    "no newline": "text\n\n" + LINE[:-1],
    "empty line at the end": "text\n\n" + LINE + "\n",
    "hyphen": "text\n\n- n AAAAAAA=\n",
    "no name": "text\n\n—  AAAAAAA=\n",
    "name with plus": "text\n\n— a+b AAAAAAA=\n",
    "name with a wide space": "text\n\n— a\u3000b AAAAAAA=\n",
    "no base64": "text\n\n— n ????\n",
    "loose base64": "text\n\n— n AAAAAAB=\n",
    "too short": "text\n\n— n AAAAAA==\n",
    "something after": "text\n\n— n AAAAAAA= x\n",
    "carriage return": "text\r\n\n" + LINE,
    "NUL": "te\0xt\n\n" + LINE,
    "many signatures": "text\n\n" + LINE * 101,
    "long": "x" * 70_000 + "\n\n" + LINE,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_notes_are_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^note"):
        audit.Note.parse(text.encode())


def test_what_is_no_utf_8_is_refused() -> None:
    for raw in (b"\xff\n\n" + LINE.encode(), "\ud800\n\n" + LINE):
        with pytest.raises(FormatError, match="UTF-8"):
            audit.Note.parse(raw)
    assert len(audit.Note.parse("text\n\nmore\n\n" + LINE * 16).signatures) == 16


HASH = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    ["", "o\n1\n", f"o\n1\n{HASH}", f"o\n01\n{HASH}\n", f"o\n-1\n{HASH}\n", f"o\n１\n{HASH}\n", f"o\n1\n{HASH[:-4]}\n",
     f"o\n1\n{HASH}\nextension\n", f"\n1\n{HASH}\n", f"a b\n1\n{HASH}\n", f"o\n{10**19}\n{HASH}\n", "o\n1\n?\n"],
)  # fmt: skip
def test_what_is_no_head_is_refused(text: str) -> None:
    with pytest.raises(FormatError, match=r"^note"):
        audit.Checkpoint.parse(text)


def test_a_head_is_signed_and_witnessed(server: Server) -> None:
    with Journal(server.journal) as journal:
        note = audit.Signer(server.keys, SERVER, journal).head()
        head = journal.head
    assert note is not None
    assert note.text == f"{SERVER}\n2\n{base64.b64encode(bytes.fromhex(head.hash)).decode()}\n"
    ours, other = audit.SignerKey.make("w.example/1"), audit.SignerKey.make("w.example/2")
    cosigned = audit.cosign(audit.cosign(note, ours, NOW), other, NOW)
    found = audit.verify_note(audit.Note.parse(str(cosigned)), server.keys.public, [ours.verifier])
    assert found.checkpoint == (SERVER, 2, head.hash)
    assert [(each.key.name, each.time) for each in found.cosignatures] == [("w.example/1", NOW)]
    assert found.n_unknown == 1
    server.clock.tick()
    server.keys.rotate()
    assert audit.verify_note(note, server.keys.public).checkpoint == found.checkpoint
    with pytest.raises(InvalidArgument, match="server"):
        audit.head_note(head, server.keys, "two words")
    assert audit.Signer(server.keys, SERVER).head() is None


def test_every_changed_byte_of_a_note_is_found(server: Server) -> None:
    witness = audit.SignerKey.make("w.example/1")
    keys = server.keys.public
    raw = str(audit.cosign(audit.head_note(Head("ab" * 32, 7), server.keys, SERVER), witness, NOW)).encode()
    audit.verify_note(audit.Note.parse(raw), keys, [witness.verifier])
    for i in range(len(raw)):
        wrong = raw[:i] + bytes([raw[i] ^ 1]) + raw[i + 1 :]
        try:
            found = audit.verify_note(audit.Note.parse(wrong), keys, [witness.verifier])
        except (FormatError, VerificationError):
            continue
        assert not found.cosignatures  # its name or key was changed: the signature of somebody unknown
        assert raw.index(b"w.example") <= i < raw.index(b"w.example") + 11 + 7


def test_a_server_is_no_witness_of_itself(server: Server) -> None:
    note = audit.head_note(Head("ab" * 32, 7), server.keys, SERVER)
    with server.keys.signing() as key:
        own = audit.SignerKey("w.example/1", 4, key.seed)
    found = audit.verify_note(audit.cosign(note, own, NOW), server.keys.public, [own.verifier])
    assert found.cosignatures == ()


def test_a_note_of_another_server_is_refused(server: Server, tmp_path: Path) -> None:
    other = audit.Keys(tmp_path / "other")
    note = audit.head_note(Head("ab" * 32, 7), other, SERVER)
    with pytest.raises(VerificationError, match=r"has no signature of 'flyball.example/one'"):
        audit.verify_note(note, server.keys.public)
    with server.keys.signing() as key:
        alien = sign_text(note.text, audit.SignerKey("other.example", ED25519, key.seed))
    with pytest.raises(VerificationError, match="has no signature"):
        audit.verify_note(audit.Note(note.text, (alien,)), server.keys.public)


def test_a_witness_remembers(server: Server, tmp_path: Path) -> None:
    keys = server.keys.public

    def note() -> audit.Note:
        with Journal(server.journal) as journal:
            return audit.head_note(journal.head, server.keys, SERVER)

    old = note()
    server.answer("ended")
    witness = Witness(tmp_path / "witness.key", "w.example/1")
    assert (tmp_path / "witness.key").stat().st_mode & 0o777 == 0o600
    found = witness.cosign(note(), NOW, keys, server.journal)
    assert Witness(tmp_path / "witness.key").cosign(note(), NOW, keys, server.journal) == found
    with pytest.raises(VerificationError, match="has 2 lines: this witness has seen 3"):
        witness.cosign(old, NOW, keys)
    forked = audit.head_note(Head("cd" * 32, 3), server.keys, SERVER)
    with pytest.raises(VerificationError, match="another hash after 3 lines"):
        witness.cosign(forked, NOW, keys)
    with pytest.raises(VerificationError, match="has no signature"):
        witness.cosign(note(), NOW, audit.Keys(tmp_path / "other").public)
    longer = audit.head_note(Head("cd" * 32, 4), server.keys, SERVER)
    with pytest.raises(VerificationError, match="is not the journal of this head"):
        witness.cosign(longer, NOW, keys, server.journal)
    server.journal.unlink()
    server.journal.with_name("server.jsonl.head").unlink()
    server.answer("ended", "greedy", "sampled", "stops")  # a new journal under the old name
    with pytest.raises(VerificationError, match="is not the journal of this head"):
        witness.cosign(note(), NOW, keys, server.journal)


def test_a_witness_refuses_damage(tmp_path: Path) -> None:
    file = tmp_path / "witness.key"
    witness = Witness(file, "w.example/1")
    note = audit.Note.parse(SPEC_COSIGNED)
    witness.cosign(note, NOW)
    seen = tmp_path / "witness.key.seen"
    for text in ("", "[]", '{"o":1}', '{"o":[1,"x"]}', '{"o":["a","b"]}'):
        seen.write_text(text)
        with pytest.raises(FormatError, match="seen"):
            witness.cosign(note, NOW)
    file.chmod(0o644)
    with pytest.raises(FileError, match="chmod 600"):
        Witness(file)
    file.chmod(0o600)
    for text in ("", "x", GO_SIGNER):
        file.write_text(text)
        with pytest.raises(FormatError, match=r"witness\.key"):
            Witness(file)
