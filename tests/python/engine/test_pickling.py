"""A model is pickled by its path; what owns a cache or an answer in progress says why it cannot be."""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball

PROMPT = "Once upon a time"


def again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_a_model_loads_again_with_its_settings(model_file: Callable[..., Path]) -> None:
    how: dict[str, Any] = {
        "isa": "scalar",
        "threads": 1,
        "context": 100,
        "cache_type": "q8_0",
        "governor": {"guard.mode": "on", "guard.turn_ms": 5000},
    }
    with flyball.Model.load(model_file("llama", "Q8_0"), **how) as model, again(model) as other:
        assert other is not model
        assert (other.info.isa, other.info.threads) == ("scalar", 1)
        session = other.session()
        assert (session.context, session.cache_type) == (100, "q8_0")
        assert session.governor.settings == model.session().governor.settings
        assert other.generate([1, 2, 3], 8).digest == model.generate([1, 2, 3], 8).digest
    with again(flyball.Model.load(model_file("llama", "Q8_0"), vocab_only=True)) as tokenizer:
        assert tokenizer.info.vocab_only


def test_a_model_as_argument_of_another_process(demo: flyball.Model) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        result = pool.apply(flyball.Model.generate, (demo, PROMPT, 8), {"seed": 3})
    assert result.digest == demo.generate(PROMPT, 8, seed=3).digest
    assert flyball.verify(result.receipt, model=demo)


def test_a_copy_is_the_model_itself(demo: flyball.Model) -> None:
    assert copy.copy(demo) is demo
    assert copy.deepcopy({"model": demo})["model"] is demo


def test_a_relative_path_survives_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(flyball.demo_model_path(), tmp_path / "model.gguf")
    monkeypatch.chdir(tmp_path)
    with flyball.Model.load("model.gguf") as model:
        assert model.info.path == "model.gguf"
        pickled = pickle.dumps(model)
    os.chdir("/")
    pickle.loads(pickled).close()
    (tmp_path / "model.gguf").unlink()
    with pytest.raises(flyball.NotFound, match=r"model\.gguf"):
        pickle.loads(pickled)


def test_a_model_with_a_journal_says_why_not(tmp_path: Path) -> None:
    with flyball.Journal(tmp_path / "journal") as journal:
        with flyball.Model.load(flyball.demo_model_path(), journal=journal) as model:
            with pytest.raises(flyball.InvalidArgument, match="journal"):
                pickle.dumps(model)
            assert copy.copy(model) is model
        with pytest.raises(flyball.InvalidArgument, match="one process writes"):
            pickle.dumps(journal)


@pytest.mark.parametrize("act", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_what_is_in_use_says_why_not(demo: flyball.Model, act: Callable[[Any], Any]) -> None:
    with demo.stream(PROMPT, 4) as stream:
        for value, advice in ((demo.session(), "save"), (stream, "result"), (flyball.Policy(demo), "another")):
            with pytest.raises(flyball.InvalidArgument, match=advice):
                act(value)
    for made, advice in ((demo.chat(), r"Model\.chat\(\)"), (demo.chat_template(), r"Model\.chat_template\(\)")):
        with pytest.raises(flyball.InvalidArgument, match=advice):
            act(made)


def test_info_is_data(demo: flyball.Model) -> None:
    info = demo.info
    other = again(info)
    assert other == info
    assert other.fingerprint == info.fingerprint
    assert info.cache_bytes(100) > 0
    assert other.cache_bytes(100) == info.cache_bytes(100)
    assert copy.deepcopy(info).cache_bytes(100) == info.cache_bytes(100)
    fields = json.loads(json.dumps(dataclasses.asdict(info)))
    assert fields["n_vocab"] == info.n_vocab
    assert not [name for name in fields if name.startswith("_")]
    assert again(other) == info


def test_results_scores_and_pieces_are_data(demo: flyball.Model) -> None:
    result = demo.generate(PROMPT, 6, top_logprobs=2)
    for value in (result, demo.score(PROMPT, 2), result.receipt, flyball.Piece("a", 1, -0.5, result.top_logprobs[0])):
        assert again(value) == value
        assert copy.deepcopy(value) == value
