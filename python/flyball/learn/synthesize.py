"""Synthetic examples: a teacher writes questions and answers, a checker refuses what is not as the recipe wants it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from ..errors import FormatError
from ..scorecard.subjects import Answer, Subject
from ..store.examples import Example
from ..store.question import as_json, key_of
from .recipe import Recipe, fill
from .similar import NEAR, jaccard, numbers, shingles

_TRIES_PER_EXAMPLE = 5
_MOST_MALFORMED = 10  # answers in a row
_MALFORMED = "malformed answer"


@dataclass
class Outcome:
    """What came of it: the examples, and how many tries were refused, by reason."""

    examples: list[Example] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def n_tries(self) -> int:
        """All of them."""
        return len(self.examples) + sum(self.refused.values())


def synthesize(
    recipe: Recipe,
    teacher: Subject,
    known: Iterable[str] = (),
    count: int | None = None,
    license: str = "",
    on_try: Callable[[Outcome], object] = lambda _: None,
) -> Outcome:
    """At most `count` examples, else as many as the recipe says; fewer where five tries for each did not give them.

    `known`: questions that none of them may be, or nearly be. The same recipe and local model give the same examples.
    `on_try`: told of what there is so far, after each try. Raises what the teacher does; of malformed answers the tenth
    in a row.
    """
    wanted = recipe.count if count is None else count
    fillings, outcome, asking = recipe.fillings(), Outcome(), _Asking(teacher, recipe)
    seen = [(numbers(question), shingles(question)) for question in known]
    for number in range(_TRIES_PER_EXAMPLE * wanted):
        if len(outcome.examples) == wanted:
            break
        values = fillings[number % len(fillings)]
        asked = asking.answer(fill(recipe.ask, values), number)
        question = asked.text.strip().strip('"“”').strip()
        reason = asked.failure or recipe.check.question_fault(question)
        figures, hashes = numbers(question), shingles(question)
        if not reason and any(figures == theirs and jaccard(hashes, other) >= NEAR for theirs, other in seen):
            reason = "repeats a question"
        if not reason:
            answered = asking.answer(fill(recipe.answer, values | {"question": question}), number)
            reason = answered.failure or recipe.check.answer_fault(answered.text.strip())
        if reason:
            outcome.refused[reason.partition(":")[0]] += 1
        else:
            seen.append((figures, hashes))
            digest = None if answered.receipt is None else answered.receipt.digest
            about = _origin(recipe, teacher, license, recipe.seed + number)
            outcome.examples.append(_example(teacher, question, answered.text.strip(), digest, about, recipe.name))
        on_try(outcome)
    return outcome


class _Asking:
    """Asks for one recipe; a malformed answer is a failed one, as long as it is not one after the other."""

    def __init__(self, teacher: Subject, recipe: Recipe) -> None:
        self._teacher = teacher
        self._recipe = recipe
        self._n_malformed = 0

    def answer(self, prompt: str, number: int) -> Answer:
        """To the recipe's question of this number."""
        try:
            found = self._teacher.answer(prompt, self._recipe.seed + number, self._recipe.max_tokens)
        except FormatError as error:
            self._n_malformed += 1
            if self._n_malformed == _MOST_MALFORMED:
                raise FormatError(error.where, f"{error.what}; so were the {_MOST_MALFORMED - 1} before") from None
            return Answer("", None, 0.0, 0.0, failure=_MALFORMED)
        self._n_malformed = 0
        return found


def _origin(recipe: Recipe, teacher: Subject, license: str, seed: int) -> str:
    """Where it is from: whoever trains on it must keep to the teacher's license."""
    about = teacher.about
    named = {"recipe": recipe.name, "recipe_digest": recipe.digest, "teacher": about.name, "place": about.place or None}
    return json.dumps(named | {"license": license or None, "seed": seed}, ensure_ascii=False)


def _example(
    teacher: Subject, question: str, answer: str, digest: str | None, origin: str, family: str
) -> Example:  # fmt: skip
    asked = as_json([{"role": "user", "content": question}])
    return Example(
        id=f"syn-{key_of(asked)[:24]}",
        kind="synthetic",
        question=asked,
        answer=answer,
        family=family,
        source="synthetic",
        voter="teacher",
        answer_id=digest,
        model=teacher.about.name,
        fingerprint=teacher.about.fingerprint or None,
        origin=origin,
    )
