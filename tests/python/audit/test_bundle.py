"""Bundles: deterministic, checked offline, and nothing can be changed, removed, added or moved unseen."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball import audit
from flyball.audit import archive, statements
from flyball.audit.bundle import BUNDLE
from flyball.errors import FormatError, InvalidArgument, NotFound, VerificationError
from flyball.journal import Journal
from tests.python.audit.world import FIRST, LAST, SERVER, Server, golden
from tests.reference.demo_adapter import write_random

NOW = 1_800_000_000
Members = dict[str, bytes]
Edit = Callable[[Members, dict[str, Any]], object]


def faults(bundle: Path, server: Server, *witnesses: audit.VerifierKey) -> list[str]:
    return audit.verify_bundle(bundle, server.keys.public, witnesses).faults


def test_a_bundle_holds(server: Server) -> None:
    verdict = audit.verify_bundle(server.export(), server.keys.public)
    assert verdict.verified, verdict
    assert (verdict.n_receipts, verdict.n_lines, verdict.n_notes) == (2, 2, 1)
    assert verdict.manifest["server"] == SERVER
    with zipfile.ZipFile(server.export()) as bundle:
        names = bundle.namelist()
        assert names == [
            *("journal.jsonl", "keys.json", "manifest.json", "notes/head.note"),
            *("receipts/r-greedy.json", "receipts/r-sampled.json"),
            *("signatures/r-greedy.json", "signatures/r-sampled.json"),
        ]
        assert bundle.testzip() is None


def test_prompts_stay_out_unless_asked_for(server: Server) -> None:
    """Nor is there a digest, a logits hash, or a salt with which a guess could be confirmed."""
    secrets = [str(json.loads(golden())[name]) for name in ("text", "digest")]
    secrets += [json.loads(record.signature)["salt"] for record in server.records]
    without = server.export().read_bytes().decode("latin-1")
    assert not [secret for secret in secrets if secret in without]
    assert '"prompt_tokens":[' not in without
    with_them = server.export("full.zip", prompts=True)
    assert not [secret for secret in secrets if secret not in with_them.read_bytes().decode("latin-1")]
    assert audit.verify_bundle(with_them, server.keys.public).verified
    assert archive.load(with_them)["receipts/r-greedy.json"].decode() == golden()


@pytest.mark.parametrize("prompts", [False, True])
def test_the_same_export_has_the_same_bytes(server: Server, prompts: bool) -> None:
    first = server.export("a.zip", prompts=prompts).read_bytes()
    server.records.reverse()
    assert server.export("b.zip", prompts=prompts).read_bytes() == first


def test_without_published_keys_nobody_knows_whose_it_is(server: Server) -> None:
    verdict = audit.verify_bundle(server.export())
    assert not verdict.faults
    assert "they are the bundle's own" in verdict.doubts[0]
    assert next(iter(server.keys.public)).id in verdict.doubts[0]


def test_a_rotated_key_goes_on_verifying(server: Server) -> None:
    server.clock.tick()
    server.keys.rotate()
    server.answer("ended")
    verdict = audit.verify_bundle(server.export(), server.keys.public)
    assert verdict.verified, verdict
    assert verdict.n_receipts == 3
    newest = audit.PublicKeys(list(server.keys.public)[1:])
    assert "is unknown" in audit.verify_bundle(server.export(), newest).faults[0]


@pytest.mark.parametrize("prompts", [False, True])
def test_every_changed_byte_is_found(server: Server, tmp_path: Path, prompts: bool) -> None:
    """Samples of each member and of what is between them: even places without prompts, odd ones with them."""
    raw = server.export(prompts=prompts).read_bytes()
    keys = server.keys.public
    inside: set[int] = set()
    chosen: list[int] = []
    for data in archive.unpack(raw, "").values():
        place = raw.index(data)
        inside.update(range(place, place + len(data)))
        chosen += range(place, place + len(data), len(data) // 8)
    between = sorted(set(range(len(raw))) - inside)
    wrong = tmp_path / "wrong.zip"
    for i in chosen + between[prompts::5]:
        wrong.write_bytes(raw[:i] + bytes([raw[i] ^ (1 if i % 2 else 0x80)]) + raw[i + 1 :])
        assert audit.verify_bundle(wrong, keys).faults, f"byte {i}"
    for other in (raw[:-1], raw + b"\0", b"\0" + raw, raw + raw, b"", raw[: len(raw) // 2]):
        wrong.write_bytes(other)
        assert audit.verify_bundle(wrong, keys).faults


def repacked(bundle: Path, edit: Callable[[Members], None]) -> Path:
    """As somebody does it who has no key."""
    members = archive.load(bundle)
    edit(members)
    return _write(bundle, members)


def _write(bundle: Path, members: Members) -> Path:
    out = bundle.with_name("other.zip")
    out.write_bytes(archive.pack(members))
    return out


def members_of(server: Server) -> list[str]:
    return sorted(archive.load(server.export()))


def test_a_removed_added_changed_or_renamed_member_is_found(server: Server) -> None:
    bundle = server.export()
    for name in members_of(server):

        def change(members: Members, name: str = name) -> None:
            members[name] = bytes([members[name][0] ^ 1]) + members[name][1:]

        def rename(members: Members, name: str = name) -> None:
            members[name.replace(".", "x.")] = members.pop(name)

        def swap(members: Members, name: str = name) -> None:
            for other in members:
                if other != name and other.partition("/")[0] == name.partition("/")[0]:
                    members[name], members[other] = members[other], members[name]
                    return
            members[name] = b""

        for edit in (change, rename, swap, lambda members, name=name: members.pop(name)):
            found = faults(repacked(bundle, edit), server)
            assert found, (name, edit)
            assert any(name.split("/")[-1].split(".")[0] in fault for fault in found), found
    for name in ("receipts/more.json", "more.json", "notes/1.note"):
        found = faults(repacked(bundle, lambda members, name=name: members.update({name: b"{}"})), server)  # type: ignore[misc]
        assert found == [f"{name}: is not in the manifest"]


def test_other_spellings_of_the_archive_are_found(server: Server) -> None:
    bundle = server.export()
    members = archive.load(bundle)
    out = bundle.with_name("other.zip")

    def spelled(names: list[str], how: int = zipfile.ZIP_STORED, comment: bytes = b"") -> list[str]:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", how) as made:
            made.comment = comment
            for name in names:
                info = zipfile.ZipInfo(name)
                info.create_system, info.external_attr, info.compress_type = 3, 0o100644 << 16, how
                made.writestr(info, members[name])
        out.write_bytes(file.getvalue())
        return faults(out, server)

    assert spelled(sorted(members)) == []
    assert "around its members" in spelled(sorted(members, reverse=True))[0]
    assert "around its members" in spelled(sorted(members), comment=b"hello")[0]
    assert "that no bundle has" in spelled(sorted(members), zipfile.ZIP_DEFLATED)[0]


def test_what_is_too_large_gets_no_verdict(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = server.export()
    monkeypatch.setattr(archive, "MOST_BYTES", 1 << 10)
    with pytest.raises(FormatError, match="is longer than"):
        audit.verify_bundle(bundle, server.keys.public)
    with pytest.raises(InvalidArgument, match="choose a shorter time"):
        server.export("other.zip")
    assert not (server.folder / "other.zip").exists()


@pytest.mark.parametrize("name", ["../a.json", "/etc/passwd.json", "receipts/", "a/b/c.json", "a b.json", "é.json"])
def test_names_that_could_leave_a_folder_are_found(server: Server, name: str) -> None:
    found = faults(repacked(server.export(), lambda members: members.update({name: b""})), server)
    assert "has a member that no bundle has" in found[0]


def resealed(server: Server, edit: Edit, keys: audit.Keys | None = None, **options: Any) -> Path:
    """As a server does it that lies: the manifest is signed again."""
    bundle = server.export(**options)
    members = archive.load(bundle)
    about = dict(audit.Signed.parse(members.pop("manifest.json")).statement)
    edit(members, about)
    listed = {name: hashlib.sha256(raw).hexdigest() for name, raw in members.items()}
    kept = {name: about[name] for name in ("from", "to", "prompts", "missing", "journal")}
    signed = statements.seal(
        keys or server.keys, about["server"], about.get("kind", BUNDLE), kept | {"members": listed}
    )
    return _write(bundle, members | {"manifest.json": signed.json.encode()})


def test_a_bundle_of_other_keys_is_found(server: Server, tmp_path: Path) -> None:
    other = audit.Keys(tmp_path / "other", server.clock)
    assert resealed(server, lambda members, about: None).read_bytes() == server.export().read_bytes()
    (found,) = faults(resealed(server, lambda members, about: None, other), server)
    assert "is unknown" in found


def _drop(members: Members, about: dict[str, Any]) -> None:
    del members["receipts/r-greedy.json"], members["signatures/r-greedy.json"]


def _drop_line(index: int) -> Edit:
    def edit(members: Members, about: dict[str, Any]) -> None:
        lines = members["journal.jsonl"].splitlines(keepends=True)
        del lines[index]
        members["journal.jsonl"] = b"".join(lines)

    return edit


def _swap_lines(members: Members, about: dict[str, Any]) -> None:
    members["journal.jsonl"] = b"".join(reversed(members["journal.jsonl"].splitlines(keepends=True)))


def _set(name: str, value: Any) -> Edit:
    return lambda members, about: about.update({name: value})


def _put(name: str, raw: bytes | str) -> Edit:
    return lambda members, about: members.update({name: raw.encode() if isinstance(raw, str) else raw})


def _copy(source: str, target: str) -> Edit:
    return lambda members, about: members.update({target: members[source]})


LIES: dict[str, tuple[Edit, str]] = {
    "a receipt left out": (_drop, "journal.jsonl: records receipt 'r-greedy', which the bundle does not have"),
    "a receipt without its signature": (lambda m, a: m.pop("signatures/r-greedy.json"), "receipt: has no signature"),
    "a signature without its receipt": (lambda m, a: m.pop("receipts/r-greedy.json"), "signature: has no receipt"),
    "a line left out": (_drop_line(0), "journal.jsonl: does not begin or end where the manifest says"),
    "the last line left out": (_drop_line(1), "journal.jsonl: does not begin or end where the manifest says"),
    "lines in another order": (_swap_lines, "journal.jsonl: line 2"),
    "no lines": (_put("journal.jsonl", ""), "journal.jsonl: does not begin or end"),
    "lines of something else": (_put("journal.jsonl", "x\n\n{}"), "journal.jsonl: line 1"),
    "another receipt's answer": (_copy("receipts/r-sampled.json", "receipts/r-greedy.json"), "differs from the signed"),
    "another receipt's signature": (
        lambda m, a: (_copy("receipts/r-sampled.json", "receipts/r-greedy.json")(m, a),
                      _copy("signatures/r-sampled.json", "signatures/r-greedy.json")(m, a)),
        "signature: is of receipt 'r-sampled'",
    ),
    "a receipt that is no JSON": (_put("receipts/r-greedy.json", b"\xff"), "receipt: is not UTF-8"),
    "a signature that is no JSON": (_put("signatures/r-greedy.json", "{"), "is not JSON"),
    "a head of other lines": (_put("notes/head.note", "x"), "notes/head.note: note: is no text"),
    "no head": (lambda m, a: m.pop("notes/head.note"), "notes/head.note: is missing"),
    "another time": (_set("from", "2027-01-15T08:00:01.500Z"), "outside of the bundle's time"),
    "prompts that are not there": (_set("prompts", True), "against what the manifest says of prompts"),
    "missing what is there": (_set("missing", ["r-greedy"]), "receipt 'r-greedy' is missing, which is not so"),
    "missing what never was": (_set("missing", ["r-other"]), "says that receipt 'r-other' is missing, which is not so"),
    "no valid time": (_set("to", "never"), "has no valid from"),
    "missing is no list": (_set("missing", {}), "has no valid list"),
    "no place in the journal": (_set("journal", None), "does not begin or end where the manifest says"),
    "another server's head": (_set("server", "other"), "note: is of 'flyball.example/one', not of 'other'"),
    "another kind": (_set("kind", "flyball receipt"), "is not a 'flyball bundle'"),
    "no keys": (_put("keys.json", "{}"), "keys.json: must be a JSON object"),
    "a member that no bundle has": (_put("more.json", "{}"), "more.json: member: is none that a bundle has"),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "what"), LIES.values(), ids=LIES)
def test_a_server_that_lies_is_found(server: Server, edit: Edit, what: str) -> None:
    found = faults(resealed(server, edit), server)
    assert any(what in fault for fault in found), found


def test_a_receipt_that_was_signed_twice_is_found(server: Server) -> None:
    """The journal has the first statement; the bundle another one of the same receipt, with a true signature."""
    signed = audit.sign(server.keys, SERVER, "r-greedy", golden())
    found = faults(resealed(server, _put("signatures/r-greedy.json", signed.redacted().json)), server)
    assert found == ["journal.jsonl: records another statement of receipt r-greedy"]
    server.answer("greedy")
    server.records = server.records[1:]
    with pytest.raises(FormatError, match="records receipt 'r-greedy' once more"):
        server.export()


def test_a_manifest_in_another_spelling_is_found(server: Server) -> None:
    bundle = server.export()
    for change in (
        lambda raw: raw + b" ",
        lambda raw: raw.replace(b'"version":1', b'"version":1.0'),
        lambda raw: b"[]",
    ):
        found = faults(repacked(bundle, lambda m, c=change: m.update({"manifest.json": c(m["manifest.json"])})), server)  # type: ignore[misc]
        assert "manifest.json: " in found[0]


def test_notes_of_witnesses_are_kept_and_checked(server: Server) -> None:
    ours, absent = audit.SignerKey.make("w.example/1"), audit.SignerKey.make("w.example/2")
    with Journal(server.journal) as journal:
        note = audit.cosign(audit.head_note(journal.head, server.keys, SERVER), ours, NOW)
    server.answer("ended")
    bundle = server.export(notes=[note])
    verdict = audit.verify_bundle(bundle, server.keys.public, [ours.verifier])
    assert verdict.verified, verdict
    assert verdict.cosignatures == [("w.example/1", NOW)]
    assert verdict.n_notes == 2
    verdict = audit.verify_bundle(bundle, server.keys.public, [ours.verifier, absent.verifier])
    assert [verdict.faults, verdict.doubts] == [
        [],
        ["whether witness 'w.example/2' has seen this journal: no note has its cosignature"],
    ]
    forged = note._replace(signatures=(note.signatures[0], note.signatures[1]._replace(signature=bytes(72))))
    (found,) = faults(resealed(server, _put("notes/1.note", str(forged)), notes=[note]), server, ours.verifier)
    assert "the signature of 'w.example/1' does not hold" in found


def test_a_note_that_contradicts_the_journal_is_found(server: Server) -> None:
    """A server that rewrote its journal after a witness had seen it."""
    ours = audit.SignerKey.make("w.example/1")
    with Journal(server.journal) as journal:
        seen = audit.cosign(audit.head_note(journal.head, server.keys, SERVER), ours, NOW)
    server.journal.unlink()
    server.journal.with_name("server.jsonl.head").unlink()
    server.records.clear()
    server.answer("greedy", "sampled", "ended")
    with pytest.raises(FormatError, match="another hash after 2 lines"):
        server.export(notes=[seen])
    assert any(
        "another hash after 2 lines" in each
        for each in faults(resealed(server, _put("notes/1.note", str(seen))), server)
    )
    late = audit.head_note(flyball.journal.Head("ab" * 32, 9), server.keys, SERVER)
    with pytest.raises(FormatError, match="outside of this part"):
        server.export(notes=[late])
    other = audit.head_note(journal.head, server.keys, "other.example")
    with pytest.raises(FormatError, match=r"is of 'other\.example'"):
        server.export(notes=[other])


def test_a_time_is_cut_out(server: Server) -> None:
    for name in ("ended", "stops", "bias_penalty"):
        server.answer(name)
    times = [record.issued for record in server.records]
    out = server.folder / "part.zip"
    done = audit.export(out, times[1], times[3], server.records, server.journal, server.keys, SERVER)
    assert (done.n_receipts, done.missing, done.unrecorded) == (2, (), ())
    verdict = audit.verify_bundle(out, server.keys.public)
    assert verdict.verified, verdict
    assert verdict.manifest["journal"]["begin"] == 1
    assert verdict.manifest["journal"]["end"] == 3
    for begin, end in ((LAST, FIRST), (FIRST, FIRST), (FIRST, "2000-01-02T00:00:00.000Z")):
        with pytest.raises(InvalidArgument, match=r"^from"):
            audit.export(out, begin, end, server.records, server.journal, server.keys, SERVER)


def test_what_was_not_kept_or_not_recorded_is_told(server: Server) -> None:
    kept = server.records.pop(0)
    verdict = audit.verify_bundle(server.export(), server.keys.public)
    assert verdict.manifest["missing"] == ["r-greedy"]
    assert (verdict.faults, len(verdict.doubts)) == ([], 1)
    assert "'r-greedy'" in verdict.doubts[0]
    signed = audit.sign(server.keys, SERVER, "r-more", golden("ended"))
    server.records += [kept, audit.Record("r-more", signed.statement["issued"], golden("ended"), signed.json)]
    out = server.folder / "bundle.zip"
    assert audit.export(out, FIRST, LAST, server.records, server.journal, server.keys, SERVER).unrecorded == ("r-more",)
    verdict = audit.verify_bundle(out, server.keys.public)
    assert (verdict.faults, len(verdict.doubts)) == ([], 1)
    assert "receipt r-more" in verdict.doubts[0]


def test_export_refuses_what_does_not_hold(server: Server) -> None:
    good = server.records[0]
    for wrong, match in (
        (good._replace(receipt=golden("sampled")), "receipt: "),
        (good._replace(signature="{}"), "signature of r-greedy"),
        (good._replace(id="other"), "with the signature of another receipt"),
        (good._replace(id="../x"), "with the signature of another receipt"),
    ):
        server.records[0] = wrong
        with pytest.raises((FormatError, VerificationError), match=match):
            server.export()
    server.records[:] = [good, good]
    with pytest.raises(FormatError, match="twice"):
        server.export()
    server.records[:] = [good]
    text = server.journal.read_text()
    server.journal.write_text(text.replace("r-sampled", "r-simpled"))
    with pytest.raises(FormatError, match=r"server\.jsonl:2: .*flyball journal verify"):
        server.export()
    server.journal.write_text(text.splitlines(keepends=True)[1] + text)
    with pytest.raises(FormatError, match="is damaged in this time"):
        server.export()
    assert not (server.folder / "bundle.zip").exists()


def test_a_line_that_is_being_written_is_left_out(server: Server) -> None:
    with server.journal.open("a") as file:
        file.write('{"v":2,"seq":2,')
    assert audit.verify_bundle(server.export(), server.keys.public).n_lines == 2


def test_a_rotated_journal_is_one_chain(server: Server) -> None:
    server.journal.rename(server.journal.with_name("server.jsonl.1"))
    server.answer("ended")
    verdict = audit.verify_bundle(server.export(), server.keys.public)
    assert verdict.verified, verdict
    assert verdict.n_lines == 3


def test_a_journal_with_prompts_is_not_exported_without_leave(server: Server, demo: flyball.Model) -> None:
    with (
        Journal(server.journal, content=True) as journal,
        flyball.Model.load(flyball.demo_model_path(), journal=journal) as model,
    ):
        model.generate("Once", max_tokens=2)
    with pytest.raises(InvalidArgument, match="has prompts and answers in its lines"):
        server.export()
    assert audit.verify_bundle(server.export(prompts=True), server.keys.public).verified


def test_a_folder_is_a_source(server: Server) -> None:
    folder = server.folder / "signed"
    for record in server.records:
        audit.save(folder, record.receipt, audit.Signed.parse(record.signature))
    assert list(audit.from_folder(folder)) == server.records
    (folder / "r-greedy.json").unlink()
    assert list(audit.from_folder(folder)) == server.records[1:]
    (folder / "other.signature").write_text((folder / "r-greedy.signature").read_text())
    with pytest.raises(FormatError, match=r"other\.signature"):
        list(audit.from_folder(folder))
    with pytest.raises(NotFound):
        list(audit.from_folder(folder / "nothing"))


def test_answers_are_repeated(server: Server, demo: flyball.Model, small: flyball.Model) -> None:
    with Journal(server.journal) as journal:
        signer = audit.Signer(server.keys, SERVER, journal)
        for id, forge in (("own-1", False), ("own-2", True)):
            text = demo.generate("Once upon a time", max_tokens=4).receipt.json
            if forge:
                text = text.replace('"text":"', '"text":"x')
            signed = signer.receipt(id, text)
            server.records.append(audit.Record(id, signed.statement["issued"], text, signed.json))
    server.records = server.records[2:3]
    seen: list[tuple[str, int, int]] = []
    honest = server.export(prompts=True)
    verdict = audit.verify_bundle(honest, server.keys.public, model=demo, progress=lambda *step: seen.append(step))
    assert verdict.n_repeated == 1
    assert seen == [("answers", 0, 1), ("answers", 1, 1)]
    assert verdict.faults == []
    verdict = audit.verify_bundle(honest, server.keys.public, model=small)
    assert (verdict.n_repeated, verdict.faults) == (0, [])
    assert any("of another model" in doubt for doubt in verdict.doubts)
    verdict = audit.verify_bundle(server.export(), server.keys.public, model=demo)
    assert any("has no prompts" in doubt for doubt in verdict.doubts)


def test_answers_made_with_adapters_are_repeated_with_their_files(
    server: Server, demo: flyball.Model, tmp_path: Path
) -> None:
    file = write_random(tmp_path / "one.gguf", seed=1, gain=0.8)
    adapter = demo.load_adapter(file)
    with Journal(server.journal) as journal:
        signer = audit.Signer(server.keys, SERVER, journal)
        for id, used in (("with", adapter), ("without", None)):
            server.clock.tick()
            text = demo.generate("Once upon a time", max_tokens=4, adapter=used).receipt.json
            signed = signer.receipt(id, text)
            server.records.append(audit.Record(id, signed.statement["issued"], text, signed.json))
    out = server.folder / "b.zip"
    records = server.records[2:]
    begin = records[0].issued
    made = audit.export(out, begin, LAST, records, server.journal, server.keys, SERVER, prompts=True)
    assert made.adapters == (adapter.fingerprint,)
    shown = audit.export(tmp_path / "c.zip", begin, LAST, records, server.journal, server.keys, SERVER)
    assert shown.adapters == made.adapters, "a receipt shows it without its prompt, too"
    public = server.keys.public
    verdict = audit.verify_bundle(out, public, model=demo, find_adapter={adapter.fingerprint: file}.get)
    assert (verdict.n_repeated, verdict.faults, verdict.doubts) == (2, [], [])
    verdict = audit.verify_bundle(out, public, model=demo)
    assert (verdict.n_repeated, verdict.faults, verdict.verified) == (1, [], False)
    (doubt,) = verdict.doubts
    assert f"receipt with is right: adapter {adapter.fingerprint}: is not here" in doubt
    other = write_random(tmp_path / "two.gguf", seed=2, gain=0.8)
    (doubt,) = audit.verify_bundle(out, public, model=demo, find_adapter=lambda digest: other).doubts
    assert f"not {adapter.fingerprint}" in doubt
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(file.read_bytes()[:200])
    (doubt,) = audit.verify_bundle(out, public, model=demo, find_adapter=lambda digest: broken).doubts
    assert str(broken) in doubt


def test_an_answer_that_the_model_does_not_give_is_found(server: Server, demo: flyball.Model) -> None:
    server.records.clear()
    text = demo.generate("Once upon a time", max_tokens=4).receipt.json.replace('"text":"', '"text":"x')
    signed = audit.sign(server.keys, SERVER, "forged", text)
    server.records.append(audit.Record("forged", signed.statement["issued"], text, signed.json))
    (found,) = audit.verify_bundle(server.export(prompts=True), server.keys.public, model=demo).faults
    assert "receipts/forged.json: " in found
    assert replace(signed, salt=None).salt is None
