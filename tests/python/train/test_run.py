"""Runs: the same bytes each time, stopped or not; an adapter that does when served what was trained."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

import flyball
from flyball.errors import FileError, FormatError, InvalidArgument, NonFinite, NotFound, Unsupported
from flyball.learn.folders import opened
from flyball.train import parity
from flyball.train.export import publish, write_adapter
from flyball.train.lora import Lora
from tests.python.conftest import ModelFile
from tests.python.train.conftest import MakeRun, decoder_of, examples, train


def test_an_adapter_does_what_was_trained(make_run: MakeRun, tiny: flyball.Model) -> None:
    run = make_run(steps=12, held_out=[])
    losses: list[float] = []
    assert run.train(lambda step, loss: losses.append(loss), lambda: False)
    trained = run.finish()
    manifest = json.loads((trained.folder / "manifest.json").read_text())
    assert losses[-1] < losses[0] - 1
    assert manifest == trained.manifest
    assert manifest["losses"] == {
        "first": losses[0], "last": losses[-1], "held_out_first": None, "held_out_last": None,
    }  # fmt: skip
    assert manifest["base"]["fingerprint"] == tiny.fingerprint()
    assert manifest["data"]["rows"] == [f"e{i}" for i in range(6)]
    assert manifest["parity"]["adapter"] < 0.3
    adapter = tiny.load_adapter(trained.folder / "adapter.gguf")
    assert adapter.fingerprint == manifest["digest"] == trained.folder.name
    assert (adapter.alpha, adapter.rank, adapter.n_pairs) == (16, 4, 14)
    assert opened(trained.folder).digest == manifest["digest"]
    assert ET.parse(trained.folder / "loss.svg").getroot().tag.endswith("svg")
    assert not list((trained.folder.parent / ".unfinished").iterdir())


@pytest.mark.parametrize("method", ["sft", "dpo", "kto"])
def test_bytes_repeat_stopped_or_not(make_run: MakeRun, tmp_path: Path, method: str) -> None:
    whole = train(make_run(method=method, out=tmp_path / "a"))
    stopped = make_run(method=method, out=tmp_path / "b", low_memory=True)
    assert not stopped.train(lambda step, loss: None, lambda: len(stopped.trainer.losses) == 2)
    again = make_run(method=method, out=tmp_path / "b")
    assert again.resume() == 2
    resumed = train(again)
    assert (whole / "adapter.gguf").read_bytes() == (resumed / "adapter.gguf").read_bytes()
    assert train(make_run(method=method, out=tmp_path / "b", seed=2)).name != whole.name


def test_a_checkpoint_is_the_same_runs_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(NotFound, match="no run with the same model, data, recipe"):
        run.resume()
    run.train(lambda step, loss: None, lambda: len(run.trainer.losses) == 1)
    with pytest.raises(NotFound):
        make_run(rate=0.02).resume()
    with pytest.raises(NotFound):
        make_run(data=examples(5)).resume()
    checkpoint = next((tmp_path / "adapters" / ".unfinished").rglob("checkpoint.pt"))
    for damaged in (b"", b"PK\x03\x04", checkpoint.read_bytes()[:2000]):
        checkpoint.write_bytes(damaged)
        with pytest.raises(FormatError, match="is damaged"):
            make_run().resume()


def test_time_saves_a_checkpoint(make_run: MakeRun, tmp_path: Path) -> None:
    times = iter(range(0, 10_000, 45))
    run = make_run(clock=lambda: float(next(times)))
    found: list[bool] = []
    run.train(lambda step, loss: found.append(any((tmp_path / "adapters").rglob("checkpoint.pt"))), lambda: False)
    assert found == [False, False, True, True]


def test_a_folder_that_is_there_stays(make_run: MakeRun) -> None:
    folder = train(make_run())
    before = (folder / "manifest.json").read_bytes()
    run = make_run()
    run.train(lambda step, loss: None, lambda: False)
    trained = run.finish()
    assert (trained.folder, trained.new) == (folder, False)
    assert (folder / "manifest.json").read_bytes() == before


def test_rows_that_a_method_cannot_use(make_run: MakeRun) -> None:
    bad = flyball.train.examples.Example.of(
        {"id": "bad", "prompt": "the end", "rejected": "or", "kind": "bad"}, "line 9"
    )
    assert make_run(data=[*examples(2), bad]).unused == ["bad"]
    assert make_run(data=[*examples(2), bad], method="kto").unused == []
    with pytest.raises(InvalidArgument, match="has no example with a right answer"):
        make_run(data=[bad])
    with pytest.raises(InvalidArgument, match="is trained on"):
        make_run(held_out=examples(1))


def test_an_infinite_loss_ends_the_run(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr("flyball.train.losses.sft", lambda answers, weights: answers[0].sum() * torch.inf)
    with pytest.raises(NonFinite, match="step 1: has the loss"):
        run.train(lambda step, loss: None, lambda: False)


def test_a_folder_that_cannot_be_written(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = make_run(out=tmp_path / "file")
    run.train(lambda step, loss: None, lambda: False)
    with pytest.raises(FileError, match="cannot be written"):
        run.finish()
    with pytest.raises(FileError, match="cannot be made"):
        publish(Path(tmp_path / "new"), tmp_path / "nowhere" / "digest", {"x": ""})


def test_rows_in_another_order_are_found(model_file: ModelFile, tmp_path: Path) -> None:
    """Where a converter permutes the rows of queries, so must an exporter; here neither does, and a permuted adapter is
    caught by what it does, although it loads."""
    path = model_file("llama", "Q8_0")
    decoder = decoder_of(path)
    lora = Lora(decoder.weights, 4, 16.0, 1)
    with torch.no_grad():
        for name, (_, b) in lora.pairs.items():
            b.uniform_(-0.3, 0.3, generator=torch.Generator().manual_seed(len(name)))
    ids = [(37 * i * i + 11 * i + 5) % 333 for i in range(40)]
    with flyball.Model.load(path, context=64, threads=1) as model:
        write_adapter(tmp_path / "right.gguf", lora, "llama", "right")
        right = model.load_adapter(tmp_path / "right.gguf")
        assert parity.check_adapter(model, decoder, lora, right, ids) < 0.1
        with torch.no_grad():
            b = lora.pairs["blk.0.attn_q.weight"][1]
            permuted = b.view(4, 2, 32, 4).transpose(1, 2).reshape(b.shape).clone()
            kept = b.clone()
            b.copy_(permuted)
            write_adapter(tmp_path / "wrong.gguf", lora, "llama", "wrong")
            b.copy_(kept)
        wrong = model.load_adapter(tmp_path / "wrong.gguf")
        with pytest.raises(Unsupported, match="otherwise than trained"):
            parity.check_adapter(model, decoder, lora, wrong, ids)
