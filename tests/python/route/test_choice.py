"""The choice: floors, filters, scores; made again from what was written; and breakers."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from flyball.errors import FormatError
from flyball.journal.events import Event
from flyball.route.breaker import COOLDOWN_SECONDS, FAILURES, LONGEST_SECONDS, Breaker
from flyball.route.choice import Question, Step, choose
from flyball.route.policies import World, simulate, simulated
from flyball.route.question import may_explore
from flyball.route.replay import replay
from flyball.route.score import Candidate, calculate_model_score

SMALL, BIG = Candidate("small"), Candidate("big")
MATH = Step("math", (SMALL, BIG), task="math")
CHAT = Step("chat", (Candidate("talker"),), task="chat")
ASKED = Question("digest", {"math": 0.7, "chat": 0.3}, 0.6, True, (MATH, CHAT))


def test_above_the_floor_the_intent_answers() -> None:
    choice = choose(ASKED)
    assert (choice.reason, choice.intent, choice.model) == ("ROUTE_INTENT", "math", "small")
    assert set(choice.scores) == {"small", "big"}


def test_below_the_floor_the_fallback_answers() -> None:
    for p in (0.0, 0.3, 0.599999):
        choice = choose(replace(ASKED, p={"math": p}))
        assert (choice.reason, choice.intent, choice.model) == ("ROUTE_BELOW_FLOOR", "chat", "talker")
    assert choose(replace(ASKED, p={"math": 0.6})).reason == "ROUTE_INTENT"


def test_without_text_the_fallback_answers() -> None:
    assert choose(replace(ASKED, p={}, steps=(CHAT,))).reason == "ROUTE_NO_TEXT"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"has_adapter": False}, "adapter"),
        ({"is_healthy": False}, "health"),
        ({"fits": False}, "context"),
        ({"is_capable": False}, "capability"),
        ({"ms": 2000.0}, "budget"),
    ],
)
def test_what_cannot_answer_is_left_out(change: dict[str, object], why: str) -> None:
    small = replace(SMALL, good=50.0, judged=50.0, **change)  # type: ignore[arg-type]
    step = replace(MATH, candidates=(small, BIG), budget_ms=1000.0)
    choice = choose(replace(ASKED, steps=(step, CHAT)))
    assert (choice.model, choice.left_out) == ("big", {"small": why})
    alone = choose(replace(ASKED, steps=(replace(step, candidates=(small,)), CHAT)))
    assert (alone.reason, alone.model, alone.left_out) == ("ROUTE_MODELS_OUT", "talker", {"small": why})
    nobody = choose(replace(ASKED, steps=(replace(step, candidates=(small,)),)))
    assert (nobody.reason, nobody.model) == ("ROUTE_NOTHING_LEFT", "")


def test_quality_counts_and_time_counts() -> None:
    good = replace(BIG, judged=20.0, good=19.0, ms=400.0)
    bad = replace(SMALL, judged=20.0, good=4.0, ms=50.0)
    as_good = replace(SMALL, judged=20.0, good=19.0, ms=50.0)
    assert choose(replace(ASKED, steps=(replace(MATH, candidates=(bad, good)),))).model == "big"
    assert choose(replace(ASKED, steps=(replace(MATH, candidates=(good, as_good)),))).model == "small"
    failing = replace(as_good, failed=20.0)
    assert choose(replace(ASKED, steps=(replace(MATH, candidates=(failing, good)),))).model == "big"


def test_no_counts_break_the_score() -> None:
    """A Beta of zeros, sums that decay to nothing, priors at their ends."""
    chance = random.Random(3)
    for _ in range(2000):
        good = chance.choice((0.0, 1e-9, 0.5, 1e9))
        judged = good + chance.choice((0.0, 1e-9, 3.0))
        each = Candidate(
            "m", prior=chance.choice((0.0, 0.5, 1.0)), judged=judged, good=good, failed=chance.choice((0.0, 7.0))
        )
        score = calculate_model_score(each, chance.choice((0.0, 5.0)), 0.1, 1.0)
        assert 0 <= score.quality <= 1
        assert 0 <= score.spread <= 0.5


def test_exploring_is_bounded_and_can_be_switched_off() -> None:
    known, new = replace(SMALL, judged=100.0, good=60.0, ms=10.0), replace(BIG, prior=0.5, ms=10.0)
    asked = replace(ASKED, steps=(replace(MATH, candidates=(known, new)),))
    assert choose(asked).model == "small"
    assert choose(replace(asked, explore=1.0)).model == "small"
    tried = choose(replace(asked, explore=1.0, may_explore=True))
    assert (tried.model, tried.explored) == ("big", True)
    near = World({("task", "one"): 0.6, ("task", "two"): 0.75}, {("task", "one"): 100, ("task", "two"): 100})
    for share in (0.05, 0.2):
        runs = [simulate(near, 400, seed, cost=0.1, explore=3.0, explored_share=share) for seed in range(4)]
        assert all(run.explored < 1.5 * share for run in runs)
        assert any(run.explored > 0 for run in runs)
    assert simulate(near, 100, 1, cost=0.1, explore=0.0, explored_share=1.0).explored == 0


def test_who_explores_follows_from_the_key_alone() -> None:
    keys = [f"{number:024x}" for number in range(5000)]
    for share in (0.0, 0.1, 0.5, 1.0):
        drawn = [key for key in keys if may_explore(key, share)]
        assert len(drawn) == pytest.approx(share * len(keys), abs=150)
        assert all(may_explore(key, min(1.0, share + 0.1)) for key in drawn), "a larger share adds, and moves nobody"


def test_routing_is_near_the_best_single_model_and_takes_less_time() -> None:
    run = simulated(60, 20, 0.1, 0.0, 0.1)
    assert run.good["routed"] > run.good["random"] + 0.08
    assert run.good["routed"] > run.good["single small"] + 0.2
    assert run.good["routed"] > run.good["single big"] - 0.05
    assert run.ms["routed"] < 0.9 * run.ms["single big"]


def test_where_models_are_alike_routing_costs_nothing() -> None:
    alike = World(
        {("task", "one"): 0.8, ("task", "two"): 0.8},
        {("task", "one"): 100, ("task", "two"): 100},
    )
    run = simulate(alike, 200, 5, 0.1, 0.0, 0.1)
    assert run.good["routed"] == run.good["random"] == run.good["single one"]


def event(number: int, question: Question, **change: object) -> Event:
    choice = choose(question)
    data = {"answer": "1", "question": question.as_dict(), "choice": choice.as_dict() | change}
    text = json.dumps(data)
    return Event(number, 0, 0, 0, 0, "route", choice.reason, json.loads(text), "", text)


def random_question(chance: random.Random) -> Question:
    def candidate(model: str) -> Candidate:
        good = chance.uniform(0, 9)
        flags = {name: chance.random() < 0.9 for name in ("has_adapter", "is_healthy", "fits", "is_capable")}
        known = Candidate(model, prior=chance.random(), judged=good + chance.uniform(0, 3), good=good)
        ms = chance.choice((None, chance.uniform(1, 900)))
        return replace(known, failed=chance.uniform(0, 2), ms=ms, **flags)  # type: ignore[arg-type]

    steps = tuple(
        Step(
            name,
            tuple(candidate(f"{name}{n}") for n in range(chance.randrange(1, 4))),
            "",
            name,
            chance.choice((None, 500.0)),
        )
        for name in ("a", "b", "")[: chance.randrange(1, 4)]
    )
    p = {} if chance.random() < 0.1 else {"a": chance.random(), "b": 0.0}
    explore = chance.choice((0.0, 0.7))
    return Question("d", p, chance.random(), chance.random() < 0.5, steps, 0.1, explore, chance.random() < 0.5)


def test_choices_of_a_journal_are_made_again() -> None:
    chance = random.Random(7)
    events = [event(number, random_question(chance)) for number in range(1000)]
    assert len({each.reason_id for each in events}) == 5
    report = replay(events)
    assert (report.n_choices, report.differences) == (1000, ())
    other = replay([event(4, ASKED, model="big")])
    assert [each.number for each in other.differences] == [4]
    below = replace(ASKED, p={"math": 0.2})
    forged = replace(event(5, below), reason_id="ROUTE_INTENT")
    assert [each.number for each in replay([forged]).differences] == [5]


def test_a_damaged_question_is_told() -> None:
    broken = event(3, ASKED)
    questions: list[object] = [{}, [], {"steps": [{}]}, broken.data["question"] | {"more": 1}]
    for question in questions:
        with pytest.raises(FormatError, match="event 3: has no question"):
            replay([replace(broken, data=broken.data | {"question": question})])


class Now:
    """A clock, and what the breaker told."""

    def __init__(self) -> None:
        self.time = 100.0
        self.told: list[str] = []
        self.breaker = Breaker(lambda: self.time, self.told.append)

    def fail(self, n: int = 1) -> None:
        for _ in range(n):
            self.breaker.begun()
            self.breaker.ended(False)


def test_a_breaker_opens_tries_and_closes() -> None:
    now = Now()
    now.fail(FAILURES - 1)
    assert now.breaker.lets_through
    now.fail()
    assert not now.breaker.lets_through
    now.time += COOLDOWN_SECONDS
    assert now.breaker.lets_through
    now.breaker.begun()
    assert not now.breaker.lets_through  # one is on trial
    now.breaker.ended(True)
    assert now.breaker.lets_through
    assert now.breaker.is_closed
    assert now.told == ["ROUTE_MODEL_OPENED", "ROUTE_MODEL_TRIED", "ROUTE_MODEL_CLOSED"]


def test_a_success_resets_the_failures() -> None:
    now = Now()
    for _ in range(10):
        now.fail(FAILURES - 1)
        now.breaker.ended(True)
    assert now.breaker.is_closed


def test_cooldowns_have_an_end() -> None:
    now = Now()
    now.fail(FAILURES)
    for _ in range(30):
        now.time = now.breaker.opens_at
        assert now.breaker.lets_through
        now.fail()
        assert now.breaker.opens_at - now.time <= LONGEST_SECONDS
    now.time += LONGEST_SECONDS
    now.breaker.begun()
    now.breaker.ended(True)
    now.fail()
    assert now.breaker.lets_through  # the old failures are forgotten


def test_a_trial_that_says_nothing_blocks_nobody() -> None:
    now = Now()
    now.fail(FAILURES)
    now.time += COOLDOWN_SECONDS
    now.breaker.begun()
    now.breaker.ended(None)  # its client left
    assert now.breaker.lets_through
    now.breaker.begun()  # and this one is never heard of again
    now.time += COOLDOWN_SECONDS
    assert now.breaker.lets_through
