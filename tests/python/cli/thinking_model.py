"""A model that thinks: the bundled one, which writes the end of its thoughts where it would write " cheerful"."""

from __future__ import annotations

from pathlib import Path

import flyball


def write_thinking_model(path: Path) -> Path:
    """With a template that begins an answer's thoughts, it answers "Tell me a story about a rabbit." in both parts."""
    file = flyball.demo_model_path()
    with flyball.Model.load(file, vocab_only=True) as model:
        merges = model.metadata(1 << 20)["tokenizer.ggml.merges"]
    assert isinstance(merges, list)
    (merge,) = (each for each in merges if each.replace(" ", "") == "\u0120cheerful")
    other = next(each for each in merges if len(each.encode()) == len(merge.encode()) and each != merge)
    raw = file.read_bytes()
    for old, new in (("\u0120cheerful", "</think>\u010a"), (merge, other)):
        assert raw.count(_field(old)) == 1
        assert len(old.encode()) == len(new.encode())
        raw = raw.replace(_field(old), _field(new))
    path.write_bytes(raw)
    return path


def _field(text: str) -> bytes:
    return len(text.encode()).to_bytes(8, "little") + text.encode()
