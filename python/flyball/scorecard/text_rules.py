"""Rules about what stands in an answer: words, case, beginning and end, exact texts, dates, letters, numbers."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from datetime import date

from .rules import Rule, counted, plain, short, words

_NUMBER = re.compile(r"\d+(?:[,.]\d+)*")


def contains(*wanted: str) -> Rule:
    """All of these, whatever their case, each at the beginning of a word."""

    def rule(text: str) -> str:
        there = plain(text)
        missing = [word for word in wanted if not _begins_word(plain(word), there)]
        return f"lacks {', '.join(map(repr, missing))}" if missing else ""

    return rule


def contains_one(*wanted: str) -> Rule:
    """One of these, as contains() finds it."""

    def rule(text: str) -> str:
        there = plain(text)
        return (
            ""
            if any(_begins_word(plain(word), there) for word in wanted)
            else f"has none of {', '.join(map(repr, wanted))}"
        )

    return rule


def lacks(*banned: str) -> Rule:
    """None of these, whatever their case, not within a word either."""

    def rule(text: str) -> str:
        there = plain(text)
        found = [word for word in banned if plain(word) in there]
        return f"has {', '.join(map(repr, found))}" if found else ""

    return rule


def lacks_words(*banned: str) -> Rule:
    def rule(text: str) -> str:
        found = sorted(set(banned) & {plain(word) for word in words(text)})
        return f"has the word {found[0]!r}" if found else ""

    return rule


def times(word: str, n: int) -> Rule:
    """The word is there exactly so often."""

    def rule(text: str) -> str:
        found = Counter(plain(w) for w in words(text))[word]
        return "" if found == n else f"has {word!r} {found} times, must have it {n} times"

    return rule


def no_digits() -> Rule:
    return lambda text: "has digits" if any(c.isdigit() for c in text) else ""


def upper() -> Rule:
    return lambda text: next((f"has a small letter, {c!r}" for c in text if c.islower()), "")


def lower() -> Rule:
    return lambda text: next((f"has a capital letter, {c!r}" for c in text if c.isupper()), "")


def titled() -> Rule:
    return lambda text: next((f"{short(word)} begins small" for word in words(text) if not word[0].isupper()), "")


def shouts_only(shouted: str) -> Rule:
    """This word is in capitals, and no other of more than one letter."""

    def rule(text: str) -> str:
        found = {word for word in words(text) if len(word) > 1 and word.isupper()}
        return "" if found == {shouted} else f"has in capitals: {short(', '.join(sorted(found)))}"

    return rule


def starts(start: str) -> Rule:
    return lambda text: "" if text.startswith(start) else f"begins with {short(text[:30])}, must with {start!r}"


def ends(end: str) -> Rule:
    return lambda text: "" if text.endswith(end) else f"ends with {short(text[-30:])}, must with {end!r}"


def wrapped(left: str, right: str) -> Rule:
    """Between these marks, which are nowhere inside."""

    def rule(text: str) -> str:
        inside = text[len(left) : len(text) - len(right)]
        if not (text.startswith(left) and text.endswith(right) and words(inside)):
            return f"is not wrapped in {left} {right}"
        return "has these marks inside" if left in inside or right in inside else ""

    return rule


def placeholders(n: int) -> Rule:
    return counted("placeholders in square brackets", lambda text: re.findall(r"\[[^\[\]\n]{1,40}\]", text), n, n)


def exactly(*texts: str) -> Rule:
    """One of these texts and nothing else."""
    return lambda text: "" if text in texts else f"is {short(text)}, must be {' or '.join(map(repr, texts))}"


def one_word(word: str) -> Rule:
    """This word alone; case and a full stop do not matter."""

    def rule(text: str) -> str:
        return "" if plain(text).rstrip(".!") == word else f"is {short(text)}, must be the word {word!r}"

    return rule


def iso_date(year: int, month: int) -> Rule:
    """Only a date of this month as YYYY-MM-DD."""

    def rule(text: str) -> str:
        try:
            found = date.fromisoformat(text) if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text) else None
        except ValueError:
            found = None
        if found is None:
            return f"is no date YYYY-MM-DD: {short(text)}"
        return "" if (found.year, found.month) == (year, month) else f"is another month: {text}"

    return rule


def letters(alphabet: str) -> Rule:
    """All letters are of this alphabet, by their Unicode names, and there are some."""

    def rule(text: str) -> str:
        found = [c for c in text if c.isalpha()]
        other = next((c for c in found if not unicodedata.name(c, "").startswith(alphabet)), "")
        return f"has {other!r}, which is not {alphabet.title()}" if other else "" if found else "has no letters"

    return rule


def last_number(value: int) -> Rule:
    """The last number of the text, in digits."""

    def rule(text: str) -> str:
        found = _NUMBER.findall(text)
        return "" if found and _same(found[-1], value) else f"ends with {found[-1][:40] if found else 'no number'}"

    return rule


def numbers_of(source: str) -> Rule:
    """Every number is one that the source has."""
    known = set(_NUMBER.findall(source))
    return lambda text: next((f"has the number {n[:40]}" for n in _NUMBER.findall(text) if n not in known), "")


def _begins_word(word: str, text: str) -> bool:
    return re.search(rf"(?<![^\W_]){re.escape(word)}", text) is not None


def _same(number: str, value: int) -> bool:
    """Whether a number as people write it is this: "1,200", "12.00"."""
    whole, _, decimals = number.partition(".")
    return whole.replace(",", "").lstrip("0").rjust(1, "0") == str(value) and not decimals.strip("0")
