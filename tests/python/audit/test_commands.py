"""`flyball audit`: from an answer's receipt to a bundle that somebody else checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import flyball
from flyball import audit
from flyball.audit import archive
from flyball.cli import main
from flyball.journal import Journal
from tests.reference.demo_adapter import write_random

ALL = ("--from", "2020-01-01", "--to", "2100-01-01T00:00:00Z")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, demo: flyball.Model) -> Path:
    """A folder with an answer's receipt."""
    monkeypatch.chdir(tmp_path)
    demo.generate("Once upon a time", max_tokens=3).receipt.save("answer.json")
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """The output of a command that ends with this code."""
    assert main(["audit", *words]) == code, capsys.readouterr()
    return capsys.readouterr().out


def test_from_an_answer_to_a_verdict(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    named = ("--name", "flyball.example/one")
    said = run(capsys, "sign", "answer.json", "--journal", "run.jsonl", *named)
    id = list(audit.Keys(work / "state" / "flyball" / "keys").public)[0].id  # noqa: RUF015
    assert f"with key {id}" in said
    (work / "keys.json").write_text(run(capsys, "keys", "--json"))
    (work / "head.note").write_text(run(capsys, "head", "run.jsonl", *named))
    witness = ("--key", "witness.key", "--name", "witness.example/w", "--keys", "keys.json", "--journal", "run.jsonl")
    (work / "cosigned.note").write_text(run(capsys, "cosign", "head.note", *witness))
    vkey = str(audit.SignerKey.parse((work / "witness.key").read_text().strip()).verifier)
    done = run(
        capsys, "export", "b.zip", *ALL, "--journal", "run.jsonl", "--prompts", "--note", "cosigned.note", *named
    )
    assert done.endswith("b.zip: 1 receipts, 1 lines of the journal\n")
    checked = ("verify", "b.zip", "--keys", "keys.json", "--witness", vkey, "--model", str(flyball.demo_model_path()))
    said = run(capsys, *checked)
    assert said.startswith("verified: 1 receipts, 1 lines of the journal, 2 heads, 1 answers repeated\n")
    assert "cosigned by witness.example/w 20" in said
    found = json.loads(run(capsys, *checked, "--json"))
    assert found["verified"] is True
    assert (found["receipts"], found["answers_repeated"], found["faults"], found["doubts"]) == (1, 1, [], [])
    assert found["cosignatures"][0]["witness"] == "witness.example/w"


def test_a_changed_bundle_gives_one(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "sign", "answer.json", "--journal", "run.jsonl")
    run(capsys, "export", "b.zip", *ALL, "--journal", "run.jsonl")
    said = run(capsys, "verify", "b.zip", code=2)
    assert said.startswith("could not tell: whose keys these are")
    assert "no fault: 1 receipts" in said
    members = archive.load("b.zip")
    members["journal.jsonl"] = members["journal.jsonl"].replace(b'"seq":0', b'"seq":1')
    (work / "b.zip").write_bytes(archive.pack(members))
    assert run(capsys, "verify", "b.zip", code=1).splitlines()[0] == (
        "does not hold: journal.jsonl: was changed: its SHA-256 is not the manifest's"
    )
    found = json.loads(run(capsys, "verify", "b.zip", "--json", code=1))
    assert found["verified"] is False
    (work / "text.zip").write_text("no bundle")
    assert "is no bundle, or damaged" in run(capsys, "verify", "text.zip", code=1)
    assert run(capsys, "verify", "nothing.zip", code=2) == ""


def test_keys_rotate(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = json.loads(run(capsys, "keys", "--json", "--key-folder", "k"))["keys"]
    both = json.loads(run(capsys, "keys", "--json", "--rotate", "--key-folder", "k"))["keys"]
    assert [key["id"] for key in both][0] == first[0]["id"]  # noqa: RUF015
    assert [key["retired"] is None for key in both] == [False, True]
    said = run(capsys, "keys", "--key-folder", "k").splitlines()
    assert [line.split()[2] for line in said] == ["retired", "signs"]
    (work / "k").chmod(0o755)
    assert main(["audit", "keys", "--key-folder", "k"]) == 2
    assert "chmod 700" in capsys.readouterr().err


def test_export_tells_what_is_missing(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for id in ("one", "two"):
        run(capsys, "sign", "answer.json", "--journal", "run.jsonl", "--id", id)
    run(capsys, "sign", "answer.json", "--id", "three")
    folder = work / "state" / "flyball" / "signed"
    (folder / "one.json").unlink()
    said = run(capsys, "export", "b.zip", *ALL, "--journal", "run.jsonl")
    assert "1 receipts are in the journal, but not stored: one\n" in said
    assert "1 receipts are not in the journal: three\n" in said
    found = json.loads(run(capsys, "export", "b.zip", *ALL, "--journal", "run.jsonl", "--json"))
    assert (found["receipts"], found["missing"], found["unrecorded"]) == (2, ["one"], ["three"])
    assert len(json.loads(run(capsys, "verify", "b.zip", "--json", code=2))["doubts"]) == 3


def test_a_damaged_journal_has_no_signed_head(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Journal("run.jsonl") as journal:
        journal.tell("JOURNAL_HEAD_MISSING", {"n_lines": 0, "hash": ""})
    text = (work / "run.jsonl").read_text()
    (work / "run.jsonl").write_text(text.replace('"n_lines":0', '"n_lines":1').replace('"n_lines": 0', '"n_lines": 1'))
    assert run(capsys, "head", "run.jsonl", code=1) == ""
    assert run(capsys, "head", "nothing.jsonl", code=2) == ""


def test_a_witness_does_not_cosign_what_goes_back(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes = []
    for id in ("one", "two"):
        run(capsys, "sign", "answer.json", "--journal", "run.jsonl", "--id", id)
        notes.append(run(capsys, "head", "run.jsonl"))
    (work / "head.note").write_text(notes[1])
    assert main(["audit", "cosign", "head.note", "--key", "w.key", "--name", "w"]) == 0
    assert "was not checked; --keys" in capsys.readouterr().err
    (work / "head.note").write_text(notes[0])
    assert run(capsys, "cosign", "head.note", "--key", "w.key", code=1) == ""
    assert run(capsys, "cosign", "head.note", "--key", "none.key", code=2) == ""


def test_answers_of_adapters_say_which_file_is_needed(
    work: Path, capsys: pytest.CaptureFixture[str], demo: flyball.Model
) -> None:
    file = write_random(work / "one.gguf", seed=1, gain=0.8)
    adapter = demo.load_adapter(file)
    demo.generate("Once upon a time", max_tokens=3, adapter=adapter).receipt.save("adapted.json")
    run(capsys, "sign", "adapted.json", "--journal", "run.jsonl")
    (work / "keys.json").write_text(run(capsys, "keys", "--json"))
    exporting = ("export", "b.zip", *ALL, "--journal", "run.jsonl", "--prompts")
    assert f"audit verify --model needs the file of adapter {adapter.fingerprint}\n" in run(capsys, *exporting)
    assert json.loads(run(capsys, *exporting, "--json"))["adapters"] == [adapter.fingerprint]
    checked = ("verify", "b.zip", "--keys", "keys.json", "--model", str(flyball.demo_model_path()))
    said = run(capsys, *checked, code=2)
    assert f"adapter {adapter.fingerprint}: is not here" in said
    assert "--adapter FILE gives its file" in said
    assert "1 answers repeated" in run(capsys, *checked, "--adapter", str(file))
