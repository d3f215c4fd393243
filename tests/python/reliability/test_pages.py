"""The dashboard and the report: every number from the results, nothing from a network, hostile text inert."""

from __future__ import annotations

import itertools
import json
import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pytest

from flyball.evidence.gates import Outcome, Verdict, failed, inconclusive, passed
from flyball.reliability.context import PROFILES, Context
from flyball.reliability.pages import dashboard, report, trends
from flyball.reliability.results import Limits, Record, StageResult

NOW = 1_795_058_100  # 2026-11-19 03:15 UTC, a Thursday
DAY = 86400
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
HOSTILE = "<script>alert(1)</script> <img src=x onerror=a> \"' & | `x` \x1b[31m \x00 \u202e \ud800 \ufffe ]]> -->"


def stages(n: int, verdict: Verdict | None = None) -> dict[str, StageResult]:
    """As run `n` may leave them; `verdict`: of metrics."""
    random = Random(n)
    cost = {"prefill": 0.7 * random.lognormvariate(0, 0.03), "decode": 1.3 * random.lognormvariate(0, 0.02)}
    drift = {
        phase: {"slower": False, "sum": 0.4, "alarm": 8.0, "run": ratio, "window": 1.02, "visible": 1.065}
        for phase, ratio in (("prefill", 0.99), ("decode", 1.2))
    }
    tokens = {name: {"n": 160, "mean": 2.4e6, "p50": 2e6 + 1000 * n, "p95": 3e6, "p99": 3.4e6} for name in cost}
    state = {"mode": "canary", "latched": False, "stable": 3}
    made: dict[str, tuple[Verdict, dict[str, Any]]] = {
        "scenario": (
            passed("SCENARIO_COMPLETE", "40 turns"),
            {"reasons": {"PLAN_STEP": 10 + n % 7, "POLICY_CHOICE": 90}, "markers": 812},
        ),
        "startup": (
            passed("STARTUP_PASSED", "within budget"),
            {
                "model_select_ms": 3.1,
                "model_prepare_ms": 812.3 + n,
                "first_token_ms": 61.7,
                "cost": 280.1,
                "drift": {"load": {"run": 1.01}},
            },
        ),
        "quality": (
            passed("QUALITY_PASSED", "2 of 40 did harm"),
            {
                "harmful_share": 0.05,
                "n": 40,
                "limits": [{"name": "harmful_share, effective", "value": 0.55, "source": "x"}],
            },
        ),
        "self_heal": (passed("HEAL_CANARY_GOES_ON", "0 of 12"), {"state": state}),
        "curriculum": (
            passed("CURRICULUM_SET", "70"),
            {
                "threshold": 70,
                "provenance": [{"source": "phase steady", "value": 65}, {"source": "outcomes", "value": 5}],
            },
        ),
        "reason_drift": (passed("DRIFT_PASSED", "as before"), {"n": 812, "psi": 0.012}),
        "metrics": (verdict or passed("METRICS_PASSED", "as before"), {**tokens, "cost": cost, "drift": drift}),
        "benchmark": (
            inconclusive("BENCH_WATCH", "decode may be slower", "run it again"),
            {
                "cases": {
                    "decode-512": {"digest": "58c63bb90de3aa", "ms": 210.6, "decode_cycles_per_token": [3.5e6, 3.7e6]}
                }
            },
        ),
    }
    return {name: StageResult(name, judged, values, 1.5) for name, (judged, values) in made.items()}


SLOWER = failed("METRICS_SLOWER", "decode costs 22 % more", "bisect")


def context(folder: Path, n_runs: int = 60, bad: tuple[int, ...] = (20, 57)) -> Context:
    """The last of some daily runs."""
    history = [
        Record(
            f"run-{n:03}",
            NOW - (n_runs - 1 - n) * DAY,
            stages=stages(n, SLOWER if n in bad else None),
            heal={"mode": "canary"},
        )
        for n in range(n_runs - 1)
    ]
    about = {"build": "90af12bb34cc" * 5, "policy": ""}
    return Context(
        "20261119-031500-000",
        folder,
        folder,
        PROFILES["ci"],
        subjects=about,
        history=history,
        results=stages(n_runs - 1),
    )


