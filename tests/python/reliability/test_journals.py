"""Evidence of real use: journals that --journal names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import flyball
from flyball.cli import main
from flyball.evidence.gates import passed
from flyball.reliability import runner
from flyball.reliability.results import Limits, Record, StageResult
from flyball.reliability.stages import journals, quality
from flyball.reliability.store import Store
from tests.python.cli.test_repl import run_script
from tests.reference.models import write_model

STAGES = ("preflight", "scenario", "journals", "coverage", "reason_drift", "quality", "self_heal", "explainability")
LIMITS = {"context": 512, "max_tokens": 24, "cache_type": "f16"}
STEP = {"action": "reduce_answer", "step": 1, "of": 4, "from": LIMITS, "to": LIMITS | {"max_tokens": 12}}
OUTCOME = {"action": "reduce_answer", "metric": "guard_stops", "expected_percent": 100, "pairs": 5, "better": 0}
OUTCOME |= {"worse": 5, "history": -1}


@pytest.fixture
def artifacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runner, "STAGES", {name: runner.STAGES[name] for name in STAGES})
    return tmp_path / "artifacts"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A journal of a user, who has asked twice."""
    folder = tmp_path_factory.mktemp("used")
    code, out = run_script(folder, ["Hello", "Hello"], "--journal", folder / "use.jsonl", "--tune", "off")
    assert code == 0, out
    return folder


@pytest.fixture
def file(used: Path, tmp_path: Path) -> Path:
    shutil.copytree(used, tmp_path / "use")
    return tmp_path / "use" / "use.jsonl"


def goes_on(file: Path, *events: tuple[str, dict[str, object]]) -> None:
    """The journal with what a policy did later."""
    with flyball.Journal(file) as kept:
        for reason, data in events:
            kept.tell(reason, data)


def run(artifacts: Path, *files: Path) -> int:
    words = [word for file in files for word in ("--journal", str(file))]
    return main(["reliability", "run", "--artifacts", str(artifacts), "--allow-insufficient-data", *words])


def newest(artifacts: Path) -> StageResult:
    return Store(artifacts).history()[-1].stages["journals"]


