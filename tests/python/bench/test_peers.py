"""Flyball beside other engines: commands, recorded outputs, statistics, resumption and errors, without any peer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from bench import exactness
from bench.peers import build, machine, options, plot, process, report, results, stats
from bench.peers.cases import OURS, TESTS, Case, Lengths
from bench.peers.files import ModelFile, model_files
from bench.peers.process import Failed, Outcome
from bench.peers.programs import Command, Flyball, Peer, Sample
from bench.peers.runner import Runner, Stopped
from flyball.cli import main as flyball_main

RECORDED = Path(__file__).parent / "recorded"
FILE = ModelFile("llama-1b", "Q4_0", Path("llama-1b-q4_0.gguf"), 131072, 770924128, "0" * 64)
SHORT = Lengths(prompt=64, gen=8, depth=96, depth_gen=4, sequences=8, batch_prompt=32, batch_gen=8)


def case(test: str, threads: int = 2, file: ModelFile = FILE, lengths: Lengths = SHORT) -> Case:
    return Case(file, "auto", threads, TESTS[test], lengths.within(file.context))


def outcome(name: str) -> Outcome:
    return Outcome((RECORDED / name).read_text(), seconds=2.0, rss_mb=900.0, foreign=0.01)


def peer(folder: Path, help_text: str, batched: bool = True) -> Peer:
    """A llama-bench that only answers --help."""
    for name in ("llama-bench", "llama-batched-bench")[: 1 + batched]:
        program = folder / name
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{help_text}\nEND\n")
        program.chmod(0o755)
    return Peer("peer", folder / "llama-bench", FILE.path)


# ---------------------------------------------------------------- commands and outputs


@pytest.mark.parametrize(
    ("test", "name", "value"),
    [
        ("prompt", "ik-prompt.json", 167.5484),
        ("decode", "ik-decode.json", 19.7142),
        ("decode", "llama-decode.json", 17.6729),
    ],
)
def test_llama_bench_output(test: str, name: str, value: float) -> None:
    sample = Peer("peer", Path("llama-bench"), FILE.path).read(case(test), outcome(name))
    assert sample == {"value": value, "seconds": 2.0, "rss_mb": 900.0, "foreign": 0.01}


def test_batched_output_has_one_and_all_sequences() -> None:
    sample = Peer("peer", Path("llama-bench"), FILE.path).read(case("batch"), outcome("llama-batched.jsonl"))
    assert (sample["value"], sample["one"]) == (11.2995, 1.4045)


def test_time_and_memory_come_from_the_process() -> None:
    some = Peer("peer", Path("llama-bench"), FILE.path)
    assert some.read(case("load"), Outcome("", 0.5, 900.0, 0.0))["value"] == 500.0
    assert some.read(case("memory"), Outcome("", 0.5, 900.0, 0.0))["value"] == 900.0


@pytest.mark.parametrize(
    "text", ["", "[]", "error: no such file", "[1]", '[{"n_threads": 2}]', '[{"n_threads": 2, "avg_ts": 0}]']
)
def test_output_without_a_figure_is_refused(text: str) -> None:
    with pytest.raises(Failed):
        Peer("peer", Path("llama-bench"), FILE.path).read(case("decode"), Outcome(text, 1.0, 1.0, 0.0))


def test_other_threads_than_asked_for_are_refused() -> None:
    with pytest.raises(Failed, match="1 threads"):
        Peer("peer", Path("llama-bench"), FILE.path).read(case("decode", threads=1), outcome("ik-decode.json"))


def test_commands_follow_what_a_peer_can(tmp_path: Path) -> None:
    newer, older = tmp_path / "newer", tmp_path / "older"
    newer.mkdir()
    older.mkdir()
    first = peer(newer, "-d, --n-depth <n>  --no-warmup")
    second = peer(older, "-gp <pp,tg>  -w, --warmup <0|1>  -rtr, --run-time-repack <0|1>", batched=False)
    assert [way.label for way in first.commands(case("decode"))] == ["-fa 0", "-fa 1"]
    assert [way.label for way in second.commands(case("decode"))] == [f"-fa {a} -rtr {r}" for a in "01" for r in "01"]
    assert "-p 0 -n 8 -d 64 -r 1 -o json" in " ".join(first.commands(case("decode"))[0].argv)
    assert "-p 0 -n 0 -gp 96,4" in " ".join(second.commands(case("depth"))[0].argv)
    assert "-p 0 -n 1 --no-warmup" in " ".join(first.commands(case("load"))[0].argv)
    assert "-p 0 -n 1 -w 0" in " ".join(second.commands(case("load"))[0].argv)
    assert "-npp 32 -ntg 8 -npl 1,8 -c 2048" in " ".join(first.commands(case("batch"))[0].argv)
    with pytest.raises(Failed, match="no llama-batched-bench"):
        second.commands(case("batch"))
    with pytest.raises(Failed, match="cannot decode after a prompt"):
        peer(newer, "-p <n> -n <n>").commands(case("depth"))


@pytest.mark.parametrize("test", [name for name in TESTS if name != "load"])
def test_flyball_prints_what_is_read(
    test: str, capsys: pytest.CaptureFixture[str], model_file: Callable[..., Path]
) -> None:
    some = case(test, file=replace(FILE, path=model_file(), context=256))
    [way] = Flyball(Path("flyball")).commands(some)
    assert flyball_main(way.argv[1:]) == 0
    sample = Flyball(Path("flyball")).read(some, Outcome(capsys.readouterr().out, 1.0, 50.0, 0.0))
    assert sample["value"] > 0
    assert ("one" in sample) == (test == "batch")


def test_program_that_is_no_llama_bench_is_named() -> None:
    with pytest.raises(Failed, match="ik is not a llama-bench that runs here"):
        Peer("ik", Path("/bin/true"), FILE.path).version()


def test_short_context_shortens_the_prompt_only() -> None:
    small = replace(FILE, context=512)
    assert case("decode", file=small, lengths=Lengths()).steps == (384, 128)
    assert not case("depth", file=small, lengths=Lengths()).fits


# ---------------------------------------------------------------- processes and statistics


def test_process_is_measured() -> None:
    done = process.run([sys.executable, "-c", "b = bytearray(50_000_000); print(len(b))"])
    assert done.stdout == "50000000\n"
    assert done.rss_mb > 50
    assert done.seconds > 0
    assert 0 <= done.foreign <= 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; sys.exit('no memory for 3 bytes')", "exit code 1: no memory for 3 bytes"),
        ("import os; os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("import time; time.sleep(60)", "timed out"),
    ],
)
def test_process_that_fails_says_why(code: str, message: str) -> None:
    with pytest.raises(Failed, match=message):
        process.run([sys.executable, "-c", code], timeout=2)


def test_program_that_is_not_there() -> None:
    with pytest.raises(Failed, match="cannot be started: No such file"):
        process.run(["/nowhere/llama-bench"])


def test_ratio_is_of_medians_and_its_spread_of_pairs() -> None:
    found = stats.ratio([(20.0, 10.0), (30.0, 10.0), (10.0, 10.0), (40.0, 16.0), (22.0, 11.0)])
    assert found == stats.Spread(median=2.2, low=1.0, high=3.0)
    assert stats.spread([3.0, 1.0, 2.0]) == stats.Spread(2.0, 1.0, 3.0)


# ---------------------------------------------------------------- the run


class Fake:
    """A program whose every figure is known; `fail` names runs that crash."""

    def __init__(self, name: str, speed: dict[str, float], fail: Sequence[int] = ()) -> None:
        self.name, self.speed, self.fail, self.runs = name, speed, fail, 0

    def version(self) -> str:
        return "1"

    def commands(self, case: Case) -> list[Command]:
        return [Command(label, (self.name, label)) for label in self.speed]

    def read(self, case: Case, outcome: Outcome) -> Sample:
        self.runs += 1
        if self.runs in self.fail:
            raise Failed("it crashed")
        return {"value": self.speed[outcome.stdout], "foreign": outcome.foreign}


ABOUT: dict[str, Any] = {
    "date": "2026-01-01",
    "machine": {
        "processor": "P", "cores": 2, "memory_gb": 8, "features": ["avx2"], "kernel": "6", "hypervisor": False,
    },
    "programs": {"flyball": "1", "peer": "2"},
    "lengths": asdict(SHORT),
    "bandwidth_gb_s": {"1": 15.0},
}  # fmt: skip


def make_runner(
    out: Path, ours: Fake, theirs: Fake, stop_after: int = 10**9, pairs: int = 3
) -> tuple[Runner, list[str]]:
    order: list[str] = []

    def execute(argv: Sequence[str]) -> Outcome:
        if len(order) == stop_after:
            raise KeyboardInterrupt
        order.append(argv[0])
        return Outcome(argv[1], 1.0, 1.0, 0.0)

    store = results.Results(out, ABOUT)
    return Runner({"auto": [ours, theirs]}, store, pairs, execute, lambda _: None, calibrate=lambda: 1.0), order


def test_better_setting_is_found_then_rounds_alternate(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    runner, order = make_runner(out, Fake(OURS, {"": 20.0}), Fake("peer", {"-fa 0": 8.0, "-fa 1": 10.0}))
    runner.run([case("decode")])
    entry = results.read(out)["cases"][case("decode").key]
    assert entry["tried"]["peer"] == {"-fa 0": 8.0, "-fa 1": 10.0}
    assert entry["chosen"] == {OURS: "", "peer": "-fa 1"}
    assert order == [OURS, "peer", "peer", OURS, "peer", "peer", OURS, OURS, "peer"]
    assert report.against(entry, "peer") == stats.Spread(2.0, 2.0, 2.0)
    lower, _ = make_runner(tmp_path / "lower.json", Fake(OURS, {"": 20.0}), Fake("peer", {"-fa 0": 8.0, "-fa 1": 10.0}))
    lower.run([case("load")])
    assert lower.results.document["cases"][case("load").key]["chosen"]["peer"] == "-fa 0"


@pytest.mark.parametrize("stop_after", range(9))
def test_interrupted_run_continues(tmp_path: Path, stop_after: int) -> None:
    out = tmp_path / "results.json"
    programs = Fake(OURS, {"": 20.0}), Fake("peer", {"-fa 0": 8.0, "-fa 1": 10.0})
    first, before = make_runner(out, *programs, stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        first.run([case("decode")])
    second, after = make_runner(out, *programs)
    second.run([case("decode")])
    assert len(before) + len(after) == 9  # nothing is measured twice
    assert [sorted(r) for r in results.read(out)["cases"][case("decode").key]["rounds"]] == [
        ["calibration_ms", OURS, "peer"]
    ] * 3


def test_time_limit_stops_before_a_measurement(tmp_path: Path) -> None:
    runner, order = make_runner(tmp_path / "results.json", Fake(OURS, {"": 20.0}), Fake("peer", {"": 10.0}))
    runner.stop_at = 0.0
    with pytest.raises(Stopped):
        runner.run([case("decode")])
    assert order == []


def test_peer_that_crashes_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    runner, _ = make_runner(tmp_path / "results.json", Fake(OURS, {"": 20.0}), Fake("peer", {"": 10.0}, fail=[3]))
    runner.run([case("decode"), case("depth", file=replace(FILE, context=96))])
    document = runner.results.document
    entry = document["cases"][case("decode").key]
    assert entry["missing"] == {"peer": "in round 2: it crashed"}
    assert sum(OURS in done for done in entry["rounds"]) == 3
    shown = report.markdown(document)
    assert "- Decode of 8 tokens after 64, llama-1b: peer: in round 2: it crashed" in shown
    assert "- Decode of 4 tokens after 96, llama-1b: flyball, peer: the model has 96 positions" in shown


@pytest.mark.parametrize("change", [{"programs": {"flyball": "2"}}, {"lengths": {"gen": 9}}, {"machine": {"cores": 4}}])
def test_results_of_something_else_are_not_continued(tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "results.json"
    results.Results(out, ABOUT).save()
    with pytest.raises(results.BadResults, match="give another --out"):
        results.Results(out, ABOUT | change)


def test_another_program_may_join(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    results.Results(out, ABOUT).save()
    joined = results.Results(out, ABOUT | {"programs": {"newcomer": "1"}})
    assert joined.document["programs"] == {**ABOUT["programs"], "newcomer": "1"}


@pytest.mark.parametrize("text", ["", "[]", '{"schema_version": 99}'])
def test_unreadable_results_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(results.BadResults):
        results.read(tmp_path / "results.json")


def test_other_file_of_the_same_name_is_refused(tmp_path: Path) -> None:
    store = results.Results(tmp_path / "results.json", ABOUT)
    store.file("llama-1b Q4_0", {"fingerprint": "a"})
    store.file("llama-1b Q4_0", {"fingerprint": "a"})
    with pytest.raises(results.BadResults, match="fingerprint"):
        store.file("llama-1b Q4_0", {"fingerprint": "b"})


# ---------------------------------------------------------------- the report


def test_report_says_where_flyball_is_behind_and_what_was_disturbed(tmp_path: Path) -> None:
    runner, _ = make_runner(tmp_path / "results.json", Fake(OURS, {"": 20.0}), Fake("peer", {"-fa 1": 10.0}))
    runner.run([case("decode"), case("load")])
    runner.results.document["cases"][case("load").key]["rounds"][0][OURS]["foreign"] = 0.2
    shown = report.markdown(runner.results.document)
    assert "| Decode of 8 tokens after 64, tok/s | Q4_0, 2 threads | 20.0 | 10.0 | **2.00** (2.00 to 2.00) |" in shown
    assert "Where Flyball is behind: 1 of 2 comparisons" in shown
    assert "- Whole process for one token, llama-1b Q4_0, 2 threads, best instruction set: 2.00 (2.00 to 2.00)" in shown
    assert "- peer, Decode of 8 tokens after 64: `-fa 1` (1)" in shown
    assert report.disturbed(runner.results.document) == (1, 6)


def test_cores_have_the_names_that_their_makers_give() -> None:
    assert machine.core("AuthenticAMD", "23", "1") == "Zen 1"
    assert machine.core("AuthenticAMD", "25", "1") == "Zen 3"
    assert machine.core("AuthenticAMD", "25", "17") == "Zen 4"
    assert machine.core("GenuineIntel", "6", "143") == "Sapphire Rapids"
    assert machine.core("GenuineIntel", "6", "9999") == machine.core("", "", "") == machine.core("X", "a", "1") == ""


def test_machines_stand_side_by_side(tmp_path: Path) -> None:
    documents = []
    for name in ("Zen 1", "Zen 5"):
        runner, _ = make_runner(tmp_path / f"{name}.json", Fake(OURS, {"": 20.0}), Fake("peer", {"": 10.0}))
        runner.run([case("decode"), case("load")])
        documents.append(runner.results.document | {"machine": ABOUT["machine"] | {"core": name}})
    assert [report.machine_name(each) for each in (*documents, ABOUT)] == ["Zen 1", "Zen 5", "P"]
    assert "### On Zen 5\n" in report.markdown(documents[1])
    labels = [label for label, _, _ in plot.series_of(documents)]
    assert labels == ["than peer on Zen 1", "than peer on Zen 5"]
    assert [label for label, _, _ in plot.series_of(documents[:1])] == ["than peer"]


def test_report_replaces_what_is_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.MARKS[0]}\nold\n{report.MARKS[1]}\n\nafter\n")
    for _ in range(2):
        report.rewrite(page, "new")
    assert page.read_text() == f"before\n\n{report.MARKS[0]}\n\nnew\n\n{report.MARKS[1]}\n\nafter\n"
    page.write_text("no markers")
    with pytest.raises(report.NoPlace):
        report.rewrite(page, "new")


# ---------------------------------------------------------------- wrong use


@pytest.mark.parametrize(
    "words",
    [
        ["--types", "Q9"],
        ["--tests", "prompt,everything"],
        ["--isa", "neon"],
        ["--threads", "0"],
        ["--threads", "x"],
        ["--pairs", "0"],
        ["--peer", "/bin/ls"],
        ["--peer", "ik=/nowhere/llama-bench"],
        ["--peer", "ik@neon=/bin/ls"],
    ],
)
def test_wrong_words_are_refused(words: list[str]) -> None:
    with pytest.raises(options.WrongUse):
        options.choose(options.parse(words))


def test_quick_is_small_and_words_overrule() -> None:
    quick = options.choose(
        options.parse(["--quick", "--isa", "avx2", "--peer", "ik@avx2=/bin/ls", "--peer", "x=/bin/ls"])
    )
    assert (quick.models, quick.types, quick.pairs) == (["bundled", "llama-1b"], ["Q4_K_M"], 3)
    assert quick.peers == {"avx2": {"ik": Path("/bin/ls")}}
    assert options.choose(options.parse(["--quick", "--pairs", "7", "--types", "F16"])).pairs == 7


def test_no_compiler_and_no_file_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildFailed, match="apt-get install clang-19"):
        build.llama_bench(tmp_path, "auto", lambda _: None)
    monkeypatch.setattr(build, "_PIP", ["false"])
    with pytest.raises(build.BuildFailed, match="network"):
        build.source(tmp_path, lambda _: None)
    with pytest.raises(Failed, match=r"nothing\.gguf"):
        model_files([str(tmp_path / "nothing.gguf")], [], tmp_path, lambda: tmp_path, lambda _: None)


def test_recorded_results_are_readable() -> None:
    for path in (Path(__file__).parents[3] / "bench" / "results").glob("*.json"):
        assert "Flyball" in report.markdown(json.loads(json.dumps(results.read(path))))


def test_the_page_shows_the_recorded_costs_of_exactness() -> None:
    root = Path(__file__).parents[3]
    page = (root / "docs" / "performance.md").read_text()
    shown = page.partition(exactness.MARKS[0])[2].partition(exactness.MARKS[1])[0]
    newest = max((root / "bench" / "results" / "exactness").glob("*.json"))
    rows = json.loads(newest.read_text())["rows"]
    assert [line for line in shown.splitlines() if " % (" in line] == [exactness.line(row) for row in rows]