def strict(path: Path) -> dict[str, Any]:
    """JSON without NaN and infinities."""
    found = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in {path.name}"))
    assert isinstance(found, dict)
    return found


def strings(found: object) -> list[str]:
    """All of a document: what is shown."""
    if isinstance(found, str):
        return [found]
    if isinstance(found, dict):
        return [*found, *(s for value in found.values() for s in strings(value))]
    return [s for value in found for s in strings(value)] if isinstance(found, list) else []


class Page(HTMLParser):
    """What a page shows, and what it is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.parts: set[tuple[str, str]] = set()
        self.links: list[str] = []
        self.marks: list[str] = []  # of the points in plots
        self.n_points = 0
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.inside = tag
        self.parts |= {(tag, ""), *((tag, name) for name in found)}
        self.shown += [found[name] for name in ("data-label", "title", "aria-label") if name in found]
        self.links += [found[name] for name in ("href", "xlink:href", "src", "action", "data") if name in found]
        if tag == "g":
            self.n_points += 1
        if tag == "use" and self.n_points:
            self.marks.append(found["href"])

    def handle_data(self, data: str) -> None:
        if self.inside != "style":
            self.shown.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""


def numbers(texts: list[str]) -> set[str]:
    return {found for text in texts for found in NUMBER.findall(text)}


@pytest.mark.parametrize("n_runs", [60, 130, 2, 1])
def test_every_number_of_the_page_is_in_the_document(tmp_path: Path, n_runs: int) -> None:
    result = dashboard.run(context(tmp_path, n_runs))
    assert result.verdict.reason_id == "DASHBOARD_WRITTEN"
    document = strict(tmp_path / "dashboard.json")
    text = (tmp_path / "dashboard.html").read_text()
    shown = numbers(Page(text).shown)
    assert len(shown) > 50
    assert shown - numbers(strings(document)) == set()
    assert (
        numbers([re.sub(r"\|[-: |]+\|", "", (tmp_path / "dashboard.md").read_text())]) - numbers(strings(document))
        == set()
    )
    assert dashboard.page(document) == text  # so that nothing else is shown


def test_the_page_asks_nothing_of_a_network(tmp_path: Path) -> None:
    dashboard.run(context(tmp_path))
    text = (tmp_path / "dashboard.html").read_text()
    assert not re.search(r"https?:|\bsrc\s*=|url\(|@import|<script|<link|<iframe|<img|<object|<base|\bon\w+=", text)
    assert Page(text).links
    assert all(re.fullmatch("#(pass|fail|inconclusive)", link) for link in Page(text).links)


def hostile(folder: Path) -> Context:
    made = context(folder, 3, bad=(1,))
    made.run = "20261119-031500" + HOSTILE
    made.machine = made.target = HOSTILE
    made.subjects = {HOSTILE: HOSTILE}
    made.history.append(Record("act" + HOSTILE, NOW - 5, act=HOSTILE))
    made.results["scenario"] = StageResult(
        "scenario", failed("SCENARIO_BROKEN", HOSTILE, HOSTILE, told=HOSTILE), {"reasons": {HOSTILE: 3, "PLAN_STEP": 1}}
    )
    made.results["benchmark"] = StageResult(
        "benchmark", inconclusive("BENCH_WATCH", HOSTILE), {"cases": {HOSTILE: {"digest": HOSTILE, HOSTILE: 3.5}}}
    )
    made.results["self_heal"].values["state"] = {"mode": HOSTILE, HOSTILE: {HOSTILE: HOSTILE}}
    made.results["curriculum"].values["provenance"] = [{"source": HOSTILE, "value": HOSTILE}]
    return made


def test_hostile_text_is_inert(tmp_path: Path) -> None:
    plain, bad = tmp_path / "plain", tmp_path / "hostile"
    dashboard.run(context(plain))
    made = hostile(bad)
    made.results["dashboard"] = dashboard.run(made)
    report.run(made)
    text = (bad / "dashboard.html").read_text()
    assert Page(text).parts <= Page((plain / "dashboard.html").read_text()).parts
    assert "alert(1)" in "".join(Page(text).shown)
    strict(bad / "dashboard.json")
    for name in (*dashboard.FILES, *report.FILES):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", (bad / name).read_text()), name
    for name in ("dashboard.md", "report.md"):
        lines = (bad / name).read_text().splitlines()
        assert not re.search(r"(?<!\\)<(?!!-- flyball reliability [^\n]* -->$)", "\n".join(lines[1:])), name
        widths = [len(re.findall(r"(?<!\\)\|", line)) if line.startswith("|") else 0 for line in lines]
        assert all(not a or not b or a == b for a, b in itertools.pairwise(widths)), name


def test_the_first_run_and_no_stage_at_all(tmp_path: Path) -> None:
    for made in (context(tmp_path, 1), Context("r", tmp_path, tmp_path, PROFILES["quick"])):
        dashboard.run(made)
        report.run(made)
        for name in ("dashboard.html", "dashboard.md"):
            assert "first run" in (tmp_path / name).read_text()
        assert "–" not in Page((tmp_path / "dashboard.html").read_text()).shown or made.results
    assert strict(tmp_path / "dashboard.json")["outcome"] == "inconclusive"
    assert "No stage ran" in (tmp_path / "dashboard.html").read_text()
    assert ET.parse(tmp_path / "junit.xml").getroot().get("tests") == "0"


JUNK: list[Any] = [
    None,
    [],
    {},
    "x",
    True,
    math.nan,
    math.inf,
    -math.inf,
    10**400,
    [None],
    {"p50": "x", "ratio": None},
    -1.5,
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk)[:12])
def test_values_may_be_missing_or_wrong(tmp_path: Path, junk: Any) -> None:
    for stage in stages(1):
        made = context(tmp_path, 3)
        for results in (made.results, *(record.stages for record in made.history[1:])):
            results[stage] = StageResult(stage, results[stage].verdict, dict.fromkeys(results[stage].values, junk))
        dashboard.run(made)
        report.run(made)
        document = strict(tmp_path / "dashboard.json")
        text = (tmp_path / "dashboard.html").read_text()
        assert numbers(Page(text).shown) <= numbers(strings(document)), stage
        assert not re.search(r"\b(nan|inf|None)\b", text), stage


def test_objectives_look_at_the_newest_runs(tmp_path: Path) -> None:
    made = context(tmp_path, 60, bad=(20, 40, 57, 58))
    made.history[50].stages["scenario"] = StageResult("scenario", failed("SCENARIO_BROKEN", "it ended early"))
    made.results.pop("startup")
    dashboard.run(made)
    slo = strict(tmp_path / "dashboard.json")["slo"]
    rows = {
        row["stage"]: {key: row[key]["value"] for key in row if isinstance(row[key], dict)} for row in slo["stages"]
    }
    assert slo["n_runs"]["value"] == 30
    assert rows["metrics"] == {
        "passed": 27, "failed": 3, "inconclusive": 0, "share": 0.9, "objective": 0.9, "budget": 3, "left": 0
    }  # fmt: skip
    assert (rows["startup"]["passed"], rows["startup"]["share"]) == (29, 1.0)
    assert (rows["benchmark"]["inconclusive"], rows["benchmark"]["share"]) == (30, None)
    assert (rows["scenario"]["budget"], rows["scenario"]["left"]) == (0, -1)
    assert [row["stage"] for row in slo["stages"] if row["overspent"]] == ["scenario"]
    assert "1 over" in "".join(Page((tmp_path / "dashboard.html").read_text()).shown)


def test_reasons_week_over_week(tmp_path: Path) -> None:
    """Weeks of ISO 8601: the first of January 2027 is in the last week of 2026."""
    made = context(tmp_path, 20)
    made.run = "20270101-120000-000"
    made.history = [
        Record("a", 1798801200 - 7 * DAY, stages={"scenario": made.results["scenario"]}),  # 2026-12-25
        Record("b", 1798801200 - 60 * DAY, stages={"scenario": made.results["scenario"]}),
    ]
    counts = {f"R{n:02}": 10 for n in range(20)} | {"PLAN_STEP": 300}
    made.results["scenario"] = StageResult("scenario", passed("SCENARIO_COMPLETE", ""), {"reasons": counts})
    dashboard.run(made)
    found = strict(tmp_path / "dashboard.json")["reasons"]
    assert [week["week"] for week in found["weeks"]] == ["2026-W52", "2026-W53"]
    assert [week["runs"]["value"] for week in found["weeks"]] == [1, 1]
    changes = [abs(row["change"]["value"]) for row in found["rows"]]
    assert len(changes) == 12
    assert changes == sorted(changes, reverse=True)
    assert found["left_out"]["value"] == 22 - 12
    row = next(row for row in found["rows"] if row["reason_id"] == "PLAN_STEP")
    last = made.history[0].values("scenario")["reasons"]
    change = 100 * (300 / 500 - last["PLAN_STEP"] / sum(last.values()))
    assert row["change"]["value"] == pytest.approx(change)
    assert row["change"]["shown"] == f"{change:+.1f} points"


def test_trends_mark_failing_runs_and_leave_gaps(tmp_path: Path) -> None:
    made = context(tmp_path, 30, bad=(7, 12))
    del made.history[10].stages["metrics"]
    dashboard.run(made)
    text = (tmp_path / "dashboard.html").read_text()
    document = strict(tmp_path / "dashboard.json")
    plots = len(document["trends"])
    assert plots == len(trends.TRENDS)
    assert Page(text).marks.count("#fail") == 2 * plots
    assert document["trends"][0]["points"][10] is None
    assert re.search(r'class="line" d="M[^M"]*M[^M"]*"', text)
    assert "failed: metrics" in text
    lines = " ".join(re.findall(r'class="line" d="([^"]+)"', text))
    for x, y in re.findall(r"[ML](\S+) (\S+)", lines):
        assert 0 <= float(x) <= 400
        assert 0 <= float(y) <= 200


def test_trends_are_of_the_newest_runs_and_limits_are_those_in_force(tmp_path: Path) -> None:
    made = context(tmp_path, 250)
    made.history.append(Record("act", NOW - 1, act="reset", heal={"mode": "active"}))
    dashboard.run(made)
    document = strict(tmp_path / "dashboard.json")
    assert document["n_runs"]["value"] == 250
    assert [document["runs"][i]["number"]["value"] for i in (0, -1)] == [151, 250]
    assert document["heal"]["act"]["act"] == "reset"
    assert document["heal"]["since"]["value"] == 250
    limits = {trend["name"]: trend["limit"] for trend in document["trends"]}
    assert limits["harmful"] == {"value": pytest.approx(55), "shown": "55", "drawn": True}
    assert limits["model_prepare"] == {"value": 12000, "shown": "12,000", "drawn": False}
    assert limits["decode_cost"] is None


@pytest.mark.parametrize(
    ("values", "most"),
    [
        ([1.0], None),
        ([0.0, 0.0], 100),
        ([99.0, 100.0], 100),
        ([1e-9, 2e-9], None),
        ([-5, 1e14], None),
        ([2.3e6, 2.4e6], None),
    ],
)
def test_axes_hold_their_values(values: list[float], most: float | None) -> None:
    ticks = trends._ticks(values, most)
    assert ticks[0]["value"] <= min(values)
    assert ticks[-1]["value"] >= max(values) * (1 - 1e-12)
    assert most is None or ticks[-1]["value"] <= most
    assert 2 <= len(ticks) <= 8
    assert len({tick["shown"] for tick in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.2345, "1.234"), (12, "12"), (123456, "123,456"), (0.05678, "0.0568"), (2_345_678, "2.346 M"), (0, "0"),
     (0.0, "0"), (-3.5, "-3.500"), (3e9, "3.000 G"), (1e-7, "1e-07"), (None, "–")],
)  # fmt: skip
def test_quantities(value: float | None, shown: str) -> None:
    assert report.quantity(value) == shown


# ---------------------------------------------------------------- report


def test_junit_counts(tmp_path: Path) -> None:
    made = context(tmp_path)
    made.results["metrics"] = StageResult(
        "metrics", failed("METRICS_SLOWER", "slow\x1b[0m\x00 & <b>", told=1), {}, 2.25
    )
    result = report.run(made)
    assert result.verdict.outcome is Outcome.PASS
    root = ET.parse(tmp_path / "junit.xml").getroot()
    suite = root.find("testsuite")
    assert suite is not None
    for element in (root, suite):
        assert {key: element.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
            "tests": "8", "failures": "1", "errors": "0", "skipped": "1"
        }  # fmt: skip
    cases = {case.get("name"): case for case in suite.iter("testcase")}
    assert list(cases) == list(made.results)
    assert cases["metrics"].get("time") == "2.250"
    failure, skipped = cases["metrics"].find("failure"), cases["benchmark"].find("skipped")
    assert failure is not None
    assert failure.get("message") == "METRICS_SLOWER"
    assert (failure.text or "").startswith("slow\ufffd[0m\ufffd & <b>")
    assert skipped is not None
    assert skipped.get("message") == "BENCH_WATCH"
    assert len(cases["scenario"]) == 0


@pytest.mark.parametrize(
    ("ratio", "mark"),
    [(1.15, "warn"), (1.149, "ok"), (0.5, "ok"), (1.3, "fail"), (1.2999, "warn"), (None, "no baseline")],
)
def test_marks_of_metrics(tmp_path: Path, ratio: float | None, mark: str) -> None:
    made = context(tmp_path, 1)
    made.results["metrics"].values["drift"] = {"decode": {"run": ratio}} if ratio else {}
    result = report.run(made)
    marks = {line["name"]: line["mark"] for line in result.values["metrics"]}
    assert marks["decode cost"] == mark
    assert (marks["load cost"], marks["first token"]) == ("ok", "")
    assert f"| {mark} |\n" in (tmp_path / "report.md").read_text()
    made.limits = Limits(warn_percent=0.5, fail_percent=1000)
    assert {line["name"]: line["mark"] for line in report.run(made).values["metrics"]}["load cost"] == "warn"


def test_the_log_is_short(tmp_path: Path) -> None:
    made = context(tmp_path)
    for n in range(40):
        made.results[f"stage{n}"] = StageResult(f"stage{n}", failed("RUN_CRASHED", "word " * 90, "look\n" * 50))
    report.run(made)
    lines = (tmp_path / "report.txt").read_text().splitlines()
    assert lines[0].startswith(
        "flyball reliability 20261119-031500-000: FAIL (profile ci, target host, 48 stages in 12.0 s"
    )
    assert len(lines) == 25
    assert max(map(len, lines)) <= 120
    report.run(context(tmp_path))
    assert len((tmp_path / "report.txt").read_text().splitlines()) < 25


def test_the_summary_is_appended_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = tmp_path / "summary.md"
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert report.run(context(tmp_path)).values["summary"] == "not requested"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    summary.write_text("before\n")
    assert report.run(context(tmp_path)).values["summary"] == "appended"
    once = summary.read_text()
    assert once == "before\n\n" + (tmp_path / "report.md").read_text()
    assert report.run(context(tmp_path)).values["summary"] == "already written"
    assert summary.read_text() == once
    other = context(tmp_path)
    other.run = "20261120-031500-000"
    report.run(other)
    assert summary.read_text().count("## Reliability") == 2
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path))
    assert report.run(context(tmp_path)).values["summary"].startswith("not written")
