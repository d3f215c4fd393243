"""Texts and questions as they are searched: folded, and of a question the words that it is about."""

from __future__ import annotations

from .. import folding

LEAST_INDEXED = 3  # characters: the indexes are of trigrams
_MOST_TERMS = 32
_QUESTION_WORDS = """
the and are was were what who whom whose which when where why how does did can could will would should about for from
with this that these those there have has had tell show give please you your
bir icin ile nedir neden nasil nerede kim kimin kac hangi bana beni benim senin nelerdir midir mudur musun misin var yok
olan olarak veya ama daha cok gibi kadar soyle anlat lutfen
"""
_COMMON = frozenset(_QUESTION_WORDS.split())  # folded; they say nothing of what is asked


def searchable(text: str) -> str:
    """The text folded; what no database stores in a text is a space or a question mark."""
    return folding.fold(text).encode("utf-8", "replace").decode().replace("\0", " ")


def terms(question: str) -> list[str]:
    """The stems of a question's words, each once, at most 32: letters and digits alone, so that none is an operator.

    Common words count only where there are no others, and so do those of one or two characters.
    """
    words = folding.words(question)
    long = [word for word in words if len(word) >= LEAST_INDEXED]
    told = [word for word in long if word not in _COMMON]
    return list(dict.fromkeys(map(folding.stem, told or long or words)))[:_MOST_TERMS]
