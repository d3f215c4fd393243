"""Examples of intents: files with a text a line, and the set that comes with Flyball."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path

from .. import files
from ..errors import FormatError, NotFound
from ..paths import expanded

LEAST, MOST = 5, 2000  # of an intent; of all together
_BUNDLED = "bundled:"
_MOST_BYTES = 1 << 20
_MOST_CHARACTERS = 2000


@dataclass(frozen=True)
class Labelled:
    """A text of the bundled set, Turkish (tr) or English (en)."""

    intent: str
    language: str
    text: str


@dataclass(frozen=True)
class Examples:
    """Texts, the bytes that they were read from, and the file, None for the bundled set."""

    texts: tuple[str, ...]
    raw: bytes
    path: Path | None


def bundled() -> list[Labelled]:
    """The set that comes with Flyball, Turkish and English in turn. Variants and translations follow each other."""
    text = (resources("flyball") / "data" / "utterances.tsv").read_text("utf-8")
    return [Labelled(*line.split("\t")) for line in text.splitlines()]


def read_examples(named: str, folder: Path) -> Examples:
    """Of "bundled:INTENT", or of a file whose path is relative to `folder`. Raises Error."""
    if named.startswith(_BUNDLED):
        wanted = named.removeprefix(_BUNDLED)
        texts = tuple(each.text for each in bundled() if each.intent == wanted)
        if not texts:
            known = ", ".join(dict.fromkeys(each.intent for each in bundled()))
            raise NotFound(named, f"there is no such set; there are: {known}")
        return Examples(texts, "\n".join(texts).encode(), None)
    path = folder / expanded(named)
    raw = files.read(path, _MOST_BYTES)
    try:
        lines = raw.decode().split("\n")
    except UnicodeDecodeError as error:
        raise FormatError(str(path), "is not UTF-8; save it as UTF-8", error.start) from None
    found: dict[str, None] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if len(text) > _MOST_CHARACTERS or "\0" in text:
            raise FormatError(f"{path}:{number}", f"is no text of at most {_MOST_CHARACTERS} characters")
        if text and not text.startswith("#"):
            found.setdefault(text)
    return Examples(tuple(found), raw, path)
