"""What feedback says as a whole: how much there is, what is missing, and where it contradicts itself."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..store.examples import Example
from ..store.feedback import Feedback
from ..store.question import key_of, plain
from .families import family_of
from .similar import near_pairs

CORRECTIONS_NEEDED = 10  # before training has something to learn from
_MOST_COMPARED = 20_000  # questions


@dataclass(frozen=True)
class Statistics:
    """Counts of votes."""

    n: int
    ratings: dict[str, int]
    n_corrections: int
    n_without_question: int  # which teach nothing
    sources: dict[str, int]
    models: dict[str, int]
    voters: dict[str, int]


@dataclass(frozen=True)
class Missing:
    """A family of questions with too few corrections."""

    family: str
    n_bad: int  # answers that were found bad
    n_corrections: int
    n_needed: int  # more corrections


@dataclass(frozen=True)
class Analysis:
    """`near`: ids and similarity of questions that are nearly the same; `contradictions`: questions with several
    corrections, `conflicts`: answers that some find good and others bad."""

    n_corrections: int
    n_needed: int
    families: tuple[Missing, ...]
    near: tuple[tuple[str, str, float], ...] = ()
    contradictions: tuple[dict[str, Any], ...] = ()
    conflicts: tuple[dict[str, Any], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **vars(self),
            "families": [vars(each) for each in self.families],
            "near": [{"a": a, "b": b, "similarity": round(similarity, 3)} for a, b, similarity in self.near],
        }


def statistics(given: Iterable[Feedback]) -> Statistics:
    """Of all votes."""
    votes = list(given)
    return Statistics(
        len(votes),
        dict(Counter(vote.verdict or "none" for vote in votes)),
        sum(vote.correction is not None for vote in votes),
        sum(vote.question is None for vote in votes),
        dict(Counter(vote.source for vote in votes)),
        dict(Counter(vote.model or "unknown" for vote in votes)),
        dict(Counter(vote.voter for vote in votes)),
    )


def analyze(given: Iterable[Feedback], examples: Iterable[Example], needed: int = CORRECTIONS_NEEDED) -> Analysis:
    """`needed`: corrections until training is worth a try, in all and in a family."""
    votes = list(given)
    rows = [example for example in examples if example.state != "rejected"]
    corrections = [example for example in rows if example.kind == "correction"]
    return Analysis(
        len(corrections),
        max(0, needed - len(corrections)),
        _families(rows, needed),
        _near(rows),
        _contradictions(corrections),
        _conflicts(votes),
    )


def contradictory(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """By question: examples that say different things are right."""
    by_question: dict[str, list[Example]] = defaultdict(list)
    for example in examples:
        if example.answer:
            by_question[example.question_key].append(example)
    return {
        key: those for key, those in by_question.items() if len({" ".join(each.answer.split()) for each in those}) > 1
    }


def _families(rows: list[Example], needed: int) -> tuple[Missing, ...]:
    """Those with more than one example, worst first; single questions have no family."""
    grouped: dict[str, list[Example]] = defaultdict(list)
    for example in rows:
        if example.kind in ("correction", "bad"):
            grouped[family_of(example.question, example.family)].append(example)
    found = []
    for family, those in grouped.items():
        n_corrections = sum(each.kind == "correction" for each in those)
        if len(those) > 1 or those[0].family:
            found.append(Missing(family, len(those), n_corrections, max(0, needed - n_corrections)))
    return tuple(sorted(found, key=lambda each: (-each.n_bad, each.family)))


def _near(rows: list[Example]) -> tuple[tuple[str, str, float], ...]:
    """Of questions that differ; the same question twice is no news."""
    once = list({example.question_key: example for example in rows}.values())[:_MOST_COMPARED]
    pairs = near_pairs([plain(example.question) for example in once])
    return tuple((once[i].id, once[j].id, similarity) for i, j, similarity in pairs)


def _contradictions(corrections: list[Example]) -> tuple[dict[str, Any], ...]:
    found = []
    for those in contradictory(corrections).values():
        ids, answers = [each.id for each in those], [each.answer for each in those]
        found.append({"question": plain(those[0].question), "ids": ids, "answers": answers})
    return tuple(found)


def _conflicts(votes: list[Feedback]) -> tuple[dict[str, Any], ...]:
    """Votes on one answer, or on equal answers to one question."""
    by_answer: dict[tuple[str, str], list[Feedback]] = defaultdict(list)
    for vote in votes:
        whole = vote.question is not None and vote.answer is not None
        by_answer[(key_of(str(vote.question)), str(vote.answer)) if whole else (vote.answer_id, "")].append(vote)
    found = []
    for those in by_answer.values():
        sides = {side: [each.voter for each in those if each.verdict == side] for side in ("good", "bad")}
        if all(sides.values()):
            question = None if those[0].question is None else plain(those[0].question)
            found.append({"answer_id": those[0].answer_id, "question": question, "answer": those[0].answer, **sides})
    return tuple(found)
