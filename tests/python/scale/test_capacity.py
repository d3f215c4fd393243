"""The arithmetic of capacity: known limits of queues, and what must grow with what."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from itertools import pairwise

import pytest

from flyball.errors import InvalidArgument
from flyball.scale.capacity import Lengths, Limits, Replica, Workload, bearable, steady
from flyball.scale.fleet import EdgeCosts, StoreCosts, fills, fleet

REPLICA = Replica(
    ((1, 0.05), (8, 0.09), (32, 0.2)), 0.005, 0.002, look=0.001, question=0.2, weights_bytes=10**9, token_bytes=65_536,
    price=0.1,
)  # fmt: skip
EDGE = EdgeCosts(0.001, 0.00005, 1e-6, 0.0004, price=0.05)
STORE = StoreCosts(answers=2000, price=0.2)
WORK = Workload()


@pytest.mark.parametrize("load", [0.1, 0.5, 0.9])
def test_one_place_is_the_queue_of_kendall(load: float) -> None:
    found = steady(load, [1.0], waiting=2000)  # M/M/1
    assert found.number == pytest.approx(load / (1 - load))
    assert found.seconds == pytest.approx(1 / (1 - load))
    assert found.busy == pytest.approx(load)
    assert found.refused < 1e-80


@pytest.mark.parametrize(("load", "n"), [(0.5, 1), (2.0, 3), (18.0, 20)])
def test_places_with_a_speed_of_their_own_are_erlangs(load: float, n: int) -> None:
    found = steady(load, [float(k) for k in range(1, n + 1)], waiting=3000)
    last = load**n / math.factorial(n) * n / (n - load)
    assert found.waits == pytest.approx(last / (sum(load**k / math.factorial(k) for k in range(n)) + last))
    lost = steady(load, [float(k) for k in range(1, n + 1)], waiting=0)  # Erlang B
    assert lost.refused == pytest.approx(
        load**n / math.factorial(n) / sum(load**k / math.factorial(k) for k in range(n + 1))
    )


def test_shares_are_a_distribution_far_beyond_capacity_too() -> None:
    found = steady(1e6, [1.0], waiting=5000)
    assert math.fsum(found.shares) == pytest.approx(1)
    assert found.refused == pytest.approx(1, abs=1e-5)
    assert found.seconds == pytest.approx(found.number, rel=1e-9)  # it gives one answer a second


@pytest.mark.parametrize(("arrivals", "rates"), [(0, [1.0]), (1, []), (1, [1.0, 0.0]), (-1, [1.0])])
def test_a_queue_without_arrivals_or_rates_is_none(arrivals: float, rates: list[float]) -> None:
    with pytest.raises(InvalidArgument, match="above 0"):
        steady(arrivals, rates, 1)


@pytest.mark.parametrize("steps", [(), ((0, 0.1),), ((2, 0.1), (1, 0.2)), ((1, 0.1), (1, 0.2)), ((1, 0.0),)])
def test_steps_that_are_no_curve_are_refused(steps: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(InvalidArgument, match="steps"):
        Replica(steps, 0.01)


def test_a_step_lies_on_the_measured_curve() -> None:
    assert [REPLICA.step(n) for n in (1, 8, 32)] == [0.05, 0.09, 0.2]
    assert REPLICA.step(20) == pytest.approx((0.09 + 0.2) / 2)
    assert REPLICA.step(56) == pytest.approx(0.31)  # the last slope goes on
    assert Replica(((1, 0.3),), 0.01).step(40) == 0.3


@pytest.mark.parametrize("spread", [0.0, 0.3, 1.0, 2.0])
def test_lengths_have_their_mean_and_spread(spread: float) -> None:
    chance = random.Random(1)
    drawn = [Lengths(400, spread).draw(chance) for _ in range(20_000)]
    mean = sum(drawn) / len(drawn)
    assert mean == pytest.approx(400, rel=0.05)
    deviation = math.sqrt(sum((each - mean) ** 2 for each in drawn) / len(drawn))
    assert deviation / mean == pytest.approx(spread, rel=0.05, abs=1e-9)
    assert min(drawn) >= 1


def test_more_at_once_gives_more_answers_and_slower_ones() -> None:
    rates = REPLICA.rates(WORK)
    assert all(after >= before for before, after in pairwise(rates))
    times = [REPLICA.token_time(n, WORK) for n in range(1, 33)]
    assert all(after >= before * 0.999 for before, after in pairwise(times))


def test_memory_bounds_what_runs_at_once() -> None:
    tight = replace(REPLICA, cache_bytes=5 * 550 * 65_536)
    assert tight.places(WORK) == 5
    assert bearable(tight, WORK, Limits()) < bearable(REPLICA, WORK, Limits())


def test_what_a_replica_bears_keeps_the_limits() -> None:
    limits = Limits(token=0.2, busy=0.9)
    most = bearable(REPLICA, WORK, limits)
    found = steady(most, REPLICA.rates(WORK), REPLICA.waiting)
    assert found.busy <= 0.9
    assert found.refused <= limits.refused
    more = steady(1.02 * most, REPLICA.rates(WORK), REPLICA.waiting)
    quick = max(n for n in range(1, 65) if REPLICA.token_time(n, WORK) <= limits.token)
    assert more.busy > 0.9 or more.above(quick) > 0.05
    assert bearable(REPLICA, WORK, Limits(token=0.01)) == 0


def test_a_fleet_takes_its_load_and_costs_what_it_has() -> None:
    limits = Limits(busy=0.9)
    found = fleet(20_000, WORK, REPLICA, EDGE, STORE, limits)
    each = bearable(REPLICA, WORK, limits)
    assert found.replicas * each >= found.requests
    assert found.month == pytest.approx(730 * (0.1 * found.replicas + 0.05 * found.edges + 0.2))
    used = sum(found.uses[f"edges: {name}"] for name in ("handing on", "choosing", "looks"))
    assert used <= EDGE.busy
    sizes = [fleet(users, WORK, REPLICA, EDGE, STORE, limits) for users in (100, 1000, 10_000, 20_000)]
    assert [each.replicas for each in sizes] == sorted(each.replicas for each in sizes)
    assert [each.month for each in sizes] == sorted(each.month for each in sizes)


def test_a_fleet_that_only_watches_itself_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="look less often, or in cells"):
        fleet(10_000_000, WORK, REPLICA, EDGE, STORE, Limits())
    with pytest.raises(InvalidArgument, match="a faster one is needed"):
        fleet(10, WORK, REPLICA, EDGE, STORE, Limits(token=0.01))


def test_looking_less_often_lets_a_fleet_grow() -> None:
    rare = replace(EDGE, look_every=5.0, canary_every=3600.0)
    assert fleet(100_000, WORK, REPLICA, rare, STORE, Limits()).replicas > 300


def test_a_resource_is_full_where_it_is_told() -> None:
    users = fills("store: connections", WORK, REPLICA, EDGE, STORE, Limits())
    assert users is not None
    assert fleet(users, WORK, REPLICA, EDGE, STORE, Limits()).uses["store: connections"] >= 1
    assert fleet(0.97 * users, WORK, REPLICA, EDGE, STORE, Limits()).uses["store: connections"] < 1.03
    assert fills("Redis", WORK, REPLICA, EDGE, STORE, Limits()) is None
