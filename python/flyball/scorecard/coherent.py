"""Answers that must make sense: sums with worked variants, and texts of two sentences."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .checks import Check
from .rules import Rule, n_sentences, n_words, whole_sentences
from .text_rules import contains, last_number

_VARIANTS, _SUMS_SEED = 3, 20240229
_ASK = "Explain in one short sentence, then write the result alone as a number on the last line."

Numbers = tuple[int, int, int]
# id, ranges of a, b and c, the question, how it is worked, the result
_SUMS: tuple[tuple[str, tuple[range, range, range], str, str, Callable[[Numbers], int]], ...] = (
    (
        "apples",
        (range(3, 20), range(2, 15), range(1, 5)),
        "You have {a} apples, buy {b} and eat {c}. How many are left?",
        "{a} + {b} - {c} = {result}.",
        lambda n: n[0] + n[1] - n[2],
    ),
    (
        "boxes",
        (range(3, 9), range(4, 12), range(2, 9)),
        "There are {a} boxes with {b} pens in each. Then {c} pens are taken away. How many pens remain?",
        "{a} x {b} - {c} = {result}.",
        lambda n: n[0] * n[1] - n[2],
    ),
    (
        "sweets",
        (range(3, 9), range(2, 12), range(1, 3)),
        "{product} sweets are shared equally among {a} children. How many does each child get?",
        "{product} / {a} = {result}.",
        lambda n: n[1],
    ),
    (
        "tickets",
        (range(5, 20), range(2, 7), range(1, 9)),
        "A ticket costs {a} euros. You buy {b} tickets and get {c} euros off the total. How many euros do you pay?",
        "{a} x {b} - {c} = {result}.",
        lambda n: n[0] * n[1] - n[2],
    ),
    (
        "hours",
        (range(1, 12), range(2, 11), range(1, 3)),
        "A train leaves at {a}:00 and arrives {b} hours later. At which full hour of the 24-hour clock does it arrive?",
        "{a} + {b} = {result}.",
        lambda n: n[0] + n[1],
    ),
    (
        "sum",
        (range(12, 60), range(11, 40), range(1, 3)),
        "What is {a} + {b}?",
        "{a} + {b} = {result}.",
        lambda n: n[0] + n[1],
    ),
)

# id, what to write, words that must be there, an answer that passes
_TEXTS: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    ("release", "a friendly release note for a bug fix in login rate limiting", ("login",),
     "We fixed a bug in the login limits. Thank you for your patience!"),
    ("apology", "an apology for a late parcel", ("parcel",), "We are sorry. Your parcel arrives tomorrow."),
    ("reminder", "a reminder to water the plants", ("water", "plants"), "Please water the plants. They are dry."),
    ("invitation", "an invitation to a concert in the park", ("concert", "park"),
     "Come to our concert. It is in the park on Sunday."),
    ("weather", "a weather report for a stormy day", ("wind",), "A strong wind blows today. Stay at home."),
    ("thanks", "a thank-you note to a neighbor who fed the cat", ("cat", "thank"),
     "Thank you for feeding my cat. She likes you."),
    ("notice", "a notice that the elevator is out of order", ("elevator",),
     "The elevator is out of order. Please take the stairs."),
    ("review", "a review of a restaurant with good soup", ("soup",), "The soup was great. We will come again."),
    ("lesson", "an explanation for a child why we sleep", ("sleep",), "We sleep to rest. Then we can play again."),
    ("story", "a story about a lost dog that comes home", ("dog", "home"), "The dog was lost. At night it came home."),
    ("safety", "advice on how to cross a street", ("street",), "Look both ways. Then cross the street."),
    ("report", "a status report of a project that is on time", ("project",),
     "The project is on time. All tests pass."),
)  # fmt: skip


def checks() -> tuple[Check, ...]:
    """The checks of this group. Variants follow from random(), which Python keeps the same for a seed."""
    random = Random(_SUMS_SEED)
    found: list[tuple[str, str, tuple[Rule, ...], str]] = []
    for name, ranges, question, worked, solve in _SUMS:
        drawn: list[Numbers] = []
        while len(drawn) < _VARIANTS:
            a, b, c = (r[int(random.random() * len(r))] for r in ranges)
            if (a, b, c) not in drawn:
                drawn.append((a, b, c))
        for i, numbers in enumerate(drawn, 1):
            a, b, c = numbers
            result = solve(numbers)
            said = {"a": a, "b": b, "c": c, "product": a * b, "result": result}
            example = f"{worked.format(**said)}\n{result}"
            prompt = question.format(**said) + (f" {_ASK}" if name != "sum" else "")
            found.append((f"{name}-{i}", prompt, (last_number(result),), example))
    for name, what, wanted, example in _TEXTS:
        wording = f" Use the word{'s' if len(wanted) > 1 else ''} {' and '.join(wanted)}."
        rules = (n_sentences(2), n_words(4, 60), contains(*wanted), whole_sentences())
        found.append((f"two-{name}", f"Write {what} in exactly two sentences.{wording}", rules, example))
    return tuple(
        Check(f"coherent-{name}", "coherent", prompt, rules, example, 100_000 + 1000 * i, 96)
        for i, (name, prompt, rules, example) in enumerate(found)
    )
