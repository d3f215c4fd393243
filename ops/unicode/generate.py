"""Write cpp/tokenizer/unicode_data.inc: the character classes that pre-tokenizer regexes distinguish.

    python ops/unicode/generate.py            # rewrites the file
    python ops/unicode/generate.py --check    # exit 1 when the file is not what this would write

The source is `unicodedata2`: Python's `unicodedata`, pinned to one Unicode version instead of the interpreter's own.
llama.cpp has 15.1.0, and token ids must match its ids; Python 3.11 itself has 14.0.0, which lacks 5000 of the letters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import unicodedata2

TARGET = Path(__file__).resolve().parents[2] / "cpp" / "tokenizer" / "unicode_data.inc"
VERSION = "15.1.0"
# In the order of enum Category in cpp/tokenizer/unicode.h.
CATEGORIES = ("Lu", "Ll", "Lt", "Lm", "Lo", "M", "Nd", "N", "P", "S", "space", "other")
# White_Space=yes outside the categories Z*: the controls that regexes count as \s.
WHITE_CONTROLS = frozenset("\t\n\v\f\r\x85")


def category(code_point: int) -> int:
    character = chr(code_point)
    name = unicodedata2.category(character)
    if name[0] == "Z" or character in WHITE_CONTROLS:
        return CATEGORIES.index("space")
    if name in CATEGORIES:
        return CATEGORIES.index(name)
    return CATEGORIES.index(name[0] if name[0] in "MNPS" else "other")


def table() -> list[int]:
    """Each run's first code point << 4 | category, ascending."""
    runs: list[int] = []
    for code_point in range(0x110000):
        number = category(code_point)
        if not runs or runs[-1] & 15 != number:
            runs.append(code_point << 4 | number)
    return runs


def text() -> str:
    runs = [f"0x{run:x}," for run in table()]
    lines = [
        f"// Unicode {VERSION}: {len(runs)} runs of equal category, first code point << 4 | Category.",
        "// Written by ops/unicode/generate.py; do not edit.",
    ]
    lines += ["".join(runs[i : i + 12]) for i in range(0, len(runs), 12)]
    return "\n".join(lines) + "\n"


def main(arguments: list[str]) -> int:
    if unicodedata2.unidata_version != VERSION:
        print(f"unicodedata2 {unicodedata2.unidata_version} is installed; {VERSION} is needed", file=sys.stderr)
        return 2
    if arguments == ["--check"]:
        same = TARGET.read_text(encoding="ascii") == text()
        print(f"{TARGET.name}: {'up to date' if same else 'differs: run ops/unicode/generate.py'}")
        return 0 if same else 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    TARGET.write_text(text(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
