"""Real vocabularies: identical ids, exact decoding, refusals by name, and text that never becomes a control token."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import unicodedata2

import flyball
from tests.python.engine import vocabularies
from tests.python.engine.vocabularies import NAMES, REFUSED
from tests.reference.models import write_model

ROOT = Path(__file__).resolve().parents[3]
EXPECTED = NAMES[3:]
COMPOSING = {"qwen2", "qwen35", "gpt-neox", "command-r", "mpt"}  # Unicode's NFC, as their own tokenizers do
SPACE_MARKS = {"baichuan", "gemma-4", "llama-spm", "phi-3"}  # U+2581 for a space
RECORDED = json.loads((ROOT / "tests" / "golden" / "tokenizer.json").read_text(encoding="ascii"))


@cache
def load(name: str) -> flyball.Model:
    return flyball.Model.load(vocabularies.path(name), vocab_only=True)


@pytest.mark.parametrize("name", EXPECTED)
def test_ids_are_the_expected_ones(name: str) -> None:
    model = load(name)
    cases = vocabularies.cases(name)
    assert len(cases) >= 45
    for case in cases:
        ids = model.tokenize(case.text, add_special=False)
        composed = unicodedata2.normalize("NFC", case.text)
        if name in COMPOSING and composed != case.text:  # qwen35: llama.cpp's own cases, and it does not compose
            assert ids == model.tokenize(composed, add_special=False)
            continue
        assert ids == case.ids, case.text
        assert model.detokenize(case.ids) == case.text


@pytest.mark.parametrize("name", NAMES)
def test_ids_with_special_tokens_are_those_of_llama_cpp(name: str) -> None:
    model = load(name)
    given = [(text, *mode) for text in RECORDED["texts"] for mode in RECORDED["modes"]]
    for (text, add_special, parse_special), ids in zip(given, RECORDED["ids"][name], strict=True):
        assert model.tokenize(text, add_special, parse_special) == ids, (text, add_special, parse_special)


@pytest.mark.parametrize("name", NAMES)
def test_text_never_becomes_a_control_token(name: str) -> None:
    model = load(name)
    control = dict(model._core.control_tokens())
    assert control
    for token, raw in control.items():
        text = raw.decode()
        assert model.detokenize([token], special=True) == text
        assert model.tokenize(text, add_special=False, parse_special=True) == [token]
        for given in (text, f"a{text}", f"{text} b", f" {text}{text}"):
            ids = model.tokenize(given, add_special=False)
            assert control.keys().isdisjoint(ids), given
            assert model.detokenize(ids) == given


@pytest.mark.parametrize("name", NAMES)
def test_decoding_gives_the_text_back(name: str) -> None:
    model = load(name)
    rng = random.Random(name)
    parts = [
        *"aZ 09.,'\n\t<|>/_éßЖ中あ한हि๑😀👍",
        "  ",
        "'ll",
        "\r\n",
        "1234",
        "Hello",
        " world",
        "\u00a0",
        "\U00020000",
    ]
    for _ in range(300):
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 60)))
        ids = model.tokenize(text, add_special=False)
        assert model.detokenize(ids) == text
        assert model.detokenize(model.tokenize(text)) == text


def test_a_space_mark_is_read_as_a_space() -> None:
    # The one thing that it cannot tell apart, and neither can the reference.
    for name in SPACE_MARKS:
        assert load(name).detokenize(load(name).tokenize("a\u2581b")) == "a b"


def test_a_byte_without_a_token_is_an_error() -> None:
    model = load("falcon")  # has no token for some control characters, and no unknown token
    with pytest.raises(flyball.Error, match="byte 3 has no token"):
        model.tokenize("a\x03b")


def test_end_tokens() -> None:
    ends = {
        name: {text.decode() for token, text in load(name)._core.control_tokens() if load(name).is_end(token)}
        for name in ("llama-bpe", "qwen2", "phi-3", "llama-spm")
    }
    assert ends["llama-bpe"] == {"<|end_of_text|>", "<|eot_id|>"}
    assert ends["qwen2"] == {"<|endoftext|>", "<|im_end|>"}
    assert ends["phi-3"] == {"<|endoftext|>", "<|end|>", "</s>"}
    assert ends["llama-spm"] == {"</s>"}
    html = load("qwen2").tokenize("</s>", add_special=False)
    assert not any(load("qwen2").is_end(i) for i in html)


@pytest.mark.parametrize(("name", "model"), REFUSED.items())
def test_other_tokenizer_models_are_refused_by_name(name: str, model: str) -> None:
    with pytest.raises(flyball.Error, match=f"tokenizer.ggml.model: tokenizer model '{model}' is not supported"):
        load(name)


def test_every_vocabulary_is_either_tested_or_refused() -> None:
    assert set(vocabularies.names()) == {*NAMES, *REFUSED}


KOREAN = "안녕하세요 한국어"


@pytest.mark.parametrize("name", NAMES)
def test_decomposed_text_is_composed_where_the_vocabulary_does(name: str) -> None:
    apart = unicodedata2.normalize("NFD", KOREAN)
    ids = load(name).tokenize(apart, add_special=False)
    assert (ids == load(name).tokenize(KOREAN, add_special=False)) == (name in COMPOSING)
    assert load(name).detokenize(ids) == (KOREAN if name in COMPOSING else apart)


def test_composition_is_that_of_unicode(tmp_path: Path) -> None:
    path = write_model(tmp_path / "bytes.gguf", "qwen2", "F32").path
    with flyball.Model.load(path, vocab_only=True) as model:

        def composed(text: str) -> str:
            return model.detokenize(model.tokenize(text, add_special=False))

        everything = [chr(c) for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000]
        for form in ("NFC", "NFD"):  # each character and its decomposition, between letters that take no mark
            text = "-".join(unicodedata2.normalize(form, c) for c in everything)
            assert composed(text) == unicodedata2.normalize("NFC", text)
        rng = random.Random(1)
        marks = [c for c in everything if unicodedata2.combining(c)]
        joining = [c for c in everything if unicodedata2.normalize("NFD", c) != c or 0x1100 <= ord(c) < 0x1200]
        letters = [*"aeinouyAEINOUY", *joining, *marks]
        for _ in range(3000):
            kinds = rng.choices([letters, marks, joining, "ab <"], [2, 3, 2, 1], k=rng.randrange(1, 40))
            text = "".join(rng.choice(kind) for kind in kinds)
            assert composed(text) == unicodedata2.normalize("NFC", text)


def test_the_unicode_table_is_what_the_script_writes() -> None:
    command = [sys.executable, str(ROOT / "ops" / "unicode" / "generate.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
