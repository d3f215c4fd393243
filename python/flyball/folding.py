"""Texts as they are compared: case, Turkish dotted and dotless i, marks and runs of white space make no difference."""

from __future__ import annotations

import unicodedata

# Before lower-casing, which makes "i̇" of İ and, as everywhere but in Turkish, "i" of I.
_TURKISH = str.maketrans({"İ": "i", "I": "i", "ı": "i"})


def fold(text: str) -> str:
    """IŞIK, ışık and isik are equal then; so are "Straße" and "strasse"."""
    plain = unicodedata.normalize("NFKD", text.translate(_TURKISH)).casefold()
    return " ".join("".join(each for each in plain if not unicodedata.combining(each)).split())
