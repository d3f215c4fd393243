"""The model files: the bundled one, and random weights in real models' shapes, written if missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .process import run

TYPES = ("Q4_0", "Q8_0", "Q4_K_M", "F16", "Q5_K_M", "Q6_K", "MXFP4")


@dataclass(frozen=True)
class ShapeFile:
    """How a shape of bench/shapes.py is measured: its architecture, a vocabulary file of its size, and its types."""

    architecture: str
    vocabulary: str
    types: tuple[str, ...] = TYPES[:4]


SHAPES = {
    "llama-1b": ShapeFile("llama", "llama-bpe", TYPES[:6]),
    "smollm-135m": ShapeFile("llama", "starcoder"),
    "qwen3-a3b-8b": ShapeFile("qwen3moe", "qwen2", ("Q4_K_M",)),
    "qwen35-4b": ShapeFile("qwen35", "qwen35", ("Q4_K_M",)),
    "gpt-oss-10b": ShapeFile("gpt-oss", "gpt-2", ("MXFP4",)),
    "gemma4-e4b": ShapeFile("gemma4", "gemma-4", ("Q4_K_M",)),
}
BUNDLED = "bundled"
_REGISTRIES = """from flyball import _core
import json
print(json.dumps([_core.supported_architectures(), _core.supported_types()]))"""
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
            for kind in [kind for kind in types if kind in SHAPES[model].types]:
                path = folder / f"{model}-{kind.lower()}.gguf"
                if not path.exists():
                    say(f"Writing {path.name}")
                    _write(model, kind, path, vocabularies() / f"ggml-vocab-{SHAPES[model].vocabulary}.gguf")
                found.append(_facts(model, kind, path))
        else:
            found.append(_facts(Path(model).stem, None, Path(model)))
    return found


def runnable_shapes() -> list[str]:
    """The shapes whose architecture and types the installed Flyball runs."""
    architectures, types = json.loads(run([sys.executable, "-c", _REGISTRIES]).stdout)
    return [
        name
        for name, shape in SHAPES.items()
        if shape.architecture in architectures and ("MXFP4" not in shape.types or "MXFP4" in types)
    ]


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
