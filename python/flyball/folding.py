"""Texts as they are compared: case, Turkish dotted and dotless i, marks and runs of white space make no difference."""

from __future__ import annotations

import re
import unicodedata

# Before lower-casing, which makes "i̇" of İ and, as everywhere but in Turkish, "i" of I.
_TURKISH = str.maketrans({"İ": "i", "I": "i", "ı": "i"})
_STEM = 5


def fold(text: str) -> str:
    """IŞIK, ışık and isik are equal then; so are "Straße" and "strasse"."""
    plain = unicodedata.normalize("NFKD", text.translate(_TURKISH)).casefold()
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())


def words(text: str) -> list[str]:
    """The words of a text, folded: runs of letters and digits."""
    return re.findall(r"[^\W_]+", fold(text))


def stem(word: str) -> str:
    """The beginning of a word, which is enough to tell it: Turkish adds its endings behind."""
    return word[:_STEM]
