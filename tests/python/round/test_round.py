"""A real round, as small as can be, and what is told where a part of one fails, is stopped or was tampered with."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flyball.cli import main
from flyball.errors import NotFound
from flyball.evidence.gates import Outcome
from flyball.round import pages, parts, process, receipts, run
from flyball.round.parts import Figure, Part, worst
from flyball.round.plan import QUICK, Round, Step
from flyball.round.process import Ended

TITLES = ["Service levels", "Pilot", "Load", "Scorecard", "Receipts"]


class Done(NamedTuple):
    """A real round."""

    of: Round
    code: int
    document: dict[str, Any]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Done:
    out = tmp_path_factory.mktemp("evidence")
    code = main(["evidence", "--quick", "--out", str(out), "--no-browser"])
    (folder,) = (path for path in out.iterdir() if path.name != "bench")
    return Done(Round(folder, QUICK), code, json.loads((folder / "round.json").read_text()))


def test_every_part_of_a_real_round_has_results(done: Done) -> None:
    found = {part["title"]: part for part in done.document["parts"]}
    assert list(found) == TITLES
    assert all(part["figures"] for part in found.values()), found
    assert [len(found[title]["commands"]) for title in TITLES] == [1, 2, 1, 1, 0]
    assert found["Pilot"]["figures"][-1]["shown"] == "8 of 8 equal, 8 of 8 digests"
    assert found["Receipts"]["outcome"] == "pass"
    names = [figure["name"] for figure in found["Receipts"]["figures"]]
    assert names == ["scenarios", "pilot", "load", "scorecard"]
    for figure in found["Receipts"]["figures"]:
        n_whole, n = re.match(r"(\d+) of (\d+) answers have a receipt", figure["shown"]).groups()  # type: ignore[union-attr]
        assert n_whole == n != "0"
    assert done.code == 1  # the bundled model is no assistant: its scorecard says need bigger
    assert (done.document["outcome"], found["Scorecard"]["said"]) == ("fail", "need bigger")


def test_every_figure_leads_to_its_file(done: Done) -> None:
    folder = done.of.folder
    page = (folder / "index.html").read_text()
    links = set(re.findall(r'href="([^"#]+)"', page))
    assert {figure["file"] for part in done.document["parts"] for figure in part["figures"]} <= links
    assert all((folder / link).exists() for link in links), links
    listed = {one["file"]: one["sha256"] for one in done.document["files"]}
    assert len(listed) == 4 + 1  # runs, pilot, its difference, load, scorecard
    for name, sha256 in listed.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == sha256
    text = (folder / "index.md").read_text()
    assert all(f"]({name})" in text for name in listed)


def check(of: Round, answers: receipts.Answers) -> Figure:
    (figure,) = receipts.check("Receipts", of, [answers], lambda _: None).figures
    return figure


def test_a_receipt_that_is_gone_or_forged_fails_the_round(done: Done, tmp_path: Path) -> None:
    of = replace(done.of, sizes=replace(QUICK, verified=100))
    answers = receipts.of_pilot(of)
    folder = tmp_path / "receipts"
    shutil.copytree(answers.folder, folder)
    found = check(of, replace(answers, folder=folder))
    assert (found.outcome, found.why) == (Outcome.PASS, "")
    assert found.shown.endswith("8 of a sample of 8 verified")
    victim = sorted(folder.iterdir())[3]
    original = json.loads(victim.read_text())
    forged = original | {"tokens": [original["tokens"][0] ^ 1, *original["tokens"][1:]]}
    victim.write_text(json.dumps(forged))
    found = check(of, replace(answers, folder=folder))
    assert found.outcome is Outcome.FAIL
    assert victim.stem in found.why
    victim.write_text("{")
    assert check(of, replace(answers, folder=folder)).outcome is Outcome.FAIL
    victim.unlink()
    found = check(of, replace(answers, folder=folder))
    assert "is the receipt of " + victim.stem in found.why
    assert found.shown.startswith("7 of 8")
    assert check(of, replace(answers, ids=(*answers.ids, None))).why == "1 answers have no receipt"
    assert check(of, receipts.Answers("none", (), folder)).outcome is Outcome.INCONCLUSIVE


def test_samples_are_spread_evenly() -> None:
    assert receipts.sample("abcdefghij", 3) == ["a", "d", "g"]
    assert receipts.sample("ab", 3) == ["a", "b"]


def test_the_difference_from_the_stub_is_judged(done: Done, tmp_path: Path) -> None:
    of = replace(done.of, folder=tmp_path / "1")
    shutil.copytree(done.of.pilot, of.pilot)
    path = next(path for path in of.pilot.glob("perf_report_*.json") if '"mode": "stub"' in path.read_text())
    document = json.loads(path.read_text())
    document["turns"][0]["calls"][0]["text"] = "another"
    path.write_text(json.dumps(document))
    found = parts.pilot("Pilot", of)
    assert found.outcome is Outcome.FAIL
    assert found.figures[-1].shown.startswith("7 of 8 equal")
    path.unlink()
    found = parts.pilot("Pilot", of)
    assert found.outcome is not Outcome.PASS
    assert "has no record of the stub" in found.why


def test_only_a_run_of_this_round_counts(done: Done) -> None:
    known = parts.known_runs(done.of)
    assert parts.new_run(done.of, ()).file in known
    with pytest.raises(NotFound, match="no run of this round"):
        parts.new_run(done.of, known)


# ---------------------------------------------------------------- without measuring


@pytest.fixture
def of(tmp_path: Path) -> Round:
    return Round(tmp_path / "rounds" / "1", QUICK)


def failing(said: str) -> Callable[..., Ended]:
    def ended(step: Step, output: Path, *_: object) -> Ended:
        return Ended(step.command, 2, 1.0, output, said)

    return ended


def test_a_part_that_fails_does_not_end_the_round(of: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", failing("flyball: out of memory"))
    monkeypatch.setattr(run, "_PARTS", (*run._PARTS[:2], ("Load", broken), *run._PARTS[3:]))
    found = run.run(of, lambda *_: None)
    assert [part.title for part in found] == TITLES
    assert [part.why for part in found[:2]] == ["flyball: out of memory"] * 2
    assert found[2].why == "internal error, ZeroDivisionError: division by zero: report it"
    assert {part.outcome for part in found} == {Outcome.INCONCLUSIVE}
    assert [len(part.ended) for part in found] == [1, 1, 0, 1, 0]
    assert "out of memory" in pages.markdown(pages.collect(of, found, 0.0, 1.0))


def broken(title: str, commands: run.Commands) -> Part:
    raise ZeroDivisionError("division by zero")


def test_what_was_stopped_is_told(of: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> Ended:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "run", stop)
    found = run.run(of, lambda *_: None)
    assert [part.why for part in found] == ["was stopped", *["did not run: the round was stopped"] * 4]


def test_what_is_left_follows_the_pace_of_the_machine(of: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    def twice_as_slow(step: Step, output: Path, limit: float, tell: Callable[[float], object], *_: object) -> Ended:
        tell(0.0)
        return Ended(step.command, 0, 2 * step.share * QUICK.seconds, output, "")

    monkeypatch.setattr(process, "run", twice_as_slow)
    seen: list[tuple[str, float]] = []
    commands = run.Commands(of, lambda title, passed, left: seen.append((title, left)))
    commands.run(Step("a", "a", (), 0.5))
    commands.run(Step("b", "b", (), 0.4))
    commands.checking(0.5)
    assert seen == [("a", 60.0), ("b", 60.0), ("receipts", pytest.approx(6.0))]


SUMMARY = {
    "flows": {
        "chat": {
            "good": 9, "come": 10, "goodput": 1.5,
            "quantiles": {"iteration_duration": {"p(95)": {"value": None}}},
        }
    },
    "thresholds": [{
        "flow": "chat", "metric": "first_token", "limit": "p(95)<3000", "verdict": "fail", "observed": 4000.5,
        "why": "n 100",
    }],
    "verdict": "fail",
}  # fmt: skip


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [("pass", Outcome.PASS), ("fail", Outcome.FAIL), ("undecided", Outcome.INCONCLUSIVE), ("x", Outcome.INCONCLUSIVE)],
)
def test_the_verdict_of_a_load(of: Round, verdict: str, outcome: Outcome) -> None:
    of.load.mkdir(parents=True)
    (of.load / "20261130T1.json").write_text(json.dumps(SUMMARY | {"verdict": verdict}))
    found = parts.load("Load", of)
    assert found.outcome is outcome
    assert [figure.shown for figure in found.figures] == ["9 of 10 good, 1.50 a second, p95 never", "4,000"]


def test_the_worst_decides() -> None:
    assert worst([]) is Outcome.INCONCLUSIVE
    assert worst([Outcome.PASS]) is Outcome.PASS
    assert worst([Outcome.PASS, Outcome.INCONCLUSIVE]) is Outcome.INCONCLUSIVE
    assert worst([Outcome.FAIL, Outcome.INCONCLUSIVE]) is Outcome.FAIL


def made(outcome: Outcome, why: str, file: Path) -> Part:
    return Part("Load", outcome, "said", why, (Figure(why, why, file, outcome, why),), (("page", file),))


def test_text_of_results_has_no_power(of: Round, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>|`x`\x1b[31m"
    file = tmp_path / "a.json"
    file.write_text("{}")
    page = pages.write(of, pages.collect(of, [made(Outcome.FAIL, hostile, file)], 0.0, 61.0))
    text = page.read_text() + page.with_suffix(".md").read_text()
    assert not re.search(r"(?<!\\)<script", text)
    assert "\x1b" not in text
    assert "default-src 'none'" in text
    assert "took 1:01" in text


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.PASS, 0), (Outcome.FAIL, 1), (Outcome.INCONCLUSIVE, 2)], ids=str
)
def test_exit_codes_and_the_browser(
    outcome: Outcome, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(run, "run", lambda of, tell: [made(outcome, "because", tmp_path)])
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", "")
    words = ["evidence", "--out", str(tmp_path / "out")]
    assert main(words) == code
    assert "because" in (said := capsys.readouterr().out)
    assert Path(said.split()[-1]).is_file()
    assert opened == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert main([*words, "--no-browser"]) == code
    assert opened == []
    assert main(words) == code
    assert opened[0].startswith("file:///")
    capsys.readouterr()
    assert main([*words, "--json"]) == code
    assert json.loads(capsys.readouterr().out)["kind"] == "round"
    assert len(opened) == 1
    assert len(list((tmp_path / "out").iterdir())) == 4  # each round has a folder of its own


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--minutes", "0"], "--minutes: is 0"),
        (["--slo", "none.toml"], "none.toml"),
        (["none.gguf"], "none.gguf: does not exist"),
    ],
)
def test_wrong_use(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evidence", *words, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
