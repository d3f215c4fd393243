"""The JSON-Schema-Test-Suite, from the sources of the package jsonschema (MIT): nothing that is invalid is accepted.

It is downloaded, so `make test-long` runs it: python -m pytest tests/python/constraints/suite.py
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import flyball
from flyball.constraints.compiled import Compiled, Compiler
from flyball.constraints.constraint import Constraint

SOURCES = "jsonschema==4.26.0"
DRAFTS = {
    "draft2020-12": "https://json-schema.org/draft/2020-12/schema",
    "draft7": "http://json-schema.org/draft-07/schema#",
}
N_BYTES, END = 256, 256


class Bytes:
    """A vocabulary of single bytes, and a token that ends."""

    def info(self) -> dict[str, Any]:
        return {"n_vocab": N_BYTES + 1}

    def piece(self, token: int, special: bool) -> bytes:
        return bytes([token]) if token < N_BYTES else b"<end>" if special else b""

    def is_end_of_generation(self, token: int) -> bool:
        return token == END

    def tokenize(self, utf8: bytes, add_special: bool, parse_special: bool) -> list[int]:
        return list(utf8)


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of drafts."""
    folder = tmp_path_factory.mktemp("suite")
    words = ["download", "-q", "--no-deps", "--no-binary", "jsonschema", SOURCES, "-d", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(folder, filter="data")
    (tests,) = folder.glob("*/json/tests")
    return tests


def accepts(compiled: Compiled, text: bytes) -> bool:
    """Whether the masks allow the text as a whole answer."""
    masks = compiled.start()
    masks.advance(None)
    for token in (*text, END):
        if not masks.mask[token // 32] >> (token % 32) & 1:
            return False
        if token != END:
            masks.advance(token)
    return True


@pytest.mark.parametrize("draft", DRAFTS)
def test_nothing_invalid_is_accepted(suite: Path, draft: str) -> None:
    compiler = Compiler(Bytes())
    seen: Counter[str] = Counter()
    wrong: list[tuple[str, str, str]] = []
    for file in sorted((suite / draft).glob("*.json")):
        for group in json.loads(file.read_text()):
            schema = group["schema"]
            if isinstance(schema, dict):
                schema = {"$schema": DRAFTS[draft]} | schema
            try:
                compiled = compiler.compile(Constraint.json_schema(schema))
            except flyball.Error:
                seen["refused"] += len(group["tests"])
                continue
            for case in group["tests"]:
                text = json.dumps(case["data"], ensure_ascii=False, separators=(",", ":"))
                found = accepts(compiled, text.encode(errors="surrogatepass"))
                if found and not case["valid"]:
                    wrong.append((file.name, group["description"], case["description"]))
                seen["right" if found == case["valid"] else "rejected"] += 1
    print(draft, dict(seen))
    assert not wrong
    assert seen["right"] >= 500
    assert seen["rejected"] <= 40  # valid, but with members in another order, or as a grammar would not write it
