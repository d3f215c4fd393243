"""slo.toml overrides the targets; a hostile file is one error that says file, key, what and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from flyball.cli import main
from flyball.errors import Error, FormatError
from flyball.slo.scenarios import SCENARIOS
from flyball.slo.targets import DEFAULTS, Levels, load


def test_every_scenario_has_targets() -> None:
    assert list(DEFAULTS) == list(SCENARIOS)
    assert len(SCENARIOS) >= 10


def test_a_file_overrides_single_targets(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(
        'objective = 0.99\nregression = 1.2\nscenarios = ["tool-call"]\n[targets.tool-call]\nlatency_p95_ms = 9000\n'
    )
    levels = load(path)
    assert (levels.objective, levels.regression, levels.scenarios) == (0.99, 1.2, ("tool-call",))
    assert levels.targets["tool-call"].latency_p95_ms == 9000
    assert levels.targets["tool-call"].first_token_ms == DEFAULTS["tool-call"].first_token_ms
    assert levels.targets["short-question"] == DEFAULTS["short-question"]


def test_the_file_of_this_folder_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load() == Levels()
    (tmp_path / "slo.toml").write_text("objective = 0.9")
    assert load().objective == 0.9


def test_the_least_ratio_follows_the_regression() -> None:
    assert Levels().least_ratio == pytest.approx(1.08)
    assert Levels(regression=1.2).least_ratio == pytest.approx(1.16)


@pytest.mark.parametrize(
    ("text", "key", "advice"),
    [
        ("objective = ", "TOML", "docs/slo.md"),
        ("\x00", "TOML", "docs/slo.md"),
        ("a = " + "[" * 100_000, "TOML", "docs/slo.md"),
        ('objective = "high"', "objective", "give a number"),
        ("objective = true", "objective", "give a number"),
        ("objective = 1.0", "objective", "give a number"),
        ("objective = nan", "objective", "give a number"),
        ("regression = inf", "regression", "give a number"),
        ("regression = 1.0", "regression", "give a number"),
        ("scenarios = []", "scenarios", "write scenarios"),
        ("scenarios = [1]", "scenarios", "write scenarios"),
        ('scenarios = ["nothing"]', "nothing", "flyball bench list"),
        ("goal = 1", "'goal'", "use one of"),
        ("targets = 3", "targets", "write [targets."),
        ("[targets.nothing]", "targets.nothing", "use one of"),
        ("targets.tool-call = 3", "targets.tool-call", "write [targets.tool-call]"),
        ("[targets.tool-call]\nlatency = 1", "targets.tool-call.latency", "use one of"),
        ("[targets.tool-call]\nlatency_p95_ms = -1", "targets.tool-call.latency_p95_ms", "give a number"),
        ("[targets.tool-call]\nlatency_p95_ms = 1e300", "targets.tool-call.latency_p95_ms", "give a number"),
        ("[targets.tool-call]\nlatency_p50_ms = 8000\nlatency_p95_ms = 10", "latency_p50_ms", "lower it"),
    ],
)
def test_hostile_files(tmp_path: Path, text: str, key: str, advice: str) -> None:
    path = tmp_path / "slo.toml"
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        load(path)
    assert caught.value.where == str(path)
    assert key in caught.value.what
    assert advice in caught.value.what


def test_files_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "slo.toml"
    path.write_bytes(b"objective = \xff")
    with pytest.raises(FormatError, match="UTF-8"):
        load(path)
    path.write_bytes(b"#" * (1 << 20) + b"##")
    with pytest.raises(FormatError, match="longer"):
        load(path)
    with pytest.raises(Error, match="cannot be read"):
        load(tmp_path)
    with pytest.raises(Error, match="does not exist"):
        load(tmp_path / "none.toml")


def test_a_command_says_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "slo.toml"
    path.write_text("goal = 1")
    assert main(["bench", "list", "--slo", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"{path}: 'goal' is unknown" in error
