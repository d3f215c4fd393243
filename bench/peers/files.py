"""The model files: the bundled one, and random weights in real models' shapes, written if missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import run

SHAPES = {"llama-1b": "llama-bpe", "smollm-135m": "starcoder"}  # each with the vocabulary file of its size
TYPES = ("Q4_0", "Q8_0", "Q4_K_M", "F16")
BUNDLED = "bundled"
_FACTS = """import flyball, json, sys
i = flyball.Model.load(sys.argv[1], vocab_only=True).info
print(json.dumps({"bytes": i.file_bytes, "context": i.context_length, "type": i.quantization,
                  "fingerprint": i.fingerprint}))"""


@dataclass(frozen=True)
class ModelFile:
    """A model file to measure, with its identity."""

    model: str
    type: str
    path: Path
    context: int
    bytes: int
    fingerprint: str


def model_files(
    models: Sequence[str],
    types: Sequence[str],
    folder: Path,
    vocabularies: Callable[[], Path],
    say: Callable[[str], None],
) -> list[ModelFile]:
    """The files of all models in all types. `vocabularies` returns llama.cpp's folder of them, if needed."""
    found = []
    for model in models:
        if model == BUNDLED:
            found.append(_facts(model, None, demo_model()))
        elif model in SHAPES:
            for kind in types:
                path = folder / f"{model}-{kind.lower()}.gguf"
                if not path.exists():
                    say(f"Writing {path.name}")
                    _write(model, kind, path, vocabularies() / f"ggml-vocab-{SHAPES[model]}.gguf")
                found.append(_facts(model, kind, path))
        else:
            found.append(_facts(Path(model).stem, None, Path(model)))
    return found


def demo_model() -> Path:
    """The bundled model, found without importing the package, to keep this process small (see process.run)."""
    return Path(__file__).parents[2] / "python" / "flyball" / "data" / "flyball-demo.gguf"


def _write(shape: str, kind: str, path: Path, vocabulary: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".new")
    run([sys.executable, "-m", "bench.make_model", shape, kind, str(aside), "--vocab", str(vocabulary)])
    aside.rename(path)


def _facts(model: str, kind: str | None, path: Path) -> ModelFile:
    found: dict[str, Any] = json.loads(run([sys.executable, "-c", _FACTS, str(path)]).stdout)
    own = found.pop("type")
    return ModelFile(model=model, type=kind or own, path=path, **found)
