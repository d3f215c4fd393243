"""Write cpp/tokenizer/unicode_data.inc, the character classes that pre-tokenizer regexes distinguish, and
cpp/tokenizer/composition_data.inc, what canonical composition (NFC) needs.

    python ops/unicode/generate.py            # rewrites the files
    python ops/unicode/generate.py --check    # exit 1 when a file is not what this would write

The source is `unicodedata2`: Python's `unicodedata`, pinned to one Unicode version instead of the interpreter's own.
llama.cpp has 15.1.0, and token ids must match its ids; Python 3.11 itself has 14.0.0, which lacks 5000 of the letters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import unicodedata2

FOLDER = Path(__file__).resolve().parents[2] / "cpp" / "tokenizer"
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


def lines(title: str, numbers: list[int], per_line: int) -> list[str]:
    cells = [f"0x{number:x}," for number in numbers]
    rows = ["".join(cells[i : i + per_line]) for i in range(0, len(cells), per_line)]
    return [f"// Unicode {VERSION}: {title}", "// Written by ops/unicode/generate.py; do not edit.", *rows]


def categories() -> str:
    runs = table()
    return "\n".join(lines(f"{len(runs)} runs of equal category, first code point << 4 | Category.", runs, 12)) + "\n"


# --- canonical composition


def decompositions() -> dict[int, tuple[int, int]]:
    """One step of each canonical decomposition; the second is 0 where it is a single character."""
    found = {}
    for code_point in range(0x110000):
        mapping = unicodedata2.decomposition(chr(code_point))
        if mapping and not mapping.startswith("<"):
            first, second = [*(int(part, 16) for part in mapping.split()), 0][:2]
            found[code_point] = (first, second)
    return found


def compositions(steps: dict[int, tuple[int, int]]) -> dict[tuple[int, int], int]:
    """Pairs that compose: those of no exclusion, which therefore survive a normalization."""
    pairs = {pair: code_point for code_point, pair in steps.items() if pair[1]}
    return {pair: c for pair, c in pairs.items() if unicodedata2.normalize("NFC", chr(c)) == chr(c)}


def behaviors(steps: dict[int, tuple[int, int]], pairs: dict[tuple[int, int], int]) -> list[int]:
    """Runs of first code point << 9 | may change << 8 | combining class."""
    seconds = {second for _, second in pairs} | {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}  # and Hangul's jamo
    composed = set(pairs.values())
    runs: list[int] = []
    for code_point in range(0x110000):
        changes = code_point in seconds or (code_point in steps and code_point not in composed)
        value = changes << 8 | unicodedata2.combining(chr(code_point))
        if not runs or runs[-1] & 0x1FF != value:
            runs.append(code_point << 9 | value)
    return runs


def composition() -> str:
    steps = decompositions()
    pairs = compositions(steps)
    runs = behaviors(steps, pairs)
    by_composed = [c << 42 | first << 21 | second for c, (first, second) in sorted(steps.items())]
    by_pair = [first << 42 | second << 21 | c for (first, second), c in sorted(pairs.items())]
    return "\n".join(
        [
            "#ifdef FLYBALL_BEHAVIORS",
            *lines(f"{len(runs)} runs, first code point << 9 | may change << 8 | combining class.", runs, 12),
            "#endif",
            "#ifdef FLYBALL_DECOMPOSITIONS",
            *lines(f"{len(by_composed)} steps, code point << 42 | first << 21 | second or 0.", by_composed, 6),
            "#endif",
            "#ifdef FLYBALL_COMPOSITIONS",
            *lines(f"{len(by_pair)} pairs, first << 42 | second << 21 | composed.", by_pair, 6),
            "#endif",
            "",
        ]
    )


TARGETS = {"unicode_data.inc": categories, "composition_data.inc": composition}


def main(arguments: list[str]) -> int:
    if unicodedata2.unidata_version != VERSION:
        print(f"unicodedata2 {unicodedata2.unidata_version} is installed; {VERSION} is needed", file=sys.stderr)
        return 2
    if arguments == ["--check"]:
        same = {name: (FOLDER / name).read_text(encoding="ascii") == text() for name, text in TARGETS.items()}
        for name, equal in same.items():
            print(f"{name}: {'up to date' if equal else 'differs: run ops/unicode/generate.py'}")
        return 0 if all(same.values()) else 1
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    for name, text in TARGETS.items():
        (FOLDER / name).write_text(text(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
