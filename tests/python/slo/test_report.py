"""The report has every scenario, its numbers are those of the files, and it gives hostile text no power."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from flyball.cli import main
from flyball.slo import pages, report
from flyball.slo.record import read_all
from flyball.slo.scenarios import SCENARIOS
from flyball.slo.targets import Levels
from tests.python.slo.conftest import MakeRun


def collect(folder: Path) -> report.Document:
    return report.collect(read_all(folder), Levels(), folder, folder)


def test_every_scenario_is_in_both_pages(recorded: Path) -> None:
    document = collect(recorded)
    text, page = pages.markdown(document), pages.page(document)
    for name in SCENARIOS:
        assert f"## {name}: " in text
        assert f'id="{name}"' in page
    assert document["label"] in ("undecided", "fail")  # one run proves nothing; beside other work it is too slow


def test_numbers_are_those_of_the_files(make_run: MakeRun) -> None:
    ms = [20.0 + i for i in range(30)]
    path = make_run(1_000_000.0, {"short-question": ms, "tool-call": [50.0, 60.0]})
    document = collect(path.parent)
    one = next(s for s in document["scenarios"] if s["name"] == "short-question")
    values = {metric["metric"]: metric["value"] for metric in one["metrics"]}
    tokens = json.loads(path.read_text())["cases"]["short-question"]["scenario"]["generated_tokens"]
    assert values["latency_p50_ms"] == pytest.approx(np.percentile(ms, 50))
    assert values["latency_p95_ms"] == pytest.approx(np.percentile(ms, 95))
    assert values["first_token_ms"] == pytest.approx(np.percentile(ms, 95) / 2)
    assert values["tokens_per_second"] == pytest.approx(float(np.median([1e3 * tokens / x for x in ms])))
    assert values["peak_memory_mb"] == 50.0
    assert all(metric["runs"] == [path.name] for metric in one["metrics"])
    assert f"{np.percentile(ms, 95):,.1f} ms" in pages.page(document)


def test_every_figure_leads_to_a_run_and_a_receipt(recorded: Path) -> None:
    page = pages.page(collect(recorded))
    links = set(re.findall(r'href="\./([^"]+)"', page))
    assert links
    assert all((recorded / link).is_file() for link in links)
    assert {link for link in links if link.startswith("receipts/")} == {
        f"receipts/{path.name}" for path in (recorded / "receipts").iterdir()
    }


def test_the_same_files_give_the_same_report(recorded: Path) -> None:
    assert pages.page(collect(recorded)) == pages.page(collect(recorded))


def test_text_of_files_has_no_power(make_run: MakeRun) -> None:
    hostile = {
        "model": "<script>alert(1)</script>|`x`",
        "machine": {"name": "\x1b[31m", "n_processors": 1, "digest": "d"},
    }
    document = collect(make_run(5.0, {"short-question": [20.0] * 3}, **hostile).parent)
    page, text = pages.page(document), pages.markdown(document)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "\x1b" not in page + text
    assert "<script>" not in text


def test_lost_receipts_are_told(make_run: MakeRun) -> None:
    folder = make_run(5.0, {"short-question": [20.0] * 3}).parent
    for path in (folder / "receipts").iterdir():
        path.unlink()
    assert "0 of 1 receipts are there" in pages.markdown(collect(folder))
    assert "does not exist" in pages.page(collect(folder))


def test_the_picture_has_a_point_for_each_run() -> None:
    points = [{"run": f"{i}", "ms": 20.0 + i} for i in range(4)]
    near, far = pages.picture(points, 30.0), pages.picture(points, 3000.0)
    assert len(near["points"]) == 4
    assert near["line"].count("L") == 3
    assert near["target"] is not None
    assert far["target"] is None
    assert len({point["y"] for point in near["points"]}) == 4


def test_commands(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = make_run(100.0, {"short-question": [20.0 + i / 100 for i in range(60)]}).parent
    levels = tmp_path / "levels.toml"
    levels.write_text('scenarios = ["short-question"]')
    words = ["--dir", str(folder), "--slo", str(levels)]
    assert main(["slo", "report", *words, "--out", str(tmp_path / "out")]) == 0
    assert "slo.html" in capsys.readouterr().out
    assert "../scenarios-" in (tmp_path / "out" / "slo.html").read_text()
    assert main(["slo", "gate", *words]) == 2
    assert "undecided: 5 pass, 0 fail, 2 undecided" in capsys.readouterr().out
    levels.write_text(
        'scenarios = ["short-question"]\n[targets.short-question]\nlatency_p50_ms = 2\nlatency_p95_ms = 5'
    )
    assert main(["slo", "gate", "--json", *words]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["outcome"] == "fail"
    assert main(["slo", "gate", "--dir", str(tmp_path / "none")]) == 2
    assert "flyball bench scenario --all" in capsys.readouterr().err


def test_a_clean_history_passes(make_run: MakeRun, tmp_path: Path) -> None:
    for n in range(22):
        path = make_run(1000.0 + n, {"short-question": [20.0 + i / 100 for i in range(10)]})
    levels = tmp_path / "levels.toml"
    levels.write_text('scenarios = ["short-question"]')
    assert main(["slo", "gate", "--dir", str(path.parent), "--slo", str(levels)]) == 0