def test_real_use_counts_once(artifacts: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goes_on(file, ("PLAN_STEP", STEP), ("OUTCOME_REGRESSED", OUTCOME), ("PLAN_STEP", STEP))
    assert run(artifacts, file) == 0, capsys.readouterr().out
    assert "pass  journals       JOURNALS_COUNTED" in capsys.readouterr().out
    first = newest(artifacts)
    assert first.values["applied"] == [{"action": "reduce_answer", "outcome": "regressed", "pairs": 0}]
    assert first.values["reasons"]["PLAN_STEP"] == 2
    assert first.values["loading"]["model_prepare_ms"]["n"] == 1
    record = Store(artifacts).history()[-1]
    own = record.values("scenario")["applied"]
    found = [change.outcome for change in quality.changes_of(record)]
    assert found == ["regressed", *(change["outcome"] for change in own)]
    assert record.values("quality")["harmful"] >= 1
    assert record.values("coverage")["real_use"] == sum(first.values["reasons"].values()) > 5
    told = json.loads((artifacts / "runs" / record.run / "explanations.json").read_text())["decisions"]
    assert {row["journal"] for row in told if "journal" in row} == {str(file)}
    assert all(row["sentence"] for row in told)

    assert run(artifacts, file) == 0  # nothing is new
    assert newest(artifacts).values["applied"] == []
    assert newest(artifacts).values["reasons"] == {}

    # A change counts when its outcome is known, not when it was applied, which an earlier run saw.
    goes_on(file, ("OUTCOME_IMPROVED", OUTCOME))
    assert run(artifacts, file, file) == 0  # given twice is no more evidence
    assert newest(artifacts).values["applied"] == [{"action": "reduce_answer", "outcome": "improved", "pairs": 0}]
    assert newest(artifacts).values["reasons"] == {"OUTCOME_IMPROVED": 1}
    copy = shutil.copy(file, file.with_name("copy.jsonl"))
    shutil.copy(f"{file}.head", f"{copy}.head")
    assert run(artifacts, Path(copy)) == 0
    assert newest(artifacts).values["applied"] == []


def test_harm_in_real_use_quarantines(artifacts: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    goes_on(file, *[("PLAN_STEP", STEP), ("OUTCOME_REGRESSED", OUTCOME)] * 8)
    assert run(artifacts, file) == 1
    out = capsys.readouterr().out
    assert "FAIL  quality        QUALITY_HARMFUL" in out
    assert "HEAL_QUARANTINED" in out
    assert run(artifacts, file) == 1
    assert newest(artifacts).values["applied"] == []  # the same harm does not count again


def test_a_damaged_journal_is_no_evidence(artifacts: Path, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = file.with_name("good.jsonl")
    goes_on(file, ("PLAN_STEP", STEP))
    for end in ("", ".head"):
        shutil.copy(f"{file}{end}", f"{good}{end}")
    goes_on(file, ("OUTCOME_REGRESSED", OUTCOME))
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b'"OUTCOME_REGRESSED', b'"OUTCOME_IMPROVED'))
    assert run(artifacts, good, file) == 2
    out = capsys.readouterr().out
    assert f"????  journals       JOURNALS_DAMAGED          {file} is damaged: {file}:" in out
    assert "applied" not in newest(artifacts).values
    file.write_bytes(whole)
    assert run(artifacts, good, file) == 0  # nothing of either was counted before
    assert newest(artifacts).values["files"][str(good)]["new"] > 0
    assert newest(artifacts).values["applied"] == [{"action": "reduce_answer", "outcome": "regressed", "pairs": 0}]


def test_another_model_is_no_evidence(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.jsonl"
    other = write_model(tmp_path / "other.gguf", "llama", "F32").path
    with flyball.Journal(file) as kept, flyball.Model.load(other, journal=kept) as model:
        model.generate("a", 2)
    assert run(artifacts, file) == 2
    assert "JOURNALS_OTHER_MODEL" in capsys.readouterr().out
    with flyball.Journal(file) as kept, flyball.Model.load(flyball.demo_model_path(), journal=kept) as model:
        model.generate("Hello", 2)
    assert run(artifacts, file) == 0
    counted = newest(artifacts).values["files"][str(file)]
    assert 0 < counted["new"] < counted["lines"]
    assert newest(artifacts).values["reasons"]["MODEL_LOADED"] == 1


def test_what_is_no_file_is_refused(artifacts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path / "absent.jsonl", tmp_path):
        assert run(artifacts, path) == 2
        assert f"{path}: is not a file" in capsys.readouterr().err
    assert not (artifacts / "history.jsonl").exists()


def records(**decisions: int) -> Iterator[Record]:
    for n in range(4):
        yield Record(
            f"r{n}",
            n,
            stages={"journals": StageResult("journals", passed("JOURNALS_COUNTED", ""), {"decisions": decisions})},
        )


def test_harm_in_real_use_fails_and_other_use_does_not() -> None:
    history = list(records(POLICY_CHOICE=80, OUTCOME_IMPROVED=20))
    values = {
        "reasons": {},
        "decisions": {"POLICY_CHOICE": 80, "OUTCOME_REGRESSED": 40},
        "loading": {},
        "files": {"f": {}},
        "applied": [],
    }
    assert journals.judge(history, values, Limits()).reason_id == "DRIFT_HARMFUL"
    values["decisions"] = {"POLICY_STAY": 100, "GUARD_TURN_STOP": 100}
    other = journals.judge(history, values, Limits())
    assert other.reason_id == "JOURNALS_COUNTED"
    assert "decisions have reasons that are new" in other.message
    slow = values | {"loading": {"model_prepare_ms": {"n": 3, "p50": 20_000.0}}}
    late = journals.judge(history, slow, Limits())
    assert late.reason_id == "STARTUP_OVER_BUDGET"
    assert late.message == "model_prepare_ms is 20,000.0 in half of 3 starts, the limit is 12,000"
