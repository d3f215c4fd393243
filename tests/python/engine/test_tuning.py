"""Free knobs: threads are measured, remembered, and change no answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import flyball
from flyball import journal
from flyball.cli import main

PROCESSORS = len(os.sched_getaffinity(0))


def test_threads_are_chosen_remembered_and_change_nothing(tmp_path: Path) -> None:
    memory = tmp_path / "tuned.txt"
    with flyball.Model.load(flyball.demo_model_path()) as model:
        before = model.generate("Once", 20).digest
        tuned = model.tune(cache_file=memory)
        assert 1 <= tuned.threads <= PROCESSORS
        assert 1 <= tuned.decode_threads <= PROCESSORS
        assert not tuned.cached
        assert tuned.seconds > 0
        assert (model.info.threads, model.info.decode_threads) == (tuned.threads, tuned.decode_threads)
        assert model.generate("Once", 20).digest == before
        again = model.tune(cache_file=memory)
        assert again.cached
        assert (again.threads, again.decode_threads) == (tuned.threads, tuned.decode_threads)
        quiet = model.tune("quiet")
        assert quiet.threads <= PROCESSORS


def test_a_profile_that_is_not_there_is_refused() -> None:
    with (
        flyball.Model.load(flyball.demo_model_path()) as model,
        pytest.raises(flyball.InvalidArgument, match="latency"),
    ):
        model.tune("fast")
    with (
        flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model,
        pytest.raises(flyball.InvalidArgument),
    ):
        model.tune()


def test_a_memory_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    with flyball.Model.load(flyball.demo_model_path()) as model:
        assert model.tune(cache_file=tmp_path / "no" / "folder" / "tuned.txt").threads >= 1


def test_the_commands_tune_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j"
    for _ in range(2):
        assert main(["run", "-p", "a", "-n", "2", "-q", "--no-receipt", "--journal", str(path)]) == 0
    assert main(["run", "-p", "a", "-n", "2", "-q", "--no-receipt", "--journal", str(path), "--set", "tune=off"]) == 0
    told = [event.reason_id for event in journal.read(path) if event.event == "tune"]
    assert told == ["MODEL_TUNED", "MODEL_TUNING_CACHED"]
    assert (tmp_path / "cache" / "flyball" / "tuned.txt").read_text().count("\n") == 1
