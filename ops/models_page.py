"""Write docs/models.md, and the README's rows of what Flyball runs, from the core's registries and what was checked.

python -m ops.models_page docs/models.md README.md
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from flyball import _core
from tests.golden import checks, parity
from tests.reference.variants import VARIANTS

HEAD = """# Models

Which architectures and weight types Flyball runs, and what was checked of each. `make models` writes this page from the
core's registries (`cpp/model/traits.cpp`, `cpp/gguf/types.h`) and the records of the checks
(`tests/golden/parity.json`, `tests/golden/checks.json`).

Every architecture runs in every type: the kernels know nothing of architectures. A letter says that this pair was
checked with a model of random weights in at least one of the architecture's variants:

| letter | checked | by |
|---|---|---|
| P | numerical error at most 1.1 times llama.cpp's, both against a float64 reference | `make test`, `make parity` |
| E | equal bits on all kernels, thread counts, batches, prefixes, neighbors and guesses | `make test-long` |
| I | the boot image and the host verify each other's receipts | `make image-matrix` |
| H | 2,000 damaged and lying files: each is refused or runs | `python -m tests.golden.checks` |

`make test` checks a sample of the last three anew. qwen3vl and qwen3vlmoe have no letters: they are other names of
qwen3 and qwen3moe, for files with an image part, which text does not use.
"""


def variants_of(architecture: str) -> list[str]:
    return [name for name, shape in VARIANTS.items() if shape.arch == architecture]


def checked(architecture: str, kind: str) -> str:
    """The letters of a pair."""
    names = {f"{variant}-{kind}" for variant in variants_of(architecture)}
    done = {
        "P": {f"{case.recipe.arch}-{case.recipe.wtype}" for case in parity.load().cases},
        **{kind[0].upper(): set(numbers) for kind, numbers in checks.load().items()},
    }
    return "".join(letter for letter in "PEIH" if names & done[letter])


def table() -> Iterator[str]:
    """A row for each architecture, a column for each type."""
    types = _core.supported_types()
    yield "| architecture | variants | " + " | ".join(types) + " |"
    yield "|---|---" + "|---" * len(types) + "|"
    for architecture in _core.supported_architectures():
        cells = [checked(architecture, kind) for kind in types]
        yield " | ".join([f"| `{architecture}`", str(len(variants_of(architecture))), *cells]).rstrip() + " |"


def page() -> str:
    """docs/models.md."""
    return HEAD + "\n" + "\n".join(table()) + "\n"


def readme(text: str) -> str:
    """The README with its rows of architectures and types as they are now."""
    rows = {
        "architectures": ", ".join(_core.supported_architectures())
        + " ([what was checked](docs/models.md)); mistral's files say llama; of those with images, the text",
        "weight types": " ".join(_core.supported_types()),
    }
    for name, cell in rows.items():
        text, n = re.subn(rf"^\| {name} \|.*$", f"| {name} | {cell} |", text, flags=re.MULTILINE)
        if n != 1:
            raise ValueError(f"README.md has {n} rows of {name}, expected one")
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
    whole = Path(sys.argv[2])
    whole.write_text(readme(whole.read_text()))
