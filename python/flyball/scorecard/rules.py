"""Rules that a program can check; here those about counts and lists.

Each takes an answer and gives "" if it holds, else what is wrong. Answers are stripped and bounded (Check.judge), and
no pattern here takes more than one step per character.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

Rule = Callable[[str], str]

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
_END = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]]?(?=\s|$)")


def words(text: str) -> list[str]:
    """The words; hyphens and apostrophes inside one do not part it."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences, without their ends; the last one may have none."""
    return [part.strip() for part in _END.split(text) if _WORD.search(part)]


def plain(text: str) -> str:
    """Without case and marks, so that "İ", "i" and "é", "e" compare equal."""
    parts = unicodedata.normalize("NFKD", text.casefold().replace("’", "'"))
    return "".join(c for c in parts if not unicodedata.combining(c))


def lines(text: str) -> list[str]:
    """The lines that are not blank."""
    return [line.strip() for line in text.split("\n") if line.strip()]


def short(text: str) -> str:
    """The beginning of an answer or of a part, for messages."""
    return repr(text if len(text) <= 40 else text[:39] + "…")


def n_words(least: int, most: int) -> Rule:
    return counted("words", words, least, most)


def n_lines(n: int, most_words: int = 1000) -> Rule:
    def rule(text: str) -> str:
        found = lines(text)
        if len(found) != n:
            return f"has {len(found)} lines, must have {n}"
        return next((f"has a line of more words: {short(line)}" for line in found if len(words(line)) > most_words), "")

    return rule


def n_paragraphs(n: int) -> Rule:
    return counted("paragraphs", lambda text: [p for p in re.split(r"\n[ \t]*\n", text) if p.strip()], n, n)


def n_sentences(n: int) -> Rule:
    """So many sentences, and the last one has an end."""
    count = counted("sentences", sentences, n, n)
    return lambda text: count(text) or ("" if re.search(r"[.!?][\"'”’)\]]?$", text) else "ends inside a sentence")


def whole_sentences() -> Rule:
    """Each begins with a capital letter, and none is said twice."""

    def rule(text: str) -> str:
        found = sentences(text)
        for sentence in found:
            first = next((c for c in sentence if c.isalpha()), "")
            if not first.isupper():
                return f"has a sentence that begins small: {short(sentence)}"
        return "" if len({plain(s) for s in found}) == len(found) else "says the same sentence twice"

    return rule


def counted(what: str, parts: Callable[[str], list[str]], least: int, most: int) -> Rule:
    """`least` to `most` of these parts."""
    must = f"{least}" if least == most else f"{least} to {most}"

    def rule(text: str) -> str:
        n = len(parts(text))
        return "" if least <= n <= most else f"has {n} {what}, must have {must}"

    return rule


def bullets(n: int, most_words: int = 1000) -> Rule:
    """Nothing but n lines that begin with "- "."""
    return _items(n, lambda _: "- ", most_words)


def numbered(n: int) -> Rule:
    """Nothing but the lines "1. ..." to "n. ..."."""
    return _items(n, lambda i: f"{i + 1}. ", 1000)


def _items(n: int, mark: Callable[[int], str], most_words: int) -> Rule:
    def rule(text: str) -> str:
        found = lines(text)
        if len(found) != n:
            return f"has {len(found)} lines, must be {n} items"
        for i, line in enumerate(found):
            n_said = len(words(line.removeprefix(mark(i))))
            if not line.startswith(mark(i)) or not n_said:
                return f"line {i + 1} is no item that begins with {mark(i)!r}: {short(line)}"
            if n_said > most_words:
                return f"line {i + 1} has {n_said} words, may have {most_words}"
        return ""

    return rule


def parted(by: str, n: int, most_words: int = 1000) -> Rule:
    """n different parts with words in them, and `by` between them."""

    def rule(text: str) -> str:
        parts = [part.strip() for part in text.split(by)]
        if len(parts) != n:
            return f"has {len(parts)} parts between {by!r}, must have {n}"
        if any(not 1 <= len(words(part)) <= most_words for part in parts):
            return f"has a part without words, or with more than {most_words}"
        return "" if len({plain(part) for part in parts}) == n else "has a part twice"

    return rule
