"""Loading a model, what it says about itself, and the errors that a file or an argument gives (contract 5)."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import flyball

PROMPT = "Once upon a time"


def test_isas_are_best_first_and_end_with_the_reference() -> None:
    names = flyball.isas()
    assert names[-1] == "scalar"
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("isa", flyball.isas())
def test_another_instruction_set_is_chosen_among_those_that_take_the_weights_as_loaded(isa: str) -> None:
    with flyball.Model.load(flyball.demo_model_path(), isa=isa, context=64) as model:
        before = model.generate(PROMPT, max_tokens=4).digest
        times = model.autoselect_isa()
        assert isa in times
        assert model.info.isa in times
        assert model.generate(PROMPT, max_tokens=4).digest == before


def test_the_name_of_before_of_an_instruction_set_works_with_a_warning() -> None:
    with pytest.warns(FutureWarning, match="'word64' is now 'swar'"):
        model = flyball.Model.load(flyball.demo_model_path(), isa="word64")
    with model:
        assert model.info.isa == "swar"
        receipt = model.generate(PROMPT, max_tokens=4).receipt
        before = flyball.Receipt(receipt.json.replace('"swar"', '"word64"'))
    assert '"word64"' in before.json
    assert flyball.verify(before, model=flyball.demo_model_path())


def test_version_is_that_of_the_package() -> None:
    import tomllib

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    assert flyball.__version__ == project["project"]["version"]


def test_info_of_the_bundled_model(demo: flyball.Model) -> None:
    info = demo.info
    assert info.architecture == "llama"
    assert info.file_bytes == flyball.demo_model_path().stat().st_size <= 8 << 20
    assert info.isa == flyball.isas()[0]
    assert info.chat_template
    assert len(info.fingerprint) == 64
    assert info.n_parameters > 1_000_000
    with pytest.raises(dataclasses.FrozenInstanceError):
        info.name = "other"  # type: ignore[misc]


def test_fingerprint_is_the_documented_hash(small: flyball.Model) -> None:
    import hashlib

    content = Path(small.info.path).read_bytes()
    chunks = [content[i : i + (1 << 20)] for i in range(0, len(content), 1 << 20)]
    outer = hashlib.sha256(b"".join(hashlib.sha256(chunk).digest() for chunk in chunks))
    assert small.info.fingerprint == outer.hexdigest()


def test_metadata_and_tensors(demo: flyball.Model) -> None:
    metadata = demo.metadata(limit=4)
    assert metadata["general.architecture"] == "llama"
    tokens = metadata["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    assert len(tokens) == 5
    assert tokens[-1] is None
    names = {name for name, _, _, _ in demo.tensors()}
    assert "token_embd.weight" in names
    shapes = {name: shape for name, _, shape, _ in demo.tensors()}
    assert shapes["token_embd.weight"] == (demo.info.n_vocab, demo.info.n_embd)


def test_vocab_only_has_a_tokenizer_and_refuses_the_rest() -> None:
    with flyball.Model.load(flyball.demo_model_path(), vocab_only=True) as model:
        assert model.detokenize(model.tokenize(PROMPT)) == PROMPT
        with pytest.raises(flyball.InvalidArgument, match="vocab_only"):
            model.generate(PROMPT)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"isa": "mmx"}, flyball.Error),
        ({"threads": -1}, flyball.InvalidArgument),
        ({"threads": 2**40}, flyball.InvalidArgument),
        ({"threads": 1.5}, flyball.InvalidArgument),
        ({"context": -1}, flyball.InvalidArgument),
        ({"context": 2**33}, flyball.InvalidArgument),
    ],
)
def test_hostile_load_arguments(arguments: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        flyball.Model.load(flyball.demo_model_path(), **arguments)


def test_unknown_instruction_set_lists_what_there_is() -> None:
    with pytest.raises(flyball.Error, match="scalar"):
        flyball.Model.load(flyball.demo_model_path(), isa="mmx")


def test_unknown_cache_type_is_named() -> None:
    with (
        flyball.Model.load(flyball.demo_model_path(), cache_type="f8") as model,
        pytest.raises(flyball.Error, match="f8"),
    ):
        model.generate(PROMPT, 1)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(flyball.NotFound) as caught:
        flyball.Model.load(tmp_path / "none.gguf")
    assert isinstance(caught.value, FileNotFoundError)
    assert "none.gguf" in str(caught.value)


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"hello, I am no model at all" * 10)
    with pytest.raises(flyball.FormatError):
        flyball.Model.load(tmp_path / "x.gguf")


def test_load_reports_progress() -> None:
    seen: list[tuple[str, int, int]] = []
    with flyball.Model.load(flyball.demo_model_path(), progress=lambda *call: seen.append(call)):
        pass
    assert all(0 <= done <= total for _, done, total in seen)
    assert {phase for phase, _, _ in seen} <= {"load"}
    assert seen


def test_exception_in_progress_stops_the_load_and_is_raised() -> None:
    def refuse(phase: str, done: int, total: int) -> None:
        raise LookupError(phase)

    with pytest.raises(LookupError):
        flyball.Model.load(flyball.demo_model_path(), progress=refuse)


def test_closed_model_says_so(model_file: Callable[..., Path]) -> None:
    model = flyball.Model.load(model_file())
    session = model.session(context=64)
    model.close()
    with pytest.raises(flyball.InvalidArgument, match="closed"):
        model.tokenize("x")
    with pytest.raises(flyball.InvalidArgument, match="closed"):
        model.generate([1, 2], 1)
    assert session.generate([1, 2], 2, ignore_eos=True).tokens  # a session keeps what it needs


def test_owners_outlive_what_python_forgets_first(model_file: Callable[..., Path]) -> None:
    stream = flyball.Model.load(model_file()).session(context=64).stream([1, 2, 3], 4, ignore_eos=True)
    assert len(list(stream)) == 4


def test_errors_are_one_family_and_survive_pickling() -> None:
    error = flyball.FormatError("file", "is torn", 12)
    assert isinstance(error, (flyball.Error, ValueError))
    assert str(error) == "file at byte 12: is torn"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset, again.code) == (str(error), 12, "corrupt")
    for kind in (flyball.NotFound, flyball.FileError, flyball.OutOfMemory):
        assert "where: what" in str(kind("where", "what"))
