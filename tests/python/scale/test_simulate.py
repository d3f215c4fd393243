"""The simulator against what is known of queues, and what no fleet may do: lose a request, a token, or its head."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from flyball.scale.capacity import Lengths, Replica, Workload, steady
from flyball.scale.fleet import EdgeCosts
from flyball.scale.simulate import Death, Question, Seen, Simulation, questions

LONE = Replica(((1, 0.01),), 0.0, parallel=1, waiting=1_000_000)
REPLICA = Replica(((1, 0.05), (8, 0.09), (32, 0.2)), 0.005, 0.002, parallel=8, waiting=8)
WORK = Workload(prompt=Lengths(60, 1.0), answer=Lengths(40, 0.7))


def mean_time(seen: Seen) -> float:
    return sum(each.last - each.question.at for each in seen.done) / len(seen.done)


@pytest.mark.parametrize("load", [0.5, 0.75])
@pytest.mark.parametrize("spread", [0.0, 1.0, 1.5], ids=["M/D/1", "M/M/1", "M/G/1"])
def test_one_place_is_a_queue_with_one_server(spread: float, load: float) -> None:
    """Pollaczek and Khinchine's mean time, of the work that was drawn; runs of eight seeds give the sampling error."""
    work = Workload(prompt=Lengths(1), answer=Lengths(21, spread), shared=0, again=0)
    means, works = [], []
    for seed in range(8):
        seen = Simulation([LONE]).run(questions(work, load / 0.2, 400 / load, seed))
        means.append(mean_time(seen))
        works += [0.01 * (each.n_tokens - 1) for each in seen.done]  # the first token comes with its prompt
    once, twice = sum(works) / len(works), sum(each**2 for each in works) / len(works)
    expected = once + load / 0.2 * twice / 2 / (1 - load / 0.2 * once)
    mean = sum(means) / 8
    error = (sum((each - mean) ** 2 for each in means) / 7 / 8) ** 0.5
    assert abs(mean - expected) <= 4 * error
    assert error < 0.15 * expected  # or nothing was shown
    assert spread != 1 or twice == pytest.approx(2 * once**2, rel=0.15)  # as an exponential distribution's


@pytest.mark.parametrize("rate", [0.5, 2.0, 6.0], ids=["idle", "busy", "overrun"])
@pytest.mark.parametrize("deaths", [(), (Death(20, 0, 25), Death(21, 1, 40), Death(22, 2, 23))], ids=["", "deaths"])
def test_nothing_is_lost_and_nothing_comes_twice(rate: float, deaths: tuple[Death, ...]) -> None:
    asked = list(questions(WORK, rate, 60, 3))
    seen = Simulation([REPLICA] * 3, [EdgeCosts(0.001, 0.0001)] * 2, deaths).run(asked)
    assert [each.question for each in seen.told] == asked
    assert all(each.n_tokens == each.question.answer for each in seen.done)
    assert all(each.question.at < each.first <= each.last <= seen.seconds for each in seen.done)
    assert all(each.n_replicas <= 4 for each in seen.told)
    assert seen.tokens == sum(each.n_tokens for each in seen.told)
    assert rate != 0.5 or len(seen.done) == len(asked)
    assert rate != 6.0 or len(seen.done) < len(asked)
    assert all(0 <= busy <= seen.seconds + 1 for busy in seen.busy)


@pytest.mark.parametrize("deaths", [(), (Death(30, 0, 50),)], ids=["", "a death"])
def test_little(deaths: tuple[Death, ...]) -> None:
    """The mean number in the replicas is the rate times the time: exactly so, over a run that begins and ends empty."""
    seen = Simulation([REPLICA] * 2, deaths=deaths).run(questions(WORK, 1.0, 200, 5))
    assert not any(each.refused for each in seen.told)
    times = sum(each.last - each.question.at for each in seen.done)
    assert seen.number == pytest.approx(times, rel=1e-9)


