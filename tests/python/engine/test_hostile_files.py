"""Damaged and lying model files through the whole loader: each gives flyball.Error or works, and nothing else.

The files are made from small valid models by fixed random numbers. They are loaded in a process of their own, which
says what it is about to do, so that a crash or a hang names its file: run this file with its arguments to repeat it.
"""

from __future__ import annotations

import json
import random
import resource
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import flyball

FILES_PER_MODEL = 500
SECONDS_PER_MODEL = 240
MEMORY_BYTES = 4 << 30  # of the whole process, address space: a giant allocation fails instead of swapping

# Small enough for thousands of loads, yet with every part that the loader looks at.
SMALL = {"n_embd": 256, "n_ff": 256, "n_layer": 1, "n_head": 2, "n_head_kv": 1, "head_dim": 128}
SLIDING = {"sliding": True, "n_head": 2, "n_head_kv": 1, "head_dim": 32, "n_ff": 64, "n_expert_used": 2}
FULL = SLIDING | {"sliding": False, "head_dim": 64}
NARROW = {"n_embd": 64, "n_ff": 32, "n_layer": 1, "n_head": 2, "n_head_kv": 1, "head_dim": 32}
EXPERTS = {"n_expert": 3, "n_expert_used": 2}
DELTA = NARROW | {"n_layer": 2, "delta_period": 2, "delta_dim": 32, "delta_keys": 1, "delta_heads": 2}
MAMBA = NARROW | {"mamba_inner": 64, "delta_dim": 16, "delta_keys": 2, "delta_heads": 4}
LATENT = {"head_dim": 64, "kv_rank": 32, "n_ff": 32, "n_ff_dense": 32, "n_leading_dense": 0, "expert_groups": None}


def mixers(*each: tuple[int, int]) -> tuple[dict[str, int], ...]:
    """Layers by their key/value heads, without which they are recurrent, and the width of their feed-forward."""
    return tuple({"n_head": 2, "n_head_kv": n, "n_ff": n_ff, "n_expert_used": 2} for n, n_ff in each)


MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "Q8_0", SMALL),
    "llama3": ("llama3", "Q4_K", SMALL),
    "qwen3": ("qwen3", "Q4_0", SMALL),
    "qwen3moe": ("qwen3moe-scaled", "Q8_0", SMALL | {"n_ff": 32, "n_expert": 3}),
    "gpt-oss": ("gpt-oss", "Q8_0", SMALL | {"n_ff": 32, "n_expert": 3, "n_expert_used": 2}),
    "glm4moe": (
        "glm4moe",
        "Q4_0",
        SMALL | {"n_layer": 2, "n_ff": 32, "n_expert": 4, "expert_groups": (2, 1), "n_expert_used": 2, "n_draft": 1},
    ),
    "deepseek2": ("deepseek2", "Q8_0", SMALL | LATENT),
    "deepseek2-unsplit": ("deepseek2-unsplit", "Q5_0", SMALL | LATENT),
    "granite": ("granite", "Q5_0", SMALL),
    "granitemoe": ("granitemoe", "Q4_1", SMALL | {"n_ff": 32, "n_expert": 3, "n_expert_used": 2}),
    "olmo3": ("olmo3", "Q3_K", SMALL),
    "exaone4": ("exaone4", "Q2_K", SMALL),
    "cohere2": ("cohere2", "Q6_K", SMALL),
    "hunyuan-dense": ("hunyuan-dense", "Q5_1", SMALL),
    "hunyuan-moe": ("hunyuan-moe", "F32", SMALL | {"n_ff": 32, "n_ff_shared": 32, "n_expert": 3, "n_expert_used": 2}),
    "llama4": (
        "llama4",
        "Q4_0",
        SMALL | {"n_layer": 2, "n_ff": 32, "n_ff_dense": 32, "n_ff_shared": 32, "n_expert": 3},
    ),
    "ernie4_5-moe": (
        "ernie4_5-moe",
        "Q5_1",
        SMALL
        | {"n_ff": 32, "n_ff_dense": 32, "n_leading_dense": 0, "n_ff_shared": 32, "n_expert": 3, "n_expert_used": 2},
    ),
    "laguna": (
        "laguna-full",
        "Q8_0",
        SMALL | {"n_ff": 32, "n_ff_dense": 32, "n_leading_dense": 0, "sliding_window": 48},
    ),
    "mistral3": ("mistral3", "Q8_0", SMALL),
    "gemma3": ("gemma3", "F16", SMALL | {"rope_base_swa": 10000.0}),
    "gemma3n": (
        "gemma3n",
        "Q8_0",
        {"n_embd": 32, "n_embd_per_layer": 32, "n_layer": 21, "n_ff": 32, "n_head": 2, "n_head_kv": 1, "head_dim": 32},
    ),
    "gemma4": (
        "gemma4-shared",
        "Q8_0",
        {"n_embd": 64, "n_embd_per_layer": 32, "n_layer": 4, "layers": (SLIDING, FULL) * 2},
    ),
    "gemma4-moe": (
        "gemma4-moe",
        "Q4_0",
        {"n_embd": 64, "n_layer": 2, "layers": (SLIDING, FULL), "n_ff_beside": 64, "n_expert": 3, "n_expert_used": 2},
    ),
    "phi3": ("phi3", "Q6_K", SMALL | {"rope_original": 256, "rope_dims": 128}),
    "mistral": ("mistral", "IQ4_NL", SMALL),
    "qwen2": ("qwen2", "Q5_0", NARROW),
    "qwen2vl": ("qwen2vl", "Q4_1", NARROW),
    "gemma2": ("gemma2", "BF16", NARROW | {"n_layer": 2}),
    "smollm3": ("smollm3", "Q5_1", NARROW | {"n_layer": 4}),
    "seed_oss": ("seed_oss", "F16", NARROW),
    "ernie4_5": ("ernie4_5", "Q4_0", NARROW),
    "minimax-m2": ("minimax-m2", "Q8_0", NARROW | EXPERTS),
    "phimoe": ("phimoe", "Q4_0", NARROW | EXPERTS | {"rope_dims": 32}),
    "afmoe": ("afmoe", "Q8_0", NARROW | EXPERTS | {"n_layer": 4, "n_ff_dense": 64}),
    "muse-glimmer": ("muse-glimmer", "Q8_0", NARROW | {"n_layer": 4}),
    "qwen35": ("qwen35", "Q8_0", DELTA),
    "qwen35moe": ("qwen35moe", "Q4_0", DELTA | EXPERTS | {"n_ff_shared": 32}),
    "qwen3next": ("qwen3next", "Q8_0", DELTA | EXPERTS | {"n_ff_shared": 32, "delta_keys": 2, "delta_heads": 4}),
    "lfm2": ("lfm2", "Q8_0", NARROW | {"n_layer": 2, "layers": mixers((0, 32), (1, 32))}),
    "lfm2moe": (
        "lfm2moe",
        "Q4_0",
        NARROW | EXPERTS | {"n_layer": 3, "n_ff_dense": 64, "layers": mixers((0, 32), (1, 32), (0, 32))},
    ),
    "granitehybrid": ("granitehybrid", "Q8_0", MAMBA | {"n_layer": 2, "layers": mixers((0, 32), (1, 32))}),
    "nemotron_h": ("nemotron_h", "Q8_0", MAMBA | {"n_layer": 3, "layers": mixers((0, 0), (0, 32), (1, 0))}),
    "nemotron_h_moe": (
        "nemotron_h_moe",
        "Q4_0",
        MAMBA | EXPERTS | {"n_layer": 3, "n_ff_shared": 32, "layers": mixers((0, 0), (0, 32), (1, 0))},
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_mutated_models_are_refused_or_work(name: str, tmp_path: Path) -> None:
    from tests.reference.models import write_model  # not in the loading process

    variant, kind, overrides = MODELS[name]
    model = tmp_path / "model.gguf"
    write_model(model, variant, kind, **overrides)
    seed = sum(name.encode())
    command = [sys.executable, __file__, str(model), str(seed), "0", str(FILES_PER_MODEL)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_PER_MODEL, check=False)
    last = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "nothing"
    assert run.returncode == 0, f"exit status {run.returncode} after: {last}\n{run.stdout[-2000:]}"
    figures = json.loads(run.stdout)
    assert figures["files"] == FILES_PER_MODEL
    assert figures["broken"] == []
    assert figures["refused"] > FILES_PER_MODEL // 4, figures


@pytest.mark.parametrize("variant", ["llama", "qwen3moe"])
def test_mutated_adapters_are_refused_or_work(variant: str, tmp_path: Path) -> None:
    from tests.reference import gguf_file as gf
    from tests.reference.adapters import write_adapter
    from tests.reference.models import write_model

    _, kind, overrides = MODELS[variant]
    base = tmp_path / "base.gguf"
    write_model(base, variant, kind, **overrides)
    arrays = {"general.tags": gf.strings(["one", "two"]), "general.numbers": gf.u32s([1, 2, 3])}
    adapter = write_adapter(tmp_path / "adapter.gguf", variant, "F16", rank=4, keys=arrays, **overrides)
    command = [sys.executable, __file__, str(adapter), "7", "0", str(FILES_PER_MODEL), str(base)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_PER_MODEL, check=False)
    last = run.stderr.strip().splitlines()[-1] if run.stderr.strip() else "nothing"
    assert run.returncode == 0, f"exit status {run.returncode} after: {last}\n{run.stdout[-2000:]}"
    figures = json.loads(run.stdout)
    assert figures["files"] == FILES_PER_MODEL
    assert figures["broken"] == []
    assert figures["refused"] > FILES_PER_MODEL // 4, figures


# --- the process that loads ---

WIDTH = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
NUMBERS = (0, 1, 2, 3, 7, 31, 32, 33, 255, 256, 257, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)
FLOATS = (0.0, -0.0, -1.0, 1e-45, 1e30, 3e38, float("inf"), float("-inf"), float("nan"))
LONG_NUMBERS = (0, 1, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 32, (1 << 64) - 1)
WORDS = ("llama", "qwen2", "gemma2", "phi3", "gpt2", "bert", "default", "", "\0", "a" * 64, "linear", "yarn", "none")


@dataclass
class Fields:
    """Where the fields of a valid file lie."""

    keys: dict[str, tuple[int, int, int]] = field(
        default_factory=dict
    )  # name -> place of the type, type, place of value
    key_names: list[tuple[int, int]] = field(default_factory=list)
    strings: list[tuple[int, int]] = field(default_factory=list)  # place of the length, length
    arrays: list[tuple[int, int, int]] = field(default_factory=list)  # place of the element type, it, count
    tensors: list[tuple[int, int, int]] = field(
        default_factory=list
    )  # place of the name, of the dimensions, their number
    header_end: int = 0


def find_fields(data: bytes) -> Fields:
    fields = Fields()
    n_tensors, n_keys = struct.unpack_from("<QQ", data, 8)
    at = 24

    def skip_string() -> tuple[int, int]:
        nonlocal at
        place, size = at, struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return place, size

    for _ in range(n_keys):
        place, size = skip_string()
        fields.key_names.append((place, size))
        name = data[place + 8 : place + 8 + size].decode()
        kind = struct.unpack_from("<I", data, at)[0]
        fields.keys[name] = (at, kind, at + 4)
        at += 4
        if kind == 8:
            fields.strings.append(skip_string())
        elif kind == 9:
            element, count = struct.unpack_from("<IQ", data, at)
            fields.arrays.append((at, element, count))
            at += 12
            for _ in range(count if element == 8 else 0):
                fields.strings.append(skip_string())
            at += count * WIDTH.get(element, 0)
        else:
            at += WIDTH[kind]
    for _ in range(n_tensors):
        place, _ = skip_string()
        n_dims = struct.unpack_from("<I", data, at)[0]
        fields.tensors.append((place, at + 4, n_dims))
        at += 4 + 8 * n_dims + 12
    fields.header_end = at
    return fields


class Mutator:
    def __init__(self, data: bytes, seed: str) -> None:
        self.original = data
        self.fields = find_fields(data)
        self.random = random.Random(seed)

    def mutate(self) -> tuple[str, bytes]:
        kinds: list[Callable[[bytearray], str]] = [
            self.value, self.value, self.value, self.key_name, self.string, self.string_length, self.array, self.shape,
            self.tensor_type, self.tensor_name, self.offset, self.flip_header, self.flip_anywhere, self.truncate,
            self.array_content, self.array_content, self.count,
        ]  # fmt: skip
        data = bytearray(self.original)
        chosen = self.random.choices(kinds, k=self.random.choice((1, 1, 1, 2, 4)))
        chosen.sort(key=lambda kind: kind == self.truncate)  # the others count on a whole file
        done = [kind(data) for kind in chosen if data]
        return "; ".join(done), bytes(data)

    def put(self, data: bytearray, layout: str, at: int, *values: float) -> None:
        raw = struct.pack("<" + layout, *values)
        if at + len(raw) <= len(data):
            data[at : at + len(raw)] = raw

    def value(self, data: bytearray) -> str:
        name, (_, kind, at) = self.random.choice([item for item in self.fields.keys.items() if item[1][1] in WIDTH])
        if kind in (6, 12):
            number: float = self.random.choice(FLOATS)
            self.put(data, "f" if kind == 6 else "d", at, number)
        else:
            number = self.random.choice(NUMBERS) & ((1 << 8 * WIDTH[kind]) - 1)
            self.put(data, {1: "B", 2: "H", 4: "I", 8: "Q"}[WIDTH[kind]], at, number)
        return f"{name} = {number}"

    def key_name(self, data: bytearray) -> str:
        at, size = self.random.choice(self.fields.key_names)
        data[at + 8 + self.random.randrange(size)] ^= 1 << self.random.randrange(8)
        return f"key name at {at} changed"

    def string(self, data: bytearray) -> str:
        """Replace a string of the same length, so that all that follows stays where it is."""
        at, size = self.random.choice(self.fields.strings)
        word = (self.random.choice(WORDS).encode() * (size + 1))[:size] if self.random.random() < 0.7 else b""
        data[at + 8 : at + 8 + size] = word.ljust(size, b"\xff")
        return f"string at {at} is {word!r}"

    def string_length(self, data: bytearray) -> str:
        at, size = self.random.choice(self.fields.strings)
        number = self.random.choice((*LONG_NUMBERS, size + 1, max(size - 1, 0)))
        self.put(data, "Q", at, number)
        return f"string length at {at} is {number}"

    def array(self, data: bytearray) -> str:
        at, element, count = self.random.choice(self.fields.arrays)
        if self.random.random() < 0.5:
            self.put(data, "I", at, self.random.choice((*range(14), 1 << 31)))
            return f"element type at {at} changed from {element}"
        number = self.random.choice((*LONG_NUMBERS, count + 1, max(count - 1, 0)))
        self.put(data, "Q", at + 4, number)
        return f"array count at {at} is {number}"

    def array_content(self, data: bytearray) -> str:
        numeric = [array for array in self.fields.arrays if array[1] in WIDTH and array[2]]
        at, element, count = self.random.choice(numeric)
        index = self.random.randrange(count)
        raw = self.random.choice(NUMBERS).to_bytes(8, "little")[: WIDTH[element]]
        place = at + 12 + index * WIDTH[element]
        data[place : place + len(raw)] = raw
        return f"array at {at} has {raw.hex()} as element {index}"

    def shape(self, data: bytearray) -> str:
        _, at, n_dims = self.random.choice(self.fields.tensors)
        place = at + 8 * self.random.randrange(n_dims)
        old = struct.unpack_from("<Q", self.original, place)[0]
        number = self.random.choice((*LONG_NUMBERS, old // 2, old * 2, old + 1, 32, 256))
        self.put(data, "Q", place, number)
        return f"dimension at {place} is {number}"

    def tensor_type(self, data: bytearray) -> str:
        _, at, n_dims = self.random.choice(self.fields.tensors)
        number = self.random.choice((*range(44), 1 << 31))
        self.put(data, "I", at + 8 * n_dims, number)
        return f"tensor type at {at + 8 * n_dims} is {number}"

    def tensor_name(self, data: bytearray) -> str:
        at, _, _ = self.random.choice(self.fields.tensors)
        size = struct.unpack_from("<Q", self.original, at)[0]
        data[at + 8 + self.random.randrange(size)] ^= 1 << self.random.randrange(8)
        return f"tensor name at {at} changed"

    def offset(self, data: bytearray) -> str:
        _, at, n_dims = self.random.choice(self.fields.tensors)
        place = at + 8 * n_dims + 4
        old = struct.unpack_from("<Q", self.original, place)[0]
        number = self.random.choice((*LONG_NUMBERS, old + 32, max(old - 32, 0), old + 1))
        self.put(data, "Q", place, number)
        return f"tensor offset at {place} is {number}"

    def count(self, data: bytearray) -> str:
        at = self.random.choice((8, 16))
        old = struct.unpack_from("<Q", self.original, at)[0]
        number = self.random.choice((*LONG_NUMBERS, old + 1, old - 1))
        self.put(data, "Q", at, number)
        return f"count at {at} is {number}"

    def flip_header(self, data: bytearray) -> str:
        places = [
            self.random.randrange(min(self.fields.header_end, len(data))) for _ in range(self.random.randint(1, 4))
        ]
        for place in places:
            data[place] ^= 1 << self.random.randrange(8)
        return f"bits flipped at {places}"

    def flip_anywhere(self, data: bytearray) -> str:
        places = [self.random.randrange(len(data)) for _ in range(self.random.randint(1, 64))]
        for place in places:
            data[place] = self.random.randrange(256)
        return f"{len(places)} bytes changed"

    def truncate(self, data: bytearray) -> str:
        size = self.random.choice((self.random.randrange(len(data)), self.random.randrange(self.fields.header_end)))
        del data[size:]
        if self.random.random() < 0.2:
            data.extend(bytes(len(self.original) - size))
            return f"zeros from {size}"
        return f"cut to {size} bytes"


def load_and_use(path: Path, index: int) -> bool:
    """True when the file is refused. A file that loads must also run."""
    import flyball

    try:
        model = flyball.Model.load(path, threads=1, context=64, vocab_only=index % 4 == 0)
        model.detokenize(model.tokenize("Once upon a time\n\xff \u0000 12345 <s></s>"))
        if index % 4:
            model.generate([1, 2, 3], max_tokens=2, temperature=0.0)
    except flyball.Error as error:
        if not str(error):
            raise AssertionError("an error without text") from error
        return True
    return False


def load_and_use_adapter(base: flyball.Model, path: Path) -> bool:
    """The same of an adapter's file. Its values may make the model overflow: that is an error, too."""
    import warnings

    import flyball

    warnings.simplefilter("ignore")
    try:
        adapter = base.load_adapter(path)
        base.generate([1, 2, 3], max_tokens=2, temperature=0.0, adapter=adapter)
    except flyball.Error as error:
        if not str(error):
            raise AssertionError("an error without text") from error
        return True
    return False


def main() -> None:
    """Arguments: FILE SEED FIRST LAST, and for an adapter the file of its model."""
    import flyball

    model, seed, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    original = Path(model).read_bytes()
    base = flyball.Model.load(sys.argv[5], threads=1, context=64) if sys.argv[5:] else None
    figures: dict[str, Any] = {"files": 0, "refused": 0, "broken": []}
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "mutated.gguf"
        for index in range(first, last):
            what, data = Mutator(original, f"{seed}.{index}").mutate()
            print(f"{sys.argv[0]} {model} {seed} {index} {index + 1}: {what}", file=sys.stderr, flush=True)
            path.write_bytes(data)
            try:
                figures["refused"] += load_and_use_adapter(base, path) if base else load_and_use(path, index)
            except Exception:  # not one of ours: that is what this looks for
                figures["broken"].append([index, what, traceback.format_exc()[-600:]])
            figures["files"] += 1
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
