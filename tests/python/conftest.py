"""What the Python tests share: the bundled model, and small models of every architecture and type."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import flyball
from tests.reference.models import write_model

ModelFile = Callable[..., Path]


@pytest.fixture(scope="session")
def demo() -> Iterator[flyball.Model]:
    """The bundled model."""
    with flyball.Model.load(flyball.demo_model_path()) as model:
        yield model


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    """model_file("qwen3", "Q4_K") writes a small random model once and gives its path."""
    folder = tmp_path_factory.mktemp("models")
    written: dict[tuple[str, str], Path] = {}

    def path_of(variant: str = "llama", wtype: str = "Q8_0") -> Path:
        key = (variant, wtype)
        if key not in written:
            written[key] = write_model(folder / f"{variant}-{wtype}.gguf", variant, wtype).path
        return written[key]

    return path_of


@pytest.fixture(scope="session")
def small(model_file: ModelFile) -> Iterator[flyball.Model]:
    """A random llama model of two layers with a context of 256."""
    with flyball.Model.load(model_file("llama", "Q8_0"), context=256) as model:
        yield model


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from or written to the user's folders."""
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.delenv("FLYBALL_CONFIG", raising=False)
    monkeypatch.delenv("FLYBALL_MODELS", raising=False)