def test_the_closed_form_has_the_number_that_the_simulation_has() -> None:
    work, replica = replace(WORK, again=0), replace(REPLICA, parallel=16, waiting=64)
    rate = 0.6 * max(replica.rates(work))
    expected = steady(rate, replica.rates(work), replica.waiting)
    runs = [Simulation([replica]).run(questions(work, rate, 1500, seed)) for seed in range(3)]
    assert sum(run.number / run.seconds for run in runs) / 3 == pytest.approx(expected.number, rel=0.15)
    assert sum(run.busy[0] / run.seconds for run in runs) / 3 == pytest.approx(expected.busy, rel=0.08)


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> list[tuple[float, float, int]]:
        deaths = [Death(10, 0, 12)]
        seen = Simulation([REPLICA] * 3, [EdgeCosts(0.001, 0.0001)] * 2, deaths, seed=seed).run(
            questions(WORK, 2, 30, seed)
        )
        return [(each.first, each.last, each.n_replicas) for each in seen.told]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_more_replicas_are_never_worse() -> None:
    asked = list(questions(WORK, 4.0, 120, 1))
    runs = [Simulation([REPLICA] * n).run(asked) for n in (1, 2, 4, 8)]
    for fewer, more in pairwise(runs):
        assert len(more.done) >= len(fewer.done)
        assert more.goodput(1.0, 0.2) >= fewer.goodput(1.0, 0.2)
        assert max(more.busy) / more.seconds <= max(fewer.busy) / fewer.seconds + 0.02
    assert runs[0].goodput(1.0, 0.2) < runs[-1].goodput(1.0, 0.2)  # it was a load


def test_a_full_replica_passes_on_and_full_replicas_refuse() -> None:
    tiny = Replica(((1, 1.0),), 0.0, parallel=1, waiting=1)
    asked = [Question(0.001 * n, b"one", 1, 0, 10) for n in range(6)]
    seen = Simulation([tiny] * 2).run(asked)
    assert [each.refused for each in seen.told] == [False] * 4 + [True] * 2
    assert seen.busy == [18.0, 18.0]  # a first token comes with the prompt, in no time


def test_one_conversation_stays_where_its_prompt_is_known() -> None:
    asked = [Question(10.0 * n, b"one", 500, 400 if n else 0, 5) for n in range(6)]
    seen = Simulation([REPLICA] * 4).run(asked)
    assert sorted(busy > 0 for busy in seen.busy) == [False] * 3 + [True]
    first, *later = [each.first_token for each in seen.told]
    assert later == pytest.approx([first - 400 * REPLICA.prompt_token] * 5)
    forgot = Simulation([REPLICA] * 4, conversations=0).run(asked)
    assert [each.first_token for each in forgot.told] == pytest.approx([first] * 6)


def test_a_dead_replicas_answers_go_on_and_known_tokens_are_checked_at_once() -> None:
    asked = [Question(0.0, b"one", 10, 0, 100)]
    calm = Simulation([REPLICA] * 2).run(asked)
    dead = 0 if calm.busy[0] else 1
    seen = Simulation([REPLICA] * 2, deaths=[Death(3.0, dead, 100.0)]).run(asked)
    (told,) = seen.told
    assert (told.n_tokens, told.n_replicas) == (100, 2)
    lost = told.last - calm.told[0].last
    assert 0 < lost < 0.05 + (10 + 100) * REPLICA.prompt_token + 0.01  # far less than 3 s: nothing is decoded twice


def test_requests_wait_for_a_replica_only_as_long_as_the_edge_is_patient() -> None:
    asked = [Question(1.0, b"early", 1, 0, 1), Question(30.0, b"late", 1, 0, 1)]
    seen = Simulation([REPLICA], deaths=[Death(0.5, 0, 50.0)]).run(asked)
    assert [each.refused for each in seen.told] == [True, False]
    assert 50 <= seen.told[1].first < 50.2


def test_an_edge_is_one_thread() -> None:
    asked = [Question(0.0, bytes([n]), 1, 0, 50) for n in range(8)]
    slow = EdgeCosts(0.1, 0.05)
    one, four = (Simulation([REPLICA] * 4, [slow] * n).run(asked) for n in (1, 4))
    assert max(each.last for each in one.done) >= 8 * 0.1 + 8 * 50 * 0.05
    assert max(each.last for each in four.done) < max(each.last for each in one.done)


def test_prompts_beside_answers_slow_them_to_no_less_than_half() -> None:
    asked = [Question(0.0, b"answers", 1, 0, 100), Question(1.0, b"prompt", 4000, 0, 1)]
    told = {each.question.key: each for each in Simulation([REPLICA]).run(asked).told}
    alone = Simulation([REPLICA]).run(asked[:1]).told[0]
    assert alone.per_token < told[b"answers"].per_token <= 2 * alone.per_token
    assert told[b"prompt"].first_token > 4000 * REPLICA.prompt_token


def test_questions_are_a_poisson_stream_of_conversations() -> None:
    asked = list(questions(WORK, 50, 100, 1))
    assert len(asked) == pytest.approx(5000, abs=4 * 5000**0.5)
    again = sum(each.shared > 0 for each in asked)
    assert again / len(asked) == pytest.approx(WORK.again, abs=0.03)
    assert all(each.shared <= each.prompt for each in asked)
    assert Counter(each.key for each in asked).total() == len(asked)
    assert all(before.at < after.at for before, after in pairwise(asked))
